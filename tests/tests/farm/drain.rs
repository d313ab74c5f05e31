//! Leaving: by signal, by API, when idle.

use common::api::{AttemptState, JobState, WorkerState};
use e2e::{
    Farm, WorkerSpec,
    api::attempts,
    clip,
    daemon::exit_code,
    wait::{self, seconds},
};
use rustix::process::Signal;

/// What a worker that leaves with work unfinished exits with.
const UNFINISHED: i32 = 4;

#[tokio::test]
async fn a_drained_worker_finishes_what_it_has_and_leaves() {
    let mut farm = Farm::small().await;
    let running = farm.submit(&clip("bigbuckbunny.mp4"), "h264").await;
    farm.encoding(running).await;
    farm.worker("alone").signal(Signal::TERM);
    farm.worker_becomes("alone", WorkerState::Draining).await;
    let waiting = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;

    let mut worker = farm.take_worker("alone");
    assert_eq!(exit_code(worker.exited(seconds(120)).await), 0, "{}", worker.log());
    let view = farm.succeeded(running).await;
    assert_eq!(attempts(&view).count(), 1);
    assert_eq!(farm.api.job(waiting).await.summary.state, JobState::Queued);

    farm.start_worker(WorkerSpec::new("next")).await;
    let view = farm.succeeded(waiting).await;
    assert_eq!(view.summary.worker.unwrap().name, "next");
    farm.stop().await;
}

#[tokio::test]
async fn what_does_not_end_within_the_drain_timeout_is_handed_back_at_no_cost() {
    let mut farm =
        Farm::builder().worker(WorkerSpec::new("hasty").env("TVARR_DRAIN_TIMEOUT", "1s")).start().await;
    let job = farm.submit(&clip("bikes-2min.mp4"), "proxy").await;
    farm.encoding(job).await;
    let mut worker = farm.take_worker("hasty");
    worker.signal(Signal::TERM);
    assert_eq!(exit_code(worker.exited(seconds(30)).await), UNFINISHED, "{}", worker.log());
    farm.no_ffmpeg().await;

    farm.start_worker(WorkerSpec::new("patient")).await;
    let view = farm.succeeded(job).await;
    let tried: Vec<_> =
        attempts(&view).map(|attempt| (attempt.worker.name.as_str(), attempt.state)).collect();
    assert_eq!(tried.len(), 2, "{tried:?}");
    assert_eq!(tried[1], ("patient", AttemptState::Succeeded));
    farm.stop().await;
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let mut farm = Farm::small().await;
    let job = farm.submit(&clip("bikes-5min.mp4"), "h264").await;
    farm.encoding(job).await;
    let mut worker = farm.take_worker("alone");
    worker.signal(Signal::TERM);
    farm.worker_becomes("alone", WorkerState::Draining).await;
    assert!(worker.exit_status().is_none(), "{}", worker.log());
    worker.signal(Signal::TERM);
    assert_eq!(exit_code(worker.exited(seconds(10)).await), UNFINISHED, "{}", worker.log());
    farm.no_ffmpeg().await;
    farm.api.cancel(job).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn an_operator_drains_and_resumes_a_worker() {
    let farm = Farm::small().await;
    let worker = farm.api.worker("alone").await;
    assert_eq!(farm.api.drain(worker.id).await.state, WorkerState::Draining);
    let job = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    let words = wait::until(seconds(10), "the job to say what it waits for", || async {
        farm.api.job(job).await.summary.waiting_for
    })
    .await;
    assert!(words.contains("drain"), "{words:?}");
    assert_eq!(farm.api.job(job).await.summary.state, JobState::Queued);

    assert_eq!(farm.api.resume(worker.id).await.state, WorkerState::Online);
    farm.succeeded(job).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_rented_worker_processes_the_queue_and_leaves() {
    let mut farm = Farm::builder().start().await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(farm.submit(&clip("bikes-2s.mp4"), "proxy").await);
    }
    farm.start_worker(WorkerSpec::new("rented").env("TVARR_EXIT_WHEN_IDLE", "true").not_awaited()).await;
    let mut worker = farm.take_worker("rented");
    assert_eq!(exit_code(worker.exited(seconds(120)).await), 0, "{}", worker.log());
    for job in jobs {
        assert_eq!(farm.api.job(job).await.summary.state, JobState::Succeeded);
    }
    farm.stop().await;
}
