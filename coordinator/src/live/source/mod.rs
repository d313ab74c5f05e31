//! A source: taken in once, put on the stream's own timeline, the last seconds of it kept for those who read it.
//!
//! A connection's bytes go through its [`Feed`]: demultiplexed, cut into runs ([`intake`]), each of which becomes a generation
//! on the timeline ([`timeline`]), whose frames are kept ([`buffer`]) for any number of [`Reader`]s.

mod buffer;
mod clock;
mod feed;
mod intake;
mod timeline;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mux::{Event, Program, Ticks, codec::Parameters, ts::Statistics};
use tokio::sync::watch;

use self::{
    buffer::{Buffer, Cursor},
    timeline::Timeline,
};
pub use self::{clock::Clock, feed::Feed};

/// What is kept of a source.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_bytes: usize,
    pub max_length: Duration,
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
    pub newest_at: Option<Instant>,
    pub newest: Option<Ticks>,
    pub bytes_held: u64,
    pub length: Duration,
    /// Bits per second.
    pub bitrate: u64,
    pub generations: u32,
    pub statistics: Statistics,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Source {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    clock: Clock,
    generations: watch::Sender<Option<Generation>>,
    /// Tells readers to look again.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    buffer: Buffer,
    timeline: Timeline,
    /// Connections so far.
    feeds: u64,
    /// Whose frames are taken.
    delivering: u64,
    /// Those that are connected, with what was wrong with their streams.
    connected: BTreeMap<u64, Statistics>,
    /// The same of those that were.
    statistics: Statistics,
    newest_at: Option<Instant>,
    parameters: Vec<Parameters>,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let state = State {
            buffer: Buffer::new(limits),
            timeline: Timeline::default(),
            feeds: 0,
            delivering: 0,
            connected: BTreeMap::new(),
            statistics: Statistics::default(),
            newest_at: None,
            parameters: Vec::new(),
            closed: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            clock: Clock::default(),
            generations: watch::Sender::new(None),
            changed: watch::Sender::new(()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A connection that brings MPEG-TS. It takes over from the one before as soon as it has something to begin with.
    #[must_use]
    pub fn connect(&self) -> Feed {
        let mut state = self.shared.state();
        state.feeds += 1;
        Feed::new(Arc::clone(&self.shared), state.feeds)
    }

    /// Ends every reader.
    pub fn close(&self) {
        self.shared.state().closed = true;
        self.shared.changed.send_replace(());
    }

    /// The newest one, once its tracks are known. It may be over, see [`Self::is_over`].
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.shared.generations.borrow().clone()
    }

    /// Changes with every new generation.
    #[must_use]
    pub fn generations(&self) -> watch::Receiver<Option<Generation>> {
        self.shared.generations.subscribe()
    }

    /// Whether nothing more comes of the newest generation, or there was none yet.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.state().buffer.over()
    }

    /// What the source's tracks were last said to be. A resolution may have changed since the generation began.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameters> {
        self.shared.state().parameters.clone()
    }

    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// # Errors
    /// Nothing is there from which one could begin.
    pub fn read(&self, generation: u32, from: From) -> Result<Reader, Gone> {
        let (cursor, start) = self.shared.state().buffer.seek(generation, from)?;
        let changed = self.shared.changed.subscribe();
        Ok(Reader { shared: Arc::clone(&self.shared), changed, cursor, start })
    }

    /// When the first frame of the video is shown that is shown at `from` or later; `None`: it has not come yet.
    #[must_use]
    pub fn first_shown(&self, generation: u32, from: Ticks) -> Option<Ticks> {
        self.shared.state().buffer.first_shown(generation, from)
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        let generations = self.generation().map_or(0, |newest| newest.number);
        let state = self.shared.state();
        let length = state.buffer.length();
        let bits = state.buffer.bytes() as u64 * 8 * 1000;
        Figures {
            connected: !state.connected.is_empty(),
            newest_at: state.newest_at,
            newest: state.buffer.newest(),
            bytes_held: state.buffer.bytes() as u64,
            length,
            bitrate: bits.checked_div(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)).unwrap_or(0),
            generations,
            statistics: state.connected.values().copied().fold(state.statistics, plus),
        }
    }
}

fn plus(one: Statistics, other: Statistics) -> Statistics {
    Statistics {
        packets: one.packets + other.packets,
        gaps: one.gaps + other.gaps,
        skipped: one.skipped + other.skipped,
        broken: one.broken + other.broken,
        scrambled: one.scrambled + other.scrambled,
    }
}

/// Reads one generation.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    cursor: Cursor,
    start: Ticks,
}

impl Reader {
    /// Where it begins: the key frame's time.
    #[must_use]
    pub fn start(&self) -> Ticks {
        self.start
    }

    /// What came since: the program first, then units. Waits for at least one. May be dropped while it waits.
    ///
    /// # Errors
    /// It is over for this reader.
    pub async fn next(&mut self) -> Result<Vec<Event>, ReadEnd> {
        loop {
            self.changed.borrow_and_update();
            let events = {
                let state = self.shared.state();
                if state.closed {
                    return Err(ReadEnd::Closed);
                }
                state.buffer.read(&mut self.cursor)?
            };
            if !events.is_empty() {
                return Ok(events);
            }
            self.changed.changed().await.map_err(|_| ReadEnd::Closed)?;
        }
    }
}

#[cfg(test)]
mod tests;
