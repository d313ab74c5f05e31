//! The way of a variant's bytes: from the attempts that feed it, through the splicer, into its output.

mod intake;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use common::{id::AttemptId, live::Container};
use mux::Ticks;

pub use super::splice::{Delivery, Seams};
use super::{
    output::Output,
    splice::{Cut, FeedEnd, Refusal, Release, Role, Splicer},
};
use intake::{Given, Intake};

/// An attempt's bytes cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the attempt does not feed this variant any more")]
    NotOpen,
    #[error("the result of the attempt cannot be used: {0}")]
    Unusable(String),
}

/// What a feed has given so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedProgress {
    /// Presentation time of its newest video frame (audio where there is no video), on the stream's timeline.
    pub newest: Option<Ticks>,
    /// When it gave it; when the feed was opened before that.
    pub at: Instant,
    pub bytes: u64,
    /// It has taken over, or was the active one from the beginning.
    pub active: bool,
}

/// What has come out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Presentation time of the newest frame that was delivered: video, or audio where there is none.
    pub delivered: Option<Ticks>,
    pub delivered_at: Option<Instant>,
    pub seams: Seams,
}

/// Shared by those who write it and those who ask; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    output: Arc<Output>,
    /// Taken before `splice`, never after it, and not while bytes are taken apart.
    feeds: Mutex<HashMap<AttemptId, Feed>>,
    /// Held while what it delivers is released, so that it stays in order.
    splice: Mutex<Splice>,
}

#[derive(Debug)]
struct Feed {
    /// Taken before the others: attempts take their bytes apart beside each other.
    intake: Arc<Mutex<Intake>>,
    newest: Option<Ticks>,
    at: Instant,
    bytes: u64,
    /// Why nothing more of it is taken.
    unusable: Option<String>,
}

#[derive(Debug)]
struct Splice {
    splicer: Splicer,
    delivered: Option<Ticks>,
    delivered_at: Option<Instant>,
}

impl Pipeline {
    #[must_use]
    pub fn new(output: Arc<Output>, grid: Ticks, delivery: Delivery) -> Self {
        let splice = Splice { splicer: Splicer::new(grid, delivery), delivered: None, delivered_at: None };
        let shared = Shared { output, feeds: Mutex::default(), splice: Mutex::new(splice) };
        Self { shared: Arc::new(shared) }
    }

    #[must_use]
    pub fn output(&self) -> &Arc<Output> {
        &self.shared.output
    }

    /// An attempt is about to write. `base` is added to its timestamps.
    pub fn open(&self, attempt: AttemptId, role: Role, container: Container, base: Ticks, now: Instant) {
        let intake = Arc::new(Mutex::new(Intake::new(container, base)));
        let feed = Feed { intake, newest: None, at: now, bytes: 0, unusable: None };
        self.feeds().insert(attempt, feed);
        self.splice(now, |splicer, out| splicer.begin(attempt, role, out));
    }

    /// # Errors
    /// The attempt was closed, or what it writes is no stream.
    pub fn write(&self, attempt: AttemptId, bytes: &[u8], now: Instant) -> Result<(), Error> {
        self.take(attempt, bytes.len(), now, |intake, given| intake.push(bytes, given))
    }

    /// Units of the source as they are, for a variant without an encoder. Opened with [`Pipeline::open`] like an attempt, whose
    /// `base` is 0.
    ///
    /// # Errors
    /// As [`Pipeline::write`].
    pub fn copy(&self, attempt: AttemptId, event: mux::Event, now: Instant) -> Result<(), Error> {
        let length = match &event {
            mux::Event::Unit(unit) => unit.data.len(),
            mux::Event::Program(_) => 0,
        };
        self.take(attempt, length, now, |intake, given| {
            intake.event(event, given);
            Ok(())
        })
    }

    /// Nothing of the attempt is taken any more.
    pub fn close(&self, attempt: AttemptId, how: FeedEnd) {
        let Some(feed) = self.feeds().remove(&attempt) else { return };
        let now = Instant::now();
        let mut given = Vec::new();
        if how == FeedEnd::Finished {
            feed.intake.lock().unwrap_or_else(PoisonError::into_inner).finish(&mut given);
        }
        self.splice(now, |splicer, out| {
            // Whatever is wrong with the last frames: nothing follows them.
            let how = if feed.unusable.is_none() && give(splicer, attempt, given, out).is_ok() {
                how
            } else {
                FeedEnd::Lost
            };
            splicer.end(attempt, how, out);
        });
    }

    #[must_use]
    pub fn progress(&self, attempt: AttemptId) -> Option<FeedProgress> {
        let feeds = self.feeds();
        let feed = feeds.get(&attempt)?;
        let active = self.active() == Some(attempt);
        Some(FeedProgress { newest: feed.newest, at: feed.at, bytes: feed.bytes, active })
    }

    /// Whose frames are delivered. `None`: nobody's, so somebody has to be opened that begins at the [`Pipeline::cut`]. One that
    /// ran beside the lost one goes on by itself if it can do so without a hole: a standby always can, a successor only if it
    /// has a key frame just there.
    #[must_use]
    pub fn active(&self) -> Option<AttemptId> {
        self.lock().splicer.active()
    }

    /// Where a replacement has to go on. To be asked after the one that it replaces was closed.
    #[must_use]
    pub fn cut(&self) -> Cut {
        self.lock().splicer.cut()
    }

    /// The source has come to this time; what an attempt says is later by more than a minute is not believed. Without it,
    /// everything is.
    pub fn source_at(&self, newest: Ticks) {
        self.lock().splicer.source_at(newest);
    }

    /// How long a video frame of the source lasts, where that is known. Used until it is seen.
    pub fn source_frame(&self, frame: Option<Ticks>) {
        self.lock().splicer.source_frame(frame);
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        let splice = self.lock();
        Figures {
            delivered: splice.delivered,
            delivered_at: splice.delivered_at,
            seams: splice.splicer.seams(),
        }
    }

    fn take(
        &self,
        attempt: AttemptId,
        length: usize,
        now: Instant,
        parse: impl FnOnce(&mut Intake, &mut Vec<Given>) -> Result<(), String>,
    ) -> Result<(), Error> {
        let intake = match self.feeds().get(&attempt) {
            None => return Err(Error::NotOpen),
            Some(Feed { unusable: Some(reason), .. }) => return Err(Error::Unusable(reason.clone())),
            Some(feed) => Arc::clone(&feed.intake),
        };
        // Held to the end, so that two writes of one attempt stay in order.
        let mut intake = intake.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given = Vec::new();
        let parsed = parse(&mut intake, &mut given);
        let newest = match (given.is_empty(), &parsed) {
            (true, Ok(())) => None,
            _ => {
                let (taken, newest) = self.splice(now, |splicer, out| {
                    let taken = match give(splicer, attempt, given, out) {
                        // A write that comes after the end.
                        Err(Refusal::Unknown) => return (Err(Error::NotOpen), None),
                        Err(refusal) => Err(refusal.to_string()),
                        Ok(()) => parsed,
                    };
                    if taken.is_err() {
                        splicer.end(attempt, FeedEnd::Lost, out);
                    }
                    (taken.map_err(Error::Unusable), splicer.newest(attempt))
                });
                if let Err(Error::Unusable(reason)) = &taken
                    && let Some(feed) = self.feeds().get_mut(&attempt)
                {
                    feed.unusable = Some(reason.clone());
                }
                taken?;
                newest
            }
        };
        if let Some(feed) = self.feeds().get_mut(&attempt) {
            feed.bytes += length as u64;
            if newest > feed.newest {
                feed.newest = newest;
                feed.at = now;
            }
        }
        Ok(())
    }

    /// Lets the splicer decide, and releases what it delivers.
    fn splice<T>(&self, now: Instant, decide: impl FnOnce(&mut Splicer, &mut Vec<Release>) -> T) -> T {
        let mut splice = self.lock();
        let mut out = Vec::new();
        let answer = decide(&mut splice.splicer, &mut out);
        if !out.is_empty() {
            let delivered = splice.splicer.delivered();
            if delivered > splice.delivered {
                splice.delivered = delivered;
                splice.delivered_at = Some(now);
            }
            self.shared.output.release(out);
        }
        answer
    }

    fn feeds(&self) -> MutexGuard<'_, HashMap<AttemptId, Feed>> {
        self.shared.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Splice> {
        self.shared.splice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn give(
    splicer: &mut Splicer,
    attempt: AttemptId,
    given: Vec<Given>,
    out: &mut Vec<Release>,
) -> Result<(), Refusal> {
    for given in given {
        match given {
            Given::Program(program) => splicer.program(attempt, program, out)?,
            Given::AudioFrame { track, samples, rate } => splicer.audio_frame(attempt, track, samples, rate),
            Given::Unit(unit) => splicer.unit(attempt, unit, out)?,
        }
    }
    Ok(())
}
