//! A job's legal transitions.

use common::api::JobState;

use crate::store::JobRecord;

/// Moves a job along, or leaves it where it is.
pub(super) fn become_state(job: &mut JobRecord, to: JobState) {
    debug_assert!(job.state == to || may_become(job.state, to), "a job went from {:?} to {to:?}", job.state);
    job.state = to;
}

/// The one table of a job's legal transitions.
pub(super) const fn may_become(from: JobState, to: JobState) -> bool {
    matches!(
        (from, to),
        (JobState::Queued, JobState::Running | JobState::Failed | JobState::Dead | JobState::Cancelled)
            | (
                JobState::Running,
                JobState::Queued
                    | JobState::Succeeded
                    | JobState::Failed
                    | JobState::Dead
                    | JobState::Cancelled
            )
            // A person retries or redrives.
            | (JobState::Failed | JobState::Dead | JobState::Cancelled, JobState::Queued)
    )
}
