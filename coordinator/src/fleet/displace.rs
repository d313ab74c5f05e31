//! Whom live takes a slot from: placement where nobody is free, at the price of one batch attempt.

use std::{cmp::Reverse, time::Duration};

use common::id::AttemptId;

use super::{
    Class, Fleet, Placement, Requirement,
    select::{Rank, Unfit, best, candidates, candidates_without},
};

/// What it costs to take a batch attempt away; the least is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// It is stopping already, and only holds its slot until its worker says that it has.
    Nothing,
    /// It goes back to the queue.
    Attempt {
        priority: i32,
        /// Work that is lost.
        ran: Duration,
    },
}

/// A place for live work, and the batch attempt that has to go for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub placement: Placement,
    pub victim: Option<AttemptId>,
}

/// Where live work goes: a free place; the place of one batch attempt that has to go for it; the same on the workers that
/// are to be avoided. Never another live attempt's place.
///
/// `cost` says what taking an attempt away costs; `None`: it cannot be taken away.
#[must_use]
pub fn make_room(
    requirement: &Requirement,
    fleet: &Fleet,
    cost: impl Fn(AttemptId) -> Option<Cost>,
    now: Duration,
) -> Option<Room> {
    [false, true].into_iter().find_map(|avoided| {
        if let Some(placement) = best(requirement, fleet, avoided, now) {
            return Some(Room { placement, victim: None });
        }
        displace(requirement, fleet, avoided, &cost, now)
    })
}

/// What decides between victims: the kind of encoder that the policy would choose, then what it costs, then what decides
/// between workers.
type Preference = (bool, Cost, Rank, Reverse<AttemptId>);

fn displace(
    requirement: &Requirement,
    fleet: &Fleet,
    avoided: bool,
    cost: impl Fn(AttemptId) -> Option<Cost>,
    now: Duration,
) -> Option<Room> {
    let mut chosen: Option<(Preference, Room)> = None;
    let workers = fleet
        .iter()
        .filter(|worker| requirement.avoid.contains(&worker.identity.id) == avoided)
        .filter(|worker| matches!(candidates(requirement, worker, &fleet.policy, now), Err(Unfit::Full(_))));
    for worker in workers {
        for (victim, _) in worker.held.iter().filter(|(_, held)| held.class == Class::Batch) {
            let Some(cost) = cost(*victim) else { continue };
            let found = candidates_without(requirement, worker, &fleet.policy, now, Some(*victim));
            for candidate in found.into_iter().flatten() {
                let preference = (candidate.in_software(), cost, candidate.rank(), Reverse(*victim));
                if chosen.as_ref().is_none_or(|(best, _)| preference < *best) {
                    let room = Room { placement: candidate.placement(), victim: Some(*victim) };
                    chosen = Some((preference, room));
                }
            }
        }
    }
    chosen.map(|(_, room)| room)
}
