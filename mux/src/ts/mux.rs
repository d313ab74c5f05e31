//! Units to packets.

use bytes::{BufMut, BytesMut};

use super::{MAX_TRACKS, PACKET, SYNC, pes, tables};
use crate::{Codec, Kind, Program, Ticks, Unit, codec};

const PMT_PID: u16 = 0x1000;
/// Of the first track; the others follow.
const FIRST_PID: u16 = 0x100;

/// Most bytes of a packet behind its header.
const PAYLOAD: usize = PACKET - 4;

/// The clock is behind the decoding times by so much: the time a decoder has for bytes of the other tracks that come after
/// the one they belong to. More would only delay viewers that go by the clock.
const CLOCK_LEAD: Ticks = Ticks::from_millis(200);

/// A clock reference is written when the last one is so old: then at 25 and more frames a second they are no more than the
/// 40 ms apart that DVB wants (ETSI TS 101 154).
const CLOCK_INTERVAL: Ticks = Ticks::from_millis(20);

/// Fields of a packet's header and its adaptation field (2.4.3.2, 2.4.3.4).
mod field {
    /// Second byte.
    pub(super) const STARTS: u8 = 0x40;
    /// Fourth byte.
    pub(super) const PAYLOAD: u8 = 0x10;
    pub(super) const ADAPTED: u8 = 0x20;
    /// First byte of the adaptation field.
    pub(super) const DISCONTINUITY: u8 = 0x80;
    pub(super) const RANDOM_ACCESS: u8 = 0x40;
    pub(super) const CLOCK: u8 = 0x10;
}

/// Writes one stream: continuity counters go on for as long as it lives, whatever it is given.
///
/// A unit of a track that is not in the program, or that MPEG-TS is not written for here (AV1), is left out.
#[derive(Debug)]
pub struct Muxer {
    program: Program,
    version: u8,
    pat: Vec<u8>,
    pmt: Vec<u8>,
    pat_counter: u8,
    pmt_counter: u8,
    /// By track, also of tracks that are not there now.
    counters: [u8; MAX_TRACKS],
    /// The track that carries the clock.
    clock: usize,
    last_clock: Option<Ticks>,
}

impl Muxer {
    #[must_use]
    pub fn new(program: &Program) -> Self {
        let mut muxer = Self {
            program: Program::default(),
            version: 0,
            pat: tables::pat(PMT_PID),
            pmt: Vec::new(),
            pat_counter: 0,
            pmt_counter: 0,
            counters: [0; MAX_TRACKS],
            clock: 0,
            last_clock: None,
        };
        muxer.describe(program);
        muxer
    }

    /// The tracks change: the next tables have a new version.
    pub fn set_program(&mut self, program: &Program) {
        if *program != self.program {
            self.version = (self.version + 1) & 31;
            self.describe(program);
        }
    }

    fn describe(&mut self, program: &Program) {
        let clock = program.first(Kind::Video).or_else(|| program.first(Kind::Audio));
        self.clock = clock.map_or(0, |track| usize::from(track.0));
        self.last_clock = None;
        self.pmt = tables::pmt(program, self.version, pid(self.clock), pid);
        self.program = program.clone();
    }

    /// PAT and PMT: at least before each key frame, so that a viewer can start there.
    pub fn tables(&mut self, out: &mut BytesMut) {
        put_sections(&self.pat, super::PAT_PID, &mut self.pat_counter, out);
        put_sections(&self.pmt, PMT_PID, &mut self.pmt_counter, out);
    }

    /// One PES packet, with the PCR where it is due. `discontinuity`: the first unit of its track after a jump of the
    /// timeline.
    pub fn unit(&mut self, unit: &Unit, discontinuity: bool, out: &mut BytesMut) {
        let index = usize::from(unit.track.0);
        let codec = match self.program.codec(unit.track) {
            None | Some(Codec::Av1) => return,
            Some(codec) => codec,
        };
        let Some(counter) = self.counters.get_mut(index) else { return };
        if tables::in_sections(codec) {
            put_sections(&unit.data, pid(index), counter, out);
            return;
        }
        let clock = index == self.clock;
        let access = unit.key && (clock || codec.kind() == Kind::Video);
        let due = self.last_clock.is_none_or(|last| unit.dts < last || unit.dts - last >= CLOCK_INTERVAL);
        let reference =
            (clock && (access && codec.kind() == Kind::Video || discontinuity || due)).then_some(unit.dts);
        if reference.is_some() {
            self.last_clock = reference;
        }
        let adaptation = Adaptation { discontinuity, access, reference };

        let delimiter = codec::missing_delimiter(codec, &unit.data);
        let id = stream_id(codec);
        let aligned = codec.kind() != Kind::Audio;
        let (header, length) =
            pes::header(id, aligned, unit.pts, unit.dts, delimiter.len() + unit.data.len());
        put_packets(pid(index), counter, &adaptation, [&header[..length], delimiter], &unit.data, out);
    }
}

const fn pid(index: usize) -> u16 {
    FIRST_PID + index as u16
}

/// Table 2-21.
const fn stream_id(codec: Codec) -> u8 {
    const TIMED_METADATA: u8 = 0x15;
    match codec {
        Codec::H264 | Codec::Hevc | Codec::Av1 | Codec::Mpeg2Video => 0xe0,
        Codec::Aac | Codec::Mp3 => 0xc0,
        Codec::Other(TIMED_METADATA) => 0xfc,
        Codec::Ac3 | Codec::Eac3 | Codec::Other(_) => 0xbd,
    }
}

/// What the adaptation field of the first packet says.
struct Adaptation {
    discontinuity: bool,
    access: bool,
    /// The clock is to be what belongs to this decoding time.
    reference: Option<Ticks>,
}

impl Adaptation {
    /// The field, and how many bytes of the array it takes: none if there is nothing to say.
    fn bytes(&self) -> ([u8; 8], usize) {
        let mut bytes = [0; 8];
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        bytes[1] = flag(self.discontinuity, field::DISCONTINUITY)
            | flag(self.access, field::RANDOM_ACCESS)
            | flag(self.reference.is_some(), field::CLOCK);
        let length = match self.reference {
            Some(dts) => {
                // 33 bits of 90 kHz, six that are reserved, nine of 27 MHz.
                let clock = (dts - CLOCK_LEAD).wire() << 15 | 0x3f << 9;
                bytes[2..].copy_from_slice(&clock.to_be_bytes()[2..]);
                8
            }
            None if bytes[1] != 0 => 2,
            None => 0,
        };
        bytes[0] = (length as u8).saturating_sub(1);
        (bytes, length)
    }
}

/// A PES packet: `prefix` and `data` in as many packets as it takes, the last one filled up by its adaptation field.
fn put_packets(
    pid: u16,
    counter: &mut u8,
    adaptation: &Adaptation,
    prefix: [&[u8]; 2],
    data: &[u8],
    out: &mut BytesMut,
) {
    let [pid_high, pid_low] = pid.to_be_bytes();
    let mut next = |marks: u8| {
        let control = marks | *counter;
        *counter = (*counter + 1) & 15;
        control
    };
    let (field, adapted) = adaptation.bytes();
    let prefixed = prefix[0].len() + prefix[1].len();
    out.reserve((adapted + prefixed + data.len()).div_ceil(PAYLOAD) * PACKET);

    // Field and prefix are much shorter than a packet.
    let room = PAYLOAD - adapted - prefixed;
    let (first, rest) = data.split_at(room.min(data.len()));
    let filling = room - first.len();
    let mark = if adapted + filling > 0 { field::ADAPTED } else { 0 };
    out.put_slice(&[SYNC, field::STARTS | pid_high, pid_low, next(mark | field::PAYLOAD)]);
    if filling > 0 {
        put_filling(&field[..adapted], filling, out);
    } else {
        out.put_slice(&field[..adapted]);
    }
    prefix.into_iter().for_each(|part| out.put_slice(part));
    out.put_slice(first);

    let (full, last) = rest.as_chunks::<PAYLOAD>();
    for payload in full {
        out.put_slice(&[SYNC, pid_high, pid_low, next(field::PAYLOAD)]);
        out.put_slice(payload);
    }
    if !last.is_empty() {
        out.put_slice(&[SYNC, pid_high, pid_low, next(field::ADAPTED | field::PAYLOAD)]);
        put_filling(&[], PAYLOAD - last.len(), out);
        out.put_slice(last);
    }
}

/// An adaptation field with `filling` bytes more than it has to say.
fn put_filling(field: &[u8], filling: usize, out: &mut BytesMut) {
    let length = field.len() + filling - 1;
    out.put_u8(length as u8);
    if length > 0 {
        out.put_u8(field.get(1).copied().unwrap_or(0));
        let said = field.get(2..).unwrap_or(&[]);
        out.put_slice(said);
        out.put_bytes(0xff, length - 1 - said.len());
    }
}

/// Sections of a table, from the beginning of a packet on.
fn put_sections(sections: &[u8], pid: u16, counter: &mut u8, out: &mut BytesMut) {
    let [pid_high, pid_low] = pid.to_be_bytes();
    let (mut rest, mut starts) = (sections, field::STARTS);
    while !rest.is_empty() {
        out.put_slice(&[SYNC, starts | pid_high, pid_low, field::PAYLOAD | *counter]);
        *counter = (*counter + 1) & 15;
        let pointer = if starts != 0 { 1 } else { 0 };
        out.put_bytes(0, pointer);
        let (now, later) = rest.split_at(rest.len().min(PAYLOAD - pointer));
        out.put_slice(now);
        out.put_bytes(0xff, PAYLOAD - pointer - now.len());
        (rest, starts) = (later, 0);
    }
}
