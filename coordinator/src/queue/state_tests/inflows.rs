//! Inputs that are still on their way.

use common::proto::FOLLOWS_SINCE;

use super::*;
use crate::queue::Inflow;

const KEY: &str = "uploads/1/a.mp4";

impl Bench {
    fn inflow(&mut self, inflow: Inflow) {
        self.state.inflow(KEY, inflow, self.now());
        self.settle();
    }

    fn follow(&mut self, number: u128) -> JobId {
        self.submit_of(number, 0, InputLocation::Object(KEY.to_owned()))
    }

    fn held(&mut self) {
        self.inflow(Inflow::Held("its index".to_owned()));
    }

    fn waits_for(&self, job: JobId) -> Option<String> {
        self.state.summary(job, self.now()).unwrap().waiting_for
    }

    /// Whether each assignment so far was of an input that grows.
    fn grows(&self) -> Vec<bool> {
        let assigned = self.sent.iter().filter_map(|(_, message)| match message {
            ToWorker::Assign(assignment) => Some(assignment.grows),
            _ => None,
        });
        assigned.collect()
    }

    fn old_worker(&mut self, number: u128) {
        let mut identity = testing::cpu_worker(number).identity;
        identity.protocol = FOLLOWS_SINCE - 1;
        self.connect_as(identity, Vec::new());
    }
}

#[test]
fn a_task_waits_until_its_input_can_be_begun_with() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.held();
    let (job, other) = (bench.follow(1), bench.submit(2, 0));
    assert_eq!((bench.state_of(job), bench.state_of(other)), (JobState::Queued, JobState::Running));
    assert_eq!(bench.waits_for(job).as_deref(), Some("its index"));
    bench.inflow(Inflow::Flowing);
    assert_eq!(bench.state_of(job), JobState::Running);
    assert_eq!(bench.grows(), [false, true]);
}

#[test]
fn a_worker_that_cannot_follow_gets_it_when_it_is_whole() {
    let mut bench = Bench::new();
    bench.old_worker(1);
    bench.inflow(Inflow::Flowing);
    let job = bench.follow(1);
    assert_eq!(bench.state_of(job), JobState::Queued);
    assert!(bench.waits_for(job).unwrap().contains("protocol"), "{:?}", bench.waits_for(job));
    bench.inflow(Inflow::Whole);
    assert_eq!((bench.state_of(job), bench.grows()), (JobState::Running, vec![false]));
}

#[test]
fn what_never_comes_fails_who_waits_and_who_runs() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.inflow(Inflow::Flowing);
    let jobs = [bench.follow(1), bench.follow(2), bench.follow(3)];
    assert_eq!(jobs.map(|job| bench.state_of(job)), [JobState::Running, JobState::Running, JobState::Queued]);
    bench.inflow(Inflow::Gone("it expired".to_owned()));
    for job in jobs {
        let failure = bench.job(job).job.failure.clone().unwrap();
        assert_eq!((bench.state_of(job), failure.kind), (JobState::Failed, FailureKind::InvalidInput));
        assert_eq!(failure.message, "it expired");
    }
    let stops =
        bench.sent.iter().filter(|(to, message)| *to == session && matches!(message, ToWorker::Stop { .. }));
    assert_eq!(stops.count(), 2);
}

#[test]
fn a_retry_after_a_failure_still_follows() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.inflow(Inflow::Flowing);
    let job = bench.follow(1);
    let (_, attempt) = bench.assigned().unwrap();
    bench.fail(session, attempt, FailureKind::SourceUnreachable, Need::default());
    bench.held();
    bench.pass(Duration::from_secs(5));
    bench.beat(session, &[]);
    assert_eq!(bench.waits_for(job).as_deref(), Some("its index"));
    bench.inflow(Inflow::Flowing);
    assert_eq!((bench.state_of(job), bench.grows()), (JobState::Running, vec![true, true]));
}

#[test]
fn the_time_that_an_upload_takes_is_not_the_jobs() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.inflow(Inflow::Flowing);
    let job = bench.follow(1);
    let (_, attempt) = bench.assigned().unwrap();
    for _ in 0..100 {
        bench.pass(Duration::from_secs(5));
        bench.beat(session, &[attempt]);
    }
    bench.inflow(Inflow::Whole);
    bench.pass(Duration::from_secs(5));
    bench.fail(session, attempt, FailureKind::SourceUnreachable, Need::default());
    assert_eq!(bench.job(job).tasks[0].0.history.ran_ms, 5_000);
}
