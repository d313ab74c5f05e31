//! Boxes to units.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{
    boxes::Reader,
    header::{self, Defaults, Format, Input},
};
use crate::{Event, Program, Ticks, Track, TrackId, Unit, codec::adts};

/// The most of `moov` and `moof`: ffmpeg's have a few hundred bytes.
const MAX_HEADER: usize = 256 * 1024;
/// The most of one fragment's media: it holds one frame, and a key frame of 2160p has a few megabytes.
const MAX_MEDIA: usize = 32 * 1024 * 1024;
/// The most frames of one fragment.
const MAX_SAMPLES: usize = 4096;

/// A stream that is no fragmented MP4 that this can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the fragmented MP4 cannot be read: {0}")]
pub struct Error(pub String);

/// Takes any pieces of what ffmpeg writes of AV1 and AAC with
///
/// ```text
/// -copyts -avoid_negative_ts disabled -video_track_timescale 90000 -min_frag_duration 1
/// -movflags +frag_every_frame+empty_moov+default_base_moof+frag_discont -f mp4
/// ```
///
/// Every frame is a fragment then, written when the next one of its track is there. Without `frag_discont` times begin at
/// zero, whatever `-copyts` says. With `frag_every_frame` alone some frames of audio have the time of the next one (ffmpeg
/// 5.1), and the first of the video, too (9): `-min_frag_duration` (in microseconds) keeps a track's fragment from being
/// written when another track's frame comes.
#[derive(Debug, Default)]
pub struct Demuxer {
    buffer: BytesMut,
    /// Bytes of a box of no interest that are still to come.
    skip: u64,
    tracks: Vec<Input>,
    /// Decoding time of what follows in each track, in its timescale.
    next: Vec<u64>,
    /// Samples of a `moof` whose `mdat` has not come; where their data is, counted from the `moof`.
    pending: Vec<Sample>,
    /// Bytes since the last `moof` began.
    since_moof: usize,
    failed: Option<Error>,
}

#[derive(Debug)]
struct Sample {
    track: usize,
    dts: u64,
    composition: i64,
    key: bool,
    start: usize,
    size: usize,
}

impl Demuxer {
    /// What became complete is appended to `events`.
    ///
    /// # Errors
    /// After one, nothing more can be read.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.read(bytes, events);
        if let Err(problem) = result {
            let error = Error(problem);
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
            return Err(error);
        }
        Ok(())
    }

    fn read(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        loop {
            let skipped = self.skip.min(bytes.len() as u64) as usize;
            bytes.advance(skipped);
            self.skip -= skipped as u64;
            let Some((head, size)) = self.fill(&mut bytes)? else { return Ok(()) };
            let kind: [u8; 4] = [self.buffer[4], self.buffer[5], self.buffer[6], self.buffer[7]];
            let limit = match &kind {
                b"moov" | b"moof" => MAX_HEADER,
                b"mdat" => MAX_MEDIA,
                b"ftyp" | b"styp" | b"sidx" | b"mfra" | b"free" | b"skip" | b"emsg" | b"prft" | b"uuid" => {
                    self.buffer.clear();
                    self.skip = size - head as u64;
                    self.since_moof =
                        self.since_moof.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
                    continue;
                }
                _ => return Err(format!("{:?} is no box that is known", String::from_utf8_lossy(&kind))),
            };
            let size = usize::try_from(size).ok().filter(|size| *size <= limit).ok_or_else(|| {
                format!("a box {} has {size} bytes, more than {limit}", String::from_utf8_lossy(&kind))
            })?;
            if !take(&mut self.buffer, &mut bytes, size) {
                return Ok(());
            }
            let whole = self.buffer.split().freeze();
            let body = whole.slice(head..);
            match &kind {
                b"moov" => self.header(&body, events)?,
                b"moof" => {
                    self.fragment(&body)?;
                    self.since_moof = size;
                }
                _ => self.media(head, &body, events)?,
            }
        }
    }

    /// Reads until the header of a box is in the buffer: its length, and that of the box.
    fn fill(&mut self, bytes: &mut &[u8]) -> Result<Option<(usize, u64)>, String> {
        if !take(&mut self.buffer, bytes, 8) {
            return Ok(None);
        }
        let mut header = Reader(&self.buffer[..8]);
        let (head, size) = match header.u32() {
            Some(1) => {
                if !take(&mut self.buffer, bytes, 16) {
                    return Ok(None);
                }
                (16, Reader(&self.buffer[8..16]).u64().unwrap_or(0))
            }
            size => (8, u64::from(size.unwrap_or(0))),
        };
        if size < head as u64 {
            return Err(format!("a box has a size of {size} bytes"));
        }
        Ok(Some((head, size)))
    }

    fn header(&mut self, body: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        self.tracks = header::tracks(Reader(body))?;
        self.next = vec![0; self.tracks.len()];
        self.pending.clear();
        let track = |input: &Input| Track { codec: input.format.codec(), descriptors: Bytes::new() };
        events.push(Event::Program(Program { tracks: self.tracks.iter().map(track).collect() }));
        Ok(())
    }

    fn fragment(&mut self, body: &[u8]) -> Result<(), String> {
        if self.tracks.is_empty() {
            return Err("it begins with a fragment, without a header".to_owned());
        }
        self.pending.clear();
        for (kind, traf) in Reader(body).boxes() {
            if &kind == b"traf" {
                self.track_fragment(traf)?;
            }
        }
        Ok(())
    }

    fn track_fragment(&mut self, traf: Reader<'_>) -> Result<(), String> {
        let header = traf.child(b"tfhd").and_then(TrackHeader::read).ok_or("a fragment has no track")?;
        if !header.relative {
            return Err("its offsets are absolute; it is to be written with default_base_moof".to_owned());
        }
        let Some(index) = self.tracks.iter().position(|track| track.number == header.number) else {
            return Err(format!("a fragment is of track {}, which there is not", header.number));
        };
        let defaults = header.over(self.tracks[index].defaults);
        if let Some(mut tfdt) = traf.child(b"tfdt") {
            let time = tfdt.version().and_then(|(version, _)| match version {
                1 => tfdt.u64(),
                _ => tfdt.u32().map(u64::from),
            });
            self.next[index] = time.ok_or("a tfdt is too short")?;
        }
        let mut position = None;
        for (kind, trun) in traf.boxes() {
            if &kind == b"trun" {
                position = Some(self.run(index, defaults, position, trun)?);
            }
        }
        Ok(())
    }

    /// The samples of a `trun`; where its data ends.
    fn run(
        &mut self,
        track: usize,
        defaults: Defaults,
        follows: Option<usize>,
        mut trun: Reader<'_>,
    ) -> Result<usize, String> {
        const SHORT: &str = "a trun is too short";
        let (version, flags) = trun.version().ok_or(SHORT)?;
        let count = trun.u32().ok_or(SHORT)? as usize;
        if self.pending.len().saturating_add(count) > MAX_SAMPLES {
            return Err(format!("a fragment has more than {MAX_SAMPLES} samples"));
        }
        let mut position = match flags & 0x01 {
            0 => follows.ok_or("the first trun says not where its data is")?,
            _ => usize::try_from(trun.u32().ok_or(SHORT)?).map_err(|_| SHORT)?,
        };
        let first_flags = if flags & 0x04 == 0 { None } else { Some(trun.u32().ok_or(SHORT)?) };
        for index in 0..count {
            let mut field = |bit: u32, default: u32| match flags & bit {
                0 => Ok(default),
                _ => trun.u32().ok_or(SHORT),
            };
            let duration = field(0x100, defaults.duration)?;
            let size = field(0x200, defaults.size)? as usize;
            let own = field(0x400, first_flags.filter(|_| index == 0).unwrap_or(defaults.flags))?;
            let composition = field(0x800, 0)?;
            let composition = match version {
                0 => i64::from(composition),
                _ => i64::from(composition as i32),
            };
            let dts = self.next[track];
            self.next[track] = dts.checked_add(u64::from(duration)).ok_or("its times are too large")?;
            let key = own & 0x0001_0000 == 0;
            self.pending.push(Sample { track, dts, composition, key, start: position, size });
            position = position.checked_add(size).ok_or("a sample is too large")?;
        }
        Ok(position)
    }

    /// The samples of which an `mdat` has the data.
    fn media(&mut self, head: usize, body: &Bytes, events: &mut Vec<Event>) -> Result<(), String> {
        let begin = self.since_moof + head;
        for sample in std::mem::take(&mut self.pending) {
            let start = sample.start.checked_sub(begin).filter(|start| *start <= body.len());
            let data = start
                .filter(|start| sample.size <= body.len() - start)
                .map(|start| body.slice(start..start + sample.size))
                .ok_or("a sample is not where its fragment says")?;
            if data.is_empty() {
                continue;
            }
            let input = &self.tracks[sample.track];
            let dts = ticks(i128::from(sample.dts), input.timescale)?;
            let pts = ticks(i128::from(sample.dts) + i128::from(sample.composition), input.timescale)?;
            let track = TrackId(sample.track as u8);
            let data = convert(&input.format, data, sample.key)?;
            events.push(Event::Unit(Unit { track, pts, dts, key: sample.key, data }));
        }
        Ok(())
    }
}

/// Moves bytes until the buffer has `wanted`.
fn take(buffer: &mut BytesMut, bytes: &mut &[u8], wanted: usize) -> bool {
    let missing = wanted.saturating_sub(buffer.len());
    let taken = missing.min(bytes.len());
    buffer.put_slice(&bytes[..taken]);
    bytes.advance(taken);
    taken == missing
}

/// What a `tfhd` says.
struct TrackHeader {
    number: u32,
    /// Offsets count from the `moof`.
    relative: bool,
    duration: Option<u32>,
    size: Option<u32>,
    flags: Option<u32>,
}

impl TrackHeader {
    fn read(mut tfhd: Reader<'_>) -> Option<Self> {
        let (_, flags) = tfhd.version()?;
        let number = tfhd.u32()?;
        if flags & 0x01 != 0 {
            tfhd.u64()?;
        }
        if flags & 0x02 != 0 {
            tfhd.u32()?;
        }
        let mut field = |bit: u32| if flags & bit == 0 { Some(None) } else { tfhd.u32().map(Some) };
        Some(Self {
            number,
            relative: flags & 0x02_0001 == 0x02_0000,
            duration: field(0x08)?,
            size: field(0x10)?,
            flags: field(0x20)?,
        })
    }

    fn over(&self, defaults: Defaults) -> Defaults {
        Defaults {
            duration: self.duration.unwrap_or(defaults.duration),
            size: self.size.unwrap_or(defaults.size),
            flags: self.flags.unwrap_or(defaults.flags),
        }
    }
}

/// The nearest tick.
fn ticks(time: i128, timescale: u32) -> Result<Ticks, String> {
    let scale = i128::from(timescale);
    let ticks = (time * i128::from(Ticks::PER_SECOND) + scale / 2).div_euclid(scale);
    i64::try_from(ticks).map(Ticks).map_err(|_| "its times are too large".to_owned())
}

/// As the crate has it.
fn convert(format: &Format, data: Bytes, key: bool) -> Result<Bytes, String> {
    /// `obu_type` of a sequence header (AV1, 6.2.2).
    const SEQUENCE_HEADER: u8 = 1;
    let prefix = match format {
        Format::Av1 { header } => {
            let has_header = data.first().is_some_and(|first| first >> 3 & 0xf == SEQUENCE_HEADER);
            if !key || has_header || header.is_empty() {
                return Ok(data);
            }
            &header[..]
        }
        Format::Aac { config } => {
            &adts::make(config, data.len()).ok_or("a frame of audio is too long for ADTS")?
        }
    };
    let mut out = BytesMut::with_capacity(prefix.len() + data.len());
    out.put_slice(prefix);
    out.put_slice(&data);
    Ok(out.freeze())
}
