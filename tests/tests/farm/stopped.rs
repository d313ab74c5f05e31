//! Processes that are stopped in the middle (SIGSTOP) or killed (SIGKILL): worker, ffmpeg, coordinator.

use common::{
    api::{AttemptState, WorkerState},
    failure::FailureKind,
    id::JobId,
};
use e2e::{
    Farm, WorkerSpec, clip,
    wait::{self, seconds},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::course::{assert_whole, slow_worker, tried};

const LEASE: (&str, &str) = ("TVARR_LEASE", "3s");

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The ffmpeg of the only job that runs.
async fn the_ffmpeg(farm: &Farm, job: JobId) -> u32 {
    farm.encoding(job).await;
    let ffmpegs = farm.ffmpegs();
    assert_eq!(ffmpegs.len(), 1, "{ffmpegs:?}");
    ffmpegs[0].pid
}

#[tokio::test]
async fn a_worker_that_freezes_is_found_by_its_lease_and_its_late_result_changes_nothing() {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm =
        Farm::builder().env(LEASE.0, LEASE.1).worker(slow_worker("frozen", fakes.path())).start().await;
    // Its ffmpeg ends while the worker sleeps: the result is there when it wakes up.
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    let stale = the_ffmpeg(&farm, job).await;
    farm.worker("frozen").signal(Signal::STOP);
    farm.start_worker(WorkerSpec::new("heir")).await;
    let view = farm.succeeded(job).await;
    assert_eq!(
        tried(&view),
        [
            ("frozen", AttemptState::Superseded, Some(FailureKind::WorkerLost)),
            ("heir", AttemptState::Succeeded, None)
        ]
    );
    farm.worker_becomes("frozen", WorkerState::Lost).await;
    let before = farm.books_in_order().await;

    farm.worker("frozen").signal(Signal::CONT);
    farm.worker_becomes("frozen", WorkerState::Online).await;
    wait::until(seconds(10), "the stale ffmpeg to go", || async {
        farm.ffmpegs().iter().all(|process| process.pid != stale).then_some(())
    })
    .await;
    // It works as before.
    let next = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    farm.succeeded(next).await;
    let after = farm.books_in_order().await;
    let published = |books: &e2e::books::Books| {
        books.tasks.iter().find(|task| task.job == job.to_string()).unwrap().published
    };
    assert_eq!(published(&after), published(&before));
    let again = farm.api.job(job).await;
    assert_eq!(again.outputs, view.outputs);
    assert_whole(&farm, &again, 250).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_that_sleeps_shorter_than_its_lease_goes_on() {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm =
        Farm::builder().env("TVARR_LEASE", "10s").worker(slow_worker("dozing", fakes.path())).start().await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    let ffmpeg = the_ffmpeg(&farm, job).await;
    farm.worker("dozing").signal(Signal::STOP);
    wait::pause(seconds(2)).await;
    farm.worker("dozing").signal(Signal::CONT);
    assert_eq!(the_ffmpeg(&farm, job).await, ffmpeg);
    let view = farm.succeeded(job).await;
    assert_eq!(tried(&view), [("dozing", AttemptState::Succeeded, None)]);
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_killed_ffmpeg_is_named_and_replaced() {
    let fakes = tempfile::tempdir().unwrap();
    let farm = Farm::builder().worker(slow_worker("alone", fakes.path())).start().await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    signal(the_ffmpeg(&farm, job).await, Signal::KILL);
    let view = farm.succeeded(job).await;
    let tried = tried(&view);
    assert_eq!(tried.len(), 2, "{tried:?}");
    assert_eq!((tried[0].1, tried[1].1), (AttemptState::Failed, AttemptState::Succeeded));
    // SIGKILL from nowhere is what the kernel's out-of-memory killer does too.
    assert!(matches!(tried[0].2, Some(FailureKind::Crashed | FailureKind::OutOfMemory)), "{tried:?}");
    assert_whole(&farm, &view, 250).await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_frozen_ffmpeg_is_stalled_killed_and_replaced() {
    let fakes = tempfile::tempdir().unwrap();
    let farm = Farm::builder()
        .env("TVARR_STALL_TIMEOUT", "3s")
        .worker(slow_worker("alone", fakes.path()))
        .start()
        .await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    let frozen = the_ffmpeg(&farm, job).await;
    signal(frozen, Signal::STOP);
    let view = farm.succeeded(job).await;
    assert_eq!(
        tried(&view),
        [
            ("alone", AttemptState::Failed, Some(FailureKind::Stalled)),
            ("alone", AttemptState::Succeeded, None)
        ]
    );
    assert!(farm.processes().iter().all(|process| process.pid != frozen), "the frozen ffmpeg is still there");
    assert_whole(&farm, &view, 250).await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_freezes_for_longer_than_the_leases_loses_nothing() {
    let fakes = tempfile::tempdir().unwrap();
    let farm = Farm::builder().env(LEASE.0, LEASE.1).worker(slow_worker("alone", fakes.path())).start().await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    let ffmpeg = the_ffmpeg(&farm, job).await;
    farm.coordinator().signal(Signal::STOP);
    // Nobody renews its lease: the worker stops by itself.
    wait::until(seconds(20), "the worker to stop its attempt", || async {
        farm.ffmpegs().iter().all(|process| process.pid != ffmpeg).then_some(())
    })
    .await;
    farm.coordinator().signal(Signal::CONT);
    let view = farm.succeeded(job).await;
    let tried = tried(&view);
    assert_eq!(tried.last(), Some(&("alone", AttemptState::Succeeded, None)), "{tried:?}");
    assert_eq!(tried.iter().filter(|(_, state, _)| *state == AttemptState::Succeeded).count(), 1);
    assert_whole(&farm, &view, 250).await;
    farm.books_in_order().await;
    farm.stop().await;
}
