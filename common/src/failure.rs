//! Why an attempt or a job did not succeed, and what follows from it.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong. The kind decides what happens next, so it is found as close to the fault as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The input is empty, not media, or damaged beyond use. No worker can help.
    InvalidInput,
    /// The spec cannot be satisfied with this input: no video where one is needed, a codec that no muxer takes.
    InvalidSpec,
    /// The input could not be read: 404, refused, hung up, stalled.
    SourceUnreachable,
    /// The worker lacks a filter, decoder or encoder that this input turned out to need.
    MissingCapability,
    /// The worker disconnected and did not come back, or its lease ran out.
    WorkerLost,
    /// The device had no free encode session.
    SessionLimit,
    OutOfMemory,
    DiskFull,
    /// No progress for longer than the stall timeout.
    Stalled,
    /// The job's wall-clock limit ran out.
    TimeLimit,
    /// ffmpeg ended with an error or a signal that says nothing more.
    Crashed,
    /// ffmpeg said that all is well and its output is not what was asked for.
    OutputWrong,
    /// The finished output could not be brought to the storage.
    UploadFailed,
    Cancelled,
    /// The worker gave the task back: it is shutting down.
    HandedBack,
    /// The task had to make room, for a live stream or by an operator's wish.
    Preempted,
}

/// What the queue does after an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// No attempt can succeed: the job fails now.
    GiveUp,
    /// Another try, on another worker if there is one; counts against the task's budget.
    Retry,
    /// Another try that costs nothing of the budget: the task was not at fault.
    Requeue,
    /// The task is over without having failed.
    End,
}

impl FailureKind {
    /// Every kind, for tables and documentation.
    pub const ALL: [Self; 16] = [
        Self::InvalidInput,
        Self::InvalidSpec,
        Self::SourceUnreachable,
        Self::MissingCapability,
        Self::WorkerLost,
        Self::SessionLimit,
        Self::OutOfMemory,
        Self::DiskFull,
        Self::Stalled,
        Self::TimeLimit,
        Self::Crashed,
        Self::OutputWrong,
        Self::UploadFailed,
        Self::Cancelled,
        Self::HandedBack,
        Self::Preempted,
    ];

    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::InvalidInput | Self::InvalidSpec | Self::TimeLimit => Remedy::GiveUp,
            Self::SourceUnreachable
            | Self::OutOfMemory
            | Self::DiskFull
            | Self::Stalled
            | Self::Crashed
            | Self::OutputWrong
            | Self::UploadFailed
            | Self::WorkerLost => Remedy::Retry,
            Self::MissingCapability | Self::SessionLimit | Self::HandedBack | Self::Preempted => {
                Remedy::Requeue
            }
            Self::Cancelled => Remedy::End,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::InvalidSpec => "invalid_spec",
            Self::SourceUnreachable => "source_unreachable",
            Self::MissingCapability => "missing_capability",
            Self::WorkerLost => "worker_lost",
            Self::SessionLimit => "session_limit",
            Self::OutOfMemory => "out_of_memory",
            Self::DiskFull => "disk_full",
            Self::Stalled => "stalled",
            Self::TimeLimit => "time_limit",
            Self::Crashed => "crashed",
            Self::OutputWrong => "output_wrong",
            Self::UploadFailed => "upload_failed",
            Self::Cancelled => "cancelled",
            Self::HandedBack => "handed_back",
            Self::Preempted => "preempted",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no failure kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a failure kind")]
pub struct UnknownKind(pub String);

impl FromStr for FailureKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A failure as it is kept and shown: the kind for programs, the message for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub kind: FailureKind,
    /// What was being done, to what, what happened and what to do next.
    pub message: String,
}

impl Failure {
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_text_and_json() {
        for kind in FailureKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn what_no_worker_can_help_is_tried_once() {
        assert_eq!(FailureKind::InvalidInput.remedy(), Remedy::GiveUp);
        assert_eq!(FailureKind::HandedBack.remedy(), Remedy::Requeue);
    }
}
