//! What a farm is made of, to be started.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use super::Farm;
use crate::{api::Api, disk::SmallDisk};

/// A worker to be started.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    pub(super) name: String,
    pub(super) env: Vec<(String, OsString)>,
    pub(super) awaited: bool,
    /// Through a [`Proxy`](crate::proxy::Proxy).
    pub(super) proxied: bool,
    /// Bytes of the disk that its scratch folder is on; `None`: this machine's.
    pub(super) scratch_disk: Option<u64>,
}

impl WorkerSpec {
    /// A worker with two CPU slots and Debian's ffmpeg.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), env: Vec::new(), awaited: true, proxied: false, scratch_disk: None }
            .jobs(2)
            // What tests fetch from is on this machine.
            .env("TVARR_SOURCE_ALLOW", "127.0.0.0/8")
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn jobs(self, jobs: u32) -> Self {
        let jobs = jobs.to_string();
        self.env("TVARR_MAX_JOBS", &jobs).env("TVARR_MAX_CPU_JOBS", &jobs)
    }

    #[must_use]
    pub fn gpu_jobs(self, jobs: u32) -> Self {
        self.env("TVARR_MAX_GPU_JOBS", jobs.to_string())
    }

    /// `site=a,disk=fast`
    #[must_use]
    pub fn labels(self, labels: &str) -> Self {
        self.env("TVARR_LABELS", labels)
    }

    #[must_use]
    pub fn ffmpeg(self, path: &Path) -> Self {
        self.env("TVARR_FFMPEG", path)
    }

    /// Connects through a line that [`Farm::line`] can make bad.
    #[must_use]
    pub fn behind_proxy(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Its scratch folder is a small disk, see [`Farm::disk`].
    #[must_use]
    pub fn scratch_disk(mut self, bytes: u64) -> Self {
        self.scratch_disk = Some(bytes);
        self
    }

    /// Runs with this wall clock, see [`Clock`](crate::clock::Clock).
    #[must_use]
    pub fn clock(mut self, clock: &crate::clock::Clock) -> Self {
        for (name, value) in clock.env() {
            self = self.env(&name, value);
        }
        self
    }

    /// [`Farm::start_worker`] does not wait for it to be registered.
    #[must_use]
    pub fn not_awaited(mut self) -> Self {
        self.awaited = false;
        self
    }
}

/// What to start.
#[derive(Debug, Default)]
pub struct FarmBuilder {
    workers: Vec<WorkerSpec>,
    env: Vec<(String, OsString)>,
    config: Option<String>,
    data_disk: Option<u64>,
    keep: bool,
}

impl FarmBuilder {
    #[must_use]
    pub fn worker(mut self, spec: WorkerSpec) -> Self {
        self.workers.push(spec);
        self
    }

    /// For the coordinator.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The coordinator's configuration file.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// The coordinator's data folder is a small disk, see [`Farm::disk`].
    #[must_use]
    pub fn data_disk(mut self, bytes: u64) -> Self {
        self.data_disk = Some(bytes);
        self
    }

    /// The coordinator runs with this wall clock, see [`Clock`](crate::clock::Clock).
    #[must_use]
    pub fn clock(mut self, clock: &crate::clock::Clock) -> Self {
        self.env.extend(clock.env());
        self
    }

    /// A farm that fails leaves its folder, and names it instead of printing all its logs.
    #[must_use]
    pub fn keep_folder(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Starts the coordinator, then the workers; returns once all are registered.
    pub async fn start(self) -> Farm {
        let folder = tempfile::Builder::new().prefix("e2e-farm-").tempdir().unwrap();
        for name in ["data", "home", "logs", "scratch", "shared", "tmp", "workers"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mark = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let token = format!("token-of-{mark}");
        let mut env = self.env;
        if let Some(toml) = self.config {
            let path = folder.path().join("coordinator.toml");
            fs::write(&path, toml).unwrap();
            env.push(("TVARR_CONFIG".into(), path.into()));
        }
        let mut disks = BTreeMap::new();
        if let Some(bytes) = self.data_disk {
            let disk = SmallDisk::mount(&folder.path().join("data"), bytes);
            disks.extend(disk.map(|disk| ("data".to_owned(), disk)));
        }
        let mut farm = Farm {
            mark,
            token,
            env,
            coordinator: None,
            ports: (0, 0),
            api: Api::new("http://127.0.0.1:0"),
            workers: Vec::new(),
            expected_errors: Vec::new(),
            killed: Vec::new(),
            proxies: BTreeMap::new(),
            stopped: false,
            told: false,
            failed: false,
            keep: self.keep,
            disks,
            folder,
        };
        farm.start_coordinator().await;
        for spec in &self.workers {
            farm.spawn_worker(spec);
        }
        for spec in self.workers.iter().filter(|spec| spec.awaited) {
            farm.registered(&spec.name).await;
        }
        farm
    }
}
