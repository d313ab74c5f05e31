//! What is kept: pieces for those who follow the stream, and the same pieces by segment.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;
use mux::{Ticks, Unit};

use super::{fragments::Part, packets::Piece};

/// What is over the bound by this factor is evicted even if a player still counts on it: a bound on what hostile bytes can
/// take, far above what three target durations of any real stream weigh.
const HARD: usize = 4;
/// The most segments, however short they are: more than a playlist should have, and a bound on what a stream of nothing but
/// breaks can take.
const MOST_SEGMENTS: usize = 1000;
/// What a unit takes besides its bytes.
const UNIT: usize = size_of::<Unit>() + 32;

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) start: Ticks,
    /// Milliseconds since the Unix epoch.
    pub(super) wall: i64,
    pub(super) discontinuity: bool,
    /// It begins with a key frame of the lead, and none of the lead's frames that came since is shown before that: such ones
    /// follow the key frame of an open GOP and need the GOP before.
    pub(super) independent: bool,
    /// Where the first segment since the last discontinuity began, and its time on the wall clock.
    pub(super) run: (Ticks, i64),
    /// Discontinuities before it since the variant began.
    pub(super) discontinuities: u64,
    /// `None`: it is open.
    pub(super) duration: Option<Ticks>,
    /// Its MPEG-TS, by the numbers of the pieces.
    pub(super) pieces: Range<u64>,
    pub(super) piece_bytes: usize,
    /// Its frames, while it is recent enough that fragmented MP4 could begin with it.
    pub(super) units: Vec<Unit>,
    pub(super) unit_bytes: usize,
    /// Of all its frames, without what keeping them takes.
    pub(super) data_bytes: u64,
    pub(super) init: u32,
    /// Decoding time of what continues it.
    pub(super) next: Option<Ticks>,
    /// Its fragmented MP4, from its first frame on.
    pub(super) parts: Option<Vec<Part>>,
    pub(super) part_bytes: usize,
}

impl Segment {
    fn bytes(&self) -> usize {
        self.piece_bytes + self.unit_bytes + self.part_bytes
    }

    pub(super) fn length(&self) -> Ticks {
        self.duration.unwrap_or_default()
    }

    /// What a viewer gets of it, about.
    pub(super) fn media_bytes(&self) -> u64 {
        if self.piece_bytes > 0 { self.piece_bytes as u64 } else { self.data_bytes }
    }
}

#[derive(Debug)]
pub(super) struct Shelf {
    max_bytes: usize,
    max_length: Ticks,
    pub(super) segments: VecDeque<Segment>,
    pieces: VecDeque<Piece>,
    /// Number of the first piece that is kept.
    first: u64,
    /// The newest piece with which a viewer can begin.
    join: Option<u64>,
    bytes: usize,
    /// Of all finished segments.
    length: Ticks,
}

/// What there is at a place in the stream of pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// Where to go on, and the bytes up to there; none: it is at the end.
    There(u64, Vec<Bytes>),
    Evicted,
}

impl Shelf {
    pub(super) fn new(max_bytes: usize, max_length: Ticks) -> Self {
        Self {
            max_bytes,
            max_length,
            segments: VecDeque::new(),
            pieces: VecDeque::new(),
            first: 0,
            join: None,
            bytes: 0,
            length: Ticks::ZERO,
        }
    }

    pub(super) fn max_length(&self) -> Ticks {
        self.max_length
    }

    #[cfg(test)]
    pub(super) fn has_evicted(&self) -> bool {
        self.first > 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn end(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    pub(super) fn join(&self) -> Option<u64> {
        self.join.filter(|join| *join >= self.first)
    }

    /// The segment that is being written.
    pub(super) fn open(&mut self) -> Option<&mut Segment> {
        self.segments.back_mut().filter(|segment| segment.duration.is_none())
    }

    /// The open segment is more than may be kept in the worst case.
    pub(super) fn is_full(&self) -> bool {
        self.segments
            .back()
            .is_some_and(|segment| segment.duration.is_none() && self.over(segment.bytes(), HARD))
    }

    fn over(&self, bytes: usize, factor: usize) -> bool {
        bytes > self.max_bytes.saturating_mul(factor)
    }

    pub(super) fn begin(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    pub(super) fn unit(&mut self, unit: Unit) {
        let data = unit.data.len();
        let bytes = data + UNIT;
        let Some(open) = self.open() else { return };
        open.data_bytes += data as u64;
        open.units.push(unit);
        open.unit_bytes += bytes;
        self.bytes += bytes;
    }

    pub(super) fn piece(&mut self, piece: Piece) {
        let (number, bytes) = (self.end(), piece.bytes.len());
        let Some(open) = self.open() else { return };
        open.pieces.end = number + 1;
        open.piece_bytes += bytes;
        if piece.joins {
            self.join = Some(number);
        }
        self.pieces.push_back(piece);
        self.bytes += bytes;
    }

    /// Parts of the segment at this index.
    pub(super) fn parts(&mut self, index: usize, parts: impl IntoIterator<Item = Part>) {
        let Some(segment) = self.segments.get_mut(index) else { return };
        let all = segment.parts.get_or_insert_default();
        for part in parts {
            segment.part_bytes += part.bytes.len();
            self.bytes += part.bytes.len();
            all.push(part);
        }
    }

    /// Nobody asks for fragmented MP4 any more.
    pub(super) fn drop_parts(&mut self) {
        for segment in &mut self.segments {
            segment.parts = None;
            self.bytes -= std::mem::take(&mut segment.part_bytes);
        }
    }

    /// The open segment is finished. Frames are kept of as many segments as make up `recent`.
    pub(super) fn finish(&mut self, duration: Ticks, next: Option<Ticks>, recent: Ticks) {
        let Some(open) = self.open() else { return };
        open.duration = Some(duration);
        open.next = next;
        self.length += duration;
        let mut newer = Ticks::ZERO;
        for segment in self.segments.iter_mut().rev() {
            if newer >= recent {
                if segment.units.is_empty() {
                    break;
                }
                segment.units = Vec::new();
                self.bytes -= std::mem::take(&mut segment.unit_bytes);
            }
            newer += segment.length();
        }
    }

    /// Drops whole segments, the oldest first, while there is too much; finished segments that last for `kept` stay.
    pub(super) fn evict(&mut self, kept: Ticks) {
        while let Some(oldest) = self.segments.front() {
            let Some(duration) = oldest.duration else { break };
            let rest = self.length - duration;
            let hard = self.over(self.bytes, HARD) || self.segments.len() > MOST_SEGMENTS;
            let soft = (self.over(self.bytes, 1) || rest >= self.max_length) && rest >= kept;
            if !hard && !soft {
                break;
            }
            self.bytes -= oldest.bytes();
            self.length = rest;
            while self.first < oldest.pieces.end {
                self.pieces.pop_front();
                self.first += 1;
            }
            self.segments.pop_front();
        }
    }

    /// The segments that a playlist shows, by index: the fewest that last for this long, and the open one. The others are
    /// still there for those who have an older playlist.
    pub(super) fn shown(&self, length: Ticks) -> usize {
        let mut newer = Ticks::ZERO;
        for (index, segment) in self.segments.iter().enumerate().rev() {
            newer += segment.length();
            if newer >= length {
                return index;
            }
        }
        0
    }

    pub(super) fn index(&self, sequence: u64) -> Option<usize> {
        let first = self.segments.front()?.sequence;
        let index = usize::try_from(sequence.checked_sub(first)?).ok()?;
        (index < self.segments.len()).then_some(index)
    }

    /// The pieces of a segment.
    pub(super) fn of(&self, segment: &Segment) -> Vec<Bytes> {
        let index = |number: u64| usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let range = index(segment.pieces.start)..index(segment.pieces.end).min(self.pieces.len());
        self.pieces.range(range).map(|piece| piece.bytes.clone()).collect()
    }

    /// What follows from a place on, at most about so many bytes.
    pub(super) fn has_evicted_from(&self, from: u64) -> bool {
        from < self.first
    }

    pub(super) fn read(&self, from: u64, most: usize) -> Pieces {
        let Some(skip) = from.checked_sub(self.first) else { return Pieces::Evicted };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.pieces.len());
        let mut taken = Vec::new();
        let mut bytes = 0;
        for piece in self.pieces.range(skip..) {
            if !taken.is_empty() && bytes + piece.bytes.len() > most {
                break;
            }
            bytes += piece.bytes.len();
            taken.push(piece.bytes.clone());
        }
        Pieces::There(from + taken.len() as u64, taken)
    }
}
