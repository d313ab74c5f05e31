//! Null workers, as many as a run needs.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use crate::{
    farm::Coordinator,
    null_worker::{self, Count, Gate, Tally},
};

/// For all workers of a run to connect.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);
/// Workers that connect at the same time: a thousand at once overflow what a listener lets wait.
const CONNECTING: usize = 64;
/// For all jobs of one run.
const RUN_LIMIT: Duration = Duration::from_secs(300);

/// How many workers, and what each takes at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) workers: usize,
    pub(crate) slots: u32,
}

/// The null workers of one run; they end when it is dropped.
pub(crate) struct Fleet {
    workers: JoinSet<Result<()>>,
    tally: Arc<Tally>,
}

impl Fleet {
    /// Connects the workers, each over a connection of its own, and waits until all are registered.
    pub(crate) async fn start(coordinator: &Coordinator, size: Size, gate: &Gate) -> Result<Self> {
        let (mut workers, tally) = (JoinSet::new(), Arc::new(Tally::default()));
        let connecting = Arc::new(Semaphore::new(CONNECTING));
        for index in 0..size.workers {
            workers.spawn(null_worker::run(
                coordinator.grpc.clone(),
                format!("null-{index}"),
                size.slots,
                gate.clone(),
                Arc::clone(&tally),
                Arc::clone(&connecting),
            ));
        }
        let mut this = Self { workers, tally };
        this.wait(REGISTER_LIMIT, Count::Registered, size.workers).await?;
        Ok(this)
    }

    /// Waits until that many results were accepted; returns when the last one was.
    pub(crate) async fn finished(&mut self, count: usize) -> Result<u64> {
        self.wait(RUN_LIMIT, Count::Accepted, count).await
    }

    /// Waits until that many attempts are held behind the gate.
    pub(crate) async fn holds(&mut self, count: usize) -> Result<()> {
        self.wait(RUN_LIMIT, Count::Held, count).await.map(drop)
    }

    async fn wait(&mut self, limit: Duration, what: Count, count: usize) -> Result<u64> {
        tokio::select! {
            biased;
            reached = timeout(limit, self.tally.reaches(what, count)) => reached.with_context(|| {
                format!("{what:?}: {} of {count} within {limit:?}", self.tally.count(what))
            })?,
            Some(ended) = self.workers.join_next() => {
                ended??;
                bail!("the coordinator ended a null worker's session")
            }
        }
    }
}
