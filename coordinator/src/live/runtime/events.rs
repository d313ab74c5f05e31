//! What happens to attempts and sources.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use common::id::{AttemptId, StreamId};
use mux::Ticks;

use super::{Owner, PAST, Running, Runtime, Told};
use crate::{
    live::{
        attempts::OutputEnd,
        control::{
            supply::{self, Supply},
            variant::{self, Seen},
        },
        source::Source,
        splice::FeedEnd,
        streams::BLOCK,
    },
    queue::{LiveEvent, LivePlacement},
};

impl Runtime {
    pub(super) fn hear(&mut self, told: Told) {
        let now = self.now();
        match told {
            Told::Placed(attempt, Ok(placement)) => self.placed(attempt, placement, now),
            Told::Placed(attempt, Err(error)) => {
                self.attempts.remove(attempt);
                let Some(Owner { stream: id, profile }) = self.owners.remove(&attempt) else { return };
                let reason = error.to_string();
                self.of_owner(
                    id,
                    profile,
                    |running, _| {
                        running.pipeline.close(attempt, FeedEnd::Lost);
                        running.control.not_placed(attempt, reason.clone(), now)
                    },
                    |supply| supply.not_placed(attempt, reason.clone(), now),
                );
            }
            Told::Generation(id, number) => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                let mut all = Vec::new();
                for (profile, running) in &mut stream.variants {
                    all.push((profile.clone(), running.control.generation(number, now)));
                }
                for (profile, effects) in all {
                    self.act(id, &profile, effects);
                }
            }
            Told::Silent(attempt) => {
                self.dying.remove(&attempt);
            }
            Told::Reserved(id, reserved) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.reserving = false;
                    stream.reserved = stream.reserved.max(reserved);
                }
            }
        }
    }

    fn placed(&mut self, attempt: AttemptId, placement: LivePlacement, now: Duration) {
        let LivePlacement { worker, encoder, .. } = placement;
        let Some(Owner { stream: id, profile }) = self.owners.get(&attempt).cloned() else {
            // It was given up while it was placed.
            self.end(attempt, "it is not needed any more");
            return;
        };
        tracing::info!(
            stream = %id, task = %attempt.task, epoch = %attempt.epoch, worker = %worker.id, name = worker.name, encoder,
            profile, "live attempt placed"
        );
        self.of_owner(
            id,
            profile,
            |running, _| running.control.placed(attempt, worker.clone(), encoder.clone(), now),
            |supply| supply.placed(attempt, worker.clone(), now),
        );
    }

    pub(super) fn happened(&mut self, event: LiveEvent) {
        let now = self.now();
        match event {
            LiveEvent::Started { attempt, argv } => {
                tracing::debug!(task = %attempt.task, epoch = %attempt.epoch, argv = argv.join(" "), "live attempt started");
            }
            // Its output has ended properly, or is about to.
            LiveEvent::Ended { attempt, result: Ok(()) } => self.over(attempt, None),
            LiveEvent::Ended { attempt, result: Err(failure) } => self.over_because(attempt, failure.message),
            LiveEvent::Lost { attempt, reason } => self.over_because(attempt, reason),
            LiveEvent::Leaving { attempt, reason, .. } => {
                let Some(Owner { stream: id, profile }) = self.owners.get(&attempt).cloned() else { return };
                self.of_owner(
                    id,
                    profile,
                    |running, _| running.control.leaving(attempt, &reason, now),
                    |supply| supply.leaving(attempt, &reason, now),
                );
            }
            LiveEvent::Room => {
                let ids: Vec<StreamId> = self.streams.keys().copied().collect();
                for id in ids {
                    self.each(id, |running| running.control.room(now), |supply| supply.room(now));
                }
            }
        }
    }

    /// A worker, or the queue, says why an attempt is over, which its connection may have told before.
    fn over_because(&mut self, attempt: AttemptId, reason: String) {
        match self.dying.remove(&attempt) {
            None => self.over(attempt, Some(&reason)),
            Some(Owner { stream, profile: Some(profile) }) => {
                tracing::warn!(
                    %stream, task = %attempt.task, epoch = %attempt.epoch, profile, reason, "why the live attempt was lost"
                );
                let stream = self.streams.get_mut(&stream);
                if let Some(running) = stream.and_then(|stream| stream.variants.get_mut(&profile)) {
                    running.control.explain(attempt, &reason);
                }
            }
            Some(Owner { stream, profile: None }) => {
                tracing::warn!(%stream, task = %attempt.task, epoch = %attempt.epoch, reason, "why the source was lost");
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.supply.problem = Some(reason);
                }
            }
        }
    }

    pub(super) fn output_ended(&mut self, OutputEnd { attempt, problem }: OutputEnd) {
        if problem.is_some()
            && let Some(owner) = self.owners.get(&attempt)
        {
            self.dying.insert(attempt, owner.clone());
        }
        self.over(attempt, problem.as_deref());
    }

    /// An attempt is over; `problem`: not as it should be.
    pub(super) fn over(&mut self, attempt: AttemptId, problem: Option<&str>) {
        let now = self.now();
        let started = self.started;
        let Some(Owner { stream: id, profile }) = self.owners.get(&attempt).cloned() else { return };
        if let Some(problem) = problem {
            tracing::warn!(
                stream = %id, task = %attempt.task, epoch = %attempt.epoch, profile, problem, "live attempt lost"
            );
        } else {
            tracing::info!(
                stream = %id, task = %attempt.task, epoch = %attempt.epoch, profile, "live attempt done"
            );
        }
        self.of_owner(
            id,
            profile,
            |running, _| match problem {
                Some(problem) => {
                    running.pipeline.close(attempt, FeedEnd::Lost);
                    let delivered = running.delivered(started);
                    let promoted = running.pipeline.active();
                    running.control.broken(attempt, problem, delivered, promoted, now)
                }
                None => running.control.finished(attempt, now),
            },
            |supply| supply.broken(attempt, problem.unwrap_or("the source ended"), now),
        );
    }

    /// Lets the state machine that an attempt belongs to decide, and does what it says.
    fn of_owner(
        &mut self,
        id: StreamId,
        profile: Option<String>,
        of_variant: impl FnOnce(&mut Running, &Source) -> Vec<variant::Effect>,
        of_supply: impl FnOnce(&mut Supply) -> Vec<supply::Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match profile {
            Some(profile) => {
                let Some(running) = stream.variants.get_mut(&profile) else { return };
                let effects = of_variant(running, &stream.source);
                self.act(id, &profile, effects);
            }
            None => {
                let effects = of_supply(&mut stream.supply);
                self.supply(id, effects);
            }
        }
    }

    /// The same for everything of a stream.
    fn each(
        &mut self,
        id: StreamId,
        mut of_variant: impl FnMut(&mut Running) -> Vec<variant::Effect>,
        of_supply: impl FnOnce(&mut Supply) -> Vec<supply::Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let mut all = Vec::new();
        for (profile, running) in &mut stream.variants {
            all.push((profile.clone(), of_variant(running)));
        }
        let effects = of_supply(&mut stream.supply);
        for (profile, effects) in all {
            self.act(id, &profile, effects);
        }
        self.supply(id, effects);
    }

    /// Looks at what the attempts and the sources give.
    pub(super) fn look(&mut self) {
        let now = self.now();
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            for past in stream.past.values_mut() {
                past.output.take_if(|(_, ended)| now.saturating_sub(*ended) >= PAST);
            }
            if stream.variants.is_empty() && !stream.supply.is_wanted() {
                continue;
            }
            let figures = stream.source.figures();
            let newest = figures.newest_at.map(|at| at.saturating_duration_since(self.started));
            let slate = stream.slate.load(Ordering::Relaxed);
            let wanted = !stream.variants.is_empty() || now < stream.curious_until;
            let mut supply = stream.supply.want(wanted, now);
            supply.extend(stream.supply.tick(newest.filter(|_| !slate), now));
            let mut all = Vec::new();
            for (profile, running) in &mut stream.variants {
                let seen: Vec<Seen> = running
                    .control
                    .feeds()
                    .iter()
                    .filter_map(|feed| {
                        let progress = running.pipeline.progress(feed.attempt)?;
                        let output_at =
                            progress.newest.map(|_| progress.at.saturating_duration_since(self.started));
                        Some(Seen { attempt: feed.attempt, output_at })
                    })
                    .collect();
                if let Some(newest) = figures.newest {
                    running.pipeline.source_at(newest);
                }
                running.presence.forget_gone(Instant::now());
                let mut effects = running.control.watched_by(running.viewers(), now);
                if let Some(active) = running.pipeline.active() {
                    effects.extend(running.control.delivers(active, now));
                }
                effects.extend(running.control.tick(&seen, newest, running.delivered(self.started), now));
                self.metrics.happened(running.control.take_tally());
                all.push((profile.clone(), effects));
            }
            self.reserve(id);
            for (profile, effects) in all {
                self.act(id, &profile, effects);
            }
            self.supply(id, supply);
        }
    }

    /// Keeps a stretch of media sequences reserved ahead of those that are used.
    fn reserve(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(newest) = stream.source.figures().newest else { return };
        let grid = stream.variants.values().map(|running| running.packaging.segment_ms).min().unwrap_or(1000);
        let used = stream.source.clock().boundaries(newest, Ticks::from_millis(grid.into()));
        let used = stream.first_sequence.saturating_add(used);
        if stream.reserving || used.saturating_add(BLOCK / 2) < stream.reserved {
            return;
        }
        stream.reserving = true;
        let (records, tell) = (self.records.clone(), self.tell.clone());
        self.tracker.spawn(async move {
            match records.reserve_sequences(id, used).await {
                Ok(reserved) => {
                    // An error means that the coordinator is shutting down.
                    let _ = tell.send(Told::Reserved(id, reserved));
                }
                Err(error) => {
                    tracing::warn!(stream = %id, %error, "cannot reserve media sequences; it is tried again");
                    let _ = tell.send(Told::Reserved(id, 0));
                }
            }
        });
    }
}
