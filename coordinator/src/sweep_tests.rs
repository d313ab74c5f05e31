use std::sync::Arc;

use bytes::Bytes;
use common::{
    api::JobState,
    id::{Epoch, TaskId},
};
use futures::stream;

use super::*;
use crate::{
    plan::TaskKind,
    queue::{InputLocation, JobInput},
    storage::{Expect, Key, RelPath},
    store::{Changes, JobDetails, JobRecord, JobResult, SqliteStore, TaskHistory, TaskRecord},
};

fn stored(state: TaskState, epoch: u64, published: Option<u64>) -> StoredJob {
    let job = JobRecord {
        priority: 0,
        id: JobId::new(),
        state: JobState::Running,
        request: Arc::new(JobDetails {
            input: JobInput::new(InputLocation::Url("http://x/a".to_owned()), "a".to_owned()),
            more_inputs: Vec::new(),
            preset: "h264".to_owned(),
            spec: serde_json::from_value(serde_json::json!({"kind": "file", "container": "mp4"})).unwrap(),
            hardware: common::media::HardwarePolicy::Prefer,
            priority: 0,
            labels: Default::default(),
            owner: None,
            on_damaged_input: Default::default(),
            time_limit_ms: None,
            output: None,
            webhook: None,
        }),
        submitted_at: 0,
        started_at: None,
        finished_at: None,
        failure: None,
        worker: None,
        result: JobResult::default(),
    };
    let task = TaskRecord {
        id: TaskId::new(),
        job: job.id,
        kind: TaskKind::Encode,
        state,
        epoch: Epoch(epoch),
        published: published.map(Epoch),
        queued_at: 0,
        finished_at: None,
        history: TaskHistory::default(),
    };
    StoredJob { job, tasks: vec![(task, Vec::new())] }
}

fn attempt(stored: &StoredJob, epoch: u64) -> AttemptId {
    AttemptId { task: stored.tasks[0].0.id, epoch: Epoch(epoch) }
}

#[test]
fn only_what_is_neither_published_nor_running_is_lost() {
    let lost = |stored: &StoredJob| {
        (1..=4).filter(|epoch| is_lost(stored, attempt(stored, *epoch))).collect::<Vec<_>>()
    };
    assert_eq!(lost(&stored(TaskState::Running, 3, None)), [1, 2, 4]);
    assert_eq!(lost(&stored(TaskState::Succeeded, 3, Some(3))), [1, 2, 4]);
    // Epoch 4 was assigned and never durable, 3 was given up.
    assert_eq!(lost(&stored(TaskState::Queued, 3, None)), [1, 2, 3, 4]);
    assert_eq!(lost(&stored(TaskState::Cancelled, 3, None)), [1, 2, 3, 4]);
    let young = |stored: &StoredJob| may_have_begun(stored, attempt(stored, 4));
    assert!(young(&stored(TaskState::Queued, 3, None)) && young(&stored(TaskState::Running, 3, None)));
    assert!(!young(&stored(TaskState::Queued, 4, None)) && !young(&stored(TaskState::Succeeded, 3, Some(3))));
    let other = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    assert!(!is_lost(&stored(TaskState::Queued, 3, None), other));
}

async fn bring(storage: &Storage, job: JobId, attempt: AttemptId) {
    let key = Key::output(job, attempt, &RelPath::parse("a/b.mp4").unwrap());
    let mut body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]);
    storage.put(&key, Expect::Exactly(1), &mut body).await.unwrap();
}

fn sorted(mut found: Vec<(JobId, AttemptId)>) -> Vec<(JobId, AttemptId)> {
    found.sort();
    found
}

#[tokio::test]
async fn a_start_sweeps_what_lost_and_touches_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open_local(&folder.path().join("objects")).unwrap();
    let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
    let running = stored(TaskState::Running, 2, None);
    let published = stored(TaskState::Succeeded, 2, Some(1));
    for known in [&running, &published] {
        let changes = Changes {
            jobs: vec![known.job.clone()],
            tasks: vec![known.tasks[0].0.clone()],
            ..Changes::default()
        };
        store.commit(&changes).await.unwrap();
        for epoch in [1, 2] {
            bring(&storage, known.job.id, attempt(known, epoch)).await;
        }
    }
    // Of a job store that is not there any more.
    let unknown = stored(TaskState::Succeeded, 1, Some(1));
    bring(&storage, unknown.job.id, attempt(&unknown, 1)).await;

    let (lost, left) = mpsc::unbounded_channel();
    let (queue, swept) = mpsc::unbounded_channel();
    let found = storage.attempts().await.unwrap();
    let store: Arc<dyn JobStore> = Arc::new(store);
    left_behind(store, Found::Before(found), lost, CancellationToken::new()).await;
    let sweeper = Sweeper::new(storage.clone(), Uploads::default(), None);
    let sweeping = sweeper.run(swept, left, CancellationToken::new());
    let kept = sorted(vec![
        (running.job.id, attempt(&running, 2)),
        (published.job.id, attempt(&published, 1)),
        (unknown.job.id, attempt(&unknown, 1)),
    ]);
    let swept = async {
        while sorted(storage.attempts().await.unwrap()) != kept {
            tokio::task::yield_now().await;
        }
        drop(queue);
    };
    futures::future::join(sweeping, swept).await;
}

#[tokio::test]
async fn a_sweep_that_fails_is_tried_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open_local(folder.path()).unwrap();
    let job = JobId::new();
    let attempt = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    bring(&storage, job, attempt).await;
    // A name that the store cannot say, so it cannot list the folder.
    let odd = folder.path().join(format!("jobs/{job}/{}/1/odd\u{1}", attempt.task));
    std::fs::write(&odd, b"x").unwrap();
    let mut sweeper = Sweeper::new(storage.clone(), Uploads::default(), None);
    let before = Instant::now();
    sweeper.sweep(Sweep { job, attempt }, Try::First(0)).await;
    let ((due, _), (again, tries)) = sweeper.again.pop_first().unwrap();
    assert!(due > before && again == Sweep { job, attempt } && matches!(tries, Try::First(1)));
    std::fs::remove_file(&odd).unwrap();
    sweeper.sweep(again, tries).await;
    assert!(sweeper.again.is_empty());
    assert_eq!(storage.attempts().await.unwrap(), []);
}

#[tokio::test]
async fn what_a_worker_may_still_bring_is_swept_when_its_urls_have_expired() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open_local(folder.path()).unwrap();
    let job = JobId::new();
    let attempt = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    bring(&storage, job, attempt).await;
    let ttl = Duration::from_secs(900);
    let mut sweeper = Sweeper::new(storage.clone(), Uploads::default(), Some(ttl));
    let before = Instant::now();
    sweeper.sweep(Sweep { job, attempt }, Try::First(0)).await;
    let ((due, _), (again, nth)) = sweeper.again.pop_first().unwrap();
    assert!(due >= before + ttl);
    bring(&storage, job, attempt).await;
    sweeper.sweep(again, nth).await;
    assert!(sweeper.again.is_empty());
    assert_eq!(storage.attempts().await.unwrap(), []);
}
