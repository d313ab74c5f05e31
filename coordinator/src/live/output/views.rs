//! What is read of the buffer.

use bytes::Bytes;
use mux::{Ticks, TrackId, codec::Parameters};
use tokio::time::Instant;

use super::{
    Body, Figures, Format, PartLine, SegmentLine, Window,
    buffer::Buffer,
    shelf::{Pieces, Segment},
};

/// A viewer that is behind gets at most about this at once.
const AT_ONCE: usize = 256 * 1024;
/// Finished segments from which the bit rate is taken.
const RATED: usize = 5;

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    There,
    /// It will never be, or not soon.
    Never,
    NotYet,
}

impl Buffer {
    pub(super) fn window(&mut self, format: Format, now: Instant) -> Window {
        if format == Format::Fmp4 {
            self.ask_fragments(now);
        }
        let publishes = self.shelf.segments.iter().any(|segment| match format {
            Format::MpegTs => segment.duration.is_some(),
            Format::Fmp4 => segment.parts.as_ref().is_some_and(|parts| !parts.is_empty()),
        });
        if publishes {
            self.target.fix();
        }
        let three = self.target.three();
        let from = self.shelf.shown(three.max(Ticks(self.shelf.max_length().0 / 2)));
        let has = |segment: &Segment| match format {
            Format::MpegTs if segment.duration.is_none() => self.packets.is_some(),
            Format::MpegTs => !segment.pieces.is_empty(),
            Format::Fmp4 => segment.parts.is_some(),
        };
        let mut shown: Vec<&Segment> = (self.shelf.segments.range(from..).rev())
            // Of the open one the tracks may not be known yet.
            .skip_while(|segment| segment.duration.is_none() && !has(segment))
            .take_while(|segment| has(segment))
            .collect();
        // Parts are listed near the end only: players that are further behind take whole segments (RFC 8216bis, 4.4.4.9).
        let mut newer = Ticks::ZERO;
        let mut segments: Vec<SegmentLine> = shown
            .iter()
            .map(|segment| {
                let near = newer < three && self.settings.part.is_some();
                newer += segment.length();
                line(segment, near && format == Format::Fmp4)
            })
            .collect();
        segments.reverse();
        shown.reverse();
        Window {
            segments,
            discontinuity_sequence: shown.first().map_or(self.discontinuities, |first| first.discontinuities),
            target_duration: self.target.seconds(),
            part_target: self.part.or(self.settings.part),
            ended: self.ended().is_some(),
        }
    }

    pub(super) fn reached(
        &mut self,
        format: Format,
        sequence: u64,
        part: Option<u32>,
        now: Instant,
    ) -> Reached {
        if format == Format::Fmp4 {
            self.ask_fragments(now);
        }
        let (Some(first), Some(last)) = (self.shelf.segments.front(), self.shelf.segments.back()) else {
            return Reached::NotYet;
        };
        if sequence < first.sequence {
            return Reached::There;
        }
        // One more than what can be asked for by what was shown (RFC 8216bis, 6.2.5.2).
        if sequence > last.sequence + 2 {
            return Reached::Never;
        }
        let Some(segment) = self.shelf.index(sequence).and_then(|index| self.shelf.segments.get(index))
        else {
            return Reached::NotYet;
        };
        let there = match part.and_then(|part| usize::try_from(part).ok()) {
            None => segment.duration.is_some(),
            Some(part) => {
                let parts = |segment: &Segment| segment.parts.as_ref().map_or(0, Vec::len);
                // A part after the last one of its segment is the first of the next.
                let next = || self.shelf.index(sequence + 1).and_then(|next| self.shelf.segments.get(next));
                parts(segment) > part
                    || (segment.duration.is_some()
                        && next().is_some_and(|next| parts(next) > 0 || next.duration.is_some()))
            }
        };
        if there { Reached::There } else { Reached::NotYet }
    }

    pub(super) fn segment(&self, format: Format, sequence: u64) -> Option<Body> {
        let segment = self.shelf.segments.get(self.shelf.index(sequence)?)?;
        segment.duration?;
        let pieces: Vec<Bytes> = match format {
            Format::MpegTs => self.shelf.of(segment),
            Format::Fmp4 => segment.parts.as_ref()?.iter().map(|part| part.bytes.clone()).collect(),
        };
        (!pieces.is_empty()).then(|| Body::of(pieces))
    }

    pub(super) fn part(&self, sequence: u64, part: u32) -> Option<Body> {
        let segment = self.shelf.segments.get(self.shelf.index(sequence)?)?;
        let part = segment.parts.as_ref()?.get(usize::try_from(part).ok()?)?;
        Some(Body::of(vec![part.bytes.clone()]))
    }

    pub(super) fn init(&self, number: u32) -> Option<Bytes> {
        let init = self.inits.iter().find(|init| init.number == number && init.lead.is_some())?;
        Some(init.bytes())
    }

    pub(super) fn init_tracks(&self, number: u32) -> Option<Vec<(TrackId, Parameters)>> {
        let init = self.inits.iter().find(|init| init.number == number && init.lead.is_some())?;
        Some(init.tracks.clone())
    }

    /// What each track is; `None`: not known yet.
    pub(super) fn parameters(&self) -> Option<Vec<Parameters>> {
        self.setup
            .is_sealed()
            .then(|| self.setup.tracks().map(|(_, parameters)| parameters.clone()).collect())
    }

    /// Whether MPEG-TS can carry the variant; `None`: its tracks are not known yet.
    pub(super) fn carries_ts(&self) -> Option<bool> {
        self.program.as_ref().map(|_| self.packets.is_some())
    }

    /// Where a viewer of the MPEG-TS begins: the newest key frame.
    pub(super) fn join(&self) -> Option<u64> {
        self.shelf.join()
    }

    /// Where the MPEG-TS ends.
    pub(super) fn end_of_pieces(&self) -> u64 {
        self.shelf.end()
    }

    pub(super) fn has_evicted_from(&self, from: u64) -> bool {
        self.shelf.has_evicted_from(from)
    }

    pub(super) fn read(&self, from: u64) -> Pieces {
        self.shelf.read(from, AT_ONCE)
    }

    pub(super) fn figures(&self) -> Figures {
        let segments = &self.shelf.segments;
        let (mut bytes, mut length) = (0, Ticks::ZERO);
        for segment in segments.iter().rev().filter(|segment| segment.duration.is_some()).take(RATED) {
            bytes += segment.media_bytes();
            length += segment.length();
        }
        let start = segments.front().map(|segment| segment.start);
        let held = start.zip(self.newest).map_or(0, |(start, newest)| (newest - start).millis());
        Figures {
            bytes_held: self.shelf.bytes() as u64,
            length: std::time::Duration::from_millis(u64::try_from(held).unwrap_or(0)),
            bitrate: if length.0 > 0 {
                bytes.saturating_mul(8).saturating_mul(Ticks::PER_SECOND as u64) / length.0 as u64
            } else {
                0
            },
            newest: self.newest,
            next_sequence: self.next_sequence,
            next_discontinuity: self.discontinuities,
            ..Figures::default()
        }
    }
}

impl Body {
    fn of(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, length }
    }
}

fn line(segment: &Segment, parts: bool) -> SegmentLine {
    let parts = segment.parts.iter().filter(|_| parts).flatten();
    SegmentLine {
        sequence: segment.sequence,
        duration: segment.duration,
        start: segment.start,
        program_date_time: segment.wall,
        discontinuity: segment.discontinuity,
        independent: segment.independent,
        run: segment.run,
        init: segment.init,
        parts: parts
            .map(|part| PartLine { duration: part.duration, independent: part.independent })
            .collect(),
    }
}
