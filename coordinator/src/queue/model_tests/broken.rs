//! Without any one of the rules the model finds a broken promise: so it would find a mistake in them.

use common::id::Epoch;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use super::{
    Bounds, CANCELLED, CURRENT, LooksAt, Model, ONE_HOLDER, ONE_PUBLISHED, OWN_PREFIX, QUIET, TOLD,
    farm::Chances,
    rules::{LeaseSince, Rules},
};
use crate::queue::fence::{self, Current};

/// Finds the shortest course that breaks `promise`, and prints it.
fn breaks(promise: &'static str, bounds: Bounds, rules: Rules) {
    let checker = Model::of(bounds, rules, LooksAt::Promise(promise))
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let course = checker.assert_any_discovery(promise).into_actions();
    println!("not so that {promise}, after {} moves: {course:?}", course.len());
    assert!(!course.is_empty(), "the farm begins with every promise kept");
}

fn with(chances: Chances) -> Bounds {
    Bounds { epochs: 3, connections: 2, chances, ..QUIET }
}

#[test]
fn if_any_epoch_is_admitted() {
    let rules = Rules {
        admit: |current, epoch, session| {
            fence::admit(current.map(|current| Current { epoch, ..current }), epoch, session)
        },
        ..Rules::PRODUCTION
    };
    breaks(CURRENT, with(Chances::NONE), rules);
}

#[test]
fn if_any_session_is_admitted() {
    let rules = Rules {
        admit: |current, epoch, session| {
            fence::admit(current.map(|current| Current { session: Some(session), ..current }), epoch, session)
        },
        ..Rules::PRODUCTION
    };
    breaks(ONE_HOLDER, with(Chances { lies: 1, ..Chances::NONE }), rules);
}

#[test]
fn if_no_epoch_is_left_out_after_a_restart() {
    let rules = Rules { next_epoch_after_restart: fence::next_epoch, ..Rules::PRODUCTION };
    breaks(OWN_PREFIX, with(Chances { crashes: 1, failed_commits: 1, ..Chances::NONE }), rules);
}

#[test]
fn if_epochs_do_not_grow() {
    let rules = Rules { next_epoch: |newest| Epoch(newest.0.max(1)), ..Rules::PRODUCTION };
    breaks(OWN_PREFIX, with(Chances::NONE), rules);
}

#[test]
fn if_tasks_are_assigned_while_an_assignment_is_not_durable() {
    let rules = Rules { one_open_assignment: false, ..Rules::PRODUCTION };
    let chances = Chances { crashes: 1, failed_commits: 1, hand_backs: 1, ..Chances::NONE };
    breaks(OWN_PREFIX, with(chances), rules);
}

/// Two crashes, with an assignment between them whose epoch was left out after the first, and is left out again after the
/// second.
#[test]
fn if_the_first_assignment_after_a_restart_leaves_before_its_commit() {
    let rules = Rules { first_assignment_waits: false, ..Rules::PRODUCTION };
    let chances = Chances { crashes: 2, failed_commits: 1, ..Chances::NONE };
    breaks(OWN_PREFIX, Bounds { connections: 3, on_the_way: 1, ..with(chances) }, rules);
}

#[test]
fn if_the_lease_of_an_assignment_that_waits_begins_before_it_is_sent() {
    let rules = Rules { waiting_lease_begins_when_sent: false, ..Rules::PRODUCTION };
    breaks(ONE_HOLDER, with(Chances { crashes: 1, ..Chances::NONE }), rules);
}

#[test]
fn if_the_worker_uses_its_whole_lease() {
    let rules = Rules { worker_uses: |lease| lease, ..Rules::PRODUCTION };
    breaks(ONE_HOLDER, with(Chances::NONE), rules);
}

#[test]
fn if_the_worker_never_stops_by_itself() {
    let rules = Rules { worker_uses: |_| u8::MAX, ..Rules::PRODUCTION };
    breaks(ONE_HOLDER, with(Chances::NONE), rules);
}

#[test]
fn if_a_lease_ends_early() {
    let rules = Rules {
        is_lost: |deadline, now| {
            fence::is_lost(deadline.saturating_sub(std::time::Duration::from_secs(1)), now)
        },
        ..Rules::PRODUCTION
    };
    breaks(ONE_HOLDER, with(Chances::NONE), rules);
}

#[test]
fn if_a_renewal_counts_from_its_arrival() {
    let rules = Rules { renewed_since: LeaseSince::Arrived, ..Rules::PRODUCTION };
    breaks(ONE_HOLDER, Bounds { lease: 5, ..QUIET }, rules);
}

/// What production counts on: an assignment is shorter on its way than the margin by which the worker stops early.
#[test]
fn if_an_assignment_takes_longer_than_the_margin() {
    let bounds = Bounds { lease: 3, slowest_assignment: Some(2), ..QUIET };
    breaks(ONE_HOLDER, bounds, Rules::PRODUCTION);
}

#[test]
fn if_leases_end_at_once_after_a_restart() {
    let rules = Rules { lease_after_restart: |_| 0, ..Rules::PRODUCTION };
    breaks(ONE_HOLDER, with(Chances { crashes: 1, ..Chances::NONE }), rules);
}

#[test]
fn if_a_result_is_set_without_comparing() {
    let rules = Rules { compare_before_set: false, ..Rules::PRODUCTION };
    breaks(ONE_PUBLISHED, with(Chances::NONE), rules);
    breaks(CANCELLED, with(Chances { cancels: 1, ..Chances::NONE }), rules);
}

#[test]
fn if_workers_are_told_before_the_commit() {
    let rules = Rules { tell_after_commit: false, ..Rules::PRODUCTION };
    breaks(TOLD, with(Chances::NONE), rules);
}
