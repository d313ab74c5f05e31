//! What workers say of themselves: registration, heartbeats, silence, draining, and what is thought of them.

use std::{collections::BTreeMap, time::Duration};

use common::{
    api::{AttemptState, Event, WorkerState},
    failure::{Failure, FailureKind},
    id::{AttemptId, SessionId, WorkerId},
    worker::{Capabilities, Load, Need},
};

use super::{
    handle::Error,
    message::{Beat, Registration, ToWorker, Welcome},
    state::{Effect, LOG_LINES, Now, State},
};
use crate::fleet::Worker;

/// The oldest protocol version that knows `ProbeAgain`.
const PROBE_AGAIN_SINCE: u32 = 2;

impl State {
    /// A worker connected. It may go on with those of its attempts that are still its own.
    pub(crate) fn register(&mut self, hello: Registration, session: SessionId, now: Now) -> Welcome {
        let Registration { identity, running, draining, not_taking } = hello;
        let id = identity.id;
        let before = self.fleet.get(id);
        if let Some(old) = before.and_then(|worker| worker.session) {
            let reason = "the same worker connected again; is its state folder used twice?".to_owned();
            self.effects.push(Effect::Send(old, ToWorker::Disconnect { reason }));
        }
        let mut standing = before.map(|worker| worker.standing.clone()).unwrap_or_default();
        if before.is_some_and(|worker| worker.session.is_some()) {
            standing.flaps.lost(now.mono);
        }
        // Its live attempts belonged to the session before: viewers were moved by now, or are with this.
        let name = before.map_or_else(|| identity.name.clone(), |worker| worker.identity.name.clone());
        self.lose_live(id, &format!("worker {name} connected again"), false);
        let drained = standing.drained_by_operator;
        self.fleet.insert(Worker {
            identity,
            session: Some(session),
            ending: false,
            last_heard: now.mono,
            connected_at_ms: now.wall,
            shutting_down: draining,
            not_taking,
            load: Load::default(),
            gpu_loads: Vec::new(),
            fps: 0.0,
            changed: 0,
            foreign_sessions: BTreeMap::new(),
            held: BTreeMap::new(),
            standing,
        });
        // A worker that came back was told to stop what it may not keep.
        let stopping: Vec<AttemptId> = self
            .stopping
            .iter()
            .filter(|(_, stopping)| stopping.worker == id)
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in stopping {
            self.stopped(attempt);
        }

        let mut verdicts = Vec::with_capacity(running.len());
        for attempt in running {
            let keep = self.adopt(attempt, id, session, now);
            if !keep {
                self.release(attempt, id);
            }
            verdicts.push((attempt, keep));
        }
        // What it should have and does not.
        let forgotten: Vec<AttemptId> = self
            .assigned
            .get(&id)
            .into_iter()
            .flatten()
            .filter(|attempt| self.current(**attempt).is_none_or(|running| running.session != Some(session)))
            .copied()
            .collect();
        for attempt in forgotten {
            let failure = Failure::new(
                FailureKind::WorkerLost,
                format!(
                    "worker {} came back without this attempt: it was restarted, or the order never reached it",
                    self.worker_name(id)
                ),
            );
            self.fail_attempt(attempt, AttemptState::Failed, &failure, Need::default(), now);
        }
        if drained {
            self.effects.push(Effect::Send(session, ToWorker::SetDraining(true)));
        }
        self.room();
        self.announce_worker(id, now);
        Welcome { session, verdicts }
    }

    /// Gives a running attempt to its worker's new session, if it is still that worker's.
    fn adopt(&mut self, attempt: AttemptId, worker: WorkerId, session: SessionId, now: Now) -> bool {
        let Some(running) = self.current_mut(attempt).filter(|running| running.record.worker.id == worker)
        else {
            return false;
        };
        running.session = Some(session);
        running.orphaned = false;
        running.record.state = AttemptState::Running;
        let record = running.record.clone();
        self.set_deadline(attempt, now.mono + self.settings.lease);
        let held = self.held(&record);
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.held.insert(attempt, held);
        }
        true
    }

    /// A heartbeat: renews the leases of the attempts that it names.
    pub(crate) fn heartbeat(&mut self, session: SessionId, beat: Beat, now: Now) {
        let Beat { load, gpus, attempts, not_taking } = beat;
        let Some(worker) = self.fleet.of_session(session) else { return };
        let before = self.worker_words(worker, now);
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.heard(now.mono, load, gpus);
            worker.not_taking = not_taking;
        }
        let deadline = now.mono + self.settings.lease;
        let named: Vec<AttemptId> = attempts.iter().map(|(id, _, _)| *id).collect();
        let fps = attempts.iter().map(|(_, progress, _)| progress.fps).sum();
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.runs(now.mono, fps);
        }
        let mut renewed = Vec::with_capacity(attempts.len());
        for (attempt, progress, log) in attempts {
            let (progress, log) = match self.live_heard(session, attempt, (progress, log), deadline) {
                Ok(()) => {
                    renewed.push(attempt);
                    continue;
                }
                Err(said) => said,
            };
            if self.admit(attempt, session).is_err() {
                continue;
            }
            self.set_deadline(attempt, deadline);
            let Some(running) = self.current_mut(attempt) else { continue };
            running.log.extend(log);
            while running.log.len() > LOG_LINES {
                running.log.pop_front();
            }
            let frames = progress.frames;
            let before = running.progress.replace(progress).map_or(0, |before| before.frames);
            renewed.push(attempt);
            let job = running.record.job;
            let encoder = running.record.details.encoder.clone();
            self.count_frames(worker, job, encoder.as_deref(), frames.saturating_sub(before));
            if let Some(progress) = self.progress_view(attempt) {
                let owner = self.jobs.get(&job).and_then(|job| job.record.request.owner.clone());
                self.effects.push(Effect::Announce(Event::Progress { job, owner, progress }));
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
            self.effects.push(Effect::AtOnce(session, ToWorker::LeasesRenewed(renewed)));
        }
        if before != self.worker_words(worker, now) {
            self.announce_worker(worker, now);
        }
    }

    /// A lease or a grace ended.
    pub(super) fn expire(&mut self, attempt: AttemptId, now: Now) {
        let Some(running) = self.current(attempt) else { return };
        let worker = &running.record.worker;
        let message = match running.session {
            Some(_) => {
                format!("worker {} is connected but was silent for longer than its lease", worker.name)
            }
            None => format!("worker {} disconnected and did not come back", worker.name),
        };
        let failure = Failure::new(FailureKind::WorkerLost, message);
        self.fail_attempt(attempt, AttemptState::Superseded, &failure, Need::default(), now);
    }

    /// A stream ended. The worker's attempts wait for it for the grace.
    pub(crate) fn disconnected(&mut self, session: SessionId, now: Now) {
        self.told_idle.remove(&session);
        self.session_ending(session);
        let Some(worker) = self.fleet.disconnect(session) else { return };
        let deadline = now.mono + self.settings.grace;
        let attempts: Vec<AttemptId> = self.assigned.get(&worker).into_iter().flatten().copied().collect();
        for attempt in attempts {
            if self.stopping.contains_key(&attempt) {
                self.stopped(attempt);
                continue;
            }
            self.set_deadline(attempt, deadline);
            if let Some(running) = self.current_mut(attempt) {
                running.session = None;
                running.record.state = AttemptState::Disconnected;
            }
        }
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.last_heard = now.mono;
            // One that said goodbye does not flap.
            if !worker.shutting_down {
                worker.standing.flaps.lost(now.mono);
            }
        }
        self.announce_worker(worker, now);
    }

    /// The worker is shutting down and wants no more.
    pub(crate) fn worker_draining(&mut self, session: SessionId, now: Now) {
        let Some(id) = self.fleet.of_session(session) else { return };
        if let Some(worker) = self.fleet.get_mut(id) {
            worker.shutting_down = true;
        }
        self.live_leaves(id, &format!("worker {} is shutting down", self.worker_name(id)));
        self.announce_worker(id, now);
    }

    /// The worker probed itself again.
    pub(crate) fn capabilities_changed(&mut self, session: SessionId, found: Capabilities, now: Now) {
        let Some(id) = self.fleet.of_session(session) else { return };
        if let Some(worker) = self.fleet.get_mut(id) {
            worker.standing.health.probed(&found, now.mono);
            worker.identity.capabilities = found;
        }
        self.room();
        self.announce_worker(id, now);
    }

    /// Workers whose quarantine has lasted long enough are asked to probe themselves. Those that cannot be asked are
    /// believed to be as they said.
    pub(super) fn ask_for_probes(&mut self, now: Now) {
        let is_due = |worker: &Worker| {
            worker.session.is_some() && worker.standing.health.next_probe().is_some_and(|at| at <= now.mono)
        };
        let due: Vec<WorkerId> =
            self.fleet.iter().filter(|worker| is_due(worker)).map(|worker| worker.identity.id).collect();
        let (mut asked, mut released) = (Vec::new(), Vec::new());
        for id in due {
            let Some(worker) = self.fleet.get_mut(id) else { continue };
            let Some(reason) = worker.standing.health.probe_due(now.mono) else { continue };
            let Some(session) = worker.session else { continue };
            if worker.identity.protocol >= PROBE_AGAIN_SINCE {
                asked.push((session, reason));
            } else {
                worker.standing.health.probed(&worker.identity.capabilities, now.mono);
                released.push(worker.identity.id);
            }
        }
        for (session, reason) in asked {
            self.effects.push(Effect::Send(session, ToWorker::ProbeAgain { reason }));
        }
        for worker in released {
            self.announce_worker(worker, now);
        }
    }

    /// An operator drains or resumes a worker.
    pub(crate) fn set_draining(&mut self, id: WorkerId, draining: bool, now: Now) -> Result<(), Error> {
        let worker = self.fleet.get_mut(id).ok_or(Error::NoSuchWorker(id))?;
        worker.standing.drained_by_operator = draining;
        if let Some(session) = worker.session {
            self.effects.push(Effect::Send(session, ToWorker::SetDraining(draining)));
        }
        if draining {
            self.live_leaves(id, &format!("worker {} was drained by an operator", self.worker_name(id)));
        } else {
            self.live_stays(id);
            self.room();
        }
        self.announce_worker(id, now);
        Ok(())
    }

    /// An operator wants a worker to look again at what it can do.
    ///
    /// # Errors
    /// There is no such worker, or it cannot be asked.
    pub(crate) fn probe_worker(&mut self, id: WorkerId, now: Now) -> Result<(), Error> {
        let stale_after = self.fleet.policy.stale_after;
        let worker = self.fleet.get_mut(id).ok_or(Error::NoSuchWorker(id))?;
        let name = &worker.identity.name;
        let (state, reason) = worker.state(now.mono, stale_after);
        let session = worker.session.filter(|_| state != WorkerState::Lost).ok_or_else(|| {
            Error::WrongState(format!(
                "worker {name} is lost ({}): it cannot be asked",
                reason.unwrap_or_default()
            ))
        })?;
        if worker.identity.protocol < PROBE_AGAIN_SINCE {
            let why = format!("worker {name}, ffmpegd {}, is too old to be asked", worker.identity.version);
            return Err(Error::WrongState(why));
        }
        worker.standing.health.asked(now.mono);
        let reason = "an operator asked for it".to_owned();
        self.effects.push(Effect::Send(session, ToWorker::ProbeAgain { reason }));
        Ok(())
    }

    /// A worker that is gone is listed no more, and nothing waits for it to come back. If it does, it is a new one.
    ///
    /// # Errors
    /// There is no such worker, or it is connected.
    pub(crate) fn forget_worker(&mut self, id: WorkerId, now: Now) -> Result<(), Error> {
        let worker = self.fleet.get(id).ok_or(Error::NoSuchWorker(id))?;
        if worker.session.is_some() {
            let why = format!("worker {} is connected: stop it first", worker.identity.name);
            return Err(Error::WrongState(why));
        }
        self.preempt_worker(id, "its worker was gone, and an operator forgot it", now)?;
        let left: Vec<AttemptId> = self
            .stopping
            .iter()
            .filter(|(_, stopping)| stopping.worker == id)
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in left {
            self.stopped(attempt);
        }
        self.fleet.remove(id);
        Ok(())
    }

    /// Takes everything away from a worker that it runs: it goes to others at once and costs nothing of its budget.
    pub(crate) fn preempt_worker(&mut self, id: WorkerId, reason: &str, now: Now) -> Result<(), Error> {
        self.fleet.get(id).ok_or(Error::NoSuchWorker(id))?;
        let attempts: Vec<AttemptId> = self.assigned.get(&id).into_iter().flatten().copied().collect();
        for attempt in attempts {
            self.preempt(attempt, reason, now);
        }
        self.lose_live(id, reason, true);
        Ok(())
    }

    /// Takes an attempt away from its worker to make room.
    pub(crate) fn preempt(&mut self, attempt: AttemptId, reason: &str, now: Now) {
        if self.current(attempt).is_some() {
            let failure = Failure::new(FailureKind::Preempted, reason);
            self.fail_attempt(attempt, AttemptState::Superseded, &failure, Need::default(), now);
        }
    }

    /// Until when nothing but a message changes what is thought of a worker; for [`State::next_deadline`].
    pub(super) fn next_change_of_workers(&self, now: Duration) -> Option<Duration> {
        let change = |worker: &Worker| {
            worker.session?;
            let probe = worker.standing.health.next_probe();
            probe.into_iter().chain(worker.standing.flaps.held_until(now)).min()
        };
        self.fleet.iter().filter_map(change).min()
    }

    pub(super) fn worker_name(&self, id: WorkerId) -> String {
        self.fleet.get(id).map_or_else(|| id.to_string(), |worker| worker.identity.name.clone())
    }

    /// What people are told of a worker, without the seconds that pass.
    fn worker_words(&self, id: WorkerId, now: Now) -> Option<(WorkerState, Option<String>)> {
        let worker = self.fleet.get(id)?;
        let (state, _) = worker.state(now.mono, self.fleet.policy.stale_after);
        Some((state, worker.not_taking.clone()))
    }

    pub(super) fn announce_worker(&mut self, id: WorkerId, now: Now) {
        if let Some(worker) = self.fleet.get(id) {
            let (state, _) = worker.state(now.mono, self.fleet.policy.stale_after);
            let name = worker.identity.name.clone();
            self.effects.push(Effect::Announce(Event::Worker { id, name, state }));
        }
    }
}
