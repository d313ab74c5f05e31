//! The systems beside which the farm is measured. Their programs are in `bench/peers`.

mod celery;
mod client;
mod redis;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use tokio::process::Command;

pub(crate) use self::{
    celery::Celery,
    client::{Client, Submitted},
    redis::Redis,
};
use crate::process::{self, Running};

/// Time for an interpreter and its libraries to load on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Where the peers' programs and libraries are.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    /// `bench/peers`.
    pub(crate) programs: PathBuf,
    /// A Python with `requirements.txt` installed.
    pub(crate) python: PathBuf,
    /// `node_modules` with `package.json` installed.
    pub(crate) node_modules: PathBuf,
}

/// BullMQ on Redis: one worker process that runs one job at a time, and a client.
#[derive(Debug)]
pub(crate) struct BullMq {
    pub(crate) client: Client,
    worker: Running,
    redis: Redis,
}

impl BullMq {
    pub(crate) async fn start(installed: &Installed, folder: &Path) -> Result<Self> {
        let redis = Redis::start("bullmq-redis", folder).await?;
        let program = |name: &str| {
            let mut command = Command::new("node");
            command
                .arg(installed.programs.join(name))
                .env("NODE_PATH", &installed.node_modules)
                .env("BENCH_REDIS_PORT", redis.port().to_string());
            command
        };
        let mut worker = process::start("bullmq-worker", folder, program("bullmq_worker.js"))?;
        worker.wait_for_line(START_LIMIT, "ready").await?;
        let client = Client::start("bullmq-client", folder, program("bullmq_client.js")).await?;
        Ok(Self { client, worker, redis })
    }

    pub(crate) async fn stop(self) {
        self.client.stop().await;
        self.worker.stop().await;
        self.redis.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn installed() -> Installed {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let setup = std::env::var_os("BENCH_SETUP").map_or_else(|| root.join(".bench"), PathBuf::from);
        Installed {
            programs: root.join("bench/peers"),
            python: setup.join("venv/bin/python"),
            node_modules: setup.join("node/node_modules"),
        }
    }

    async fn starts(client: &mut Client, folder: &Path, name: &str) {
        let file = folder.join(name);
        let argv = ["touch".to_owned(), file.to_string_lossy().into_owned()];
        let submitted = client.submit_start(&argv).await.unwrap();
        assert!(submitted.before_ns < submitted.after_ns);
        let mut left = 500;
        while !fs::exists(&file).unwrap() {
            left -= 1;
            assert!(left > 0, "{name}'s worker did not start the command");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    #[ignore = "needs what scripts/bench.sh sets up in .bench"]
    async fn celery_and_bullmq_start_what_they_are_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let mut celery = Celery::start(&installed(), folder.path(), 2).await.unwrap();
        starts(&mut celery.client, folder.path(), "celery").await;
        let run = celery.drain(100).await.unwrap();
        assert_eq!(run.submitted.latencies_ns.len(), 100);
        assert!(run.finished_ns > run.submitted.before_ns);
        celery.stop().await;
        let mut bullmq = BullMq::start(&installed(), folder.path()).await.unwrap();
        starts(&mut bullmq.client, folder.path(), "bullmq").await;
        bullmq.stop().await;
    }
}
