//! HEVC (ITU-T H.265). Numbers of clauses are of that.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::{BufMut, BytesMut};

use super::{
    Parameters, Video, annexb,
    bits::{Bits, unescape},
    frame_duration,
    h264::{put_set, skip_picture_format},
};
use crate::{Codec, Ticks};

/// Kinds of NAL units (table 7-1).
mod kind {
    use std::ops::RangeInclusive;

    /// Any coded picture.
    pub(super) const SLICES: RangeInclusive<u8> = 0..=31;
    /// BLA, IDR and CRA pictures.
    pub(super) const RANDOM_ACCESS: RangeInclusive<u8> = 16..=23;
    pub(super) const VPS: u8 = 32;
    pub(super) const SPS: u8 = 33;
    pub(super) const PPS: u8 = 34;
    pub(super) const DELIMITER: u8 = 35;
}

/// An access unit delimiter before any kind of picture.
pub(crate) const DELIMITER: [u8; 7] = [0, 0, 0, 1, kind::DELIMITER << 1, 1, 0x50];

/// Bytes of a NAL unit's header.
const HEADER: usize = 2;

fn kind_of(nal: &[u8]) -> u8 {
    // Of a unit without a header: reserved, without meaning.
    if nal.len() < HEADER { 63 } else { nal[0] >> 1 & 0x3f }
}

pub(super) fn is_delimiter(nal: &[u8]) -> bool {
    kind_of(nal) == kind::DELIMITER
}

pub(super) fn is_parameter_set(nal: &[u8]) -> bool {
    matches!(kind_of(nal), kind::VPS..=kind::PPS)
}

pub(super) fn is_key(unit: &[u8]) -> bool {
    annexb::nal_tails(unit)
        .map(kind_of)
        .find(|kind| kind::SLICES.contains(kind))
        .is_some_and(|kind| kind::RANDOM_ACCESS.contains(&kind))
}

pub(super) fn parameters(unit: &[u8]) -> Option<Parameters> {
    // Of a set that comes twice the last counts; by their numbers, so that equal sets make equal records.
    let (mut vps, mut sps, mut pps) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut read = BTreeMap::new();
    for nal in annexb::nals(unit) {
        match kind_of(nal) {
            kind::VPS => {
                if let Some(&id) = nal.get(HEADER) {
                    vps.insert(u32::from(id >> 4), nal);
                }
            }
            kind::SPS => {
                if let Some(set) = Sps::read(nal) {
                    sps.insert(set.id, nal);
                    read.insert(set.id, set);
                }
            }
            kind::PPS => {
                if let Some(id) = Bits::new(&unescape(&nal[HEADER..])).ue() {
                    pps.insert(id, nal);
                }
            }
            kind if kind::SLICES.contains(&kind) => break,
            _ => {}
        }
    }
    let (_, active) = read.pop_first()?;
    if vps.is_empty() || pps.is_empty() {
        return None;
    }
    let mut record = BytesMut::new();
    record.put_u8(1);
    record.put_slice(&active.profile_tier_level);
    // No statement about spatial segmentation, parallelism and frame rate.
    record.put_u16(0xf000);
    record.put_u8(0xfc);
    record.put_slice(&[0xfc | active.chroma_format, 0xf8 | active.luma_depth, 0xf8 | active.chroma_depth]);
    record.put_u16(0);
    record.put_u8(active.temporal_layers << 3 | u8::from(active.temporally_nested) << 2 | 3);
    record.put_u8(3);
    for (kind, sets) in [(kind::VPS, &vps), (kind::SPS, &sps), (kind::PPS, &pps)] {
        const COMPLETE: u8 = 0x80;
        record.put_u8(COMPLETE | kind);
        record.put_u16(u16::try_from(sets.len()).ok()?);
        sets.values().try_for_each(|nal| put_set(nal, &mut record))?;
    }
    Some(Parameters::Video(Video {
        codec: Codec::Hevc,
        width: active.width,
        height: active.height,
        rfc6381: rfc6381(&active.profile_tier_level),
        record: record.freeze(),
        frame: active.frame,
    }))
}

/// ISO/IEC 14496-15, annex E.3.
fn rfc6381(profile_tier_level: &[u8; 12]) -> String {
    let [first, c0, c1, c2, c3, constraints @ .., level] = *profile_tier_level;
    let mut text = String::from("hvc1.");
    if let Some(space) = [None, Some('A'), Some('B'), Some('C')][usize::from(first >> 6)] {
        text.push(space);
    }
    let compatibility = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
    let tier = if first & 0x20 == 0 { 'L' } else { 'H' };
    let _ = write!(text, "{}.{compatibility:X}.{tier}{level}", first & 0x1f);
    let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        let _ = write!(text, ".{byte:X}");
    }
    text
}

struct Sps {
    id: u32,
    temporal_layers: u8,
    temporally_nested: bool,
    /// The general part, as it is.
    profile_tier_level: [u8; 12],
    chroma_format: u8,
    /// Above 8.
    luma_depth: u8,
    chroma_depth: u8,
    width: u32,
    height: u32,
    frame: Option<Ticks>,
}

impl Sps {
    /// 7.3.2.2.1.
    fn read(nal: &[u8]) -> Option<Self> {
        let raw = unescape(nal.get(HEADER..)?);
        let mut bits = Bits::new(&raw);
        bits.skip(4)?;
        let sub_layers = bits.byte(3).filter(|&layers| layers < 7)?;
        let temporally_nested = bits.flag()?;
        let profile_tier_level = *raw.get(1..)?.first_chunk()?;
        bits.skip(12 * 8)?;
        skip_sub_layers(&mut bits, sub_layers)?;
        let id = bits.ue().filter(|&id| id < 16)?;
        let chroma_format = bits.ue().filter(|&format| format <= 3)?;
        let separate_planes = chroma_format == 3 && bits.flag()?;
        let (width, height) = (bits.ue()?, bits.ue()?);
        let (unit_x, unit_y) = match chroma_format {
            _ if separate_planes => (1, 1),
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let (mut cut_x, mut cut_y) = (0, 0);
        if bits.flag()? {
            cut_x = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
            cut_y = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?;
        }
        let luma_depth = bits.ue().filter(|&depth| depth <= 7)?;
        let chroma_depth = bits.ue().filter(|&depth| depth <= 7)?;
        Some(Self {
            id,
            temporal_layers: sub_layers + 1,
            temporally_nested,
            profile_tier_level,
            chroma_format: chroma_format as u8,
            luma_depth: luma_depth as u8,
            chroma_depth: chroma_depth as u8,
            width: width.checked_sub(cut_x).filter(|&width| width > 0)?,
            height: height.checked_sub(cut_y).filter(|&height| height > 0)?,
            frame: frame(&mut bits, sub_layers),
        })
    }
}

/// 7.3.3, behind the general part.
fn skip_sub_layers(bits: &mut Bits<'_>, sub_layers: u8) -> Option<()> {
    let mut skipped = 0;
    for _ in 0..sub_layers {
        skipped += if bits.flag()? { 88 } else { 0 };
        skipped += if bits.flag()? { 8 } else { 0 };
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - usize::from(sub_layers)))?;
    }
    bits.skip(skipped)
}

/// From the bit depths on to the clock of the VUI.
fn frame(bits: &mut Bits<'_>, sub_layers: u8) -> Option<Ticks> {
    let order_bits = bits.ue().filter(|&count| count <= 12)? as usize + 4;
    let ordered_layers = if bits.flag()? { usize::from(sub_layers) + 1 } else { 1 };
    bits.skip_ue(3 * ordered_layers)?;
    bits.skip_ue(6)?;
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.flag()? {
        bits.skip(8)?;
        bits.skip_ue(2)?;
        bits.skip(1)?;
    }
    skip_short_term_sets(bits)?;
    if bits.flag()? {
        let count = bits.ue().filter(|&count| count <= 32)? as usize;
        bits.skip(count * (order_bits + 1))?;
    }
    bits.skip(2)?;
    if !bits.flag()? {
        return None;
    }
    skip_picture_format(bits)?;
    bits.skip(3)?;
    if bits.flag()? {
        bits.skip_ue(4)?;
    }
    if !bits.flag()? {
        return None;
    }
    let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
    frame_duration(u64::from(units), u64::from(scale))
}

/// 7.3.4.
fn skip_scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.skip_ue(1)?;
                continue;
            }
            if size > 1 {
                bits.skip_ue(1)?;
            }
            bits.skip_ue(if size == 0 { 16 } else { 64 })?;
        }
    }
    Some(())
}

/// 7.3.7, for all sets of an SPS.
fn skip_short_term_sets(bits: &mut Bits<'_>) -> Option<()> {
    const MOST_PICTURES: u32 = 16;
    let sets = bits.ue().filter(|&sets| sets <= 64)?;
    let mut pictures = 0;
    for set in 0..sets {
        if set > 0 && bits.flag()? {
            bits.skip(1)?;
            bits.skip_ue(1)?;
            let mut used = 0;
            for _ in 0..=pictures {
                if bits.flag()? || bits.flag()? {
                    used += 1;
                }
            }
            pictures = used;
        } else {
            let (before, after) = (bits.ue()?, bits.ue()?);
            if before > MOST_PICTURES || after > MOST_PICTURES {
                return None;
            }
            pictures = before + after;
            for _ in 0..pictures {
                bits.skip_ue(1)?;
                bits.skip(1)?;
            }
        }
    }
    Some(())
}
