//! What a sample of MP4 holds, from a unit.

use crate::Codec;

/// Whether a NAL unit is left out of samples: parameter sets are in the record only (as `avc1` and `hvc1` demand), delimiters
/// and filler say nothing that MP4 does not.
fn left_out(codec: Codec, header: u8) -> bool {
    match codec {
        // SPS, PPS, delimiter, filler, extension of the SPS (ISO/IEC 14496-10, table 7-1)
        Codec::H264 => matches!(header & 0x1f, 7 | 8 | 9 | 12 | 13),
        // VPS, SPS, PPS, delimiter, filler (ISO/IEC 23008-2, table 7-1)
        Codec::Hevc => matches!(header >> 1 & 0x3f, 32..=35 | 38),
        _ => false,
    }
}

/// The NAL units of an access unit with start codes.
fn nal_units(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    // What is before the first start code belongs to nothing.
    data = start_code(data).map_or(&[], |at| &data[at + 3..]);
    std::iter::from_fn(move || {
        while !data.is_empty() {
            let (unit, rest) = match start_code(data) {
                Some(at) => (&data[..at], &data[at + 3..]),
                None => (data, &[][..]),
            };
            data = rest;
            // Zeros before a start code are its own.
            let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if length > 0 {
                return Some(&unit[..length]);
            }
        }
        None
    })
}

/// Where `00 00 01` begins.
fn start_code(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(&byte) = data.get(at) {
        match byte {
            1 if data[at - 1] == 0 && data[at - 2] == 0 => return Some(at - 2),
            0 => at += 1,
            1 => at += 3,
            // None can end within the next two bytes.
            _ => at += 3,
        }
    }
    None
}

/// Appends the sample of a unit (one frame).
pub(super) fn sample(codec: Codec, data: &[u8], out: &mut Vec<u8>) {
    match codec {
        Codec::H264 | Codec::Hevc => {
            for unit in nal_units(data).filter(|unit| !left_out(codec, unit[0])) {
                out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
                out.extend_from_slice(unit);
            }
        }
        Codec::Aac => out.extend_from_slice(adts_payload(data)),
        _ => out.extend_from_slice(data),
    }
}

/// An ADTS frame without its header (ISO/IEC 14496-3, 1.A.2.2); what has none is taken as it is.
fn adts_payload(data: &[u8]) -> &[u8] {
    match data {
        [0xff, second, ..] if second & 0xf6 == 0xf0 => {
            let header = if second & 1 == 1 { 7 } else { 9 };
            data.get(header..).unwrap_or_default()
        }
        _ => data,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameter_sets_and_delimiters_stay_out_of_samples() {
        let unit = [
            0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x65, 7, 0, 0, 3, 0, 0, 0,
        ];
        let mut out = Vec::new();
        sample(Codec::H264, &unit, &mut out);
        assert_eq!(out, [0, 0, 0, 5, 0x65, 7, 0, 0, 3]);
    }

    #[test]
    fn an_adts_header_is_as_long_as_it_says() {
        assert_eq!(adts_payload(&[0xff, 0xf1, 0, 0, 0, 0, 0, 42]), [42]);
        assert_eq!(adts_payload(&[0xff, 0xf0, 0, 0, 0, 0, 0, 0, 0, 42]), [42]);
        assert_eq!(adts_payload(&[0xff, 0xf1, 0]), [0; 0]);
        assert_eq!(adts_payload(&[1, 2]), [1, 2]);
    }

    proptest! {
        #[test]
        fn every_nal_unit_is_found_as_it_was(
            units in prop::collection::vec((prop::collection::vec(2..=255_u8, 1..20), prop::bool::ANY), 0..8),
        ) {
            let mut data = Vec::new();
            for (unit, long) in &units {
                data.extend(if *long { &[0, 0, 0, 1][..] } else { &[0, 0, 1][..] });
                data.extend(unit);
            }
            prop_assert_eq!(nal_units(&data).collect::<Vec<_>>(), units.iter().map(|(unit, _)| &unit[..]).collect::<Vec<_>>());
        }

        #[test]
        fn a_start_code_is_found_where_the_plain_search_finds_it(data in prop::collection::vec(0..4_u8, 0..40)) {
            prop_assert_eq!(start_code(&data), data.windows(3).position(|three| three == [0, 0, 1]));
        }
    }
}
