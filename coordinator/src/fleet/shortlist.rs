//! The fleet as one requirement sees it, best first.
//!
//! Answers what [`super::select`] answers, for one task after the other, at the price of one look at each worker instead of
//! one per task: with a thousand workers and a full queue that is the difference between a thousand and a million looks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use common::id::WorkerId;

use super::{
    Fleet, Placement, Policy, Requirement, Worker,
    select::{Rank, candidates},
};

/// Valid for one moment and one state of the fleet; [`Shortlist::refresh`] takes in what changed since.
#[derive(Debug)]
pub struct Shortlist {
    requirement: Arc<Requirement>,
    now: Duration,
    ranked: BTreeMap<Rank, Placement>,
    of_worker: HashMap<WorkerId, Vec<Rank>>,
}

impl Shortlist {
    #[must_use]
    pub fn new(requirement: Arc<Requirement>, fleet: &Fleet, now: Duration) -> Self {
        let mut list = Self { requirement, now, ranked: BTreeMap::new(), of_worker: HashMap::new() };
        for worker in fleet.iter() {
            list.add(worker, &fleet.policy);
        }
        list
    }

    /// The placement for a task that avoids nobody.
    #[must_use]
    pub fn best(&self) -> Option<&Placement> {
        self.ranked.values().next()
    }

    /// Looks again at a worker that took or gave back something.
    pub fn refresh(&mut self, worker: &Worker, policy: &Policy) {
        for rank in self.of_worker.remove(&worker.identity.id).into_iter().flatten() {
            self.ranked.remove(&rank);
        }
        self.add(worker, policy);
    }

    fn add(&mut self, worker: &Worker, policy: &Policy) {
        if !worker.has_room() {
            return;
        }
        let Ok(found) = candidates(&self.requirement, worker, policy, self.now) else { return };
        let ranks = self.of_worker.entry(worker.identity.id).or_default();
        for candidate in found {
            let rank = candidate.rank();
            ranks.push(rank);
            self.ranked.insert(rank, candidate.placement());
        }
    }
}
