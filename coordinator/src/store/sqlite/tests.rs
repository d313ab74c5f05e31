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

async fn unfinished(store: &SqliteStore) -> Vec<StoredJob> {
    store.unfinished().try_collect().await.unwrap()
}

pub(super) fn job(owner: Option<&str>) -> JobRecord {
    JobRecord {
        id: JobId::new(),
        state: JobState::Queued,
        priority: 0,
        request: Arc::new(JobDetails {
            input: JobInput::new(
                InputLocation::Url("http://x/it's \"odd\" \u{1f3ac}.mp4".to_owned()),
                "it's \"odd\" \u{1f3ac}.mp4".to_owned(),
            ),
            more_inputs: Vec::new(),
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
            output: Some("s3://bucket/x/".to_owned()),
            webhook: None,
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
        ..Changes::default()
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
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    store.close().await;
    drop(store);

    let store = open(&folder).await;
    let expected = StoredJob { job: job.clone(), tasks: vec![(task.clone(), vec![attempt])] };
    assert_eq!(store.job(job.id).await.unwrap(), Some(expected));
    assert_eq!(store.logs(job.id).await.unwrap(), [log]);
    assert!(unfinished(&store).await.is_empty());
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
    let short = jobs[3].id.to_string();
    assert_eq!(ids(JobFilter { text: Some(short[24..].to_uppercase()), ..JobFilter::default() }).await, [3]);
    assert!(ids(JobFilter { text: Some("%".to_owned()), ..JobFilter::default() }).await.is_empty());
    let name = jobs[0].request.input.name().to_uppercase();
    let text = Some(name[name.len() - 4..].to_owned());
    assert_eq!(ids(JobFilter { text: text.clone(), ..JobFilter::default() }).await, [4, 3, 2, 1, 0]);
    let failed = JobFilter { text, states: vec![JobState::Failed], ..JobFilter::default() };
    assert_eq!(ids(failed).await, [0]);
    assert_eq!(unfinished(&store).await.len(), 4);
    let counted = |owner| store.job_counts(owner);
    let all = BTreeMap::from([(JobState::Queued, 4), (JobState::Failed, 1)]);
    assert_eq!(counted(None).await.unwrap(), all);
    assert_eq!(counted(Some("bob")).await.unwrap(), BTreeMap::from([(JobState::Queued, 2)]));
    assert!(counted(Some("eve")).await.unwrap().is_empty());
}

/// However many jobs there are.
#[tokio::test]
async fn lists_by_worker_and_counts_come_out_of_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let filter = JobFilter { worker: Some("w".to_owned()), limit: 10, ..JobFilter::default() };
    let list = select::jobs(&filter).sql().to_owned();
    for (query, index) in [
        (list.as_str(), "USING INDEX jobs_by_worker"),
        (select::COUNTS, "USING COVERING INDEX jobs_by_state"),
        (select::COUNTS_OF, "USING COVERING INDEX jobs_by_owner_state"),
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&store.readers)
                .await
                .unwrap();
        let plan: Vec<_> = plan.into_iter().map(|(.., step)| step).collect();
        assert!(plan.iter().any(|step| step.contains(index)), "{query}: {plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{query}: {plan:?}");
    }
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
async fn dead_letters_are_found_by_kind_preset_worker_and_owner() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let dead = |kind, worker: &str, preset: &str, owner| {
        let mut job = job(owner);
        job.state = JobState::Dead;
        job.failure = Some(Failure::new(kind, "it's \"odd\""));
        job.worker = Some(WorkerRef { id: WorkerId::new(), name: worker.to_owned() });
        Arc::make_mut(&mut job.request).preset = preset.to_owned();
        job
    };
    let mut jobs = vec![
        dead(FailureKind::Crashed, "gpu-1", "h264", Some("ada")),
        dead(FailureKind::Stalled, "gpu-1", "hevc", None),
        dead(FailureKind::Crashed, "gpu-2", "hevc", Some("bob")),
    ];
    // Alike in everything but the state.
    let mut failed = jobs[0].clone();
    (failed.id, failed.state) = (JobId::new(), JobState::Failed);
    jobs.extend([failed, job(None)]);
    store.commit(&Changes { jobs: jobs.clone(), ..Changes::default() }).await.unwrap();
    let ids = async |filter: JobFilter| {
        let found = store.jobs(&JobFilter { limit: 10, ..filter }).await.unwrap();
        found.iter().map(|found| jobs.iter().position(|job| job.id == found.id).unwrap()).collect::<Vec<_>>()
    };
    let dead = || JobFilter { states: vec![JobState::Dead], ..JobFilter::default() };
    let crashed = || JobFilter { kind: Some(FailureKind::Crashed), ..dead() };
    assert_eq!(ids(dead()).await, [2, 1, 0]);
    assert_eq!(ids(crashed()).await, [2, 0]);
    assert_eq!(ids(JobFilter { preset: Some("hevc".to_owned()), ..dead() }).await, [2, 1]);
    assert_eq!(ids(JobFilter { worker: Some("gpu-1".to_owned()), ..dead() }).await, [1, 0]);
    assert_eq!(ids(JobFilter { worker: Some("gpu-1".to_owned()), ..crashed() }).await, [0]);
    assert_eq!(ids(JobFilter { owner: Some("bob".to_owned()), ..crashed() }).await, [2]);
    assert_eq!(ids(JobFilter { before: Some(jobs[2].id), ..dead() }).await, [1, 0]);
    let two = vec![JobState::Dead, JobState::Failed, JobState::Dead];
    assert_eq!(ids(JobFilter { states: two.clone(), ..JobFilter::default() }).await, [3, 2, 1, 0]);
    let newest = JobFilter { states: two, limit: 2, ..JobFilter::default() };
    assert_eq!(store.jobs(&newest).await.unwrap().len(), 2);
    assert_eq!(unfinished(&store).await.len(), 1, "dead letters are over");
}

#[tokio::test]
async fn unfinished_jobs_come_whole_and_in_order_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut changes = Changes::default();
    let mut expected = Vec::new();
    for number in 0..2 * RESTORED as usize + 3 {
        let mut job = job(None);
        let (mut task, first) = with_task(&job);
        let second = AttemptRecord { id: AttemptId { task: task.id, epoch: Epoch(2) }, ..first.clone() };
        match number % 3 {
            0 => job.state = JobState::Running,
            1 => job.state = JobState::Succeeded,
            _ => {}
        }
        task.epoch = Epoch(2);
        changes.attempts.extend([second.clone(), first.clone()]);
        changes.tasks.push(task.clone());
        changes.jobs.push(job.clone());
        if !job.state.is_final() {
            expected.push(StoredJob { job, tasks: vec![(task, vec![first, second])] });
        }
    }
    store.commit(&changes).await.unwrap();
    assert!(expected.len() > RESTORED as usize);
    assert!(unfinished(&store).await == expected);
}

#[tokio::test]
async fn inputs_of_unfinished_jobs_are_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let with_input = |key: &str, state| {
        let mut job = job(None);
        job.state = state;
        Arc::make_mut(&mut job.request).input =
            JobInput::new(InputLocation::Object(key.to_owned()), "a.mp4".to_owned());
        job
    };
    let jobs = vec![
        with_input("uploads/1/a", JobState::Queued),
        with_input("uploads/1/a", JobState::Running),
        with_input("uploads/2/b", JobState::Succeeded),
        job(None),
    ];
    store.commit(&Changes { jobs, ..Changes::default() }).await.unwrap();
    let used = store.objects_in_use().await.unwrap();
    assert_eq!(used, HashSet::from(["uploads/1/a".to_owned()]));
}

#[tokio::test]
async fn a_commit_on_a_full_disk_leaves_nothing_and_the_next_one_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let limit = async |pages: u32| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        let mut writer = store.writer.lock().await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(pragma)).execute(&mut *writer).await.unwrap();
    };
    let kept = job(None);
    store.commit(&Changes { jobs: vec![kept.clone()], ..Changes::default() }).await.unwrap();
    let (task, _) = with_task(&kept);
    let lines = (0..5_000).map(|line| format!("line {line} of a log that needs room")).collect();
    let mut many = Changes { jobs: vec![job(None)], tasks: vec![task], ..Changes::default() };
    many.logs.push(LogRecord { id: AttemptId { task: many.tasks[0].id, epoch: Epoch(1) }, lines });

    // What SQLite says then is what it says when the disk is full.
    limit(1).await;
    for _ in 0..2 {
        let error = store.commit(&many).await.unwrap_err().to_string();
        assert!(error.contains("cannot write to the job store") && error.contains("full"), "{error}");
        let listed = store.jobs(&JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&kept), "reading goes on, and nothing of the batch is there");
    }
    limit(u32::MAX >> 1).await;
    store.commit(&many).await.unwrap();
    assert_eq!(store.job(many.jobs[0].id).await.unwrap().unwrap().job, many.jobs[0]);
}
