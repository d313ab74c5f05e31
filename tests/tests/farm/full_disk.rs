//! Disks that fill up: a worker's scratch, the coordinator's data folder. On a tmpfs, where this process may mount one.

use common::api::{InputRef, JobState, WorkerState};
use e2e::{
    Farm, WorkerSpec,
    api::request,
    clip,
    wait::{self, seconds},
};
use reqwest::StatusCode;

use crate::course::assert_whole;

#[tokio::test]
async fn a_coordinator_without_room_refuses_jobs_loses_none_and_resumes_by_itself() {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm = Farm::builder()
        .data_disk(64 << 20)
        .worker(crate::course::slow_worker("alone", fakes.path()))
        .start()
        .await;
    let Some(disk) = farm.disk("data") else { return farm.stop().await };
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let wanted = request(InputRef::Upload(upload.id), "proxy");
    let before = farm.api.submit(&wanted).await.summary.id;
    let running = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(running).await;

    disk.fill();
    // What is in the log's last page may still fit; then nothing does, and stays so.
    let refused = wait::until(seconds(30), "a submit to be refused", || async {
        farm.api.try_submit(&wanted).await.err()
    })
    .await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    let uploaded = farm.api.upload_bytes("more.mp4", vec![0; 1 << 20]).await;
    assert!(uploaded.unwrap_err().status.is_server_error());
    for _ in 0..3 {
        let refused = farm.api.try_submit(&wanted).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    }
    let accepted = farm.api.jobs("limit=500").await.items.len();

    disk.free();
    let after = wait::until(seconds(30), "a submit to be taken again", || async {
        farm.api.try_submit(&wanted).await.ok()
    })
    .await;
    assert_eq!(farm.api.jobs("limit=500").await.items.len(), accepted + 1, "a refused job is there");
    for (job, frames) in [(before, 52), (running, 250), (after.summary.id, 52)] {
        let view = farm.succeeded(job).await;
        assert_whole(&farm, &view, frames).await;
    }
    for job in farm.api.jobs("limit=500").await.items {
        farm.succeeded(job.id).await;
    }
    farm.expect_error("the job store cannot be written");
    farm.expect_error("no space left for objects");
    farm.expect_error("uploads and results wait until there is room");
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_without_room_takes_nothing_and_takes_again_once_there_is_room() {
    let mut farm = Farm::builder().start().await;
    farm.start_worker(WorkerSpec::new("small").scratch_disk(256 << 20)).await;
    let Some(disk) = farm.disk("small") else { return farm.stop().await };
    disk.fill();
    let full = wait::until(seconds(30), "the worker to say that it has no room", || async {
        let worker = farm.api.worker("small").await;
        worker.reason.filter(|reason| reason.contains("room") || reason.contains("space"))
    })
    .await;
    let job = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    let waits = wait::until(seconds(30), "the job to say what it waits for", || async {
        farm.api.job(job).await.summary.waiting_for
    })
    .await;
    assert_eq!(farm.api.job(job).await.summary.state, JobState::Queued, "{full}; {waits}");
    disk.free();
    let view = farm.succeeded(job).await;
    assert_eq!(e2e::api::attempts(&view).count(), 1, "{view:#?}");
    farm.registered("small").await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_scratch_disk_that_fills_up_under_an_encode_costs_one_attempt() {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm = Farm::builder().start().await;
    farm.start_worker(crate::course::slow_worker("small", fakes.path()).scratch_disk(256 << 20)).await;
    let Some(disk) = farm.disk("small") else { return farm.stop().await };
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(job).await;
    disk.fill();
    farm.start_worker(WorkerSpec::new("large")).await;
    let view = farm.succeeded(job).await;
    let tried = crate::course::tried(&view);
    let (last, before) = tried.split_last().unwrap();
    assert_eq!(last.0, "large", "{tried:?}");
    assert!(
        before
            .iter()
            .all(|(worker, _, kind)| *worker == "small"
                && *kind == Some(common::failure::FailureKind::DiskFull)),
        "{tried:?}"
    );
    assert!(!before.is_empty(), "{tried:?}");
    assert_whole(&farm, &view, 250).await;
    farm.disk("small").unwrap().free();
    farm.worker_becomes("small", WorkerState::Online).await;
    farm.books_in_order().await;
    farm.stop().await;
}
