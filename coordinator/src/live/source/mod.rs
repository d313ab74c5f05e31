//! A source: taken in once, put on the stream's own timeline, the last seconds of it kept for those who read it.

use std::{sync::Arc, time::Duration};

use mux::{Event, Program, Ticks, codec::Parameters};

/// What is kept of a source.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_bytes: usize,
    pub max_length: Duration,
}

/// Where times of the timeline are on the wall clock; one entry for each generation.
#[derive(Debug, Clone, Default)]
pub struct Clock {}

impl Clock {
    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn wall(&self, at: Ticks) -> i64 {
        let _ = at;
        unimplemented!()
    }
    /// How many segment boundaries there are up to `at` (inclusive) since the stream began: those of the grid and those where
    /// a generation began off the grid. The same for every variant, so that their segments have the same numbers.
    #[must_use]
    pub fn boundaries(&self, at: Ticks, grid: Ticks) -> u64 {
        let _ = (at, grid);
        unimplemented!()
    }
}

/// A stretch of a source without a break: the same tracks, one run of timestamps. An attempt encodes one generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Grows by one.
    pub number: u32,
    pub program: Program,
    /// What is known of each track; the same order as in the program.
    pub parameters: Vec<Option<Parameters>>,
    /// Its first key frame (first frame, without video).
    pub start: Ticks,
}

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The newest key frame.
    Newest,
    /// The newest key frame from which on everything from these times on is there.
    Covering { video: Option<Ticks>, audio: Option<Ticks> },
}

/// Why nothing can be read from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    #[error("the source buffer does not reach back that far")]
    TooOld,
    #[error("the source has given nothing to begin with yet")]
    Nothing,
}

/// Why a reader gets nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEnd {
    /// The generation is over; another may follow.
    Generation,
    /// It was slower than the buffer is long.
    TooSlow,
    /// The source was taken down.
    Closed,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Something is connected and gives bytes.
    pub connected: bool,
    /// When the newest unit came, monotonic.
    pub newest_at: Option<std::time::Instant>,
    pub newest: Option<Ticks>,
    pub bytes_held: u64,
    pub length: Duration,
    /// Bits per second.
    pub bitrate: u64,
    pub generations: u32,
    pub statistics: mux::ts::Statistics,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Source {
    _inner: Arc<()>,
}

impl Source {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let _ = limits;
        unimplemented!()
    }

    /// A connection that brings MPEG-TS. A new one takes over from the one before.
    #[must_use]
    pub fn connect(&self) -> Feed {
        unimplemented!()
    }

    /// Ends every reader.
    pub fn close(&self) {
        unimplemented!()
    }

    /// The newest one, once its tracks are known.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        unimplemented!()
    }

    /// Changes with every new generation.
    #[must_use]
    pub fn generations(&self) -> tokio::sync::watch::Receiver<Option<Generation>> {
        unimplemented!()
    }

    #[must_use]
    pub fn clock(&self) -> Clock {
        unimplemented!()
    }

    /// # Errors
    /// Nothing is there from which one could begin.
    pub fn read(&self, generation: u32, from: From) -> Result<Reader, Gone> {
        let _ = (generation, from);
        unimplemented!()
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        unimplemented!()
    }
}

/// One connection's bytes. Dropped: the connection is over.
#[derive(Debug)]
pub struct Feed {}

impl Feed {
    /// `false`: another connection has taken over, or the source was closed.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        unimplemented!()
    }
}

/// Reads one generation.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Where it begins: the key frame's time.
    #[must_use]
    pub fn start(&self) -> Ticks {
        unimplemented!()
    }

    /// What came since: the program first, then units. Waits for at least one.
    ///
    /// # Errors
    /// It is over for this reader.
    pub async fn next(&mut self) -> Result<Vec<Event>, ReadEnd> {
        unimplemented!()
    }
}
