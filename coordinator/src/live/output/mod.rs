//! What viewers read: one bounded buffer of a variant, as MPEG-TS and as segments.
//!
//! [`buffer`] takes what the splicer releases: [`segmenter`] says where segments begin, [`packets`] makes MPEG-TS of it, once
//! for all viewers, [`fragments`] fragmented MP4 while somebody asks for that, [`shelf`] keeps it all and evicts it by whole
//! segments. A segment of MPEG-TS is the very pieces that a viewer of the stream gets. [`output`](Output) is the shell around
//! it; its memory does not depend on the number of viewers.
//!
//! A variant's segments are numbered by one. The first has the number of boundaries of the stream's timeline up to its start
//! on top of [`Settings::first_sequence`], so variants of one grid give the same time the same number, whenever they began,
//! as long as each interval of the grid has a key frame. An interval without, or parameters that change within one, shift
//! what follows in that variant: numbers never skip.
//!
//! Nothing here is durable.

mod buffer;
#[cfg(test)]
pub(super) mod footage;
mod fragments;
mod packets;
mod reader;
mod segmenter;
mod setup;
mod shelf;
mod target;
mod views;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mux::{Ticks, TrackId, codec::Parameters};
use tokio::{sync::watch, time::Instant};

use self::{
    buffer::{Buffer, Changed},
    views::Reached,
};
use super::{source::Clock, splice::Release};
use crate::metrics::LiveMetrics;

pub use reader::{Place, TsReader};

/// How a variant is cut, and how much of it is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Length of a segment: boundaries are at its multiples, and where a generation begins.
    pub grid: Ticks,
    /// Length of a part, for low latency.
    pub part: Option<Ticks>,
    /// The most that is kept. At least three segments are, whatever they weigh.
    pub max_bytes: usize,
    pub max_length: Duration,
    /// Media sequence of the stream's timeline where it has no boundary yet: a segment's number is this and the boundaries up
    /// to its start. The same for all variants of a stream.
    pub first_sequence: u64,
    /// Discontinuities before the stream's generation 0: before the variant's first segment there were this and the number
    /// of its generation. The same for all variants of a stream.
    /// Discontinuities where the stream's timeline begins: a generation's number is added.
    pub first_discontinuity: u64,
    /// What this variant reached when it was watched before: neither number begins below.
    pub reached: Numbers,
    /// Where times of the timeline are on the wall clock.
    pub clock: Clock,
}

/// Media sequence and discontinuity sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    pub sequence: u64,
    pub discontinuity: u64,
}

/// Why a reader gets nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadEnd {
    /// The variant is over, with the reason.
    Ended(String),
    /// It was slower than the buffer is long: it was dropped.
    TooSlow,
}

/// The containers that a variant can be read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    MpegTs,
    Fmp4,
}

/// One segment in a playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentLine {
    pub sequence: u64,
    /// `None`: it is being written.
    pub duration: Option<Ticks>,
    pub start: Ticks,
    /// Milliseconds since the Unix epoch.
    pub program_date_time: i64,
    pub discontinuity: bool,
    /// It begins with a key frame, and nothing in it needs what was before.
    pub independent: bool,
    /// Where the first segment since the last discontinuity began, and its time on the wall clock; it may be gone.
    pub run: (Ticks, i64),
    /// Which of the init segments it needs; [`Format::Fmp4`] only.
    pub init: u32,
    pub parts: Vec<PartLine>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartLine {
    pub duration: Ticks,
    pub independent: bool,
}

/// What a playlist is made of. Oldest segment first; the last one may be unfinished.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    pub segments: Vec<SegmentLine>,
    /// Discontinuities before the first segment.
    pub discontinuity_sequence: u64,
    /// Seconds; never changes.
    pub target_duration: u32,
    pub part_target: Option<Ticks>,
    /// The variant is over: no segment follows.
    pub ended: bool,
}

/// A segment or part to send: its pieces in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pub pieces: Vec<Bytes>,
    pub length: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub bytes_held: u64,
    pub length: Duration,
    /// Viewers that were dropped because they did not keep up.
    pub dropped: u64,
    pub bytes_sent: u64,
    /// Bits per second over the last segments.
    pub bitrate: u64,
    pub newest: Option<Ticks>,
    /// Media sequence of the segment that begins next; `None`: none has begun. What takes this variant's place must not
    /// begin below it.
    pub next_sequence: Option<u64>,
    /// Discontinuities up to now, those of [`Settings::first_discontinuity`] included.
    pub next_discontinuity: u64,
}

#[derive(Debug)]
pub struct Output {
    buffer: Mutex<Buffer>,
    /// Each time there are new pieces of MPEG-TS.
    pieces: watch::Sender<()>,
    /// Each time something changes in the playlists.
    segments: watch::Sender<()>,
    dropped: AtomicU64,
    bytes_sent: AtomicU64,
    /// Of all variants together.
    metrics: LiveMetrics,
}

impl Output {
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        Self::counted(settings, LiveMetrics::default())
    }

    /// What it sends, and whom it drops, is counted there too.
    pub(crate) fn counted(settings: Settings, metrics: LiveMetrics) -> Arc<Self> {
        Arc::new(Self {
            buffer: Mutex::new(Buffer::new(settings)),
            pieces: watch::Sender::new(()),
            segments: watch::Sender::new(()),
            dropped: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            metrics,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, changed: Changed) {
        if changed.pieces {
            self.pieces.send_replace(());
        }
        if changed.segments {
            self.segments.send_replace(());
        }
    }

    /// What the splicer delivers. Never waits.
    pub fn release(&self, releases: Vec<Release>) {
        let changed = self.lock().release(releases, Instant::now());
        self.wake(changed);
    }

    /// Nothing follows. Readers get what is left, then [`ReadEnd::Ended`].
    pub fn end(&self, reason: &str) {
        let changed = self.lock().end(reason);
        self.wake(changed);
    }

    /// MPEG-TS from the newest key frame on; waits for the first. `None`: a codec of the variant is not carried by MPEG-TS.
    pub async fn ts(self: &Arc<Self>) -> Option<TsReader> {
        let mut wake = self.pieces.subscribe();
        loop {
            wake.mark_unchanged();
            {
                let buffer = self.lock();
                if buffer.carries_ts() == Some(false) {
                    return None;
                }
                let end = buffer.ended().map(|_| buffer.end_of_pieces());
                if let Some(from) = buffer.join().or(end) {
                    drop(buffer);
                    return Some(TsReader::new(self.clone(), from, wake));
                }
            }
            wake.changed().await.ok()?;
        }
    }

    /// What each track is, once it is known: of all of them, or of those that have shown up by the end of the first segment.
    ///
    /// # Errors
    /// The variant ended before.
    pub async fn parameters(&self) -> Result<Vec<Parameters>, ReadEnd> {
        let mut wake = self.segments.subscribe();
        loop {
            wake.mark_unchanged();
            {
                let buffer = self.lock();
                if let Some(parameters) = buffer.parameters() {
                    return Ok(parameters);
                }
                if let Some(reason) = buffer.ended() {
                    return Err(ReadEnd::Ended(reason.to_owned()));
                }
            }
            if wake.changed().await.is_err() {
                return Err(ReadEnd::Ended(String::new()));
            }
        }
    }

    /// The segments that a playlist shows; none: the format does not carry the variant, or there are none yet. Asking for a
    /// format begins to make it, from the frames that are kept; fragmented MP4 is made until nobody has asked for it for a
    /// minute. From the first finished segment (or part) that is shown on, the target duration does not change.
    pub fn window(&self, format: Format) -> Window {
        self.lock().window(format, Instant::now())
    }

    /// Waits until the segment (or this part of it) is there. Returns at once for what is over or will never be.
    ///
    /// # Errors
    /// The variant ended before.
    pub async fn reached(&self, format: Format, sequence: u64, part: Option<u32>) -> Result<(), ReadEnd> {
        let mut wake = self.segments.subscribe();
        loop {
            wake.mark_unchanged();
            {
                let mut buffer = self.lock();
                match buffer.reached(format, sequence, part, Instant::now()) {
                    Reached::There | Reached::Never => return Ok(()),
                    Reached::NotYet => {}
                }
                if let Some(reason) = buffer.ended() {
                    return Err(ReadEnd::Ended(reason.to_owned()));
                }
            }
            if wake.changed().await.is_err() {
                return Err(ReadEnd::Ended(String::new()));
            }
        }
    }

    /// A finished segment. Counted as sent.
    #[must_use]
    pub fn segment(&self, format: Format, sequence: u64) -> Option<Body> {
        let body = self.lock().segment(format, sequence)?;
        self.sent(body.length);
        Some(body)
    }

    /// A part of a segment, finished or not. Counted as sent.
    #[must_use]
    pub fn part(&self, sequence: u64, part: u32) -> Option<Body> {
        let body = self.lock().part(sequence, part)?;
        self.sent(body.length);
        Some(body)
    }

    #[must_use]
    pub fn init(&self, number: u32) -> Option<Bytes> {
        self.lock().init(number)
    }

    /// The tracks of an init segment.
    #[must_use]
    pub fn init_tracks(&self, number: u32) -> Option<Vec<(TrackId, Parameters)>> {
        self.lock().init_tracks(number)
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            dropped: self.dropped.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            ..self.lock().figures()
        }
    }

    fn sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.sent(bytes);
    }

    fn dropped_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.metrics.dropped_viewer();
    }
}
