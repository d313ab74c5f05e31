//! What a dead letter says: why it was given up, what was tried where, and how it is queued again.

use common::{
    api::{AttemptView, JobView},
    failure::FailureKind,
};

use crate::{names, text};

/// The section of `jobs show` that stands where other jobs have their failure.
pub(super) fn explain(job: &JobView) -> String {
    let attempts: Vec<&AttemptView> = job.tasks.iter().flat_map(|task| &task.attempts).collect();
    let tries = match attempts.len() {
        0 => String::new(),
        1 => " after 1 attempt".to_owned(),
        more => format!(" after {more} attempts"),
    };
    let mut lines = vec![format!("dead letter: given up{tries}")];
    if let Some(failure) = &job.summary.failure {
        lines.push(format!("{}: {}", failure.kind, failure.message));
    }
    lines.extend(attempts.into_iter().filter_map(|attempt| {
        let failure = attempt.failure.as_ref()?;
        let worker = &attempt.worker.name;
        // The last of many lines says what it came to; all of them stand with the attempt below.
        let message = failure.message.lines().last().unwrap_or_default();
        Some(format!("attempt {} on {worker}: {}: {message}", attempt.epoch, failure.kind))
    }));
    lines.push(format!("queue it again: ffmpegctl jobs redrive {}", names::short(&job.summary.id)));
    let kind = job.summary.failure.as_ref().map(|failure| failure.kind);
    lines.extend(kind.and_then(advice).map(|advice| format!("before that: {advice}")));
    text::printable(&lines.join("\n")).replace('\n', "\n  ")
}

/// What is worth a look before the same happens again.
const fn advice(kind: FailureKind) -> Option<&'static str> {
    Some(match kind {
        FailureKind::SourceUnreachable => "make sure that a worker can read the input",
        FailureKind::OutOfMemory => "give it a worker with more memory (labels), or a smaller output",
        FailureKind::DiskFull => "make room in the workers' scratch folders",
        FailureKind::UploadFailed => "look at the coordinator's disk and the network between",
        FailureKind::WorkerLost => "look at why the workers went away",
        FailureKind::SessionLimit => "look at what else uses the GPUs, or allow software encoders",
        FailureKind::Stalled | FailureKind::Crashed | FailureKind::OutputWrong => {
            "look at what ffmpeg said (jobs logs); the input may be what it cannot bear"
        }
        FailureKind::MissingCapability => "start a worker whose ffmpeg has what is missing",
        FailureKind::InvalidInput
        | FailureKind::InvalidSpec
        | FailureKind::TimeLimit
        | FailureKind::Cancelled
        | FailureKind::HandedBack
        | FailureKind::Preempted => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letter() -> JobView {
        let attempt = |epoch: u32, worker: &str, message: &str| {
            json!({
                "epoch": epoch, "state": "failed", "assigned_at": "2026-01-01T00:00:00Z", "command": [],
                "worker": {"id": "01a1fcca-a883-7305-b80a-2d1f0ecf28e2", "name": worker},
                "failure": {"kind": "crashed", "message": message},
            })
        };
        serde_json::from_value(json!({
            "id": "01a1fcca-a9ec-7133-9945-0809845f7edd", "state": "dead", "preset": "h264", "input": "clip.mp4",
            "priority": 0, "submitted_at": "2026-01-01T00:00:00Z",
            "failure": {"kind": "crashed", "message": "ffmpeg was killed by signal 11 (the same on two workers)"},
            "hardware": "prefer", "labels": {}, "spec": {"kind": "file", "container": "mp4"},
            "outputs": [], "warnings": [], "on_damaged_input": "warn",
            "tasks": [{
                "id": "01a1fcca-a883-7305-b80a-2d1e90ae2a6c", "kind": "encode", "state": "failed", "epoch": 2,
                "queued_at": "2026-01-01T00:00:00Z",
                "attempts": [
                    attempt(1, "gpu-1", "line one\nffmpeg was killed by signal 11"),
                    attempt(2, "gpu-2", "\u{1b}[2Jffmpeg was killed by signal 11"),
                ],
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_dead_letter_says_why_what_was_tried_where_and_what_to_type() {
        assert_eq!(
            explain(&letter()),
            "dead letter: given up after 2 attempts
  crashed: ffmpeg was killed by signal 11 (the same on two workers)
  attempt 1 on gpu-1: crashed: ffmpeg was killed by signal 11
  attempt 2 on gpu-2: crashed: \u{fffd}[2Jffmpeg was killed by signal 11
  queue it again: ffmpegctl jobs redrive 0809845f7edd
  before that: look at what ffmpeg said (jobs logs); the input may be what it cannot bear"
        );
    }
}
