//! Tasks that wait for a worker, grouped by requirement: a million tasks with a dozen kinds of requirement cost a dozen
//! looks, not a million.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::id::TaskId;

use crate::fleet::Requirement;

/// Order within the queue: higher priority first, then older first (task ids sort by time).
pub(super) type Rank = (Reverse<i32>, TaskId);

#[derive(Debug, Default)]
pub(super) struct Ready {
    groups: BTreeMap<Arc<Requirement>, BTreeSet<Rank>>,
}

impl Ready {
    pub(super) fn insert(&mut self, requirement: Arc<Requirement>, rank: Rank) {
        self.groups.entry(requirement).or_default().insert(rank);
    }

    pub(super) fn remove(&mut self, requirement: &Arc<Requirement>, rank: Rank) {
        if let Some(group) = self.groups.get_mut(requirement) {
            group.remove(&rank);
            if group.is_empty() {
                self.groups.remove(requirement);
            }
        }
    }

    /// The first task of each group, best first.
    pub(super) fn heads(&self) -> BTreeSet<(Rank, Arc<Requirement>)> {
        self.groups
            .iter()
            .filter_map(|(requirement, group)| Some((*group.first()?, requirement.clone())))
            .collect()
    }

    /// The first task of one group.
    pub(super) fn head(&self, requirement: &Arc<Requirement>) -> Option<Rank> {
        self.groups.get(requirement)?.first().copied()
    }
}
