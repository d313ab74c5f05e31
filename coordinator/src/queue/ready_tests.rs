//! The order in which tasks that wait are given out.

use std::collections::BTreeMap;

use common::media::HardwarePolicy;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{fleet::testing, queue::shares::Owners};

/// One worker with one slot of which everything waits.
struct Queue {
    ready: Ready,
    owners: Owners,
    requirement: Arc<Requirement>,
    waiting: BTreeMap<TaskId, Place>,
    next: u128,
}

impl Queue {
    fn new() -> Self {
        Self {
            ready: Ready::default(),
            owners: Owners::default(),
            requirement: Arc::new(testing::h264(HardwarePolicy::Prefer)),
            waiting: BTreeMap::new(),
            next: 0,
        }
    }

    fn submit(&mut self, owner: &str, priority: i32) -> TaskId {
        self.next += 1;
        let task = TaskId(Uuid::from_u128(self.next));
        let place = Place { priority, owner: self.owners.enter(Some(owner)), task };
        self.waiting.insert(task, place);
        self.ready.insert(Arc::clone(&self.requirement), place, self.owners.share(place.owner));
        task
    }

    fn begin(&mut self) -> Option<Place> {
        let rank = self.ready.head(&self.requirement)?;
        let place = self.waiting.remove(&rank.task).unwrap();
        self.ready.remove(&self.requirement, place, self.owners.share(place.owner));
        self.ready.give_out();
        self.owners.begin(place.owner);
        self.ready.reshare(place.owner, self.owners.share(place.owner));
        Some(place)
    }

    fn end(&mut self, place: Place, ran: u64) {
        self.owners.end(place.owner, ran);
        self.owners.leave(place.owner);
        self.ready.reshare(place.owner, self.owners.share(place.owner));
    }

    /// Runs the next one to its end.
    fn serve(&mut self, ran: u64) -> Option<TaskId> {
        let place = self.begin()?;
        self.end(place, ran);
        Some(place.task)
    }
}

#[test]
fn one_job_among_ten_thousand_of_another_owner_is_next() {
    let mut queue = Queue::new();
    for _ in 0..10_000 {
        queue.submit("ann", 0);
    }
    for _ in 0..100 {
        queue.serve(5000);
    }
    let only = queue.submit("bob", 0);
    assert_eq!(queue.serve(1), Some(only));
}

#[test]
fn owners_take_turns_by_the_time_that_their_tasks_take() {
    let mut queue = Queue::new();
    let mut owners = BTreeMap::new();
    for _ in 0..100 {
        owners.insert(queue.submit("ann", 0), "ann");
        owners.insert(queue.submit("bob", 0), "bob");
    }
    let mut served = BTreeMap::from([("ann", 0_u64), ("bob", 0)]);
    for _ in 0..60 {
        let place = queue.begin().unwrap();
        let owner = owners[&place.task];
        // Ann's take nine times as long.
        let ran = if owner == "ann" { 89_000 } else { 9_000 };
        queue.end(place, ran);
        *served.get_mut(owner).unwrap() += ran;
    }
    let (ann, bob) = (served["ann"], served["bob"]);
    assert!(ann.abs_diff(bob) <= 120_000, "ann {ann}, bob {bob}");
}

#[test]
fn many_slots_are_shared_evenly_whoever_came_first() {
    let mut queue = Queue::new();
    for _ in 0..50 {
        queue.submit("ann", 0);
    }
    for _ in 0..50 {
        queue.submit("bob", 0);
        queue.submit("eve", 0);
    }
    let mut running = BTreeMap::new();
    for _ in 0..30 {
        *running.entry(queue.begin().unwrap().owner).or_insert(0) += 1;
    }
    assert_eq!(running.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn nobody_is_passed_over_for_ever_for_having_much_elsewhere() {
    let mut queue = Queue::new();
    let ann = queue.owners.enter(Some("ann"));
    for _ in 0..50 {
        // On slots that nobody else wants.
        queue.owners.begin(ann);
    }
    let waits = queue.submit("ann", 0);
    let mut given_out = 0;
    loop {
        queue.submit("bob", 0);
        if queue.serve(10) == Some(waits) {
            break;
        }
        given_out += 1;
        assert!(given_out <= PASSED_OVER);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever comes in whatever order: priorities come first, of one owner the oldest, the same again gives the same, and
    /// everything is served.
    #[test]
    fn the_order_is_by_priority_then_fair_then_by_age(
        steps in prop::collection::vec((0_u8..5, -1_i32..=1, 0_u64..20_000, prop::bool::ANY), 1..120),
    ) {
        let run = || {
            let mut queue = Queue::new();
            let mut order = Vec::new();
            let serve = |queue: &mut Queue, ran: u64, order: &mut Vec<TaskId>| {
                let waiting = queue.waiting.clone();
                let Some(task) = queue.serve(ran) else {
                    assert!(waiting.is_empty(), "something waits and nothing is given out");
                    return;
                };
                let place = waiting[&task];
                let highest = waiting.values().map(|place| place.priority).max().unwrap();
                assert_eq!(place.priority, highest);
                let before = |other: &&Place| other.owner == place.owner && other.priority == place.priority;
                assert_eq!(waiting.values().filter(before).map(|place| place.task).min(), Some(task));
                order.push(task);
            };
            for (owner, priority, ran, serves) in &steps {
                queue.submit(&owner.to_string(), *priority);
                if *serves {
                    serve(&mut queue, *ran, &mut order);
                }
            }
            while !queue.waiting.is_empty() {
                serve(&mut queue, 1, &mut order);
            }
            assert!(queue.ready.groups.is_empty() && queue.ready.lines.is_empty());
            order
        };
        prop_assert_eq!(run(), run());
    }
}
