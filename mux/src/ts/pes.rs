//! Headers of PES packets (2.4.3.6).

use crate::Ticks;

/// Bytes before what the packet's length counts.
pub(super) const FIXED: usize = 6;

/// Bytes of a header with two timestamps.
const LONGEST_WRITTEN: usize = 19;

/// What the header of a PES packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the data begins.
    pub(super) start: usize,
    /// Where it ends, if that is said.
    pub(super) end: Option<usize>,
    /// 33 bits.
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
}

/// What can be said about the beginning of a PES packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    Whole(Header),
    /// There are more bytes to come before that can be told.
    Short,
    /// Not one, or not one with data.
    Broken,
}

impl Header {
    pub(super) fn read(data: &[u8]) -> Begun {
        const PADDING: u8 = 0xbe;
        let [0, 0, 1, id, high, low, ..] = *data else {
            let begins =
                data.len() < FIXED && [0, 0, 1].iter().zip(data).all(|(expected, byte)| expected == byte);
            return if begins { Begun::Short } else { Begun::Broken };
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let end = (length > 0).then_some(FIXED + length);
        match id {
            PADDING => return Begun::Broken,
            // Of these (table 2-21) the data begins at once.
            0xbc | 0xbf | 0xf0..=0xf2 | 0xf8 | 0xff => {
                return Begun::Whole(Self { start: FIXED, end, pts: None, dts: None });
            }
            _ => {}
        }
        let [marks, flags, more, ..] = data[FIXED..] else { return Begun::Short };
        let start = FIXED + 3 + usize::from(more);
        if marks >> 6 != 2 || end.is_some_and(|end| end < start) {
            return Begun::Broken;
        }
        let Some(fields) = data.get(FIXED + 3..start) else { return Begun::Short };
        let timestamps = match flags >> 6 {
            0 | 1 => Some((None, None)),
            2 => timestamp(fields).map(|pts| (Some(pts), None)),
            _ => timestamp(fields)
                .zip(fields.get(5..).and_then(timestamp))
                .map(|(pts, dts)| (Some(pts), Some(dts))),
        };
        match timestamps {
            Some((pts, dts)) => Begun::Whole(Self { start, end, pts, dts }),
            None => Begun::Broken,
        }
    }
}

/// `None`: its marker bits are wrong, so the others may be too.
fn timestamp(fields: &[u8]) -> Option<u64> {
    let [b0, b1, b2, b3, b4, ..] = *fields else { return None };
    if b0 & b2 & b4 & 1 == 0 {
        return None;
    }
    let [b0, b1, b2, b3, b4] = [b0, b1, b2, b3, b4].map(u64::from);
    Some((b0 >> 1 & 7) << 30 | b1 << 22 | b2 >> 1 << 15 | b3 << 7 | b4 >> 1)
}

fn put_timestamp(mark: u8, ticks: Ticks, out: &mut [u8]) {
    let wire = ticks.wire();
    out[0] = mark << 4 | (wire >> 29) as u8 | 1;
    out[1] = (wire >> 22) as u8;
    out[2] = (wire >> 14) as u8 | 1;
    out[3] = (wire >> 7) as u8;
    out[4] = (wire << 1) as u8 | 1;
}

/// A header for `payload` bytes, and how many of the array it takes. The length is left open where it does not fit.
pub(super) fn header(
    id: u8,
    aligned: bool,
    pts: Ticks,
    dts: Ticks,
    payload: usize,
) -> ([u8; LONGEST_WRITTEN], usize) {
    const ALIGNED: u8 = 4;
    let mut bytes = [0; LONGEST_WRITTEN];
    let fields = if pts == dts { 5 } else { 10 };
    let length = FIXED + 3 + fields;
    let [high, low] = u16::try_from(payload + length - FIXED).unwrap_or(0).to_be_bytes();
    let marks = 0x80 | if aligned { ALIGNED } else { 0 };
    bytes[..9].copy_from_slice(&[0, 0, 1, id, high, low, marks, 0x80, fields as u8]);
    if pts == dts {
        put_timestamp(2, pts, &mut bytes[9..]);
    } else {
        bytes[7] = 0xc0;
        put_timestamp(3, pts, &mut bytes[9..]);
        put_timestamp(1, dts, &mut bytes[14..]);
    }
    (bytes, length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_says_what_was_written(pts in 0i64..1 << 33, dts in 0i64..1 << 33, payload in 0usize..100_000) {
            let (bytes, length) = header(0xe0, true, Ticks(pts), Ticks(dts), payload);
            let Begun::Whole(read) = Header::read(&bytes[..length]) else { panic!("not read") };
            let ended = (length - FIXED + payload <= 0xffff).then_some(length + payload);
            prop_assert_eq!((read.start, read.end), (length, ended));
            prop_assert_eq!((read.pts, read.dts.or(read.pts)), (Some(pts as u64), Some(dts as u64)));
            prop_assert_eq!(Header::read(&bytes[..length - 1]), Begun::Short);
        }

        #[test]
        fn nothing_makes_it_panic(data in prop::collection::vec(any::<u8>(), 0..30)) {
            Header::read(&data);
            Header::read(&[&[0, 0, 1], &data[..]].concat());
        }
    }
}
