//! The farm's own daemons, release builds, on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use common::{
    api::{JobState, JobView, WorkerState},
    id::JobId,
};
use serde::Deserialize;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    api::Api,
    process::{self, POLL, Running},
};

/// Includes the worker's probe of its machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A coordinator with a data folder of its own.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) api: Api,
    /// `http://host:port` for workers.
    pub(crate) grpc: String,
    running: Running,
}

/// What the coordinator writes into `TVARR_READY_FILE`.
#[derive(Debug, Deserialize)]
struct Ready {
    http: String,
    grpc: String,
}

/// What to start, and where.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Folder of `coordinator` and `ffmpegd`.
    pub(crate) binaries: PathBuf,
    /// On a real disk; data, state and logs go below.
    pub(crate) folder: PathBuf,
    /// Inputs below it are opened in place by the worker.
    pub(crate) shared: PathBuf,
}

impl Site {
    /// Starts a coordinator; the same `data` again finds what the last one there left.
    pub(crate) async fn coordinator(&self, data: &str, env: &[(&str, &Path)]) -> Result<Coordinator> {
        let ready = self.folder.join(format!("{data}.ready.json"));
        match fs::remove_file(&ready) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let data = self.folder.join(data);
        fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
        let mut command = self.daemon("coordinator");
        command
            .env("TVARR_DATA_DIR", data)
            .env("TVARR_HTTP_PORT", "0")
            .env("TVARR_GRPC_PORT", "0")
            .env("TVARR_READY_FILE", &ready)
            .envs(env.iter().copied());
        let mut running = process::start("coordinator", &self.folder, command)?;
        let mut addresses = None;
        running
            .wait_until(START_LIMIT, async || {
                addresses =
                    fs::read(&ready).ok().and_then(|text| serde_json::from_slice::<Ready>(&text).ok());
                addresses.is_some()
            })
            .await?;
        let addresses = addresses.context("the coordinator is ready")?;
        Ok(Coordinator { api: Api::new(&url(&addresses.http))?, grpc: url(&addresses.grpc), running })
    }

    /// Starts a worker that runs one job at a time and waits until it may be given work.
    pub(crate) async fn worker(
        &self,
        coordinator: &Coordinator,
        name: &str,
        env: &[(&str, &Path)],
    ) -> Result<Running> {
        let state = self.folder.join(format!("worker-{name}"));
        fs::create_dir_all(&state).with_context(|| format!("making {}", state.display()))?;
        let mut command = self.daemon("ffmpegd");
        command
            .env("TVARR_COORDINATOR_URL", &coordinator.grpc)
            .env("TVARR_WORKER_NAME", name)
            .env("TVARR_STATE_DIR", state)
            .env("TVARR_MAX_JOBS", "1")
            .env("TVARR_MAX_CPU_JOBS", "1")
            .envs(env.iter().copied());
        let mut running = process::start(&format!("ffmpegd-{name}"), &self.folder, command)?;
        running.wait_until(START_LIMIT, async || coordinator.has_online(name).await).await?;
        Ok(running)
    }

    fn daemon(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("TVARR_") {
                command.env_remove(variable);
            }
        }
        command
            .current_dir(&self.folder)
            .env("TVARR_SHARED_ROOTS", &self.shared)
            .env("TVARR_LOG", std::env::var("BENCH_TVARR_LOG").unwrap_or_else(|_| "info".to_owned()));
        command
    }
}

fn url(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

impl Coordinator {
    /// Whether the worker of that name may be given work.
    async fn has_online(&self, name: &str) -> bool {
        let workers = self.api.workers().await.unwrap_or_default();
        workers.iter().any(|worker| worker.name == name && worker.state == WorkerState::Online)
    }

    /// Looks at a job until it has succeeded.
    ///
    /// # Errors
    /// It ends otherwise, or `limit` passes.
    pub(crate) async fn succeeded(&self, id: JobId, limit: Duration) -> Result<JobView> {
        let deadline = Instant::now() + limit;
        loop {
            let job = self.api.job(id).await?;
            match job.summary.state {
                JobState::Succeeded => return Ok(job),
                JobState::Failed | JobState::Cancelled | JobState::Dead => {
                    bail!("job {id} ended as {:?}: {:?}", job.summary.state, job.summary.failure);
                }
                JobState::Queued | JobState::Running if Instant::now() > deadline => {
                    bail!(
                        "job {id} did not end within {limit:?}; waiting for: {:?}",
                        job.summary.waiting_for
                    );
                }
                JobState::Queued | JobState::Running => sleep(POLL).await,
            }
        }
    }

    pub(crate) fn process(&self) -> i32 {
        self.running.id()
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    /// With SIGKILL, as a crash.
    pub(crate) async fn kill(self) {
        self.running.kill().await;
    }
}
