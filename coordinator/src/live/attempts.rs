//! The bytes of attempts: what each of them reads, and where it writes.
//!
//! An attempt is known here from the moment it is ordered until it is not wanted any more. Its worker connects twice, once for
//! each direction; how these connections end is told to the [`super::runtime`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use common::id::AttemptId;
use mux::{Event, Kind, Program, Ticks, Unit, ts};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    pipeline::Pipeline,
    source::{Feed, Reader, Source},
    splice::FeedEnd,
};

/// How an attempt's output ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutputEnd {
    pub(super) attempt: AttemptId,
    /// `None`: properly. Else what went wrong.
    pub(super) problem: Option<String>,
}

/// Every attempt that is wanted. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Attempts {
    known: Arc<Mutex<HashMap<AttemptId, Entry>>>,
    /// Not bounded, but each attempt says one thing.
    ends: mpsc::UnboundedSender<OutputEnd>,
}

#[derive(Debug)]
struct Entry {
    input: Option<(Reader, Ticks)>,
    output: Option<Sink>,
    stop: CancellationToken,
}

/// Where an attempt's result goes.
#[derive(Debug, Clone)]
pub(super) enum Sink {
    Variant(Pipeline),
    /// `slate`: set while the bytes of a slate are the source.
    Source {
        source: Source,
        slate: Option<Arc<AtomicBool>>,
    },
}

impl Attempts {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<OutputEnd>) {
        let (ends, ended) = mpsc::unbounded_channel();
        (Self { known: Arc::default(), ends }, ended)
    }

    /// `input`: what it reads, and what is taken from the timestamps.
    pub(super) fn add(&self, attempt: AttemptId, input: Option<(Reader, Ticks)>, output: Sink) {
        let entry = Entry { input, output: Some(output), stop: CancellationToken::new() };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt, entry);
    }

    /// Ends what it reads; what it writes is refused.
    pub(super) fn remove(&self, attempt: AttemptId) {
        let removed = self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt);
        if let Some(entry) = removed {
            entry.stop.cancel();
        }
    }

    pub(super) fn input(&self, attempt: AttemptId) -> Option<AttemptInput> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get_mut(&attempt)?;
        let (reader, base) = entry.input.take()?;
        Some(AttemptInput { reader, base, muxer: None, stop: entry.stop.clone() })
    }

    pub(super) fn output(&self, attempt: AttemptId) -> Option<AttemptOutput> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get_mut(&attempt)?;
        let sink = entry.output.take()?;
        Some(AttemptOutput { attempt, sink: Some(sink), feed: None, problem: None, ends: self.ends.clone() })
    }
}

/// Bytes of a source for an attempt: MPEG-TS on the attempt's own timeline.
#[derive(Debug)]
pub struct AttemptInput {
    reader: Reader,
    base: Ticks,
    muxer: Option<(ts::Muxer, Program)>,
    stop: CancellationToken,
}

impl AttemptInput {
    /// The next bytes of MPEG-TS; `None`: the input is over, properly (the attempt ends its encode and reports success).
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let stop = self.stop.clone();
            let events = stop.run_until_cancelled(self.reader.next()).await?.ok()?;
            let mut bytes = BytesMut::new();
            for event in events {
                self.write(event, &mut bytes);
            }
            if !bytes.is_empty() {
                return Some(bytes.freeze());
            }
        }
    }

    fn write(&mut self, event: Event, bytes: &mut BytesMut) {
        match event {
            Event::Program(program) => {
                match &mut self.muxer {
                    Some((muxer, _)) => muxer.set_program(&program),
                    None => self.muxer = Some((ts::Muxer::new(&program), program.clone())),
                }
                let Some((muxer, known)) = &mut self.muxer else { return };
                *known = program;
                muxer.tables(bytes);
            }
            Event::Unit(unit) => {
                let Some((muxer, program)) = &mut self.muxer else { return };
                let is_video = program.codec(unit.track).is_some_and(|codec| codec.kind() == Kind::Video);
                if unit.key && is_video {
                    muxer.tables(bytes);
                }
                let unit = Unit { pts: unit.pts - self.base, dts: unit.dts - self.base, ..unit };
                muxer.unit(&unit, false, bytes);
            }
        }
    }
}

/// Bytes of an attempt. Dropped without [`AttemptOutput::finish`], the connection broke.
#[derive(Debug)]
pub struct AttemptOutput {
    attempt: AttemptId,
    /// `None` once it has ended.
    sink: Option<Sink>,
    /// The connection to a source, from the first bytes on: one that brings nothing takes nothing over.
    feed: Option<Feed>,
    problem: Option<String>,
    ends: mpsc::UnboundedSender<OutputEnd>,
}

impl AttemptOutput {
    /// # Errors
    /// They are not wanted any more, or not usable: why, in words.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = match &self.sink {
            None => Err("the output has ended".to_owned()),
            Some(Sink::Variant(pipeline)) => {
                pipeline.write(self.attempt, bytes, Instant::now()).map_err(|error| error.to_string())
            }
            Some(Sink::Source { source, slate }) => {
                let taken = self.feed.get_or_insert_with(|| source.connect()).push(bytes);
                if let Some(slate) = slate {
                    slate.store(taken, Ordering::Relaxed);
                }
                if taken { Ok(()) } else { Err("another connection brings the source now".to_owned()) }
            }
        };
        if let Err(problem) = &written {
            self.problem = Some(problem.clone());
        }
        written
    }

    /// The body ended properly.
    pub fn finish(mut self) {
        self.end(FeedEnd::Finished, None);
    }

    fn end(&mut self, how: FeedEnd, problem: Option<String>) {
        let Some(sink) = self.sink.take() else { return };
        self.feed = None;
        match sink {
            // At once, so that a standby takes over at once.
            Sink::Variant(pipeline) => pipeline.close(self.attempt, how),
            Sink::Source { slate, .. } => {
                if let Some(slate) = slate {
                    slate.store(false, Ordering::Relaxed);
                }
            }
        }
        // An error means that the coordinator is shutting down.
        let _ = self.ends.send(OutputEnd { attempt: self.attempt, problem });
    }
}

impl Drop for AttemptOutput {
    fn drop(&mut self) {
        let problem = self.problem.take().unwrap_or_else(|| "the connection of its worker broke".to_owned());
        self.end(FeedEnd::Lost, Some(problem));
    }
}
