//! Where the video of an input begins, from its first bytes.

const PACKET: usize = 188;
const SYNC: u8 = 0x47;

/// The presentation time of the first video frame in MPEG-TS that begins with a whole packet; `None` while it is not there.
#[must_use]
pub fn first_video(bytes: &[u8]) -> Option<i64> {
    bytes.chunks_exact(PACKET).find_map(pts)
}

/// Of a video PES packet that begins in this one.
fn pts(packet: &[u8]) -> Option<i64> {
    let begins = packet[0] == SYNC && packet[1] & 0x40 != 0;
    let payload = match packet[3] & 0x30 {
        0x10 => 4,
        0x30 => 5 + usize::from(packet[4]),
        _ => return None,
    };
    let pes = packet.get(payload..).filter(|_| begins)?;
    let [0, 0, 1, 0xe0..=0xef, _, _, _, flags, _, time @ ..] = pes else { return None };
    let time = time.first_chunk::<5>().filter(|_| flags & 0x80 != 0)?.map(i64::from);
    Some(((time[0] >> 1) & 7) << 30 | time[1] << 22 | (time[2] >> 1) << 15 | time[3] << 7 | time[4] >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(stream: u8, adaptation: Option<u8>, pts: i64) -> Vec<u8> {
        let mut packet = vec![SYNC, 0x41, 0, 0x10];
        if let Some(length) = adaptation {
            packet[3] = 0x30;
            packet.push(length);
            packet.extend(vec![0xff; length.into()]);
        }
        packet.extend([0, 0, 1, stream, 0, 0, 0x80, 0x80, 5]);
        let byte = |shift: u32| u8::try_from(pts >> shift & 0xff).unwrap();
        packet.extend([0x21 | (byte(30) & 7) << 1, byte(22), byte(14) | 1, byte(7), (byte(0) << 1) | 1]);
        packet.resize(PACKET, 0xff);
        packet
    }

    proptest! {
        #[test]
        fn the_first_video_frame_is_found(pts in 0i64..1 << 33, adaptation in prop::option::of(0u8..100)) {
            let mut bytes = packet(0xc0, None, 5);
            bytes.extend(packet(0xe0, adaptation, pts));
            bytes.extend(packet(0xe0, None, 9));
            prop_assert_eq!(first_video(&bytes), Some(pts));
            prop_assert_eq!(first_video(&bytes[..PACKET * 2 - 1]), None);
        }

        #[test]
        fn nonsense_is_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            for packet in bytes.chunks_mut(PACKET) {
                packet[0] = SYNC;
            }
            let _ = first_video(&bytes);
        }
    }
}
