//! BullMQ on Redis: one worker process and a client.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{Client, Installed, Redis, START_LIMIT};
use crate::{
    clock::{monotonic_ns, seconds},
    process::{self, Running},
};

/// Completed jobs are counted this often; what it adds to the time of a run is under a thousandth.
const COUNT_INTERVAL: Duration = Duration::from_millis(2);
/// For all jobs of one run.
const RUN_LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct BullMq {
    pub(crate) client: Client,
    worker: Running,
    redis: Redis,
    count: PathBuf,
}

/// One run of empty jobs.
#[derive(Debug)]
pub(crate) struct Processed {
    /// From before the first submission until the last was through, with the queue paused.
    pub(crate) submit_seconds: f64,
    /// From before the queue is resumed until the last job is completed.
    pub(crate) process_seconds: f64,
}

impl BullMq {
    /// With a worker that runs `concurrency` jobs at once.
    pub(crate) async fn start(installed: &Installed, folder: &Path, concurrency: u32) -> Result<Self> {
        let redis = Redis::start("bullmq-redis", folder).await?;
        let count = folder.join("bullmq.count");
        let program = |name: &str| {
            let mut command = Command::new("node");
            command
                .arg(installed.programs.join(name))
                .env("NODE_PATH", &installed.node_modules)
                .env("BENCH_REDIS_PORT", redis.port().to_string())
                .env("BENCH_CONCURRENCY", concurrency.to_string())
                .env("BENCH_COUNT_FILE", &count);
            command
        };
        let mut worker = process::start("bullmq-worker", folder, program("bullmq_worker.js"))?;
        worker.wait_for_line(START_LIMIT, "ready").await?;
        let client = Client::start("bullmq-client", folder, program("bullmq_client.js")).await?;
        Ok(Self { client, worker, redis, count })
    }

    /// Submits `jobs` empty jobs, `clients` at once, and then lets the worker complete them.
    pub(crate) async fn process(&mut self, jobs: usize, clients: usize) -> Result<Processed> {
        let completed = self.completed()?;
        let wanted = completed + jobs as u64;
        let submitted = self.client.submit_filled(jobs, clients).await?;
        ensure!(self.completed()? == completed, "BullMQ completed jobs of a queue that was paused");
        let before_ns = self.client.resume().await?.before_ns;
        let deadline = Instant::now() + RUN_LIMIT;
        while self.completed()? < wanted {
            if Instant::now() > deadline {
                bail!("BullMQ did not complete {jobs} jobs within {RUN_LIMIT:?}");
            }
            sleep(COUNT_INTERVAL).await;
        }
        Ok(Processed {
            submit_seconds: seconds(submitted.before_ns, submitted.after_ns),
            process_seconds: seconds(before_ns, monotonic_ns()),
        })
    }

    /// Jobs that were ever completed: the file has a byte for each.
    fn completed(&self) -> Result<u64> {
        Ok(fs::metadata(&self.count).with_context(|| format!("looking at {}", self.count.display()))?.len())
    }

    pub(crate) async fn stop(self) {
        self.client.stop().await;
        self.worker.stop().await;
        self.redis.stop().await;
    }
}
