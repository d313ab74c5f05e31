//! What workers say: registration, heartbeats, the start and end of attempts, silence.

use std::{collections::BTreeMap, time::Duration};

use common::{
    api::{AttemptState, Event, JobState, TaskState},
    backoff::Backoff,
    failure::{Failure, FailureKind, Remedy},
    id::{AttemptId, SessionId, TaskId, WorkerId},
    media::MediaInfo,
    worker::{Capabilities, Damage, GpuLoad, Load, Need, Progress},
};

use super::{
    handle::{AttemptResult, Error, Registration, ToWorker, UploadGrant, Welcome},
    state::{Effect, FAILURE_BUDGET, LOG_LINES, Now, State, become_state, requirement},
};
use crate::fleet::Worker;

/// Between tries of a task that failed.
const RETRY: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
/// Between tries of a task that was not at fault; the first is immediate.
const REQUEUE: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(30) };
/// How long a GPU that refused a session is passed over.
const SESSION_LIMIT_PAUSE: Duration = Duration::from_secs(10);

impl State {
    /// A worker connected. It may go on with those of its attempts that are still its own.
    pub(crate) fn register(&mut self, hello: Registration, session: SessionId, now: Now) -> Welcome {
        let before = self.fleet.get(hello.worker);
        if let Some(old) = before.and_then(|worker| worker.session) {
            let reason = "the same worker connected again; is its state folder used twice?".to_owned();
            self.effects.push(Effect::Send(old, ToWorker::Disconnect { reason }));
        }
        let worker = Worker {
            id: hello.worker,
            name: hello.name,
            version: hello.version,
            address: hello.address,
            capabilities: hello.capabilities,
            capacity: hello.capacity,
            labels: hello.labels,
            presets: hello.presets,
            exit_when_idle: hello.exit_when_idle,
            session: Some(session),
            last_heard: now.mono,
            connected_at_ms: now.wall,
            drained_by_operator: before.is_some_and(|worker| worker.drained_by_operator),
            shutting_down: hello.draining,
            quarantine: before.and_then(|worker| worker.quarantine.clone()),
            load: Load::default(),
            gpu_loads: Vec::new(),
            foreign_sessions: BTreeMap::new(),
            full_until: BTreeMap::new(),
            held: BTreeMap::new(),
            recent_failures: before.map_or(0, |worker| worker.recent_failures),
            completed: before.map_or(0, |worker| worker.completed),
            failed: before.map_or(0, |worker| worker.failed),
        };
        let drained = worker.drained_by_operator;
        // A worker that came back was told to stop what it may not keep.
        let stopping: Vec<AttemptId> = self
            .stopping
            .iter()
            .filter(|(_, stopping)| stopping.worker == hello.worker)
            .map(|(id, _)| *id)
            .collect();
        for attempt in stopping {
            self.stopped(attempt);
        }
        self.fleet.insert(worker);

        let mut verdicts = Vec::with_capacity(hello.running.len());
        for attempt in hello.running {
            let keep = self.adopt(attempt, hello.worker, session, now);
            if !keep {
                self.release(attempt, hello.worker);
            }
            verdicts.push((attempt, keep));
        }
        // What it should have and does not: it was restarted.
        let forgotten: Vec<AttemptId> = self
            .assigned
            .get(&hello.worker)
            .into_iter()
            .flatten()
            .filter(|id| self.current(**id).is_none_or(|running| running.session != Some(session)))
            .copied()
            .collect();
        for attempt in forgotten {
            let failure = Failure::new(
                FailureKind::WorkerLost,
                format!(
                    "worker {} was restarted and came back without this attempt",
                    self.worker_name(hello.worker)
                ),
            );
            self.fail_attempt(attempt, AttemptState::Failed, failure, Need::default(), now);
        }
        if drained {
            self.effects.push(Effect::Send(session, ToWorker::SetDraining(true)));
        }
        self.announce_worker(hello.worker, now);
        Welcome { session, verdicts }
    }

    /// Gives a running attempt to its worker's new session, if it is still that worker's.
    fn adopt(&mut self, attempt: AttemptId, worker: WorkerId, session: SessionId, now: Now) -> bool {
        let deadline = now.mono + self.settings.lease;
        let Some(running) = self.current_mut(attempt).filter(|running| running.record.worker.id == worker)
        else {
            return false;
        };
        running.session = Some(session);
        running.deadline = deadline;
        running.record.state = AttemptState::Running;
        let record = running.record.clone();
        let held = self.held(&record);
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.held.insert(attempt, held);
        }
        true
    }

    /// A heartbeat: renews the leases of the attempts that it names.
    pub(crate) fn heartbeat(
        &mut self,
        session: SessionId,
        load: Load,
        gpus: Vec<GpuLoad>,
        attempts: Vec<(AttemptId, Progress, Vec<String>)>,
        now: Now,
    ) {
        let Some(worker) = self.fleet.of_session(session) else { return };
        let silent_before = self.is_silent(worker, now);
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.heard(now.mono, load, gpus);
        }
        let deadline = now.mono + self.settings.lease;
        let named: Vec<AttemptId> = attempts.iter().map(|(id, _, _)| *id).collect();
        let mut renewed = Vec::with_capacity(attempts.len());
        for (attempt, progress, log) in attempts {
            let Some(running) = self.current_mut(attempt).filter(|running| running.session == Some(session))
            else {
                continue;
            };
            running.deadline = deadline;
            running.log.extend(log);
            while running.log.len() > LOG_LINES {
                running.log.pop_front();
            }
            running.progress = Some(progress);
            renewed.push(attempt);
            let job = running.record.job;
            if let Some(progress) = self.progress_view(attempt) {
                self.effects.push(Effect::Announce(Event::Progress { job, progress }));
            }
        }
        // An attempt that was told to stop and that the worker does not name any more has stopped.
        let stopped: Vec<AttemptId> = self
            .stopping
            .iter()
            .filter(|(id, stopping)| stopping.worker == worker && !named.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for attempt in stopped {
            self.stopped(attempt);
        }
        if !renewed.is_empty() {
            self.effects.push(Effect::Send(session, ToWorker::LeasesRenewed(renewed)));
        }
        if silent_before {
            self.announce_worker(worker, now);
        }
    }

    fn is_silent(&self, worker: WorkerId, now: Now) -> bool {
        let limit = self.fleet.policy.stale_after;
        self.fleet.get(worker).is_some_and(|worker| worker.is_stale(now.mono, limit))
    }

    /// ffmpeg runs.
    pub(crate) fn attempt_started(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        argv: Vec<String>,
        input: Option<MediaInfo>,
        now: Now,
    ) {
        let Some(running) = self.current_mut(attempt).filter(|running| running.session == Some(session))
        else {
            return;
        };
        running.record.details.command = argv;
        running.record.started_at = Some(now.wall);
        let job = running.record.job;
        self.changed.tasks.insert(attempt.task);
        if let Some(known) = self.jobs.get_mut(&job)
            && input.is_some()
        {
            known.record.result.input_info = input;
            self.changed.jobs.insert(job);
        }
    }

    /// Whether this session may upload files of this attempt.
    pub(crate) fn upload_grant(&self, session: SessionId, attempt: AttemptId) -> Result<UploadGrant, Error> {
        self.current(attempt)
            .filter(|running| running.session == Some(session))
            .map(|running| UploadGrant { job: running.record.job, attempt })
            .ok_or(Error::Stale(attempt))
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
        let worker = self.fleet.of_session(session);
        if self.stopping.get(&attempt).is_some_and(|stopping| Some(stopping.worker) == worker) {
            self.stopped(attempt);
        }
        let refused = match self.current_mut(attempt).filter(|running| running.session == Some(session)) {
            None => Some("the attempt is not current any more, or not this worker's".to_owned()),
            Some(running) => {
                if !log.is_empty() {
                    running.log = log.into();
                }
                match result {
                    AttemptResult::Succeeded { outputs, warnings, progress, damage } => {
                        self.publish(attempt, outputs, warnings, progress, damage, now);
                    }
                    AttemptResult::Failed { failure, missing } => {
                        self.fail_attempt(attempt, AttemptState::Failed, failure, missing, now);
                    }
                }
                None
            }
        };
        self.effects.push(Effect::Send(session, ToWorker::Acknowledge { attempt, refused }));
    }

    /// The one place where a result becomes the result.
    fn publish(
        &mut self,
        attempt: AttemptId,
        outputs: Vec<common::worker::OutputFile>,
        warnings: Vec<String>,
        progress: Progress,
        damage: Option<Damage>,
        now: Now,
    ) {
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return };
        let Some(mut running) = task.attempt.take() else { return };
        debug_assert!(task.record.published.is_none(), "a task is published once");
        task.record.published = Some(attempt.epoch);
        task.record.state = TaskState::Succeeded;
        task.record.finished_at = Some(now.wall);
        running.record.state = AttemptState::Succeeded;
        running.record.finished_at = Some(now.wall);
        let (job, worker) = (running.record.job, running.record.worker.id);
        self.changed.tasks.insert(attempt.task);
        self.changed.attempts.insert(attempt, running.record);
        self.changed.logs.insert(attempt, running.log.into());
        self.release(attempt, worker);
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.recent_failures = 0;
            worker.completed += 1;
        }
        let Some(known) = self.jobs.get_mut(&job) else { return };
        known.record.result.outputs.extend(outputs);
        known.record.result.warnings.extend(warnings);
        known.record.result.progress = Some(progress);
        known.record.result.damage = damage;
        let done = known.tasks.clone();
        let done = done
            .iter()
            .all(|id| self.tasks.get(id).is_some_and(|task| task.record.state == TaskState::Succeeded));
        if done && let Some(known) = self.jobs.get_mut(&job) {
            become_state(&mut known.record, JobState::Succeeded);
            known.record.finished_at = Some(now.wall);
        }
        self.job_changed(job, now);
    }

    /// Ends an attempt without a result and decides what happens to its task.
    pub(super) fn fail_attempt(
        &mut self,
        attempt: AttemptId,
        state: AttemptState,
        failure: Failure,
        missing: Need,
        now: Now,
    ) {
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return };
        let Some(mut running) = task.attempt.take_if(|running| running.record.id == attempt) else { return };
        running.record.state = state;
        running.record.finished_at = Some(now.wall);
        running.record.details.failure = Some(failure.clone());
        let (job, worker) = (running.record.job, running.record.worker.id);
        let gpu = running.record.details.device.as_ref().map(|device| device.gpu);

        let learned = learn(&mut task.record.history.need, missing);
        let remedy = match failure.kind.remedy() {
            // A worker that lacks nothing that it names would be asked for ever.
            Remedy::Requeue if failure.kind == FailureKind::MissingCapability && !learned => Remedy::Retry,
            // A worker may only call cancelled what the coordinator cancelled, and that is not current any more.
            Remedy::End => Remedy::Retry,
            remedy => remedy,
        };
        if remedy == Remedy::Retry {
            task.record.history.failures += 1;
            task.record.history.failed_on.insert(worker);
        }
        let failures = task.record.history.failures;
        self.changed.attempts.insert(attempt, running.record);
        self.changed.logs.insert(attempt, running.log.into());
        self.changed.tasks.insert(attempt.task);
        self.effects.push(Effect::Sweep(job, attempt));
        self.release(attempt, worker);
        if let Some(worker) = self.fleet.get_mut(worker) {
            if remedy == Remedy::Retry {
                worker.recent_failures += 1;
                worker.failed += 1;
            }
            if let (FailureKind::SessionLimit, Some(gpu)) = (failure.kind, gpu) {
                worker.full_until.insert(gpu, now.mono + SESSION_LIMIT_PAUSE);
            }
        }
        match remedy {
            Remedy::Requeue => self.requeue(attempt.task, REQUEUE, now),
            // The fault lies with the worker, which is gone: nothing to wait for.
            Remedy::Retry if failures < FAILURE_BUDGET && failure.kind == FailureKind::WorkerLost => {
                self.requeue(attempt.task, REQUEUE, now);
            }
            Remedy::Retry if failures < FAILURE_BUDGET => self.requeue(attempt.task, RETRY, now),
            Remedy::Retry | Remedy::GiveUp | Remedy::End => {
                let failure = if failures > 1 {
                    Failure::new(
                        failure.kind,
                        format!("{} (attempt {failures} of {FAILURE_BUDGET})", failure.message),
                    )
                } else {
                    failure
                };
                // The job runs, so it may fail; were it not, it would be over and need no end.
                let _ = self.end_job(job, JobState::Failed, Some(failure), now);
            }
        }
    }

    /// Puts a task back into the queue, after a pause that grows.
    fn requeue(&mut self, id: TaskId, backoff: Backoff, now: Now) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let job = task.record.job;
        task.record.state = TaskState::Queued;
        task.record.queued_at = now.wall;
        // Spread by the task's own id: no randomness in decisions, and no two tasks in step.
        let jitter = f64::from((id.0.as_u128() & 0xffff) as u16) / 65_536.0;
        let pause = match task.requeues {
            0 if backoff == REQUEUE => None,
            0 => Some(backoff.delay(0, jitter)),
            requeues => Some(backoff.delay(requeues - 1, jitter)),
        };
        task.requeues += 1;
        if let Some(pause) = pause {
            let until = now.mono + pause;
            task.delayed_until = Some(until);
            self.delayed.insert((until, id));
        }
        if let Some(known) = self.jobs.get(&job) {
            task.requirement = std::sync::Arc::new(requirement(&known.record, &task.record));
        }
        self.make_ready(id);
        self.changed.tasks.insert(id);
        if let Some(known) = self.jobs.get_mut(&job) {
            become_state(&mut known.record, JobState::Queued);
            self.job_changed(job, now);
        }
    }

    /// A lease or a grace ended.
    pub(super) fn expire(&mut self, attempt: AttemptId, now: Now) {
        let Some(running) = self.current(attempt) else { return };
        let worker = &running.record.worker;
        let session = running.session;
        let message = match session {
            Some(_) => {
                format!("worker {} is connected but was silent for longer than its lease", worker.name)
            }
            None => format!("worker {} disconnected and did not come back", worker.name),
        };
        if let Some(session) = session {
            let reason = "its lease ran out".to_owned();
            self.effects.push(Effect::Send(session, ToWorker::Stop { attempt, reason }));
        }
        let failure = Failure::new(FailureKind::WorkerLost, message);
        self.fail_attempt(attempt, AttemptState::Superseded, failure, Need::default(), now);
    }

    /// A stream ended. The worker's attempts wait for it for the grace.
    pub(crate) fn disconnected(&mut self, session: SessionId, now: Now) {
        self.told_idle.remove(&session);
        let Some(worker) = self.fleet.disconnect(session) else { return };
        let deadline = now.mono + self.settings.grace;
        let attempts: Vec<AttemptId> = self.assigned.get(&worker).into_iter().flatten().copied().collect();
        for attempt in attempts {
            if self.stopping.contains_key(&attempt) {
                self.stopped(attempt);
            } else if let Some(running) = self.current_mut(attempt) {
                running.session = None;
                running.deadline = deadline;
                running.record.state = AttemptState::Disconnected;
            }
        }
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.last_heard = now.mono;
        }
        self.announce_worker(worker, now);
    }

    /// The worker is shutting down and wants no more.
    pub(crate) fn worker_draining(&mut self, session: SessionId, now: Now) {
        let Some(id) = self.fleet.of_session(session) else { return };
        if let Some(worker) = self.fleet.get_mut(id) {
            worker.shutting_down = true;
        }
        self.announce_worker(id, now);
    }

    pub(crate) fn capabilities_changed(&mut self, session: SessionId, capabilities: Capabilities) {
        if let Some(worker) = self.fleet.of_session(session).and_then(|id| self.fleet.get_mut(id)) {
            worker.capabilities = capabilities;
        }
    }

    /// An operator drains or resumes a worker.
    pub(crate) fn set_draining(&mut self, id: WorkerId, draining: bool, now: Now) -> Result<(), Error> {
        let worker = self.fleet.get_mut(id).ok_or(Error::NoSuchWorker(id))?;
        worker.drained_by_operator = draining;
        if let Some(session) = worker.session {
            self.effects.push(Effect::Send(session, ToWorker::SetDraining(draining)));
        }
        self.announce_worker(id, now);
        Ok(())
    }

    fn worker_name(&self, id: WorkerId) -> String {
        self.fleet.get(id).map_or_else(|| id.to_string(), |worker| worker.name.clone())
    }

    fn announce_worker(&mut self, id: WorkerId, now: Now) {
        if let Some(worker) = self.fleet.get(id) {
            let (state, _) = worker.state(now.mono, self.fleet.policy.stale_after);
            let name = worker.name.clone();
            self.effects.push(Effect::Announce(Event::Worker { id, name, state }));
        }
    }
}

/// Adds to what a task needs; `false` if it was known already.
fn learn(need: &mut Need, missing: Need) -> bool {
    let before = (need.filters.len(), need.any_of.len());
    for filter in missing.filters {
        if !need.filters.contains(&filter) {
            need.filters.push(filter);
        }
    }
    for names in missing.any_of {
        if !need.any_of.contains(&names) {
            need.any_of.push(names);
        }
    }
    (need.filters.len(), need.any_of.len()) != before
}
