//! What follows for a variant from what happens to it.

use super::*;

const HERE: u128 = 1;
const THERE: u128 = 2;

fn worker(number: u128) -> WorkerRef {
    WorkerRef { id: WorkerId(uuid::Uuid::from_u128(number)), name: format!("w{number}") }
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A variant with what is seen from outside.
struct Bench {
    variant: Variant,
    now: Duration,
    orders: Vec<Order>,
    ended: Vec<AttemptId>,
    over: Option<Effect>,
}

impl Bench {
    fn new(redundancy: u8) -> Self {
        let terms = Terms { linger: at(30.0), hold: at(15.0), redundancy, copies: false };
        let variant = Variant::new(terms, TaskId::new(), Duration::ZERO);
        Self { variant, now: Duration::ZERO, orders: Vec::new(), ended: Vec::new(), over: None }
    }

    /// One that is watched and encoded by `HERE`, and has delivered.
    fn going(redundancy: u8) -> Self {
        let mut bench = Self::new(redundancy);
        bench.act(|variant, now| variant.watched_by(1, now));
        bench.act(|variant, now| variant.generation(1, now));
        let first = bench.order();
        bench.act(|variant, now| variant.placed(first.attempt, worker(HERE), None, now));
        bench.gives(&[first.attempt]);
        bench
    }

    fn act(&mut self, happens: impl FnOnce(&mut Variant, Duration) -> Vec<Effect>) {
        let mut effects: VecDeque<Effect> = happens(&mut self.variant, self.now).into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Place(order) => self.orders.push(order),
                Effect::End(attempt, _) => self.ended.push(attempt),
                Effect::GiveUp(attempt, reason) => {
                    effects.extend(self.variant.broken(attempt, &reason, None, None, self.now));
                }
                last => assert_eq!(self.over.replace(last), None, "it ends once"),
            }
        }
    }

    /// The one order that was given since the last look.
    fn order(&mut self) -> Order {
        assert_eq!(self.orders.len(), 1, "{:?}", self.orders);
        self.orders.remove(0)
    }

    /// Time passes with the source flowing; these attempts give frames all the time.
    fn passes(&mut self, seconds: f64, giving: &[AttemptId]) {
        let until = self.now + at(seconds);
        while self.now < until {
            self.now += at(0.1);
            self.gives(giving);
        }
    }

    fn gives(&mut self, giving: &[AttemptId]) {
        let now = self.now;
        let seen: Vec<Seen> =
            giving.iter().map(|attempt| Seen { attempt: *attempt, output_at: Some(now) }).collect();
        let delivered = (!giving.is_empty()).then_some(now);
        self.act(|variant, now| variant.tick(&seen, Some(now), delivered, now));
    }

    /// Time passes, the source flows, and the attempt has given its last frame.
    fn hangs(&mut self, seconds: f64, attempt: AttemptId) {
        self.hangs_since(seconds, attempt, self.now);
    }

    fn hangs_since(&mut self, seconds: f64, attempt: AttemptId, last: Duration) {
        let until = self.now + at(seconds);
        while self.now < until {
            self.now += at(0.1);
            let seen = [Seen { attempt, output_at: Some(last) }];
            self.act(|variant, now| variant.tick(&seen, Some(now), Some(last), now));
        }
    }

    fn main(&self) -> AttemptId {
        self.variant.feeds()[0].attempt
    }
}

#[test]
fn many_viewers_start_one_encode() {
    let mut bench = Bench::new(1);
    bench.act(|variant, now| variant.generation(1, now));
    for viewers in 1..=100 {
        bench.act(|variant, now| variant.watched_by(viewers, now));
    }
    let order = bench.order();
    assert_eq!((order.role, order.preempts), (Role::Generation(1), true));
}

#[test]
fn nothing_is_ordered_before_the_source_is_known_and_after_ten_seconds_it_is_refused() {
    let mut bench = Bench::new(1);
    bench.act(|variant, now| variant.watched_by(1, now));
    bench.passes(9.5, &[]);
    assert!(bench.orders.is_empty() && bench.over.is_none());
    bench.passes(1.0, &[]);
    assert!(matches!(bench.over, Some(Effect::Refuse(Refusal::NoSource(_)))), "{:?}", bench.over);
}

#[test]
fn without_room_the_first_viewer_is_told_why() {
    let mut bench = Bench::new(1);
    bench.act(|variant, now| variant.watched_by(1, now));
    bench.act(|variant, now| variant.generation(1, now));
    let order = bench.order();
    bench.act(|variant, now| variant.not_placed(order.attempt, "all full".to_owned(), now));
    assert_eq!(bench.over, Some(Effect::Refuse(Refusal::NoCapacity("all full".to_owned()))));
}

#[test]
fn an_attempt_that_fails_before_its_first_frame_may_still_hold_the_only_place() {
    let mut bench = Bench::new(1);
    bench.act(|variant, now| variant.watched_by(1, now));
    bench.act(|variant, now| variant.generation(1, now));
    let first = bench.order();
    bench.act(|variant, now| variant.placed(first.attempt, worker(HERE), None, now));
    bench.act(|variant, now| variant.broken(first.attempt, "crashed", None, None, now));
    let second = bench.order();
    bench.act(|variant, now| variant.not_placed(second.attempt, "all full".to_owned(), now));
    assert_eq!(bench.over, None);
    bench.passes(0.6, &[]);
    let third = bench.order();
    bench.act(|variant, now| variant.placed(third.attempt, worker(HERE), None, now));
    // It is not waited for without an end.
    bench.act(|variant, now| variant.broken(third.attempt, "crashed", None, None, now));
    while bench.over.is_none() {
        assert!(bench.now < at(20.0));
        bench.passes(0.1, &[]);
        for order in std::mem::take(&mut bench.orders) {
            bench.act(|variant, now| variant.not_placed(order.attempt, "all full".to_owned(), now));
        }
    }
    assert!(matches!(bench.over, Some(Effect::Close(_))), "{:?}", bench.over);
}

#[test]
fn a_lost_attempt_is_replaced_at_once_somewhere_else() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.now += at(5.0);
    let delivered = bench.now - at(0.04);
    bench.act(|variant, now| variant.broken(first, "killed", Some(delivered), None, now));
    let order = bench.order();
    assert_eq!((order.role, order.avoid.clone()), (Role::Replacement, vec![worker(HERE).id]));
    assert_eq!(bench.ended, [first]);
    bench.act(|variant, now| variant.placed(order.attempt, worker(THERE), None, now));
    assert_eq!(bench.variant.problem.as_deref(), Some("killed"), "viewers are still held");
    bench.now += at(0.5);
    bench.gives(&[order.attempt]);
    assert_eq!(bench.variant.problem, None);
    let failover = bench.variant.failovers.back().unwrap();
    assert_eq!((failover.to.clone(), failover.stall), (Some(worker(THERE)), Some(at(0.54))));
    assert!(!bench.variant.is_held());
}

#[test]
fn who_gives_nothing_for_two_seconds_while_the_source_flows_is_replaced() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.hangs(1.8, first);
    bench.gives(&[first]);
    bench.hangs(1.8, first);
    assert!(bench.orders.is_empty(), "each silence counts for itself");
    bench.gives(&[first]);
    bench.hangs(2.1, first);
    assert_eq!(bench.order().role, Role::Replacement);
    assert!(
        bench.variant.problem.as_ref().unwrap().contains("no output for 2."),
        "{:?}",
        bench.variant.problem
    );
}

#[test]
fn who_gives_nothing_because_nothing_comes_in_is_left_alone() {
    let mut bench = Bench::going(1);
    let (first, last) = (bench.main(), bench.now);
    for _ in 0..100 {
        bench.now += at(0.1);
        let seen = [Seen { attempt: first, output_at: Some(last) }];
        bench.act(|variant, now| variant.tick(&seen, Some(last), Some(last), now));
    }
    assert!(bench.orders.is_empty() && bench.over.is_none());
}

#[test]
fn viewers_are_held_for_a_time_and_then_let_go() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.act(|variant, now| variant.broken(first, "killed", Some(now), None, now));
    for _ in 0..14 {
        let order = bench.order();
        bench.act(|variant, now| variant.not_placed(order.attempt, "nobody is there".to_owned(), now));
        assert!(bench.variant.is_held() && bench.over.is_none());
        // A worker that comes is asked at once.
        bench.now += at(1.0);
        bench.act(Variant::room);
    }
    bench.now += at(2.0);
    bench.gives(&[]);
    let Some(Effect::Close(reason)) = &bench.over else { panic!("{:?}", bench.over) };
    assert!(reason.contains("nobody is there"), "{reason}");
}

#[test]
fn nobody_watches_and_after_the_linger_it_is_over() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.act(|variant, now| variant.watched_by(0, now));
    bench.passes(29.0, &[first]);
    assert!(bench.over.is_none() && bench.variant.is_lingering());
    bench.act(|variant, now| variant.watched_by(1, now));
    bench.passes(40.0, &[first]);
    assert!(bench.over.is_none());
    bench.act(|variant, now| variant.watched_by(0, now));
    bench.passes(31.0, &[first]);
    assert!(matches!(bench.over, Some(Effect::Close(_))));
    assert_eq!(bench.ended, [first]);
}

#[test]
fn a_drained_worker_gives_it_up_only_when_another_has_taken_over() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.act(|variant, now| variant.leaving(first, "draining", now));
    let order = bench.order();
    assert_eq!((order.role, order.avoid.clone()), (Role::Successor, vec![worker(HERE).id]));
    bench.act(|variant, now| variant.placed(order.attempt, worker(THERE), None, now));
    bench.passes(1.0, &[first, order.attempt]);
    assert!(bench.ended.is_empty());
    bench.act(|variant, now| variant.delivers(order.attempt, now));
    assert_eq!(bench.ended, [first]);
    let failover = bench.variant.failovers.back().unwrap();
    assert_eq!((failover.stall, failover.reason.as_str()), (Some(Duration::ZERO), "draining"));
    bench.passes(60.0, &[order.attempt]);
    assert!(bench.orders.is_empty());
}

#[test]
fn a_successor_that_does_not_catch_up_is_tried_elsewhere() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.act(|variant, now| variant.leaving(first, "draining", now));
    let order = bench.order();
    bench.act(|variant, now| variant.placed(order.attempt, worker(THERE), None, now));
    bench.passes(31.0, &[first, order.attempt]);
    assert_eq!(bench.ended, [order.attempt]);
    assert_eq!(bench.order().role, Role::Successor);
}

#[test]
fn an_attempt_is_not_to_blame_for_a_source_that_fell_silent() {
    let mut bench = Bench::going(1);
    let main = bench.main();
    bench.passes(3.0, &[main]);
    let (last, until) = (bench.now, bench.now + at(30.0));
    while bench.now < until {
        bench.now += at(0.1);
        let seen = [Seen { attempt: main, output_at: Some(last) }];
        bench.act(|variant, now| variant.tick(&seen, Some(last), Some(last), now));
    }
    // It flows again, and an encoder takes its time.
    bench.hangs_since(1.5, main, last);
    assert!(bench.orders.is_empty(), "{:?}", bench.variant.problem);
    bench.hangs_since(1.0, main, last);
    assert_eq!(bench.order().role, Role::Replacement, "now it is to blame");
}

#[test]
fn with_redundancy_a_standby_runs_elsewhere_and_takes_over() {
    let mut bench = Bench::going(2);
    let first = bench.main();
    let standby = bench.order();
    assert_eq!((standby.role, standby.avoid.clone()), (Role::Standby, vec![worker(HERE).id]));
    bench.act(|variant, now| variant.placed(standby.attempt, worker(THERE), None, now));
    bench.passes(3.0, &[first, standby.attempt]);
    assert!(bench.orders.is_empty());
    bench.act(|variant, now| variant.delivers(standby.attempt, now));
    let next = bench.order();
    assert_eq!((next.role, next.avoid), (Role::Standby, vec![worker(THERE).id]));
}

#[test]
fn a_new_generation_gets_a_new_attempt_and_the_old_one_may_finish() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.act(|variant, now| variant.generation(2, now));
    let order = bench.order();
    // The slot of the old one is free in a moment: nobody is robbed for that.
    assert_eq!((order.role, order.preempts), (Role::Generation(2), false));
    bench.act(|variant, now| variant.not_placed(order.attempt, "full".to_owned(), now));
    assert!(bench.over.is_none());
    bench.act(|variant, now| variant.finished(first, now));
    bench.act(Variant::room);
    let order = bench.order();
    assert_eq!((order.role, order.preempts), (Role::Generation(2), true));
}

#[test]
fn an_encoder_that_fails_everywhere_is_given_up_before_the_first_frame() {
    let mut bench = Bench::new(1);
    bench.act(|variant, now| variant.watched_by(1, now));
    bench.act(|variant, now| variant.generation(1, now));
    for number in 1..=3 {
        let order = bench.order();
        assert_eq!(order.avoid.len(), number as usize - 1);
        bench.act(|variant, now| variant.placed(order.attempt, worker(number), None, now));
        bench.act(|variant, now| variant.broken(order.attempt, "its connection broke", None, None, now));
        // What the worker says comes later than the end of its connection.
        bench.variant.explain(order.attempt, "ffmpeg crashed");
        bench.passes(1.0, &[]);
    }
    assert_eq!(bench.over, Some(Effect::Refuse(Refusal::Failed("ffmpeg crashed".to_owned()))));
}

#[test]
fn what_is_placed_when_it_is_not_needed_any_more_is_ended() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.act(|variant, now| variant.broken(first, "killed", Some(now), None, now));
    let order = bench.order();
    bench.act(|variant, _| variant.close("removed".to_owned()));
    bench.act(|variant, now| variant.placed(order.attempt, worker(THERE), None, now));
    assert!(bench.ended.iter().filter(|ended| **ended == order.attempt).count() >= 1);
    assert!(bench.variant.feeds().is_empty());
}

#[test]
fn a_standby_that_went_on_by_itself_needs_no_replacement_but_a_standby_of_its_own() {
    let mut bench = Bench::going(2);
    let (first, standby) = (bench.main(), bench.order());
    bench.act(|variant, now| variant.placed(standby.attempt, worker(THERE), None, now));
    bench.act(|variant, now| variant.broken(first, "killed", Some(now), Some(standby.attempt), now));
    assert_eq!(bench.order().role, Role::Standby);
    assert_eq!(bench.variant.failovers.back().unwrap().to, Some(worker(THERE)));
    assert!(!bench.variant.is_held());
}

#[test]
fn a_successor_that_cannot_go_on_makes_room_for_a_replacement() {
    let mut bench = Bench::going(1);
    let first = bench.main();
    bench.act(|variant, now| variant.leaving(first, "draining", now));
    let successor = bench.order();
    bench.act(|variant, now| variant.placed(successor.attempt, worker(THERE), None, now));
    bench.act(|variant, now| variant.broken(first, "killed", Some(now), None, now));
    assert_eq!(bench.ended, [first, successor.attempt]);
    assert_eq!(bench.order().role, Role::Replacement);
}
