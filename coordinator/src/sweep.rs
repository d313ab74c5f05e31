//! Removing the objects of attempts that lost.
//!
//! While the coordinator runs, the queue names each attempt that is over without being published. What was not removed
//! when it stopped or died is found by the next start: every attempt that has a folder is compared with the job store. A
//! sweep that fails is tried again, later and later; one that never works is left to the next start.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use common::{
    api::TaskState,
    backoff::Backoff,
    failpoint,
    id::{AttemptId, JobId},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    queue::Sweep,
    session::Uploads,
    storage::Storage,
    store::{JobStore, StoredJob},
};

/// Between tries of a sweep that failed.
const AGAIN: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) };

/// Whether nothing will ever need an attempt's objects, by what is durable. That is enough for attempts that were there
/// before this start: one that was running then is named by the queue when it ends, and a published one stays published.
fn is_lost(stored: &StoredJob, attempt: AttemptId) -> bool {
    let task = stored.tasks.iter().map(|(task, _)| task).find(|task| task.id == attempt.task);
    // Tasks are as old as their job: what the store does not know was not made here.
    task.is_some_and(|task| {
        let running = task.state == TaskState::Running && task.epoch == attempt.epoch;
        task.published != Some(attempt.epoch) && !running
    })
}

/// Whether an attempt may be so young that it is not durable yet: its assignment leaves before its commit. A later start
/// finds what it may leave.
fn may_have_begun(stored: &StoredJob, attempt: AttemptId) -> bool {
    let task = stored.tasks.iter().map(|(task, _)| task).find(|task| task.id == attempt.task);
    task.is_some_and(|task| {
        attempt.epoch > task.epoch && matches!(task.state, TaskState::Queued | TaskState::Running)
    })
}

/// The attempts that have objects.
pub(crate) enum Found {
    /// Listed before anything new could begin.
    Before(Vec<(JobId, AttemptId)>),
    /// To be listed beside what goes on: a bucket takes its time, and may not answer.
    Beside(Storage),
}

impl Found {
    async fn list(self) -> Vec<(JobId, AttemptId)> {
        let storage = match self {
            Self::Before(found) => return found,
            Self::Beside(storage) => storage,
        };
        let mut tries = 0;
        loop {
            match storage.attempts().await {
                Ok(found) => return found,
                Err(error) => {
                    tracing::warn!(%error, "cannot tell which attempts have objects; will try again");
                    sleep(AGAIN.delay(tries, rand::random())).await;
                    tries += 1;
                }
            }
        }
    }
}

/// Names the attempts of earlier runs whose objects can go.
pub(crate) async fn left_behind(
    store: Arc<dyn JobStore>,
    found: Found,
    sweeps: mpsc::UnboundedSender<Sweep>,
    stop: CancellationToken,
) {
    let listed_before = matches!(found, Found::Before(_));
    let Some(found) = stop.run_until_cancelled(found.list()).await else { return };
    let mut jobs: BTreeMap<JobId, Vec<AttemptId>> = BTreeMap::new();
    for (job, attempt) in found {
        jobs.entry(job).or_default().push(attempt);
    }
    let mut unknown = HashSet::new();
    let mut lost = 0_usize;
    for (job, attempts) in jobs {
        let Some(read) = stop.run_until_cancelled(read(store.as_ref(), job)).await else { return };
        let Some(stored) = read else {
            unknown.insert(job);
            continue;
        };
        let is_lost = |attempt: &AttemptId| {
            is_lost(&stored, *attempt) && (listed_before || !may_have_begun(&stored, *attempt))
        };
        for attempt in attempts.into_iter().filter(is_lost) {
            lost += 1;
            // An error means that the coordinator is shutting down.
            let _ = sweeps.send(Sweep { job, attempt });
        }
    }
    if lost > 0 {
        tracing::info!(attempts = lost, "removing what attempts of earlier runs had left");
    }
    if !unknown.is_empty() {
        // A job is durable before any attempt of it may bring a file, so the store was lost or put back from a copy.
        tracing::warn!(
            jobs = unknown.len(),
            "the object storage has files of jobs that the job store does not know: they are left alone; was its \
             database replaced?"
        );
    }
}

/// The job, once the store answers.
async fn read(store: &dyn JobStore, job: JobId) -> Option<StoredJob> {
    let mut tries = 0;
    loop {
        match store.job(job).await {
            Ok(stored) => return stored,
            Err(error) => {
                tracing::warn!(%job, %error, "cannot tell which attempts are lost; will try again");
                sleep(AGAIN.delay(tries, rand::random())).await;
                tries += 1;
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Try {
    /// After so many that failed.
    First(u32),
    /// When no URL is good any more, after so many that failed.
    Late(u32),
}

/// Removes what the queue and [`left_behind`] name.
pub(crate) struct Sweeper {
    storage: Storage,
    uploads: Uploads,
    /// Workers may have URLs of a bucket that are good for so long: who was superseded may still bring a file.
    late: Option<Duration>,
    /// Sweeps that failed, by when they are tried again, and those that come a second time.
    again: BTreeMap<(Instant, AttemptId), (Sweep, Try)>,
}

impl Sweeper {
    pub(crate) fn new(storage: Storage, uploads: Uploads, late: Option<Duration>) -> Self {
        Self { storage, uploads, late, again: BTreeMap::new() }
    }

    pub(crate) async fn run(
        mut self,
        mut queue: mpsc::UnboundedReceiver<Sweep>,
        mut left: mpsc::UnboundedReceiver<Sweep>,
        stop: CancellationToken,
    ) {
        loop {
            let due = self.again.first_key_value().map(|((due, _), _)| *due);
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let (sweep, nth) = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                sweep = queue.recv() => match sweep {
                    Some(sweep) => (sweep, Try::First(0)),
                    // The queue has ended.
                    None => return,
                },
                () = wait => match self.again.pop_first() {
                    Some((_, again)) => again,
                    None => continue,
                },
                Some(sweep) = left.recv() => (sweep, Try::First(0)),
            };
            self.sweep(sweep, nth).await;
        }
    }

    async fn sweep(&mut self, sweep: Sweep, nth: Try) {
        let Sweep { job, attempt } = sweep;
        failpoint::hit("attempt.sweep.before");
        self.uploads.forget(attempt);
        match (self.storage.delete_attempt(job, attempt).await, nth) {
            (Ok(removed), nth) => {
                tracing::debug!(%job, task = %attempt.task, epoch = %attempt.epoch, removed, "swept");
                if let (Try::First(_), Some(late)) = (nth, self.late) {
                    self.again.insert((Instant::now() + late, attempt), (sweep, Try::Late(0)));
                }
            }
            (Err(error), Try::First(tries) | Try::Late(tries)) => {
                let pause = AGAIN.delay(tries, rand::random());
                tracing::warn!(%job, task = %attempt.task, epoch = %attempt.epoch, %error, ?pause, "objects of a lost attempt cannot be removed; will try again");
                let next = match nth {
                    Try::First(tries) => Try::First(tries + 1),
                    Try::Late(tries) => Try::Late(tries + 1),
                };
                self.again.insert((Instant::now() + pause, attempt), (sweep, next));
            }
        }
        failpoint::hit("attempt.sweep.after");
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
