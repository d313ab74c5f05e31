//! Here, nobody joins later: a job that this machine cannot do would wait for ever.

use std::time::{Duration, Instant};

use common::{
    api::{JobState, JobView, WorkerState, WorkerView},
    media::HardwarePolicy,
};

use crate::error::Error;

/// How long an idle worker may leave a job in the queue. Placing takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Notices that a job waits for something that will not come.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    waits: Option<(String, Instant)>,
}

impl Stuck {
    /// The job and the workers as they are now; the error when there is no hope.
    pub(super) fn look(&mut self, job: &JobView, workers: &[WorkerView], now: Instant) -> Option<Error> {
        // A worker that is starting, or busy with another input, may take it yet. The words of a job that is about to
        // be tried again count seconds, so they do not stay the same.
        let idle =
            !workers.is_empty() && workers.iter().all(|it| it.state == WorkerState::Online && it.jobs == 0);
        let reason =
            job.summary.waiting_for.as_deref().filter(|_| idle && job.summary.state == JobState::Queued);
        let Some(reason) = reason else {
            self.waits = None;
            return None;
        };
        match &self.waits {
            Some((same, since)) if same == reason => {
                (now.duration_since(*since) >= PATIENCE).then(|| hopeless(reason, job.hardware))
            }
            _ => {
                self.waits = Some((reason.to_owned(), now));
                None
            }
        }
    }
}

fn hopeless(reason: &str, hardware: HardwarePolicy) -> Error {
    let remedy = match hardware {
        HardwarePolicy::Require => "use --hardware prefer, or a farm with --coordinator URL",
        HardwarePolicy::Prefer | HardwarePolicy::Never => {
            "install an ffmpeg that has it, or use a farm with --coordinator URL"
        }
    };
    Error::failed(format!(
        "this machine cannot do it: it takes {reason}; {remedy} (`ffmpegd detect` shows what works here)"
    ))
}
