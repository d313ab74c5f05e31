//! Who brings a source, and when a slate stands in for it.

use super::*;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn worker() -> WorkerRef {
    WorkerRef { id: WorkerId(uuid::Uuid::from_u128(1)), name: "w1".to_owned() }
}

fn placed(effects: &[Effect]) -> Vec<(AttemptId, Errand)> {
    let place = |effect: &Effect| match effect {
        Effect::Place { attempt, errand, .. } => Some((*attempt, *errand)),
        _ => None,
    };
    effects.iter().filter_map(place).collect()
}

#[test]
fn a_source_is_pulled_while_somebody_watches() {
    let mut supply = Supply::new(Kind::Pull, false, TaskId::new(), at(0.0));
    assert_eq!(supply.want(true, at(0.0)), [Effect::StartPull]);
    assert_eq!(supply.want(true, at(1.0)), []);
    assert_eq!(supply.tick(None, at(60.0)), []);
    assert_eq!(supply.want(false, at(61.0)), [Effect::StopPull]);
}

#[test]
fn a_worker_that_brings_nothing_is_given_up_for_another_and_slower_each_time() {
    let mut supply = Supply::new(Kind::Worker, false, TaskId::new(), at(0.0));
    let mut waits = Vec::new();
    let mut now = at(0.0);
    let mut effects = supply.want(true, now);
    for _ in 0..4 {
        let (attempt, errand) = placed(&effects)[0];
        assert_eq!(errand, Errand::Ingest);
        supply.placed(attempt, worker(), now);
        // It never gives anything.
        now += at(10.0);
        effects = supply.tick(None, now);
        assert!(matches!(effects.first(), Some(Effect::End(ended, _)) if *ended == attempt), "{effects:?}");
        let gave_up = now;
        while placed(&effects).is_empty() {
            now += at(0.05);
            effects = supply.tick(None, now);
        }
        waits.push((now - gave_up).as_secs_f64());
    }
    assert!(waits.is_sorted() && waits[3] > waits[0], "{waits:?}");
    assert!(supply.problem.as_ref().unwrap().contains("gave nothing"));
}

#[test]
fn a_slate_comes_when_the_source_is_lost_and_goes_when_it_is_back() {
    let mut supply = Supply::new(Kind::Push, true, TaskId::new(), at(0.0));
    assert_eq!(supply.want(true, at(0.0)), []);
    assert_eq!(supply.tick(Some(at(5.0)), at(5.1)), []);
    assert_eq!(supply.tick(Some(at(5.0)), at(7.9)), []);
    let effects = supply.tick(Some(at(5.0)), at(8.0));
    let (slate, errand) = placed(&effects)[0];
    assert_eq!(errand, Errand::Slate);
    supply.placed(slate, worker(), at(8.1));
    assert_eq!(supply.tick(Some(at(5.0)), at(20.0)), []);
    assert_eq!(supply.tick(Some(at(20.5)), at(20.6)), [Effect::End(slate, "the source is back".to_owned())]);
    // The main source taking over breaks the slate's connection: that is no failure of anything.
    assert_eq!(supply.broken(slate, "another connection", at(20.7)), []);
}

#[test]
fn what_is_not_wanted_any_more_is_ended() {
    let mut supply = Supply::new(Kind::Worker, false, TaskId::new(), at(0.0));
    let effects = supply.want(true, at(0.0));
    let (attempt, _) = placed(&effects)[0];
    let effects = supply.want(false, at(0.1));
    assert!(matches!(&effects[..], [Effect::End(ended, _)] if *ended == attempt), "{effects:?}");
    assert!(matches!(&supply.placed(attempt, worker(), at(0.2))[..], [Effect::End(..)]));
}
