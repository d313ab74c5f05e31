//! Who may write how much. No I/O: what is free and what is used comes from outside, in bytes.

use std::collections::BTreeMap;

use common::id::AttemptId;

/// What a new attempt needs at the least. With less than this a worker takes nothing.
pub(crate) const MINIMUM: u64 = 64 << 20;
/// A reservation that is used up grows by this much beyond what is used, if there is that much.
const STEP: u64 = 64 << 20;

/// The reservations of a worker.
#[derive(Debug)]
pub(super) struct Ledger {
    /// For all attempts together.
    limit: u64,
    /// Of the file system: left to others.
    keep_free: u64,
    claims: BTreeMap<AttemptId, Claimed>,
    /// ffmpeg found no room although there should have been some.
    ran_full: bool,
}

#[derive(Debug, Default)]
struct Claimed {
    reserved: u64,
    used: u64,
}

/// An attempt needs more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// In all, as far as one knows.
    pub(crate) needed: u64,
    /// What it could have had, in all.
    pub(crate) available: u64,
}

impl Ledger {
    pub(super) const fn new(limit: u64, keep_free: u64) -> Self {
        Self { limit, keep_free, claims: BTreeMap::new(), ran_full: false }
    }

    /// What a new attempt could reserve while the file system has `free` bytes.
    pub(super) fn available(&self, free: u64) -> u64 {
        if self.ran_full {
            return 0;
        }
        self.room(free)
    }

    fn room(&self, free: u64) -> u64 {
        let of_the_limit = self.limit.saturating_sub(self.reserved());
        let of_the_disk = free.saturating_sub(self.keep_free).saturating_sub(self.unused());
        of_the_limit.min(of_the_disk)
    }

    pub(super) fn reserved(&self) -> u64 {
        self.claims.values().map(|claimed| claimed.reserved).sum()
    }

    /// Reserved, and not yet taken from what is free.
    fn unused(&self) -> u64 {
        self.claims.values().map(|claimed| claimed.reserved.saturating_sub(claimed.used)).sum()
    }

    /// Raises what an attempt may write to `bytes` in all.
    pub(super) fn reserve(&mut self, attempt: AttemptId, bytes: u64, free: u64) -> Result<(), Shortage> {
        let has = self.claims.get(&attempt).map_or(0, |claimed| claimed.reserved);
        let room = self.room(free);
        if bytes.saturating_sub(has) > room {
            return Err(Shortage { needed: bytes, available: has.saturating_add(room) });
        }
        let claimed = self.claims.entry(attempt).or_default();
        claimed.reserved = claimed.reserved.max(bytes);
        Ok(())
    }

    /// An attempt's folder holds `used` bytes by now. What it has beyond its reservation it must be able to reserve, or else
    /// it is over. An attempt within its reservation goes on, however little is free.
    pub(super) fn used(&mut self, attempt: AttemptId, used: u64, free: u64) -> Result<(), Shortage> {
        let Some(claimed) = self.claims.get_mut(&attempt) else { return Ok(()) };
        let had = claimed.reserved;
        claimed.used = used;
        if used <= had {
            return Ok(());
        }
        claimed.reserved = used;
        let over_the_limit = self.reserved().saturating_sub(self.limit);
        let over_the_disk = self.unused().saturating_add(self.keep_free).saturating_sub(free);
        let over = over_the_limit.max(over_the_disk);
        if over > 0 {
            return Err(Shortage { needed: used.saturating_mul(2), available: used.saturating_sub(over) });
        }
        let more = self.room(free).min(STEP);
        if let Some(claimed) = self.claims.get_mut(&attempt) {
            claimed.reserved += more;
        }
        Ok(())
    }

    /// Its files are gone.
    pub(super) fn release(&mut self, attempt: AttemptId) {
        self.claims.remove(&attempt);
    }

    /// The file system said that it is full. Nothing is taken until it is seen to have room.
    pub(super) fn ran_full(&mut self) {
        self.ran_full = true;
    }

    pub(super) fn measured(&mut self, free: u64) {
        if free >= self.keep_free.saturating_add(MINIMUM) {
            self.ran_full = false;
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.ran_full
    }

    pub(super) fn claims(&self) -> usize {
        self.claims.len()
    }

    pub(super) const fn keep_free(&self) -> u64 {
        self.keep_free
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }
}

impl Shortage {
    /// With what ffmpeg says of its progress: what the whole result takes at this rate.
    pub(crate) fn at(self, fraction: Option<f64>) -> Self {
        // Of the first moments nothing can be concluded.
        let Some(fraction) = fraction.filter(|fraction| (0.05..=1.0).contains(fraction)) else { return self };
        let used = self.needed / 2;
        Self { needed: ((used as f64 / fraction) as u64).max(used), ..self }
    }
}

#[cfg(test)]
mod tests {
    use common::id::{Epoch, TaskId};
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn attempt() -> AttemptId {
        AttemptId { task: TaskId::new(), epoch: Epoch(1) }
    }

    #[test]
    fn no_more_is_reserved_than_the_limit_and_the_disk_have() {
        let mut ledger = Ledger::new(10 * GIB, GIB);
        assert_eq!(ledger.available(100 * GIB), 10 * GIB);
        assert_eq!(ledger.available(4 * GIB), 3 * GIB);
        assert_eq!(ledger.available(GIB / 2), 0);
        let (first, second) = (attempt(), attempt());
        ledger.reserve(first, 6 * GIB, 100 * GIB).unwrap();
        let shortage = ledger.reserve(second, 5 * GIB, 100 * GIB).unwrap_err();
        assert_eq!(shortage, Shortage { needed: 5 * GIB, available: 4 * GIB });
        ledger.reserve(second, 4 * GIB, 100 * GIB).unwrap();
        ledger.release(first);
        assert_eq!(ledger.available(100 * GIB), 6 * GIB);
    }

    #[test]
    fn raising_a_reservation_takes_only_the_difference() {
        let mut ledger = Ledger::new(10 * GIB, 0);
        let id = attempt();
        ledger.reserve(id, 6 * GIB, 100 * GIB).unwrap();
        ledger.reserve(id, 9 * GIB, 100 * GIB).unwrap();
        ledger.reserve(id, GIB, 100 * GIB).unwrap();
        assert_eq!(ledger.available(100 * GIB), GIB);
    }

    #[test]
    fn what_is_written_is_not_counted_twice() {
        let mut ledger = Ledger::new(100 * GIB, 0);
        let id = attempt();
        ledger.reserve(id, 6 * GIB, 10 * GIB).unwrap();
        assert_eq!(ledger.available(10 * GIB), 4 * GIB);
        ledger.used(id, 5 * GIB, 5 * GIB).unwrap();
        assert_eq!(ledger.available(5 * GIB), 4 * GIB);
    }

    #[test]
    fn an_attempt_grows_while_there_is_room() {
        let mut ledger = Ledger::new(2 * GIB, 0);
        let id = attempt();
        ledger.reserve(id, GIB, 100 * GIB).unwrap();
        ledger.used(id, GIB + 1, 100 * GIB).unwrap();
        assert_eq!(ledger.reserved(), GIB + 1 + STEP);
        ledger.used(id, 2 * GIB, 100 * GIB).unwrap();
        let shortage = ledger.used(id, 2 * GIB + 7, 100 * GIB).unwrap_err();
        assert_eq!(shortage, Shortage { needed: 4 * GIB + 14, available: 2 * GIB });
        assert_eq!(shortage.at(Some(0.5)).needed, 4 * GIB + 14);
        assert_eq!(shortage.at(Some(0.25)).needed, 8 * GIB + 28);
        assert_eq!(shortage.at(Some(0.0)), shortage);
    }

    #[test]
    fn what_others_reserved_is_not_taken_from_them() {
        let mut ledger = Ledger::new(100 * GIB, 0);
        let (careful, greedy) = (attempt(), attempt());
        ledger.reserve(careful, 4 * GIB, 6 * GIB).unwrap();
        ledger.reserve(greedy, 2 * GIB, 6 * GIB).unwrap();
        ledger.used(greedy, 2 * GIB, 4 * GIB).unwrap();
        ledger.used(greedy, 2 * GIB + 1, 4 * GIB - 1).unwrap_err();
        ledger.release(greedy);
        ledger.used(careful, 4 * GIB, 10).unwrap();
    }

    #[test]
    fn a_disk_that_ran_full_is_not_used_until_it_has_room() {
        let mut ledger = Ledger::new(100 * GIB, GIB);
        ledger.ran_full();
        assert_eq!(ledger.available(50 * GIB), 0);
        ledger.measured(GIB);
        assert_eq!(ledger.available(50 * GIB), 0);
        ledger.measured(GIB + MINIMUM);
        assert_eq!(ledger.available(50 * GIB), 49 * GIB);
    }

    proptest! {
        /// Whatever is reserved, written and released: attempts that were let go on fit the limit and the disk.
        #[test]
        fn nobody_is_promised_what_is_not_there(steps in prop::collection::vec((0_u8..3, 0_usize..4, 0_u64..4000), 1..60)) {
            const DISK: u64 = 6000;
            const LIMIT: u64 = 5000;
            const KEEP: u64 = 500;
            let ids: Vec<AttemptId> = (0..4).map(|_| attempt()).collect();
            let mut used = [0_u64; 4];
            let mut ledger = Ledger::new(LIMIT, KEEP);
            for (what, who, bytes) in steps {
                let free = |used: &[u64; 4]| DISK.saturating_sub(used.iter().sum());
                let id = ids[who];
                match what {
                    0 => { let _ = ledger.reserve(id, bytes, free(&used)); }
                    1 if ledger.claims.contains_key(&id) && bytes >= used[who] => {
                        used[who] = bytes.min(used[who] + free(&used));
                        if ledger.used(id, used[who], free(&used)).is_err() {
                            used[who] = 0;
                            ledger.release(id);
                        }
                    }
                    1 => {}
                    _ => {
                        used[who] = 0;
                        ledger.release(id);
                    }
                }
                prop_assert!(ledger.reserved() <= LIMIT);
                prop_assert!(ledger.unused() + KEEP <= free(&used));
                prop_assert!(ledger.available(free(&used)) + ledger.reserved() <= LIMIT);
            }
        }
    }
}
