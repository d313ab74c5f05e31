//! Units to boxes.

use bytes::Bytes;

use super::{
    boxes::Writer,
    entry::{carries, codec, sample_entry},
    payload,
};
use crate::{Codec, Kind, Ticks, TrackId, Unit, codec::Parameters};

/// Sample flags (ISO/IEC 14496-12, 8.8.3.1): depends on no other.
const SYNC: u32 = 0x0200_0000;
/// Depends on others, no sync sample.
const NOT_SYNC: u32 = 0x0101_0000;

/// Part of one track for a fragment, in decoding order.
#[derive(Debug)]
pub struct Fragment<'a> {
    pub track: TrackId,
    pub units: &'a [Unit],
    /// Decoding time of what follows: the last unit's duration comes from it.
    pub next: Ticks,
}

/// `ftyp` and `moov`. MP4's track numbers are the [`TrackId`]s plus 1; the timescale is 90 kHz for all. Tracks of codecs that
/// [`carries`] denies are left out.
#[must_use]
pub fn init(tracks: &[(TrackId, Parameters)]) -> Bytes {
    let tracks: Vec<_> = tracks.iter().filter(|(_, parameters)| carries(codec(parameters))).collect();
    let mut w = Writer::with_capacity(1024);
    w.boxed(b"ftyp", |w| {
        w.put(b"iso6");
        w.u32(0);
        w.put(b"iso6cmfcmp41");
    });
    w.boxed(b"moov", |w| {
        w.full(b"mvhd", 0, 0, |w| {
            w.zeros(8); // times
            w.u32(Ticks::PER_SECOND as u32);
            w.u32(0); // duration
            w.u32(0x0001_0000); // rate
            w.u16(0x0100); // volume
            w.zeros(10);
            matrix(w);
            w.zeros(24);
            w.u32(tracks.iter().map(|(id, _)| number(*id)).max().unwrap_or(0) + 1);
        });
        for (id, parameters) in &tracks {
            w.boxed(b"trak", |w| track(w, *id, parameters));
        }
        w.boxed(b"mvex", |w| {
            for (id, _) in &tracks {
                w.full(b"trex", 0, 0, |w| {
                    w.u32(number(*id));
                    w.u32(1); // sample entry
                    w.zeros(12);
                });
            }
        });
    });
    w.bytes.freeze()
}

fn number(track: TrackId) -> u32 {
    u32::from(track.0) + 1
}

fn matrix(w: &mut Writer) {
    for value in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
        w.u32(value);
    }
}

fn track(w: &mut Writer, id: TrackId, parameters: &Parameters) {
    let (width, height) = match parameters {
        Parameters::Video(video) => (video.width << 16, video.height << 16),
        Parameters::Audio(_) => (0, 0),
    };
    let video = matches!(parameters, Parameters::Video(_));
    // Enabled, in the presentation.
    w.full(b"tkhd", 0, 3, |w| {
        w.zeros(8);
        w.u32(number(id));
        w.zeros(4 + 4 + 8);
        w.u16(0); // layer
        w.u16(u16::from(!video)); // of these one is played
        w.u16(if video { 0 } else { 0x0100 }); // volume
        w.u16(0);
        matrix(w);
        w.u32(width);
        w.u32(height);
    });
    w.boxed(b"mdia", |w| {
        w.full(b"mdhd", 0, 0, |w| {
            w.zeros(8);
            w.u32(Ticks::PER_SECOND as u32);
            w.u32(0);
            w.u16(0x55c4); // "und"
            w.u16(0);
        });
        w.full(b"hdlr", 0, 0, |w| {
            w.u32(0);
            w.put(if video { b"vide" } else { b"soun" });
            w.zeros(12 + 1);
        });
        w.boxed(b"minf", |w| {
            if video {
                w.full(b"vmhd", 0, 1, |w| w.zeros(8));
            } else {
                w.full(b"smhd", 0, 0, |w| w.zeros(4));
            }
            w.boxed(b"dinf", |w| {
                w.full(b"dref", 0, 0, |w| {
                    w.u32(1);
                    w.full(b"url ", 0, 1, |_| ()); // in this file
                });
            });
            w.boxed(b"stbl", |w| {
                w.full(b"stsd", 0, 0, |w| {
                    w.u32(1);
                    sample_entry(w, parameters);
                });
                w.full(b"stts", 0, 0, |w| w.u32(0));
                w.full(b"stsc", 0, 0, |w| w.u32(0));
                w.full(b"stsz", 0, 0, |w| w.zeros(8));
                w.full(b"stco", 0, 0, |w| w.u32(0));
            });
        });
    });
}

/// What has to be filled in once the samples are written.
struct Table {
    codec: Codec,
    frames: Vec<Unit>,
    /// Where `trun` has the offset of the data.
    offset: usize,
    /// Where it has the first sample's size, and how far it is from there to the next.
    sizes: usize,
    stride: usize,
}

/// `moof` and `mdat`, with absolute decoding times. Tracks without parameters, of codecs that [`carries`] denies, or without
/// units are left out.
///
/// Decoding times before zero cannot be written: they become zero, and the units are shown at their times all the same.
#[must_use]
pub fn fragment(sequence: u32, tracks: &[Fragment<'_>], parameters: &[(TrackId, Parameters)]) -> Bytes {
    let payload: usize = tracks.iter().flat_map(|track| track.units).map(|unit| unit.data.len() + 24).sum();
    let mut w = Writer::with_capacity(payload + 256);
    let mut tables = Vec::with_capacity(tracks.len());
    w.boxed(b"moof", |w| {
        w.full(b"mfhd", 0, 0, |w| w.u32(sequence));
        for track in tracks {
            let known = parameters.iter().find(|(id, _)| *id == track.track);
            let Some(codec) = known.map(|(_, known)| codec(known)).filter(|codec| carries(*codec)) else {
                continue;
            };
            let frames: Vec<Unit> =
                track.units.iter().flat_map(|unit| crate::codec::frames(codec, unit.clone())).collect();
            if !frames.is_empty() {
                w.boxed(b"traf", |w| tables.push(run(w, track, codec, frames)));
            }
        }
    });
    w.boxed(b"mdat", |w| {
        for table in tables {
            let start = w.bytes.len();
            w.set_u32(table.offset, start as u32);
            for (index, frame) in table.frames.iter().enumerate() {
                let before = w.bytes.len();
                payload::sample(table.codec, &frame.data, &mut w.bytes);
                let size = w.bytes.len() - before;
                w.set_u32(table.sizes + index * table.stride, size as u32);
            }
        }
    });
    w.bytes.freeze()
}

/// The boxes of a track in a fragment.
fn run(w: &mut Writer, track: &Fragment<'_>, codec: Codec, frames: Vec<Unit>) -> Table {
    const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
    const DEFAULT_FLAGS: u32 = 0x20;
    // Offset of the data; duration and size of each sample.
    const COMMON: u32 = 0x01 | 0x100 | 0x200;
    const FLAGS_AND_COMPOSITION: u32 = 0x400 | 0x800;

    let video = codec.kind() == Kind::Video;
    w.full(b"tfhd", 0, DEFAULT_BASE_IS_MOOF | DEFAULT_FLAGS, |w| {
        w.u32(number(track.track));
        w.u32(if video { NOT_SYNC } else { SYNC });
    });
    let mut decode = frames[0].dts.0.max(0);
    w.full(b"tfdt", 1, 0, |w| w.u64(decode as u64));
    let (mut offset, mut sizes) = (0, 0);
    w.full(b"trun", 1, if video { COMMON | FLAGS_AND_COMPOSITION } else { COMMON }, |w| {
        w.u32(frames.len() as u32);
        offset = w.bytes.len();
        w.u32(0);
        sizes = w.bytes.len() + 4;
        for (index, frame) in frames.iter().enumerate() {
            let next = frames.get(index + 1).map_or(track.next, |next| next.dts);
            let duration = u32::try_from(next.0 - decode).unwrap_or(0);
            w.u32(duration);
            w.u32(0);
            if video {
                w.u32(if frame.key { SYNC } else { NOT_SYNC });
                let shown = frame.pts.0 - decode;
                w.u32(i32::try_from(shown).unwrap_or(0) as u32);
            }
            decode += i64::from(duration);
        }
    });
    Table { codec, frames, offset, sizes, stride: if video { 16 } else { 8 } }
}
