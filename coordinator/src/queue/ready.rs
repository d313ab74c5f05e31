//! Tasks that wait for a worker, grouped by requirement: a million tasks with a dozen kinds of requirement cost a dozen
//! looks, not a million.
//!
//! Within a group the tasks of one owner and priority are a line, oldest first, and only the heads of lines are compared. When
//! an owner's share changes, its lines alone are put elsewhere: a decision costs the logarithm of the lines, whatever stands
//! in them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use common::id::TaskId;

use super::shares::{OwnerIndex, Share};
use crate::fleet::Requirement;

/// Tasks that others may get while the oldest of a group waits. Whoever has much running elsewhere would wait for ever else
/// for the one thing that others want too.
const PASSED_OVER: u64 = 1000;

/// Order within the queue: higher priority first, then who was passed over for too long, then the owner who has had least,
/// then older first (task ids sort by time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Reverse<i32>,
    patient: bool,
    share: Share,
    pub(super) task: TaskId,
    owner: OwnerIndex,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) priority: i32,
    pub(super) owner: OwnerIndex,
    pub(super) task: TaskId,
}

type GroupIndex = u32;
type LineKey = (Reverse<i32>, OwnerIndex);

/// Tasks of one owner and priority.
#[derive(Debug, Default)]
struct Line {
    tasks: BTreeSet<TaskId>,
    /// As it stands in its group; `None` while its owner may have nothing more.
    listed: Option<Rank>,
}

/// Tasks of one requirement.
#[derive(Debug)]
struct Group {
    requirement: Arc<Requirement>,
    lines: BTreeMap<LineKey, Line>,
    /// Heads of lines.
    by_share: BTreeSet<Rank>,
    by_age: BTreeSet<(Reverse<i32>, TaskId, OwnerIndex)>,
    /// The oldest task of the highest priority, and how many were given out when it became that.
    oldest: Option<(TaskId, u64)>,
}

impl Group {
    fn new(requirement: Arc<Requirement>) -> Self {
        Self {
            requirement,
            lines: BTreeMap::new(),
            by_share: BTreeSet::new(),
            by_age: BTreeSet::new(),
            oldest: None,
        }
    }

    /// Puts a line where it belongs.
    fn list(&mut self, key: LineKey, share: Option<Share>, given_out: u64) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let (priority, owner) = key;
        let head = line.tasks.first().copied();
        let listed =
            head.zip(share).map(|(task, share)| Rank { priority, patient: true, share, task, owner });
        let before = std::mem::replace(&mut line.listed, listed);
        if head.is_none() {
            self.lines.remove(&key);
        }
        if before == listed {
            return;
        }
        if let Some(rank) = before {
            self.by_share.remove(&rank);
            self.by_age.remove(&(priority, rank.task, owner));
        }
        if let Some(rank) = listed {
            self.by_share.insert(rank);
            self.by_age.insert((priority, rank.task, owner));
        }
        let oldest = self.by_age.first().map(|(_, task, _)| *task);
        if self.oldest.map(|(task, _)| task) != oldest {
            self.oldest = oldest.map(|task| (task, given_out));
        }
    }

    fn head(&self, given_out: u64) -> Option<Rank> {
        let best = self.by_share.first()?;
        let overdue = self.oldest.is_some_and(|(_, since)| given_out.saturating_sub(since) >= PASSED_OVER);
        let oldest = self.by_age.first().filter(|_| overdue);
        let Some((priority, _, owner)) = oldest else { return Some(*best) };
        let rank = self.lines.get(&(*priority, *owner))?.listed?;
        Some(Rank { patient: false, ..rank })
    }
}

/// A line as it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) requirement: &'a Requirement,
    pub(super) owner: OwnerIndex,
    pub(super) priority: i32,
    pub(super) tasks: usize,
    pub(super) oldest: Option<TaskId>,
}

#[derive(Debug, Default)]
pub(super) struct Ready {
    indices: BTreeMap<Arc<Requirement>, GroupIndex>,
    groups: HashMap<GroupIndex, Group>,
    next: GroupIndex,
    /// The lines of each owner.
    lines: HashMap<OwnerIndex, BTreeSet<(GroupIndex, Reverse<i32>)>>,
    /// Tasks that were given to workers.
    given_out: u64,
}

impl Ready {
    /// `share`: of its owner.
    pub(super) fn insert(&mut self, requirement: Arc<Requirement>, place: Place, share: Option<Share>) {
        let index = *self.indices.entry(requirement).or_insert_with_key(|requirement| {
            self.next = self.next.wrapping_add(1);
            self.groups.insert(self.next, Group::new(Arc::clone(requirement)));
            self.next
        });
        let Some(group) = self.groups.get_mut(&index) else { return };
        let key = (Reverse(place.priority), place.owner);
        let line = group.lines.entry(key).or_default();
        line.tasks.insert(place.task);
        if line.tasks.len() == 1 {
            self.lines.entry(place.owner).or_default().insert((index, key.0));
        }
        if line.tasks.first() == Some(&place.task) {
            group.list(key, share, self.given_out);
        }
    }

    pub(super) fn remove(&mut self, requirement: &Arc<Requirement>, place: Place, share: Option<Share>) {
        let Some(index) = self.indices.get(requirement).copied() else { return };
        let Some(group) = self.groups.get_mut(&index) else { return };
        let key = (Reverse(place.priority), place.owner);
        let Some(line) = group.lines.get_mut(&key) else { return };
        let was_head = line.tasks.first() == Some(&place.task);
        line.tasks.remove(&place.task);
        let is_empty = line.tasks.is_empty();
        if was_head {
            group.list(key, share, self.given_out);
        }
        if is_empty && let Some(lines) = self.lines.get_mut(&place.owner) {
            lines.remove(&(index, key.0));
            if lines.is_empty() {
                self.lines.remove(&place.owner);
            }
        }
        if group.lines.is_empty() {
            self.groups.remove(&index);
            self.indices.remove(requirement);
        }
    }

    /// An owner's share has changed.
    pub(super) fn reshare(&mut self, owner: OwnerIndex, share: Option<Share>) {
        for (index, priority) in self.lines.get(&owner).into_iter().flatten() {
            if let Some(group) = self.groups.get_mut(index) {
                group.list((*priority, owner), share, self.given_out);
            }
        }
    }

    /// A task is given to a worker.
    pub(super) fn give_out(&mut self) {
        self.given_out += 1;
    }

    /// The first task of each group, best first.
    pub(super) fn heads(&self) -> BTreeSet<(Rank, Arc<Requirement>)> {
        let head = |group: &Group| Some((group.head(self.given_out)?, group.requirement.clone()));
        self.groups.values().filter_map(head).collect()
    }

    /// Every line, those of owners who may have nothing more included.
    pub(super) fn lines(&self) -> impl Iterator<Item = Standing<'_>> {
        self.groups.values().flat_map(|group| {
            group.lines.iter().map(|((Reverse(priority), owner), line)| Standing {
                requirement: &group.requirement,
                owner: *owner,
                priority: *priority,
                tasks: line.tasks.len(),
                oldest: line.tasks.first().copied(),
            })
        })
    }

    /// The first task of one group.
    pub(super) fn head(&self, requirement: &Arc<Requirement>) -> Option<Rank> {
        self.groups.get(self.indices.get(requirement)?)?.head(self.given_out)
    }
}

#[cfg(test)]
#[path = "ready_tests.rs"]
mod tests;
