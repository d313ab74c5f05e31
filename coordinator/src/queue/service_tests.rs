//! The shell against a store that fails.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{id::JobId, media::HardwarePolicy};
use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    fleet::{Policy, testing},
    queue::{Beat, InputLocation, JobFilter, JobInput, Registration},
    store::{Changes, JobDetails, JobRecord, LogRecord, StoredJob},
};

/// Keeps what was committed, and refuses to while the disk is full.
#[derive(Default)]
struct FullDisk {
    full: AtomicBool,
    committed: Mutex<Vec<JobId>>,
}

impl JobStore for FullDisk {
    fn commit<'a>(&'a self, changes: &'a Changes) -> BoxFuture<'a, Result<(), store::Error>> {
        let result = if self.full.load(Ordering::SeqCst) {
            let source = sqlx::Error::Io(std::io::ErrorKind::StorageFull.into());
            Err(store::Error::Database { doing: "write to the job store", source })
        } else {
            let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            committed.extend(changes.jobs.iter().map(|job| job.id));
            Ok(())
        };
        async { result }.boxed()
    }

    fn unfinished(&self) -> BoxStream<'_, Result<StoredJob, store::Error>> {
        stream::empty().boxed()
    }

    fn objects_in_use(&self) -> BoxFuture<'_, Result<HashSet<String>, store::Error>> {
        async { Ok(HashSet::new()) }.boxed()
    }

    fn job(&self, _: JobId) -> BoxFuture<'_, Result<Option<StoredJob>, store::Error>> {
        async { Ok(None) }.boxed()
    }

    fn jobs<'a>(&'a self, _: &'a JobFilter) -> BoxFuture<'a, Result<Vec<JobRecord>, store::Error>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn logs(&self, _: JobId) -> BoxFuture<'_, Result<Vec<LogRecord>, store::Error>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn job() -> JobDetails {
    JobDetails {
        input: JobInput::new(InputLocation::Path("/a.mp4".to_owned()), "a.mp4".to_owned()),
        preset: "proxy".to_owned(),
        spec: Arc::new(
            serde_json::from_value(serde_json::json!({"kind": "file", "container": "mp4"})).unwrap(),
        ),
        hardware: HardwarePolicy::Prefer,
        priority: 0,
        labels: Default::default(),
        owner: None,
        on_damaged_input: Default::default(),
        time_limit_ms: None,
    }
}

fn worker() -> Registration {
    let identity = testing::cpu_worker(1).identity;
    Registration { identity, running: Vec::new(), draining: false, not_taking: None }
}

#[tokio::test]
async fn a_full_disk_refuses_jobs_and_takes_them_again_when_there_is_room() {
    let store = Arc::new(FullDisk::default());
    let settings = Settings {
        lease: Duration::from_secs(30),
        grace: Duration::from_secs(10),
        time_limit: None,
        policy: Policy { stale_after: Duration::from_secs(30), ..Policy::default() },
    };
    let (service, queue, _sweeps) = Service::open(settings, store.clone()).await.unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(service.run(stop.clone()));
    let (outbox, mut messages) = mpsc::channel(16);

    store.full.store(true, Ordering::SeqCst);
    let refused = queue.submit(job()).await.unwrap_err();
    assert!(matches!(refused, Error::Store(_)), "{refused}");
    let welcome = queue.register(worker(), outbox).await.unwrap();

    store.full.store(false, Ordering::SeqCst);
    let accepted = queue.submit(job()).await.unwrap();
    let committed = store.committed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(committed.iter().all(|id| *id == accepted.summary.id), "the refused job left nothing");
    let assigned = messages.recv().await.unwrap();
    let ToWorker::Assign(got) = assigned else { panic!("{assigned:?}") };
    assert_eq!(got.job, accepted.summary.id);

    store.full.store(true, Ordering::SeqCst);
    queue.submit(job()).await.unwrap_err();
    let attempts = vec![(got.attempt, common::worker::Progress::default(), Vec::new())];
    queue.heartbeat(welcome.session, Beat { attempts, ..Beat::default() }).await;
    // What runs goes on while nothing can be written. The refused job was assigned before it was refused.
    let renewed = loop {
        match messages.recv().await.unwrap() {
            ToWorker::LeasesRenewed(renewed) => break renewed,
            ToWorker::Assign(refused) => assert_ne!(refused.job, got.job),
            other => panic!("{other:?} went out before it was durable"),
        }
    };
    assert_eq!(renewed, [got.attempt]);

    stop.cancel();
    tracker.close();
    tracker.wait().await;
    assert!(matches!(queue.submit(job()).await, Err(Error::ShuttingDown)));
}
