//! What of the state is to be written, and what a commit that ended leaves.

use std::collections::{BTreeMap, BTreeSet};

use common::{
    api::JobState,
    id::{AttemptId, JobId, TaskId},
};

use super::{
    milestone::Wait,
    state::{Now, State},
};
use crate::store::{AttemptRecord, Changes, IdempotencyRecord, LogRecord, WebhookRecord};

#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) jobs: BTreeSet<JobId>,
    pub(super) tasks: BTreeSet<TaskId>,
    /// Attempts that are over have no other place any more.
    pub(super) attempts: BTreeMap<AttemptId, AttemptRecord>,
    /// Waits that ended; of no use to the store.
    pub(super) assigned: BTreeMap<AttemptId, Wait>,
    pub(super) logs: BTreeMap<AttemptId, Vec<String>>,
    pub(super) once: BTreeMap<JobId, IdempotencyRecord>,
}

impl Changed {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.tasks.is_empty()
            && self.attempts.is_empty()
            && self.logs.is_empty()
            && self.once.is_empty()
    }
}

impl State {
    /// What has to be written, as it is now. To be followed by [`State::written`] or [`State::not_written`]; what changes
    /// until then is for the next commit.
    pub(crate) fn begin_commit(&mut self) -> Changes {
        debug_assert!(self.writing.is_empty(), "one commit at a time");
        self.writing = std::mem::take(&mut self.changed);
        let changed = &self.writing;
        let mut attempts: BTreeMap<AttemptId, AttemptRecord> = changed.attempts.clone();
        for task in changed.tasks.iter().filter_map(|id| self.tasks.get(id)) {
            if let Some(running) = &task.attempt {
                attempts.insert(running.record.id, running.record.clone());
            }
        }
        let jobs: Vec<_> =
            changed.jobs.iter().filter_map(|id| self.jobs.get(id)).map(|job| job.record.clone()).collect();
        Changes {
            webhooks: jobs.iter().filter_map(WebhookRecord::of_end).collect(),
            jobs,
            tasks: changed
                .tasks
                .iter()
                .filter_map(|id| self.tasks.get(id))
                .map(|task| task.record.clone())
                .collect(),
            attempts: attempts.into_values().collect(),
            logs: changed
                .logs
                .iter()
                .map(|(id, lines)| LogRecord { id: *id, lines: lines.clone() })
                .collect(),
            idempotency: changed.once.values().cloned().collect(),
        }
    }

    /// The commit is durable: jobs that it said are over leave the memory.
    pub(crate) fn written(&mut self, now: Now) {
        let written = std::mem::take(&mut self.writing);
        // What has changed again is over in the next commit, if it is.
        for id in &written.jobs {
            if !self.changed.jobs.contains(id)
                && self.jobs.get(id).is_some_and(|job| job.record.state.is_final())
                && let Some(job) = self.drop_job(*id)
            {
                if let Some(made_at) = job.made_at.filter(|_| job.record.state == JobState::Succeeded) {
                    self.metrics.published(now.mono.saturating_sub(made_at).as_secs_f64());
                }
                for task in job.tasks {
                    self.tasks.remove(&task);
                }
            }
        }
    }

    /// The commit failed: everything is to be written still.
    pub(crate) fn not_written(&mut self) {
        let mut still = std::mem::take(&mut self.writing);
        let since = std::mem::take(&mut self.changed);
        still.jobs.extend(since.jobs);
        still.tasks.extend(since.tasks);
        still.attempts.extend(since.attempts);
        still.assigned.extend(since.assigned);
        still.logs.extend(since.logs);
        still.once.extend(since.once);
        self.changed = still;
    }
}
