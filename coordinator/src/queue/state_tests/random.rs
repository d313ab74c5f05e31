//! The promises under random sequences of events: faults, restarts, lost and lying workers.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fleet::Worker;

#[derive(Debug, Clone, Copy)]
enum Step {
    Submit {
        priority: i32,
        delivered: bool,
    },
    /// A delivery that was ever ordered ends; late, doubled, or as it should.
    Deliver {
        which: usize,
        outcome: u8,
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
    /// The end of an attempt that may be anything by now, from a worker that may never have had it: late, doubled, made up.
    Stale {
        worker: u128,
        which: usize,
        succeeded: bool,
    },
    Cancel(usize),
    Priority(usize, i32),
    Drain(u128, bool),
    Preempt(u128),
    /// The probe that it may have been asked for.
    Probe(u128),
    Pass(u64),
    RestartCoordinator,
    PlaceLive {
        preempts: bool,
        avoid: Option<u128>,
    },
    EndLive(usize),
    /// The end of a live attempt from a worker that does not have it.
    StaleLive {
        worker: u128,
        which: usize,
    },
    /// The stream breaks, and its last reports are looked at for a while.
    Ending(u128),
    Shutdown(u128),
    /// From here on commits take their time.
    SlowStore,
    /// The commit under way ends, well or not; the next one is quick.
    Commit(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let worker = 1u128..4;
    prop_oneof![
        4 => (-1i32..2, any::<bool>())
            .prop_map(|(priority, delivered)| Step::Submit { priority, delivered }),
        3 => (any::<usize>(), 0u8..3).prop_map(|(which, outcome)| Step::Deliver { which, outcome }),
        4 => worker.clone().prop_map(Step::Connect),
        1 => worker.clone().prop_map(Step::Break),
        1 => worker.clone().prop_map(Step::Die),
        4 => worker.clone().prop_map(Step::Beat),
        4 => (worker.clone(), any::<usize>()).prop_map(|(worker, which)| Step::Succeed { worker, which }),
        2 => (worker.clone(), any::<usize>(), any::<usize>())
            .prop_map(|(worker, which, kind)| Step::Fail { worker, which, kind }),
        2 => (worker.clone(), any::<usize>(), any::<bool>())
            .prop_map(|(worker, which, succeeded)| Step::Stale { worker, which, succeeded }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (any::<usize>(), -1i32..2).prop_map(|(which, priority)| Step::Priority(which, priority)),
        1 => worker.clone().prop_map(Step::Preempt),
        1 => worker.clone().prop_map(Step::Probe),
        1 => (worker, any::<bool>()).prop_map(|(worker, draining)| Step::Drain(worker, draining)),
        3 => (0u64..40).prop_map(Step::Pass),
        1 => Just(Step::RestartCoordinator),
        5 => (any::<bool>(), prop::option::of(1u128..4))
            .prop_map(|(preempts, avoid)| Step::PlaceLive { preempts, avoid }),
        2 => any::<usize>().prop_map(Step::EndLive),
        1 => (1u128..4, any::<usize>()).prop_map(|(worker, which)| Step::StaleLive { worker, which }),
        1 => (1u128..4).prop_map(Step::Ending),
        1 => (1u128..4).prop_map(Step::Shutdown),
        3 => Just(Step::SlowStore),
        3 => any::<bool>().prop_map(Step::Commit),
    ]
}

fn takes_work(worker: &Worker, bench: &Bench) -> bool {
    worker.session.is_some()
        && !worker.ending
        && !worker.is_stale(bench.at, LEASE)
        && !worker.draining()
        && worker.standing.flaps.held(bench.at).is_none()
        && !worker.is_quarantined()
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
    submitted: u128,
    /// Every attempt that was ever assigned: no epoch is used twice, whatever was durable.
    given: BTreeSet<AttemptId>,
    /// When its worker was last given a lease of it.
    leased: BTreeMap<AttemptId, Duration>,
    /// Ended and reported: nothing of it runs, though nobody has acknowledged it.
    reported: BTreeSet<AttemptId>,
    /// Placed, and nothing was said of an end.
    on_air: BTreeSet<AttemptId>,
    placed: u128,
    told: usize,
    /// Somebody was refused since the last `Room`.
    refused: bool,
}

impl World {
    /// Workers do what they were told since the last look.
    fn obey(&mut self, bench: &Bench) {
        for (session, message) in &bench.sent[self.read..] {
            if let ToWorker::Assign(assignment) = message {
                let attempt = assignment.attempt;
                assert!(self.given.insert(attempt), "{attempt} was given out twice");
            }
            let Some(worker) = self.sessions.iter().find(|(_, known)| *known == session).map(|(id, _)| *id)
            else {
                continue;
            };
            let running = self.running.entry(worker).or_default();
            match message {
                ToWorker::Assign(assignment) => {
                    running.insert(assignment.attempt);
                    self.leased.insert(assignment.attempt, bench.at);
                }
                ToWorker::AssignLive(assignment) => {
                    running.insert(assignment.attempt);
                    self.leased.insert(assignment.attempt, bench.at);
                }
                ToWorker::LeasesRenewed(attempts) => {
                    self.leased.extend(attempts.iter().map(|attempt| (*attempt, bench.at)));
                }
                ToWorker::Stop { attempt, .. } | ToWorker::Acknowledge { attempt, .. } => {
                    running.remove(attempt);
                }
                _ => {}
            }
        }
        self.read = bench.sent.len();
    }

    /// Each end is told once, of what was placed and not ended by who asked for it.
    fn listen(&mut self, bench: &Bench) {
        for event in &bench.told[self.told..] {
            match event {
                LiveEvent::Started { attempt, .. } | LiveEvent::Leaving { attempt, .. } => {
                    assert!(self.on_air.contains(attempt), "{attempt} is over");
                }
                LiveEvent::Ended { attempt, .. } | LiveEvent::Lost { attempt, .. } => {
                    assert!(self.on_air.remove(attempt), "{attempt} ended twice");
                }
                LiveEvent::Room => assert!(std::mem::take(&mut self.refused), "nobody was refused"),
            }
        }
        self.told = bench.told.len();
        let known: BTreeSet<AttemptId> = bench.state.live.keys().copied().collect();
        assert_eq!(known, self.on_air, "what is on air ends with a word");
    }

    fn place_live(&mut self, bench: &mut Bench, preempts: bool, avoid: Option<u128>) {
        let requirement = Requirement {
            avoid: avoid.map(testing::worker_id).into_iter().collect(),
            ..testing::h264(HardwarePolicy::Prefer)
        };
        let failures = |bench: &Bench| -> u32 {
            bench.state.tasks.values().map(|task| task.record.history.failures).sum()
        };
        let before = failures(bench);
        let running =
            |bench: &Bench| bench.state.tasks.values().filter(|task| task.attempt.is_some()).count();
        let batch = running(bench);
        self.placed += 1;
        let attempt = live(self.placed);
        // Without what a settled queue would do next.
        let placed = bench.state.place_live(
            LiveOrder {
                stream: StreamId(Uuid::from_u128(1)),
                name: "camera".to_owned(),
                attempt,
                requirement: Requirement { class: Class::Live, ..requirement },
                work: Work::Ingest(Ingest { url: "rtsp://camera/".to_owned(), file: false }),
                reads: false,
                only_elsewhere: false,
                preempts,
            },
            bench.now(),
        );
        assert_eq!(failures(bench), before, "making room costs nobody anything");
        let taken = batch - running(bench);
        assert!(taken <= usize::from(preempts && placed.is_ok()), "{taken} batch attempts made room");
        match placed {
            Ok(_) => {
                self.on_air.insert(attempt);
            }
            Err(Error::NoRoom(_)) => {
                self.refused = true;
                for worker in bench.state.fleet.iter().filter(|worker| takes_work(worker, bench)) {
                    let full = worker.identity.capacity.max_jobs as usize;
                    let fixed = |id: &AttemptId| {
                        let is_live = self.on_air.contains(id);
                        is_live || !preempts && bench.state.current(*id).is_some()
                    };
                    let fixed = worker.held.keys().filter(|id| fixed(id)).count();
                    assert_eq!(fixed, full, "{} had room", worker.identity.name);
                }
            }
            Err(error) => panic!("{error}"),
        }
        bench.settle();
    }

    fn nth(&self, worker: u128, which: usize) -> Option<AttemptId> {
        let running = self.running.get(&worker).filter(|running| !running.is_empty())?;
        running.iter().nth(which % running.len()).copied()
    }

    fn step(&mut self, bench: &mut Bench, step: Step) {
        match step {
            Step::Submit { priority, delivered } => {
                // Users wait for the commit under way.
                bench.finish_commit(true);
                self.submitted += 1;
                let output = delivered.then_some("s3://b/x/");
                self.jobs.push(bench.submit_to(self.submitted, priority, output));
            }
            Step::Deliver { which, outcome } => {
                let begun = |order: &DeliveryOrder| match order {
                    DeliveryOrder::Begin(delivery) => Some(delivery.clone()),
                    DeliveryOrder::Stop(_) => None,
                };
                let ordered: Vec<_> = bench.deliveries.iter().filter_map(begun).collect();
                let Some(delivery) = ordered.iter().rev().nth(which % ordered.len().max(1)) else { return };
                let published = bench.job(delivery.job).tasks[0].0.published;
                assert_eq!(published, Some(delivery.files[0].0.epoch), "only what is durable is delivered");
                let outcome = match outcome {
                    0 => Delivered::Done,
                    1 => Delivered::Failed("a.mp4: 503".to_owned()),
                    _ => Delivered::Refused("a.mp4: no such bucket".to_owned()),
                };
                bench.deliver(delivery, outcome);
            }
            Step::Connect(worker) => {
                let running: Vec<_> = self.running.entry(worker).or_default().iter().copied().collect();
                let before = bench.sent.len();
                let (session, verdicts) = bench.connect(worker, running);
                assert!(self.read <= before);
                self.sessions.insert(worker, session);
                for (attempt, keep) in verdicts {
                    if keep {
                        self.leased.insert(attempt, bench.at);
                    } else {
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
                    self.reported.insert(attempt);
                    bench.succeed(*session, attempt);
                }
            }
            Step::Fail { worker, which, kind } => {
                if let (Some(session), Some(attempt)) = (self.sessions.get(&worker), self.nth(worker, which))
                {
                    self.reported.insert(attempt);
                    let kind = FailureKind::ALL[kind % FailureKind::ALL.len()];
                    bench.fail(*session, attempt, kind, Need::default());
                }
            }
            Step::Stale { worker, which, succeeded } => {
                bench.slow = false;
                bench.finish_commit(true);
                bench.settle();
                self.obey(bench);
                if let (Some(session), false) = (self.sessions.get(&worker), self.jobs.is_empty()) {
                    let job = self.jobs[which % self.jobs.len()];
                    // Up to one epoch beyond what was ever given out.
                    let newest = self.epochs.get(&TaskId(job.0)).map_or(0, |epoch| epoch.0);
                    let attempt =
                        AttemptId { task: TaskId(job.0), epoch: Epoch(which as u64 % (newest + 2)) };
                    if self.running.get(&worker).is_some_and(|running| running.contains(&attempt)) {
                        return;
                    }
                    let before = bench.job(job).clone();
                    if succeeded {
                        bench.succeed(*session, attempt);
                    } else {
                        bench.fail(*session, attempt, FailureKind::Crashed, Need::default());
                    }
                    assert_eq!(bench.acknowledged(), Some(false));
                    // It may say that a slot is free, so that something is assigned; it ends and blames nothing.
                    let known = |stored: &StoredJob| {
                        let task = &stored.tasks[0].0;
                        (
                            stored.job.state.is_final(),
                            stored.job.failure.clone(),
                            task.published,
                            task.history.clone(),
                        )
                    };
                    assert_eq!(known(bench.job(job)), known(&before), "a stale message changes nothing");
                }
            }
            Step::Priority(which, priority) => {
                bench.finish_commit(true);
                if !self.jobs.is_empty() {
                    let job = self.jobs[which % self.jobs.len()];
                    let _ = bench.state.set_priority(job, priority, bench.now());
                    bench.settle();
                }
            }
            Step::Cancel(which) => {
                bench.finish_commit(true);
                if !self.jobs.is_empty() {
                    let _ = bench.state.cancel(self.jobs[which % self.jobs.len()], bench.now());
                    bench.settle();
                }
            }
            Step::Drain(worker, draining) => {
                let _ = bench.state.set_draining(testing::worker_id(worker), draining, bench.now());
                bench.settle();
            }
            Step::Preempt(worker) => {
                let worker = testing::worker_id(worker);
                let _ = bench.state.preempt_worker(worker, "make room", bench.now());
                bench.settle();
            }
            Step::Probe(worker) => {
                if let Some(session) = self.sessions.get(&worker) {
                    let found = testing::cpu_worker(worker).identity.capabilities;
                    bench.state.capabilities_changed(*session, found, bench.now());
                    bench.settle();
                }
            }
            Step::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
            Step::RestartCoordinator => {
                // What is under way may be durable already, or never be.
                let submitted = bench.submitted.clone();
                bench.slow = false;
                bench.restart();
                self.jobs.retain(|job| !submitted.contains(job) || bench.stored.contains_key(job));
                self.sessions.clear();
                self.on_air.clear();
                self.refused = false;
            }
            Step::PlaceLive { preempts, avoid } => self.place_live(bench, preempts, avoid),
            Step::EndLive(which) => {
                if let Some(attempt) = self.on_air.iter().nth(which % self.on_air.len().max(1)).copied() {
                    self.on_air.remove(&attempt);
                    bench.state.end_live(attempt, "nobody watches");
                    bench.settle();
                }
            }
            Step::StaleLive { worker, which } => {
                if let (Some(session), true) = (self.sessions.get(&worker), self.placed > 0) {
                    let attempt = live(which as u128 % self.placed + 1);
                    if !self.running.get(&worker).is_some_and(|running| running.contains(&attempt)) {
                        bench.succeed(*session, attempt);
                    }
                }
            }
            Step::Ending(worker) => {
                if let Some(session) = self.sessions.get(&worker) {
                    bench.state.session_ending(*session);
                    bench.settle();
                }
            }
            Step::Shutdown(worker) => {
                if let Some(session) = self.sessions.get(&worker) {
                    bench.state.worker_draining(*session, bench.now());
                    bench.settle();
                }
            }
            Step::SlowStore => bench.slow = true,
            Step::Commit(durable) => {
                bench.slow = false;
                bench.finish_commit(durable);
                bench.settle();
            }
        }
        self.obey(bench);
        self.listen(bench);
        self.jobs.retain(|job| !bench.withdrawn.contains(job));
    }

    fn check(&mut self, bench: &Bench) -> Result<(), TestCaseError> {
        for worker in bench.state.fleet.iter() {
            let used = worker.in_use();
            prop_assert!(
                used.jobs <= worker.identity.capacity.max_jobs,
                "slots of {}: {used:?}",
                worker.identity.name
            );
        }
        for (worker, running) in &self.running {
            let capacity = testing::cpu_worker(*worker).identity.capacity.max_jobs as usize;
            if self.sessions.contains_key(worker) {
                // Whose lease has ended was stopped by its worker, whether or not that could be told to.
                let holds = |attempt: &&AttemptId| {
                    self.leased.get(attempt).is_some_and(|since| bench.at - *since < LEASE)
                };
                let running = running.difference(&self.reported).filter(holds).count();
                prop_assert!(running <= capacity, "worker {worker} really runs {running}");
            }
        }
        for id in &self.jobs {
            let Some(stored) = bench.stored.get(id) else {
                prop_assert!(bench.submitted.contains(id), "its client waits");
                continue;
            };
            let (task, attempts) = &stored.tasks[0];
            let last = self.epochs.insert(task.id, task.epoch).unwrap_or_default();
            prop_assert!(task.epoch >= last, "epochs only grow");
            if let Some(published) = task.published {
                let first = *self.published.entry(task.id).or_insert(published);
                prop_assert_eq!(first, published, "published once");
                let ends = match stored.job.request.output {
                    None => vec![JobState::Succeeded],
                    Some(_) => {
                        vec![JobState::Running, JobState::Succeeded, JobState::Dead, JobState::Cancelled]
                    }
                };
                prop_assert!(ends.contains(&stored.job.state), "{:?}", stored.job.state);
            }
            prop_assert_eq!(
                attempts.iter().filter(|attempt| attempt.state == AttemptState::Succeeded).count(),
                usize::from(task.published.is_some())
            );
            prop_assert!(task.history.failures <= FAILURE_BUDGET);
            prop_assert!(stored.job.state.is_final() || bench.state.knows(*id));
            prop_assert!(
                !(stored.job.state.is_final() && bench.state.knows(*id)) || bench.failing,
                "what is over leaves the memory"
            );
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

    /// Slots are never exceeded, epochs grow, at most one attempt is published, no live attempt makes room, each ends with
    /// one word, and when the faults end, every job reaches a final state, delivered where it is to be.
    #[test]
    fn whatever_happens_the_promises_hold(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut bench = Bench::new();
        bench.shared = true;
        let mut world = World::default();
        for step in steps {
            world.step(&mut bench, step);
            world.check(&bench)?;
        }
        // The faults end: every worker is there, and does its work.
        world.step(&mut bench, Step::Commit(true));
        for worker in 1..4 {
            world.step(&mut bench, Step::Connect(worker));
            world.step(&mut bench, Step::Drain(worker, false));
        }
        for _ in 0..200 {
            for worker in 1..4 {
                world.step(&mut bench, Step::Succeed { worker, which: 0 });
                world.step(&mut bench, Step::Beat(worker));
                world.step(&mut bench, Step::Probe(worker));
            }
            for which in 0..bench.deliveries.len() {
                world.step(&mut bench, Step::Deliver { which, outcome: 0 });
            }
            world.step(&mut bench, Step::Pass(5));
            world.check(&bench)?;
        }
        prop_assert!(!world.refused, "who was refused heard that there is room");
        prop_assert!(world.on_air.is_empty(), "every live attempt ended");
        for id in &world.jobs {
            prop_assert!(bench.state_of(*id).is_final(), "job {} never ended: {:?}", id, bench.state.summary(*id, bench.now()));
        }
    }
}
