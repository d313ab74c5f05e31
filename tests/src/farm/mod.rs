//! A farm on this machine: one coordinator, some workers.

mod check;
mod spec;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use common::{
    api::{InputRef, JobState, JobView, WorkerState},
    id::JobId,
};
use rustix::process::Signal;
use tempfile::TempDir;

pub use self::spec::{FarmBuilder, WorkerSpec};
use crate::{
    api::{Api, request},
    binaries,
    daemon::{Daemon, Launch, exit_code},
    disk::SmallDisk,
    proxy::Proxy,
    system::{self, Process},
    wait::{self, seconds},
};

/// Long enough for a start on a busy machine.
const START: Duration = seconds(60);
/// Long enough for a short clip on a busy machine.
const ENCODE: Duration = seconds(120);
/// Progress comes with heartbeats, and tests wait for progress.
const HEARTBEAT: &str = "200ms";
/// An idle daemon's shutdown.
const SHUTDOWN: Duration = seconds(15);

/// A running farm. End with [`Farm::stop`].
#[derive(Debug)]
pub struct Farm {
    pub api: Api,
    mark: String,
    token: String,
    env: Vec<(String, OsString)>,
    coordinator: Option<Daemon>,
    /// HTTP and gRPC.
    ports: (u16, u16),
    workers: Vec<Daemon>,
    expected_errors: Vec<String>,
    /// Workers that were killed and not started again: they could not clean up.
    killed: Vec<String>,
    /// By worker.
    proxies: BTreeMap<String, Proxy>,
    /// Everything ended well.
    stopped: bool,
    /// The test heard how it ended.
    told: bool,
    failed: bool,
    keep: bool,
    // Last, so that they go after the processes.
    disks: BTreeMap<String, SmallDisk>,
    folder: TempDir,
}

impl Farm {
    #[must_use]
    pub fn builder() -> FarmBuilder {
        FarmBuilder::default()
    }

    /// A coordinator and one worker with two slots.
    pub async fn small() -> Self {
        Self::builder().worker(WorkerSpec::new("alone")).start().await
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that coordinator and workers share.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.path().join("shared")
    }

    /// Where a worker keeps its id.
    #[must_use]
    pub fn worker_state(&self, name: &str) -> PathBuf {
        self.path().join("workers").join(name)
    }

    /// Where a worker keeps what it is working on.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.path().join("scratch").join(name)
    }

    /// `host:port` for workers.
    #[must_use]
    pub fn worker_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.1)
    }

    /// What workers have to present.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The coordinator's folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The line between a worker and the coordinator.
    ///
    /// # Panics
    /// The worker was not started [behind a proxy](WorkerSpec::behind_proxy).
    #[must_use]
    pub fn line(&self, worker: &str) -> &Proxy {
        self.proxies.get(worker).unwrap_or_else(|| panic!("worker {worker} is behind no proxy"))
    }

    /// The small disk of a worker's scratch folder, or the coordinator's as `data`. `None` where nothing can be mounted.
    #[must_use]
    pub fn disk(&self, name: &str) -> Option<&SmallDisk> {
        self.disks.get(name)
    }

    fn common_env(&self) -> Vec<(String, OsString)> {
        vec![
            (system::MARK.into(), self.mark.clone().into()),
            ("HOME".into(), self.path().join("home").into()),
            ("TMPDIR".into(), self.path().join("tmp").into()),
            ("TVARR_SHARED_ROOTS".into(), self.shared().into()),
        ]
    }

    /// Starts the coordinator, on the same ports as before if it ran before.
    pub async fn start_coordinator(&mut self) {
        if let Err(status) = self.try_start_coordinator(&[]).await {
            let log = fs::read_to_string(self.path().join("logs/coordinator.log")).unwrap_or_default();
            panic!("the coordinator ended with {status} before it was ready; its log:\n{log}");
        }
    }

    /// The same with more in its environment, this once.
    ///
    /// # Errors
    /// It ended before it was ready.
    pub async fn try_start_coordinator(&mut self, env_once: &[(&str, &str)]) -> Result<(), ExitStatus> {
        assert!(self.coordinator.is_none(), "the coordinator runs already");
        let ready = self.path().join("ready.json");
        let _ = fs::remove_file(&ready);
        let mut env = self.common_env();
        env.extend([
            ("TVARR_HTTP_PORT".into(), self.ports.0.to_string().into()),
            ("TVARR_GRPC_PORT".into(), self.ports.1.to_string().into()),
            ("TVARR_DATA_DIR".into(), self.path().join("data").into()),
            ("TVARR_GRPC_AUTH_TOKEN".into(), self.token.clone().into()),
            ("TVARR_READY_FILE".into(), ready.clone().into()),
            ("TVARR_HEARTBEAT_INTERVAL".into(), HEARTBEAT.into()),
        ]);
        env.extend(self.env.iter().cloned());
        env.extend(env_once.iter().map(|(name, value)| ((*name).to_owned(), value.into())));
        let launch = Launch {
            program: binaries::workspace("coordinator"),
            args: Vec::new(),
            env,
            cwd: self.path().to_owned(),
        };
        let mut daemon = Daemon::start("coordinator", &launch, &self.path().join("logs/coordinator.log"));
        let addresses = wait::try_until(START, || {
            let addresses: Option<serde_json::Value> =
                fs::read(&ready).ok().and_then(|text| serde_json::from_slice(&text).ok());
            let ended = daemon.exit_status();
            async move {
                match (addresses, ended) {
                    (Some(addresses), _) => Some(Ok(addresses)),
                    (None, Some(status)) => Some(Err(status)),
                    (None, None) => None,
                }
            }
        })
        .await;
        let addresses = match addresses {
            Some(Ok(addresses)) => addresses,
            Some(Err(status)) => return Err(status),
            None => panic!("the coordinator is not ready; its log:\n{}", daemon.log()),
        };
        let port = |name: &str| -> u16 {
            let address = addresses[name].as_str().unwrap_or_else(|| panic!("no {name} in {addresses}"));
            let address = address.trim_end_matches('/');
            address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap()
        };
        self.ports = (port("http"), port("grpc"));
        let admin =
            self.env.iter().find(|(name, _)| name == "TVARR_ADMIN_KEY").and_then(|(_, key)| key.to_str());
        self.api = Api::keyed(&format!("http://127.0.0.1:{}", self.ports.0), admin);
        self.coordinator = Some(daemon);
        Ok(())
    }

    /// Waits for the coordinator to end by itself.
    ///
    /// # Panics
    /// It still ran at the deadline.
    pub async fn coordinator_ended(&mut self, deadline: Duration) -> ExitStatus {
        self.coordinator.take().expect("the coordinator runs").exited(deadline).await
    }

    /// Ends the coordinator with SIGTERM, or with `kill -9`.
    pub async fn stop_coordinator(&mut self, gently: bool) {
        let mut daemon = self.coordinator.take().expect("the coordinator runs");
        if gently {
            daemon.signal(Signal::TERM);
            let status = daemon.exited(SHUTDOWN).await;
            assert_eq!(exit_code(status), 0, "the coordinator's log:\n{}", daemon.log());
        } else {
            daemon.kill();
        }
    }

    /// Starts a worker and, unless the spec says otherwise, waits until it is registered.
    pub async fn start_worker(&mut self, spec: WorkerSpec) {
        self.spawn_worker(&spec);
        if spec.awaited {
            self.registered(&spec.name).await;
        }
    }

    fn spawn_worker(&mut self, spec: &WorkerSpec) {
        let state = self.worker_state(&spec.name);
        fs::create_dir_all(&state).unwrap();
        fs::create_dir_all(self.scratch(&spec.name)).unwrap();
        if let Some(bytes) = spec.scratch_disk
            && !self.disks.contains_key(&spec.name)
            && let Some(disk) = SmallDisk::mount(&self.scratch(&spec.name), bytes)
        {
            self.disks.insert(spec.name.clone(), disk);
        }
        let coordinator = if spec.proxied {
            let port = self.ports.1;
            self.proxies.entry(spec.name.clone()).or_insert_with(|| Proxy::to(port)).address()
        } else {
            self.worker_address()
        };
        let mut env = self.common_env();
        env.extend([
            ("TVARR_COORDINATOR_URL".into(), coordinator.into()),
            ("TVARR_AUTH_TOKEN".into(), self.token.clone().into()),
            ("TVARR_WORKER_NAME".into(), spec.name.clone().into()),
            ("TVARR_STATE_DIR".into(), state.into()),
            ("TVARR_SCRATCH_DIR".into(), self.scratch(&spec.name).into()),
        ]);
        for (name, value) in &spec.env {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), value.clone()));
        }
        let launch = Launch {
            program: binaries::workspace("ffmpegd"),
            args: Vec::new(),
            env,
            cwd: self.path().to_owned(),
        };
        self.workers.retain(|worker| worker.name != spec.name);
        self.killed.retain(|name| *name != spec.name);
        let log = self.path().join("logs").join(format!("{}.log", spec.name));
        self.workers.push(Daemon::start(&spec.name, &launch, &log));
    }

    /// Waits until a worker of that name is online.
    pub async fn registered(&mut self, name: &str) {
        self.worker_becomes(name, WorkerState::Online).await;
    }

    /// Waits until a worker of that name is in that state.
    pub async fn worker_becomes(&mut self, name: &str, state: WorkerState) {
        let api = self.api.clone();
        let reached = wait::try_until(START, || async {
            let workers = api.try_workers().await.ok()?;
            workers.iter().any(|worker| worker.name == name && worker.state == state).then_some(())
        })
        .await;
        assert!(
            reached.is_some(),
            "worker {name} did not become {state:?} within {START:?}: {:?}",
            api.workers().await.iter().map(|worker| (&worker.name, worker.state)).collect::<Vec<_>>()
        );
    }

    /// The process of a worker.
    ///
    /// # Panics
    /// There is none of that name.
    pub fn worker(&mut self, name: &str) -> &mut Daemon {
        self.workers
            .iter_mut()
            .find(|worker| worker.name == name)
            .unwrap_or_else(|| panic!("no worker {name}"))
    }

    /// Takes a worker out of the farm: from here on its end is the test's business.
    pub fn take_worker(&mut self, name: &str) -> Daemon {
        let index = self.workers.iter().position(|worker| worker.name == name).unwrap();
        self.workers.remove(index)
    }

    /// `kill -9`.
    pub fn kill_worker(&mut self, name: &str) {
        self.take_worker(name).kill();
        self.killed.push(name.to_owned());
    }

    #[must_use]
    pub fn coordinator(&self) -> &Daemon {
        self.coordinator.as_ref().expect("the coordinator runs")
    }

    /// A line at ERROR that contains `text` is part of this test.
    pub fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    /// Uploads a clip and submits a job for it.
    pub async fn submit(&self, clip: &Path, preset: &str) -> JobId {
        let upload = self.api.upload(clip).await;
        self.api.submit(&request(InputRef::Upload(upload.id), preset)).await.summary.id
    }

    /// Waits for a job's final state.
    ///
    /// # Panics
    /// It was not final at the deadline.
    pub async fn finished_within(&self, job: JobId, deadline: Duration) -> JobView {
        let view = wait::try_until(deadline, || async {
            Some(self.api.job(job).await).filter(|view| view.summary.state.is_final())
        })
        .await;
        match view {
            Some(view) => view,
            None => panic!("job not final after {deadline:?}: {:#?}", self.api.job(job).await),
        }
    }

    pub async fn finished(&self, job: JobId) -> JobView {
        self.finished_within(job, ENCODE).await
    }

    /// Waits for the job and asserts that it succeeded.
    pub async fn succeeded(&self, job: JobId) -> JobView {
        let view = self.finished(job).await;
        assert_eq!(view.summary.state, JobState::Succeeded, "{view:#?}");
        view
    }

    /// Waits until the job is on a worker with ffmpeg running and at least one frame written.
    pub async fn encoding(&self, job: JobId) -> JobView {
        wait::until(ENCODE, &format!("job {job} to be encoding"), || async {
            let view = self.api.job(job).await;
            assert!(!view.summary.state.is_final(), "ended before it was seen encoding: {view:#?}");
            let frames = view.summary.progress.as_ref().map_or(0, |progress| progress.progress.frames);
            (frames > 0).then_some(view)
        })
        .await
    }

    /// All processes of this farm.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        system::processes_of(&self.mark, self.path())
    }

    /// Every ffmpeg that runs for this farm.
    #[must_use]
    pub fn ffmpegs(&self) -> Vec<Process> {
        self.processes().into_iter().filter(Process::is_ffmpeg).collect()
    }

    /// Waits until no ffmpeg runs.
    pub async fn no_ffmpeg(&self) {
        let gone = wait::try_until(seconds(10), || async { self.ffmpegs().is_empty().then_some(()) }).await;
        assert!(gone.is_some(), "ffmpeg still runs: {:?}", self.ffmpegs());
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.workers.clear();
        self.coordinator = None;
        if self.stopped {
            return;
        }
        if self.keep {
            // The disk goes with its mount, and the books with it.
            let books = self.path().join("books");
            let _ = fs::create_dir(&books);
            for file in ["jobs.sqlite", "jobs.sqlite-wal"] {
                let _ = fs::copy(self.data().join(file), books.join(file));
            }
            self.disks.clear();
            self.folder.disable_cleanup(true);
            eprintln!("folder and logs of the farm: {}", self.path().display());
        } else {
            for (name, text) in self.logs() {
                eprintln!("---- {name}\n{text}");
            }
        }
        if !std::thread::panicking() && !self.told {
            panic!("this test did not end with Farm::stop");
        }
    }
}
