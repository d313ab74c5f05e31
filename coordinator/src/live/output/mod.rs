//! What viewers read: one bounded buffer of a variant, as MPEG-TS and as segments.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mux::{Ticks, codec::Parameters};

use super::{source::Clock, splice::Release};

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
    /// Media sequence of the first segment, and its discontinuity sequence.
    pub first_sequence: u64,
    pub first_discontinuity: u64,
    /// Where times of the timeline are on the wall clock.
    pub clock: Clock,
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
    pub viewers: u32,
    /// Viewers that were dropped because they did not keep up.
    pub dropped: u64,
    pub bytes_sent: u64,
    /// Bits per second over the last segments.
    pub bitrate: u64,
    pub newest: Option<Ticks>,
}

#[derive(Debug)]
pub struct Output {}

impl Output {
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        let _ = settings;
        unimplemented!()
    }

    /// What the splicer delivers. Never waits.
    pub fn release(&self, releases: Vec<Release>) {
        let _ = releases;
        unimplemented!()
    }

    /// Nothing follows. Readers get what is left, then [`ReadEnd::Ended`].
    pub fn end(&self, reason: &str) {
        let _ = reason;
        unimplemented!()
    }

    /// MPEG-TS from the newest key frame on; waits for the first. `None`: a codec of the variant is not carried by MPEG-TS.
    pub async fn ts(self: &Arc<Self>) -> Option<TsReader> {
        unimplemented!()
    }

    /// What each track is, once it is known.
    pub async fn parameters(&self) -> Result<Vec<Parameters>, ReadEnd> {
        unimplemented!()
    }

    /// The segments that there are. Asking for a format begins to make it, from the units that are kept.
    pub fn window(&self, format: Format) -> Window {
        let _ = format;
        unimplemented!()
    }

    /// Waits until the segment (or this part of it) is there. Returns at once for what is over or will never be.
    pub async fn reached(&self, format: Format, sequence: u64, part: Option<u32>) -> Result<(), ReadEnd> {
        let _ = (format, sequence, part);
        unimplemented!()
    }

    /// A finished segment.
    #[must_use]
    pub fn segment(&self, format: Format, sequence: u64) -> Option<Body> {
        let _ = (format, sequence);
        unimplemented!()
    }

    #[must_use]
    pub fn part(&self, sequence: u64, part: u32) -> Option<Body> {
        let _ = (sequence, part);
        unimplemented!()
    }

    #[must_use]
    pub fn init(&self, number: u32) -> Option<Bytes> {
        let _ = number;
        unimplemented!()
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        unimplemented!()
    }
}

/// One viewer of the MPEG-TS. Counted as a viewer until it is dropped.
#[derive(Debug)]
pub struct TsReader {}

impl TsReader {
    /// The next bytes; several pieces at once where the reader is behind.
    ///
    /// # Errors
    /// It is over for this reader.
    pub async fn next(&mut self) -> Result<Vec<Bytes>, ReadEnd> {
        unimplemented!()
    }
}
