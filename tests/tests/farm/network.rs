//! The line between worker and coordinator: cut, half-open, slow, deaf in one direction.

use std::time::Duration;

use common::{
    api::{AttemptState, WorkerState},
    failure::FailureKind,
};
use e2e::{
    Farm, WorkerSpec, clip,
    proxy::{Flow, Weather},
    wait::{self, seconds},
};

use crate::course::{assert_whole, slow_worker, tried};

#[tokio::test]
async fn a_cut_shorter_than_the_grace_costs_nothing() {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm = Farm::builder().worker(slow_worker("far", fakes.path()).behind_proxy()).start().await;
    // What is encoded is in memory by the time of the cut, or comes after it.
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(job).await;
    let ffmpegs = farm.ffmpegs();
    farm.line("far").cut();
    farm.worker_becomes("far", WorkerState::Lost).await;
    farm.line("far").heal();
    farm.registered("far").await;
    assert_eq!(farm.ffmpegs(), ffmpegs, "it is not the same ffmpeg");
    let view = farm.succeeded(job).await;
    assert_eq!(tried(&view), [("far", AttemptState::Succeeded, None)]);
    assert_whole(&farm, &view, 250).await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn after_a_cut_longer_than_the_grace_another_worker_has_the_job_for_good() {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm = Farm::builder()
        .env("TVARR_DISCONNECT_GRACE", "1s")
        .env("TVARR_LEASE", "4s")
        .worker(slow_worker("far", fakes.path()).behind_proxy())
        .start()
        .await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(job).await;
    let [stale] = farm.ffmpegs().try_into().unwrap();
    farm.start_worker(WorkerSpec::new("near")).await;
    farm.line("far").cut();
    wait::until(seconds(30), "the job to move", || async {
        farm.api.job(job).await.summary.worker.filter(|worker| worker.name == "near")
    })
    .await;
    // The far worker finds out by itself, while it still hears nothing.
    wait::until(seconds(20), "the stale ffmpeg to go", || async {
        (!farm.ffmpegs().contains(&stale)).then_some(())
    })
    .await;
    farm.line("far").heal();
    farm.registered("far").await;
    let view = farm.succeeded(job).await;
    assert_eq!(
        tried(&view),
        [
            ("far", AttemptState::Superseded, Some(FailureKind::WorkerLost)),
            ("near", AttemptState::Succeeded, None)
        ]
    );
    assert_whole(&farm, &view, 250).await;
    farm.books_in_order().await;
    farm.stop().await;
}

/// The line loses what is sent in these directions, without a word; the lease finds it.
async fn found_by_lease(lost: Weather) {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm = Farm::builder()
        .env("TVARR_LEASE", "3s")
        .env("TVARR_DISCONNECT_GRACE", "1s")
        .worker(slow_worker("far", fakes.path()).behind_proxy())
        .start()
        .await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(job).await;
    let [stale] = farm.ffmpegs().try_into().unwrap();
    farm.start_worker(WorkerSpec::new("near")).await;
    farm.line("far").set(lost);
    wait::until(seconds(30), "the job to move", || async {
        farm.api.job(job).await.summary.worker.filter(|worker| worker.name == "near")
    })
    .await;
    assert!(!farm.ffmpegs().contains(&stale), "the job was given away while the first ffmpeg still ran");
    let view = farm.succeeded(job).await;
    farm.line("far").heal();
    farm.registered("far").await;
    assert_eq!(
        tried(&view),
        [
            ("far", AttemptState::Superseded, Some(FailureKind::WorkerLost)),
            ("near", AttemptState::Succeeded, None)
        ]
    );
    assert_whole(&farm, &view, 250).await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_half_open_line_is_found_by_the_lease() {
    found_by_lease(Weather::both(Flow::Swallowed)).await;
}

#[tokio::test]
async fn a_worker_that_is_heard_and_hears_nothing_stops_before_its_lease_is_given_away() {
    found_by_lease(Weather { down: Flow::Swallowed, ..Weather::FAIR }).await;
}

#[tokio::test]
async fn a_slow_line_is_slow_and_nothing_else() {
    let fakes = tempfile::tempdir().unwrap();
    let farm = Farm::builder()
        .env("TVARR_LEASE", "4s")
        .worker(slow_worker("far", fakes.path()).behind_proxy())
        .start()
        .await;
    let slow = Flow::Slow { bytes_per_second: 64 * 1024, latency: Duration::from_millis(30) };
    farm.line("far").set(Weather::both(slow));
    let job = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    let view = farm.succeeded(job).await;
    assert_eq!(tried(&view), [("far", AttemptState::Succeeded, None)]);
    assert_whole(&farm, &view, 52).await;
    farm.books_in_order().await;
    farm.stop().await;
}
