//! Dead letters, and workers that are emptied at once.

use std::sync::Arc;

use common::{
    api::{
        JobState, JobSummary, Page, Redriven, TaskState, WorkerRef, WorkerState, WorkerSummary, WorkerView,
    },
    failure::{Failure, FailureKind},
    id::{Epoch, JobId, TaskId, WorkerId},
    proto::coordinator_message::Message,
};
use coordinator::{
    plan::TaskKind,
    store::{Changes, JobDetails, JobRecord, JobResult, JobStore as _, SqliteStore, TaskHistory, TaskRecord},
};
use serde_json::json;

use crate::farm::{Farm, eventually, problem};

fn dead(kind: FailureKind, worker: &str, preset: &str, owner: Option<&str>) -> (JobRecord, TaskRecord) {
    // As the store has it.
    let request: JobDetails = serde_json::from_value(json!({
        "input": {"location": {"url": "http://x/a.mp4"}, "name": "a.mp4"},
        "preset": preset, "spec": {"kind": "file", "container": "mp4"}, "hardware": "prefer", "priority": 0,
        "labels": {}, "owner": owner,
    }))
    .unwrap();
    let job = JobRecord {
        id: JobId::new(),
        state: JobState::Dead,
        priority: 0,
        request: Arc::new(request),
        submitted_at: 1_000,
        started_at: Some(1_001),
        finished_at: Some(1_002),
        failure: Some(Failure::new(kind, "given up")),
        worker: Some(WorkerRef { id: WorkerId::new(), name: worker.to_owned() }),
        result: JobResult::default(),
    };
    let task = TaskRecord {
        id: TaskId::new(),
        job: job.id,
        kind: TaskKind::Encode,
        state: TaskState::Failed,
        epoch: Epoch(3),
        published: None,
        queued_at: 1_000,
        finished_at: Some(1_002),
        history: TaskHistory { failures: 3, ..TaskHistory::default() },
    };
    (job, task)
}

/// A coordinator that has given these up.
async fn farm_with(letters: Vec<(JobRecord, TaskRecord)>) -> Farm {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let store = SqliteStore::open(&data.join("jobs.sqlite")).await.unwrap();
    let (jobs, tasks) = letters.into_iter().unzip();
    store.commit(&Changes { jobs, tasks, ..Changes::default() }).await.unwrap();
    store.close().await;
    drop(store);
    Farm::start_on(folder, |_| {}).await
}

#[tokio::test]
async fn dead_letters_are_listed_and_redriven_by_what_they_have_in_common() {
    let letters = vec![
        dead(FailureKind::Crashed, "gpu-1", "h264", Some("ann")),
        dead(FailureKind::Crashed, "gpu-2", "hevc", Some("bob")),
        dead(FailureKind::Stalled, "gpu-1", "h264", None),
    ];
    let ids: Vec<JobId> = letters.iter().map(|(job, _)| job.id).collect();
    let farm = farm_with(letters).await;
    let list = async |query: &str| {
        let page: Page<JobSummary> = farm.get(&format!("/v1/jobs?{query}")).await.json().await.unwrap();
        page.items.iter().map(|job| ids.iter().position(|id| *id == job.id).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list("state=dead").await, [2, 1, 0]);
    assert_eq!(list("state=dead&kind=crashed").await, [1, 0]);
    assert_eq!(list("state=dead&worker=gpu-1&preset=h264").await, [2, 0]);
    assert_eq!(problem(farm.get("/v1/jobs?kind=bad_luck").await).await.field.as_deref(), Some("kind"));

    let redrive = async |body| -> Redriven {
        let response = farm.post("/v1/jobs/redrive", &body).await;
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    };
    assert!(redrive(json!({"text": "holiday"})).await.jobs.is_empty(), "no input is called so");
    let redriven = redrive(json!({"kind": "crashed", "owner": "ann", "text": "A.MP4"})).await;
    assert_eq!(redriven.jobs, [ids[0]]);
    assert!(redriven.refused.is_empty() && redriven.next_cursor.is_none());
    assert_eq!(list("state=dead").await, [2, 1]);
    let again = farm.job(ids[0]).await;
    assert_eq!((again.summary.state, again.tasks[0].state), (JobState::Queued, TaskState::Queued));
    assert!(again.summary.failure.is_none(), "it begins anew");

    assert_eq!(redrive(json!({})).await.jobs, [ids[2], ids[1]]);
    assert!(redrive(json!({})).await.jobs.is_empty(), "there is none left");
    let unknown = farm.post("/v1/jobs/redrive", &json!({"state": "failed"})).await;
    assert_eq!(problem(unknown).await.status, 422);
    for field in ["owner", "preset", "worker", "text"] {
        let refused = problem(farm.post("/v1/jobs/redrive", &json!({(field): ""})).await).await;
        assert_eq!((refused.status, refused.field.as_deref()), (422, Some(field)), "else it is all of them");
    }
    farm.stop().await;
}

#[tokio::test]
async fn many_dead_letters_are_redriven_in_bounded_calls() {
    let letters: Vec<_> = (0..2500).map(|_| dead(FailureKind::WorkerLost, "gpu-1", "h264", None)).collect();
    let farm = farm_with(letters).await;
    let mut body = json!({});
    let mut counts = Vec::new();
    loop {
        let redriven: Redriven = farm.post("/v1/jobs/redrive", &body).await.json().await.unwrap();
        counts.push(redriven.jobs.len());
        let Some(cursor) = redriven.next_cursor else { break };
        body = json!({"cursor": cursor});
    }
    assert_eq!(counts, [1000, 1000, 500]);
    farm.stop().await;
}

#[tokio::test]
async fn what_runs_on_a_worker_that_is_drained_now_goes_to_another_at_once() {
    let farm = Farm::start().await;
    let upload = farm.upload("a.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let mut first = farm.worker().await;
    let lost = first.assigned().await;
    let workers: Page<WorkerSummary> = farm.get("/v1/workers").await.json().await.unwrap();
    let drain = format!("/v1/workers/{}/drain", workers.items[0].id);

    // Without "now", what runs goes on.
    let patient: WorkerView = farm.http.post(farm.url(&drain)).send().await.unwrap().json().await.unwrap();
    assert_eq!((patient.state, patient.jobs), (WorkerState::Draining, 1));
    // An assignment leaves before it is in the store.
    while farm.job(job).await.tasks[0].epoch != Epoch(1) {
        tokio::task::yield_now().await;
    }

    let emptied: WorkerView = farm.post(&drain, &json!({"now": true})).await.json().await.unwrap();
    assert_eq!(emptied.state, WorkerState::Draining);
    loop {
        if let Message::StopAttempt(stop) = first.told().await.unwrap() {
            assert_eq!((stop.task_id, stop.epoch), (lost.task_id.clone(), lost.epoch));
            break;
        }
    }
    let mut second = farm.worker().await;
    let taken = second.assigned().await;
    assert_eq!((taken.task_id, taken.epoch), (lost.task_id, lost.epoch + 1));
    let view =
        eventually(async || Some(farm.job(job).await).filter(|job| job.tasks[0].attempts.len() == 2)).await;
    let failure = view.tasks[0].attempts[0].failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::Preempted);
    farm.stop().await;
}
