//! The course of attempts: start, upload, result, failure.

use std::time::Duration;

use common::{
    api::{AttemptState, JobState, TaskState},
    failure::{Failure, FailureKind},
    id::{AttemptId, SessionId, TaskId, WorkerId},
    media::MediaInfo,
    worker::{Damage, Need, OutputFile, Progress},
};

use super::{
    fence,
    handle::Error,
    message::{AttemptResult, ToWorker, UploadGrant},
    remedy::{self, Fault, Next},
    state::{Effect, Now, State, learn, requirement, slot},
    transition::become_state,
};
use crate::{
    fleet::{SessionCap, Slot},
    metrics::Outcome,
    store::Mishap,
};

/// What a success comes with.
struct Success {
    outputs: Vec<OutputFile>,
    warnings: Vec<String>,
    progress: Progress,
    damage: Option<Damage>,
}

impl State {
    /// ffmpeg runs.
    pub(crate) fn attempt_started(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        argv: Vec<String>,
        input: Option<MediaInfo>,
        now: Now,
    ) {
        if self.live_started(session, attempt, &argv) || self.admit(attempt, session).is_err() {
            return;
        }
        let Some(running) = self.current_mut(attempt) else { return };
        running.record.details.command = argv;
        running.record.started_at.get_or_insert(now.wall);
        let (job, worker) = (running.record.job, running.record.worker.id);
        self.changed.tasks.insert(attempt.task);
        self.fleet.touch(worker);
        if let Some(known) = self.jobs.get_mut(&job)
            && input.is_some()
        {
            known.record.result.input_info = input.map(Box::new);
            self.changed.jobs.insert(job);
        }
    }

    /// Whether this session may upload files of this attempt.
    pub(crate) fn upload_grant(&self, session: SessionId, attempt: AttemptId) -> Result<UploadGrant, Error> {
        self.admit(attempt, session).map_err(|_| Error::Stale(attempt))?;
        let running = self.current(attempt).ok_or(Error::Stale(attempt))?;
        Ok(UploadGrant { job: running.record.job, attempt })
    }

    /// An attempt ended. Only its task's current attempt, on the session that has it, changes anything.
    pub(crate) fn attempt_finished(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        result: AttemptResult,
        log: Vec<String>,
        now: Now,
    ) {
        if self.admit_live(attempt, session).is_some_and(|admitted| admitted.is_ok()) {
            self.live_finished(session, attempt, result, &log, now);
            return;
        }
        let worker = self.fleet.of_session(session);
        if self.stopping.get(&attempt).is_some_and(|stopping| Some(stopping.worker) == worker) {
            self.stopped(attempt);
        }
        let admitted = self.admit(attempt, session);
        if admitted.is_ok() {
            if let Some(running) = self.current_mut(attempt)
                && !log.is_empty()
            {
                running.log = log.into();
            }
            match result {
                AttemptResult::Succeeded { outputs, warnings, progress, damage } => {
                    self.publish(attempt, Success { outputs, warnings, progress, damage }, now);
                }
                AttemptResult::Failed { failure, missing } => {
                    self.fail_attempt(attempt, AttemptState::Failed, &failure, missing, now);
                }
            }
        }
        let refused = admitted.err().map(fence::Stale::in_words);
        self.effects.push(Effect::Send(session, ToWorker::Acknowledge { attempt, refused }));
    }

    /// The one place where a result becomes the result.
    fn publish(&mut self, attempt: AttemptId, success: Success, now: Now) {
        let Some(mut running) = self.take_attempt(attempt.task, now) else { return };
        self.count_attempt(&running, Outcome::Succeeded, now);
        let before = running.progress.as_ref().map_or(0, |progress| progress.frames);
        let encoder = running.record.details.encoder.as_deref();
        let more = success.progress.frames.saturating_sub(before);
        self.count_frames(running.record.worker.id, running.record.job, encoder, more);
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return };
        debug_assert!(task.record.published.is_none(), "a task is published once");
        task.record.published = Some(attempt.epoch);
        task.record.state = TaskState::Succeeded;
        task.record.finished_at = Some(now.wall);
        self.metrics.task_ended(task.record.kind.as_str(), "succeeded");
        let mishaps = task.record.history.mishaps.clone();
        running.record.state = AttemptState::Succeeded;
        running.record.finished_at = Some(now.wall);
        let (job, place) = (running.record.job, (running.record.worker.id, slot(&running.record)));
        self.release(attempt, place.0);
        self.praise(place, &running.record.worker.name, &mishaps, now);
        self.changed.tasks.insert(attempt.task);
        self.changed.attempts.insert(attempt, running.record);
        self.keep_log(attempt, running.log);
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let result = &mut known.record.result;
        result.outputs.extend(success.outputs);
        result.warnings.extend(success.warnings);
        result.progress = Some(Box::new(success.progress));
        result.damage = success.damage.map(Box::new);
        let done = known
            .tasks
            .iter()
            .all(|id| self.tasks.get(id).is_some_and(|task| task.record.state == TaskState::Succeeded));
        if done {
            known.made_at = Some(now.mono);
            self.all_published(job, now);
        }
        self.job_changed(job, now);
    }

    /// A task succeeded here: whoever failed with it before is to blame for that.
    fn praise(&mut self, here: (WorkerId, Slot), name: &str, mishaps: &[Mishap], now: Now) {
        if let Some(worker) = self.fleet.get_mut(here.0) {
            worker.standing.recent_failures = 0;
            worker.standing.completed += 1;
            worker.standing.health.proven(here.1);
        }
        for mishap in mishaps.iter().filter(|mishap| remedy::blames_the_worker(mishap.kind)) {
            let place = mishap.gpu.map_or(Slot::Cpu, Slot::Gpu);
            if (mishap.worker, place) == here {
                continue;
            }
            let Some(worker) = self.fleet.get_mut(mishap.worker) else { continue };
            let why =
                format!("tasks fail here ({}) that succeed elsewhere, the newest on {name}", mishap.kind);
            if worker.standing.health.blame(place, why, now.mono) {
                tracing::warn!(
                    worker = %mishap.worker,
                    name = worker.identity.name,
                    ?place,
                    kind = %mishap.kind,
                    "quarantined: tasks fail there that succeed elsewhere"
                );
                self.announce_worker(mishap.worker, now);
            }
        }
    }

    /// Ends an attempt without a result and decides what happens to its task.
    pub(super) fn fail_attempt(
        &mut self,
        attempt: AttemptId,
        state: AttemptState,
        failure: &Failure,
        missing: Need,
        now: Now,
    ) {
        if self.current(attempt).is_none() {
            return;
        }
        let Some(mut running) = self.take_attempt(attempt.task, now) else { return };
        self.count_attempt(&running, Outcome::Failed(failure.kind), now);
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return };
        running.record.state = state;
        running.record.finished_at = Some(now.wall);
        running.record.details.failure = Some(failure.clone());
        let (job, worker, slot) = (running.record.job, running.record.worker.id, slot(&running.record));

        let taught = missing != Need::default() && {
            let learned = task.record.history.learned.get_or_insert_default();
            learn(learned, missing)
        };
        let fault = Fault {
            failure,
            worker,
            gpu: match slot {
                Slot::Gpu(index) => Some(index),
                Slot::Cpu => None,
            },
            taught,
            excused: running.orphaned,
            requeues: task.requeues,
        };
        let counted = remedy::counts(&fault);
        // Spread by the task's own id: no randomness in decisions, and no two tasks in step.
        let jitter = f64::from((attempt.task.0.as_u128() & 0xffff) as u16) / 65_536.0;
        let next = remedy::follow(&mut task.record.history, &fault, jitter);
        let next = match next {
            Next::Again(_) if self.time_left(attempt.task).is_some_and(|left| left.is_zero()) => {
                let message = format!(
                    "{}; after it the job's time limit was used up: raise it or ask for less",
                    failure.message
                );
                Next::Failed(Failure::new(FailureKind::TimeLimit, message))
            }
            next => next,
        };
        let Some(task) = self.tasks.get(&attempt.task) else { return };
        let sessions = task.requirement.need.video.as_ref().map_or(0, |video| video.sessions);

        self.changed.attempts.insert(attempt, running.record);
        self.keep_log(attempt, running.log);
        self.changed.tasks.insert(attempt.task);
        self.effects.push(Effect::Sweep(job, attempt));
        match (state, running.session) {
            // Taken away from a worker that may still be at it.
            (AttemptState::Superseded, session) => {
                self.let_stop(attempt, worker, session, &failure.message, now);
            }
            _ => self.release(attempt, worker),
        }
        if let Some(worker) = self.fleet.get_mut(worker) {
            if counted {
                worker.standing.recent_failures += 1;
                worker.standing.failed += 1;
            }
            if let (FailureKind::SessionLimit, Slot::Gpu(gpu)) = (failure.kind, slot) {
                let cap = SessionCap::refused(worker.own_sessions(gpu), sessions, now.mono);
                worker.standing.session_caps.insert(gpu, cap);
            }
        }
        // The job runs, so it may end; were it over already, it would need no end.
        match next {
            Next::Again(pause) => self.requeue(attempt.task, pause, now),
            Next::Failed(failure) => {
                let _ = self.end_job(job, JobState::Failed, Some(failure), now);
            }
            Next::Dead(failure) => {
                let _ = self.end_job(job, JobState::Dead, Some(failure), now);
            }
        }
    }

    /// Puts a task back into the queue, to be ready after a pause.
    fn requeue(&mut self, id: TaskId, pause: Duration, now: Now) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let job = task.record.job;
        task.record.state = TaskState::Queued;
        task.record.queued_at = now.wall;
        task.requeues += 1;
        if !pause.is_zero() {
            let until = now.mono + pause;
            task.delayed_until = Some(until);
            self.delayed.insert((until, id));
        }
        if let Some(known) = self.jobs.get(&job) {
            task.requirement = self.pool.requirement(requirement(&known.record, &task.record));
        }
        self.note_inflow(id);
        self.make_ready(id);
        self.changed.tasks.insert(id);
        if let Some(known) = self.jobs.get_mut(&job) {
            become_state(&mut known.record, JobState::Queued);
            self.job_changed(job, now);
        }
    }
}
