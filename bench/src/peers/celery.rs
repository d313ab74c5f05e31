//! Celery on Redis: workers with one child process each, and a client.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{Client, Installed, Redis, START_LIMIT, Submitted};
use crate::{
    clock::{monotonic_ns, seconds},
    process::{self, Running},
};

/// Finished tasks are counted this often; what it adds to the time of a run is under a thousandth.
const COUNT_INTERVAL: Duration = Duration::from_millis(2);
/// For all tasks of one run.
const RUN_LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Celery {
    pub(crate) client: Client,
    workers: Vec<Running>,
    redis: Redis,
    count: PathBuf,
}

/// One run of empty tasks.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) submitted: Submitted,
    /// The last task was finished, CLOCK_MONOTONIC in nanoseconds.
    pub(crate) finished_ns: u64,
    /// Tasks per second after the last submission: what the workers do when nobody submits. `None` when nothing was
    /// left by then.
    pub(crate) drain_per_second: Option<f64>,
}

impl Celery {
    pub(crate) async fn start(installed: &Installed, folder: &Path, workers: usize) -> Result<Self> {
        let redis = Redis::start("celery-redis", folder).await?;
        let count = folder.join("celery.count");
        let program = || {
            let mut command = Command::new(&installed.python);
            command
                .current_dir(&installed.programs)
                .env("BENCH_REDIS_URL", format!("redis://127.0.0.1:{}/0", redis.port()))
                .env("BENCH_COUNT_FILE", &count)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        let mut running = Vec::new();
        for index in 0..workers {
            let name = format!("celery-worker-{index}");
            let mut command = program();
            command.args(["-m", "celery", "-A", "celery_app", "worker", "--pool", "prefork"]);
            command.args(["--concurrency", "1", "--loglevel", "warning", "--hostname"]);
            command.arg(format!("{name}@localhost"));
            running.push(process::start(&name, folder, command)?);
        }
        for worker in &mut running {
            worker.wait_for_line(START_LIMIT, "ready").await?;
        }
        let mut command = program();
        command.arg("celery_client.py");
        let client = Client::start("celery-client", folder, command).await?;
        Ok(Self { client, workers: running, redis, count })
    }

    /// Submits `tasks` empty tasks and waits until all are finished.
    pub(crate) async fn drain(&mut self, tasks: usize) -> Result<Drained> {
        let done = finished(&self.count)?;
        let submitted = self.client.submit_empty(tasks).await?;
        let left = tasks as u64 - (finished(&self.count)? - done).min(tasks as u64);
        let submitted_ns = monotonic_ns();
        let deadline = Instant::now() + RUN_LIMIT;
        loop {
            let finished = finished(&self.count)? - done;
            if finished >= tasks as u64 {
                let finished_ns = monotonic_ns();
                #[allow(clippy::cast_precision_loss)]
                let rate = left as f64 / seconds(submitted_ns, finished_ns);
                let drain_per_second = (left > 0).then_some(rate);
                return Ok(Drained { submitted, finished_ns, drain_per_second });
            }
            if Instant::now() > deadline {
                bail!("Celery finished {finished} of {tasks} tasks within {RUN_LIMIT:?}");
            }
            sleep(COUNT_INTERVAL).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.client.stop().await;
        for worker in self.workers {
            worker.stop().await;
        }
        self.redis.stop().await;
    }
}

/// Tasks that were ever finished: the file has a byte for each.
fn finished(count: &Path) -> Result<u64> {
    Ok(fs::metadata(count).with_context(|| format!("looking at {}", count.display()))?.len())
}
