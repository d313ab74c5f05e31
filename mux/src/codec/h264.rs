//! H.264 (ITU-T H.264). Numbers of clauses are of that.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::{
    Parameters, Video, annexb,
    bits::{Bits, unescape},
    frame_duration,
};
use crate::Codec;

/// Kinds of NAL units (table 7-1).
mod kind {
    pub(super) const SLICE: u8 = 1;
    pub(super) const SLICE_IDR: u8 = 5;
    pub(super) const SEI: u8 = 6;
    pub(super) const SPS: u8 = 7;
    pub(super) const PPS: u8 = 8;
    pub(super) const DELIMITER: u8 = 9;
}

/// An access unit delimiter before any kind of picture.
pub(crate) const DELIMITER: [u8; 6] = [0, 0, 0, 1, kind::DELIMITER, 0xf0];

const fn kind_of(nal: &[u8]) -> u8 {
    if nal.is_empty() { 0 } else { nal[0] & 0x1f }
}

pub(super) fn is_delimiter(nal: &[u8]) -> bool {
    kind_of(nal) == kind::DELIMITER
}

pub(super) fn is_parameter_set(nal: &[u8]) -> bool {
    matches!(kind_of(nal), kind::SPS | kind::PPS)
}

/// An IDR picture, or one that a recovery point says is as good: streams with open GOPs have nothing else.
pub(super) fn is_key(unit: &[u8]) -> bool {
    let mut recovery = false;
    for nal in annexb::nal_tails(unit) {
        match kind_of(nal) {
            kind::SLICE_IDR => return true,
            kind::SLICE..kind::SLICE_IDR => return recovery,
            kind::SEI => recovery |= recovers_at_once(&annexb::section(nal)[1..]),
            _ => {}
        }
    }
    false
}

/// Whether an SEI message says that decoding may begin at this very picture (D.2.8).
fn recovers_at_once(sei: &[u8]) -> bool {
    const RECOVERY_POINT: usize = 6;
    let raw = unescape(sei);
    let mut rest = &raw[..];
    while rest.len() > 2 {
        let (Some(message), Some(size)) = (sei_number(&mut rest), sei_number(&mut rest)) else {
            return false;
        };
        let Some((payload, next)) = rest.split_at_checked(size) else { return false };
        if message == RECOVERY_POINT {
            return Bits::new(payload).ue() == Some(0);
        }
        rest = next;
    }
    false
}

/// 7.3.2.3.1: 255 for every byte that is not the last.
fn sei_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    loop {
        let (&byte, next) = rest.split_first()?;
        *rest = next;
        number += usize::from(byte);
        if byte != 255 {
            return Some(number);
        }
    }
}

pub(super) fn parameters(unit: &[u8]) -> Option<Parameters> {
    // Of a set that comes twice the last counts; by their numbers, so that equal sets make equal records.
    let (mut sps, mut pps) = (BTreeMap::new(), BTreeMap::new());
    for nal in annexb::nals(unit) {
        match kind_of(nal) {
            kind::SPS => {
                if let Some(read) = Sps::read(nal) {
                    sps.insert(read.id, (nal, read));
                }
            }
            kind::PPS => {
                if let Some(id) = Bits::new(&unescape(&nal[1..])).ue() {
                    pps.insert(id, nal);
                }
            }
            kind::SLICE..=kind::SLICE_IDR => break,
            _ => {}
        }
    }
    let (first, active) = sps.values().next()?;
    if pps.is_empty() {
        return None;
    }
    let [_, profile, compatibility, level, ..] = **first else { return None };
    let mut record = BytesMut::new();
    record.put_slice(&[1, profile, compatibility, level, 0xff]);
    record.put_u8(0xe0 | u8::try_from(sps.len()).ok().filter(|&count| count < 32)?);
    sps.values().try_for_each(|(nal, _)| put_set(nal, &mut record))?;
    record.put_u8(u8::try_from(pps.len()).ok()?);
    pps.values().try_for_each(|nal| put_set(nal, &mut record))?;
    if !matches!(profile, 66 | 77 | 88) {
        record.put_slice(&[
            0xfc | active.chroma_format,
            0xf8 | active.luma_depth,
            0xf8 | active.chroma_depth,
            0,
        ]);
    }
    Some(Parameters::Video(Video {
        codec: Codec::H264,
        width: active.width,
        height: active.height,
        rfc6381: format!("avc1.{profile:02x}{compatibility:02x}{level:02x}"),
        record: record.freeze(),
        frame: active.frame,
    }))
}

/// A parameter set with its length, as the records of MP4 have it.
pub(super) fn put_set(nal: &[u8], record: &mut BytesMut) -> Option<()> {
    record.put_u16(u16::try_from(nal.len()).ok()?);
    record.put_slice(nal);
    Some(())
}

struct Sps {
    id: u32,
    chroma_format: u8,
    /// Above 8.
    luma_depth: u8,
    chroma_depth: u8,
    width: u32,
    height: u32,
    frame: Option<crate::Ticks>,
}

impl Sps {
    /// 7.3.2.1.1.
    fn read(nal: &[u8]) -> Option<Self> {
        let raw = unescape(nal.get(1..)?);
        let mut bits = Bits::new(&raw);
        let profile = bits.bits(8)?;
        bits.skip(16)?;
        let id = bits.ue().filter(|&id| id < 32)?;
        let (mut chroma_format, mut separate_planes, mut luma_depth, mut chroma_depth) = (1, false, 0, 0);
        if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            chroma_format = bits.ue().filter(|&format| format <= 3)?;
            if chroma_format == 3 {
                separate_planes = bits.flag()?;
            }
            luma_depth = bits.ue().filter(|&depth| depth <= 6)?;
            chroma_depth = bits.ue().filter(|&depth| depth <= 6)?;
            bits.skip(1)?;
            if bits.flag()? {
                for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                    if bits.flag()? {
                        skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        bits.skip_ue(1)?;
        match bits.ue()? {
            0 => bits.skip_ue(1)?,
            1 => {
                bits.skip(1)?;
                bits.skip_ue(2)?;
                let cycle = bits.ue().filter(|&cycle| cycle <= 255)?;
                bits.skip_ue(cycle as usize)?;
            }
            _ => {}
        }
        bits.skip_ue(1)?;
        bits.skip(1)?;
        let width = bits.ue()?.checked_add(1)?.checked_mul(16)?;
        let map_units = bits.ue()?.checked_add(1)?;
        let frames_only = bits.flag()?;
        let fields = if frames_only { 1 } else { 2 };
        if !frames_only {
            bits.skip(1)?;
        }
        let height = map_units.checked_mul(16 * fields)?;
        bits.skip(1)?;
        let (unit_x, unit_y) = match chroma_format {
            _ if separate_planes => (1, fields),
            1 => (2, 2 * fields),
            2 => (2, fields),
            _ => (1, fields),
        };
        let (mut cut_x, mut cut_y) = (0, 0);
        if bits.flag()? {
            cut_x = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
            cut_y = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?;
        }
        let frame = if bits.flag()? { vui_frame(&mut bits) } else { None };
        Some(Self {
            id,
            chroma_format: chroma_format as u8,
            luma_depth: luma_depth as u8,
            chroma_depth: chroma_depth as u8,
            width: width.checked_sub(cut_x).filter(|&width| width > 0)?,
            height: height.checked_sub(cut_y).filter(|&height| height > 0)?,
            frame,
        })
    }
}

/// 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// What H.264 and HEVC have in common at the beginning of the VUI (E.1.1, up to the chroma location).
pub(super) fn skip_picture_format(bits: &mut Bits<'_>) -> Option<()> {
    const EXTENDED_ASPECT_RATIO: u32 = 255;
    if bits.flag()? && bits.bits(8)? == EXTENDED_ASPECT_RATIO {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.skip(1)?;
    }
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        bits.skip_ue(2)?;
    }
    Some(())
}

/// A frame is two ticks of the VUI's clock.
fn vui_frame(bits: &mut Bits<'_>) -> Option<crate::Ticks> {
    skip_picture_format(bits)?;
    if !bits.flag()? {
        return None;
    }
    let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
    frame_duration(2 * u64::from(units), u64::from(scale))
}
