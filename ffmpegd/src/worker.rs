//! The worker: one loop that owns the state, between the session and the attempts.

mod health;

use std::{
    collections::HashMap,
    io,
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    failpoint,
    id::{AttemptId, WorkerId},
    proto::{
        self, coordinator_message::Message as FromCoordinator, worker_message::Message as ToCoordinator,
    },
    worker::{Capabilities, Capacity, GpuLoad, Load},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::{
    fetch::Proxy,
    options::Config,
    probe::{self, GpuMonitor, MachineMonitor},
    run::{self, Assignment, Ending, Slot, Space, Spawner, Tools, Unusable, Vitals, Work},
    session::{
        Connection, Dial, Doubt, Effect, Event, Link, LinkEvent, State, Terms, Why, attempt_progress, message,
    },
    state_dir::{self, StateDir},
};

/// Attempts that say at once that they started.
const STARTED: usize = 64;
/// How often load is measured; heartbeats carry the last figures.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// What a worker that leaves waits for its last messages to be acknowledged.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often the loop looks at the clock when nothing else happens.
const PULSE: Duration = Duration::from_millis(500);
/// For a coordinator that names no interval.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(5);

/// Two levels of leaving. Cancel `drain` to finish what runs and leave, `stop` to leave now. Cloneable.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// No new work; what runs is finished within the drain timeout, then handed back.
    pub drain: CancellationToken,
    /// What runs is killed and handed back.
    pub stop: CancellationToken,
}

/// How a worker left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that it took was finished, and the coordinator knows.
    Done,
    /// That many attempts were not.
    Unfinished(usize),
}

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] state_dir::Error),
    #[error(transparent)]
    Probe(#[from] probe::Error),
    #[error(
        "this worker would take no work: no GPU encoder works here and it may run no CPU jobs; raise TVARR_MAX_CPU_JOBS, \
         or see `ffmpegd detect`"
    )]
    NoCapacity,
    #[error("cannot prepare the scratch folder {}: {source}; make it writable or set TVARR_SCRATCH_DIR", path.display())]
    Scratch { path: std::path::PathBuf, source: io::Error },
    #[error("cannot start {what}: {source}")]
    Start { what: &'static str, source: io::Error },
}

/// A worker whose machine is known and whose state folder is held.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    state_dir: StateDir,
    capabilities: Arc<Capabilities>,
    capacity: Capacity,
}

impl Worker {
    /// Takes hold of the state folder and probes the machine, which takes seconds at most.
    ///
    /// # Errors
    /// The folder cannot be used or is another worker's; there is no ffmpeg that works; nothing could be run.
    pub async fn prepare(mut config: Config) -> Result<Self, Error> {
        let state_dir = StateDir::open(&config.state_dir)?;
        // Child processes run in folders of their own.
        for path in [&mut config.state_dir].into_iter().chain(config.scratch_dir.as_mut()) {
            *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
        }
        if let Some(shared) = &mut config.scratch_dir {
            // Several workers may be given the same folder.
            shared.push(format!("ffmpegd-{}", state_dir.worker));
        }
        let scratch = config.scratch();
        failpoint::hit("scratch.prepare.before");
        run::prepare_scratch(&scratch).map_err(|source| Error::Scratch { path: scratch, source })?;
        failpoint::hit("scratch.prepare.after");
        let capabilities = match config.capabilities.take() {
            Some(known) => known,
            None => probe::probe(&config.probe_settings()).await?,
        };
        let capacity = config.limits.capacity(&capabilities);
        if capacity.max_gpu_jobs == 0 && capacity.max_cpu_jobs == 0 {
            return Err(Error::NoCapacity);
        }
        for problem in &capabilities.problems {
            tracing::warn!(problem, "something is wrong with this machine");
        }
        tracing::info!(
            worker = %state_dir.worker,
            name = config.name,
            ffmpeg = capabilities.ffmpeg_version,
            jobs = capacity.max_jobs,
            gpu_jobs = capacity.max_gpu_jobs,
            cpu_jobs = capacity.max_cpu_jobs,
            "worker is ready"
        );
        Ok(Self { config, state_dir, capabilities: Arc::new(capabilities), capacity })
    }

    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.state_dir.worker
    }

    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Works until it is told to leave, or has nothing to do and was asked to leave then. Dropping the future kills
    /// whatever runs.
    ///
    /// # Errors
    /// Something that every attempt needs cannot be started.
    pub async fn run(self, shutdown: Shutdown) -> Result<Outcome, Error> {
        let services = CancellationToken::new();
        let _ends_them = services.clone().drop_guard();
        let tasks = TaskTracker::new();
        let started = |what| move |source| Error::Start { what, source };

        let proxy = Proxy::start(self.config.source, self.config.reach.clone(), &tasks, services.clone())
            .await
            .map_err(started("the proxy for inputs"))?;
        let http = run::upload_client().map_err(|error| Error::Start {
            what: "the client for uploads",
            source: io::Error::other(error),
        })?;
        let live_http = run::live_client().map_err(|error| Error::Start {
            what: "the client for live streams",
            source: io::Error::other(error),
        })?;
        let (connection, connected) = watch::channel(None);
        let (probed, capabilities) = watch::channel(Arc::clone(&self.capabilities));
        let scratch = self.config.scratch();
        let space = Space::open(&scratch, self.config.scratch_limit, self.config.scratch_keep_free)
            .map_err(|source| Error::Scratch { path: scratch, source })?;
        let tools = Arc::new(Tools {
            worker: self.state_dir.worker,
            ffmpeg: program(&self.config.ffmpeg),
            ffprobe: program(&self.config.ffprobe),
            nvenc_preset: self.config.nvenc_preset,
            scratch: self.config.scratch(),
            shared_roots: self.config.shared_roots.clone(),
            space: space.clone(),
            capabilities,
            coordinator: self.config.coordinator.clone(),
            spawner: Spawner::start().map_err(started("the thread that starts ffmpeg"))?,
            proxy,
            http,
            live_http,
            connection: connected,
        });
        let load = watch_load(&self.config, &self.capabilities, space, &tasks, services.clone()).await;
        let dial = Dial { address: self.config.coordinator.clone(), token: self.config.token.clone() };
        let (started, starts) = mpsc::channel(STARTED);
        let floor = Floor {
            state: State::new(self.capacity, self.config.exit_when_idle),
            running: HashMap::new(),
            endings: JoinSet::new(),
            tools,
            started,
            connection,
            load,
            doubt: Doubt::default(),
            probe: None,
            probed,
            worker: &self,
        };
        let outcome = floor.work(Link::new(dial), starts, shutdown).await;
        services.cancel();
        tasks.close();
        tasks.wait().await;
        Ok(outcome)
    }

    fn hello(&self, state: &State, capabilities: &Capabilities) -> proto::Hello {
        let config = &self.config;
        proto::Hello {
            protocol_min: proto::PROTOCOL_MIN,
            protocol_max: proto::PROTOCOL_MAX,
            worker_id: self.state_dir.worker.to_string(),
            name: config.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: Some(capabilities.clone().into()),
            capacity: Some(self.capacity.into()),
            labels: config.labels.clone().into_iter().collect(),
            presets: config.presets.clone(),
            running: state.unacknowledged(),
            exit_when_idle: config.exit_when_idle,
            draining: state.is_leaving(),
            dialled: config.coordinator.authority(),
            shared_roots: config
                .shared_roots
                .iter()
                .map(|root| root.to_string_lossy().into_owned())
                .collect(),
            not_taking: state.not_taking(),
        }
    }
}

/// A path stays valid in another working folder; a name is looked up in `PATH`, once.
fn program(path: &std::path::Path) -> std::path::PathBuf {
    let is_name = path.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    if !is_name {
        return std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let runs = |file: &std::path::PathBuf| {
        file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    let found = std::env::split_paths(&folders).map(|folder| folder.join(path)).find(runs);
    found.unwrap_or_else(|| path.to_owned())
}

async fn watch_load(
    config: &Config,
    capabilities: &Capabilities,
    space: Space,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> watch::Receiver<(Load, Vec<GpuLoad>)> {
    let machine = MachineMonitor::new(&config.scratch());
    let gpus = GpuMonitor::open(config.nvml_library.as_deref(), &capabilities.gpus).await;
    let (figures, latest) = watch::channel((machine.sample().await, gpus.sample().await));
    tasks.spawn(async move {
        let mut every = interval(SAMPLE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            let load = machine.sample().await;
            space.measured(load.scratch_free_bytes);
            figures.send_replace((load, gpus.sample().await));
        }
    });
    latest
}

/// Where the work is done: the state, and the attempts that it decides about.
struct Floor<'a> {
    state: State,
    running: HashMap<AttemptId, Running>,
    endings: JoinSet<(AttemptId, Ending, Vec<String>)>,
    tools: Arc<Tools>,
    started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    connection: watch::Sender<Option<Connection>>,
    load: watch::Receiver<(Load, Vec<GpuLoad>)>,
    doubt: Doubt,
    /// The probe that runs.
    probe: Option<health::Probe>,
    probed: watch::Sender<Arc<Capabilities>>,
    worker: &'a Worker,
}

struct Running {
    /// It encodes on a device.
    gpu: bool,
    vitals: Arc<Vitals>,
    stop: CancellationToken,
}

/// What the loop woke up for.
enum Wake {
    Stop,
    Drain,
    DrainIsOver,
    Farewell,
    Started(AttemptId, proto::AttemptStarted),
    Ended(AttemptId, Ending, Vec<String>),
    Probed(Arc<Capabilities>),
    Link(LinkEvent),
    Heartbeat,
    Lease,
    Pulse,
}

/// Knows since when messages may have waited: this process may have been stopped, for any time. What is read now was not
/// there two beats ago, for between two beats whatever the socket holds is read.
struct Pulse {
    last: Instant,
    before: Instant,
}

impl Pulse {
    const fn new(now: Instant) -> Self {
        Self { last: now, before: now }
    }

    const fn beat(&mut self, now: Instant) {
        self.before = self.last;
        self.last = now;
    }

    const fn before(&self) -> Instant {
        self.before
    }
}

impl Floor<'_> {
    async fn work(
        mut self,
        mut link: Link,
        mut starts: mpsc::Receiver<(AttemptId, proto::AttemptStarted)>,
        shutdown: Shutdown,
    ) -> Outcome {
        let mut heartbeat = heartbeat(DEFAULT_HEARTBEAT);
        let (mut draining, mut stopping) = (false, false);
        let mut drain_ends = None;
        let mut farewell = None;
        // For the first Hello.
        self.state.set_not_taking(self.tools.space.not_taking());
        let mut pulse = Pulse::new(Instant::now());
        let mut beats = every(PULSE);
        loop {
            let lease_ends = self.state.next_lease_end();
            let wake = tokio::select! {
                biased;
                () = shutdown.stop.cancelled(), if !stopping => Wake::Stop,
                () = shutdown.drain.cancelled(), if !draining => Wake::Drain,
                () = until(drain_ends), if !stopping => Wake::DrainIsOver,
                () = until(farewell) => Wake::Farewell,
                Some((attempt, started)) = starts.recv() => Wake::Started(attempt, started),
                Some(ended) = self.endings.join_next() => match ended {
                    Ok((attempt, ending, log)) => Wake::Ended(attempt, ending, log),
                    // Panics are caught within, and nothing aborts an attempt.
                    Err(error) => {
                        tracing::error!(%error, "an attempt vanished");
                        continue;
                    }
                },
                capabilities = health::ended(&mut self.probe) => Wake::Probed(capabilities),
                event = link.next(|| self.worker.hello(&self.state, &self.probed.borrow())) => Wake::Link(event),
                _ = heartbeat.tick() => Wake::Heartbeat,
                () = until(lease_ends) => Wake::Lease,
                _ = beats.tick() => Wake::Pulse,
            };
            let now = Instant::now();
            match wake {
                Wake::Drain => {
                    draining = true;
                    let patience = self.worker.config.drain_timeout;
                    tracing::info!(running = self.running.len(), ?patience, "draining");
                    drain_ends = now.checked_add(patience);
                    self.apply(Event::Leave("the worker is shutting down".to_owned()), &mut link);
                }
                Wake::Stop | Wake::DrainIsOver => {
                    stopping = true;
                    tracing::info!(running = self.running.len(), "stopping; what runs is handed back");
                    farewell = Some(now + FAREWELL);
                    self.apply(Event::HandBack, &mut link);
                }
                Wake::Farewell => break,
                Wake::Started(attempt, started) => self.apply(Event::Started(attempt, started), &mut link),
                Wake::Ended(attempt, ending, log) => {
                    let running = self.running.remove(&attempt);
                    self.learn(running.as_ref(), &ending);
                    // Heard before the result, so that no other attempt comes for it.
                    self.look_at_scratch(&mut link);
                    failpoint::hit("report.before");
                    self.apply(Event::Ended(attempt, ending, log), &mut link);
                    failpoint::hit("report.after");
                }
                Wake::Link(event) => self.link(event, pulse.before(), &mut link, &mut heartbeat),
                Wake::Heartbeat => link.send(message(ToCoordinator::Heartbeat(self.heartbeat(now)))),
                Wake::Lease => self.apply(Event::Tick, &mut link),
                Wake::Probed(capabilities) => self.probed(&capabilities, &mut link),
                Wake::Pulse => {
                    pulse.beat(now);
                    self.look_at_scratch(&mut link);
                }
            }
            if self.doubt.begin(now) {
                self.probe = Some(self.probe_again());
            }
            let nobody_to_tell = stopping && self.state.is_quiet() && self.connection.borrow().is_none();
            if self.state.is_done() || nobody_to_tell {
                break;
            }
        }
        self.close().await
    }

    /// Nothing survives the worker.
    async fn close(mut self) -> Outcome {
        for running in self.running.values() {
            running.stop.cancel();
        }
        let all = async { while self.endings.join_next().await.is_some() {} };
        if timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("an attempt does not end, killing it");
        }
        match self.state.unfinished() {
            0 => {
                tracing::info!("worker leaves, everything is done");
                Outcome::Done
            }
            left => {
                tracing::warn!(
                    attempts = left,
                    "worker leaves with work unfinished; it goes to other workers"
                );
                Outcome::Unfinished(left)
            }
        }
    }

    /// `looked`: when nothing was there to be read yet.
    fn link(&mut self, event: LinkEvent, looked: Instant, link: &mut Link, beat: &mut Interval) {
        match event {
            LinkEvent::Connected(connection, welcome, asked) => {
                tracing::info!(
                    coordinator = %self.worker.config.coordinator,
                    session = connection.session,
                    "connected to the coordinator"
                );
                let every = Duration::from_millis(welcome.heartbeat_interval_ms.into());
                *beat = heartbeat(if every.is_zero() { DEFAULT_HEARTBEAT } else { every });
                self.connection.send_replace(Some(*connection));
                self.apply(Event::Connected(Terms::of(&welcome, asked)), link);
            }
            LinkEvent::Message(message) => {
                match &message.message {
                    Some(FromCoordinator::ProbeAgain(ask)) => {
                        tracing::info!(
                            reason = ask.reason,
                            "the coordinator wants this machine probed again"
                        );
                        self.doubt.ask();
                    }
                    Some(FromCoordinator::Assign(_)) => self.look_at_scratch(link),
                    _ => {}
                }
                if let Some(event) = understand(*message, looked) {
                    self.apply(event, link);
                }
            }
            LinkEvent::Lost => {
                self.connection.send_replace(None);
                self.doubt.disconnected();
                self.apply(Event::Disconnected, link);
            }
        }
    }

    fn apply(&mut self, event: Event, link: &mut Link) {
        if let Event::Ended(attempt, ending, _) = &event {
            log_ending(*attempt, ending);
        }
        for effect in self.state.apply(event, Instant::now()) {
            match effect {
                Effect::Start(assignment) => self.start(*assignment),
                Effect::Stop(attempt, why) => self.stop(attempt, &why),
                Effect::Send(message) => link.send(message),
            }
        }
    }

    fn start(&mut self, assignment: Assignment) {
        let id = assignment.attempt;
        let span = tracing::info_span!("attempt", job = %assignment.job, task = %id.task, epoch = %id.epoch);
        let gpu = assignment.slot() == Slot::Gpu;
        let encoder = assignment.encoder.as_ref().map_or("", |encoder| encoder.name.as_str());
        let (input, preset) = (&assignment.input, &assignment.preset);
        span.in_scope(|| tracing::info!(input, preset, encoder, gpu, "attempt begins"));
        let vitals = Arc::new(Vitals::default());
        let stop = CancellationToken::new();
        self.running.insert(id, Running { gpu, vitals: Arc::clone(&vitals), stop: stop.clone() });
        let (tools, started) = (Arc::clone(&self.tools), self.started.clone());
        match assignment.work.clone() {
            // It leaves nothing on the disk.
            Work::Live(task) => self.endings.spawn(
                async move {
                    let ending = run::live_attempt(&tools, &assignment, &task, &vitals, started, stop).await;
                    (id, ending, vitals.log_tail())
                }
                .instrument(span),
            ),
            Work::Batch(batch) => {
                let claim = self.tools.space.claim(id);
                let attempt = async move {
                    let ending = match claim {
                        Ok(claim) => {
                            run::attempt(&tools, &assignment, &batch, claim, &vitals, started, stop).await
                        }
                        Err(shortage) => {
                            run::no_room(&format!("reading {}", assignment.input), shortage).into()
                        }
                    };
                    (id, ending, vitals.log_tail())
                };
                self.endings.spawn(attempt.instrument(span))
            }
        };
    }

    fn stop(&self, attempt: AttemptId, why: &Why) {
        match why {
            Why::Told(reason) => tracing::info!(%attempt, reason, "stopping, as the coordinator wants"),
            Why::Lost => {
                tracing::warn!(%attempt, "stopping: the lease is lost, the attempt is somebody else's");
            }
            Why::HandBack => tracing::info!(%attempt, "stopping, to be handed back"),
        }
        if let Some(running) = self.running.get(&attempt) {
            running.stop.cancel();
        }
    }

    fn heartbeat(&mut self, now: Instant) -> proto::Heartbeat {
        let (mut load, gpus) = self.load.borrow().clone();
        load.scratch_available_bytes = Some(self.tools.space.available());
        let running = self.state.heartbeat(now).into_iter().filter_map(|id| {
            let vitals = &self.running.get(&id)?.vitals;
            Some(attempt_progress(id, vitals.progress(), vitals.take_log()))
        });
        let reported = self.state.reported().into_iter();
        let attempts =
            running.chain(reported.map(|(id, progress)| attempt_progress(id, progress, Vec::new())));
        proto::Heartbeat {
            load: Some(load.into()),
            gpus: gpus.into_iter().map(Into::into).collect(),
            attempts: attempts.collect(),
            not_taking: self.state.not_taking(),
        }
    }
}

fn log_ending(attempt: AttemptId, ending: &Ending) {
    match ending {
        Ending::Succeeded { outputs, .. } => {
            tracing::info!(%attempt, files = outputs.len(), "attempt succeeded");
        }
        Ending::Failed(verdict) => tracing::warn!(
            %attempt, kind = %verdict.failure.kind, reason = verdict.failure.message, "attempt failed"
        ),
        Ending::Stopped => tracing::info!(%attempt, "attempt stopped"),
        Ending::NotCurrent => tracing::info!(%attempt, "attempt is not current any more"),
    }
}

/// What a message means; nothing for one that makes no sense here.
fn understand(message: proto::CoordinatorMessage, looked: Instant) -> Option<Event> {
    let id = |task: &str, epoch| {
        run::attempt_id(task, epoch)
            .inspect_err(|error| tracing::warn!(%error, "the coordinator sent a message that makes no sense"))
            .ok()
    };
    match message.message? {
        FromCoordinator::Assign(assign) => match Assignment::try_from(assign) {
            Ok(assignment) => Some(Event::Assigned(Box::new(assignment), looked)),
            Err(Unusable::Attempt(attempt, failure)) => Some(Event::Unusable(attempt, failure)),
            Err(Unusable::Nameless(error)) => {
                tracing::warn!(%error, "the coordinator sent an assignment that makes no sense");
                None
            }
        },
        FromCoordinator::StopAttempt(stop) => {
            Some(Event::StopAsked(id(&stop.task_id, stop.epoch)?, stop.reason))
        }
        FromCoordinator::AttemptAcknowledged(ack) => {
            failpoint::hit("report.acknowledged");
            Some(Event::Acknowledged(id(&ack.task_id, ack.epoch)?))
        }
        FromCoordinator::LeasesRenewed(renewed) => Some(Event::Renewed(
            renewed.attempts.iter().filter_map(|attempt| id(&attempt.task_id, attempt.epoch)).collect(),
        )),
        FromCoordinator::SetDraining(draining) => {
            // The coordinator sends no work meanwhile; what runs goes on.
            tracing::info!(draining = draining.draining, "an operator changed whether this worker drains");
            None
        }
        FromCoordinator::Idle(_) => Some(Event::Idle),
        FromCoordinator::ProbeAgain(_) => None,
        FromCoordinator::Welcome(_) => {
            tracing::warn!("the coordinator welcomed this worker twice");
            None
        }
    }
}

fn heartbeat(interval: Duration) -> Interval {
    every(interval.clamp(Duration::from_millis(20), Duration::from_secs(60)))
}

fn every(time: Duration) -> Interval {
    let mut interval = interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits until then; for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
