//! Packets out of bytes that come in any pieces.

use super::{PACKET, SYNC};

/// So many packets in a row must begin with the sync byte before it is believed: it is an ordinary byte too. Three are 0.5 KB;
/// chance makes that of garbage once in four billion bytes.
const CONFIRMING: usize = 4;

/// Bytes that show it.
const WINDOW: usize = (CONFIRMING - 1) * PACKET + 1;

/// Finds packets, and finds them again.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// The beginning of what is not decided yet, shorter than [`WINDOW`].
    rest: Vec<u8>,
    locked: bool,
    pub(super) skipped: u64,
}

impl Sync {
    pub(super) fn push(&mut self, mut bytes: &[u8], mut packet: impl FnMut(&[u8; PACKET])) {
        while !self.rest.is_empty() {
            let before = self.rest.len();
            let more = bytes.len().min(WINDOW + PACKET);
            let mut joined = std::mem::take(&mut self.rest);
            joined.extend_from_slice(&bytes[..more]);
            let done = self.take(&joined, &mut packet);
            if let Some(behind) = done.checked_sub(before) {
                bytes = &bytes[behind..];
                joined.clear();
                self.rest = joined;
                break;
            }
            joined.drain(..done);
            self.rest = joined;
            bytes = &bytes[more..];
            if bytes.is_empty() {
                return;
            }
        }
        let done = self.take(bytes, &mut packet);
        self.rest.extend_from_slice(&bytes[done..]);
    }

    /// There is no more to come: packets that are left, as far as they are consistent.
    pub(super) fn finish(&mut self, mut packet: impl FnMut(&[u8; PACKET])) {
        let rest = std::mem::take(&mut self.rest);
        let consistent = |from: &usize| rest[*from..].iter().step_by(PACKET).all(|&byte| byte == SYNC);
        let begin = (0..rest.len()).find(consistent).unwrap_or(rest.len());
        let (packets, left) = rest[begin..].as_chunks();
        packets.iter().for_each(&mut packet);
        self.skipped += (begin + left.len()) as u64;
        self.locked = false;
    }

    /// Answers how many bytes are done with. Less than [`WINDOW`] stay.
    fn take(&mut self, bytes: &[u8], packet: &mut impl FnMut(&[u8; PACKET])) -> usize {
        let mut at = 0;
        loop {
            if !self.locked {
                let rest = &bytes[at..];
                let Some(offset) = lock(rest) else {
                    // Everything before the first place that is still possible.
                    let possible = rest.len().saturating_sub(WINDOW - 1);
                    let kept = memchr::memchr(SYNC, &rest[possible..])
                        .map_or(rest.len(), |offset| possible + offset);
                    self.skipped += kept as u64;
                    return at + kept;
                };
                self.skipped += offset as u64;
                at += offset;
                self.locked = true;
            }
            let (packets, _) = bytes[at..].as_chunks::<PACKET>();
            let Some(lost) = packets.iter().position(|found| {
                let good = found[0] == SYNC;
                if good {
                    packet(found);
                }
                !good
            }) else {
                at += packets.len() * PACKET;
                // Not even the beginning of one.
                if bytes.get(at).is_none_or(|&byte| byte == SYNC) {
                    return at;
                }
                self.locked = false;
                continue;
            };
            at += lost * PACKET;
            self.locked = false;
        }
    }
}

/// Where packets begin for certain.
fn lock(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(WINDOW)?;
    memchr::memchr_iter(SYNC, &bytes[..=last])
        .find(|&at| bytes[at..at + WINDOW].iter().step_by(PACKET).all(|&byte| byte == SYNC))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets(count: usize) -> Vec<u8> {
        (0..count)
            .flat_map(|index| (0..PACKET).map(move |at| if at == 0 { SYNC } else { index as u8 }))
            .collect()
    }

    fn found(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, u64) {
        let (mut sync, mut numbers, mut rest) = (Sync::default(), Vec::new(), bytes);
        for cut in cuts.iter().cycle() {
            let (piece, next) = rest.split_at((*cut).min(rest.len()));
            sync.push(piece, |packet| numbers.push(packet[1]));
            assert!(sync.rest.len() < WINDOW);
            rest = next;
            if rest.is_empty() {
                break;
            }
        }
        sync.finish(|packet| numbers.push(packet[1]));
        (numbers, sync.skipped)
    }

    #[test]
    fn a_broken_sync_byte_costs_one_packet() {
        let mut bytes = packets(10);
        bytes[5 * PACKET] = 0;
        assert_eq!(found(&bytes, &[1000]), (vec![0, 1, 2, 3, 4, 6, 7, 8, 9], PACKET as u64));
    }

    proptest! {
        #[test]
        fn packets_are_found_behind_garbage_however_it_is_cut(
            garbage in prop::collection::vec(any::<u8>(), 0..1000),
            cuts in prop::collection::vec(1usize..1000, 1..10),
            count in 4usize..20,
        ) {
            // What looks like one more packet is taken for one.
            prop_assume!(garbage.rchunks(PACKET).all(|chunk| chunk.len() < PACKET || chunk[0] != SYNC));
            let bytes = [&garbage[..], &packets(count)].concat();
            let expected: Vec<u8> = (0..count as u8).collect();
            prop_assert_eq!(found(&bytes, &cuts), (expected, garbage.len() as u64));
        }

        #[test]
        fn the_cut_makes_no_difference(
            pieces in prop::collection::vec((0usize..400, 0usize..6), 0..6),
            cuts in prop::collection::vec(1usize..700, 1..10),
        ) {
            let bytes: Vec<u8> = pieces.iter().flat_map(|&(garbage, count)| [vec![SYNC; garbage], packets(count)].concat()).collect();
            prop_assert_eq!(found(&bytes, &cuts), found(&bytes, &[usize::MAX]));
        }
    }
}
