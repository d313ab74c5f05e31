//! The shell against a store that fails.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{
    api::{JobState, Quotas},
    id::{Epoch, JobId, StreamId, TaskId},
    live::{Ingest, Work},
    media::HardwarePolicy,
};
use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    fleet::{Class, Policy, Requirement, testing},
    queue::{Beat, InputLocation, JobFilter, JobInput, LiveOrder, Registration},
    store::{Changes, IdempotencyRecord, JobDetails, JobRecord, LogRecord, StoredJob},
};

/// Keeps what was committed, refuses to while the disk is full, and waits while it is slow.
#[derive(Default)]
struct FullDisk {
    full: AtomicBool,
    /// A commit takes as long as a reader has this.
    slow: tokio::sync::RwLock<()>,
    committed: Mutex<Vec<JobId>>,
}

impl JobStore for FullDisk {
    fn commit<'a>(&'a self, changes: &'a Changes) -> BoxFuture<'a, Result<(), store::Error>> {
        let result = if self.full.load(Ordering::SeqCst) {
            let source = sqlx::Error::Io(std::io::ErrorKind::StorageFull.into());
            Err(store::Error::Database { doing: "write to the job store", source: source.into() })
        } else {
            let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            committed.extend(changes.jobs.iter().map(|job| job.id));
            Ok(())
        };
        async {
            let _ = self.slow.write().await;
            result
        }
        .boxed()
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

    fn job_counts<'a>(
        &'a self,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<BTreeMap<JobState, u64>, store::Error>> {
        async { Ok(BTreeMap::new()) }.boxed()
    }

    fn logs(&self, _: JobId) -> BoxFuture<'_, Result<Vec<LogRecord>, store::Error>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn idempotency_keys(&self, _: i64) -> BoxFuture<'_, Result<Vec<IdempotencyRecord>, store::Error>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn quotas(&self) -> BoxFuture<'_, Result<BTreeMap<String, Quotas>, store::Error>> {
        async { Ok(BTreeMap::new()) }.boxed()
    }

    fn set_quotas<'a>(&'a self, _: &'a str, _: Option<Quotas>) -> BoxFuture<'a, Result<(), store::Error>> {
        async { Ok(()) }.boxed()
    }

    fn remove_job(&self, _: JobId) -> BoxFuture<'_, Result<(), store::Error>> {
        async { Ok(()) }.boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), store::Error>> {
        async { Ok(()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn job() -> JobDetails {
    JobDetails {
        input: JobInput::new(InputLocation::Path("/a.mp4".to_owned()), "a.mp4".to_owned()),
        more_inputs: Vec::new(),
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
        output: None,
        webhook: None,
    }
}

fn worker() -> Registration {
    let identity = testing::cpu_worker(1).identity;
    Registration { identity, running: Vec::new(), draining: false, not_taking: None }
}

fn settings() -> Settings {
    Settings {
        lease: Duration::from_secs(30),
        grace: Duration::from_secs(10),
        time_limit: None,
        quotas: Quotas::default(),
        policy: Policy { stale_after: Duration::from_secs(30), ..Policy::default() },
    }
}

fn order() -> LiveOrder {
    LiveOrder {
        stream: StreamId::new(),
        name: "camera".to_owned(),
        attempt: AttemptId { task: TaskId::new(), epoch: Epoch(1) },
        requirement: Requirement { class: Class::Live, ..testing::h264(HardwarePolicy::Prefer) },
        work: Work::Ingest(Ingest { url: "rtsp://camera/".to_owned(), file: false }),
        reads: false,
        only_elsewhere: false,
        preempts: true,
    }
}

#[tokio::test]
async fn live_waits_for_no_commit_whether_it_takes_long_or_fails() {
    let store = Arc::new(FullDisk::default());
    let (mut service, queue, _sweeps) = Service::open(settings(), store.clone()).await.unwrap();
    let mut events = service.live_events().unwrap();
    assert!(service.live_events().is_none(), "handed out once");
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(service.run(stop.clone()));
    let (outbox, mut messages) = mpsc::channel(16);
    let welcome = queue.register(worker(), outbox).await.unwrap();

    // Two jobs fill the worker, and their commit does not end.
    let slow = store.slow.read().await;
    let mut jobs = [queue.submit(job()).boxed(), queue.submit(job()).boxed()];
    for job in &mut jobs {
        assert!(futures::poll!(job).is_pending());
    }
    let mut batch = Vec::new();
    for _ in 0..2 {
        let ToWorker::Assign(assigned) = messages.recv().await.unwrap() else { panic!("a batch attempt") };
        batch.push(assigned.attempt);
        for job in &mut jobs {
            assert!(futures::poll!(job).is_pending(), "not durable yet");
        }
    }
    let order_one = order();
    let live = order_one.attempt;
    queue.place_live(order_one).await.unwrap();
    let ToWorker::Stop { attempt: victim, .. } = messages.recv().await.unwrap() else { panic!("a stop") };
    assert!(batch.contains(&victim));
    let ToWorker::AssignLive(assigned) = messages.recv().await.unwrap() else { panic!("live work") };
    assert_eq!(assigned.attempt, live);
    queue.attempt_started(welcome.session, live, vec!["ffmpeg".to_owned()], None).await;
    assert!(matches!(events.recv().await.unwrap(), LiveEvent::Started { .. }));

    // Now it fails, and goes on failing.
    store.full.store(true, Ordering::SeqCst);
    drop(slow);
    for job in jobs {
        let _ = job.await;
    }
    queue.submit(job()).await.unwrap_err();
    queue.end_live(live, "nobody watches").await;
    let again = order();
    let lost = again.attempt;
    queue.place_live(again).await.unwrap();
    queue.session_ending(welcome.session).await;
    let reason = "worker worker-1 disconnected".to_owned();
    assert_eq!(events.recv().await.unwrap(), LiveEvent::Lost { attempt: lost, reason });

    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn live_work_that_nobody_waits_for_any_more_is_ended() {
    let (service, queue, _sweeps) = Service::open(settings(), Arc::new(FullDisk::default())).await.unwrap();
    let (outbox, mut messages) = mpsc::channel(16);
    // Everything is in the channel before the queue runs.
    let mut registering = queue.register(worker(), outbox).boxed();
    assert!(futures::poll!(&mut registering).is_pending());
    let mut placing = queue.place_live(order()).boxed();
    assert!(futures::poll!(&mut placing).is_pending());
    drop(placing);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(service.run(stop.clone()));
    registering.await.unwrap();
    let ToWorker::AssignLive(assigned) = messages.recv().await.unwrap() else { panic!("live work") };
    let ToWorker::Stop { attempt, .. } = messages.recv().await.unwrap() else { panic!("a stop") };
    assert_eq!(attempt, assigned.attempt);
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn a_full_disk_refuses_jobs_and_takes_them_again_when_there_is_room() {
    let store = Arc::new(FullDisk::default());
    let (service, queue, _sweeps) = Service::open(settings(), store.clone()).await.unwrap();
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
