//! AC-3 and Enhanced AC-3 (ETSI TS 102 366). Numbers of clauses are of that.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Audio, bits::Bits, framing::Frame};
use crate::Codec;

/// By fscod.
const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];

/// kbit/s by frmsizecod / 2 (table 4.13).
const BITRATES: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];

/// Channels by acmod, without the one for low frequencies.
const CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

const BLOCK_SAMPLES: u32 = 256;

struct Header {
    rate_code: u8,
    sample_rate: u32,
    samples: u32,
    length: usize,
    bsid: u8,
    bsmod: u8,
    acmod: u8,
    lfe: bool,
    kind: Kind,
}

enum Kind {
    Ac3 {
        bitrate_code: u8,
    },
    /// `extends`: a dependent substream or another program, which belongs to the frame before it.
    Eac3 {
        extends: bool,
        /// Of a dependent substream: which channels it has.
        channel_map: Option<u16>,
    },
}

impl Header {
    fn read(data: &[u8]) -> Option<Self> {
        const FIRST_OF_EAC3: u8 = 11;
        const LAST_OF_EAC3: u8 = 16;
        if !data.starts_with(&[0x0b, 0x77]) {
            return None;
        }
        match data.get(5)? >> 3 {
            ..FIRST_OF_EAC3 => Self::read_ac3(&data[2..]),
            FIRST_OF_EAC3..=LAST_OF_EAC3 => Self::read_eac3(&data[2..]),
            _ => None,
        }
    }

    /// 4.3.1, 4.3.2.
    fn read_ac3(data: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(data);
        bits.skip(16)?;
        let rate_code = bits.byte(2)?;
        let sample_rate = *SAMPLE_RATES.get(usize::from(rate_code))?;
        let size_code = bits.byte(6)?;
        let bitrate = *BITRATES.get(usize::from(size_code >> 1))?;
        let words = match rate_code {
            0 => bitrate * 2,
            1 => bitrate * 320 / 147 + u32::from(size_code & 1),
            _ => bitrate * 3,
        };
        let (bsid, bsmod, acmod) = (bits.byte(5)?, bits.byte(3)?, bits.byte(3)?);
        let mix_levels = match acmod {
            2 => 1,
            _ => usize::from(acmod & 1 == 1 && acmod != 1) + usize::from(acmod & 4 != 0),
        };
        bits.skip(2 * mix_levels)?;
        Some(Self {
            rate_code,
            sample_rate: sample_rate >> bsid.saturating_sub(8),
            samples: 6 * BLOCK_SAMPLES,
            length: words as usize * 2,
            bsid,
            bsmod,
            acmod,
            lfe: bits.flag()?,
            kind: Kind::Ac3 { bitrate_code: size_code >> 1 },
        })
    }

    /// E.1.2.2.
    fn read_eac3(data: &[u8]) -> Option<Self> {
        const DEPENDENT: u32 = 1;
        let mut bits = Bits::new(data);
        let (stream_type, substream) = (bits.bits(2)?, bits.bits(3)?);
        let length = (bits.bits(11)? as usize + 1) * 2;
        let rate_code = bits.byte(2)?;
        let (sample_rate, blocks) = if rate_code == 3 {
            (*SAMPLE_RATES.get(bits.bits(2)? as usize)? / 2, 6)
        } else {
            (SAMPLE_RATES[usize::from(rate_code)], [1, 2, 3, 6][bits.bits(2)? as usize])
        };
        let (acmod, lfe, bsid) = (bits.byte(3)?, bits.flag()?, bits.byte(5)?);
        for _ in 0..if acmod == 0 { 2 } else { 1 } {
            bits.skip(5)?;
            if bits.flag()? {
                bits.skip(8)?;
            }
        }
        let mapped = stream_type == DEPENDENT && bits.flag()?;
        let channel_map = if mapped { Some(bits.bits(16)? as u16) } else { None };
        Some(Self {
            rate_code,
            sample_rate,
            samples: blocks * BLOCK_SAMPLES,
            length,
            bsid,
            bsmod: 0,
            acmod,
            lfe,
            kind: Kind::Eac3 { extends: stream_type == DEPENDENT || substream != 0, channel_map },
        })
    }
}

pub(super) fn frame(data: &[u8]) -> Option<Frame> {
    let header = Header::read(data)?;
    Some(Frame {
        length: header.length,
        samples: header.samples,
        sample_rate: header.sample_rate,
        continues: matches!(header.kind, Kind::Eac3 { extends: true, .. }),
    })
}

pub(super) fn parameters(data: &[u8]) -> Option<Audio> {
    let header = Header::read(data)?;
    let (codec, rfc6381, record) = match header.kind {
        Kind::Ac3 { bitrate_code } => (Codec::Ac3, "ac-3", dac3(&header, bitrate_code)),
        Kind::Eac3 { extends: false, .. } => {
            (Codec::Eac3, "ec-3", dec3(&header, &data[header.length.min(data.len())..]))
        }
        Kind::Eac3 { .. } => return None,
    };
    Some(Audio {
        codec,
        sample_rate: header.sample_rate,
        channels: CHANNELS[usize::from(header.acmod & 7)] + u8::from(header.lfe),
        frame_samples: header.samples,
        rfc6381: String::from(rfc6381),
        record,
    })
}

/// F.4: 3 bytes.
fn dac3(header: &Header, bitrate_code: u8) -> Bytes {
    let bits = u32::from(header.rate_code) << 22
        | u32::from(header.bsid) << 17
        | u32::from(header.bsmod) << 14
        | u32::from(header.acmod) << 11
        | u32::from(header.lfe) << 10
        | u32::from(bitrate_code) << 5;
    Bytes::copy_from_slice(&bits.to_be_bytes()[1..])
}

/// F.6, for one program: the first independent substream and those that depend on it, which come right behind.
fn dec3(header: &Header, mut rest: &[u8]) -> Bytes {
    let (mut length, mut dependent, mut locations) = (header.length, 0_u32, 0);
    while let Some(next) = Header::read(rest) {
        let Kind::Eac3 { extends: true, channel_map } = next.kind else { break };
        if dependent < 15 {
            dependent += 1;
        }
        locations |= channel_map.map_or(0, channel_locations);
        length += next.length;
        rest = &rest[next.length.min(rest.len())..];
    }
    let bits_per_second = length as u64 * 8 * u64::from(header.sample_rate) / u64::from(header.samples);
    let mut record = BytesMut::with_capacity(6);
    record.put_u16(((bits_per_second + 500) / 1000).min(0x1fff) as u16 * 8);
    let substream = u32::from(header.rate_code) << 22
        | u32::from(header.bsid) << 17
        | u32::from(header.bsmod) << 12
        | u32::from(header.acmod) << 9
        | u32::from(header.lfe) << 8
        | dependent << 1;
    if dependent == 0 {
        record.put_slice(&substream.to_be_bytes()[1..]);
    } else {
        record.put_slice(&(substream << 8 | locations).to_be_bytes());
    }
    record.freeze()
}

/// From the bits of chanmap (table E.1.11) to those of chan_loc (table F.6.2).
fn channel_locations(map: u16) -> u32 {
    let pairs = (0..8).map(|index| (5 + index, index)).chain([(14, 8)]);
    pairs.filter(|(from, _)| map >> (15 - from) & 1 == 1).fold(0, |locations, (_, to)| locations | 1 << to)
}
