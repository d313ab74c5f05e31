//! MPEG-TS as far as a judge and a broadcaster need it. Written apart from the crate that is judged.

use std::collections::BTreeMap;

pub const PACKET: usize = 188;
const SYNC: u8 = 0x47;
const CYCLE: u64 = 1 << 33;
const NULL_PID: u16 = 0x1fff;
const PAT: u16 = 0;
const SDT: u16 = 17;
/// Where ffmpeg has it.
const PMT: u16 = 4096;

/// The fixed part of a packet's head, and what of its adaptation field matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub pid: u16,
    /// A PES packet or table begins here.
    pub start: bool,
    pub counter: u8,
    /// Where the payload begins; `None`: there is none.
    pub payload: Option<usize>,
    pub discontinuity: bool,
    pub random_access: bool,
}

impl Head {
    /// # Panics
    /// It is no packet.
    #[must_use]
    pub fn of(packet: &[u8]) -> Self {
        assert_eq!((packet.len(), packet[0]), (PACKET, SYNC), "no packet of MPEG-TS");
        let control = packet[3] >> 4 & 3;
        let field = if control & 2 == 0 { 0 } else { usize::from(packet[4]) + 1 };
        let flags = if field > 1 { packet[5] } else { 0 };
        let payload = (control & 1 == 1).then_some(4 + field).filter(|at| *at < PACKET);
        Self {
            pid: u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]),
            start: packet[1] & 0x40 != 0,
            counter: packet[3] & 15,
            payload,
            discontinuity: flags & 0x80 != 0,
            random_access: flags & 0x40 != 0,
        }
    }
}

/// The beginning of a PES packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pes {
    pub pid: u16,
    pub video: bool,
    /// 33 bits.
    pub pts: u64,
    pub dts: u64,
    pub random_access: bool,
    /// Of its first packet, in bytes from the beginning.
    pub at: usize,
}

/// Where the timestamps of a PES packet are, if one with timestamps begins in this packet: pts, then dts.
fn stamps(packet: &[u8], head: &Head) -> Option<(usize, Option<usize>)> {
    let at = head.payload.filter(|at| head.start && at + 9 <= PACKET)?;
    let timed = packet[at..at + 3] == [0, 0, 1] && matches!(packet[at + 3], 0xbd | 0xc0..=0xef | 0xfd);
    let flags = if timed { packet[at + 7] >> 6 } else { 0 };
    let end = at + 9 + 5 * usize::from(flags.count_ones() as u8);
    (flags & 2 != 0 && end <= PACKET).then_some((at + 9, (flags == 3).then_some(at + 14)))
}

fn read_stamp(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|index| u64::from(bytes[index]));
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

fn write_stamp(bytes: &mut [u8], stamp: u64) {
    bytes[0] = bytes[0] & 0xf1 | (stamp >> 29) as u8 & 0x0e;
    bytes[1] = (stamp >> 22) as u8;
    bytes[2] = (stamp >> 14) as u8 | 1;
    bytes[3] = (stamp >> 7) as u8;
    bytes[4] = (stamp << 1) as u8 | 1;
}

/// Where the PCR's base is.
fn pcr(packet: &[u8]) -> Option<usize> {
    (packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0).then_some(6)
}

/// The PES packet that begins in a packet.
#[must_use]
pub fn pes(packet: &[u8], at: usize) -> Option<Pes> {
    let head = Head::of(packet);
    let (pts, dts) = stamps(packet, &head)?;
    let id = packet[head.payload? + 3];
    let pts = read_stamp(&packet[pts..]);
    let dts = dts.map_or(pts, |dts| read_stamp(&packet[dts..]));
    let (pid, random_access) = (head.pid, head.random_access);
    Some(Pes { pid, video: id & 0xf0 == 0xe0, pts, dts, random_access, at })
}

/// Adds to every timestamp and to the PCR, modulo 33 bits.
pub fn shift(packet: &mut [u8], by: u64) {
    let head = Head::of(packet);
    if let Some(at) = pcr(packet) {
        let field = &mut packet[at..at + 5];
        let base = field[..4].iter().fold(0, |base, byte| base << 8 | u64::from(*byte)) << 1
            | u64::from(field[4] >> 7);
        let base = (base + by) % CYCLE;
        for (index, byte) in field[..4].iter_mut().enumerate() {
            *byte = (base >> (25 - 8 * index)) as u8;
        }
        field[4] = field[4] & 0x7f | (base as u8 & 1) << 7;
    }
    if let Some((pts, dts)) = stamps(packet, &head) {
        for at in [Some(pts), dts].into_iter().flatten() {
            let stamp = (read_stamp(&packet[at..]) + by) % CYCLE;
            write_stamp(&mut packet[at..at + 5], stamp);
        }
    }
}

/// Numbers the packets of each PID through, whatever numbers they had.
#[derive(Debug, Default)]
pub struct Counters(BTreeMap<u16, u8>);

impl Counters {
    pub fn renumber(&mut self, packet: &mut [u8]) {
        let head = Head::of(packet);
        let next = self.0.entry(head.pid).or_insert(15);
        if head.payload.is_some() {
            *next = (*next + 1) & 15;
        }
        packet[3] = packet[3] & 0xf0 | *next;
    }
}

/// The packets of a stream that begins with one. A part of one at the end is left out.
pub fn packets(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    stream.chunks_exact(PACKET)
}

/// Every PES packet, in order.
#[must_use]
pub fn all_pes(stream: &[u8]) -> Vec<Pes> {
    packets(stream).enumerate().filter_map(|(index, packet)| pes(packet, index * PACKET)).collect()
}

/// What is wrong with the packets: sync bytes that are missing, counters that jump, discontinuities that are announced.
#[must_use]
pub fn faults(stream: &[u8]) -> Vec<String> {
    let mut counters: BTreeMap<u16, u8> = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, packet) in packets(stream).enumerate() {
        if packet[0] != SYNC {
            faults.push(format!("packet {index} begins with {:#04x}", packet[0]));
            return faults;
        }
        let head = Head::of(packet);
        if head.pid == NULL_PID {
            continue;
        }
        if head.discontinuity {
            faults.push(format!("packet {index}, PID {}: a discontinuity", head.pid));
        }
        let expected = counters.get(&head.pid).map(|last| (last + u8::from(head.payload.is_some())) & 15);
        if expected.is_some_and(|expected| expected != head.counter) && !head.discontinuity {
            let expected = expected.unwrap_or_default();
            faults.push(format!("packet {index}, PID {}: counter {} for {expected}", head.pid, head.counter));
        }
        counters.insert(head.pid, head.counter);
    }
    faults
}

/// What is complete: the stream up to where a video frame begins (audio frame, where there is no video), and far enough from
/// its end that every picture before the last one shown is in it: frames come in the order in which they are decoded.
#[must_use]
pub fn complete(stream: &[u8]) -> &[u8] {
    /// Frames that an encoder may hold back for those shown after them.
    const REORDERED: usize = 8;
    let all = all_pes(stream);
    let video = all.iter().any(|pes| pes.video);
    let frames: Vec<Pes> = all.into_iter().filter(|pes| pes.video == video).collect();
    let Some(last) = frames.len().checked_sub(1) else { return &[] };
    // The usual step: at a break there are others.
    let mut steps: Vec<i64> =
        frames.windows(2).map(|pair| distance(pair[0].dts, pair[1].dts)).filter(|step| *step > 0).collect();
    steps.sort_unstable();
    let frame = steps.get(steps.len() / 2).copied();
    let closed = |count: &usize| {
        let mut shown: Vec<i64> =
            frames[..*count].iter().map(|pes| distance(frames[0].pts, pes.pts)).collect();
        shown.sort_unstable();
        let newest = &shown[count.saturating_sub(REORDERED)..];
        newest.windows(2).all(|pair| frame.is_some_and(|frame| (pair[1] - pair[0] - frame).abs() <= 2))
    };
    let oldest = last.saturating_sub(2 * REORDERED).max(1);
    let count = if video { (oldest..=last).rev().find(closed).unwrap_or(last) } else { last };
    &stream[..frames[count].at]
}

/// Where the tables begin that stand directly before a packet, or the packet itself.
#[must_use]
pub fn with_tables(stream: &[u8], mut at: usize) -> usize {
    let tables = |at: usize| matches!(Head::of(&stream[at - PACKET..at]).pid, PAT | SDT | PMT);
    while at > 0 && tables(at) {
        at -= PACKET;
    }
    at
}

/// From the first key frame on, with its tables.
#[must_use]
pub fn from_key_frame(stream: &[u8]) -> &[u8] {
    let key = all_pes(stream).into_iter().find(|pes| pes.video && pes.random_access);
    &stream[key.map_or(stream.len(), |pes| with_tables(stream, pes.at))..]
}

/// From one timestamp to another, over the wrap: the shorter way.
#[must_use]
pub fn distance(from: u64, to: u64) -> i64 {
    let ahead = (to + CYCLE - from % CYCLE) % CYCLE;
    if ahead < CYCLE / 2 { ahead as i64 } else { ahead as i64 - CYCLE as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_moved_over_the_wrap() {
        let mut packet = [0xff; PACKET];
        packet[..12].copy_from_slice(&[SYNC, 0x41, 0, 0x30, 7, 0x50, 0xff, 0xff, 0xff, 0xff, 0xfe, 0]);
        packet[12..21].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 10]);
        packet[21..31].copy_from_slice(&[0x31, 0, 1, 0, 1, 0x11, 0, 1, 0, 1]);
        write_stamp(&mut packet[21..], CYCLE - 1);
        write_stamp(&mut packet[26..], CYCLE - 3601);
        shift(&mut packet, 3600);
        let found = pes(&packet, 0).unwrap();
        assert_eq!((found.pts, found.dts, found.pid, found.random_access), (3599, CYCLE - 1, 256, true));
        // 2^33 - 1 + 3600, and the six reserved bits are as they were.
        assert_eq!(&packet[6..12], &[0, 0, 0x07, 0x07, 0xfe, 0]);
        assert_eq!((distance(CYCLE - 1, 3599), distance(3599, CYCLE - 1)), (3600, -3600));
    }

    #[test]
    fn a_counter_that_jumps_is_a_fault() {
        let mut counters = Counters::default();
        let mut stream = [SYNC, 0x01, 0, 0x10]
            .iter()
            .copied()
            .chain([0; PACKET - 4])
            .cycle()
            .take(4 * PACKET)
            .collect::<Vec<u8>>();
        for packet in stream.chunks_exact_mut(PACKET) {
            counters.renumber(packet);
        }
        assert_eq!(faults(&stream), Vec::<String>::new());
        stream.drain(PACKET..2 * PACKET);
        assert_eq!(faults(&stream).len(), 1);
    }
}
