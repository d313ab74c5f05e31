//! With the rules of production every promise holds in every course, and the courses that matter are among them.

use std::time::Instant;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use super::{
    Bounds, LooksAt, Model, QUIET,
    farm::Chances,
    rules::{LeaseSince, Rules},
};

/// Explores everything; panics with the course that breaks a promise. Then looks for `courses`.
fn explore(name: &str, bounds: Bounds, rules: Rules, courses: &'static [&'static str]) {
    let started = Instant::now();
    let all = Model::of(bounds, rules, LooksAt::Promises)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{name}: {} states, {} moves, at most {} deep, in {:?}",
        all.unique_state_count(),
        all.state_count(),
        all.max_depth(),
        started.elapsed()
    );
    all.assert_properties();
    let some = Model::of(bounds, rules, LooksAt::Courses(courses)).checker().spawn_bfs().join();
    some.assert_properties();
    assert_eq!(some.discoveries().len(), courses.len(), "a course has a name that nobody knows");
}

#[test]
fn while_time_passes() {
    let courses = &[
        "a worker stops an attempt by itself",
        "a lease ends",
        "a later attempt is published",
        "the result of an older epoch is refused",
    ];
    explore("time passes", QUIET, Rules::PRODUCTION, courses);
}

/// Of which the worker uses four fifths, as in production: room for renewals that are older than the margin.
#[test]
fn with_a_lease_of_five_margins() {
    let bounds =
        Bounds { lease: 5, grace: 2, connections: 2, chances: Chances { cuts: 1, ..Chances::NONE }, ..QUIET };
    explore("a long lease and a cut", bounds, Rules::PRODUCTION, &["a lease ends", "a grace ends"]);
}

#[test]
fn while_the_coordinator_is_killed() {
    let bounds =
        Bounds { epochs: 3, connections: 2, chances: Chances { crashes: 1, ..Chances::NONE }, ..QUIET };
    let courses = &[
        "an attempt is adopted after a restart",
        "an adopted attempt is published",
        "nobody comes back after a restart",
        "an assignment is lost that was not durable",
        "a worker comes back with an attempt that it may not keep",
    ];
    explore("a crash", bounds, Rules::PRODUCTION, courses);
}

#[test]
fn while_commits_fail_and_the_coordinator_is_killed() {
    let chances = Chances { crashes: 1, failed_commits: 1, ..Chances::NONE };
    let bounds = Bounds { epochs: 3, connections: 2, on_the_way: 1, chances, ..QUIET };
    explore("a failed commit and a crash", bounds, Rules::PRODUCTION, &["a later attempt is published"]);
}

#[test]
fn while_the_coordinator_is_killed_twice() {
    let chances = Chances { crashes: 2, failed_commits: 1, ..Chances::NONE };
    let bounds = Bounds { epochs: 3, connections: 3, on_the_way: 1, chances, ..QUIET };
    explore("a failed commit and two crashes", bounds, Rules::PRODUCTION, &["a later attempt is published"]);
}

#[test]
fn while_connections_break() {
    let bounds = Bounds { connections: 2, chances: Chances { cuts: 1, ..Chances::NONE }, ..QUIET };
    let courses =
        &["a worker comes back within the grace and goes on", "a grace ends", "a later attempt is published"];
    explore("a cut", bounds, Rules::PRODUCTION, courses);
}

#[test]
fn with_a_grace_as_long_as_the_lease_nothing_ever_runs_twice() {
    let bounds = Bounds { grace: 2, connections: 2, chances: Chances { cuts: 1, ..Chances::NONE }, ..QUIET };
    explore("a cut and a long grace", bounds, Rules::PRODUCTION, &["a grace ends"]);
}

#[test]
fn while_workers_are_killed_and_hand_back() {
    let chances = Chances { deaths: 1, hand_backs: 1, ..Chances::NONE };
    let bounds = Bounds { connections: 2, chances, ..QUIET };
    let courses = &[
        "a worker comes back without its attempt",
        "an attempt is handed back",
        "a later attempt is published",
    ];
    explore("a death and a hand-back", bounds, Rules::PRODUCTION, courses);
}

#[test]
fn while_messages_are_lost_doubled_and_wrong() {
    let chances = Chances { losses: 1, duplicates: 1, lies: 1, ..Chances::NONE };
    let courses = &[
        "a result is refused because nothing runs any more",
        "a result is refused that comes on another session",
    ];
    explore("a bad network and a liar", Bounds { chances, ..QUIET }, Rules::PRODUCTION, courses);
}

#[test]
fn while_people_cancel_and_retry() {
    let chances = Chances { cancels: 1, retries: 1, ..Chances::NONE };
    let courses = &["a job is cancelled while it runs", "a job that was cancelled and retried is published"];
    explore("a cancel and a retry", Bounds { epochs: 3, chances, ..QUIET }, Rules::PRODUCTION, courses);
}

#[test]
fn however_slow_an_assignment_were_if_its_lease_counted_from_the_decision() {
    let rules = Rules { assigned_since: LeaseSince::Decided, ..Rules::PRODUCTION };
    let bounds = Bounds { slowest_assignment: None, ..QUIET };
    explore("slow assignments", bounds, rules, &["a later attempt is published"]);
}
