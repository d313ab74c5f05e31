//! Who may be a worker, and how sessions begin and end.

use common::{
    api::{JobState, WorkerSummary},
    proto::{self, coordinator_message::Message, worker_message::Message as Said},
};
use reqwest::StatusCode;
use tonic::Code;

use crate::farm::{Farm, TOKEN, Worker, eventually, hello, with_token};

async fn workers(farm: &Farm) -> Vec<WorkerSummary> {
    let page: serde_json::Value = farm.get("/v1/workers").await.json().await.unwrap();
    serde_json::from_value(page["items"].clone()).unwrap()
}

#[tokio::test]
async fn without_the_token_no_call_is_answered() {
    let farm = Farm::start().await;
    for token in ["", "wrong", &TOKEN[1..], &format!("{TOKEN}x")] {
        let status = Worker::connect_with(farm.client().await, hello(), token).await.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{token:?}");
        assert!(status.message().contains("TVARR_AUTH_TOKEN"), "{status}");
        let request = with_token(proto::OpenUploadsRequest::default(), token);
        let status = farm.client().await.open_uploads(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{token:?}");
    }
    let naked = farm.client().await.open_uploads(proto::OpenUploadsRequest::default()).await;
    assert_eq!(naked.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(workers(&farm).await.len(), 0);
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_with_another_protocol_is_told_what_to_update() {
    let farm = Farm::start().await;
    let mut hello = hello();
    (hello.protocol_min, hello.protocol_max) = (90, 91);
    let status = Worker::connect(farm.client().await, hello).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("update the coordinator"), "{status}");
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_is_shown_while_it_is_there_and_can_be_drained() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    assert_eq!(worker.welcome.protocol, proto::PROTOCOL_MAX);
    assert_eq!(worker.welcome.heartbeat_interval_ms, 5000);
    assert_eq!(worker.welcome.lease_ms, 30_000);
    let shown = workers(&farm).await;
    let id = shown[0].id;
    assert_eq!((shown.len(), shown[0].name.as_str()), (1, "test"));
    let drained = farm.post(&format!("/v1/workers/{id}/drain"), &serde_json::Value::Null).await;
    assert_eq!(drained.status(), StatusCode::OK);
    assert!(matches!(
        worker.told().await.unwrap(),
        Message::SetDraining(proto::SetDraining { draining: true })
    ));
    let resumed = farm.post(&format!("/v1/workers/{id}/resume"), &serde_json::Value::Null).await;
    assert_eq!(resumed.status(), StatusCode::OK);
    assert!(matches!(
        worker.told().await.unwrap(),
        Message::SetDraining(proto::SetDraining { draining: false })
    ));
    drop(worker);
    eventually(async || {
        workers(&farm).await.iter().all(|worker| worker.state == common::api::WorkerState::Lost).then_some(())
    })
    .await;
    farm.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_ends_the_session_alone() {
    let farm = Farm::start().await;
    let bystander = farm.worker().await;
    let mut worker = farm.worker().await;
    worker
        .say(Said::AttemptStarted(proto::AttemptStarted { task_id: "x".to_owned(), ..Default::default() }))
        .await;
    assert_eq!(worker.told().await.unwrap_err().code(), Code::InvalidArgument);
    bystander.say(Said::Heartbeat(proto::Heartbeat::default())).await;
    eventually(async || {
        let workers = workers(&farm).await;
        let lost = workers.iter().filter(|worker| worker.state == common::api::WorkerState::Lost).count();
        (workers.len() == 2 && lost == 1).then_some(())
    })
    .await;
    farm.stop().await;
}

#[tokio::test]
async fn progress_and_the_command_line_are_shown_while_it_runs() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let upload = farm.upload("a.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let assign = worker.assigned().await;
    let (task_id, epoch) = (assign.task_id, assign.epoch);
    let argv = vec!["ffmpeg".to_owned(), "-i".to_owned()];
    worker
        .say(Said::AttemptStarted(proto::AttemptStarted {
            task_id: task_id.clone(),
            epoch,
            argv: argv.clone(),
            input_info_json: String::new(),
        }))
        .await;
    let progress =
        proto::Progress { fraction: Some(0.5), frames: 12, fps: 24.0, speed: f64::NAN, ..Default::default() };
    let attempt =
        proto::AttemptProgress { task_id, epoch, progress: Some(progress), log: vec!["a line".to_owned()] };
    worker.say(Said::Heartbeat(proto::Heartbeat { attempts: vec![attempt], ..Default::default() })).await;
    let view = eventually(async || {
        let view = farm.job(job).await;
        view.summary.progress.is_some().then_some(view)
    })
    .await;
    assert_eq!(view.summary.state, JobState::Running);
    let shown = view.summary.progress.unwrap();
    assert_eq!((shown.percent, shown.progress.frames), (Some(50.0), 12));
    eventually(async || (farm.job(job).await.tasks[0].attempts[0].command == argv).then_some(())).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_is_stopped_on_its_worker() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let upload = farm.upload("a.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let assign = worker.assigned().await;
    let cancelled = farm.post(&format!("/v1/jobs/{job}/cancel"), &serde_json::Value::Null).await;
    assert_eq!(cancelled.status(), StatusCode::OK);
    loop {
        if let Message::StopAttempt(stop) = worker.told().await.unwrap() {
            assert_eq!((stop.task_id, stop.epoch), (assign.task_id, assign.epoch));
            break;
        }
    }
    let again = farm.post(&format!("/v1/jobs/{job}/cancel"), &serde_json::Value::Null).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    farm.stop().await;
}
