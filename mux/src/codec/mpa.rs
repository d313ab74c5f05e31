//! MPEG audio, layers I to III (ISO/IEC 11172-3, 13818-3, and the unofficial half rates of 2.5).

use bytes::Bytes;

use super::{Audio, framing::Frame};
use crate::Codec;

/// kbit/s by index 1 to 14: MPEG-1 layers I, II, III, then MPEG-2 layer I, and layers II and III.
const BITRATES: [[u32; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

struct Header {
    layer: u8,
    sample_rate: u32,
    samples: u32,
    channels: u8,
    length: usize,
}

impl Header {
    fn read(data: &[u8]) -> Option<Self> {
        let [0xff, b1, b2, b3, ..] = *data else { return None };
        if b1 & 0xe0 != 0xe0 {
            return None;
        }
        let (mpeg1, halved) = match b1 >> 3 & 3 {
            3 => (true, 0),
            2 => (false, 1),
            0 => (false, 2),
            _ => return None,
        };
        let layer = 4 - (b1 >> 1 & 3);
        let table = match (mpeg1, layer) {
            (_, 4) => return None,
            (true, layer) => usize::from(layer) - 1,
            (false, 1) => 3,
            (false, _) => 4,
        };
        let bitrate = *BITRATES[table].get(usize::from(b2 >> 4).checked_sub(1)?)? * 1000;
        let sample_rate = *[44_100_u32, 48_000, 32_000].get(usize::from(b2 >> 2 & 3))? >> halved;
        let samples = match (layer, mpeg1) {
            (1, _) => 384,
            (3, false) => 576,
            _ => 1152,
        };
        let padding = u32::from(b2 >> 1 & 1);
        let length = match layer {
            1 => (12 * bitrate / sample_rate + padding) * 4,
            _ => samples / 8 * bitrate / sample_rate + padding,
        };
        let channels = if b3 >> 6 == 3 { 1 } else { 2 };
        Some(Self { layer, sample_rate, samples, channels, length: length as usize })
    }
}

pub(super) fn frame(data: &[u8]) -> Option<Frame> {
    let Header { sample_rate, samples, length, .. } = Header::read(data)?;
    Some(Frame { length, samples, sample_rate, continues: false })
}

pub(super) fn parameters(data: &[u8]) -> Option<Audio> {
    let header = Header::read(data)?;
    Some(Audio {
        codec: Codec::Mp3,
        sample_rate: header.sample_rate,
        channels: header.channels,
        frame_samples: header.samples,
        // Audio object types 32 to 34 are the three layers.
        rfc6381: format!("mp4a.40.{}", 31 + header.layer),
        record: Bytes::new(),
    })
}
