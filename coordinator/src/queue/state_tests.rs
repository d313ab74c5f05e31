//! What the queue promises, case by case and under random sequences of events.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{
    api::{AttemptState, JobState, TaskState},
    failure::{Failure, FailureKind},
    id::{AttemptId, Epoch, JobId, SessionId, TaskId, WorkerId},
    media::HardwarePolicy,
    worker::{Load, Need, OutputFile, Progress},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    handle::{AttemptResult, Error, InputLocation, JobInput, Registration, ToWorker},
    jobs::Submission,
    state::{Effect, FAILURE_BUDGET, Now, Settings, State},
};
use crate::{
    fleet::{Policy, testing},
    plan::{Planned, TaskKind},
    store::{Changes, JobDetails, StoredJob},
};

const LEASE: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);

/// The queue with a store that is a map, and a clock that is moved by hand.
struct Bench {
    state: State,
    at: Duration,
    stored: BTreeMap<JobId, StoredJob>,
    sent: Vec<(SessionId, ToWorker)>,
    sweeps: Vec<AttemptId>,
    sessions: u128,
}

impl Bench {
    fn new() -> Self {
        Self {
            state: State::new(settings()),
            at: Duration::ZERO,
            stored: BTreeMap::new(),
            sent: Vec::new(),
            sweeps: Vec::new(),
            sessions: 0,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.at, wall: i64::try_from(self.at.as_millis()).unwrap() }
    }

    /// What the shell does after each batch.
    fn settle(&mut self) {
        self.state.tick(self.now());
        self.state.schedule(self.now());
        store(&mut self.stored, self.state.changes());
        self.state.written();
        for effect in self.state.take_effects() {
            match effect {
                Effect::Send(session, message) => self.sent.push((session, message)),
                Effect::Sweep(_, attempt) => self.sweeps.push(attempt),
                Effect::Announce(_) => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.at += time;
        self.settle();
    }

    fn submit(&mut self, number: u128, priority: i32) -> JobId {
        let id = JobId(Uuid::from_u128(number));
        let requirement = testing::h264(HardwarePolicy::Prefer);
        let details = JobDetails {
            input: JobInput {
                location: InputLocation::Url("http://x/a.mp4".to_owned()),
                name: "a.mp4".to_owned(),
            },
            preset: requirement.preset.clone(),
            spec: serde_json::from_value(serde_json::json!({"kind": "file", "container": "mp4"})).unwrap(),
            hardware: requirement.policy,
            priority,
            labels: requirement.labels,
            owner: None,
        };
        let task = (TaskId(id.0), Planned { kind: TaskKind::Encode, need: requirement.need });
        self.state.submit(Submission { id, details, tasks: vec![task] }, self.now());
        self.settle();
        id
    }

    fn connect(&mut self, worker: u128, running: Vec<AttemptId>) -> (SessionId, Vec<(AttemptId, bool)>) {
        self.sessions += 1;
        let session = SessionId(Uuid::from_u128(self.sessions));
        let known = testing::cpu_worker(worker);
        let hello = Registration {
            worker: known.id,
            name: known.name,
            version: known.version,
            address: known.address,
            capabilities: known.capabilities,
            capacity: known.capacity,
            labels: known.labels,
            presets: known.presets,
            running,
            exit_when_idle: false,
            draining: false,
        };
        let verdicts = self.state.register(hello, session, self.now()).verdicts;
        self.settle();
        (session, verdicts)
    }

    fn beat(&mut self, session: SessionId, attempts: &[AttemptId]) {
        let attempts = attempts.iter().map(|id| (*id, Progress::default(), Vec::new())).collect();
        self.state.heartbeat(session, Load::default(), Vec::new(), attempts, self.now());
        self.settle();
    }

    fn succeed(&mut self, session: SessionId, attempt: AttemptId) {
        let output = OutputFile { path: "a.mp4".to_owned(), size: 1, content_type: "video/mp4".to_owned() };
        let result = AttemptResult::Succeeded {
            outputs: vec![output],
            warnings: Vec::new(),
            progress: Progress::default(),
        };
        self.state.attempt_finished(session, attempt, result, Vec::new(), self.now());
        self.settle();
    }

    fn fail(&mut self, session: SessionId, attempt: AttemptId, kind: FailureKind, missing: Need) {
        let result = AttemptResult::Failed { failure: Failure::new(kind, "it broke"), missing };
        self.state.attempt_finished(session, attempt, result, Vec::new(), self.now());
        self.settle();
    }

    /// The newest assignment and the session that got it.
    fn assigned(&self) -> Option<(SessionId, AttemptId)> {
        self.sent.iter().rev().find_map(|(session, message)| match message {
            ToWorker::Assign(assignment) => Some((*session, assignment.attempt)),
            _ => None,
        })
    }

    fn assignments(&self) -> Vec<AttemptId> {
        let assigned = self.sent.iter().filter_map(|(_, message)| match message {
            ToWorker::Assign(assignment) => Some(assignment.attempt),
            _ => None,
        });
        assigned.collect()
    }

    fn acknowledged(&self) -> Option<bool> {
        self.sent.iter().rev().find_map(|(_, message)| match message {
            ToWorker::Acknowledge { accepted, .. } => Some(*accepted),
            _ => None,
        })
    }

    fn job(&self, id: JobId) -> &StoredJob {
        &self.stored[&id]
    }

    fn state_of(&self, id: JobId) -> JobState {
        self.job(id).job.state
    }

    /// The coordinator is killed and started again.
    fn restart(&mut self) {
        self.state = State::new(settings());
        for stored in self.stored.values().filter(|stored| !stored.job.state.is_final()) {
            self.state.restore(stored.clone(), Now { mono: self.at, wall: 0 });
        }
        self.settle();
    }
}

fn settings() -> Settings {
    Settings { lease: LEASE, grace: GRACE, policy: Policy { stale_after: LEASE, ..Policy::default() } }
}

/// A store in memory: what SQLite does with the same changes.
fn store(stored: &mut BTreeMap<JobId, StoredJob>, changes: Changes) {
    for job in changes.jobs {
        let tasks = stored.remove(&job.id).map(|old| old.tasks).unwrap_or_default();
        stored.insert(job.id, StoredJob { job, tasks });
    }
    for task in changes.tasks {
        let tasks = &mut stored.get_mut(&task.job).unwrap().tasks;
        match tasks.iter_mut().find(|(known, _)| known.id == task.id) {
            Some((known, _)) => *known = task,
            None => tasks.push((task, Vec::new())),
        }
    }
    for attempt in changes.attempts {
        let tasks = &mut stored.get_mut(&attempt.job).unwrap().tasks;
        let (_, attempts) = tasks.iter_mut().find(|(task, _)| task.id == attempt.id.task).unwrap();
        match attempts.iter_mut().find(|known| known.id == attempt.id) {
            Some(known) => *known = attempt,
            None => attempts.push(attempt),
        }
    }
}

#[test]
fn a_job_runs_and_its_result_is_published() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    assert_eq!(bench.state_of(job), JobState::Running);
    let (to, attempt) = bench.assigned().unwrap();
    assert_eq!((to, attempt.epoch), (session, Epoch(1)));
    bench.succeed(session, attempt);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(Epoch(1)));
    assert_eq!(bench.acknowledged(), Some(true));
    assert!(!bench.state.knows(job), "what is over leaves the memory");
}

#[test]
fn jobs_wait_for_a_worker_by_priority_and_then_by_age() {
    let mut bench = Bench::new();
    let (low, high, higher) = (bench.submit(1, 0), bench.submit(2, 5), bench.submit(3, 5));
    bench.connect(1, Vec::new());
    let order: Vec<_> = bench.assignments().iter().map(|attempt| JobId(attempt.task.0)).collect();
    assert_eq!(order, [high, higher], "two slots, and the low one waits");
    assert_eq!(bench.state_of(low), JobState::Queued);
}

#[test]
fn a_worker_that_disconnects_may_come_back_within_the_grace() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.state.disconnected(session, bench.now());
    bench.settle();
    assert_eq!(bench.job(job).tasks[0].1[0].state, AttemptState::Running, "a blink is not worth a write");
    bench.pass(GRACE - Duration::from_secs(1));
    let (again, verdicts) = bench.connect(1, vec![attempt]);
    assert_eq!(verdicts, [(attempt, true)]);
    bench.pass(GRACE);
    bench.succeed(again, attempt);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    assert_eq!(bench.assignments().len(), 1);
}

#[test]
fn after_the_grace_the_task_goes_to_another_worker_and_the_late_result_changes_nothing() {
    let mut bench = Bench::new();
    let (first, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, lost) = bench.assigned().unwrap();
    bench.state.disconnected(first, bench.now());
    let (second, _) = bench.connect(2, Vec::new());
    bench.pass(GRACE);
    let (to, attempt) = bench.assigned().unwrap();
    assert_eq!((to, attempt.epoch), (second, Epoch(2)));
    assert!(bench.sweeps.contains(&lost));

    let (back, verdicts) = bench.connect(1, vec![lost]);
    assert_eq!(verdicts, [(lost, false)], "it is told to stop");
    bench.succeed(back, lost);
    assert_eq!(bench.acknowledged(), Some(false));
    assert_eq!(bench.state_of(job), JobState::Running);
    bench.succeed(second, attempt);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(Epoch(2)));
    assert_eq!(bench.job(job).tasks[0].0.history.failures, 0, "a lost worker costs nothing of the budget");
}

#[test]
fn a_silent_worker_is_found_by_its_lease() {
    let mut bench = Bench::new();
    let (silent, _) = bench.connect(1, Vec::new());
    bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.pass(LEASE / 2);
    bench.beat(silent, &[attempt]);
    bench.pass(LEASE - Duration::from_secs(1));
    assert_eq!(bench.assignments().len(), 1, "the heartbeat renewed it");
    let (other, _) = bench.connect(2, Vec::new());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.assigned().unwrap().0, other);
    assert!(bench.sent.iter().any(|(to, message)| *to == silent && matches!(message, ToWorker::Stop { .. })));
}

#[test]
fn a_restarted_worker_does_not_hold_its_attempts_up() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.submit(1, 0);
    bench.connect(1, Vec::new());
    assert_eq!(bench.assigned().unwrap().1.epoch, Epoch(2));
}

#[test]
fn a_restarted_coordinator_adopts_what_runs() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.restart();
    bench.connect(2, Vec::new());
    bench.pass(LEASE - Duration::from_secs(1));
    assert_eq!(bench.assignments().len(), 1, "nothing expires before one lease has passed");
    let (session, verdicts) = bench.connect(1, vec![attempt]);
    assert_eq!(verdicts, [(attempt, true)]);
    bench.succeed(session, attempt);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(attempt.epoch));
}

#[test]
fn after_a_restart_an_epoch_that_may_have_been_given_out_is_left_out() {
    let mut bench = Bench::new();
    bench.submit(1, 0);
    bench.restart();
    bench.connect(1, Vec::new());
    assert_eq!(bench.assigned().unwrap().1.epoch, Epoch(2));
}

#[test]
fn invalid_input_is_tried_once() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.fail(session, attempt, FailureKind::InvalidInput, Need::default());
    assert_eq!(bench.state_of(job), JobState::Failed);
    assert_eq!(bench.job(job).job.failure.as_ref().unwrap().kind, FailureKind::InvalidInput);
    assert_eq!(bench.job(job).tasks[0].1.len(), 1);
}

#[test]
fn a_crash_is_tried_on_another_worker_first_and_given_up_after_the_budget() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (two, _) = bench.connect(2, Vec::new());
    let mut workers = Vec::new();
    for _ in 0..FAILURE_BUDGET {
        bench.pass(Duration::from_secs(5));
        bench.beat(one, &[]);
        bench.beat(two, &[]);
        let (session, attempt) = bench.assigned().unwrap();
        workers.push(session);
        bench.fail(session, attempt, FailureKind::Crashed, Need::default());
    }
    assert_eq!(bench.state_of(job), JobState::Failed);
    assert_ne!(workers[0], workers[1]);
    let failure = bench.job(job).job.failure.clone().unwrap();
    assert!(failure.message.contains("attempt 3 of 3"), "{failure}");
}

#[test]
fn what_an_attempt_lacked_becomes_a_need() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    let missing = Need { filters: vec!["zscale".to_owned()], ..Need::default() };
    bench.fail(session, attempt, FailureKind::MissingCapability, missing);
    assert_eq!(bench.state_of(job), JobState::Queued);
    let waiting = bench.state.summary(job, bench.now()).unwrap().waiting_for.unwrap();
    assert!(waiting.contains("no zscale filter"), "{waiting}");
}

#[test]
fn cancelling_stops_the_attempt_and_holds_its_slot_until_it_has_stopped() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let (one, _two, three) = (bench.submit(1, 0), bench.submit(2, 0), bench.submit(3, 0));
    let attempt = AttemptId { task: TaskId(one.0), epoch: Epoch(1) };
    bench.state.cancel(one, bench.now()).unwrap();
    bench.settle();
    assert_eq!(bench.state_of(one), JobState::Cancelled);
    assert_eq!(bench.state_of(three), JobState::Queued, "the slot is not free yet");
    bench.fail(session, attempt, FailureKind::Cancelled, Need::default());
    assert_eq!(bench.state_of(three), JobState::Running);
    assert_eq!(bench.state_of(one), JobState::Cancelled);
    assert!(
        matches!(bench.state.cancel(one, bench.now()), Err(Error::NoSuchJob(_))),
        "over is not in memory"
    );
}

#[test]
fn a_failed_job_can_be_retried_with_a_new_budget_and_a_newer_epoch() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.fail(session, attempt, FailureKind::InvalidInput, Need::default());
    bench.state.retry(bench.stored[&job].clone(), bench.now()).unwrap();
    bench.settle();
    let (_, again) = bench.assigned().unwrap();
    assert!(again.epoch > attempt.epoch);
    bench.succeed(session, again);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    assert!(bench.state.retry(bench.stored[&job].clone(), bench.now()).is_err());
}

#[test]
fn a_result_from_another_worker_changes_nothing() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    let (liar, _) = bench.connect(2, Vec::new());
    bench.succeed(liar, attempt);
    assert_eq!(bench.acknowledged(), Some(false));
    assert_eq!(bench.state_of(job), JobState::Running);
    assert!(matches!(bench.state.upload_grant(liar, attempt), Err(Error::Stale(_))));
}

#[test]
fn a_drained_worker_takes_nothing_until_it_is_resumed() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.state.set_draining(testing::worker_id(1), true, bench.now()).unwrap();
    let job = bench.submit(1, 0);
    let waiting = bench.state.summary(job, bench.now()).unwrap().waiting_for.unwrap();
    assert!(waiting.contains("worker-1 (draining)"), "{waiting}");
    bench.state.set_draining(testing::worker_id(1), false, bench.now()).unwrap();
    bench.settle();
    assert_eq!(bench.state_of(job), JobState::Running);
}

#[test]
fn a_job_that_could_not_be_stored_leaves_nothing() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    bench.state.withdraw(job, bench.now());
    assert!(!bench.state.knows(job));
    assert!(bench.state.changes().is_empty());
}

// ---- random sequences

#[derive(Debug, Clone, Copy)]
enum Step {
    Submit {
        priority: i32,
    },
    Connect(u128),
    /// The worker's stream breaks; its attempts go on.
    Break(u128),
    /// The worker dies with its attempts.
    Die(u128),
    Beat(u128),
    Succeed {
        worker: u128,
        which: usize,
    },
    Fail {
        worker: u128,
        which: usize,
        kind: usize,
    },
    /// A message about an attempt that may be anything by now.
    Stale {
        worker: u128,
        which: usize,
    },
    Cancel(usize),
    Drain(u128, bool),
    Pass(u64),
    RestartCoordinator,
}

fn any_step() -> impl Strategy<Value = Step> {
    let worker = 1u128..4;
    prop_oneof![
        4 => (-1i32..2).prop_map(|priority| Step::Submit { priority }),
        4 => worker.clone().prop_map(Step::Connect),
        1 => worker.clone().prop_map(Step::Break),
        1 => worker.clone().prop_map(Step::Die),
        4 => worker.clone().prop_map(Step::Beat),
        4 => (worker.clone(), any::<usize>()).prop_map(|(worker, which)| Step::Succeed { worker, which }),
        2 => (worker.clone(), any::<usize>(), any::<usize>())
            .prop_map(|(worker, which, kind)| Step::Fail { worker, which, kind }),
        1 => (worker.clone(), any::<usize>()).prop_map(|(worker, which)| Step::Stale { worker, which }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (worker, any::<bool>()).prop_map(|(worker, draining)| Step::Drain(worker, draining)),
        3 => (0u64..40).prop_map(Step::Pass),
        1 => Just(Step::RestartCoordinator),
    ]
}

/// Workers as they really are, beside what the queue believes.
#[derive(Default)]
struct World {
    sessions: BTreeMap<u128, SessionId>,
    running: BTreeMap<u128, BTreeSet<AttemptId>>,
    read: usize,
    published: BTreeMap<TaskId, Epoch>,
    epochs: BTreeMap<TaskId, Epoch>,
    jobs: Vec<JobId>,
}

impl World {
    /// Workers do what they were told since the last look.
    fn obey(&mut self, bench: &Bench) {
        for (session, message) in &bench.sent[self.read..] {
            let Some(worker) = self.sessions.iter().find(|(_, known)| *known == session).map(|(id, _)| *id)
            else {
                continue;
            };
            let running = self.running.entry(worker).or_default();
            match message {
                ToWorker::Assign(assignment) => {
                    running.insert(assignment.attempt);
                }
                ToWorker::Stop { attempt, .. } | ToWorker::Acknowledge { attempt, .. } => {
                    running.remove(attempt);
                }
                _ => {}
            }
        }
        self.read = bench.sent.len();
    }

    fn nth(&self, worker: u128, which: usize) -> Option<AttemptId> {
        let running = self.running.get(&worker).filter(|running| !running.is_empty())?;
        running.iter().nth(which % running.len()).copied()
    }

    fn step(&mut self, bench: &mut Bench, step: Step) {
        match step {
            Step::Submit { priority } => {
                let number = self.jobs.len() as u128 + 1;
                self.jobs.push(bench.submit(number, priority));
            }
            Step::Connect(worker) => {
                let running: Vec<_> = self.running.entry(worker).or_default().iter().copied().collect();
                let before = bench.sent.len();
                let (session, verdicts) = bench.connect(worker, running);
                assert!(self.read <= before);
                self.sessions.insert(worker, session);
                for (attempt, keep) in verdicts {
                    if !keep {
                        self.running.entry(worker).or_default().remove(&attempt);
                    }
                }
            }
            Step::Break(worker) => {
                if let Some(session) = self.sessions.remove(&worker) {
                    bench.state.disconnected(session, bench.now());
                    bench.settle();
                }
            }
            Step::Die(worker) => {
                self.running.remove(&worker);
                if let Some(session) = self.sessions.remove(&worker) {
                    bench.state.disconnected(session, bench.now());
                    bench.settle();
                }
            }
            Step::Beat(worker) => {
                if let Some(session) = self.sessions.get(&worker) {
                    let running: Vec<_> = self.running.entry(worker).or_default().iter().copied().collect();
                    bench.beat(*session, &running);
                }
            }
            Step::Succeed { worker, which } => {
                if let (Some(session), Some(attempt)) = (self.sessions.get(&worker), self.nth(worker, which))
                {
                    bench.succeed(*session, attempt);
                }
            }
            Step::Fail { worker, which, kind } => {
                if let (Some(session), Some(attempt)) = (self.sessions.get(&worker), self.nth(worker, which))
                {
                    let kind = FailureKind::ALL[kind % FailureKind::ALL.len()];
                    bench.fail(*session, attempt, kind, Need::default());
                }
            }
            Step::Stale { worker, which } => {
                if let (Some(session), false) = (self.sessions.get(&worker), self.jobs.is_empty()) {
                    let job = self.jobs[which % self.jobs.len()];
                    bench.succeed(*session, AttemptId { task: TaskId(job.0), epoch: Epoch(999) });
                }
            }
            Step::Cancel(which) => {
                if !self.jobs.is_empty() {
                    let _ = bench.state.cancel(self.jobs[which % self.jobs.len()], bench.now());
                    bench.settle();
                }
            }
            Step::Drain(worker, draining) => {
                let _ = bench.state.set_draining(testing::worker_id(worker), draining, bench.now());
                bench.settle();
            }
            Step::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
            Step::RestartCoordinator => {
                bench.restart();
                self.sessions.clear();
            }
        }
        self.obey(bench);
    }

    fn check(&mut self, bench: &Bench) -> Result<(), TestCaseError> {
        for worker in bench.state.fleet.iter() {
            let used = worker.in_use();
            prop_assert!(used.jobs <= worker.capacity.max_jobs, "slots of {}: {used:?}", worker.name);
        }
        for (worker, running) in &self.running {
            let capacity = testing::cpu_worker(*worker).capacity.max_jobs as usize;
            if self.sessions.contains_key(worker) {
                prop_assert!(running.len() <= capacity, "worker {worker} really runs {}", running.len());
            }
        }
        for id in &self.jobs {
            let stored = bench.job(*id);
            let (task, attempts) = &stored.tasks[0];
            let last = self.epochs.insert(task.id, task.epoch).unwrap_or_default();
            prop_assert!(task.epoch >= last, "epochs only grow");
            if let Some(published) = task.published {
                let first = *self.published.entry(task.id).or_insert(published);
                prop_assert_eq!(first, published, "published once");
                prop_assert_eq!(stored.job.state, JobState::Succeeded);
            }
            prop_assert_eq!(
                attempts.iter().filter(|attempt| attempt.state == AttemptState::Succeeded).count(),
                usize::from(task.published.is_some())
            );
            prop_assert!(task.history.failures <= FAILURE_BUDGET);
            prop_assert_eq!(stored.job.state.is_final(), !bench.state.knows(*id));
            prop_assert_eq!(
                stored.job.state == JobState::Queued,
                matches!(task.state, TaskState::Queued),
                "job and task agree"
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Slots are never exceeded, epochs grow, at most one attempt is published, and when the faults end, every job
    /// reaches a final state.
    #[test]
    fn whatever_happens_the_promises_hold(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut bench = Bench::new();
        let mut world = World::default();
        for step in steps {
            world.step(&mut bench, step);
            world.check(&bench)?;
        }
        // The faults end: every worker is there, and does its work.
        for worker in 1..4 {
            world.step(&mut bench, Step::Connect(worker));
            world.step(&mut bench, Step::Drain(worker, false));
        }
        for _ in 0..200 {
            for worker in 1..4 {
                world.step(&mut bench, Step::Succeed { worker, which: 0 });
                world.step(&mut bench, Step::Beat(worker));
            }
            world.step(&mut bench, Step::Pass(5));
            world.check(&bench)?;
        }
        for id in &world.jobs {
            prop_assert!(bench.state_of(*id).is_final(), "job {} never ended: {:?}", id, bench.state.summary(*id, bench.now()));
        }
    }
}

#[test]
fn an_idle_worker_that_wants_to_leave_is_told_when_nothing_is_left() {
    let mut bench = Bench::new();
    let job = bench.submit(1, 0);
    let (session, _) = bench.connect(1, Vec::new());
    let worker: WorkerId = testing::worker_id(1);
    bench.state.fleet.get_mut(worker).unwrap().exit_when_idle = true;
    let idle =
        |bench: &Bench| bench.sent.iter().filter(|(_, message)| matches!(message, ToWorker::Idle)).count();
    bench.pass(Duration::from_secs(1));
    assert_eq!(idle(&bench), 0, "it has work");
    let (_, attempt) = bench.assigned().unwrap();
    bench.succeed(session, attempt);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    bench.pass(Duration::from_secs(1));
    assert_eq!(idle(&bench), 1, "told once");
}
