//! What is told of an attempt besides its result: the phases that it went through and how it ended, in the
//! trace of its job and in the figures of the worker.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use common::{
    id::{AttemptId, JobId, StreamId, WorkerId},
    telemetry::trace::{self, KeyValue, Part, Span},
    worker::Progress,
};

use super::{Assignment, Ending, Tools};
use crate::metrics::Figures;

/// Whom an attempt works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Job(JobId),
    Stream(StreamId),
}

/// The account of one attempt.
#[derive(Debug)]
pub(crate) struct Account {
    whose: Whose,
    attempt: AttemptId,
    worker: WorkerId,
    preset: String,
    /// `none` without video to encode.
    encoder: String,
    began: Moment,
    phases: Mutex<Phases>,
    figures: Figures,
}

/// The clock on the wall for people, the other for how long it took.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: SystemTime,
    mono: Instant,
}

#[derive(Debug, Default)]
struct Phases {
    /// How many there were.
    number: u32,
    current: Option<(&'static str, Moment)>,
}

impl Moment {
    fn now() -> Self {
        Self { wall: SystemTime::now(), mono: Instant::now() }
    }

    fn until(self, now: Instant) -> (SystemTime, Duration) {
        let took = now.saturating_duration_since(self.mono);
        (self.wall + took, took)
    }
}

impl Account {
    pub(crate) fn open(assignment: &Assignment, tools: &Tools) -> Self {
        let offered = tools.capabilities.borrow();
        let encoder = match &assignment.encoder {
            None => "none",
            // It is a label: what this machine does not offer is nobody's business.
            Some(encoder) if offered.encoder(&encoder.name).is_none() => "other",
            Some(encoder) => &encoder.name,
        };
        Self {
            whose: assignment.whose(),
            attempt: assignment.attempt,
            worker: tools.worker,
            preset: assignment.preset.clone(),
            encoder: encoder.to_owned(),
            began: Moment::now(),
            phases: Mutex::default(),
            figures: tools.figures.clone(),
        }
    }

    pub(crate) fn encoder(&self) -> &str {
        &self.encoder
    }

    /// ffmpeg got from there to there.
    pub(super) fn progressed(&self, before: &Progress, now: &Progress) {
        let frames = now.frames.saturating_sub(before.frames);
        self.figures.encoded(&self.encoder, frames, now.out_time_us.saturating_sub(before.out_time_us));
    }

    /// It goes on with something else.
    pub(super) fn enter(&self, phase: &'static str) {
        self.leave(Some((phase, Moment::now())));
    }

    /// It has ended, after which nothing more is told.
    pub(crate) fn close(&self, ending: &Ending, progress: &Progress) {
        self.leave(None);
        if !trace::is_sent() {
            return;
        }
        let part = match self.whose {
            Whose::Job(job) => Part::Run(job, self.attempt),
            Whose::Stream(stream) => Part::Live(stream, self.attempt),
        };
        let mut attributes = self.ids();
        attributes.push(KeyValue::new("worker", self.worker.to_string()));
        attributes.push(KeyValue::new("preset", self.preset.clone()));
        attributes.push(KeyValue::new("outcome", ending.word()));
        attributes.push(KeyValue::new("frames", i64::try_from(progress.frames).unwrap_or(i64::MAX)));
        attributes.push(KeyValue::new("encoder", self.encoder.clone()));
        let failure = match ending {
            Ending::Failed(verdict) => {
                attributes.push(KeyValue::new("failure.kind", verdict.failure.kind.as_str()));
                Some(verdict.failure.message.clone())
            }
            Ending::Succeeded { .. } | Ending::Stopped | Ending::NotCurrent => None,
        };
        let (ended, _) = self.began.until(Instant::now());
        trace::tell(Span { part, began: self.began.wall, ended, attributes, failure });
    }

    fn leave(&self, next: Option<(&'static str, Moment)>) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let number = phases.number;
        phases.number += u32::from(next.is_some());
        let over = std::mem::replace(&mut phases.current, next);
        drop(phases);
        let Some((phase, began)) = over else { return };
        let (ended, took) = began.until(Instant::now());
        // Those of live attempts are hours of the same.
        let Whose::Job(job) = self.whose else { return };
        self.figures.phase(phase, took);
        if trace::is_sent() {
            let part = Part::Phase(job, self.attempt, phase, number);
            trace::tell(Span { part, began: began.wall, ended, attributes: self.ids(), failure: None });
        }
    }

    fn ids(&self) -> Vec<KeyValue> {
        let whose = match self.whose {
            Whose::Job(job) => KeyValue::new("job", job.to_string()),
            Whose::Stream(stream) => KeyValue::new("stream", stream.to_string()),
        };
        let epoch = i64::try_from(self.attempt.epoch.0).unwrap_or(i64::MAX);
        vec![whose, KeyValue::new("task", self.attempt.task.to_string()), KeyValue::new("epoch", epoch)]
    }
}
