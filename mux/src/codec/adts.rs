//! AAC with ADTS headers (ISO/IEC 14496-3, 1.A.2), as MPEG-TS has it, and without, as MP4 has it.

use bytes::Bytes;

use super::{Audio, bits::Bits, framing::Frame};
use crate::Codec;

/// Samples per second by their index (table 1.18).
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Samples of a raw data block.
const BLOCK_SAMPLES: u32 = 1024;

/// Bytes of a header without a checksum.
pub const HEADER: usize = 7;

/// What stands before each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 2 is AAC-LC.
    pub object_type: u8,
    pub rate_index: u8,
    /// Channel configuration; 0: it is described within the frame.
    pub channels: u8,
    /// Bytes of the header: 7, or 9 with a checksum.
    pub length: usize,
    /// Bytes of the frame with its header.
    pub frame_length: usize,
    /// Raw data blocks in it, nearly always 1.
    pub blocks: u8,
}

impl Header {
    /// `None`: there is no header at the beginning of this.
    #[must_use]
    pub fn read(data: &[u8]) -> Option<Self> {
        let [0xff, b1, b2, b3, b4, b5, b6, ..] = *data else { return None };
        // Sync word and the layer, which is always 0.
        if b1 & 0xf6 != 0xf0 {
            return None;
        }
        let length = if b1 & 1 == 1 { HEADER } else { 9 };
        let frame_length = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
        let rate_index = b2 >> 2 & 15;
        (frame_length >= length && usize::from(rate_index) < SAMPLE_RATES.len()).then_some(Self {
            object_type: (b2 >> 6) + 1,
            rate_index,
            channels: (b2 & 1) << 2 | b3 >> 6,
            length,
            frame_length,
            blocks: (b6 & 3) + 1,
        })
    }

    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        SAMPLE_RATES.get(usize::from(self.rate_index)).copied().unwrap_or(48_000)
    }

    /// AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
    #[must_use]
    pub const fn specific_config(&self) -> [u8; 2] {
        [self.object_type << 3 | self.rate_index >> 1, self.rate_index << 7 | self.channels << 3]
    }
}

/// The frame without its header, if it has one.
#[must_use]
pub fn strip(frame: &Bytes) -> Bytes {
    let length = Header::read(frame).map_or(0, |header| header.length.min(frame.len()));
    frame.slice(length..)
}

/// The header for a raw frame of `length` bytes by an AudioSpecificConfig. `None`: ADTS cannot say that.
#[must_use]
pub fn make(specific_config: &[u8], length: usize) -> Option<[u8; HEADER]> {
    const SBR: u8 = 5;
    const PARAMETRIC_STEREO: u8 = 29;
    let mut bits = Bits::new(specific_config);
    let mut object_type = bits.byte(5)?;
    let rate_index = bits.byte(4).filter(|&index| usize::from(index) < SAMPLE_RATES.len())?;
    let channels = bits.byte(4).filter(|&channels| channels < 8)?;
    if object_type == SBR || object_type == PARAMETRIC_STEREO {
        // ADTS tells of what is below; decoders find the rest in the frames.
        let extended_rate = bits.bits(4)?;
        bits.skip(if extended_rate == 15 { 24 } else { 0 })?;
        object_type = bits.byte(5)?;
    }
    let profile = object_type.checked_sub(1).filter(|&profile| profile < 4)?;
    let length = u32::try_from(length + HEADER).ok().filter(|&length| length < 1 << 13)?;
    let fullness = 0x7ff_u32;
    Some([
        0xff,
        0xf1,
        profile << 6 | rate_index << 2 | channels >> 2,
        channels << 6 | (length >> 11) as u8,
        (length >> 3) as u8,
        ((length & 7) << 5) as u8 | (fullness >> 6) as u8,
        ((fullness & 0x3f) << 2) as u8,
    ])
}

pub(super) fn frame(data: &[u8]) -> Option<Frame> {
    let header = Header::read(data)?;
    Some(Frame {
        length: header.frame_length,
        samples: BLOCK_SAMPLES * u32::from(header.blocks),
        sample_rate: header.sample_rate(),
        continues: false,
    })
}

pub(super) fn parameters(data: &[u8]) -> Option<Audio> {
    let header = Header::read(data)?;
    let channels = match header.channels {
        0 => return None,
        7 => 8,
        channels => channels,
    };
    Some(Audio {
        codec: Codec::Aac,
        sample_rate: header.sample_rate(),
        channels,
        frame_samples: BLOCK_SAMPLES,
        rfc6381: format!("mp4a.40.{}", header.object_type),
        record: Bytes::copy_from_slice(&header.specific_config()),
    })
}
