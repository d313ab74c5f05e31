//! Who has had how much: what makes the order between owners fair.
//!
//! An owner's share is the tasks that run for it now, then the time that its tasks took. Whoever comes (back) is put level with
//! what the one who has had least had when the last task was given out (start-time fair queueing): being away saves nothing
//! up, and coming is no waiting at the end. Owners without jobs are forgotten once everybody else has had as much.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use common::api::Quotas;

/// Milliseconds that a turn costs besides the time that it takes, so that turns of no time alternate too.
const TURN: u64 = 1000;
/// Owners without jobs whose past is remembered.
const REMEMBERED: usize = 10_000;

/// An owner while it is known; nobody is one too.
pub(super) type OwnerIndex = u32;

/// What an owner has had; least comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share {
    running: u32,
    /// Milliseconds.
    served: u64,
}

#[derive(Debug, Default)]
struct Owner {
    name: Option<Arc<str>>,
    /// Jobs in memory.
    jobs: usize,
    /// Those of them that wait.
    queued: u32,
    share: Share,
}

/// A quota that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsedUp {
    pub(super) owner: String,
    pub(super) limit: u32,
}

#[derive(Debug, Default)]
pub(super) struct Owners {
    by_name: HashMap<Option<Arc<str>>, OwnerIndex>,
    known: HashMap<OwnerIndex, Owner>,
    next: OwnerIndex,
    /// Those with jobs, by what they have had.
    present: BTreeSet<(u64, OwnerIndex)>,
    /// Those without.
    absent: BTreeSet<(u64, OwnerIndex)>,
    /// The least that anybody had had who was here when the last task was given out; it never falls.
    level: u64,
    usual: Quotas,
    own: BTreeMap<String, Quotas>,
}

impl Owners {
    pub(super) fn new(usual: Quotas) -> Self {
        Self { usual, ..Self::default() }
    }

    /// A job of this owner is in memory.
    pub(super) fn enter(&mut self, name: Option<&str>) -> OwnerIndex {
        let name: Option<Arc<str>> = name.map(Arc::from);
        let index = *self.by_name.entry(name.clone()).or_insert_with(|| {
            self.next += 1;
            self.known.insert(self.next, Owner { name, ..Owner::default() });
            self.next
        });
        if let Some(owner) = self.known.get_mut(&index) {
            owner.jobs += 1;
            if owner.jobs == 1 {
                self.absent.remove(&(owner.share.served, index));
                owner.share.served = owner.share.served.max(self.level);
                self.present.insert((owner.share.served, index));
            }
        }
        index
    }

    /// A job of this owner has left the memory.
    pub(super) fn leave(&mut self, index: OwnerIndex) {
        if let Some(owner) = self.known.get_mut(&index) {
            owner.jobs = owner.jobs.saturating_sub(1);
            if owner.jobs == 0 {
                self.present.remove(&(owner.share.served, index));
                self.absent.insert((owner.share.served, index));
            }
        }
    }

    /// A job of this owner begins to wait, or does not any more.
    pub(super) fn waits(&mut self, index: OwnerIndex, waits: bool) {
        if let Some(owner) = self.known.get_mut(&index) {
            owner.queued = if waits { owner.queued + 1 } else { owner.queued.saturating_sub(1) };
        }
    }

    /// Jobs that wait, of all owners.
    pub(super) fn waiting(&self) -> u32 {
        self.known.values().map(|owner| owner.queued).sum()
    }

    /// A task of this owner runs.
    pub(super) fn begin(&mut self, index: OwnerIndex) {
        self.rise();
        self.change(index, |share| {
            share.running += 1;
            share.served += TURN;
        });
    }

    /// A task of this owner ran for so many milliseconds.
    pub(super) fn end(&mut self, index: OwnerIndex, ran: u64) {
        self.change(index, |share| {
            share.running = share.running.saturating_sub(1);
            share.served = share.served.saturating_add(ran);
        });
    }

    fn change(&mut self, index: OwnerIndex, change: impl FnOnce(&mut Share)) {
        let Some(owner) = self.known.get_mut(&index) else { return };
        let set = if owner.jobs > 0 { &mut self.present } else { &mut self.absent };
        set.remove(&(owner.share.served, index));
        change(&mut owner.share);
        set.insert((owner.share.served, index));
    }

    fn rise(&mut self) {
        if let Some((least, _)) = self.present.first() {
            self.level = self.level.max(*least);
        }
        while let Some((served, index)) = self.absent.first().copied()
            && (served <= self.level || self.absent.len() > REMEMBERED)
        {
            self.absent.pop_first();
            if let Some(owner) = self.known.remove(&index) {
                self.by_name.remove(&owner.name);
            }
        }
    }

    /// What it has had; `None` while as much runs as may.
    pub(super) fn share(&self, index: OwnerIndex) -> Option<Share> {
        let owner = self.known.get(&index)?;
        self.running_quota(owner).is_none().then_some(owner.share)
    }

    /// The quota that keeps its tasks waiting.
    pub(super) fn held_up(&self, index: OwnerIndex) -> Option<UsedUp> {
        self.running_quota(self.known.get(&index)?)
    }

    fn running_quota(&self, owner: &Owner) -> Option<UsedUp> {
        let name = owner.name.as_deref()?;
        let limit = self.quotas(name).running?;
        (owner.share.running >= limit).then(|| UsedUp { owner: name.to_owned(), limit })
    }

    /// The quota that refuses another job of this owner.
    pub(super) fn refuses(&self, name: Option<&str>) -> Option<UsedUp> {
        let name = name?;
        let limit = self.quotas(name).queued?;
        let index = self.by_name.get(&Some(Arc::from(name)));
        let queued = index.and_then(|index| self.known.get(index)).map_or(0, |owner| owner.queued);
        (queued >= limit).then(|| UsedUp { owner: name.to_owned(), limit })
    }

    /// What holds for this owner.
    pub(super) fn quotas(&self, name: &str) -> Quotas {
        self.own.get(name).copied().unwrap_or(self.usual)
    }

    /// `None`: what is usual. Returns the owner, if it is here.
    pub(super) fn set_quotas(&mut self, name: &str, quotas: Option<Quotas>) -> Option<OwnerIndex> {
        match quotas {
            Some(quotas) => self.own.insert(name.to_owned(), quotas),
            None => self.own.remove(name),
        };
        self.by_name.get(&Some(Arc::from(name))).copied()
    }

    /// Jobs that wait and tasks that run, of owners that have a name and jobs.
    pub(super) fn in_use(&self) -> BTreeMap<String, (u32, u32)> {
        let present = self.known.values().filter(|owner| owner.jobs > 0);
        present
            .filter_map(|owner| {
                Some((owner.name.as_deref()?.to_owned(), (owner.queued, owner.share.running)))
            })
            .collect()
    }

    /// `None`: nobody, or it is not known any more.
    pub(super) fn name(&self, index: OwnerIndex) -> Option<&str> {
        self.known.get(&index)?.name.as_deref()
    }

    /// Jobs that wait, of everybody.
    pub(super) fn queued(&self) -> u64 {
        self.known.values().map(|owner| u64::from(owner.queued)).sum()
    }

    /// Jobs in memory, those that wait and tasks that run, by owner.
    #[cfg(test)]
    pub(super) fn counts(&self) -> BTreeMap<Option<String>, (usize, u32, u32)> {
        let counts = |owner: &Owner| (owner.jobs, owner.queued, owner.share.running);
        self.known
            .values()
            .filter(|owner| owner.jobs > 0)
            .map(|owner| (owner.name.as_deref().map(str::to_owned), counts(owner)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_is_level_with_who_has_had_least() {
        let mut owners = Owners::default();
        let ann = owners.enter(Some("ann"));
        owners.begin(ann);
        owners.end(ann, 50_000);
        owners.begin(ann);
        owners.end(ann, 50_000);
        let bob = owners.enter(Some("bob"));
        assert!(owners.share(bob) < owners.share(ann), "it is next");
        owners.begin(bob);
        assert!(owners.share(ann) < owners.share(bob), "less runs for ann");
        owners.end(bob, 60_000);
        assert!(owners.share(ann) < owners.share(bob), "the time before bob came does not count");
    }

    #[test]
    fn who_goes_and_comes_back_has_saved_nothing_and_owes_what_it_had() {
        let mut owners = Owners::default();
        let (ann, bob) = (owners.enter(Some("ann")), owners.enter(Some("bob")));
        owners.begin(ann);
        owners.end(ann, 50_000);
        owners.leave(ann);
        let ann = owners.enter(Some("ann"));
        assert!(owners.share(bob) < owners.share(ann));
        owners.leave(ann);
        owners.begin(bob);
        owners.end(bob, 90_000);
        assert_eq!(owners.known.len(), 2);
        owners.begin(bob);
        assert_eq!(owners.known.len(), 1, "forgotten: everybody has had more");
        owners.end(bob, 0);
        let ann = owners.enter(Some("ann"));
        assert!(owners.share(ann) < owners.share(bob));
    }

    #[test]
    fn a_quota_of_running_tasks_holds_up_and_one_of_waiting_jobs_refuses() {
        let usual = Quotas { running: Some(1), queued: Some(2), bytes: None };
        let mut owners = Owners::new(usual);
        let ann = owners.enter(Some("ann"));
        owners.begin(ann);
        assert_eq!(owners.share(ann), None);
        assert_eq!(owners.held_up(ann), Some(UsedUp { owner: "ann".to_owned(), limit: 1 }));
        for _ in 0..2 {
            assert_eq!(owners.refuses(Some("ann")), None);
            owners.waits(ann, true);
        }
        assert!(owners.refuses(Some("ann")).is_some() && owners.refuses(Some("bob")).is_none());
        let nobody = owners.enter(None);
        owners.begin(nobody);
        assert!(owners.share(nobody).is_some() && owners.refuses(None).is_none(), "nobody has no quota");
        owners.set_quotas("ann", Some(Quotas::default()));
        assert!(owners.share(ann).is_some() && owners.refuses(Some("ann")).is_none());
        owners.set_quotas("ann", None);
        assert!(owners.share(ann).is_none());
    }
}
