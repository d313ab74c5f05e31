//! MPEG-2 video (ISO/IEC 13818-2) and its predecessor.

use bytes::Bytes;

use super::{Parameters, Video, annexb, bits::Bits, frame_duration};
use crate::Codec;

/// Start codes (6.2.1).
mod code {
    pub(super) const PICTURE: u8 = 0x00;
    pub(super) const SEQUENCE_HEADER: u8 = 0xb3;
    pub(super) const EXTENSION: u8 = 0xb5;
}

/// By their codes 1 to 8: numerator and denominator of the frame rate (table 6-4).
const FRAME_RATES: [(u64, u64); 8] =
    [(24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1), (50, 1), (60_000, 1001), (60, 1)];

/// A sequence header and an I picture.
pub(super) fn is_key(unit: &[u8]) -> bool {
    const INTRA: u8 = 1;
    let mut header = false;
    for section in annexb::tails(unit) {
        match section.first() {
            Some(&code::SEQUENCE_HEADER) => header = true,
            Some(&code::PICTURE) => {
                return header && section.get(2).is_some_and(|&byte| byte >> 3 & 7 == INTRA);
            }
            _ => {}
        }
    }
    false
}

pub(super) fn parameters(unit: &[u8]) -> Option<Parameters> {
    let mut sections = annexb::sections(unit);
    let header = sections.find(|section| section.first() == Some(&code::SEQUENCE_HEADER))?;
    let mut bits = Bits::new(&header[1..]);
    let (mut width, mut height) = (bits.bits(12)?, bits.bits(12)?);
    bits.skip(4)?;
    let rate = bits.bits(4)? as usize;
    let (mut numerator, mut denominator) = *FRAME_RATES.get(rate.checked_sub(1)?)?;
    if let Some(extension) = sections.next().filter(|section| section.first() == Some(&code::EXTENSION)) {
        const SEQUENCE_EXTENSION: u32 = 1;
        let mut bits = Bits::new(&extension[1..]);
        if bits.bits(4)? == SEQUENCE_EXTENSION {
            bits.skip(8 + 1 + 2)?;
            width |= bits.bits(2)? << 12;
            height |= bits.bits(2)? << 12;
            bits.skip(12 + 1 + 8 + 1)?;
            numerator *= u64::from(bits.bits(2)?) + 1;
            denominator *= u64::from(bits.bits(5)?) + 1;
        }
    }
    if width == 0 || height == 0 {
        return None;
    }
    Some(Parameters::Video(Video {
        codec: Codec::Mpeg2Video,
        width,
        height,
        rfc6381: String::from("mp4v.61"),
        record: Bytes::new(),
        frame: frame_duration(denominator, numerator),
    }))
}
