//! Here, nobody joins later: a job that this machine cannot do would wait for ever.

use std::time::{Duration, Instant};

use common::{
    api::{JobState, JobView, WorkerState, WorkerSummary},
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
    pub(super) fn look(&mut self, job: &JobView, workers: &[WorkerSummary], now: Instant) -> Option<Error> {
        // A worker that is starting, or busy with another input, may take it yet.
        let idle =
            !workers.is_empty() && workers.iter().all(|it| it.state == WorkerState::Online && it.jobs == 0);
        let queued = job.summary.state == JobState::Queued;
        let reason = job.summary.waiting_for.as_deref().filter(|_| idle && queued);
        let in_vain = self.in_vain(reason, now);
        reason.filter(|_| in_vain).map(|reason| hopeless(reason, job.hardware))
    }

    /// Whether the job waited for the same all the time. The words of a job that is about to be tried again count
    /// seconds, so they do not stay the same.
    fn in_vain(&mut self, reason: Option<&str>, now: Instant) -> bool {
        match (&self.waits, reason) {
            (Some((same, since)), Some(reason)) if same == reason => now.duration_since(*since) >= PATIENCE,
            (_, reason) => {
                self.waits = reason.map(|reason| (reason.to_owned(), now));
                false
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_the_same_is_in_vain_and_counting_down_is_not() {
        let start = Instant::now();
        let mut stuck = Stuck::default();
        assert!(!stuck.in_vain(Some("the next try in 4 s"), start));
        assert!(!stuck.in_vain(Some("the next try in 0 s"), start + PATIENCE));
        assert!(!stuck.in_vain(Some("a worker with x"), start + PATIENCE));
        assert!(!stuck.in_vain(None, start + PATIENCE * 2));
        assert!(!stuck.in_vain(Some("a worker with x"), start + PATIENCE * 3));
        assert!(stuck.in_vain(Some("a worker with x"), start + PATIENCE * 4));
    }

    #[test]
    fn the_remedy_fits_what_was_asked_for() {
        let error = hopeless("a worker with an h264 encoder in hardware", HardwarePolicy::Require);
        assert_eq!(error.exit, crate::Exit::Failed);
        assert!(error.message.contains("--hardware prefer"), "{error}");
    }
}
