//! One connection that brings a source.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mux::{Event, Ticks, ts::Demuxer};

use super::{
    Shared, State,
    intake::{Intake, Step},
    plus,
};

/// One connection's bytes. Dropped: the connection is over.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    /// Its number among the source's connections.
    number: u64,
    demuxer: Demuxer,
    intake: Intake,
    events: Vec<Event>,
    steps: Vec<Step>,
    /// When it gave its first frame or was behind the clock last, and up to where the timeline was then.
    paced: Option<(Instant, Ticks)>,
}

impl Feed {
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> Self {
        // Whose stream it is, and how it is written, is not known.
        let demuxer = Demuxer::new(false);
        Self {
            shared,
            number,
            demuxer,
            intake: Intake::default(),
            events: Vec::new(),
            steps: Vec::new(),
            paced: None,
        }
    }

    /// `false`: another connection has taken over, or the source was closed.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let now = now();
        self.demuxer.push(bytes, &mut self.events);
        for event in self.events.drain(..) {
            self.intake.event(event, now, &mut self.steps);
        }
        self.take(now)
    }

    /// How far what it gave goes beyond what the clock would have given since it began: that of a file is soon over. Whoever
    /// reads it should wait rather than let it push everything else out of the buffer.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        let Some(((since, from), newest)) = self.paced.zip(self.shared.state().buffer.newest()) else {
            return Duration::ZERO;
        };
        let given = Duration::from_millis(u64::try_from((newest - from).millis()).unwrap_or(0));
        given.saturating_sub(now().saturating_duration_since(since))
    }

    /// What was found goes to the source.
    fn take(&mut self, now: Instant) -> bool {
        let mut state = self.shared.state();
        if state.closed || state.delivering > self.number {
            return false;
        }
        state.connected.insert(self.number, self.demuxer.statistics());
        if self.steps.is_empty() {
            return true;
        }
        for step in self.steps.drain(..) {
            let begun = state.step(self.number, step, &self.shared, now);
            self.paced = self.paced.or(begun.map(|start| (now, start)));
        }
        if state.delivering == self.number {
            state.parameters.clear();
            state.parameters.extend(self.intake.parameters().cloned());
        }
        let newest = state.buffer.newest();
        drop(state);
        if let Some(newest) = newest
            && self.paced.is_some()
            && self.ahead().is_zero()
        {
            self.paced = Some((now, newest));
        }
        self.shared.changed.send_replace(());
        true
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let now = now();
        self.demuxer.finish(&mut self.events);
        for event in self.events.drain(..) {
            self.intake.event(event, now, &mut self.steps);
        }
        self.intake.finish(now, &mut self.steps);
        self.take(now);
        let mut state = self.shared.state();
        if let Some(statistics) = state.connected.remove(&self.number) {
            state.statistics = plus(state.statistics, statistics);
        }
    }
}

impl State {
    /// Where a generation began.
    fn step(&mut self, feed: u64, step: Step, shared: &Shared, now: Instant) -> Option<Ticks> {
        match step {
            Step::Begin(begin) => {
                self.delivering = feed;
                let (generation, after) = self.timeline.begin(begin);
                shared.clock.begin(generation.start, after, jiff::Timestamp::now().as_millisecond());
                self.buffer.begin(generation.number, generation.program.clone());
                let start = generation.start;
                shared.generations.send_replace(Some(generation));
                return Some(start);
            }
            Step::Unit(unit) if self.delivering == feed => {
                if let Some(unit) = self.timeline.unit(unit) {
                    self.buffer.push(unit);
                    self.newest_at = Some(now);
                }
            }
            Step::End if self.delivering == feed => self.buffer.end(),
            Step::Unit(_) | Step::End => {}
        }
        None
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
