//! One variant: how many attempts encode it, in which roles, and when it is over.

use std::{collections::VecDeque, time::Duration};

use common::{
    api::WorkerRef,
    id::{AttemptId, Epoch, TaskId, WorkerId},
};

use super::{ASK_AGAIN, AVOID, FIRST_OUTPUT, FLOWING, SILENCE, pause};
use crate::live::splice::Role;

/// A source that is not there by then will not come: the viewer is told.
const NO_SOURCE: Duration = Duration::from_secs(10);
/// Attempts that may fail before the first frame was delivered.
const STRIKES: u32 = 3;
/// Time for an attempt whose generation is over to deliver what it has.
const FLUSH: Duration = Duration::from_secs(5);
/// Time for a successor to catch up and take over, and before another is tried.
const HANDOVER: Duration = Duration::from_secs(30);
/// An attempt this old is moved: its timestamps are in 33 bits, which last 26 hours.
const OLDEST: Duration = Duration::from_secs(20 * 3600);
/// Failovers that are remembered for people.
const REMEMBERED: usize = 16;

/// What its stream says about a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) struct Terms {
    /// How long it goes on without a viewer.
    pub(in crate::live) linger: Duration,
    /// How long viewers are held while nobody encodes it.
    pub(in crate::live) hold: Duration,
    /// Attempts side by side.
    pub(in crate::live) redundancy: u8,
    /// Without an encoder: there are no attempts.
    pub(in crate::live) copies: bool,
}

/// An attempt, from the order to its end.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::live) struct Feed {
    pub(in crate::live) attempt: AttemptId,
    pub(in crate::live) role: Role,
    generation: u32,
    /// `None`: it is being placed.
    pub(in crate::live) worker: Option<WorkerRef>,
    pub(in crate::live) encoder: Option<String>,
    /// When it was ordered, or placed.
    pub(in crate::live) since: Duration,
    /// It has to be moved, and why.
    leaving: Option<String>,
    produced: bool,
}

impl Feed {
    /// It runs beside the one that delivers.
    pub(in crate::live) const fn is_spare(&self) -> bool {
        matches!(self.role, Role::Successor | Role::Standby)
    }
}

/// What is seen of an attempt from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) struct Seen {
    pub(in crate::live) attempt: AttemptId,
    /// When it gave its newest frame; `None`: none yet.
    pub(in crate::live) output_at: Option<Duration>,
}

/// One attempt that was replaced.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::live) struct Failover {
    attempt: AttemptId,
    pub(in crate::live) at: Duration,
    pub(in crate::live) from: WorkerRef,
    pub(in crate::live) to: Option<WorkerRef>,
    pub(in crate::live) reason: String,
    /// Between the last frame of the one and the first of the other; `None`: it is not known yet.
    pub(in crate::live) stall: Option<Duration>,
}

/// Why there will be no picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::live) enum Refusal {
    /// Nobody can encode it now.
    NoCapacity(String),
    NoSource(String),
    /// It was tried, and it does not work.
    Failed(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::live) enum Effect {
    Place(Order),
    /// Nothing of it is wanted any more.
    End(AttemptId, String),
    /// It gives nothing though it should: whoever acts on it closes it and says [`Variant::broken`].
    GiveUp(AttemptId, String),
    /// The variant is over: no viewer saw anything of it.
    Refuse(Refusal),
    /// The variant is over.
    Close(String),
}

/// An attempt to place.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::live) struct Order {
    pub(in crate::live) attempt: AttemptId,
    pub(in crate::live) role: Role,
    pub(in crate::live) generation: u32,
    pub(in crate::live) avoid: Vec<WorkerId>,
    pub(in crate::live) preempts: bool,
}

/// What is counted over all variants.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) failovers: u64,
    /// Of failovers whose replacement delivers.
    pub(crate) stalls: Vec<Duration>,
}

#[derive(Debug)]
pub(in crate::live) struct Variant {
    terms: Terms,
    task: TaskId,
    epoch: Epoch,
    began: Duration,
    viewers: u32,
    idle_since: Option<Duration>,
    /// The source's newest, and since when.
    generation: Option<(u32, Duration)>,
    /// The generation of which an attempt was running.
    spliced: Option<u32>,
    feeds: Vec<Feed>,
    /// Something was delivered.
    pub(in crate::live) delivered: bool,
    /// The source flows, and has done so since then: nothing can be missed from before.
    flows_since: Option<Duration>,
    /// Nobody has given anything since then.
    starved_since: Option<Duration>,
    /// Attempts in a row that gave nothing.
    strikes: u32,
    retry_at: Duration,
    /// When another successor or standby may be tried.
    spare_at: Duration,
    /// For people: why it does not go on.
    pub(in crate::live) problem: Option<String>,
    /// What a worker last said about its attempt's end.
    explained: Option<String>,
    avoid: Vec<(WorkerId, Duration)>,
    pub(in crate::live) failovers: VecDeque<Failover>,
    tally: Tally,
    over: bool,
}

impl Variant {
    /// `task` is its own; the attempts get growing epochs of it.
    pub(in crate::live) fn new(terms: Terms, task: TaskId, now: Duration) -> Self {
        Self {
            terms,
            task,
            epoch: Epoch::default(),
            began: now,
            viewers: 0,
            idle_since: Some(now),
            generation: None,
            spliced: None,
            feeds: Vec::new(),
            delivered: false,
            flows_since: None,
            starved_since: None,
            strikes: 0,
            retry_at: now,
            spare_at: now,
            problem: None,
            explained: None,
            avoid: Vec::new(),
            failovers: VecDeque::new(),
            tally: Tally::default(),
            over: false,
        }
    }

    pub(in crate::live) fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    pub(in crate::live) const fn is_lingering(&self) -> bool {
        self.viewers == 0
    }

    /// Viewers wait, and nobody encodes.
    pub(in crate::live) const fn is_held(&self) -> bool {
        self.delivered && self.starved_since.is_some()
    }

    /// How many watch it now.
    pub(in crate::live) fn watched_by(&mut self, viewers: u32, now: Duration) -> Vec<Effect> {
        self.viewers = viewers;
        if viewers > 0 {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
        self.reconcile(now)
    }

    /// The source has a new generation.
    pub(in crate::live) fn generation(&mut self, number: u32, now: Duration) -> Vec<Effect> {
        if self.generation.is_none_or(|(known, _)| known < number) {
            self.generation = Some((number, now));
            self.retry_at = now;
            self.strikes = 0;
        }
        self.reconcile(now)
    }

    pub(in crate::live) fn placed(
        &mut self,
        attempt: AttemptId,
        worker: WorkerRef,
        encoder: Option<String>,
        now: Duration,
    ) -> Vec<Effect> {
        let Some(feed) = self.feeds.iter_mut().find(|feed| feed.attempt == attempt) else {
            return vec![Effect::End(attempt, "it is not needed any more".to_owned())];
        };
        feed.worker = Some(worker.clone());
        feed.encoder = encoder;
        feed.since = now;
        if matches!(feed.role, Role::Generation(_) | Role::Replacement) {
            self.spliced = Some(feed.generation);
        }
        if feed.role == Role::Replacement
            && let Some(open) = self.failovers.back_mut().filter(|failover| failover.to.is_none())
        {
            open.to = Some(worker);
        }
        self.reconcile(now)
    }

    pub(in crate::live) fn not_placed(
        &mut self,
        attempt: AttemptId,
        reason: String,
        now: Duration,
    ) -> Vec<Effect> {
        let Some(feed) = self.take(attempt) else { return Vec::new() };
        match feed.role {
            Role::Successor | Role::Standby => self.spare_at = now + ASK_AGAIN,
            Role::Generation(_) | Role::Replacement => {
                // One that had a place a moment ago may still be leaving it.
                let had_place = self.spliced.is_some();
                if !self.delivered && !had_place {
                    return self.refuse(Refusal::NoCapacity(reason));
                }
                self.problem = Some(reason);
                self.starved_since.get_or_insert(now);
                self.retry_at = now + ASK_AGAIN;
            }
        }
        self.reconcile(now)
    }

    /// An attempt is lost: its worker, its connection, its ffmpeg. `delivered_at`: when the newest frame went out. `promoted`:
    /// who delivers now without having been told.
    pub(in crate::live) fn broken(
        &mut self,
        attempt: AttemptId,
        reason: &str,
        delivered_at: Option<Duration>,
        promoted: Option<AttemptId>,
        now: Duration,
    ) -> Vec<Effect> {
        let Some(feed) = self.take(attempt) else { return Vec::new() };
        let mut effects = vec![Effect::End(attempt, reason.to_owned())];
        if let Some(worker) = &feed.worker {
            self.avoid.retain(|(known, _)| *known != worker.id);
            self.avoid.push((worker.id, now + AVOID));
        }
        let is_current = self.generation.is_some_and(|(number, _)| number == feed.generation);
        match feed.role {
            Role::Successor | Role::Standby => self.spare_at = now + pause(2),
            Role::Generation(_) | Role::Replacement if !is_current => {}
            Role::Generation(_) | Role::Replacement => {
                self.problem = Some(reason.to_owned());
                if !feed.produced {
                    self.strikes += 1;
                    if !self.delivered && self.strikes >= STRIKES {
                        let why = self.explained.take().unwrap_or_else(|| reason.to_owned());
                        effects.extend(self.refuse(Refusal::Failed(why)));
                        return effects;
                    }
                    self.retry_at = now + pause(self.strikes);
                }
                let successor = self.feeds.iter_mut().find(|other| promoted == Some(other.attempt));
                let to = successor.and_then(|successor| {
                    successor.role = Role::Replacement;
                    successor.worker.clone()
                });
                if to.is_none() {
                    self.starved_since.get_or_insert(now);
                    // It cannot go on where this one ended: whoever can gets its slot.
                    let useless = self.of(|other| other.role == Role::Successor);
                    effects.extend(useless.into_iter().filter_map(|attempt| {
                        self.take(attempt)?;
                        Some(Effect::End(attempt, "it had not caught up".to_owned()))
                    }));
                }
                if let Some(from) = feed.worker {
                    // The stall begins with the last frame that went out.
                    let at = delivered_at.map_or(now, |at| at.min(now));
                    let reason = reason.to_owned();
                    self.failed_over(Failover { attempt, at, from, to, reason, stall: None });
                }
            }
        }
        effects.extend(self.reconcile(now));
        effects
    }

    /// A worker says why an attempt ended that was lost a moment ago: its connection breaks before its words come.
    pub(in crate::live) fn explain(&mut self, attempt: AttemptId, reason: &str) {
        if let Some(failover) = self.failovers.iter_mut().find(|failover| failover.attempt == attempt) {
            reason.clone_into(&mut failover.reason);
        }
        if let Some(problem) = &mut self.problem {
            reason.clone_into(problem);
        }
        self.explained = Some(reason.to_owned());
    }

    /// An attempt has delivered everything: its input was over.
    pub(in crate::live) fn finished(&mut self, attempt: AttemptId, now: Duration) -> Vec<Effect> {
        let Some(feed) = self.take(attempt) else { return Vec::new() };
        let mut effects = vec![Effect::End(attempt, "it is done".to_owned())];
        let is_current = self.generation.is_some_and(|(number, _)| number == feed.generation);
        if is_current && self.feeds.iter().all(|other| other.generation != feed.generation) {
            // The source is gone, or the attempt was slower than the source's buffer is long.
            self.starved_since.get_or_insert(now);
            self.retry_at = now + ASK_AGAIN;
        }
        effects.extend(self.reconcile(now));
        effects
    }

    /// The attempt goes on, but has to be moved.
    pub(in crate::live) fn leaving(
        &mut self,
        attempt: AttemptId,
        reason: &str,
        now: Duration,
    ) -> Vec<Effect> {
        if let Some(feed) = self.feeds.iter_mut().find(|feed| feed.attempt == attempt) {
            feed.leaving.get_or_insert_with(|| reason.to_owned());
        }
        self.reconcile(now)
    }

    /// Whose frames are delivered. When that is a successor or a standby, it has taken over.
    pub(in crate::live) fn delivers(&mut self, active: AttemptId, now: Duration) -> Vec<Effect> {
        let Some(feed) = self.feeds.iter_mut().find(|feed| feed.attempt == active && feed.is_spare()) else {
            return Vec::new();
        };
        feed.role = Role::Replacement;
        let (generation, to) = (feed.generation, feed.worker.clone());
        let replaced =
            |feed: &Feed| feed.attempt != active && feed.generation == generation && !feed.is_spare();
        let mut effects = Vec::new();
        for attempt in self.of(replaced) {
            let Some(old) = self.take(attempt) else { continue };
            let reason = old.leaving.unwrap_or_else(|| "the other one was ahead".to_owned());
            effects.push(Effect::End(attempt, format!("moved: {reason}")));
            if let Some(from) = old.worker {
                let stall = Some(Duration::ZERO);
                self.failed_over(Failover { attempt, at: now, from, to: to.clone(), reason, stall });
            }
        }
        effects.extend(self.reconcile(now));
        effects
    }

    /// The fleet changed: what was refused may be possible.
    pub(in crate::live) fn room(&mut self, now: Duration) -> Vec<Effect> {
        self.retry_at = self.retry_at.min(now + pause(self.strikes));
        self.spare_at = self.spare_at.min(now);
        self.reconcile(now)
    }

    /// Time has passed. `source_at`: when the source gave its newest frame; `delivered_at`: when the newest frame went out.
    pub(in crate::live) fn tick(
        &mut self,
        seen: &[Seen],
        source_at: Option<Duration>,
        delivered_at: Option<Duration>,
        now: Duration,
    ) -> Vec<Effect> {
        self.delivered |= delivered_at.is_some();
        self.measure(delivered_at);
        let flows = source_at.is_some_and(|at| now.saturating_sub(at) < FLOWING);
        self.flows_since = flows.then(|| self.flows_since.unwrap_or(now));
        let mut hung = Vec::new();
        for seen in seen {
            let Some(feed) = self.feeds.iter_mut().find(|feed| feed.attempt == seen.attempt) else {
                continue;
            };
            if feed.worker.is_none() {
                continue;
            }
            let (since, patience) = match seen.output_at {
                Some(at) => (at.max(feed.since), if feed.produced { SILENCE } else { FIRST_OUTPUT }),
                None => (feed.since, FIRST_OUTPUT),
            };
            let since = since.max(self.flows_since.unwrap_or(now));
            if seen.output_at.is_some() {
                feed.produced = true;
                if self.generation.is_some_and(|(number, _)| number == feed.generation) {
                    self.strikes = 0;
                    self.starved_since = None;
                    self.problem = None;
                }
            }
            let is_current = self.generation.is_some_and(|(number, _)| number == feed.generation);
            if flows && is_current && now.saturating_sub(since) >= patience {
                let silent = now.saturating_sub(since).as_secs_f64();
                let reason = format!("no output for {silent:.1} s while its source flows");
                hung.push(Effect::GiveUp(feed.attempt, reason));
            } else if now.saturating_sub(feed.since) >= OLDEST {
                feed.leaving.get_or_insert_with(|| "it has run for 20 hours".to_owned());
            }
        }
        hung.extend(self.reconcile(now));
        hung
    }

    /// What has to be done about the difference between what is wanted and what is there.
    fn reconcile(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.over {
            return effects;
        }
        self.avoid.retain(|(_, until)| *until > now);
        if self.idle_since.is_some_and(|since| now.saturating_sub(since) >= self.terms.linger) {
            return self.close("nobody watches any more".to_owned());
        }
        let Some((generation, since)) = self.generation else {
            if now.saturating_sub(self.began) >= NO_SOURCE {
                let seconds = NO_SOURCE.as_secs();
                return self
                    .refuse(Refusal::NoSource(format!("the source gave no picture within {seconds} s")));
            }
            return effects;
        };
        if self.terms.copies {
            return effects;
        }
        if let Some(starved) = self.starved_since
            && now.saturating_sub(starved) >= self.terms.hold
        {
            let problem = self.problem.take().unwrap_or_else(|| "nobody encodes it".to_owned());
            return self.close(format!("no picture for {} s: {problem}", self.terms.hold.as_secs()));
        }
        if now.saturating_sub(since) >= FLUSH {
            let late: Vec<AttemptId> = self.of(|feed| feed.generation < generation);
            for attempt in late {
                self.take(attempt);
                effects.push(Effect::End(attempt, "its part of the source is over".to_owned()));
            }
        }
        let flushing = self.feeds.iter().any(|feed| feed.generation < generation);
        let mut current = self.feeds.iter().filter(|feed| feed.generation == generation);
        let spare = current.clone().any(Feed::is_spare);
        let Some(main) = current.find(|feed| !feed.is_spare()) else {
            if now >= self.retry_at {
                let role = match self.spliced {
                    Some(spliced) if spliced == generation => Role::Replacement,
                    _ => Role::Generation(generation),
                };
                effects.push(self.order(role, generation, None, !flushing, now));
            }
            return effects;
        };
        let here = main.worker.as_ref().map(|worker| worker.id);
        let leaving = main.leaving.is_some();
        if spare || now < self.spare_at {
            let late =
                self.of(|feed| feed.role == Role::Successor && now.saturating_sub(feed.since) >= HANDOVER);
            for attempt in late {
                self.take(attempt);
                self.spare_at = now + ASK_AGAIN;
                effects.push(Effect::End(attempt, "it did not catch up".to_owned()));
            }
            return effects;
        }
        if here.is_none() {
            // Whom to keep away from is not known yet.
        } else if leaving {
            effects.push(self.order(Role::Successor, generation, here, true, now));
        } else if self.terms.redundancy > 1 {
            effects.push(self.order(Role::Standby, generation, here, false, now));
        }
        effects
    }

    fn order(
        &mut self,
        role: Role,
        generation: u32,
        not_on: Option<WorkerId>,
        preempts: bool,
        now: Duration,
    ) -> Effect {
        self.epoch = self.epoch.next();
        let attempt = AttemptId { task: self.task, epoch: self.epoch };
        let mut avoid: Vec<WorkerId> = self.avoid.iter().map(|(worker, _)| *worker).collect();
        avoid.extend(not_on);
        avoid.dedup();
        self.feeds.push(Feed {
            attempt,
            role,
            generation,
            worker: None,
            encoder: None,
            since: now,
            leaving: None,
            produced: false,
        });
        Effect::Place(Order { attempt, role, generation, avoid, preempts })
    }

    /// The stall of the newest failover ends with the first frame that went out after it.
    fn measure(&mut self, delivered_at: Option<Duration>) {
        if let Some(open) = self.failovers.back_mut().filter(|failover| failover.stall.is_none())
            && open.to.is_some()
            && let Some(at) = delivered_at.filter(|at| *at > open.at)
        {
            open.stall = Some(at - open.at);
            self.tally.stalls.push(at - open.at);
        }
    }

    fn failed_over(&mut self, failover: Failover) {
        if self.failovers.len() == REMEMBERED {
            self.failovers.pop_front();
        }
        self.failovers.push_back(failover);
        self.tally.failovers += 1;
    }

    /// What happened since this was asked last.
    pub(in crate::live) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The attempts of which that holds.
    fn of(&self, which: impl Fn(&Feed) -> bool) -> Vec<AttemptId> {
        self.feeds.iter().filter(|feed| which(feed)).map(|feed| feed.attempt).collect()
    }

    fn take(&mut self, attempt: AttemptId) -> Option<Feed> {
        let index = self.feeds.iter().position(|feed| feed.attempt == attempt)?;
        Some(self.feeds.remove(index))
    }

    fn refuse(&mut self, refusal: Refusal) -> Vec<Effect> {
        self.wind_up(Effect::Refuse(refusal))
    }

    /// The variant is over.
    pub(in crate::live) fn close(&mut self, reason: String) -> Vec<Effect> {
        self.wind_up(Effect::Close(reason))
    }

    fn wind_up(&mut self, last: Effect) -> Vec<Effect> {
        if std::mem::replace(&mut self.over, true) {
            return Vec::new();
        }
        let feeds = std::mem::take(&mut self.feeds);
        let ends = feeds.into_iter().map(|feed| Effect::End(feed.attempt, "its variant is over".to_owned()));
        ends.chain([last]).collect()
    }
}

#[cfg(test)]
#[path = "variant_tests.rs"]
mod tests;
