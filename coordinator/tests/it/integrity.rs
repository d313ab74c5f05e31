//! Nothing is published that is not what its worker made, and nothing of it stays half-written.

use common::{
    api::{AttemptState, JobState},
    failure::FailureKind,
};
use reqwest::StatusCode;
use tonic::Code;

use crate::farm::{Farm, Worker, entries, hello, output, problem};

#[tokio::test]
async fn what_was_changed_on_its_way_is_refused_and_leaves_nothing() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let files = vec![output("a/b.mp4", "output")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    let before = entries(&farm.objects());
    let refused = problem(farm.bring(&urls[0], "0utput").await).await;
    assert_eq!(refused.status, 422);
    assert!(refused.detail.contains("changed on its way"), "{}", refused.detail);
    assert_eq!(entries(&farm.objects()), before);
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    worker.succeed(&assign, files).await;
    assert!(worker.acknowledged().await.accepted);
    assert_eq!(farm.job(job).await.summary.state, JobState::Succeeded);
    farm.stop().await;
}

#[tokio::test]
async fn the_files_of_an_attempt_do_not_change() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    farm.submit_upload(&farm.upload("a.mp4", "input").await).await;
    let assign = worker.assigned().await;
    let files = vec![output("a.mp4", "output")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    assert_eq!(worker.open_uploads(&assign, files.clone()).await.unwrap(), urls);
    let status = worker.open_uploads(&assign, vec![output("a.mp4", "0utput")]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("do not change"), "{status}");
    let mut undigested = output("b.mp4", "b");
    undigested.sha256.clear();
    let status = worker.open_uploads(&assign, vec![undigested]).await.unwrap_err();
    assert!(status.message().contains("without its SHA-256"), "{status}");
    farm.stop().await;
}

#[tokio::test]
async fn a_report_that_is_not_what_was_brought_is_a_failure() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let urls = worker.open_uploads(&assign, vec![output("a.mp4", "output")]).await.unwrap();
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    worker.succeed(&assign, vec![output("a.mp4", "0utput")]).await;
    worker.acknowledged().await;
    let view = farm.job(job).await;
    let attempt = &view.tasks[0].attempts[0];
    assert_eq!(attempt.state, AttemptState::Failed);
    let failure = attempt.failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::UploadFailed);
    assert!(failure.message.contains("SHA-256"), "{failure}");
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_of_the_first_protocol_needs_no_digests_and_its_files_get_them() {
    let farm = Farm::start().await;
    let mut old = hello();
    old.protocol_max = 1;
    let mut worker = Worker::connect(farm.client().await, old).await.unwrap();
    assert_eq!(worker.welcome.protocol, 1);
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let mut file = output("a.mp4", "output");
    let sha256 = std::mem::take(&mut file.sha256);
    let urls = worker.open_uploads(&assign, vec![file.clone()]).await.unwrap();
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    worker.succeed(&assign, vec![file]).await;
    assert!(worker.acknowledged().await.accepted);
    assert_eq!(farm.job(job).await.outputs[0].sha256, sha256);
    farm.stop().await;
}

#[tokio::test]
async fn a_success_without_a_file_is_none() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    worker.succeed(&assign, Vec::new()).await;
    worker.acknowledged().await;
    let attempt = &farm.job(job).await.tasks[0].attempts[0];
    let failure = attempt.failure.as_ref().unwrap();
    assert_eq!((attempt.state, failure.kind), (AttemptState::Failed, FailureKind::OutputWrong), "{failure}");
    farm.stop().await;
}
