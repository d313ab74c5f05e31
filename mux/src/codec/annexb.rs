//! Byte streams with start codes (ITU-T H.264 and H.265, annex B; MPEG-2 video has the same start codes).

use std::sync::LazyLock;

use bytes::{BufMut, BytesMut};
use memchr::memmem::Finder;

static START_CODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&[0, 0, 1]));

/// The NAL units of a byte stream without their start codes, and without the zeros behind them. Empty ones are left out.
pub fn nals(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A NAL unit never ends with a zero.
    sections(data).filter_map(|nal| nal.iter().rposition(|&byte| byte != 0).map(|last| &nal[..=last]))
}

/// What is between start codes, as it is.
pub(super) fn sections(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = START_CODE.find(data).map(|at| &data[at + 3..]);
    std::iter::from_fn(move || {
        let from = rest?;
        let end = START_CODE.find(from);
        rest = end.map(|end| &from[end + 3..]);
        Some(&from[..end.unwrap_or(from.len())])
    })
}

/// What comes behind each start code, to the end of the data: for those who look at the beginning of a few NAL units of a large
/// picture, without a search for where they end.
pub(super) fn tails(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        rest = &rest[START_CODE.find(rest)? + 3..];
        Some(rest)
    })
}

/// [`tails`], those of empty NAL units left out. No header of H.264 or H.265 that matters begins with two zeros.
pub(super) fn nal_tails(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    tails(data).filter(|nal| !nal.is_empty() && !nal.starts_with(&[0, 0]))
}

/// A tail up to the next start code.
pub(super) fn section(tail: &[u8]) -> &[u8] {
    &tail[..START_CODE.find(tail).unwrap_or(tail.len())]
}

/// As MP4 has it: each NAL unit that is to be kept with its length, in four bytes, before it.
pub fn length_prefixed(data: &[u8], mut keep: impl FnMut(&[u8]) -> bool, out: &mut BytesMut) {
    out.reserve(data.len() + 16);
    for nal in nals(data) {
        let Ok(length) = u32::try_from(nal.len()) else { continue };
        if keep(nal) {
            out.put_u32(length);
            out.put_slice(nal);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_found_between_start_codes_of_any_length() {
        let stream = [9, 0, 0, 0, 1, 0x65, 7, 0, 0, 1, 0x41, 0, 0, 0, 0, 1, 0, 0, 1, 0x06];
        assert_eq!(nals(&stream).collect::<Vec<_>>(), [&[0x65, 7][..], &[0x41], &[0x06]]);
        assert_eq!(nals(&[]).count(), 0);
    }

    proptest! {
        #[test]
        fn tails_begin_where_sections_do(data in prop::collection::vec(0u8..3, 0..60)) {
            let whole: Vec<_> = sections(&data).collect();
            prop_assert_eq!(tails(&data).map(section).collect::<Vec<_>>(), whole);
            let kept: Vec<_> = nals(&data).map(|nal| nal[0]).filter(|&first| first != 0).collect();
            let begun = nal_tails(&data).map(|nal| nal[0]).filter(|&first| first != 0);
            prop_assert_eq!(begun.collect::<Vec<_>>(), kept);
        }

        #[test]
        fn start_codes_become_lengths(
            units in prop::collection::vec(prop::collection::vec(1u8.., 1..50), 0..20),
        ) {
            let (mut codes, mut lengths, mut out) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
            for unit in &units {
                codes.put_slice(&[0, 0, 0, 1]);
                codes.put_slice(unit);
                lengths.put_u32(unit.len() as u32);
                lengths.put_slice(unit);
            }
            length_prefixed(&codes, |_| true, &mut out);
            prop_assert_eq!(out, lengths);
        }

        #[test]
        fn nothing_makes_it_panic(data in prop::collection::vec(0u8..3, 0..200)) {
            length_prefixed(&data, |_| true, &mut BytesMut::new());
        }
    }
}
