//! What `moov` says of the tracks that are read.

use bytes::Bytes;

use super::boxes::Reader;
use crate::{Codec, codec::adts};

/// A track of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    /// As the file numbers it.
    pub(super) number: u32,
    pub(super) timescale: u32,
    pub(super) format: Format,
    pub(super) defaults: Defaults,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// The OBUs of the record: the sequence header, for key frames that have none of their own.
    Av1 { header: Bytes },
    /// AudioSpecificConfig.
    Aac { config: Bytes },
}

impl Format {
    pub(super) fn codec(&self) -> Codec {
        match self {
            Self::Av1 { .. } => Codec::Av1,
            Self::Aac { .. } => Codec::Aac,
        }
    }
}

/// What samples have that say nothing of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// The tracks, in the order of the file.
pub(super) fn tracks(moov: Reader<'_>) -> Result<Vec<Input>, String> {
    /// More than anything that is made here; numbers of tracks are bytes.
    const MAX_TRACKS: usize = 16;
    let mut tracks = Vec::new();
    for (kind, body) in moov.boxes() {
        if &kind == b"trak" {
            if tracks.len() == MAX_TRACKS {
                return Err(format!("it has more than {MAX_TRACKS} tracks"));
            }
            tracks.push(track(body)?);
        }
    }
    for (kind, body) in moov.child(b"mvex").into_iter().flat_map(Reader::boxes) {
        if &kind == b"trex"
            && let Some((number, defaults)) = extends(body)
            && let Some(track) = tracks.iter_mut().find(|track| track.number == number)
        {
            track.defaults = defaults;
        }
    }
    match tracks.is_empty() {
        true => Err("it has no tracks".to_owned()),
        false => Ok(tracks),
    }
}

fn extends(mut trex: Reader<'_>) -> Option<(u32, Defaults)> {
    trex.version()?;
    let number = trex.u32()?;
    trex.u32()?; // sample entry
    Some((number, Defaults { duration: trex.u32()?, size: trex.u32()?, flags: trex.u32()? }))
}

fn track(trak: Reader<'_>) -> Result<Input, String> {
    let number =
        trak.child(b"tkhd").and_then(|tkhd| after_times(tkhd)?.u32()).ok_or("a track has no number")?;
    let mdia = trak.child(b"mdia").ok_or_else(|| format!("track {number} has no mdia"))?;
    let timescale = mdia
        .child(b"mdhd")
        .and_then(|mdhd| after_times(mdhd)?.u32())
        .filter(|timescale| *timescale > 0)
        .ok_or_else(|| format!("track {number} has no timescale"))?;
    let stsd = mdia.child(b"minf").and_then(|minf| minf.child(b"stbl")?.child(b"stsd"));
    let (kind, entry) = stsd
        .and_then(|mut stsd| {
            stsd.take(8)?; // version, number of entries
            stsd.boxes().next()
        })
        .ok_or_else(|| format!("track {number} has no sample entry"))?;
    let format = match &kind {
        b"av01" => av1(entry),
        b"mp4a" => aac(entry),
        _ => None,
    };
    let format = format.ok_or_else(|| {
        format!("track {number} is {}, and only AV1 and AAC are read", String::from_utf8_lossy(&kind))
    })?;
    Ok(Input { number, timescale, format, defaults: Defaults::default() })
}

/// What follows the two times of `tkhd` and `mdhd`.
fn after_times(mut body: Reader<'_>) -> Option<Reader<'_>> {
    let (version, _) = body.version()?;
    body.take(if version == 1 { 16 } else { 8 })?;
    Some(body)
}

fn av1(mut entry: Reader<'_>) -> Option<Format> {
    entry.take(78)?;
    // ffmpeg's record is empty where the encoder tells its header only with the first frame (libaom).
    let header = entry.child(b"av1C")?.0.get(4..).unwrap_or_default();
    Some(Format::Av1 { header: Bytes::copy_from_slice(header) })
}

fn aac(mut entry: Reader<'_>) -> Option<Format> {
    entry.take(28)?;
    let mut esds = entry.child(b"esds")?;
    esds.version()?;
    let mut stream = descriptor(&mut esds, 0x03)?;
    stream.u16()?;
    let flags = stream.u8()?;
    // Those that say that more follows here are not written by anybody.
    if flags & 0xe0 != 0 {
        return None;
    }
    let mut decoder = descriptor(&mut stream, 0x04)?;
    decoder.take(13)?;
    let config = descriptor(&mut decoder, 0x05)?.0;
    // Frames that ADTS has no header for are of no use.
    adts::make(config, 0).map(|_| Format::Aac { config: Bytes::copy_from_slice(config) })
}

fn descriptor<'a>(from: &mut Reader<'a>, tag: u8) -> Option<Reader<'a>> {
    if from.u8()? != tag {
        return None;
    }
    let mut length = 0;
    for _ in 0..4 {
        let byte = from.u8()?;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return from.take(length).map(Reader);
        }
    }
    None
}
