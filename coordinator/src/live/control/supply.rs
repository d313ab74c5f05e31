//! Where a source comes from: whether it is pulled, which worker brings it, and when a slate stands in.

use std::time::Duration;

use common::{
    api::WorkerRef,
    id::{AttemptId, Epoch, TaskId, WorkerId},
};

use super::{ASK_AGAIN, AVOID, FIRST_OUTPUT, pause};

/// A source that gave nothing for so long is lost: a slate takes its place, and a worker that brings it hangs.
const LOST: Duration = Duration::from_secs(3);
/// Before the next attempt after so many failed in a row, at most.
const SLOWEST: Duration = Duration::from_secs(15);

/// Who brings a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum Kind {
    /// The coordinator itself.
    Pull,
    /// Somebody who connects.
    Push,
    /// A worker.
    Worker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum Errand {
    /// The source itself.
    Ingest,
    /// A picture while it is away.
    Slate,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::live) enum Effect {
    StartPull,
    StopPull,
    Place { attempt: AttemptId, errand: Errand, avoid: Vec<WorkerId> },
    End(AttemptId, String),
}

#[derive(Debug, Clone, PartialEq)]
struct Running {
    attempt: AttemptId,
    /// `None`: it is being placed.
    worker: Option<WorkerRef>,
    since: Duration,
}

#[derive(Debug)]
pub(in crate::live) struct Supply {
    kind: Kind,
    slate_wanted: bool,
    task: TaskId,
    epoch: Epoch,
    /// Somebody watches.
    wanted: bool,
    wanted_since: Duration,
    pulls: bool,
    ingest: Option<Running>,
    slate: Option<Running>,
    /// When the source itself, not a slate, gave its newest frame.
    newest: Option<Duration>,
    strikes: u32,
    retry_at: Duration,
    slate_retry_at: Duration,
    avoid: Vec<(WorkerId, Duration)>,
    /// For people.
    pub(in crate::live) problem: Option<String>,
}

impl Supply {
    pub(in crate::live) fn new(kind: Kind, slate: bool, task: TaskId, now: Duration) -> Self {
        Self {
            kind,
            slate_wanted: slate,
            task,
            epoch: Epoch::default(),
            wanted: false,
            wanted_since: now,
            pulls: false,
            ingest: None,
            slate: None,
            newest: None,
            strikes: 0,
            retry_at: now,
            slate_retry_at: now,
            avoid: Vec::new(),
            problem: None,
        }
    }

    /// The worker through which the source comes.
    pub(in crate::live) fn worker(&self) -> Option<&WorkerRef> {
        self.ingest.as_ref().and_then(|running| running.worker.as_ref())
    }

    pub(in crate::live) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether anybody watches.
    pub(in crate::live) fn want(&mut self, wanted: bool, now: Duration) -> Vec<Effect> {
        if wanted && !self.wanted {
            self.wanted_since = now;
            self.strikes = 0;
            self.retry_at = now;
            self.problem = None;
        }
        self.wanted = wanted;
        self.reconcile(now)
    }

    pub(in crate::live) fn placed(
        &mut self,
        attempt: AttemptId,
        worker: WorkerRef,
        now: Duration,
    ) -> Vec<Effect> {
        let ours = |running: &&mut Running| running.attempt == attempt;
        match self.ingest.as_mut().filter(ours).or(self.slate.as_mut().filter(ours)) {
            Some(running) => {
                running.worker = Some(worker);
                running.since = now;
                self.reconcile(now)
            }
            None => vec![Effect::End(attempt, "it is not needed any more".to_owned())],
        }
    }

    pub(in crate::live) fn not_placed(
        &mut self,
        attempt: AttemptId,
        reason: String,
        now: Duration,
    ) -> Vec<Effect> {
        if self.ingest.take_if(|running| running.attempt == attempt).is_some() {
            self.problem = Some(reason);
            self.retry_at = now + ASK_AGAIN;
        } else if self.slate.take_if(|running| running.attempt == attempt).is_some() {
            self.slate_retry_at = now + ASK_AGAIN;
        }
        self.reconcile(now)
    }

    /// An attempt is over, for whatever reason: a source has no end.
    pub(in crate::live) fn broken(&mut self, attempt: AttemptId, reason: &str, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(running) = self.ingest.take_if(|running| running.attempt == attempt) {
            effects.push(Effect::End(attempt, reason.to_owned()));
            self.problem = Some(reason.to_owned());
            if let Some(worker) = running.worker {
                self.avoid.push((worker.id, now + AVOID));
            }
            self.strikes += 1;
            self.retry_at = now + pause(self.strikes + 1).min(SLOWEST);
        } else if self.slate.take_if(|running| running.attempt == attempt).is_some() {
            effects.push(Effect::End(attempt, reason.to_owned()));
            self.slate_retry_at = now + pause(3);
        }
        effects.extend(self.reconcile(now));
        effects
    }

    /// The attempt's worker is leaving: the source is taken from another, which is a break in it.
    pub(in crate::live) fn leaving(
        &mut self,
        attempt: AttemptId,
        reason: &str,
        now: Duration,
    ) -> Vec<Effect> {
        self.broken(attempt, reason, now)
    }

    pub(in crate::live) fn room(&mut self, now: Duration) -> Vec<Effect> {
        self.retry_at = self.retry_at.min(now + pause(self.strikes + 1));
        self.slate_retry_at = self.slate_retry_at.min(now);
        self.reconcile(now)
    }

    /// Time has passed. `newest`: when the source itself, not a slate, gave its newest frame.
    pub(in crate::live) fn tick(&mut self, newest: Option<Duration>, now: Duration) -> Vec<Effect> {
        if newest > self.newest {
            self.newest = newest;
            self.strikes = 0;
            self.problem = None;
        }
        let mut effects = Vec::new();
        if let Some(running) = self.ingest.clone().filter(|running| running.worker.is_some()) {
            let began = newest.is_some_and(|at| at > running.since);
            let (heard, patience) = match newest {
                Some(at) if began => (at, LOST),
                _ => (running.since, FIRST_OUTPUT),
            };
            if now.saturating_sub(heard) >= patience {
                let seconds = now.saturating_sub(heard).as_secs();
                effects.extend(self.broken(
                    running.attempt,
                    &format!("the source gave nothing for {seconds} s"),
                    now,
                ));
            }
        }
        effects.extend(self.reconcile(now));
        effects
    }

    fn reconcile(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.avoid.retain(|(_, until)| *until > now);
        if self.kind == Kind::Pull && self.pulls != self.wanted {
            self.pulls = self.wanted;
            effects.push(if self.wanted { Effect::StartPull } else { Effect::StopPull });
        }
        if !self.wanted {
            for running in [self.ingest.take(), self.slate.take()].into_iter().flatten() {
                effects.push(Effect::End(running.attempt, "nobody watches any more".to_owned()));
            }
            return effects;
        }
        if self.kind == Kind::Worker && self.ingest.is_none() && now >= self.retry_at {
            let attempt = self.next_attempt();
            self.ingest = Some(Running { attempt, worker: None, since: now });
            let avoid = self.avoid.iter().map(|(worker, _)| *worker).collect();
            effects.push(Effect::Place { attempt, errand: Errand::Ingest, avoid });
        }
        let heard = self.newest.map_or(self.wanted_since, |at| at.max(self.wanted_since));
        let lost = now.saturating_sub(heard) >= LOST;
        if self.slate_wanted && lost && self.slate.is_none() && now >= self.slate_retry_at {
            let attempt = self.next_attempt();
            self.slate = Some(Running { attempt, worker: None, since: now });
            effects.push(Effect::Place { attempt, errand: Errand::Slate, avoid: Vec::new() });
        }
        if !lost && let Some(slate) = self.slate.take() {
            effects.push(Effect::End(slate.attempt, "the source is back".to_owned()));
        }
        effects
    }

    fn next_attempt(&mut self) -> AttemptId {
        self.epoch = self.epoch.next();
        AttemptId { task: self.task, epoch: self.epoch }
    }
}

#[cfg(test)]
#[path = "supply_tests.rs"]
mod tests;
