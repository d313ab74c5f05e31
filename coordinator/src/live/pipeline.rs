//! The way of a variant's bytes: from the attempts that feed it, through the splicer, into its output.

use std::{sync::Arc, time::Instant};

use common::{id::AttemptId, live::Container};
use mux::Ticks;

use super::{
    output::Output,
    splice::{Cut, FeedEnd, Role},
};

/// How a variant delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Each frame as soon as all that are shown before it are there.
    Frames,
    /// Whole GOPs, so that a standby can take over without anything missing.
    Gops,
}

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

/// Shared by those who write it and those who ask; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline {
    output: Arc<Output>,
}

impl Pipeline {
    #[must_use]
    pub fn new(output: Arc<Output>, grid: Ticks, delivery: Delivery) -> Self {
        let _ = (grid, delivery);
        Self { output }
    }

    #[must_use]
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// An attempt is about to write. `base` is added to its timestamps.
    pub fn open(&self, attempt: AttemptId, role: Role, container: Container, base: Ticks, now: Instant) {
        let _ = (attempt, role, container, base, now);
        unimplemented!()
    }

    /// # Errors
    /// The attempt was closed, or what it writes is no stream.
    pub fn write(&self, attempt: AttemptId, bytes: &[u8], now: Instant) -> Result<(), Error> {
        let _ = (attempt, bytes, now);
        unimplemented!()
    }

    /// Nothing of the attempt is taken any more.
    pub fn close(&self, attempt: AttemptId, how: FeedEnd) {
        let _ = (attempt, how);
        unimplemented!()
    }

    #[must_use]
    pub fn progress(&self, attempt: AttemptId) -> Option<FeedProgress> {
        let _ = attempt;
        unimplemented!()
    }

    /// Where a replacement has to go on.
    #[must_use]
    pub fn cut(&self) -> Cut {
        unimplemented!()
    }

    /// Units of the source as they are, for a variant without an encoder. Opened with [`Pipeline::open`] like an attempt.
    ///
    /// # Errors
    /// As [`Pipeline::write`].
    pub fn copy(&self, attempt: AttemptId, event: mux::Event, now: Instant) -> Result<(), Error> {
        let _ = (attempt, event, now);
        unimplemented!()
    }
}
