//! AV1 (AV1 Bitstream & Decoding Process Specification, AV1 Codec ISO Media File Format Binding).

use bytes::{BufMut, BytesMut};

use super::{Parameters, Video, bits::Bits, frame_duration};
use crate::{Codec, Ticks};

/// Kinds of OBUs (6.2.2).
mod kind {
    pub(super) const SEQUENCE_HEADER: u8 = 1;
    pub(super) const FRAME_HEADER: u8 = 3;
    pub(super) const FRAME: u8 = 6;
}

struct Obu<'a> {
    kind: u8,
    payload: &'a [u8],
    /// With its header.
    whole: &'a [u8],
}

/// The OBUs of a temporal unit, each of which has its size in it; the last may have none.
fn obus(mut rest: &[u8]) -> impl Iterator<Item = Obu<'_>> {
    std::iter::from_fn(move || {
        const EXTENDED: u8 = 4;
        const SIZED: u8 = 2;
        let header = *rest.first()?;
        let mut start = if header & EXTENDED == 0 { 1 } else { 2 };
        let mut end = rest.len();
        if header & SIZED != 0 {
            let (size, length) = leb128(rest.get(start..)?)?;
            start += length;
            end = start.checked_add(size)?;
        }
        let (whole, next) = rest.split_at_checked(end)?;
        rest = next;
        Some(Obu { kind: header >> 3 & 15, payload: whole.get(start..)?, whole })
    })
}

/// The number, and how many bytes it took (4.10.5).
fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, &byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

/// A sequence header and a key frame.
pub(super) fn is_key(unit: &[u8]) -> bool {
    let mut header = false;
    for obu in obus(unit) {
        match obu.kind {
            kind::SEQUENCE_HEADER => header = true,
            kind::FRAME | kind::FRAME_HEADER => {
                // No frame that exists already, and of the type KEY_FRAME (5.9.2).
                return header && obu.payload.first().is_some_and(|first| first & 0xe0 == 0);
            }
            _ => {}
        }
    }
    false
}

pub(super) fn parameters(unit: &[u8]) -> Option<Parameters> {
    let obu = obus(unit).find(|obu| obu.kind == kind::SEQUENCE_HEADER)?;
    let sequence = Sequence::read(obu.payload)?;
    let mut record = BytesMut::new();
    record.put_u8(0x81);
    record.put_u8(sequence.profile << 5 | sequence.level);
    let color = &sequence.color;
    record.put_u8(
        u8::from(sequence.high_tier) << 7
            | u8::from(color.depth > 8) << 6
            | u8::from(color.depth > 10) << 5
            | u8::from(color.monochrome) << 4
            | u8::from(color.halved_x) << 3
            | u8::from(color.halved_y) << 2
            | color.sample_position,
    );
    record.put_u8(0);
    record.put_slice(obu.whole);
    let tier = if sequence.high_tier { 'H' } else { 'M' };
    Some(Parameters::Video(Video {
        codec: Codec::Av1,
        width: sequence.width,
        height: sequence.height,
        rfc6381: format!("av01.{}.{:02}{tier}.{:02}", sequence.profile, sequence.level, color.depth),
        record: record.freeze(),
        frame: sequence.frame,
    }))
}

struct Sequence {
    profile: u8,
    level: u8,
    high_tier: bool,
    width: u32,
    height: u32,
    frame: Option<Ticks>,
    color: Color,
}

impl Sequence {
    /// 5.5.1.
    fn read(payload: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(payload);
        let profile = bits.byte(3).filter(|&profile| profile <= 2)?;
        bits.skip(1)?;
        let reduced = bits.flag()?;
        let (mut level, mut high_tier, mut frame) = (0, false, None);
        if reduced {
            level = bits.byte(5)?;
        } else {
            let mut delay_bits = None;
            if bits.flag()? {
                frame = timing(&mut bits)?;
                if bits.flag()? {
                    delay_bits = Some(bits.bits(5)? as usize + 1);
                    bits.skip(32 + 5 + 5)?;
                }
            }
            let display_delays = bits.flag()?;
            for point in 0..=bits.bits(5)? {
                bits.skip(12)?;
                let of_point = bits.byte(5)?;
                let high = of_point > 7 && bits.flag()?;
                if point == 0 {
                    (level, high_tier) = (of_point, high);
                }
                if let Some(count) = delay_bits
                    && bits.flag()?
                {
                    bits.skip(2 * count + 1)?;
                }
                if display_delays && bits.flag()? {
                    bits.skip(4)?;
                }
            }
        }
        let (width_bits, height_bits) = (bits.bits(4)? as usize + 1, bits.bits(4)? as usize + 1);
        let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
        skip_tools(&mut bits, reduced)?;
        let color = Color::read(&mut bits, profile)?;
        Some(Self { profile, level, high_tier, width, height, frame, color })
    }
}

/// 5.5.3. The outer `None`: no more data.
fn timing(bits: &mut Bits<'_>) -> Option<Option<Ticks>> {
    let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
    if !bits.flag()? {
        return Some(None);
    }
    let ticks = u64::from(bits.ue()?) + 1;
    Some(u64::from(units).checked_mul(ticks).and_then(|units| frame_duration(units, u64::from(scale))))
}

/// Behind the frame size, up to the colors.
fn skip_tools(bits: &mut Bits<'_>, reduced: bool) -> Option<()> {
    if !reduced && bits.flag()? {
        bits.skip(7)?;
    }
    bits.skip(3)?;
    if !reduced {
        bits.skip(4)?;
        let order_hint = bits.flag()?;
        if order_hint {
            bits.skip(2)?;
        }
        let chosen_screen_content = bits.flag()?;
        if (chosen_screen_content || bits.flag()?) && !bits.flag()? {
            bits.skip(1)?;
        }
        if order_hint {
            bits.skip(3)?;
        }
    }
    bits.skip(3)
}

struct Color {
    depth: u8,
    monochrome: bool,
    halved_x: bool,
    halved_y: bool,
    sample_position: u8,
}

impl Color {
    /// 5.5.2.
    fn read(bits: &mut Bits<'_>, profile: u8) -> Option<Self> {
        /// BT.709 primaries, sRGB transfer, identity matrix: RGB, never subsampled.
        const RGB: u32 = 1 << 16 | 13 << 8;
        let high_depth = bits.flag()?;
        let depth = match (profile, high_depth) {
            (_, false) => 8,
            (2, true) if bits.flag()? => 12,
            (_, true) => 10,
        };
        let monochrome = profile != 1 && bits.flag()?;
        let description = if bits.flag()? { Some(bits.bits(24)?) } else { None };
        if monochrome {
            return Some(Self { depth, monochrome, halved_x: true, halved_y: true, sample_position: 0 });
        }
        if description == Some(RGB) {
            return Some(Self { depth, monochrome, halved_x: false, halved_y: false, sample_position: 0 });
        }
        bits.skip(1)?;
        let (halved_x, halved_y) = match profile {
            0 => (true, true),
            1 => (false, false),
            _ if depth == 12 => {
                let halved_x = bits.flag()?;
                (halved_x, halved_x && bits.flag()?)
            }
            _ => (true, false),
        };
        let sample_position = if halved_x && halved_y { bits.byte(2)? } else { 0 };
        Some(Self { depth, monochrome, halved_x, halved_y, sample_position })
    }
}
