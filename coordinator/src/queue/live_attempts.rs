//! The course of live attempts: placed at once, never durable, told of as [`LiveEvent`]s.
//!
//! They share workers, slots and sessions with batch and nothing else: no live attempt is a task's, none outlives its
//! worker's session, and what they bring about leaves before any commit.

use std::{collections::VecDeque, time::Duration};

use common::{
    api::WorkerRef,
    failure::{Failure, FailureKind},
    id::{AttemptId, SessionId, StreamId, WorkerId},
    worker::{EncoderDevice, Progress},
};

use super::{
    fence::{self, Stale},
    handle::Error,
    invariants,
    live::{LiveAssignment, LiveEvent, LiveOrder, LivePlacement},
    message::{AttemptResult, ToWorker},
    state::{Effect, LOG_LINES, Now, State},
};
use crate::{
    fleet::{self, Class, Cost, Encoded, Held, SessionCap, Slot, make_room},
    metrics::Outcome,
};

/// While an order was refused: how often those who wait are told to try again, for what time alone changes (a flapping
/// worker's pause, a lowered session cap, a silent worker that is heard again).
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A live attempt that was placed and has not ended.
#[derive(Debug)]
pub(super) struct OnAir {
    pub(super) worker: WorkerRef,
    /// The one that it was assigned on; it ends with it.
    pub(super) session: SessionId,
    pub(super) stream: StreamId,
    pub(super) name: String,
    pub(super) profile: String,
    pub(super) encoder: Option<String>,
    pub(super) device: Option<EncoderDevice>,
    pub(super) held: Held,
    pub(super) placed_at: i64,
    pub(super) argv: Vec<String>,
    pub(super) progress: Option<Progress>,
    pub(super) log: VecDeque<String>,
    /// End of the lease.
    deadline: Duration,
    /// It was said that its worker is leaving.
    leaving: bool,
}

/// Whether somebody waits for room, and whether there may be some.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// When they are told to try again in any case; `None`: nobody was refused since the last `Room`.
    again_at: Option<Duration>,
    /// Something changed that may help them.
    room: bool,
}

impl State {
    /// Gives live work to a worker at once: to a free slot, or to that of a batch attempt, which goes back to its queue.
    pub(crate) fn place_live(&mut self, order: LiveOrder, now: Now) -> Result<LivePlacement, Error> {
        let LiveOrder { stream, name, attempt, mut requirement, work, reads, only_elsewhere, preempts } =
            order;
        requirement.class = Class::Live;
        if self.live.contains_key(&attempt) || self.tasks.contains_key(&attempt.task) {
            return Err(Error::WrongState(format!("attempt {attempt} was placed already")));
        }
        let cost = |victim: AttemptId| self.cost(victim, preempts, now);
        let room = make_room(&requirement, &self.fleet, cost, now.mono)
            .filter(|room| !only_elsewhere || !requirement.avoid.contains(&room.placement.worker));
        let Some(room) = room else {
            if self.waiters.again_at.is_none() {
                // What happened before has been looked at just now.
                self.waiters = Waiters { again_at: Some(now.mono + TRY_AGAIN), room: false };
            }
            let why = fleet::explain(&requirement, &self.fleet, now.mono);
            return Err(Error::NoRoom(why.unwrap_or_else(|| "a free slot".to_owned())));
        };
        if let Some(victim) = room.victim {
            self.make_way(victim, &requirement.preset, now);
        }
        let placement = room.placement;
        let worker = self.fleet.get_mut(placement.worker).expect("placement is on a worker of the fleet");
        let session = worker.session.expect("placement is on a connected worker");
        let held = Held::of(&placement, Class::Live);
        worker.held.insert(attempt, held);
        debug_assert_eq!(invariants::worker(worker), Ok(()));
        let worker = WorkerRef { id: worker.identity.id, name: worker.identity.name.clone() };
        self.told_idle.remove(&session);
        let placed =
            LivePlacement { worker: worker.clone(), encoder: placement.encoder, device: placement.device };
        self.live.insert(
            attempt,
            OnAir {
                worker,
                session,
                stream,
                name,
                profile: requirement.preset.clone(),
                encoder: placed.encoder.clone(),
                device: placed.device.clone(),
                held,
                placed_at: now.wall,
                argv: Vec::new(),
                progress: None,
                log: VecDeque::new(),
                deadline: now.mono + self.settings.lease,
                leaving: false,
            },
        );
        let assignment = LiveAssignment {
            attempt,
            stream,
            profile: requirement.preset,
            work,
            reads,
            encoder: placed.encoder.clone(),
            device: placed.device.clone(),
        };
        self.effects.push(Effect::AtOnce(session, ToWorker::AssignLive(Box::new(assignment))));
        Ok(placed)
    }

    /// What taking a batch attempt away costs. One that is stopping has lost its slot in all but name, so that is given
    /// even to those who may not preempt.
    fn cost(&self, victim: AttemptId, preempts: bool, now: Now) -> Option<Cost> {
        if self.stopping.contains_key(&victim) {
            return Some(Cost::Nothing);
        }
        let running = self.current(victim).filter(|_| preempts)?;
        let task = self.tasks.get(&victim.task)?;
        let ran = now.mono.saturating_sub(running.since);
        Some(Cost::Attempt { priority: task.priority, ran })
    }

    /// Takes a batch attempt's slot for live. Its worker hears of it first, before any commit (and once more after it): if the
    /// commit does not happen, it is as if the worker had been restarted while the coordinator was away.
    fn make_way(&mut self, victim: AttemptId, profile: &str, now: Now) {
        let reason = format!("it makes room for a live stream ({profile})");
        self.preempt(victim, &reason, now);
        let Some(stopping) = self.stopping.get(&victim).copied() else { return };
        if let Some(session) = self.fleet.get(stopping.worker).and_then(|worker| worker.session) {
            self.effects.push(Effect::AtOnce(session, ToWorker::Stop { attempt: victim, reason }));
        }
        self.stopped(victim);
    }

    /// Ends a live attempt: its worker is told, its slot is free. Nothing more is said of it.
    pub(crate) fn end_live(&mut self, attempt: AttemptId, reason: &str) {
        let Some(over) = self.live.remove(&attempt) else { return };
        self.metrics.live_attempt_ended(Outcome::Cancelled);
        self.release(attempt, over.worker.id);
        let reason = reason.to_owned();
        self.effects.push(Effect::AtOnce(over.session, ToWorker::Stop { attempt, reason }));
    }

    /// Whether a message of `session` about a live attempt counts; `None`: the attempt is none.
    pub(super) fn admit_live(&self, attempt: AttemptId, session: SessionId) -> Option<Result<(), Stale>> {
        let current = self.live.get(&attempt)?;
        let current = fence::Current { epoch: attempt.epoch, session: Some(current.session) };
        Some(fence::admit(Some(current), attempt.epoch, session))
    }

    /// The attempt, if it is a live one of this session.
    fn live_of(&mut self, attempt: AttemptId, session: SessionId) -> Option<&mut OnAir> {
        self.admit_live(attempt, session)?.ok()?;
        self.live.get_mut(&attempt)
    }

    /// ffmpeg runs; `false`: it is no live attempt of this session.
    pub(super) fn live_started(&mut self, session: SessionId, attempt: AttemptId, argv: &[String]) -> bool {
        let Some(running) = self.live_of(attempt, session) else { return false };
        running.argv = argv.to_vec();
        let worker = running.worker.id;
        self.fleet.touch(worker);
        self.effects.push(Effect::Live(LiveEvent::Started { attempt, argv: argv.to_vec() }));
        true
    }

    /// A heartbeat named it: its lease is renewed. `false`: it is no live attempt of this session.
    pub(super) fn live_heard(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        said: (Progress, Vec<String>),
        deadline: Duration,
    ) -> Result<(), (Progress, Vec<String>)> {
        let Some(running) = self.live_of(attempt, session) else { return Err(said) };
        running.deadline = deadline;
        let before = running.progress.replace(said.0);
        let frames = running.progress.as_ref().map_or(0, |progress| progress.frames);
        let more = frames.saturating_sub(before.map_or(0, |progress| progress.frames));
        let (worker, what) = (running.worker.id, Encoded::live(&running.profile, running.encoder.as_deref()));
        running.log.extend(said.1);
        let surplus = running.log.len().saturating_sub(LOG_LINES);
        running.log.drain(..surplus);
        if let Some(worker) = self.fleet.get_mut(worker) {
            worker.standing.encoded(what, more);
        }
        Ok(())
    }

    /// The worker says that a live attempt is over; it is one of this session.
    pub(super) fn live_finished(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        result: AttemptResult,
        log: &[String],
        now: Now,
    ) {
        let Some(over) = self.live.remove(&attempt) else { return };
        self.release(attempt, over.worker.id);
        let result = match result {
            AttemptResult::Succeeded { .. } => Ok(()),
            AttemptResult::Failed { failure, .. } => Err(failure),
        };
        self.metrics.live_attempt_ended(match &result {
            Ok(()) => Outcome::Succeeded,
            Err(failure) => Outcome::Failed(failure.kind),
        });
        self.judge_live(&over, result.as_ref().err(), now);
        if let Err(failure) = &result {
            let said = log.last().or(over.log.back());
            tracing::warn!(
                stream = %over.stream, task = %attempt.task, epoch = %attempt.epoch, profile = over.profile,
                worker = %over.worker.id, name = over.worker.name, kind = %failure.kind, reason = failure.message, said, "a live attempt failed"
            );
        }
        self.effects.push(Effect::AtOnce(session, ToWorker::Acknowledge { attempt, refused: None }));
        self.effects.push(Effect::Live(LiveEvent::Ended { attempt, result }));
    }

    /// What an end says about the worker. A failure that is the worker's counts for the next placement, as it does in batch;
    /// it puts nobody into quarantine, for what else could encode this at the same time is not known.
    fn judge_live(&mut self, over: &OnAir, failure: Option<&Failure>, now: Now) {
        let Some(worker) = self.fleet.get_mut(over.worker.id) else { return };
        let Some(failure) = failure else {
            worker.standing.recent_failures = 0;
            worker.standing.completed += 1;
            worker.standing.health.proven(over.held.slot);
            return;
        };
        if is_the_workers(failure.kind) {
            worker.standing.recent_failures += 1;
            worker.standing.failed += 1;
        }
        if let (FailureKind::SessionLimit, Slot::Gpu(gpu)) = (failure.kind, over.held.slot) {
            let cap = SessionCap::refused(worker.own_sessions(gpu), over.held.sessions, now.mono);
            worker.standing.session_caps.insert(gpu, cap);
        }
    }

    /// Every live attempt of a worker is lost; it is told to stop them if it can be told.
    pub(super) fn lose_live(&mut self, worker: WorkerId, reason: &str, tell: bool) {
        for attempt in self.live_on(worker) {
            self.lose(attempt, reason.to_owned(), tell);
        }
    }

    fn lose(&mut self, attempt: AttemptId, reason: String, tell: bool) {
        let Some(lost) = self.live.remove(&attempt) else { return };
        self.metrics.live_attempt_ended(Outcome::Failed(FailureKind::WorkerLost));
        self.release(attempt, lost.worker.id);
        if tell {
            let reason = reason.clone();
            self.effects.push(Effect::AtOnce(lost.session, ToWorker::Stop { attempt, reason }));
        }
        self.effects.push(Effect::Live(LiveEvent::Lost { attempt, reason }));
    }

    /// A worker's stream has ended; its last reports are still looked at. It hears nothing any more, so what it does for
    /// viewers is lost now.
    pub(crate) fn session_ending(&mut self, session: SessionId) {
        let Some(id) = self.fleet.of_session(session) else { return };
        if let Some(worker) = self.fleet.get_mut(id) {
            worker.ending = true;
        }
        let reason = format!("worker {} disconnected", self.worker_name(id));
        self.lose_live(id, &reason, false);
    }

    /// A worker leaves: its live attempts go on until they were moved.
    pub(super) fn live_leaves(&mut self, worker: WorkerId, reason: &str) {
        for attempt in self.live_on(worker) {
            let Some(running) = self.live.get_mut(&attempt) else { continue };
            if !std::mem::replace(&mut running.leaving, true) {
                let reason = reason.to_owned();
                self.effects.push(Effect::Live(LiveEvent::Leaving { attempt, worker, reason }));
            }
        }
    }

    /// It stays after all.
    pub(super) fn live_stays(&mut self, worker: WorkerId) {
        for attempt in self.live_on(worker) {
            if let Some(running) = self.live.get_mut(&attempt) {
                running.leaving = false;
            }
        }
    }

    pub(super) fn live_on(&self, worker: WorkerId) -> Vec<AttemptId> {
        let Some(worker) = self.fleet.get(worker) else { return Vec::new() };
        let live = worker.held.iter().filter(|(_, held)| held.class == Class::Live);
        live.map(|(attempt, _)| *attempt).collect()
    }

    /// Leases of live attempts end; who waits for room hears of it, once for all that has happened since.
    pub(super) fn tick_live(&mut self, now: Now) {
        let expired: Vec<AttemptId> = self
            .live
            .iter()
            .filter(|(_, running)| fence::is_lost(running.deadline, now.mono))
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in expired {
            let Some(running) = self.live.get(&attempt) else { continue };
            let reason = format!(
                "worker {} is connected but was silent for longer than its lease",
                running.worker.name
            );
            self.lose(attempt, reason, true);
        }
        let room = std::mem::take(&mut self.waiters.room);
        if self.waiters.again_at.is_some_and(|at| room || at <= now.mono) {
            self.waiters.again_at = None;
            self.effects.push(Effect::Live(LiveEvent::Room));
        }
    }

    /// For [`State::next_deadline`].
    pub(super) fn next_live_deadline(&self) -> Option<Duration> {
        let leases = self.live.values().map(|running| running.deadline);
        leases.chain(self.waiters.again_at).min()
    }

    /// Something happened that may help who waits for room.
    pub(super) fn room(&mut self) {
        self.waiters.room = true;
    }
}

/// Kinds of failure that speak against the worker on which they happen. A source that cannot be reached or read does not,
/// nor does what the coordinator asked for.
const fn is_the_workers(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Crashed
        | FailureKind::Stalled
        | FailureKind::OutOfMemory
        | FailureKind::DiskFull
        | FailureKind::OutputWrong
        | FailureKind::UploadFailed
        | FailureKind::WorkerLost
        | FailureKind::MissingCapability => true,
        FailureKind::InvalidInput
        | FailureKind::InvalidSpec
        | FailureKind::SourceUnreachable
        | FailureKind::SessionLimit
        | FailureKind::TimeLimit
        | FailureKind::Cancelled
        | FailureKind::HandedBack
        | FailureKind::Preempted => false,
    }
}
