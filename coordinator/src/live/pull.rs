//! Pulls a source that is MPEG-TS over HTTP, again and again, for as long as it is wanted.

mod client;
mod sniff;
#[cfg(test)]
mod tests;

use std::time::Duration;

use common::{backoff::Backoff, stream::without_secrets};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::client::Failure;
pub use self::sniff::{Sniffer, Verdict};
use super::source::{Feed, Source};

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(5) };
/// Only a connection that lasted this long counts as one that works: a server that hangs up at once is not asked all the time.
const STEADY: Duration = Duration::from_secs(10);
/// A source that is silent for this long is lost. Live MPEG-TS is never silent, its PCR comes ten times a second.
const SILENCE: Duration = Duration::from_secs(5);
/// How far a source may run ahead of the clock: a server's burst for a quick start. Of a file the rest waits, so that it plays
/// in real time.
pub const AHEAD: Duration = Duration::from_secs(10);

/// How it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Why there is nothing at the moment, and what may help.
    pub problem: Option<String>,
}

/// Pulls `url` into `source` until `stop`.
pub async fn run(url: String, source: Source, state: watch::Sender<State>, stop: CancellationToken) {
    let shown = without_secrets(&url).into_owned();
    stop.run_until_cancelled(keep_pulling(&url, &shown, &source, &state)).await;
    tracing::info!(url = shown, "the source is not pulled any more");
}

async fn keep_pulling(url: &str, shown: &str, source: &Source, state: &watch::Sender<State>) {
    let client = loop {
        match client::build() {
            Ok(client) => break client,
            Err(error) => {
                tracing::error!(%error, "cannot make an HTTP client");
                tell(state, format!("cannot pull {shown}: {error}"));
                sleep(BACKOFF.cap).await;
            }
        }
    };
    let mut retry = 0;
    loop {
        let started = Instant::now();
        let failure = match client::open(&client, url).await {
            Ok(response) => pull(response, source, state).await,
            Err(failure) => failure,
        };
        if started.elapsed() >= STEADY {
            retry = 0;
        }
        let problem = failure.describe(shown);
        // Once for each problem: it may go on for days.
        if tell(state, problem.clone()) {
            tracing::warn!(%problem, "a source is lost; it is tried again");
        }
        sleep(BACKOFF.delay(retry, rand::random())).await;
        retry = retry.saturating_add(1);
    }
}

/// Whether it is news.
fn tell(state: &watch::Sender<State>, problem: String) -> bool {
    let now = State { problem: Some(problem) };
    state.send_if_modified(|state| {
        let news = *state != now;
        *state = now;
        news
    })
}

/// Until the connection ends, one way or another.
async fn pull(mut response: reqwest::Response, source: &Source, state: &watch::Sender<State>) -> Failure {
    let mut sniffer = Sniffer::new(response.headers());
    let mut feed = source.connect();
    loop {
        let chunk = match timeout(SILENCE, response.chunk()).await {
            Err(_) => return Failure::Silent(SILENCE),
            Ok(Err(error)) => return Failure::broken(&error),
            Ok(Ok(None)) => return sniffer.end().map_or(Failure::Ended, Failure::NotTransportStream),
            Ok(Ok(Some(chunk))) => chunk,
        };
        match sniffer.look(&chunk) {
            Verdict::TransportStream => {
                state.send_if_modified(|state| state.problem.take().is_some());
            }
            Verdict::Unknown => {}
            Verdict::Other(what) => return Failure::NotTransportStream(what),
        }
        if !feed.push(&chunk) {
            return Failure::TakenOver;
        }
        keep_pace(&feed).await;
    }
}

/// Waits while the source is too far ahead of the clock.
async fn keep_pace(feed: &Feed) {
    let ahead = feed.ahead();
    if ahead > AHEAD {
        sleep(ahead - AHEAD).await;
    }
}
