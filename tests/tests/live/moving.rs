//! Variants that leave a worker in good order.

use std::time::Instant;

use common::{
    api::{InputRef, JobState, WorkerState},
    stream::StreamOptions,
};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    clip,
    daemon::exit_code,
    live::{Broadcast, Recording},
    wait::seconds,
};
use rustix::process::Signal;

use crate::channel::{CHANNEL, Channel, PROFILE, saw_all};

/// A drain costs no stall at all: no more than frames are apart on a busy machine.
const NOTHING: std::time::Duration = std::time::Duration::from_millis(900);

#[tokio::test]
async fn a_drained_worker_hands_its_variant_over_without_a_stall() {
    let channel = Channel::on(&["first", "second"]).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    let player = channel.farm.play(CHANNEL, PROFILE);
    viewer.watches(4.0).await;
    let before = channel.farm.encoder(CHANNEL, PROFILE).await;
    let since = Instant::now();
    channel.farm.api.drain(channel.farm.api.worker(&before).await.id).await;
    channel.farm.moved(CHANNEL, PROFILE, &before).await;
    viewer.watches(4.0).await;
    player.fetches(2).await;
    let failovers = channel.farm.variant(CHANNEL, PROFILE).await.unwrap().failovers;
    assert!(failovers.iter().all(|failover| failover.reason.contains("drain")), "{failovers:?}");
    let received = viewer.stop();
    let stall = received.longest_stall_since(since);
    assert!(stall < NOTHING, "nothing came for {stall:?}");
    let played = player.stop();
    channel.saw_all(&received, "viewer");
    channel.played_all(&played, "player");
    assert_eq!(played.discontinuities(), 0);
    // And back.
    channel.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_leaves_once_its_variant_is_elsewhere() {
    let mut channel = Channel::on(&["first", "second"]).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(3.0).await;
    let before = channel.farm.encoder(CHANNEL, PROFILE).await;
    let since = Instant::now();
    let mut worker = channel.farm.take_worker(&before);
    worker.signal(Signal::TERM);
    assert_eq!(exit_code(worker.exited(seconds(30)).await), 0, "{}", worker.log());
    viewer.watches(3.0).await;
    let received = viewer.stop();
    let stall = received.longest_stall_since(since);
    assert!(stall < NOTHING, "nothing came for {stall:?}");
    channel.saw_all(&received, "viewer");
    channel.stop().await;
}

#[tokio::test]
async fn a_variant_takes_the_place_of_a_batch_job_which_is_done_later() {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let farm = Farm::builder().worker(WorkerSpec::new("only").jobs(1)).start().await;
    let job = farm.submit(&clip("bikes-2min.mp4"), "proxy").await;
    farm.encoding(job).await;
    let options = StreamOptions { linger_ms: 500, ..StreamOptions::default() };
    farm.pull_with(CHANNEL, &broadcast.url(), options).await;
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;
    assert_eq!(farm.api.job(job).await.summary.state, JobState::Queued);
    // Another batch job does not take it back, and another variant finds no place.
    let next = farm
        .api
        .submit(&request(InputRef::Upload(farm.api.upload(&clip("bikes-2s.mp4")).await.id), "proxy"))
        .await;
    let other = farm.watch(CHANNEL, "audio-aac");
    assert_eq!(other.status().await, 503);
    viewer.watches(2.0).await;
    assert_eq!(farm.api.job(next.summary.id).await.summary.state, JobState::Queued);
    let received = viewer.stop();
    saw_all(&farm.folder("viewer"), &received, &recording);

    // Once nobody watches, the job has its turn again; it is not the worse for it.
    let view = farm.succeeded(job).await;
    assert_eq!(attempts(&view).count(), 2, "{view:#?}");
    farm.succeeded(next.summary.id).await;
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn a_reserved_slot_is_free_for_a_variant() {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let farm = Farm::builder()
        .env("TVARR_LIVE_RESERVED_SLOTS", "1")
        .worker(WorkerSpec::new("only").jobs(2))
        .start()
        .await;
    let job = farm.submit(&clip("bikes-2min.mp4"), "proxy").await;
    let waits = farm.submit(&clip("bikes-2min.mp4"), "proxy").await;
    farm.encoding(job).await;
    assert_eq!(farm.api.job(waits).await.summary.state, JobState::Queued);
    farm.pull(CHANNEL, &broadcast.url()).await;
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;
    assert_eq!(farm.api.job(job).await.summary.state, JobState::Running, "it was preempted");
    drop(viewer);
    for job in [job, waits] {
        farm.api.cancel(job).await.unwrap();
    }
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn a_resumed_worker_may_take_the_variant_back() {
    let channel = Channel::on(&["first", "second"]).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;
    let mut on = channel.farm.encoder(CHANNEL, PROFILE).await;
    for _ in 0..2 {
        let worker = channel.farm.api.worker(&on).await.id;
        channel.farm.api.drain(worker).await;
        let next = channel.farm.moved(CHANNEL, PROFILE, &on).await;
        assert_eq!(channel.farm.api.worker(&on).await.state, WorkerState::Draining);
        channel.farm.api.resume(worker).await;
        on = next;
        viewer.watches(2.5).await;
    }
    let received = viewer.stop();
    channel.saw_all(&received, "viewer");
    channel.stop().await;
}
