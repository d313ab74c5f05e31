//! A worker of the version before, with the words that it really said.

use std::path::Path;

use common::{
    api::JobState,
    proto::{
        self, OpenUploadsRequest, attempt_finished::Result as Outcome, coordinator_message::Message,
        worker_message::Message as Said,
    },
};
use reqwest::StatusCode;

use crate::{
    farm::{Farm, Worker, eventually},
    recorded::{self, Recorded},
};

fn version_1() -> Vec<Recorded> {
    recorded::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/tests/recorded"), 1)
}

fn hello(messages: &[Recorded], kind: &str) -> proto::Hello {
    match recorded::said(messages, kind).remove(0) {
        Said::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

/// What was recorded, said of the attempt that is assigned here.
fn about(message: Said, assign: &proto::Assign) -> Said {
    let (task_id, epoch) = (assign.task_id.clone(), assign.epoch);
    match message {
        Said::Heartbeat(mut beat) => {
            for attempt in &mut beat.attempts {
                (attempt.task_id, attempt.epoch) = (task_id.clone(), epoch);
            }
            Said::Heartbeat(beat)
        }
        Said::AttemptStarted(started) => {
            Said::AttemptStarted(proto::AttemptStarted { task_id, epoch, ..started })
        }
        Said::AttemptFinished(finished) => {
            Said::AttemptFinished(proto::AttemptFinished { task_id, epoch, ..finished })
        }
        other => other,
    }
}

async fn say_all(worker: &Worker, messages: &[Recorded], kinds: &[&str], assign: &proto::Assign) {
    for kind in kinds {
        for message in recorded::said(messages, kind) {
            worker.say(about(message, assign)).await;
        }
    }
}

/// The next answer to the end of an attempt; nothing that version 1 does not know comes before it.
async fn acknowledged(worker: &mut Worker) -> proto::AttemptAcknowledged {
    loop {
        match worker.told().await.unwrap() {
            Message::AttemptAcknowledged(acknowledged) => return acknowledged,
            Message::ProbeAgain(probe) => panic!("version 1 does not know {probe:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_worker_of_version_1_works_to_a_published_job_without_digests() {
    let messages = version_1();
    let farm = Farm::start().await;
    let upload = farm.upload("bikes-2s.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let mut worker = Worker::connect(farm.client().await, hello(&messages, "hello")).await.unwrap();
    assert_eq!(worker.welcome.protocol, 1);

    let assign = worker.assigned().await;
    let course = ["heartbeat", "started", "heartbeat-attempt", "heartbeat-log"];
    say_all(&worker, &messages, &course, &assign).await;
    eventually(async || {
        let progress = farm.job(job).await.summary.progress?;
        (progress.progress.frames == 52).then_some(())
    })
    .await;

    let request: OpenUploadsRequest = recorded::call(&messages, "open-uploads");
    let urls = worker.open_uploads(&assign, request.files.clone()).await.unwrap();
    let body = vec![0; usize::try_from(request.files[0].size).unwrap()];
    let put = farm.http.put(farm.worker_url(&urls[0])).body(body).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    worker.say(about(recorded::said(&messages, "succeeded").remove(0), &assign)).await;
    assert!(acknowledged(&mut worker).await.accepted);

    let view = farm.job(job).await;
    assert_eq!(view.summary.state, JobState::Succeeded, "{view:#?}");
    assert_eq!((view.outputs[0].path.as_str(), view.outputs[0].size), ("bikes-2s.mp4", 102_435));
    assert_eq!(view.tasks[0].attempts.len(), 1);
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_of_version_1_comes_back_to_its_attempt_and_its_failure_counts() {
    let messages = version_1();
    let farm = Farm::start().await;
    let upload = farm.upload("no-moov.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let mut worker = Worker::connect(farm.client().await, hello(&messages, "hello")).await.unwrap();
    let assign = worker.assigned().await;
    drop(worker);

    let mut again = hello(&messages, "hello-again");
    again.running = vec![proto::RunningAttempt { task_id: assign.task_id.clone(), epoch: assign.epoch }];
    let mut worker = Worker::connect(farm.client().await, again).await.unwrap();
    assert_eq!(worker.welcome.protocol, 1);
    assert!(worker.welcome.verdicts[0].keep, "{:?}", worker.welcome);

    let failed = recorded::said(&messages, "failed").remove(0);
    let Said::AttemptFinished(proto::AttemptFinished { result: Some(Outcome::Failed(said)), .. }) = &failed
    else {
        panic!("{failed:?}")
    };
    worker.say(about(failed.clone(), &assign)).await;
    assert!(acknowledged(&mut worker).await.accepted);
    let view = farm.job(job).await;
    assert_eq!(view.summary.state, JobState::Failed, "{view:#?}");
    assert_eq!(view.summary.failure.unwrap().message, said.message);
    farm.stop().await;
}
