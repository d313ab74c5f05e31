//! What the queue promises, case by case and under random sequences of events.

mod cases;
mod figures;
mod inflows;
mod live;
mod random;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    api::{AttemptState, JobState, OnDamagedInput, Quotas, TaskState},
    failure::{Failure, FailureKind},
    id::{AttemptId, Epoch, JobId, SessionId, StreamId, TaskId, WorkerId},
    live::{Ingest, Work},
    media::HardwarePolicy,
    worker::{Need, OutputFile, Progress},
};
use uuid::Uuid;

use super::{
    delivery::{Delivered, Delivery, DeliveryOrder},
    handle::Error,
    input::{InputLocation, JobInput},
    jobs::Submission,
    live::{LiveEvent, LiveOrder, LivePlacement},
    message::{AttemptResult, Beat, Registration, ToWorker},
    remedy::FAILURE_BUDGET,
    state::{Effect, Now, Settings, State},
};
use crate::{
    fleet::{Class, Identity, Policy, Requirement, testing},
    plan::TaskKind,
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
    told: Vec<LiveEvent>,
    deliveries: Vec<DeliveryOrder>,
    /// Commits stay under way until [`Bench::finish_commit`].
    slow: bool,
    /// The newest commit failed.
    failing: bool,
    under_way: Option<(Changes, Vec<Effect>)>,
    /// For the next commit.
    outgoing: Vec<Effect>,
    /// Jobs whose clients wait for the commit under way.
    submitted: Vec<JobId>,
    /// Jobs whose clients were told that they were not accepted.
    withdrawn: Vec<JobId>,
    sessions: u128,
    /// Jobs have several owners.
    shared: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            state: State::new(settings()),
            at: Duration::ZERO,
            stored: BTreeMap::new(),
            sent: Vec::new(),
            sweeps: Vec::new(),
            told: Vec::new(),
            deliveries: Vec::new(),
            slow: false,
            failing: false,
            under_way: None,
            outgoing: Vec::new(),
            submitted: Vec::new(),
            withdrawn: Vec::new(),
            sessions: 0,
            shared: false,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.at, wall: i64::try_from(self.at.as_millis()).unwrap() }
    }

    /// What the shell does after each batch.
    fn settle(&mut self) {
        self.state.tick(self.now());
        let failing = self.failing;
        if self.under_way.is_none() && !failing {
            self.state.schedule(self.now());
        }
        self.tell_at_once();
        if self.under_way.is_some() {
            return;
        }
        assert_eq!(self.state.check_changed(), Ok(()));
        let changes = self.state.begin_commit();
        self.under_way = Some((changes, std::mem::take(&mut self.outgoing)));
        if self.slow {
            return;
        }
        self.finish_commit(true);
        if failing {
            self.settle();
        } else {
            assert_eq!(self.state.check_everything(self.at), Ok(()));
        }
    }

    /// The commit under way ends.
    fn finish_commit(&mut self, durable: bool) {
        let Some((changes, mut outgoing)) = self.under_way.take() else { return };
        let submitted = std::mem::take(&mut self.submitted);
        self.failing = !durable;
        if !durable {
            self.state.not_written();
            for job in submitted {
                self.state.withdraw(job, self.now());
                self.withdrawn.push(job);
            }
            outgoing.append(&mut self.outgoing);
            self.outgoing = outgoing;
            return;
        }
        store(&mut self.stored, changes);
        let now = self.now();
        self.state.written(now);
        self.tell(outgoing);
    }

    fn tell_at_once(&mut self) {
        let (mut at_once, mut later) = (Vec::new(), Vec::new());
        for effect in self.state.take_effects() {
            match effect {
                Effect::AtOnce(..) | Effect::Live(_) => at_once.push(effect),
                _ => later.push(effect),
            }
        }
        self.tell(at_once);
        self.outgoing.append(&mut later);
    }

    fn tell(&mut self, effects: Vec<Effect>) {
        let now = self.now();
        for effect in effects {
            if !self.state.goes_out(&effect, now) {
                continue;
            }
            match effect {
                Effect::Send(session, message) | Effect::AtOnce(session, message) => {
                    self.sent.push((session, message));
                }
                Effect::Sweep(_, attempt) => self.sweeps.push(attempt),
                Effect::Live(event) => self.told.push(event),
                Effect::Deliver(order) => self.deliveries.push(order),
                Effect::Announce(_) => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.at += time;
        self.settle();
    }

    fn submit(&mut self, number: u128, priority: i32) -> JobId {
        self.submit_as(number, priority, InputLocation::Url("http://x/a.mp4".to_owned()), None)
    }

    /// A job whose result is delivered to `output`.
    fn submit_to(&mut self, number: u128, priority: i32, output: Option<&str>) -> JobId {
        self.submit_as(number, priority, InputLocation::Url("http://x/a.mp4".to_owned()), output)
    }

    /// A job of that input.
    fn submit_of(&mut self, number: u128, priority: i32, input: InputLocation) -> JobId {
        self.submit_as(number, priority, input, None)
    }

    fn submit_as(
        &mut self,
        number: u128,
        priority: i32,
        input: InputLocation,
        output: Option<&str>,
    ) -> JobId {
        let id = JobId(Uuid::from_u128(number));
        let requirement = testing::h264(HardwarePolicy::Prefer);
        let details = JobDetails {
            input: JobInput::new(input, "a.mp4".to_owned()),
            more_inputs: Vec::new(),
            preset: requirement.preset.clone(),
            spec: Arc::new(
                serde_json::from_value(serde_json::json!({
                    "kind": "file", "container": "mp4", "audio": {"codec": "aac"},
                    "video": {"codec": "h264", "rate": {"quality": 23.0}}
                }))
                .unwrap(),
            ),
            hardware: requirement.policy,
            priority,
            labels: requirement.labels,
            owner: [None, Some("ann"), Some("bob")][if self.shared { number as usize % 3 } else { 0 }]
                .map(str::to_owned),
            on_damaged_input: OnDamagedInput::default(),
            time_limit_ms: None,
            output: output.map(str::to_owned),
            webhook: None,
        };
        let task = (TaskId(id.0), TaskKind::Encode);
        self.state.submit(Submission { id, details, tasks: vec![task], once: None }, self.now()).unwrap();
        self.submitted.push(id);
        self.settle();
        id
    }

    /// Asks for a place for a live H.264 encode.
    fn place(&mut self, number: u128, preempts: bool) -> Result<LivePlacement, Error> {
        self.place_as(number, testing::h264(HardwarePolicy::Prefer), preempts)
    }

    fn place_as(
        &mut self,
        number: u128,
        requirement: Requirement,
        preempts: bool,
    ) -> Result<LivePlacement, Error> {
        let order = LiveOrder {
            stream: StreamId(Uuid::from_u128(1)),
            name: "camera".to_owned(),
            attempt: live(number),
            requirement: Requirement { class: Class::Live, ..requirement },
            work: Work::Ingest(Ingest { url: "rtsp://camera/".to_owned(), file: false }),
            reads: false,
            only_elsewhere: false,
            preempts,
        };
        let placed = self.state.place_live(order, self.now());
        self.settle();
        placed
    }

    fn end_live(&mut self, number: u128) {
        self.state.end_live(live(number), "nobody watches");
        self.settle();
    }

    fn connect(&mut self, worker: u128, running: Vec<AttemptId>) -> (SessionId, Vec<(AttemptId, bool)>) {
        self.connect_as(testing::cpu_worker(worker).identity, running)
    }

    fn connect_as(
        &mut self,
        identity: Identity,
        running: Vec<AttemptId>,
    ) -> (SessionId, Vec<(AttemptId, bool)>) {
        self.sessions += 1;
        let session = SessionId(Uuid::from_u128(self.sessions));
        let hello = Registration { identity, running, draining: false, not_taking: None };
        let verdicts = self.state.register(hello, session, self.now()).verdicts;
        self.settle();
        (session, verdicts)
    }

    fn beat(&mut self, session: SessionId, attempts: &[AttemptId]) {
        let attempts = attempts.iter().map(|id| (*id, Progress::default(), Vec::new())).collect();
        self.state.heartbeat(session, Beat { attempts, ..Beat::default() }, self.now());
        self.settle();
    }

    fn succeed(&mut self, session: SessionId, attempt: AttemptId) {
        let output = OutputFile {
            path: "a.mp4".to_owned(),
            size: 1,
            content_type: "video/mp4".to_owned(),
            sha256: String::new(),
        };
        let result = AttemptResult::Succeeded {
            outputs: vec![output],
            warnings: Vec::new(),
            progress: Progress::default(),
            damage: None,
        };
        self.state.attempt_finished(session, attempt, result, Vec::new(), self.now());
        self.settle();
    }

    fn fail(&mut self, session: SessionId, attempt: AttemptId, kind: FailureKind, missing: Need) {
        let result = AttemptResult::Failed { failure: Failure::new(kind, "it broke"), missing };
        self.state.attempt_finished(session, attempt, result, Vec::new(), self.now());
        self.settle();
    }

    /// Says how a delivery ended.
    fn deliver(&mut self, delivery: &Delivery, outcome: Delivered) {
        self.state.delivered(delivery.job, delivery.number, outcome, self.now());
        self.settle();
    }

    /// The newest delivery that was ordered.
    fn delivery(&self) -> Delivery {
        let orders = self.deliveries.iter().rev();
        let mut begun = orders.filter_map(|order| match order {
            DeliveryOrder::Begin(delivery) => Some(delivery.clone()),
            DeliveryOrder::Stop(_) => None,
        });
        begun.next().expect("something is to be delivered")
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
            ToWorker::Acknowledge { refused, .. } => Some(refused.is_none()),
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
        self.under_way = None;
        self.outgoing.clear();
        self.submitted.clear();
        // They end with the process.
        self.deliveries.clear();
        self.failing = false;
        self.state = State::new(settings());
        for stored in self.stored.values().filter(|stored| !stored.job.state.is_final()) {
            self.state.restore(stored.clone(), Now { mono: self.at, wall: 0 });
        }
        self.settle();
    }
}

/// The id of a live attempt; no job has it.
fn live(number: u128) -> AttemptId {
    AttemptId { task: TaskId(Uuid::from_u128((1 << 64) + number)), epoch: Epoch(1) }
}

fn settings() -> Settings {
    Settings {
        lease: LEASE,
        grace: GRACE,
        time_limit: None,
        quotas: Quotas { running: Some(2), ..Quotas::default() },
        policy: Policy { stale_after: LEASE, ..Policy::default() },
    }
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
