//! What a worker does when something happens. No I/O, no clock.
//!
//! An attempt is running, stopping, or ended and not yet acknowledged; then it is forgotten. Only what the coordinator
//! acknowledged is forgotten, unless the attempt is not this worker's any more.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use common::{
    failure::{Failure, FailureKind, Remedy},
    id::AttemptId,
    proto::{self, worker_message::Message},
    worker::Capacity,
};

use super::{Lease, message};
use crate::run::{Assignment, Ending, Slot, Verdict};

/// Ended attempts that wait for their acknowledgement. Reached only by a coordinator that never acknowledges; the oldest go.
const MAX_UNACKNOWLEDGED: usize = 1024;
/// Heartbeats without an answer that are remembered for each attempt. The lease ends long before so many are missing.
const MAX_UNANSWERED: usize = 256;

#[derive(Debug)]
pub(crate) struct State {
    capacity: Capacity,
    exit_when_idle: bool,
    connected: bool,
    /// When the session's Hello was sent: nothing that is said in it is older.
    session_began: Option<Instant>,
    lease: Option<Lease>,
    attempts: BTreeMap<AttemptId, Attempt>,
    /// The worker is leaving, and why.
    leaving: Option<String>,
    /// Why no new work is taken for now, in words.
    not_taking: Option<String>,
    /// The coordinator said that nothing is queued, and nothing happened since that could have changed it.
    idle: bool,
    handed_back: usize,
}

#[derive(Debug)]
struct Attempt {
    slot: Slot,
    /// Its bytes go through the coordinator all the time: it does not outlive the session.
    live: bool,
    /// The coordinator renewed the lease at this time or later: when what it answered was sent.
    renewed: Instant,
    /// When the heartbeats were sent that named the attempt and have no answer yet, the oldest first.
    asked: VecDeque<Instant>,
    started: Option<proto::AttemptStarted>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Running,
    Stopping(Why),
    Ended(proto::AttemptFinished),
}

/// Why an attempt is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The coordinator wants it.
    Told(String),
    /// It is not this worker's any more: nobody waits for a result.
    Lost,
    /// The worker is leaving.
    HandBack,
}

/// What a session's Welcome says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    /// When Hello was sent, which this answers.
    pub(crate) asked: Instant,
    pub(crate) lease: Option<Lease>,
    pub(crate) kept: Vec<AttemptId>,
}

#[derive(Debug)]
pub(crate) enum Event {
    Connected(Terms),
    Disconnected,
    /// An assignment that was sent at this time or later.
    Assigned(Box<Assignment>, Instant),
    /// An assignment that cannot be understood.
    Unusable(AttemptId, Failure),
    StopAsked(AttemptId, String),
    Acknowledged(AttemptId),
    /// The answer to one heartbeat.
    Renewed(Vec<AttemptId>),
    Idle,
    /// ffmpeg runs.
    Started(AttemptId, proto::AttemptStarted),
    Ended(AttemptId, Ending, Vec<String>),
    /// The worker is to leave once it has nothing to do.
    Leave(String),
    /// It leaves now: whatever runs goes back.
    HandBack,
    /// Time passed.
    Tick,
}

#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "acted on at once, never kept")]
pub(crate) enum Effect {
    Start(Box<Assignment>),
    Stop(AttemptId, Why),
    Send(proto::WorkerMessage),
}

impl State {
    pub(crate) fn new(capacity: Capacity, exit_when_idle: bool) -> Self {
        Self {
            capacity,
            exit_when_idle,
            connected: false,
            session_began: None,
            lease: None,
            attempts: BTreeMap::new(),
            leaving: None,
            not_taking: None,
            idle: false,
            handed_back: 0,
        }
    }

    pub(crate) fn apply(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Connected(terms) => self.connected(&terms, &mut effects),
            Event::Disconnected => {
                self.connected = false;
                self.idle = false;
                self.give_up_live(&mut effects);
            }
            Event::Assigned(assignment, sent) => self.assigned(assignment, sent, now, &mut effects),
            Event::Unusable(attempt, failure) => {
                self.refuse(attempt, Slot::Cpu, failure, now, &mut effects);
            }
            Event::StopAsked(attempt, reason) => self.stop(attempt, Why::Told(reason), &mut effects),
            Event::Acknowledged(attempt) => {
                if self.attempts.get(&attempt).is_some_and(Attempt::has_ended) {
                    self.attempts.remove(&attempt);
                }
            }
            Event::Renewed(attempts) => {
                for attempt in attempts {
                    if let Some(attempt) = self.attempts.get_mut(&attempt) {
                        attempt.renew();
                    }
                }
            }
            Event::Idle => self.idle = true,
            Event::Started(id, started) => {
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.started = Some(started.clone());
                    if self.connected && matches!(attempt.stage, Stage::Running) {
                        effects.push(Effect::Send(message(Message::AttemptStarted(started))));
                    }
                }
            }
            Event::Ended(attempt, ending, log) => self.ended(attempt, ending, log, &mut effects),
            Event::Leave(reason) => self.leave(reason, &mut effects),
            Event::HandBack => {
                self.leave("the worker stops".to_owned(), &mut effects);
                for attempt in self.running() {
                    self.stop(attempt, Why::HandBack, &mut effects);
                }
            }
            Event::Tick => {}
        }
        self.stop_what_lost_its_lease(now, &mut effects);
        if self.exit_when_idle && self.idle && self.attempts.is_empty() {
            self.leave("nothing is queued for this worker".to_owned(), &mut effects);
        }
        effects
    }

    fn connected(&mut self, terms: &Terms, effects: &mut Vec<Effect>) {
        self.connected = true;
        self.idle = false;
        self.session_began = Some(terms.asked);
        self.lease = terms.lease;
        if let Some(reason) = &self.leaving {
            effects
                .push(Effect::Send(message(Message::Draining(proto::Draining { reason: reason.clone() }))));
        }
        let known: Vec<AttemptId> = self.attempts.keys().copied().collect();
        for id in known {
            let kept = terms.kept.contains(&id);
            let Some(attempt) = self.attempts.get_mut(&id) else { continue };
            attempt.asked.clear();
            match (&attempt.stage, kept) {
                (Stage::Running, true) => {
                    attempt.renewed = attempt.renewed.max(terms.asked);
                    if let Some(started) = attempt.started.clone() {
                        effects.push(Effect::Send(message(Message::AttemptStarted(started))));
                    }
                }
                (Stage::Ended(finished), true) => {
                    effects.push(Effect::Send(message(Message::AttemptFinished(finished.clone()))));
                }
                (Stage::Running, false) => self.stop(id, Why::Lost, effects),
                (Stage::Ended(_), false) => {
                    self.attempts.remove(&id);
                }
                (Stage::Stopping(_), _) => {}
            }
        }
    }

    /// The coordinator has moved live work elsewhere the moment it lost this worker.
    fn give_up_live(&mut self, effects: &mut Vec<Effect>) {
        let live: Vec<AttemptId> =
            self.attempts.iter().filter(|(_, attempt)| attempt.live).map(|(id, _)| *id).collect();
        for id in live {
            self.stop(id, Why::Lost, effects);
        }
    }

    fn assigned(
        &mut self,
        assignment: Box<Assignment>,
        sent: Instant,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let (id, slot) = (assignment.attempt, assignment.slot());
        let sent = self.session_began.map_or(sent, |began| began.max(sent));
        self.idle = false;
        if self.attempts.contains_key(&id) {
            return;
        }
        // Attempts of a live variant run side by side: one gives what is left of a run of the source while the next begins.
        let older: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(known, attempt)| known.task == id.task && known.epoch < id.epoch && !attempt.live)
            .map(|(known, _)| *known)
            .collect();
        for older in older {
            self.stop(older, Why::Lost, effects);
        }
        if let Some(reason) = self.why_not(&assignment, sent, now) {
            let message = format!("the worker took no part of it: {reason}");
            self.refuse(id, slot, Failure::new(FailureKind::HandedBack, message), now, effects);
            return;
        }
        self.attempts.insert(id, Attempt::new(slot, assignment.is_live(), sent));
        effects.push(Effect::Start(assignment));
    }

    /// Why an assignment is handed back.
    fn why_not(&self, assignment: &Assignment, sent: Instant, now: Instant) -> Option<&str> {
        if self.leaving.is_some() {
            Some("it is shutting down")
        } else if !self.has_room(assignment.slot()) {
            Some("it has no free slot")
        } else if self.lease.is_some_and(|lease| lease.is_over(sent, now)) {
            Some("it was held up, and the lease may be over already")
        } else {
            // It is for want of scratch, of which live work needs none.
            self.not_taking.as_deref().filter(|_| !assignment.is_live())
        }
    }

    /// Attempts that are being stopped do not count: the coordinator has given their slots away already.
    fn has_room(&self, slot: Slot) -> bool {
        let running = |wanted: Option<Slot>| {
            let count = self
                .attempts
                .values()
                .filter(|attempt| attempt.is_running())
                .filter(|attempt| wanted.is_none_or(|slot| slot == attempt.slot))
                .count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let of_kind = match slot {
            Slot::Gpu => self.capacity.max_gpu_jobs,
            Slot::Cpu => self.capacity.max_cpu_jobs,
        };
        running(None) < self.capacity.max_jobs && running(Some(slot)) < of_kind
    }

    fn refuse(
        &mut self,
        id: AttemptId,
        slot: Slot,
        failure: Failure,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if self.attempts.contains_key(&id) {
            return;
        }
        self.attempts.insert(id, Attempt::new(slot, false, now));
        self.ended(id, failure.into(), Vec::new(), effects);
    }

    fn stop(&mut self, id: AttemptId, why: Why, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        match attempt.stage {
            Stage::Running => {
                attempt.stage = Stage::Stopping(why.clone());
                effects.push(Effect::Stop(id, why));
            }
            // It is being handed back, and now not even that: nobody wants to hear of it.
            Stage::Stopping(_) => attempt.stage = Stage::Stopping(why),
            Stage::Ended(_) => {
                if why != Why::HandBack {
                    self.attempts.remove(&id);
                }
            }
        }
    }

    fn stop_what_lost_its_lease(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(lease) = self.lease else { return };
        let lost: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.is_running() && lease.is_over(attempt.renewed, now))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.stop(id, Why::Lost, effects);
        }
    }

    fn ended(&mut self, id: AttemptId, ending: Ending, log: Vec<String>, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let ending = match (&attempt.stage, ending) {
            (Stage::Stopping(Why::Lost), _) | (_, Ending::NotCurrent) => {
                self.attempts.remove(&id);
                return;
            }
            (Stage::Stopping(Why::Told(reason)), _) => {
                Failure::new(FailureKind::Cancelled, format!("stopped: {reason}")).into()
            }
            // What was finished before it could be stopped is worth keeping.
            (Stage::Stopping(Why::HandBack), ending @ Ending::Succeeded { .. }) => ending,
            (Stage::Stopping(Why::HandBack), _) => {
                self.handed_back += 1;
                Failure::new(FailureKind::HandedBack, "the worker shut down before it was done").into()
            }
            (Stage::Running | Stage::Ended(_), Ending::Stopped) => {
                Failure::new(FailureKind::Cancelled, "stopped").into()
            }
            (Stage::Running | Stage::Ended(_), ending) => ending,
        };
        self.idle = self.idle && !is_tried_again(&ending);
        let told_to_stop = matches!(attempt.stage, Stage::Stopping(Why::Told(_)));
        let finished = finished(id, ending, log);
        if self.connected {
            effects.push(Effect::Send(message(Message::AttemptFinished(finished.clone()))));
        }
        if told_to_stop {
            // The coordinator decided it: it waits for no result.
            self.attempts.remove(&id);
        } else {
            attempt.stage = Stage::Ended(finished);
            self.forget_the_oldest_beyond_reason();
        }
    }

    fn forget_the_oldest_beyond_reason(&mut self) {
        if self.attempts.values().filter(|attempt| attempt.has_ended()).count() > MAX_UNACKNOWLEDGED {
            let oldest = self.attempts.iter().find(|(_, attempt)| attempt.has_ended()).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.attempts.remove(&oldest);
            }
        }
    }

    fn leave(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if self.leaving.is_none() {
            if self.connected {
                effects.push(Effect::Send(message(Message::Draining(proto::Draining {
                    reason: reason.clone(),
                }))));
            }
            self.leaving = Some(reason);
        }
    }

    /// For Hello: everything that is not acknowledged.
    pub(crate) fn unacknowledged(&self) -> Vec<proto::RunningAttempt> {
        self.attempts
            .iter()
            .filter(|(_, attempt)| !matches!(attempt.stage, Stage::Stopping(Why::Lost | Why::Told(_))))
            .map(|(id, _)| proto::RunningAttempt { task_id: id.task.to_string(), epoch: id.epoch.0 })
            .collect()
    }

    /// For a heartbeat that is sent now: what holds a lease.
    pub(crate) fn heartbeat(&mut self, now: Instant) -> Vec<AttemptId> {
        if self.connected {
            for attempt in self.attempts.values_mut().filter(|attempt| attempt.is_running()) {
                // Beyond the limit the oldest must stay: answers come in the order of the heartbeats.
                if attempt.asked.len() < MAX_UNANSWERED {
                    attempt.asked.push_back(now);
                }
            }
        }
        self.running()
    }

    /// What has ended and waits for its acknowledgement, with how far it came. Heartbeats name it too: the coordinator looks
    /// at the files first, which must not outlast the lease.
    pub(crate) fn reported(&self) -> Vec<(AttemptId, proto::Progress)> {
        use proto::attempt_finished::Result::Succeeded;
        let progress = |finished: &proto::AttemptFinished| match &finished.result {
            Some(Succeeded(succeeded)) => succeeded.final_progress.clone().unwrap_or_default(),
            _ => proto::Progress::default(),
        };
        let ended = self.attempts.iter().filter_map(|(id, attempt)| match &attempt.stage {
            Stage::Ended(finished) => Some((*id, progress(finished))),
            Stage::Running | Stage::Stopping(_) => None,
        });
        ended.collect()
    }

    /// What holds a lease.
    pub(crate) fn running(&self) -> Vec<AttemptId> {
        self.attempts.iter().filter(|(_, attempt)| attempt.is_running()).map(|(id, _)| *id).collect()
    }

    /// Says why no new work can be taken for now, or that it can. Whether that is a change.
    pub(crate) fn set_not_taking(&mut self, reason: Option<String>) -> bool {
        let changed = self.not_taking.is_some() != reason.is_some();
        self.not_taking = reason;
        changed
    }

    /// For Hello and heartbeats; empty if work is taken.
    pub(crate) fn not_taking(&self) -> String {
        self.not_taking.clone().unwrap_or_default()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Leaving, and nothing is left to do or to tell.
    pub(crate) fn is_done(&self) -> bool {
        self.leaving.is_some() && self.attempts.is_empty()
    }

    /// Leaving, and no process is left: what remains is to be heard.
    pub(crate) fn is_quiet(&self) -> bool {
        self.leaving.is_some() && self.attempts.values().all(Attempt::has_ended)
    }

    /// Attempts that were given back unfinished, and those whose results nobody has taken.
    pub(crate) fn unfinished(&self) -> usize {
        self.handed_back + self.attempts.values().filter(|attempt| !attempt.is_handed_back()).count()
    }

    /// When the next lease is over, at the earliest.
    pub(crate) fn next_lease_end(&self) -> Option<Instant> {
        let lease = self.lease?;
        self.attempts
            .values()
            .filter(|attempt| attempt.is_running())
            .map(|attempt| lease.ends(attempt.renewed))
            .min()
    }
}

impl Attempt {
    fn new(slot: Slot, live: bool, renewed: Instant) -> Self {
        Self { slot, live, renewed, asked: VecDeque::new(), started: None, stage: Stage::Running }
    }

    /// An answer may be old when it is read: this process was stopped, or the network is slow. The coordinator's lease
    /// begins when it read the heartbeat, which cannot have been before that was sent. What nobody asked for renews
    /// nothing.
    fn renew(&mut self) {
        if let Some(asked) = self.asked.pop_front() {
            self.renewed = self.renewed.max(asked);
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    fn is_handed_back(&self) -> bool {
        match &self.stage {
            Stage::Ended(proto::AttemptFinished {
                result: Some(proto::attempt_finished::Result::Failed(failed)),
                ..
            }) => failed.kind == FailureKind::HandedBack.as_str(),
            Stage::Ended(_) | Stage::Running | Stage::Stopping(_) => false,
        }
    }
}

/// Whether the task comes back to the queue: then there is something queued again.
fn is_tried_again(ending: &Ending) -> bool {
    match ending {
        Ending::Failed(verdict) => matches!(verdict.failure.kind.remedy(), Remedy::Retry | Remedy::Requeue),
        Ending::Succeeded { .. } | Ending::Stopped | Ending::NotCurrent => false,
    }
}

fn finished(id: AttemptId, ending: Ending, log_tail: Vec<String>) -> proto::AttemptFinished {
    use proto::attempt_finished::Result as Outcome;
    let result = match ending {
        Ending::Succeeded { outputs, warnings, progress, damage } => Outcome::Succeeded(proto::Succeeded {
            outputs: outputs.into_iter().map(Into::into).collect(),
            warnings,
            final_progress: Some((*progress).into()),
            damage: damage.map(Into::into),
        }),
        Ending::Failed(Verdict { failure, missing_filters, missing_encoders, missing_scratch_bytes }) => {
            Outcome::Failed(proto::Failed {
                kind: failure.kind.as_str().to_owned(),
                message: failure.message,
                missing_filters,
                missing_encoders,
                missing_scratch_bytes,
            })
        }
        Ending::Stopped | Ending::NotCurrent => Outcome::Failed(proto::Failed {
            kind: FailureKind::Cancelled.as_str().to_owned(),
            message: "stopped".to_owned(),
            ..Default::default()
        }),
    };
    proto::AttemptFinished { task_id: id.task.to_string(), epoch: id.epoch.0, result: Some(result), log_tail }
}

impl Terms {
    /// Of a Welcome. A heartbeat or lease of nothing at all would be a mistake: absent means no lease.
    pub(crate) fn of(welcome: &proto::Welcome, asked: Instant) -> Self {
        let kept = welcome
            .verdicts
            .iter()
            .filter(|verdict| verdict.keep)
            .filter_map(|verdict| crate::run::attempt_id(&verdict.task_id, verdict.epoch).ok())
            .collect();
        let lease =
            (welcome.lease_ms > 0).then(|| Lease { length: Duration::from_millis(welcome.lease_ms.into()) });
        Self { asked, lease, kept }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
