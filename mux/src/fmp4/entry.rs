//! Sample entries: what `stsd` says of a track.

use bytes::BufMut;

use super::boxes::Writer;
use crate::{
    Codec,
    codec::{Audio, Parameters, Video},
};

/// Whether fragmented MP4 is written for a codec here.
#[must_use]
pub const fn carries(codec: Codec) -> bool {
    match codec {
        Codec::H264 | Codec::Hevc | Codec::Av1 | Codec::Aac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => true,
        Codec::Mpeg2Video | Codec::Other(_) => false,
    }
}

pub(super) fn codec(parameters: &Parameters) -> Codec {
    match parameters {
        Parameters::Video(video) => video.codec,
        Parameters::Audio(audio) => audio.codec,
    }
}

pub(super) fn sample_entry(w: &mut Writer, parameters: &Parameters) {
    match parameters {
        Parameters::Video(video) => visual(w, video),
        Parameters::Audio(audio) => sound(w, audio),
    }
}

/// VisualSampleEntry (ISO/IEC 14496-12, 12.1.3) with the decoder's record.
fn visual(w: &mut Writer, video: &Video) {
    let (kind, record) = match video.codec {
        Codec::Hevc => (b"hvc1", b"hvcC"),
        Codec::Av1 => (b"av01", b"av1C"),
        _ => (b"avc1", b"avcC"),
    };
    w.boxed(kind, |w| {
        w.zeros(6);
        w.u16(1); // data reference
        w.zeros(16);
        w.u16(video.width as u16);
        w.u16(video.height as u16);
        w.u32(0x0048_0000); // 72 dpi
        w.u32(0x0048_0000);
        w.u32(0);
        w.u16(1); // frames per sample
        w.zeros(32); // compressor's name
        w.u16(0x18); // colour, no alpha
        w.u16(0xffff);
        w.boxed(record, |w| w.put(&video.record));
    });
}

/// AudioSampleEntry (ISO/IEC 14496-12, 12.2.3).
fn sound(w: &mut Writer, audio: &Audio) {
    let kind = match audio.codec {
        Codec::Ac3 => b"ac-3",
        Codec::Eac3 => b"ec-3",
        _ => b"mp4a",
    };
    w.boxed(kind, |w| {
        w.zeros(6);
        w.u16(1); // data reference
        w.zeros(8);
        w.u16(u16::from(audio.channels));
        w.u16(16); // bits of a sample
        w.u32(0);
        // 16.16; what does not fit is 0, the decoder's record says it.
        w.u32(u16::try_from(audio.sample_rate).map_or(0, |rate| u32::from(rate) << 16));
        match audio.codec {
            Codec::Ac3 => w.boxed(b"dac3", |w| w.put(&audio.record)),
            Codec::Eac3 => w.boxed(b"dec3", |w| w.put(&audio.record)),
            _ => w.full(b"esds", 0, 0, |w| elementary_stream(w, audio)),
        }
    });
}

/// ES_Descriptor (ISO/IEC 14496-1, 7.2.6.5).
fn elementary_stream(w: &mut Writer, audio: &Audio) {
    const AAC: u8 = 0x40;
    const MPEG1_AUDIO: u8 = 0x6b;
    let mut decoder = Vec::with_capacity(32);
    decoder.push(if audio.codec == Codec::Mp3 { MPEG1_AUDIO } else { AAC });
    decoder.push(0x15); // an audio stream
    decoder.extend([0; 3 + 4 + 4]); // buffer size, bit rates: unknown
    if !audio.record.is_empty() {
        descriptor(&mut decoder, 0x05, &audio.record);
    }
    let mut stream = vec![0, 0, 0]; // its number, no flags
    descriptor(&mut stream, 0x04, &decoder);
    descriptor(&mut stream, 0x06, &[0x02]); // as MP4 has it
    descriptor(&mut w.bytes, 0x03, &stream);
}

/// A tag, a length, and what it holds.
fn descriptor(out: &mut impl BufMut, tag: u8, body: &[u8]) {
    out.put_u8(tag);
    // As four bytes: longer than needed, and what every reader expects.
    let length = body.len() as u32;
    out.put_slice(&[
        0x80 | (length >> 21) as u8,
        0x80 | (length >> 14) as u8,
        0x80 | (length >> 7) as u8,
        (length & 0x7f) as u8,
    ]);
    out.put_slice(body);
}
