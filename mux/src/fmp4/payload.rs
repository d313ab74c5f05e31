//! What a sample of MP4 holds, from a unit.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::{
    Codec,
    codec::{adts, annexb, is_delimiter, is_parameter_set},
};

/// Appends the sample of a unit (one frame).
///
/// Parameter sets are in the record only, as `avc1` and `hvc1` demand; delimiters and filler say nothing that MP4 does not.
pub(super) fn sample(codec: Codec, data: &Bytes, out: &mut BytesMut) {
    match codec {
        Codec::H264 | Codec::Hevc => {
            let left_out = |nal: &[u8]| {
                is_parameter_set(codec, nal) || is_delimiter(codec, nal) || is_filler(codec, nal[0])
            };
            annexb::length_prefixed(data, |nal| !left_out(nal), out);
        }
        Codec::Aac => out.put_slice(&adts::strip(data)),
        _ => out.put_slice(data),
    }
}

/// ISO/IEC 14496-10, table 7-1; ISO/IEC 23008-2, table 7-1.
fn is_filler(codec: Codec, header: u8) -> bool {
    match codec {
        Codec::H264 => header & 0x1f == 12,
        _ => header >> 1 & 0x3f == 38,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_delimiters_and_filler_stay_out_of_samples() {
        let unit = [
            &[0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3][..],
            &[0, 0, 1, 0x65, 7, 0, 0, 3, 0, 0, 1, 12, 0xff, 0x80],
        ];
        let mut out = BytesMut::new();
        sample(Codec::H264, &unit.concat().into(), &mut out);
        assert_eq!(out[..], [0, 0, 0, 5, 0x65, 7, 0, 0, 3]);
    }
}
