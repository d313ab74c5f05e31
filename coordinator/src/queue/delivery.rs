//! Bringing what a job published to where the job wants it.
//!
//! A job with an `output` has not succeeded with its last task: it goes on `Running`, with every task published, until its
//! files are there. That is all that is durable of a delivery, so a restart begins it anew; files that are there already are
//! written again. A delivery that fails is tried again, later and later; one that is given up makes the job a dead letter,
//! and a redrive of that only delivers again.

use std::time::Duration;

use common::{
    api::{JobState, TaskState},
    backoff::Backoff,
    failure::{Failure, FailureKind},
    id::{AttemptId, JobId},
    worker::OutputFile,
};

use super::{
    state::{Effect, Now, State},
    transition::become_state,
};

/// Tries of a delivery.
pub(super) const TRIES: u32 = 8;
/// Between them.
const AGAIN: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(120) };

/// What is to be brought where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub job: JobId,
    /// Tells this try from earlier ones of the job.
    pub number: u64,
    /// With the attempts whose files they are.
    pub files: Vec<(AttemptId, OutputFile)>,
    /// As in [`JobDetails::output`](crate::store::JobDetails).
    pub to: String,
}

/// An order to whoever delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOrder {
    Begin(Delivery),
    /// The job is over.
    Stop(JobId),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    Done,
    /// In words: which object, and why.
    Failed(String),
    /// It will never work.
    Refused(String),
}

/// A delivery of a job that is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivering {
    /// Of the try under way, or of the last one.
    number: u64,
    failures: u32,
    /// When the next try begins; `None`: one is under way.
    due: Option<Duration>,
}

#[cfg(test)]
impl Delivering {
    pub(super) const fn due(self) -> Option<Duration> {
        self.due
    }
}

impl State {
    /// The last task of a job has been published: it has succeeded, or what it made is to be delivered.
    pub(super) fn all_published(&mut self, job: JobId, now: Now) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        if known.record.request.output.is_some() {
            self.begin_delivery(job, 0);
        } else {
            become_state(&mut known.record, JobState::Succeeded);
            known.record.finished_at = Some(now.wall);
            self.count_end(job);
        }
    }

    /// Goes on with a job that comes from the store, if all that is missing is its delivery.
    pub(super) fn restore_delivery(&mut self, job: JobId) {
        let Some(known) = self.jobs.get(&job) else { return };
        let published = |id| self.tasks.get(id).is_some_and(|task| task.record.state == TaskState::Succeeded);
        if known.record.request.output.is_none()
            || known.record.state.is_final()
            || !known.tasks.iter().all(published)
        {
            return;
        }
        let Some(known) = self.jobs.get_mut(&job) else { return };
        become_state(&mut known.record, JobState::Running);
        self.begin_delivery(job, 0);
    }

    fn begin_delivery(&mut self, job: JobId, failures: u32) {
        let Some(known) = self.jobs.get(&job) else { return };
        let Some(to) = known.record.request.output.clone() else { return };
        // One task publishes all files, as things are planned.
        let attempt = known.tasks.iter().find_map(|id| {
            let task = &self.tasks.get(id)?.record;
            Some(AttemptId { task: task.id, epoch: task.published? })
        });
        let Some(attempt) = attempt else { return };
        let files = known.record.result.outputs.iter().map(|file| (attempt, file.clone())).collect();
        self.deliveries += 1;
        let number = self.deliveries;
        self.set_delivering(job, Some(Delivering { number, failures, due: None }));
        let delivery = Delivery { job, number, files, to };
        self.effects.push(Effect::Deliver(DeliveryOrder::Begin(delivery)));
    }

    fn set_delivering(&mut self, job: JobId, to: Option<Delivering>) -> Option<Delivering> {
        let before = match to {
            Some(to) => self.delivering.insert(job, to),
            None => self.delivering.remove(&job),
        };
        if let Some(due) = before.and_then(|before| before.due) {
            self.due_deliveries.remove(&(due, job));
        }
        if let Some(due) = to.and_then(|to| to.due) {
            self.due_deliveries.insert((due, job));
        }
        before
    }

    /// A try has ended. Only that of the newest try of a job that waits for it changes anything.
    pub(crate) fn delivered(&mut self, job: JobId, number: u64, outcome: Delivered, now: Now) {
        let Some(delivering) = self.delivering.get(&job).copied() else { return };
        if delivering.number != number || delivering.due.is_some() {
            return;
        }
        let failures = delivering.failures + 1;
        let (reason, again) = match outcome {
            Delivered::Done => {
                self.set_delivering(job, None);
                let Some(known) = self.jobs.get_mut(&job) else { return };
                become_state(&mut known.record, JobState::Succeeded);
                known.record.finished_at = Some(now.wall);
                self.count_end(job);
                self.job_changed(job, now);
                return;
            }
            Delivered::Failed(reason) => (reason, failures < TRIES),
            Delivered::Refused(reason) => (reason, false),
        };
        if again {
            // Spread by the job's own id: no randomness in decisions.
            let jitter = f64::from((job.0.as_u128() & 0xffff) as u16) / 65_536.0;
            let due = now.mono + AGAIN.delay(failures - 1, jitter);
            tracing::info!(%job, failures, reason, "a delivery failed, it will be tried again");
            self.set_delivering(job, Some(Delivering { failures, due: Some(due), ..delivering }));
            return;
        }
        let message = format!(
            "delivering the results: {reason}; after {failures} {} it was given up: what was made is kept, and a redrive \
             only delivers it again",
            if failures == 1 { "try" } else { "tries" }
        );
        tracing::warn!(%job, reason, "a delivery is given up");
        let failure = Failure::new(FailureKind::UploadFailed, message);
        self.set_delivering(job, None);
        // The job runs, so it may end.
        let _ = self.end_job(job, JobState::Dead, Some(failure), now);
    }

    /// Begins the tries that are due.
    pub(super) fn tick_deliveries(&mut self, now: Now) {
        while let Some((due, job)) = self.due_deliveries.first().copied()
            && due <= now.mono
        {
            let before = self.set_delivering(job, None);
            self.begin_delivery(job, before.map_or(0, |before| before.failures));
        }
    }

    /// The job is over: nothing of it is delivered any more.
    pub(super) fn stop_delivery(&mut self, job: JobId) {
        if self.set_delivering(job, None).is_some() {
            self.effects.push(Effect::Deliver(DeliveryOrder::Stop(job)));
        }
    }

    /// The job was never accepted.
    pub(super) fn withdraw_delivery(&mut self, job: JobId) {
        self.set_delivering(job, None);
    }

    /// Whether an order that waited for a commit still holds.
    pub(super) fn is_wanted(&self, order: &DeliveryOrder) -> bool {
        match order {
            DeliveryOrder::Begin(delivery) => {
                self.delivering.get(&delivery.job).is_some_and(|known| known.number == delivery.number)
            }
            DeliveryOrder::Stop(_) => true,
        }
    }

    pub(super) fn next_delivery(&self) -> Option<Duration> {
        self.due_deliveries.first().map(|(due, _)| *due)
    }
}
