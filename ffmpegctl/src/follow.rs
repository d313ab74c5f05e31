//! Following a job to its end, through events where they come and by asking where they do not.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use common::{
    api::{Event, JobState, JobView, ProgressView},
    backoff::Backoff,
    id::JobId,
};
use tokio::{sync::broadcast, time::Instant};

use crate::{
    client::{Client, Error, Events, Signal},
    text::span,
};

/// How often a job is read while events come: they may be lost, and this is cheap.
const CHECK: Duration = Duration::from_secs(5);
/// How often a job is read while no events come.
const POLL: Duration = Duration::from_millis(500);
/// How long a coordinator may be away before its jobs are left to themselves. A restart takes seconds, a machine's
/// reboot a few minutes.
const PATIENCE: Duration = Duration::from_secs(300);
const RETRY: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(5) };

/// What became known of a job.
#[derive(Debug)]
pub(crate) enum News<'a> {
    /// The job as it is.
    Job(&'a JobView),
    Progress(&'a ProgressView),
}

/// The connection to the coordinator as people are told of it: that it broke and that it is back, once for all jobs.
pub(crate) struct Link<'a> {
    broken: AtomicBool,
    say: Box<dyn Fn(&str) + Send + Sync + 'a>,
}

impl std::fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl<'a> Link<'a> {
    pub(crate) fn new(say: impl Fn(&str) + Send + Sync + 'a) -> Self {
        Self { broken: AtomicBool::new(false), say: Box::new(say) }
    }

    fn broke(&self, error: &Error) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            (self.say)(&format!("connection lost, trying again: {error}"));
        }
    }

    fn works(&self) {
        if self.broken.swap(false, Ordering::Relaxed) {
            (self.say)("connected again");
        }
    }
}

/// Follows the job until its state is final. May be dropped and begun again at any time.
///
/// # Errors
/// The coordinator does not know the job, or was away for longer than [`PATIENCE`].
pub(crate) async fn follow(
    client: &Client,
    events: &Events,
    link: &Link<'_>,
    job: JobId,
    news: &mut (dyn FnMut(News<'_>) + Send),
) -> Result<JobView, crate::Error> {
    // Before the job is read, so that nothing falls between.
    let mut signals = events.subscribe();
    loop {
        let view = read(client, link, job).await?;
        news(News::Job(&view));
        if view.summary.state.is_final() {
            return Ok(view);
        }
        listen(events, &mut signals, &view, news).await;
    }
}

/// Reads the job, and waits for a coordinator that is away.
async fn read(client: &Client, link: &Link<'_>, job: JobId) -> Result<JobView, crate::Error> {
    let began = Instant::now();
    let mut failures = 0;
    loop {
        let error = match client.job(job).await {
            Ok(view) => {
                link.works();
                return Ok(view);
            }
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error.into()),
        };
        link.broke(&error);
        if began.elapsed() > PATIENCE {
            return Err(crate::Error::unreachable(format!(
                "{error}. It was away for {}; job {job} goes on when it is back: `ffmpegctl jobs watch {job}`",
                span(PATIENCE)
            )));
        }
        tokio::time::sleep(RETRY.delay(failures, rand::random())).await;
        failures += 1;
    }
}

/// Until the job should be read again.
async fn listen(
    events: &Events,
    signals: &mut broadcast::Receiver<Signal>,
    view: &JobView,
    news: &mut (dyn FnMut(News<'_>) + Send),
) {
    let wait = if events.is_open() { CHECK } else { POLL };
    let until = tokio::time::sleep(wait);
    tokio::pin!(until);
    loop {
        let signal = tokio::select! {
            () = &mut until => return,
            signal = signals.recv() => signal,
        };
        match signal {
            Ok(Signal::Event(event)) => match &*event {
                Event::Progress { job, progress, .. } if *job == view.summary.id => {
                    // The attempt's encoder and command are in the job only.
                    if view.summary.state != JobState::Running {
                        return;
                    }
                    news(News::Progress(progress));
                }
                Event::Job { job } if job.id == view.summary.id => return,
                Event::Lagged { .. } => return,
                _ => {}
            },
            Ok(Signal::Connected) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // The events were stopped: go on by asking.
            Err(broadcast::error::RecvError::Closed) => {
                until.as_mut().await;
                return;
            }
        }
    }
}
