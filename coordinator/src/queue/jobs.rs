//! What users do to jobs: submit, cancel, retry.

use std::sync::Arc;

use common::{
    api::{AttemptState, JobState, Quotas, TaskState},
    failure::{Failure, FailureKind},
    id::{AttemptId, Epoch, JobId, SessionId, TaskId, WorkerId},
};

use super::{
    fence,
    handle::Error,
    message::ToWorker,
    once::{Before, IdempotencyKey},
    shares::UsedUp,
    state::{Effect, Job, Now, State, Stopping, Task, requirement},
    transition::{become_state, may_become},
};
use crate::{
    metrics::Outcome,
    plan::TaskKind,
    store::{IdempotencyRecord, JobDetails, JobRecord, JobResult, StoredJob, TaskHistory, TaskRecord},
};

/// A job with its ids and its plan.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) id: JobId,
    pub(crate) details: JobDetails,
    pub(crate) tasks: Vec<(TaskId, TaskKind)>,
    pub(crate) once: Option<IdempotencyKey>,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    New,
    /// It was sent before, and gave this job.
    Before(JobId),
}

impl State {
    /// Queues a new job, unless the same request gave one before.
    pub(crate) fn submit(&mut self, submission: Submission, now: Now) -> Result<Accepted, Error> {
        let Submission { id, mut details, tasks, once } = submission;
        if let Some(before) = once.as_ref().and_then(|key| self.submitted(key, now).transpose()) {
            return before.map(Accepted::Before);
        }
        if let Some(UsedUp { owner, limit }) = self.owners.refuses(details.owner.as_deref()) {
            return Err(Error::Quota(format!(
                "{owner} has {limit} jobs waiting, as many as its quota `queued` allows"
            )));
        }
        if let Some(IdempotencyKey { owner, key, digest }) = once {
            let record = IdempotencyRecord { owner, key, digest, job: id, submitted_at: now.wall };
            self.once.remember(record.clone());
            self.changed.once.insert(id, record);
        }
        let owner = self.owners.enter(details.owner.as_deref());
        self.pool.share_spec(&details.preset, &mut details.spec);
        let record = JobRecord {
            id,
            state: JobState::Queued,
            priority: details.priority,
            request: Arc::new(details),
            submitted_at: now.wall,
            started_at: None,
            finished_at: None,
            failure: None,
            worker: None,
            result: JobResult::default(),
        };
        let mut ids = Vec::with_capacity(tasks.len());
        for (task, kind) in tasks {
            let task = TaskRecord {
                id: task,
                job: id,
                kind,
                state: TaskState::Queued,
                epoch: Epoch::default(),
                published: None,
                queued_at: now.wall,
                finished_at: None,
                history: TaskHistory::default(),
            };
            ids.push(task.id);
            self.changed.tasks.insert(task.id);
            let queued = task.id;
            self.tasks.insert(
                queued,
                Box::new(Task {
                    requirement: self.pool.requirement(requirement(&record, &task)),
                    priority: record.priority,
                    owner,
                    next_epoch: fence::next_epoch(Epoch::default()),
                    restored: false,
                    requeues: 0,
                    attempt: None,
                    delayed_until: None,
                    record: task,
                }),
            );
        }
        self.jobs
            .insert(id, Box::new(Job { record, tasks: ids.clone(), owner, waits: false, made_at: None }));
        for task in ids {
            self.note_inflow(task);
            self.make_ready(task);
        }
        self.job_changed(id, now);
        self.metrics.submitted();
        Ok(Accepted::New)
    }

    /// The job that the same request gave before.
    pub(crate) fn submitted(&self, key: &IdempotencyKey, now: Now) -> Result<Option<JobId>, Error> {
        match self.once.before(key, now.wall) {
            Before::Nothing => Ok(None),
            Before::Same(job) => Ok(Some(job)),
            Before::Other => Err(Error::WrongState(format!(
                "the idempotency key {:?} was used for another request within the last day: send each request under a key of \
                 its own",
                key.key
            ))),
        }
    }

    /// After a start: keys of the last day, oldest first.
    pub(crate) fn remember(&mut self, records: Vec<IdempotencyRecord>) {
        for record in records {
            self.once.remember(record);
        }
    }

    /// Puts a job that has not ended elsewhere in the queue.
    pub(crate) fn set_priority(&mut self, id: JobId, priority: i32, now: Now) -> Result<(), Error> {
        let job = self.jobs.get_mut(&id).ok_or(Error::NoSuchJob(id))?;
        let state = job.record.state;
        if state.is_final() {
            return Err(Error::WrongState(format!("job {id} has {} already", state_word(state))));
        }
        job.record.priority = priority;
        for task in job.tasks.clone() {
            let until = self.tasks.get(&task).and_then(|task| task.delayed_until);
            self.unqueue(task);
            let Some(known) = self.tasks.get_mut(&task) else { continue };
            known.priority = priority;
            if let Some(until) = until {
                known.delayed_until = Some(until);
                self.delayed.insert((until, task));
            }
            self.make_ready(task);
        }
        self.job_changed(id, now);
        Ok(())
    }

    /// What holds for an owner from here on; `None`: what is usual.
    pub(crate) fn set_quotas(&mut self, owner: &str, quotas: Option<Quotas>) {
        if let Some(owner) = self.owners.set_quotas(owner, quotas) {
            self.reshare(owner);
        }
    }

    /// Takes back a job that could not be made durable: nobody was told that it was accepted.
    pub(crate) fn withdraw(&mut self, id: JobId, now: Now) {
        let Some(job) = self.drop_job(id) else { return };
        self.changed.jobs.remove(&id);
        if let Some(record) = self.changed.once.remove(&id) {
            self.once.forget(&record);
        }
        self.withdraw_delivery(id);
        for task in job.tasks {
            self.unqueue(task);
            self.stop_attempt(task, "the job could not be stored", now);
            self.tasks.remove(&task);
            self.changed.tasks.remove(&task);
            self.changed.attempts.retain(|attempt, _| attempt.task != task);
            self.changed.logs.retain(|attempt, _| attempt.task != task);
        }
        self.drop_job(id);
    }

    /// Cancels a job that is not over.
    pub(crate) fn cancel(&mut self, id: JobId, now: Now) -> Result<(), Error> {
        let failure = Failure::new(FailureKind::Cancelled, "cancelled by request");
        self.end_job(id, JobState::Cancelled, Some(failure), now)
    }

    /// Queues a job again that failed or was cancelled. What it learned about the input stays; its budget is new.
    pub(crate) fn retry(&mut self, mut stored: StoredJob, now: Now) -> Result<(), Error> {
        let from = stored.job.state;
        if !may_become(from, JobState::Queued) || !from.is_final() {
            return Err(Error::WrongState(format!(
                "job {} has {}: only what failed, was cancelled or was given up can be tried again",
                stored.job.id,
                state_word(from)
            )));
        }
        let id = stored.job.id;
        become_state(&mut stored.job, JobState::Queued);
        stored.job.failure = None;
        stored.job.finished_at = None;
        for (task, _) in &mut stored.tasks {
            if task.state != TaskState::Succeeded {
                task.state = TaskState::Queued;
                task.finished_at = None;
                task.queued_at = now.wall;
                task.history.failures = 0;
                task.history.mishaps.clear();
                task.history.ran_ms = 0;
            }
            self.changed.tasks.insert(task.id);
        }
        self.restore(stored, now);
        self.job_changed(id, now);
        Ok(())
    }

    /// Ends a job: what waits is dropped, what runs is stopped.
    pub(super) fn end_job(
        &mut self,
        id: JobId,
        to: JobState,
        failure: Option<Failure>,
        now: Now,
    ) -> Result<(), Error> {
        let job = self.jobs.get_mut(&id).ok_or(Error::NoSuchJob(id))?;
        let from = job.record.state;
        if !may_become(from, to) {
            return Err(Error::WrongState(format!(
                "job {id} has {} already: there is nothing to cancel",
                state_word(from)
            )));
        }
        become_state(&mut job.record, to);
        job.record.finished_at = Some(now.wall);
        job.record.failure = failure;
        let tasks = job.tasks.clone();
        self.stop_delivery(id);
        for task in tasks {
            self.unqueue(task);
            self.stop_attempt(task, "the job is over", now);
            if let Some(task) = self.tasks.get_mut(&task)
                && matches!(task.record.state, TaskState::Queued | TaskState::Running)
            {
                task.record.state =
                    if to == JobState::Cancelled { TaskState::Cancelled } else { TaskState::Failed };
                task.record.finished_at = Some(now.wall);
                let outcome = if to == JobState::Cancelled { "cancelled" } else { "failed" };
                self.metrics.task_ended(task.record.kind.as_str(), outcome);
            }
            self.changed.tasks.insert(task);
        }
        self.count_end(id);
        self.job_changed(id, now);
        Ok(())
    }

    /// Stops the attempt of a task, if there is one. It keeps its slot until its worker says that it stopped.
    fn stop_attempt(&mut self, task: TaskId, reason: &str, now: Now) {
        let Some(running) = self.take_attempt(task, now) else { return };
        self.count_attempt(&running, Outcome::Cancelled, now);
        let mut record = running.record;
        let attempt: AttemptId = record.id;
        let worker = record.worker.id;
        record.state = AttemptState::Cancelled;
        record.finished_at = Some(now.wall);
        self.effects.push(Effect::Sweep(record.job, attempt));
        self.changed.attempts.insert(attempt, record);
        self.keep_log(attempt, running.log);
        self.let_stop(attempt, worker, running.session, reason, now);
    }

    /// The worker of an attempt that is over is told to stop it, and has its slot back when it says that it did.
    pub(super) fn let_stop(
        &mut self,
        attempt: AttemptId,
        worker: WorkerId,
        session: Option<SessionId>,
        reason: &str,
        now: Now,
    ) {
        let Some(session) = session else {
            // It is away; should it come back with the attempt, it is told then.
            self.release(attempt, worker);
            return;
        };
        let deadline = now.mono + self.settings.lease;
        self.stopping.insert(attempt, Stopping { worker, deadline });
        self.effects.push(Effect::Send(session, ToWorker::Stop { attempt, reason: reason.to_owned() }));
    }
}

pub(super) const fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "not started",
        JobState::Running => "not ended",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelled => "been cancelled",
        JobState::Dead => "been given up (a dead letter)",
    }
}
