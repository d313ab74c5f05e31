//! Packets to units.

use super::{
    NULL_PID, PACKET, PAT_PID,
    lane::{Clock, Continuity, Counter, Found, Lane, Taken},
    section,
    sync::Sync,
    tables::{self, Entry, Unread},
};
use crate::{Event, Kind, Program, Track, TrackId, Unit, codec};

/// All units that are not complete together. One track may have a large one, all at once is not how streams are.
const MOST_COLLECTED: usize = 32 << 20;

const PIDS: usize = NULL_PID as usize + 1;

/// What was wrong with a stream so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub packets: u64,
    /// Continuity counters that did not follow each other: packets were lost.
    pub gaps: u64,
    /// Bytes that were skipped to find packets again.
    pub skipped: u64,
    /// Tables with a wrong CRC, PES packets with a broken header, units that were given up.
    pub broken: u64,
    /// Packets that cannot be read without a key.
    pub scrambled: u64,
}

/// Takes any pieces of a stream. Timestamps are unwrapped over all tracks together, so that they stay comparable.
///
/// Of several programs it follows the first one of the PAT. A unit that packets were lost of is dropped as a whole.
#[derive(Debug, Default)]
pub struct Demuxer {
    sync: Sync,
    stream: Stream,
}

impl Demuxer {
    /// `contiguous`: who writes the stream writes each PES packet in one piece, as ffmpeg does. A unit is then complete when
    /// a packet is stuffed or another track begins, not only when the next unit of its own track does.
    #[must_use]
    pub fn new(contiguous: bool) -> Self {
        Self { sync: Sync::default(), stream: Stream { contiguous, ..Stream::default() } }
    }

    /// What became complete is appended to `events`. Nothing in a stream is an error: what cannot be understood is skipped
    /// and counted.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        self.sync.push(bytes, |packet| self.stream.packet(packet, events));
    }

    /// The stream has ended: the last units, as far as they are complete. Where that cannot be seen, a `contiguous` stream is
    /// believed to be whole: of one that broke off, this is not to be called.
    pub fn finish(&mut self, events: &mut Vec<Event>) {
        self.sync.finish(|packet| self.stream.packet(packet, events));
        for index in 0..self.stream.lanes.len() {
            let lane = &mut self.stream.lanes[index];
            let taken = if lane.filled || self.stream.contiguous { lane.complete() } else { Taken::More };
            self.stream.deliver(index, taken, events);
        }
    }

    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics { skipped: self.sync.skipped, ..self.stream.statistics }
    }
}

/// Who reads the packets of a PID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Nobody,
    Pat,
    Pmt,
    Lane(u8),
}

#[derive(Debug)]
struct Pids(Box<[Reader; PIDS]>);

impl Default for Pids {
    fn default() -> Self {
        let mut readers = Box::new([Reader::Nobody; PIDS]);
        readers[usize::from(PAT_PID)] = Reader::Pat;
        Self(readers)
    }
}

/// A table's sections.
#[derive(Debug, Default)]
struct Table {
    counter: Counter,
    sections: section::Reader,
}

/// A stream of packets.
#[derive(Debug, Default)]
struct Stream {
    contiguous: bool,
    pids: Pids,
    pat: Table,
    pmt: Table,
    entry: Option<Entry>,
    /// `None`: there was no PMT yet.
    program: Option<Program>,
    /// As in `program`.
    lanes: Vec<Lane>,
    /// The track that the timeline is measured by.
    leading: usize,
    clock: Clock,
    /// Who writes contiguously is at this track.
    open: Option<usize>,
    statistics: Statistics,
}

/// The fields of a packet's header that matter here.
struct Packet<'a> {
    starts: bool,
    counter: u8,
    /// The counter need not follow the last one.
    discontinuity: bool,
    /// It has filling, so the PES packet ends with it.
    stuffed: bool,
    payload: &'a [u8],
}

impl Stream {
    fn packet(&mut self, packet: &[u8; PACKET], events: &mut Vec<Event>) {
        const TRANSPORT_ERROR: u8 = 0x80;
        self.statistics.packets += 1;
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let reader = self.pids.0[usize::from(pid & NULL_PID)];
        if reader == Reader::Nobody {
            return;
        }
        if packet[1] & TRANSPORT_ERROR != 0 {
            // The unit that it was of is given up by the counter of the next one.
            self.statistics.broken += 1;
            return;
        }
        let Some(read) = read(packet) else {
            self.statistics.broken += 1;
            return;
        };
        if packet[3] & 0xc0 != 0 {
            self.statistics.scrambled += 1;
            if let Reader::Lane(index) = reader {
                self.lanes[usize::from(index)].drop_unit();
            }
            return;
        }
        let Some(packet) = read else { return };
        match reader {
            Reader::Nobody => {}
            Reader::Pat => self.pat(&packet),
            Reader::Pmt => self.pmt(&packet, events),
            Reader::Lane(index) => self.payload(usize::from(index), &packet, events),
        }
    }

    fn payload(&mut self, index: usize, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let lane = &mut self.lanes[index];
        match lane.counter.check(packet.counter, packet.discontinuity) {
            Continuity::Follows => {}
            Continuity::Duplicate => return,
            Continuity::Gap { announced } => {
                self.statistics.gaps += u64::from(!announced);
                lane.drop_unit();
            }
        }
        if let Some(sections) = &mut lane.sections {
            let mut found = Vec::new();
            let good = sections.push(packet.payload, packet.starts, |section| found.push(section.to_vec()));
            self.statistics.broken += u64::from(!good);
            for section in found {
                let found = Found { pts: None, dts: None, data: section.into() };
                self.deliver(index, Taken::Unit(found), events);
            }
            return;
        }
        if lane.would_grow(packet.payload.len()) {
            let collected: usize = self.lanes.iter().map(Lane::collected).sum();
            if collected > MOST_COLLECTED {
                self.statistics.broken += u64::from(self.lanes[index].drop_unit());
            }
        }
        let lane = &mut self.lanes[index];
        lane.filled = packet.stuffed;
        if packet.starts {
            if self.contiguous
                && let Some(open) = self.open.replace(index).filter(|&open| open != index)
            {
                let taken = self.lanes[open].stuffed();
                self.deliver(open, taken, events);
            }
            let taken = self.lanes[index].complete();
            self.deliver(index, taken, events);
            let taken = self.lanes[index].begin(packet.payload);
            self.deliver(index, taken, events);
        } else {
            let taken = self.lanes[index].push(packet.payload);
            self.deliver(index, taken, events);
        }
        if self.contiguous && packet.stuffed {
            let taken = self.lanes[index].stuffed();
            self.deliver(index, taken, events);
        }
    }

    fn deliver(&mut self, index: usize, taken: Taken, events: &mut Vec<Event>) {
        let found = match taken {
            Taken::More => return,
            Taken::Unit(found) if found.data.is_empty() => return,
            Taken::Unit(found) => found,
            Taken::Broken => {
                self.statistics.broken += 1;
                return;
            }
        };
        let lane = &mut self.lanes[index];
        let Some((pts, dts)) = lane.timestamps(&found, &mut self.clock, index == self.leading) else {
            self.statistics.broken += 1;
            return;
        };
        let key = codec::is_key(lane.codec, &found.data);
        // There are no more than MAX_TRACKS.
        let unit = Unit { track: TrackId(index as u8), pts, dts, key, data: found.data };
        let mut out = |unit| events.push(Event::Unit(unit));
        match &mut lane.joiner {
            Some(joiner) => joiner.push(lane.codec, unit, out),
            None => out(unit),
        }
    }

    fn pat(&mut self, packet: &Packet<'_>) {
        let (entry, statistics) = (&mut self.entry, &mut self.statistics);
        let before = *entry;
        self.pat.read(packet, statistics, |section, statistics| match tables::read_pat(section, *entry) {
            Ok(Some(found)) => *entry = Some(found),
            Ok(None) | Err(Unread::Foreign) => {}
            Err(Unread::Broken) => statistics.broken += 1,
        });
        if self.entry != before {
            self.pmt = Table::default();
            self.assign();
        }
    }

    fn pmt(&mut self, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let Some(entry) = self.entry else { return };
        let mut newest = None;
        self.pmt.read(packet, &mut self.statistics, |section, statistics| {
            match tables::read_pmt(section, entry) {
                Ok(tracks) => newest = Some(tracks),
                Err(Unread::Foreign) => {}
                Err(Unread::Broken) => statistics.broken += 1,
            }
        });
        if let Some(tracks) = newest {
            self.follow(tracks, events);
        }
    }

    /// The program has these tracks. What is known of a PID with the same codec goes on.
    fn follow(&mut self, tracks: Vec<(u16, Track)>, events: &mut Vec<Event>) {
        let same_lanes = self.lanes.iter().map(|lane| (lane.pid, lane.codec));
        let same_lanes = same_lanes.eq(tracks.iter().map(|(pid, track)| (*pid, track.codec)));
        if !same_lanes {
            let goes_on =
                |lane: &Lane| tracks.iter().any(|(pid, track)| (*pid, track.codec) == (lane.pid, lane.codec));
            for index in 0..self.lanes.len() {
                if !goes_on(&self.lanes[index]) {
                    let taken = self.lanes[index].stuffed();
                    self.deliver(index, taken, events);
                }
            }
            let mut before = std::mem::take(&mut self.lanes);
            self.lanes = tracks
                .iter()
                .map(|(pid, track)| {
                    let known = before.iter().position(|lane| (lane.pid, lane.codec) == (*pid, track.codec));
                    known.map_or_else(|| Lane::new(*pid, track.codec), |known| before.swap_remove(known))
                })
                .collect();
            self.open = None;
            self.assign();
        }
        let program = Program { tracks: tracks.into_iter().map(|(_, track)| track).collect() };
        if self.program.as_ref() != Some(&program) {
            let leading = program.first(Kind::Video).or_else(|| program.first(Kind::Audio));
            self.leading = leading.map_or(0, |TrackId(index)| usize::from(index));
            self.program = Some(program.clone());
            events.push(Event::Program(program));
        }
    }

    /// Says anew who reads what.
    fn assign(&mut self) {
        let mut pids = Pids::default();
        if let Some(entry) = self.entry {
            pids.0[usize::from(entry.pmt_pid)] = Reader::Pmt;
        }
        for (index, lane) in self.lanes.iter().enumerate() {
            let reader = &mut pids.0[usize::from(lane.pid)];
            if *reader == Reader::Nobody {
                *reader = Reader::Lane(index as u8);
            }
        }
        self.pids = pids;
    }
}

impl Table {
    fn read(
        &mut self,
        packet: &Packet<'_>,
        statistics: &mut Statistics,
        mut found: impl FnMut(&[u8], &mut Statistics),
    ) {
        match self.counter.check(packet.counter, packet.discontinuity) {
            Continuity::Follows => {}
            Continuity::Duplicate => return,
            Continuity::Gap { announced } => {
                statistics.gaps += u64::from(!announced);
                self.sections.reset();
            }
        }
        if !self.sections.push(packet.payload, packet.starts, |section| found(section, statistics)) {
            statistics.broken += 1;
        }
    }
}

/// Takes a packet apart (2.4.3.2). `None`: it is broken; `Some(None)`: there is no payload in it.
fn read(packet: &[u8; PACKET]) -> Option<Option<Packet<'_>>> {
    const STARTS: u8 = 0x40;
    const ADAPTED: u8 = 0x20;
    const PAYLOAD: u8 = 0x10;
    const DISCONTINUITY: u8 = 0x80;
    let [_, first, _, control, ..] = *packet;
    if control & PAYLOAD == 0 {
        return Some(None);
    }
    let (starts, counter) = (first & STARTS != 0, control & 15);
    if control & ADAPTED == 0 {
        let payload = &packet[4..];
        return Some(Some(Packet { starts, counter, discontinuity: false, stuffed: false, payload }));
    }
    let length = usize::from(packet[4]);
    let payload = packet.get(5 + length..)?;
    let field = &packet[5..5 + length];
    let discontinuity = field.first().is_some_and(|flags| flags & DISCONTINUITY != 0);
    Some(Some(Packet {
        starts,
        counter,
        discontinuity,
        stuffed: adapted(field) < length || length == 0,
        payload,
    }))
}

/// Bytes of an adaptation field that say something, behind its length (2.4.3.4).
fn adapted(field: &[u8]) -> usize {
    let Some(flags) = field.first() else { return 0 };
    let has = |bit: u8| flags & bit != 0;
    let mut at = 1 + if has(0x10) { 6 } else { 0 } + if has(0x08) { 6 } else { 0 } + usize::from(has(0x04));
    for more in [0x02, 0x01] {
        if has(more) {
            at += 1 + field.get(at).map_or(0, |&length| usize::from(length));
        }
    }
    at
}
