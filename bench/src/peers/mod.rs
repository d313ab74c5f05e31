//! The systems beside which the farm is measured. Their programs are in `bench/peers`.

mod bullmq;
mod celery;
mod client;
mod postgres;
mod redis;

use std::{path::PathBuf, time::Duration};

pub(crate) use self::{
    bullmq::BullMq,
    celery::Celery,
    client::{Client, Submitted},
    postgres::Postgres,
    redis::Redis,
};

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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

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
        let mut bullmq = BullMq::start(&installed(), folder.path(), 2).await.unwrap();
        starts(&mut bullmq.client, folder.path(), "bullmq").await;
        let run = bullmq.process(100, 10).await.unwrap();
        assert!(run.submit_seconds > 0.0 && run.process_seconds > 0.0);
        bullmq.stop().await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn postgres_inserts_and_claims() {
        let run = tempfile::tempdir().unwrap();
        let postgres = Postgres::start(&run.path().join("postgres")).await.unwrap();
        assert!(postgres.insert(1000, 4).await.unwrap() > 0.0);
        assert!(postgres.claim(50, 2).await.unwrap() > 0.0);
        postgres.stop().await;
    }
}
