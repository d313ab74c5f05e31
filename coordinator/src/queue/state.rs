//! What the queue knows, and what it decides when something happens.
//!
//! No I/O, no clock, no randomness: time is an argument, ids come from outside. What changed is remembered here until the
//! shell has made it durable ([`State::begin_commit`]); what follows for others is a list of [`Effect`]s.
//!
//! Durable: rows of jobs, tasks and attempts. Not durable: workers, progress, log lines of running attempts, leases; they
//! come back with the workers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use common::{
    api::{Event, JobState, Quotas, TaskState},
    id::{AttemptId, Epoch, JobId, SessionId, TaskId, WorkerId},
    worker::{Need, Progress},
};

use super::{
    commit::Changed,
    delivery::{Delivering, DeliveryOrder},
    fence::{self, Stale},
    inflow::Inflows,
    intern::Pool,
    live::LiveEvent,
    live_attempts::{OnAir, Waiters},
    message::ToWorker,
    once::Once,
    ready::{Place, Ready},
    shares::{OwnerIndex, Owners},
    waiting::Waiting,
};
use crate::{
    fleet::{Class, Encoded, Fleet, Held, Policy, Requirement, Slot},
    metrics::{Outcome, QueueMetrics},
    plan,
    store::{AttemptRecord, JobRecord, StoredJob, TaskRecord},
};

/// Lines of ffmpeg's output that are kept of an attempt.
pub(super) const LOG_LINES: usize = 200;
/// How long a worker that is gone is still listed.
const FORGET_LOST_AFTER: Duration = Duration::from_secs(3600);

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Monotonic, since any fixed moment. Every decision is made from it.
    pub(crate) mono: Duration,
    /// Milliseconds since the Unix epoch, for people.
    pub(crate) wall: i64,
}

/// Times and placement, as configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// An attempt whose worker was not heard for longer is given to another.
    pub lease: Duration,
    /// How long a worker that lost its connection may take to come back to its attempts.
    pub grace: Duration,
    /// Wall-clock time that the attempts of a task may take together, where the job names none.
    pub time_limit: Option<Duration>,
    pub policy: Policy,
    /// Of owners that have none of their own.
    pub quotas: Quotas,
}

/// What follows for others.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Once everything that was decided is durable.
    Send(SessionId, ToWorker),
    /// Before the commit: it is not durable, or need not be (see `service`).
    AtOnce(SessionId, ToWorker),
    /// Before the commit.
    Live(LiveEvent),
    Announce(Event),
    /// The attempt's objects are of no use any more.
    Sweep(JobId, AttemptId),
    /// Once what is to be delivered is durable.
    Deliver(DeliveryOrder),
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(super) record: JobRecord,
    pub(super) tasks: Vec<TaskId>,
    pub(super) owner: OwnerIndex,
    /// It is counted among those of its owner that wait.
    pub(super) waits: bool,
    /// When the result of its last task came.
    pub(super) made_at: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: TaskRecord,
    pub(super) requirement: Arc<Requirement>,
    pub(super) priority: i32,
    pub(super) owner: OwnerIndex,
    /// The epoch that the next attempt gets. After a restart one is left out: the attempt that was assigned last may
    /// not have been durable yet.
    pub(super) next_epoch: Epoch,
    /// It comes from the store, and nothing was assigned since: its next assignment waits for the commit, so that an epoch
    /// which was left out after one restart is not given out again after the next.
    pub(super) restored: bool,
    /// How often it went back into the queue, for the backoff.
    pub(super) requeues: u32,
    pub(super) attempt: Option<Box<Running>>,
    /// Waits until then before it is ready again.
    pub(super) delayed_until: Option<Duration>,
}

/// The current attempt of a task.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) record: AttemptRecord,
    /// `None` while its worker is disconnected.
    pub(super) session: Option<SessionId>,
    /// End of the lease, or of the grace while disconnected. Changed by [`State::set_deadline`] alone.
    pub(super) deadline: Duration,
    /// Since when it holds its slot; since the restart of the coordinator if that was later.
    pub(super) since: Duration,
    /// Its worker has not come back since the coordinator restarted.
    pub(super) orphaned: bool,
    pub(super) progress: Option<Progress>,
    pub(super) log: VecDeque<String>,
}

/// An attempt that was told to stop and holds its slot until the worker says that it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    pub(super) worker: WorkerId,
    pub(super) deadline: Duration,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(super) settings: Settings,
    pub(crate) fleet: Fleet,
    /// Boxed, as the tasks are: a table has up to twice the places that it needs, and a place is as large as its value.
    pub(super) jobs: HashMap<JobId, Box<Job>>,
    pub(super) tasks: HashMap<TaskId, Box<Task>>,
    pub(super) ready: Ready,
    pub(super) owners: Owners,
    pub(super) once: Once,
    pub(super) delayed: BTreeSet<(Duration, TaskId)>,
    /// When which attempt is lost unless its worker is heard of.
    pub(super) deadlines: BTreeSet<(Duration, AttemptId)>,
    /// Attempts by worker, whether it is connected or not.
    pub(super) assigned: BTreeMap<WorkerId, BTreeSet<AttemptId>>,
    pub(super) stopping: BTreeMap<AttemptId, Stopping>,
    /// Jobs whose files are on their way to where they want them.
    pub(super) delivering: BTreeMap<JobId, Delivering>,
    /// When which of them is tried again.
    pub(super) due_deliveries: BTreeSet<(Duration, JobId)>,
    /// Numbers their tries.
    pub(super) deliveries: u64,
    /// Live attempts that were placed and have not ended.
    pub(super) live: BTreeMap<AttemptId, OnAir>,
    pub(super) waiters: Waiters,
    /// Sessions that were told that there is nothing for them.
    pub(super) told_idle: BTreeSet<SessionId>,
    pub(super) pool: Pool,
    pub(super) waiting: Waiting,
    pub(super) inflows: Inflows,
    /// Changed since the commit under way began, or since the last one.
    pub(super) changed: Changed,
    /// What the commit under way writes.
    pub(super) writing: Changed,
    pub(super) effects: Vec<Effect>,
    /// Only ever added to: nothing is decided by it.
    pub(crate) metrics: QueueMetrics,
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            fleet: Fleet::new(settings.policy.clone()),
            owners: Owners::new(settings.quotas),
            once: Once::default(),
            settings,
            jobs: HashMap::new(),
            tasks: HashMap::new(),
            ready: Ready::default(),
            delayed: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            assigned: BTreeMap::new(),
            stopping: BTreeMap::new(),
            delivering: BTreeMap::new(),
            due_deliveries: BTreeSet::new(),
            deliveries: 0,
            live: BTreeMap::new(),
            waiters: Waiters::default(),
            told_idle: BTreeSet::new(),
            pool: Pool::default(),
            waiting: Waiting::default(),
            inflows: Inflows::default(),
            changed: Changed::default(),
            writing: Changed::default(),
            effects: Vec::new(),
            metrics: QueueMetrics::default(),
        }
    }

    /// Takes a job from the store into memory: after a restart, and when it is retried. Attempts that were running may be
    /// claimed by their worker for one lease.
    pub(crate) fn restore(&mut self, stored: StoredJob, now: Now) {
        let StoredJob { mut job, tasks } = stored;
        if let Some(request) = Arc::get_mut(&mut job.request) {
            self.pool.share_spec(&request.preset, &mut request.spec);
        }
        let owner = self.owners.enter(job.request.owner.as_deref());
        let mut ids = Vec::with_capacity(tasks.len());
        for (record, attempts) in tasks {
            ids.push(record.id);
            let requirement = self.pool.requirement(requirement(&job, &record));
            let current = attempts.into_iter().find(|attempt| attempt.id.epoch == record.epoch);
            let running = current.filter(|_| record.state == TaskState::Running).map(|attempt| {
                let deadline = now.mono + self.settings.lease;
                self.assigned.entry(attempt.worker.id).or_default().insert(attempt.id);
                self.deadlines.insert((deadline, attempt.id));
                Box::new(Running {
                    record: attempt,
                    session: None,
                    deadline,
                    since: now.mono,
                    orphaned: true,
                    progress: None,
                    log: VecDeque::new(),
                })
            });
            if running.is_some() {
                self.owners.begin(owner);
            }
            let task = Task {
                priority: job.priority,
                owner,
                next_epoch: fence::next_epoch_after_restart(record.epoch),
                restored: true,
                requeues: 0,
                attempt: running,
                delayed_until: None,
                requirement,
                record,
            };
            self.tasks.insert(task.record.id, Box::new(task));
        }
        let id = job.id;
        self.jobs.insert(
            id,
            Box::new(Job { record: job, tasks: ids.clone(), owner, waits: false, made_at: None }),
        );
        for task in ids {
            self.note_inflow(task);
            self.make_ready(task);
        }
        self.restore_delivery(id);
        self.count(id);
        // Some of it may run.
        self.reshare(owner);
    }

    /// Counts a job among those of its owner that wait, or not any more.
    fn count(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let waits = job.record.state == JobState::Queued;
        if std::mem::replace(&mut job.waits, waits) != waits {
            self.owners.waits(job.owner, waits);
        }
    }

    /// A job leaves the memory.
    pub(super) fn drop_job(&mut self, id: JobId) -> Option<Box<Job>> {
        let job = self.jobs.remove(&id)?;
        if job.waits {
            self.owners.waits(job.owner, false);
        }
        self.owners.leave(job.owner);
        Some(job)
    }

    /// What an owner has had has changed: its tasks stand elsewhere.
    pub(super) fn reshare(&mut self, owner: OwnerIndex) {
        self.ready.reshare(owner, self.owners.share(owner));
    }

    /// Whether a job is in memory, that is, not over.
    pub(crate) fn knows(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Whether what waited for a commit is still to be sent: an attempt that was taken away meanwhile need not begin. The
    /// lease of one that does begins here, as its worker counts from when it hears of it, however long the commit took.
    pub(crate) fn goes_out(&mut self, effect: &Effect, now: Now) -> bool {
        match effect {
            Effect::Send(session, ToWorker::Assign(assignment)) => {
                let attempt = assignment.attempt;
                let begins = self.current(attempt).is_some_and(|running| running.session == Some(*session));
                if begins {
                    self.set_deadline(attempt, now.mono + self.settings.lease);
                }
                begins
            }
            Effect::Send(..)
            | Effect::AtOnce(..)
            | Effect::Live(_)
            | Effect::Announce(_)
            | Effect::Sweep(..) => true,
            Effect::Deliver(order) => self.is_wanted(order),
        }
    }

    /// When [`State::tick`] or [`State::schedule`] has something to do at the latest.
    pub(crate) fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let attempts = self.deadlines.first().map(|(deadline, _)| *deadline);
        let stopping = self.stopping.values().map(|stopping| stopping.deadline);
        let delayed = self.delayed.first().map(|(until, _)| *until);
        let aside = self.next_change_of_workers(now);
        let live = self.next_live_deadline();
        let delivery = self.next_delivery();
        attempts.into_iter().chain(stopping).chain(delayed).chain(aside).chain(live).chain(delivery).min()
    }

    /// Time has passed: leases and graces end, delayed tasks become ready, lost workers are forgotten.
    pub(crate) fn tick(&mut self, now: Now) {
        while let Some((deadline, attempt)) = self.deadlines.first().copied()
            && fence::is_lost(deadline, now.mono)
        {
            self.expire(attempt, now);
        }
        let stopped: Vec<AttemptId> = self
            .stopping
            .iter()
            .filter(|(_, stopping)| stopping.deadline <= now.mono)
            .map(|(id, _)| *id)
            .collect();
        for attempt in stopped {
            self.stopped(attempt);
        }
        self.tick_deliveries(now);
        while let Some((until, task)) = self.delayed.first().copied()
            && until <= now.mono
        {
            self.delayed.pop_first();
            if let Some(task) = self.tasks.get_mut(&task) {
                task.delayed_until = None;
            }
            self.make_ready(task);
        }
        self.ask_for_probes(now);
        self.tick_live(now);
        let forgotten: Vec<WorkerId> = self
            .fleet
            .iter()
            .filter(|worker| {
                worker.session.is_none()
                    && worker.held.is_empty()
                    && now.mono.saturating_sub(worker.last_heard) > FORGET_LOST_AFTER
            })
            .map(|worker| worker.identity.id)
            .collect();
        for worker in forgotten {
            self.fleet.remove(worker);
        }
    }

    // ---- shared by the files of this folder

    /// The attempt, if it is its task's current one.
    pub(super) fn current(&self, id: AttemptId) -> Option<&Running> {
        self.tasks.get(&id.task)?.attempt.as_deref().filter(|running| running.record.id == id)
    }

    pub(super) fn current_mut(&mut self, id: AttemptId) -> Option<&mut Running> {
        self.tasks.get_mut(&id.task)?.attempt.as_deref_mut().filter(|running| running.record.id == id)
    }

    /// Whether a message of `session` about an attempt may change its task.
    pub(super) fn admit(&self, attempt: AttemptId, session: SessionId) -> Result<(), Stale> {
        let current = self.tasks.get(&attempt.task).and_then(|task| task.attempt.as_ref());
        let current = current
            .map(|running| fence::Current { epoch: running.record.id.epoch, session: running.session });
        fence::admit(current, attempt.epoch, session)
    }

    /// Until when the worker of an attempt must have been heard.
    pub(super) fn set_deadline(&mut self, id: AttemptId, deadline: Duration) {
        let Some(running) = self.current_mut(id) else { return };
        let before = std::mem::replace(&mut running.deadline, deadline);
        self.deadlines.remove(&(before, id));
        self.deadlines.insert((deadline, id));
    }

    /// Takes the attempt from its task: it is over, one way or another. Its slot is held until [`State::release`].
    pub(super) fn take_attempt(&mut self, task: TaskId, now: Now) -> Option<Running> {
        let task = self.tasks.get_mut(&task)?;
        let running = *task.attempt.take()?;
        let ran = u64::try_from(now.mono.saturating_sub(running.since).as_millis()).unwrap_or(u64::MAX);
        task.record.history.ran_ms = task.record.history.ran_ms.saturating_add(ran);
        let owner = task.owner;
        self.deadlines.remove(&(running.deadline, running.record.id));
        self.fleet.touch(running.record.worker.id);
        self.owners.end(owner, ran);
        self.reshare(owner);
        Some(running)
    }

    /// Counts an attempt that was taken from its task.
    pub(super) fn count_attempt(&self, running: &Running, outcome: Outcome, now: Now) {
        let job = self.jobs.get(&running.record.job);
        let preset = job.map(|job| job.record.request.preset.as_str());
        let ran = now.mono.saturating_sub(running.since);
        self.metrics.attempt_ended(preset, outcome, ran.as_secs_f64());
    }

    /// Counts frames that a worker has encoded since it told of them last.
    pub(super) fn count_frames(&mut self, worker: WorkerId, job: JobId, encoder: Option<&str>, frames: u64) {
        if let Some(job) = self.jobs.get(&job)
            && let Some(worker) = self.fleet.get_mut(worker)
        {
            worker.standing.encoded(Encoded::batch(&job.record.request.preset, encoder), frames);
        }
    }

    /// Counts a job that has come to its final state.
    pub(super) fn count_end(&self, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            let kind = job.record.failure.as_ref().map(|failure| failure.kind);
            self.metrics.job_ended(job.record.state, kind);
        }
    }

    pub(super) fn make_ready(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get(&id)
            && task.record.state == TaskState::Queued
            && task.delayed_until.is_none()
            && let Some(job) = self.jobs.get(&task.record.job)
            && self.waits_for_input(&job.record).is_none()
        {
            self.ready.insert(task.requirement.clone(), place(task), self.owners.share(task.owner));
        }
    }

    /// Takes a task out of everything that waits.
    pub(super) fn unqueue(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            let (requirement, place) = (task.requirement.clone(), place(task));
            if let Some(until) = task.delayed_until.take() {
                self.delayed.remove(&(until, id));
            }
            let share = self.owners.share(place.owner);
            self.ready.remove(&requirement, place, share);
        }
    }

    /// What ffmpeg wrote in an attempt that is over.
    pub(super) fn keep_log(&mut self, attempt: AttemptId, log: VecDeque<String>) {
        if !log.is_empty() {
            self.changed.logs.insert(attempt, log.into());
        }
    }

    /// Gives back what an attempt held of its worker.
    pub(super) fn release(&mut self, attempt: AttemptId, worker: WorkerId) {
        if let Some(known) = self.fleet.get_mut(worker) {
            known.held.remove(&attempt);
            self.room();
        }
        if let Some(assigned) = self.assigned.get_mut(&worker) {
            assigned.remove(&attempt);
            if assigned.is_empty() {
                self.assigned.remove(&worker);
            }
        }
    }

    /// A stopping attempt is over: its slot is free.
    pub(super) fn stopped(&mut self, attempt: AttemptId) {
        if let Some(stopping) = self.stopping.remove(&attempt) {
            self.release(attempt, stopping.worker);
        }
    }

    /// Marks a job as changed and tells the listeners.
    pub(super) fn job_changed(&mut self, id: JobId, now: Now) {
        self.changed.jobs.insert(id);
        self.count(id);
        if let Some(summary) = self.summary(id, now) {
            self.effects.push(Effect::Announce(Event::Job { job: Box::new(summary) }));
        }
    }

    /// What an attempt holds of its worker.
    pub(super) fn held(&self, attempt: &AttemptRecord) -> Held {
        let slot = slot(attempt);
        let video = self.tasks.get(&attempt.id.task).and_then(|task| task.requirement.need.video.as_ref());
        let sessions = match slot {
            Slot::Gpu(_) => video.map_or(0, |video| video.sessions),
            Slot::Cpu => 0,
        };
        Held { slot, class: Class::Batch, sessions }
    }
}

/// The place of a worker where an attempt runs.
pub(super) fn slot(attempt: &AttemptRecord) -> Slot {
    attempt.details.device.as_ref().map_or(Slot::Cpu, |device| Slot::Gpu(device.gpu))
}

pub(super) fn place(task: &Task) -> Place {
    Place { priority: task.priority, owner: task.owner, task: task.record.id }
}

/// What a task needs of a worker.
pub(super) fn requirement(job: &JobRecord, task: &TaskRecord) -> Requirement {
    let mut need = plan::need(task.kind, &job.request.spec);
    if let Some(learned) = task.history.learned.as_deref() {
        learn(&mut need, learned.clone());
    }
    Requirement {
        need,
        policy: job.request.hardware,
        labels: job.request.labels.clone(),
        preset: job.request.preset.clone(),
        class: Class::Batch,
        avoid: task.history.mishaps.iter().map(|mishap| mishap.worker).collect(),
    }
}

/// Adds to what a task needs; `false` if it was known already.
pub(super) fn learn(need: &mut Need, missing: Need) -> bool {
    let before = (need.filters.len(), need.any_of.len(), need.scratch_bytes);
    for filter in missing.filters {
        if !need.filters.contains(&filter) {
            need.filters.push(filter);
        }
    }
    for names in missing.any_of {
        if !need.any_of.contains(&names) {
            need.any_of.push(names);
        }
    }
    need.scratch_bytes = need.scratch_bytes.max(missing.scratch_bytes);
    (need.filters.len(), need.any_of.len(), need.scratch_bytes) != before
}
