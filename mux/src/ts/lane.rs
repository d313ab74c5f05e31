//! One track of a stream that comes in: payloads become units.

use bytes::{Bytes, BytesMut};

use super::{
    pes::{Begun, Header},
    section, tables,
};
use crate::{Codec, Kind, Ticks, Unwrapper, codec::Joiner};

/// Longest unit. A key frame of 4K at 200 Mbit/s has about two mebibytes.
const LONGEST_UNIT: usize = 8 << 20;

/// What is allocated at once, for several units where they are small. BytesMut goes on allocating as much.
const VIDEO_BLOCK: usize = 64 << 10;
const OTHER_BLOCK: usize = 4 << 10;

/// What is set aside for a unit before it comes, at most: a frame of 400 Mbit/s.
const MOST_AHEAD: usize = 2 << 20;

/// A timestamp so close to the last one moves the reference, whichever track it is of.
const NEAR: i64 = 10 * Ticks::PER_SECOND;

/// The timeline of all tracks together: one that starts anew must not come apart from the others.
#[derive(Debug, Default)]
pub(super) struct Clock {
    reference: Unwrapper,
    last: Option<Ticks>,
}

impl Clock {
    /// `leads`: of the track that others are measured by. They follow each other as long as they are close together, so any
    /// of them can go on alone.
    pub(super) fn unwrap(&mut self, wire: u64, leads: bool) -> Ticks {
        let ticks = self.reference.near(wire);
        if leads || self.last.is_none_or(|last| (ticks.0 - last.0).abs() < NEAR) {
            self.reference.unwrap(wire);
            self.last = Some(ticks);
        }
        ticks
    }

    /// The newest timestamp of those that lead.
    pub(super) const fn now(&self) -> Option<Ticks> {
        self.last
    }
}

/// A unit that is complete, or as complete as it will be.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
    pub(super) data: Bytes,
}

/// How a packet follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuity {
    Follows,
    Duplicate,
    /// `announced`: whoever made the stream did that.
    Gap {
        announced: bool,
    },
}

/// Checks the continuity counters of a PID.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counter(Option<u8>);

impl Counter {
    pub(super) fn check(&mut self, counter: u8, announced: bool) -> Continuity {
        let last = self.0.replace(counter);
        match last {
            None => Continuity::Follows,
            Some(last) if counter == (last + 1) & 15 => Continuity::Follows,
            Some(last) if counter == last && !announced => Continuity::Duplicate,
            Some(_) => Continuity::Gap { announced },
        }
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) pid: u16,
    pub(super) codec: Codec,
    pub(super) counter: Counter,
    pub(super) sections: Option<section::Reader>,
    /// Of audio.
    pub(super) joiner: Option<Joiner>,
    /// The last packet had filling, as the last one of a PES packet has, unless it is full by chance.
    pub(super) filled: bool,
    /// A PES packet with its header.
    buffer: BytesMut,
    state: State,
    /// Bytes of the last unit. The next may be about as large, and memory that grows is copied.
    length: usize,
    /// When the last unit was to be decoded, and how long after the one before it.
    last: Option<(Ticks, Ticks)>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// For the beginning of a PES packet.
    Waiting,
    /// It began, but not all of its header is there.
    Begun,
    Collecting(Header),
}

/// What became of a payload.
#[derive(Debug)]
pub(super) enum Taken {
    More,
    Unit(Found),
    Broken,
}

impl Lane {
    pub(super) fn new(pid: u16, codec: Codec) -> Self {
        let block = if codec.kind() == Kind::Video { VIDEO_BLOCK } else { OTHER_BLOCK };
        Self {
            pid,
            codec,
            counter: Counter::default(),
            sections: tables::in_sections(codec).then(section::Reader::default),
            joiner: (codec.kind() == Kind::Audio).then(Joiner::default),
            filled: false,
            buffer: BytesMut::with_capacity(block),
            state: State::Waiting,
            length: 0,
            last: None,
        }
    }

    /// Bytes of the unit that is not complete.
    pub(super) fn collected(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a payload makes it allocate.
    pub(super) fn would_grow(&self, payload: usize) -> bool {
        self.buffer.capacity() - self.buffer.len() < payload
    }

    /// Gives up the unit that is not complete. Answers whether there was one.
    pub(super) fn drop_unit(&mut self) -> bool {
        self.buffer.clear();
        if let Some(sections) = &mut self.sections {
            sections.reset();
        }
        if let Some(joiner) = &mut self.joiner {
            joiner.reset();
        }
        !matches!(std::mem::replace(&mut self.state, State::Waiting), State::Waiting)
    }

    /// What was collected is all there is of it.
    pub(super) fn complete(&mut self) -> Taken {
        match self.state {
            State::Waiting => Taken::More,
            State::Collecting(header @ Header { end: None, .. }) => {
                Taken::Unit(self.take(header, self.buffer.len()))
            }
            State::Begun | State::Collecting(_) => {
                self.drop_unit();
                Taken::Broken
            }
        }
    }

    /// The first payload of a PES packet, after [`Self::complete`].
    pub(super) fn begin(&mut self, payload: &[u8]) -> Taken {
        self.buffer.clear();
        self.buffer.reserve((self.length + self.length / 8).min(MOST_AHEAD));
        self.state = State::Begun;
        self.push(payload)
    }

    pub(super) fn push(&mut self, payload: &[u8]) -> Taken {
        if matches!(self.state, State::Waiting) {
            return Taken::More;
        }
        if self.buffer.len() + payload.len() > LONGEST_UNIT {
            self.drop_unit();
            return Taken::Broken;
        }
        self.buffer.extend_from_slice(payload);
        if matches!(self.state, State::Begun) {
            match Header::read(&self.buffer) {
                Begun::Short => return Taken::More,
                Begun::Broken => {
                    self.drop_unit();
                    return Taken::Broken;
                }
                Begun::Whole(header) => {
                    self.state = State::Collecting(header);
                    if let Some(end) = header.end {
                        self.buffer.reserve(end.saturating_sub(self.buffer.len()));
                    }
                }
            }
        }
        match self.state {
            State::Collecting(header @ Header { end: Some(end), .. }) if self.buffer.len() >= end => {
                Taken::Unit(self.take(header, end))
            }
            _ => Taken::More,
        }
    }

    /// The writer ended the packet here. Only what says no length can be complete by that.
    pub(super) fn stuffed(&mut self) -> Taken {
        match self.state {
            State::Collecting(Header { end: None, .. }) => self.complete(),
            _ => Taken::More,
        }
    }

    fn take(&mut self, header: Header, end: usize) -> Found {
        self.state = State::Waiting;
        self.length = end;
        let mut data = self.buffer.split_to(end).freeze();
        self.buffer.clear();
        let data = data.split_off(header.start);
        Found { pts: header.pts, dts: header.dts, data }
    }

    /// The timestamps of a unit. One without follows its predecessor of the same track at the same distance as that did its
    /// own, at most a second; before the first with a timestamp there is no time for it. What is no video and no audio
    /// happens now.
    pub(super) fn timestamps(
        &mut self,
        found: &Found,
        clock: &mut Clock,
        leads: bool,
    ) -> Option<(Ticks, Ticks)> {
        const WITHIN: i64 = Ticks::PER_SECOND;
        let (pts, dts) = match (found.pts, found.dts) {
            (Some(pts), dts) => {
                let dts = dts.unwrap_or(pts);
                let decoding = clock.unwrap(dts, leads);
                (decoding + signed(pts.wrapping_sub(dts)), decoding)
            }
            (None, _) if self.codec.kind() == Kind::Other => {
                let now = clock.now()?;
                return Some((now, now));
            }
            (None, _) => {
                let (last, step) = self.last?;
                (last + step, last + step)
            }
        };
        let step = self.last.map_or(0, |(last, _)| (dts - last).0);
        self.last = Some((dts, Ticks(if (0..=WITHIN).contains(&step) { step } else { 0 })));
        Some((pts, dts))
    }
}

/// The difference of two timestamps, within half a cycle.
fn signed(difference: u64) -> Ticks {
    let mut zero = Unwrapper::default();
    zero.unwrap(0);
    zero.near(difference)
}
