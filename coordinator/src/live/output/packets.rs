//! The variant as MPEG-TS, made once for all viewers.

use bytes::{Bytes, BytesMut};
use mux::{Codec, Program, Ticks, Unit, ts};

/// Several units become one piece up to here: large enough for cheap writes, small enough to give a slow viewer little by
/// little.
const PIECE: usize = 64 * 1024;
/// Audio waits for the next video frame, as nobody can show it earlier and each piece wakes every viewer; but not for longer
/// than this many units, should the video stop (170 ms of AAC).
const WAITING: usize = 8;
/// Header of a PES packet and adaptation fields, about.
const OVERHEAD: usize = 64;
/// A track whose timestamps jump by more at a generation gets a discontinuity in its packets.
const JUMP: Ticks = Ticks(Ticks::PER_SECOND);

/// What a viewer is sent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// It begins with tables and a key frame.
    pub(super) joins: bool,
}

#[derive(Debug)]
pub(super) struct Packets {
    muxer: ts::Muxer,
    pending: BytesMut,
    units: usize,
    joins: bool,
    /// The pending units have a frame of the lead track.
    ready: bool,
    tracks: Vec<Track>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Track {
    last: Option<Ticks>,
    /// Nothing of this generation was written yet.
    fresh: bool,
}

/// Whether a program can be carried.
pub(super) fn carries(program: &Program) -> bool {
    program.tracks.iter().all(|track| track.codec != Codec::Av1)
}

impl Packets {
    pub(super) fn new(program: &Program) -> Self {
        Self {
            muxer: ts::Muxer::new(program),
            pending: BytesMut::new(),
            units: 0,
            joins: false,
            ready: false,
            tracks: vec![Track::default(); program.tracks.len()],
        }
    }

    /// What was pending must have been taken.
    pub(super) fn generation(&mut self, program: &Program) {
        self.muxer.set_program(program);
        self.tracks.resize(program.tracks.len(), Track::default());
        for track in &mut self.tracks {
            track.fresh = true;
        }
    }

    /// A viewer can begin with what follows. What was pending must have been taken.
    pub(super) fn join(&mut self) {
        self.reserve(2 * ts::PACKET);
        self.muxer.tables(&mut self.pending);
        self.joins = true;
    }

    /// `lead`: viewers are not kept waiting for it.
    pub(super) fn unit(&mut self, unit: &Unit, lead: bool) {
        let jumped = match self.tracks.get_mut(usize::from(unit.track.0)) {
            Some(track) => {
                let fresh = std::mem::take(&mut track.fresh);
                let last = track.last.replace(unit.dts);
                fresh && last.is_some_and(|last| unit.dts <= last || unit.dts > last + JUMP)
            }
            None => return,
        };
        self.reserve(unit.data.len());
        self.muxer.unit(unit, jumped, &mut self.pending);
        self.units += 1;
        self.ready |= lead;
    }

    fn reserve(&mut self, payload: usize) {
        let packets = (payload + OVERHEAD) / (ts::PACKET - 4) + 2;
        if self.pending.is_empty() {
            self.pending = BytesMut::with_capacity(packets * ts::PACKET + 2 * ts::PACKET);
        } else {
            self.pending.reserve(packets * ts::PACKET);
        }
    }

    /// It is large enough to be sent in any case.
    pub(super) fn is_large(&self) -> bool {
        self.pending.len() >= PIECE
    }

    /// There is a reason to wake viewers.
    pub(super) fn is_ready(&self) -> bool {
        self.ready || self.units >= WAITING
    }

    /// What is pending, as one piece.
    pub(super) fn take(&mut self) -> Option<Piece> {
        if self.pending.is_empty() {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        // What grew by doubling would hold up to twice the memory for as long as it is kept.
        let bytes = if pending.capacity() > pending.len() + pending.len() / 4 + ts::PACKET * 4 {
            Bytes::copy_from_slice(&pending)
        } else {
            pending.freeze()
        };
        self.units = 0;
        self.ready = false;
        Some(Piece { bytes, joins: std::mem::take(&mut self.joins) })
    }
}
