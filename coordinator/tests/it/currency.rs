//! Signed URLs open while their attempt is current, whatever a clock says.

use common::{
    api::JobState,
    proto::{RunningAttempt, coordinator_message::Message},
};
use futures::{StreamExt as _, stream};
use reqwest::StatusCode;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

use crate::farm::{Farm, Worker, entries, eventually, hello, input_url, output, problem};

#[tokio::test]
async fn the_urls_of_a_cancelled_attempt_close_and_what_it_brought_goes() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let files = vec![output("a.mp4", "output"), output("b.mp4", "b")];
    let urls = worker.open_uploads(&assign, files).await.unwrap();
    let input = farm.worker_url(input_url(&assign));
    let before = entries(&farm.objects());
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    assert_eq!(farm.http.get(&input).send().await.unwrap().status(), StatusCode::OK);

    assert!(farm.post(&format!("/v1/jobs/{job}/cancel"), &().into()).await.status().is_success());
    let refused = problem(farm.bring(&urls[1], "b").await).await;
    assert_eq!(refused.status, 410);
    assert!(refused.detail.contains("not current any more"), "{}", refused.detail);
    // A yes from just before may still hold for reading.
    eventually(async || {
        let read = farm.http.get(&input).send().await.unwrap();
        (read.status() == StatusCode::GONE).then_some(())
    })
    .await;
    eventually(async || (entries(&farm.objects()) == before).then_some(())).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_put_that_was_under_way_when_its_attempt_ended_leaves_nothing() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let urls = worker.open_uploads(&assign, vec![output("a.mp4", "output")]).await.unwrap();
    let before = entries(&farm.objects());
    let (send, chunks) = mpsc::channel(1);
    send.send(Ok::<_, std::io::Error>("out")).await.unwrap();
    let request = farm
        .http
        .put(farm.worker_url(&urls[0]))
        .header(reqwest::header::CONTENT_LENGTH, 6)
        .body(reqwest::Body::wrap_stream(ReceiverStream::new(chunks)));
    let put = TaskTracker::new().spawn(request.send());
    eventually(async || (entries(&farm.objects()) > before).then_some(())).await;
    assert!(farm.post(&format!("/v1/jobs/{job}/cancel"), &().into()).await.status().is_success());
    // The sweep may have ended it by now.
    let _ = send.send(Ok("put")).await;
    drop(send);
    assert_eq!(problem(put.await.unwrap().unwrap()).await.status, 410);
    eventually(async || (entries(&farm.objects()) == before).then_some(())).await;
    farm.stop().await;
}

#[tokio::test]
async fn who_puts_again_takes_over_from_a_connection_that_hangs() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    farm.submit_upload(&farm.upload("a.mp4", "input").await).await;
    let assign = worker.assigned().await;
    let files = vec![output("a.mp4", "output")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    let before = entries(&farm.objects());
    let half = stream::iter([Ok::<_, std::io::Error>("out")]).chain(stream::pending());
    let request = farm
        .http
        .put(farm.worker_url(&urls[0]))
        .header(reqwest::header::CONTENT_LENGTH, 6)
        .body(reqwest::Body::wrap_stream(half));
    let hanging = TaskTracker::new().spawn(request.send());
    eventually(async || (entries(&farm.objects()) > before).then_some(())).await;
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    assert_eq!(problem(hanging.await.unwrap().unwrap()).await.status, 409);
    worker.succeed(&assign, files).await;
    assert!(worker.acknowledged().await.accepted);
    farm.stop().await;
}

#[tokio::test]
async fn urls_outlive_a_restart_and_what_was_brought_before_counts() {
    let farm = Farm::start().await;
    let hello = hello();
    let mut worker = Worker::connect(farm.client().await, hello.clone()).await.unwrap();
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let files = vec![output("a.mp4", "output"), output("b.mp4", "b")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    let farm = farm.restart().await;
    // Its worker is not back yet: the attempt waits for it, and is current.
    let read = farm.http.get(farm.worker_url(input_url(&assign))).send().await.unwrap();
    assert_eq!(read.text().await.unwrap(), "input");
    assert_eq!(farm.bring(&urls[1], "b").await.status(), StatusCode::CREATED);

    let running = RunningAttempt { task_id: assign.task_id.clone(), epoch: assign.epoch };
    let again = common::proto::Hello { running: vec![running], ..hello };
    let mut worker = Worker::connect(farm.client().await, again).await.unwrap();
    assert!(worker.welcome.verdicts[0].keep);
    worker.succeed(&assign, files).await;
    assert!(worker.acknowledged().await.accepted);
    let view = farm.job(job).await;
    assert_eq!(view.summary.state, JobState::Succeeded);
    assert_eq!(farm.get(&format!("/v1/jobs/{job}/outputs/a.mp4")).await.text().await.unwrap(), "output");
    farm.stop().await;
}

#[tokio::test]
async fn what_a_crash_left_of_lost_attempts_is_swept_at_start_and_the_published_one_stays() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let files = vec![output("a.mp4", "output")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    worker.succeed(&assign, files).await;
    assert!(worker.acknowledged().await.accepted);
    let before = entries(&farm.objects());
    let folder = farm.stop().await;
    let task = folder.path().join(format!("data/objects/jobs/{job}/{}", assign.task_id));
    let published = task.join(assign.epoch.to_string());
    for lost in ["2", "3/720p"] {
        std::fs::create_dir_all(task.join(lost)).unwrap();
        std::fs::write(task.join(lost).join("a.mp4"), "lost").unwrap();
    }
    std::fs::write(published.join("a.mp4#1"), "half").unwrap();
    std::fs::create_dir_all(folder.path().join("data/objects/uploads/x")).unwrap();

    let config = Farm::config(folder.path().join("data"));
    let coordinator = coordinator::Coordinator::start(config).await.unwrap();
    let objects = folder.path().join("data/objects");
    eventually(async || (entries(&objects) == before).then_some(())).await;
    assert_eq!(std::fs::read(published.join("a.mp4")).unwrap(), b"output");
    coordinator.shutdown().await;
}

#[tokio::test]
async fn nobody_else_can_end_an_attempts_uploads() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let files = vec![output("a.mp4", "output")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    let mut other = farm.worker().await;
    other.succeed(&assign, files.clone()).await;
    let Message::AttemptAcknowledged(refused) = other.told().await.unwrap() else { panic!("an answer") };
    assert!(!refused.accepted);
    worker.succeed(&assign, files).await;
    assert!(worker.acknowledged().await.accepted);
    assert_eq!(farm.job(job).await.summary.state, JobState::Succeeded);
    farm.stop().await;
}
