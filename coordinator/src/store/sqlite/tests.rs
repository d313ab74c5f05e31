//! The store against a real file.

use std::sync::Arc;

use common::{
    api::{AttemptState, JobState, TaskState, WorkerRef},
    failure::{Failure, FailureKind},
    id::{AttemptId, Epoch, JobId, TaskId, WorkerId},
    worker::OutputFile,
};

use super::*;
use crate::{
    plan::TaskKind,
    queue::{InputLocation, JobInput},
    store::{AttemptDetails, AttemptRecord, JobDetails, JobResult, TaskHistory, TaskRecord},
};

async fn open(folder: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap()
}

fn job(owner: Option<&str>) -> JobRecord {
    JobRecord {
        id: JobId::new(),
        state: JobState::Queued,
        request: Arc::new(JobDetails {
            input: JobInput {
                location: InputLocation::Url("http://x/it's \"odd\" \u{1f3ac}.mp4".to_owned()),
                name: "it's \"odd\" \u{1f3ac}.mp4".to_owned(),
            },
            preset: "h264".to_owned(),
            spec: Arc::new(
                serde_json::from_value(serde_json::json!({"kind": "file", "container": "mp4"})).unwrap(),
            ),
            hardware: common::media::HardwarePolicy::Prefer,
            priority: 3,
            labels: std::iter::once(("site".to_owned(), "b".to_owned())).collect(),
            owner: owner.map(str::to_owned),
            on_damaged_input: Default::default(),
            time_limit_ms: Some(60_000),
        }),
        submitted_at: 1_000,
        started_at: None,
        finished_at: None,
        failure: None,
        worker: None,
        result: JobResult::default(),
    }
}

fn with_task(job: &JobRecord) -> (TaskRecord, AttemptRecord) {
    let task = TaskRecord {
        id: TaskId::new(),
        job: job.id,
        kind: TaskKind::Encode,
        state: TaskState::Running,
        epoch: Epoch(1),
        published: None,
        queued_at: 1_000,
        finished_at: None,
        history: TaskHistory::default(),
    };
    let attempt = AttemptRecord {
        id: AttemptId { task: task.id, epoch: Epoch(1) },
        job: job.id,
        state: AttemptState::Running,
        worker: WorkerRef { id: WorkerId::new(), name: "gpu-1".to_owned() },
        assigned_at: 1_001,
        started_at: None,
        finished_at: None,
        details: AttemptDetails { encoder: Some("libx264".to_owned()), ..AttemptDetails::default() },
    };
    (task, attempt)
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(Some("ada"));
    let (mut task, mut attempt) = with_task(&job);
    let log = LogRecord { id: attempt.id, lines: vec!["line".to_owned()] };
    let store = open(&folder).await;
    let mut changes = Changes {
        jobs: vec![job.clone()],
        tasks: vec![task.clone()],
        attempts: vec![attempt.clone()],
        logs: Vec::new(),
    };
    store.commit(&changes).await.unwrap();

    job.state = JobState::Succeeded;
    job.finished_at = Some(2_000);
    job.failure = Some(Failure::new(FailureKind::Crashed, "boom"));
    job.worker = Some(attempt.worker.clone());
    let output = OutputFile {
        path: "a.mp4".to_owned(),
        size: 7,
        content_type: "video/mp4".to_owned(),
        sha256: "0".repeat(64),
    };
    job.result.outputs = vec![output];
    task.state = TaskState::Succeeded;
    task.published = Some(Epoch(1));
    attempt.state = AttemptState::Succeeded;
    attempt.details.command = vec!["ffmpeg".to_owned(), "-i".to_owned()];
    changes = Changes {
        jobs: vec![job.clone()],
        tasks: vec![task.clone()],
        attempts: vec![attempt.clone()],
        logs: vec![log.clone()],
    };
    store.commit(&changes).await.unwrap();
    store.close().await;
    drop(store);

    let store = open(&folder).await;
    let expected = StoredJob { job: job.clone(), tasks: vec![(task.clone(), vec![attempt])] };
    assert_eq!(store.job(job.id).await.unwrap(), Some(expected));
    assert_eq!(store.logs(job.id).await.unwrap(), [log]);
    assert!(store.unfinished().await.unwrap().is_empty());
    assert_eq!(store.job(JobId::new()).await.unwrap(), None);
}

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut jobs: Vec<_> =
        (0..5).map(|number| job(Some(if number % 2 == 0 { "ada" } else { "bob" }))).collect();
    jobs[0].state = JobState::Failed;
    store.commit(&Changes { jobs: jobs.clone(), ..Changes::default() }).await.unwrap();
    let ids = async |filter: JobFilter| {
        let found = store.jobs(&JobFilter { limit: 10, ..filter }).await.unwrap();
        found.iter().map(|found| jobs.iter().position(|job| job.id == found.id).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(JobFilter::default()).await, [4, 3, 2, 1, 0]);
    assert_eq!(ids(JobFilter { before: Some(jobs[2].id), ..JobFilter::default() }).await, [1, 0]);
    assert_eq!(ids(JobFilter { owner: Some("bob".to_owned()), ..JobFilter::default() }).await, [3, 1]);
    assert_eq!(ids(JobFilter { states: vec![JobState::Failed], ..JobFilter::default() }).await, [0]);
    assert_eq!(store.unfinished().await.unwrap().len(), 4);
}

#[tokio::test]
async fn every_commit_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut writer = store.writer.lock().await;
    let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *writer).await.unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *writer).await.unwrap();
    assert_eq!((level, journal.as_str()), (2, "wal"), "2 is FULL");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let text = "this is not a database, and long enough to be looked at\n".repeat(50);
    std::fs::write(&path, &text).unwrap();
    assert!(SqliteStore::open(&path).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
