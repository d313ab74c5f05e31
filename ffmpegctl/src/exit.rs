//! What the exit code says.

use std::process::ExitCode;

use common::{
    api::{JobState, JobView},
    failure::FailureKind,
};
use serde::Serialize;

/// How the program ended. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Everything that was asked for is there.
    Ok = 0,
    /// A job failed or was cancelled by somebody else, or the coordinator could not do what it was asked for.
    Failed = 1,
    /// Wrong usage, or an input that cannot be transcoded. Trying again does not help.
    Invalid = 2,
    /// The coordinator cannot be reached.
    Unreachable = 3,
    /// The results cannot be written: no permission, no space left.
    Unwritable = 4,
    /// Ctrl-C, SIGTERM or SIGHUP.
    Interrupted = 130,
}

impl Exit {
    /// What a job that ended like this means for the exit code.
    #[must_use]
    pub fn of_job(job: &JobView) -> Self {
        match job.summary.state {
            JobState::Succeeded => Self::Ok,
            JobState::Failed | JobState::Dead => {
                job.summary.failure.as_ref().map_or(Self::Failed, |failure| Self::of_failure(failure.kind))
            }
            JobState::Queued | JobState::Running | JobState::Cancelled => Self::Failed,
        }
    }

    #[must_use]
    pub const fn of_failure(kind: FailureKind) -> Self {
        match kind {
            FailureKind::InvalidInput | FailureKind::InvalidSpec => Self::Invalid,
            FailureKind::DiskFull => Self::Unwritable,
            FailureKind::SourceUnreachable
            | FailureKind::MissingCapability
            | FailureKind::WorkerLost
            | FailureKind::SessionLimit
            | FailureKind::OutOfMemory
            | FailureKind::Stalled
            | FailureKind::TimeLimit
            | FailureKind::Crashed
            | FailureKind::OutputWrong
            | FailureKind::UploadFailed
            | FailureKind::Cancelled
            | FailureKind::HandedBack
            | FailureKind::Preempted => Self::Failed,
        }
    }

    /// The exit code of several inputs: the one that says most about what to do next. An interruption covers
    /// everything; what concerns all inputs (no coordinator, no place to write) covers what concerns one.
    #[must_use]
    pub fn worst(exits: impl IntoIterator<Item = Self>) -> Self {
        exits.into_iter().max_by_key(|exit| exit.severity()).unwrap_or(Self::Ok)
    }

    const fn severity(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Invalid => 1,
            Self::Failed => 2,
            Self::Unwritable => 3,
            Self::Unreachable => 4,
            Self::Interrupted => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Serialize for Exit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_failure_and_interruption_have_different_codes() {
        assert_eq!(Exit::of_failure(FailureKind::InvalidInput) as u8, 2);
        assert_eq!(Exit::of_failure(FailureKind::Crashed) as u8, 1);
        assert_eq!(Exit::of_failure(FailureKind::DiskFull) as u8, 4);
        assert_eq!(Exit::Interrupted as u8, 130);
    }

    #[test]
    fn the_worst_end_decides() {
        assert_eq!(Exit::worst([]), Exit::Ok);
        assert_eq!(Exit::worst([Exit::Ok, Exit::Invalid, Exit::Failed]), Exit::Failed);
        assert_eq!(Exit::worst([Exit::Interrupted, Exit::Unreachable]), Exit::Interrupted);
    }
}
