//! Where audio frames begin and end.

use bytes::Bytes;

use super::{ac3, adts, mpa};
use crate::{Codec, Ticks, Unit};

/// What the header of an audio frame says.
pub(super) struct Frame {
    /// Bytes with the header.
    pub(super) length: usize,
    pub(super) samples: u32,
    pub(super) sample_rate: u32,
    /// It belongs to the frame before it.
    pub(super) continues: bool,
}

impl Frame {
    fn read(codec: Codec, data: &[u8]) -> Option<Self> {
        match codec {
            Codec::Aac => adts::frame(data),
            Codec::Mp3 => mpa::frame(data),
            Codec::Ac3 | Codec::Eac3 => ac3::frame(data),
            Codec::H264 | Codec::Hevc | Codec::Av1 | Codec::Mpeg2Video | Codec::Other(_) => None,
        }
        .filter(|frame| frame.length > 0 && frame.sample_rate > 0)
    }

    /// Whether frames follow each other from here: to the end of the data, or at least two of them.
    fn follows(codec: Codec, data: &[u8]) -> bool {
        let Some(first) = Self::read(codec, data) else { return false };
        match data.get(first.length..) {
            None => false,
            Some([]) => true,
            Some(rest) => Self::read(codec, rest).is_some(),
        }
    }
}

/// The audio frames of a unit, each with its own timestamp: that of the unit belongs to the first frame that begins in it,
/// the others follow by the number of samples. Bytes before the first frame and a frame that is cut off at the end are
/// dropped. Video, and audio that cannot be taken apart, comes back as it is.
#[must_use]
pub fn frames(codec: Codec, unit: Unit) -> Vec<Unit> {
    let data = &unit.data;
    let Some(mut at) = (0..data.len()).find(|&at| Frame::follows(codec, &data[at..])) else {
        return vec![unit];
    };
    let mut frames: Vec<Unit> = Vec::new();
    let mut begins = at;
    let mut samples = 0;
    while let Some(frame) = Frame::read(codec, &data[at..]) {
        let Some(bytes) = data.get(at..at + frame.length) else { break };
        match frames.last_mut().filter(|_| frame.continues) {
            Some(last) => last.data = data.slice(begins..at + bytes.len()),
            None => {
                begins = at;
                let later = Ticks::from_samples(samples, frame.sample_rate);
                let data = slice(data, at, frame.length);
                frames.push(Unit { pts: unit.pts + later, dts: unit.dts + later, data, ..unit });
                samples += i64::from(frame.samples);
            }
        }
        at += frame.length;
    }
    frames
}

fn slice(data: &Bytes, at: usize, length: usize) -> Bytes {
    data.slice(at..at + length)
}
