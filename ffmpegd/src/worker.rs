//! The worker: what it is given, what it starts with, and how it leaves. What it does is done on its [`floor`].

mod floor;
mod health;
mod understand;

use std::{
    collections::HashMap, io, net::SocketAddr, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration,
};

use common::{
    failpoint,
    id::WorkerId,
    proto,
    worker::{Capabilities, Capacity, GpuLoad, Load},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use self::floor::Floor;
use crate::{
    fetch::Proxy,
    metrics::{Figures, Gauges, Port},
    options::Config,
    probe::{self, GpuMonitor, MachineMonitor},
    run::{self, Space, Spawner, Tools},
    session::{Dial, Doubt, Link, State},
    state_dir::{self, StateDir},
};

/// Attempts that say at once that they started.
const STARTED: usize = 64;
/// How often load is measured; heartbeats carry the last figures.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

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
    #[error(
        "cannot listen on {address} (TVARR_METRICS_PORT): {source}; choose another port, or stop who has it"
    )]
    Listen { address: SocketAddr, source: io::Error },
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
    port: Option<Port>,
    figures: Figures,
}

impl Worker {
    /// Takes hold of the state folder and probes the machine, which takes seconds at most.
    ///
    /// # Errors
    /// The folder cannot be used or is another worker's; there is no ffmpeg that works; nothing could be run.
    pub async fn prepare(mut config: Config) -> Result<Self, Error> {
        let state_dir = StateDir::open(&config.state_dir)?;
        // Before anything that takes long: whoever has the port is found at once.
        let port = match config.metrics {
            Some(address) => {
                let bound = Port::bind(address).await;
                Some(bound.map_err(|source| Error::Listen { address, source })?)
            }
            None => None,
        };
        let figures = Figures::default();
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
        figures.probed();
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
        Ok(Self { config, state_dir, capabilities: Arc::new(capabilities), capacity, port, figures })
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
        let span = tracing::error_span!("worker", worker = %self.state_dir.worker);
        self.serve(shutdown).instrument(span).await
    }

    async fn serve(mut self, shutdown: Shutdown) -> Result<Outcome, Error> {
        let services = CancellationToken::new();
        let _ends_them = services.clone().drop_guard();
        let tasks = TaskTracker::new();
        let started = |what| move |source| Error::Start { what, source };

        let proxy = Proxy::start(
            self.config.source,
            self.config.reach.clone(),
            self.figures.fetched.clone(),
            &tasks,
            services.clone(),
        )
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
            capabilities: capabilities.clone(),
            coordinator: self.config.coordinator.clone(),
            spawner: Spawner::start().map_err(started("the thread that starts ffmpeg"))?,
            proxy,
            http,
            live_http,
            connection: connected.clone(),
            figures: self.figures.clone(),
        });
        let load =
            watch_load(&self.config, &self.capabilities, space.clone(), &tasks, services.clone()).await;
        let (trouble, troubles) = watch::channel("it was not dialled yet".to_owned());
        if let Some(port) = self.port.take() {
            let gauges = Gauges {
                figures: self.figures.clone(),
                connection: connected,
                load: load.clone(),
                capabilities,
                capacity: self.capacity,
                space,
            };
            port.serve(&self.figures, gauges, troubles, &tasks, services.clone());
        }
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
        let outcome = floor.work(Link::new(dial, trouble), starts, shutdown).await;
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
    let sampling = async move {
        let mut every = interval(SAMPLE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            let load = machine.sample().await;
            space.measured(load.scratch_free_bytes);
            figures.send_replace((load, gpus.sample().await));
        }
    };
    tasks.spawn(sampling.in_current_span());
    latest
}
