//! Packets to units.

use crate::Event;

/// What was wrong with a stream so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub packets: u64,
    /// Continuity counters that did not follow each other: packets were lost.
    pub gaps: u64,
    /// Bytes that were skipped to find packets again.
    pub skipped: u64,
    /// Tables with a wrong CRC, PES packets with a broken header.
    pub broken: u64,
}

/// Takes any pieces of a stream. Timestamps are unwrapped over all tracks together, so that they stay comparable.
#[derive(Debug, Default)]
pub struct Demuxer {}

impl Demuxer {
    /// `contiguous`: who writes the stream writes each PES packet in one piece, as ffmpeg does. A unit is then complete when
    /// a packet is stuffed or another track begins, not only when the next unit of its own track does.
    #[must_use]
    pub fn new(contiguous: bool) -> Self {
        let _ = contiguous;
        unimplemented!()
    }

    /// What became complete is appended to `events`. Nothing in a stream is an error: what cannot be understood is skipped
    /// and counted.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let _ = (bytes, events);
        unimplemented!()
    }

    /// The stream has ended: the last units of known or plausible length.
    pub fn finish(&mut self, events: &mut Vec<Event>) {
        let _ = events;
        unimplemented!()
    }

    #[must_use]
    pub fn statistics(&self) -> Statistics {
        unimplemented!()
    }
}
