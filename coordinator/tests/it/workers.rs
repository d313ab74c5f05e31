//! The fleet as pages see it: rows, totals, history; probing and forgetting workers.

use std::time::{Duration, Instant};

use common::{
    api::{JobState, Page, Scope, Summary, WorkerHistory, WorkerState, WorkerSummary, WorkerView},
    id::WorkerId,
    proto::{self, coordinator_message::Message, worker_message::Message as Said},
};
use reqwest::{Response, StatusCode};

use crate::farm::{Farm, Worker, eventually, hello, problem};

/// How soon a page has to know that a worker is gone.
const SOON: Duration = Duration::from_secs(2);

async fn connect(farm: &Farm, name: &str, labels: &[(&str, &str)]) -> (WorkerId, Worker) {
    let mut hello = proto::Hello { name: name.to_owned(), ..hello() };
    hello.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let id = hello.worker_id.parse().unwrap();
    (id, Worker::connect(farm.client().await, hello).await.unwrap())
}

async fn page(farm: &Farm, query: &str) -> Page<WorkerSummary> {
    let response = farm.get(&format!("/v1/workers{query}")).await;
    assert_eq!(response.status(), StatusCode::OK, "{query}");
    response.json().await.unwrap()
}

async fn names(farm: &Farm, query: &str) -> Vec<String> {
    page(farm, query).await.items.into_iter().map(|worker| worker.name).collect()
}

async fn view(farm: &Farm, id: WorkerId) -> WorkerView {
    farm.get(&format!("/v1/workers/{id}")).await.json().await.unwrap()
}

async fn summary(farm: &Farm) -> Summary {
    farm.get("/v1/summary").await.json().await.unwrap()
}

async fn act(farm: &Farm, id: WorkerId, verb: &str) -> Response {
    farm.http.post(farm.url(&format!("/v1/workers/{id}/{verb}"))).send().await.unwrap()
}

async fn forget(farm: &Farm, id: WorkerId) -> Response {
    farm.http.delete(farm.url(&format!("/v1/workers/{id}"))).send().await.unwrap()
}

#[tokio::test]
async fn workers_come_in_pages_by_name_and_are_found_by_state_and_text() {
    let farm = Farm::start().await;
    let mut workers = Vec::new();
    for (name, site) in [("delta", "berlin"), ("alpha", "berlin"), ("charlie", "oslo"), ("bravo", "oslo")] {
        workers.push(connect(&farm, name, &[("site", site)]).await);
    }
    assert_eq!(names(&farm, "").await, ["alpha", "bravo", "charlie", "delta"]);
    let first = page(&farm, "?limit=3").await;
    assert_eq!(first.items.len(), 3);
    let next = format!("?limit=3&cursor={}", first.next_cursor.unwrap());
    let second = page(&farm, &next).await;
    assert_eq!((second.items.len(), second.next_cursor), (1, None));
    assert_eq!(second.items[0].name, "delta");
    assert_eq!(names(&farm, "?text=SITE%3Doslo").await, ["bravo", "charlie"]);
    assert_eq!(names(&farm, "?text=elt").await, ["delta"]);
    assert_eq!(names(&farm, &format!("?text={}", workers[2].0)).await, ["charlie"]);
    assert_eq!(act(&farm, workers[0].0, "drain").await.status(), StatusCode::OK);
    assert_eq!(names(&farm, "?state=draining,lost").await, ["delta"]);
    assert_eq!(names(&farm, "?state=online&limit=1").await, ["alpha"]);
    let sum = summary(&farm).await;
    assert_eq!((sum.fleet.workers.online, sum.fleet.workers.draining), (3, 1));
    assert_eq!((sum.fleet.cpu_jobs.used, sum.fleet.cpu_jobs.total, sum.fleet.gpu_jobs.total), (0, 8, 0));
    assert!(!sum.keys && sum.jobs.is_empty());
    assert_eq!(sum.who.scopes, Scope::ALL);
    for wrong in ["?state=gone", "?cursor=x", "?limit=0", "?limit=1001", "?all=1"] {
        assert!(farm.get(&format!("/v1/workers{wrong}")).await.status().is_client_error(), "{wrong}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn what_runs_is_told_with_its_command_and_what_was_is_remembered() {
    let farm = Farm::start().await;
    let (id, mut worker) = connect(&farm, "one", &[]).await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "bytes").await).await;
    let assign = worker.assigned().await;
    let argv = vec!["ffmpeg".to_owned(), "-i".to_owned(), "a b".to_owned()];
    worker
        .say(Said::AttemptStarted(proto::AttemptStarted {
            task_id: assign.task_id.clone(),
            epoch: assign.epoch,
            argv: argv.clone(),
            ..Default::default()
        }))
        .await;
    worker
        .say(Said::Heartbeat(proto::Heartbeat {
            load: Some(proto::Load { cpu: 0.5, memory_used_bytes: 7, ..Default::default() }),
            attempts: vec![proto::AttemptProgress {
                task_id: assign.task_id.clone(),
                epoch: assign.epoch,
                progress: Some(proto::Progress { fps: 48.0, ..Default::default() }),
                ..Default::default()
            }],
            ..Default::default()
        }))
        .await;
    let row = eventually(async || page(&farm, "").await.items.into_iter().find(|row| row.fps > 0.0)).await;
    assert_eq!((row.fps, row.jobs, row.cpu_jobs, row.load.memory_used_bytes), (48.0, 1, 1, 7));
    let running = view(&farm, id).await.running.remove(0);
    assert_eq!((running.command, running.preset.as_str(), running.input.as_str()), (argv, "h264", "a.mp4"));
    assert!(running.started_at.is_some());
    let sum = summary(&farm).await;
    assert_eq!((sum.fleet.batch, sum.fleet.live, sum.fleet.cpu_jobs.used), (1, 0, 1));
    assert_eq!(sum.jobs[&JobState::Running], 1);
    let history = farm.get(&format!("/v1/workers/{id}/history")).await;
    let history: WorkerHistory = history.json().await.unwrap();
    for series in [&history.minutes, &history.hour] {
        assert_eq!(series.cpu.iter().flatten().collect::<Vec<_>>(), [&0.5]);
        assert_eq!(series.fps.iter().flatten().collect::<Vec<_>>(), [&48.0]);
        assert_eq!(series.jobs.iter().flatten().collect::<Vec<_>>(), [&1.0]);
    }
    assert_eq!((history.minutes.step_seconds, history.hour.step_seconds), (10, 60));
    // Its worker dies. Nobody waits for it to come back once it is forgotten.
    assert_eq!(problem(forget(&farm, id).await).await.status, 409);
    drop(worker);
    let died = Instant::now();
    eventually(async || (view(&farm, id).await.state == WorkerState::Lost).then_some(())).await;
    assert!(died.elapsed() < SOON, "{:?}", died.elapsed());
    assert_eq!(farm.job(job.summary.id).await.summary.state, JobState::Running, "it may come back");
    assert_eq!(forget(&farm, id).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(farm.job(job.summary.id).await.summary.state, JobState::Queued);
    for path in ["", "/history"] {
        assert_eq!(farm.get(&format!("/v1/workers/{id}{path}")).await.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(forget(&farm, id).await.status(), StatusCode::NOT_FOUND);
    assert!(names(&farm, "").await.is_empty());
    let (_, mut other) = connect(&farm, "two", &[]).await;
    assert_eq!(other.assigned().await.task_id, assign.task_id);
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_is_asked_to_look_again_while_it_is_there() {
    let farm = Farm::start().await;
    let (id, mut worker) = connect(&farm, "one", &[]).await;
    assert_eq!(act(&farm, id, "probe").await.status(), StatusCode::OK);
    let reason = loop {
        if let Message::ProbeAgain(ask) = worker.told().await.unwrap() {
            break ask.reason;
        }
    };
    assert_eq!(reason, "an operator asked for it");
    drop(worker);
    eventually(async || (view(&farm, id).await.state == WorkerState::Lost).then_some(())).await;
    assert_eq!(problem(act(&farm, id, "probe").await).await.status, 409);
    assert_eq!(problem(act(&farm, WorkerId::new(), "probe").await).await.status, 404);
    farm.stop().await;
}
