//! `Prefer: wait=SECONDS` (RFC 7240): the answer comes when the job has ended, or when that time is over.

use std::time::Duration;

use axum::response::Response;
use common::{
    api::{Event, JobView},
    id::JobId,
};
use hyper::{HeaderMap, header::HeaderName, header::HeaderValue};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, timeout_at},
};

use super::{Api, problem::Error};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Proxies hang up on longer silence.
const LONGEST: u64 = 300;

/// How long the client wants to wait; nothing that cannot be understood is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(Option<u64>);

impl Wait {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let seconds = preferences.flat_map(|value| value.split([',', ';'])).find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            let is_wait = name.trim().eq_ignore_ascii_case("wait");
            is_wait.then(|| value.trim().trim_matches('"').parse().ok()).flatten()
        });
        Self(seconds.map(|seconds: u64| seconds.min(LONGEST)))
    }

    /// That, or another time.
    pub(super) fn or(self, seconds: u64) -> Self {
        Self(self.0.or(Some(seconds)))
    }

    /// Says in the answer what was done.
    pub(super) fn applied(self, mut response: Response) -> Response {
        if let Some(seconds) = self.0
            && let Ok(value) = HeaderValue::try_from(format!("wait={seconds}"))
        {
            response.headers_mut().insert(APPLIED, value);
        }
        response
    }
}

/// The job when it has ended, or as it is when the time is over or the coordinator stops.
pub(super) async fn ended(api: &Api, job: JobId, Wait(seconds): Wait) -> Result<JobView, Error> {
    let Some(seconds) = seconds else { return Ok(api.queue.job(job).await?) };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    // Before the first look, so that no end is missed.
    let mut events = api.queue.events();
    loop {
        let view = api.queue.job(job).await?;
        if view.summary.state.is_final() {
            return Ok(view);
        }
        let ending = async {
            loop {
                match events.recv().await {
                    Ok(Event::Job { job: summary }) if summary.id == job && summary.state.is_final() => {
                        return true;
                    }
                    Ok(_) => {}
                    // What was missed may have been it.
                    Err(RecvError::Lagged(_)) => return true,
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        let again = tokio::select! {
            biased;
            () = api.stop.cancelled() => false,
            ended = timeout_at(deadline, ending) => ended.unwrap_or(false),
        };
        if !again {
            return Ok(api.queue.job(job).await?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_read_as_the_rfc_writes_it() {
        let wait = |values: &[&str]| {
            Wait::of(&values.iter().map(|value| (PREFER, value.parse().unwrap())).collect()).0
        };
        assert_eq!(wait(&["wait=30"]), Some(30));
        assert_eq!(wait(&["respond-async, Wait = \"10\""]), Some(10));
        assert_eq!(wait(&["return=minimal", "wait=5; foo=bar"]), Some(5));
        assert_eq!(wait(&["wait=100000"]), Some(LONGEST));
        for odd in ["wait", "wait=", "wait=-1", "wait=1.5", "waiting=3", ""] {
            assert_eq!(wait(&[odd]), None, "{odd}");
        }
    }
}
