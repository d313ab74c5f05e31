//! Workers that die, hang and vanish while somebody watches.

use std::time::{Duration, Instant};

use common::stream::{StreamOptions, VariantState};
use e2e::{
    WorkerSpec,
    live::Recording,
    proxy::{Flow, Weather},
    wait::{self, seconds},
};
use rustix::process::Signal;

use crate::channel::{CHANNEL, Channel, PROFILE, farm};

/// What a viewer may wait when a worker is gone: far more than is measured (see `bench/`), for debug builds on a busy machine.
const GONE: Duration = seconds(4);
/// The same when it has to be found out by silence.
const SILENT: Duration = seconds(7);

/// Lets two viewers watch, does something to the worker, and asserts that neither noticed.
async fn survives(
    mut channel: Channel,
    longest: Duration,
    reason: &str,
    fault: impl FnOnce(&mut Channel, &str),
) -> Channel {
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    let player = channel.farm.play(CHANNEL, PROFILE);
    viewer.watches(4.0).await;
    let before = channel.farm.encoder(CHANNEL, PROFILE).await;
    let since = Instant::now();
    fault(&mut channel, &before);
    let after = channel.farm.moved(CHANNEL, PROFILE, &before).await;
    viewer.watches(4.0).await;
    player.fetches(2).await;

    let variant = channel.farm.variant(CHANNEL, PROFILE).await.unwrap();
    let [failover] = &variant.failovers[..] else { panic!("{:#?}", variant.failovers) };
    assert_eq!(failover.from.name, before);
    assert_eq!(failover.to.as_ref().map(|worker| &worker.name), Some(&after));
    assert!(failover.reason.contains(reason), "{failover:?}");
    assert!(failover.stall_ms.is_some_and(|stall| u128::from(stall) < longest.as_millis()), "{failover:?}");
    assert!(!viewer.has_ended());
    let received = viewer.stop();
    let stall = received.longest_stall_since(since);
    assert!(stall < longest, "nothing came for {stall:?}");
    let played = player.stop();
    channel.saw_all(&received, "viewer");
    channel.played_all(&played, "player");
    assert_eq!(played.discontinuities(), 0, "the same encoder goes on");
    assert_eq!(channel.broadcast.connections(), 1, "the source was pulled again");
    channel
}

#[tokio::test]
async fn nobody_sees_that_the_worker_was_killed() {
    let channel = Channel::on(&["first", "second"]).await;
    survives(channel, GONE, "worker", |channel, worker| channel.farm.kill_worker(worker)).await.stop().await;
}

#[tokio::test]
async fn nobody_sees_a_killed_worker_at_29_97_frames_and_without_b_frames() {
    let recording = Recording { b_frames: 0, ..Recording::default().ntsc() };
    let channel = Channel::with(farm(&["first", "second"]), recording, StreamOptions::default()).await;
    survives(channel, GONE, "worker", |channel, worker| channel.farm.kill_worker(worker)).await.stop().await;
}

#[tokio::test]
async fn nobody_sees_that_ffmpeg_was_killed() {
    let channel = Channel::on(&["first", "second"]).await;
    let killed = |channel: &mut Channel, worker: &str| channel.farm.signal_ffmpeg(worker, Signal::KILL);
    survives(channel, GONE, "", killed).await.stop().await;
}

#[tokio::test]
async fn an_ffmpeg_that_hangs_is_replaced() {
    let channel = Channel::on(&["first", "second"]).await;
    let stopped = |channel: &mut Channel, worker: &str| channel.farm.signal_ffmpeg(worker, Signal::STOP);
    survives(channel, SILENT, "no output", stopped).await.stop().await;
}

#[tokio::test]
async fn a_worker_that_hangs_is_replaced() {
    let channel = Channel::on(&["first", "second"]).await;
    let mut stopped = String::new();
    let mut channel = survives(channel, SILENT, "", |channel, worker| {
        // Its ffmpeg goes on with what it has: nobody carries its bytes.
        channel.farm.worker(worker).signal(Signal::STOP);
        stopped = worker.to_owned();
    })
    .await;
    channel.farm.kill_worker(&stopped);
    channel.stop().await;
}

#[tokio::test]
async fn a_worker_whose_network_is_gone_is_replaced() {
    let workers = farm(&[])
        .worker(WorkerSpec::new("first").behind_proxy())
        .worker(WorkerSpec::new("second").behind_proxy());
    let channel = Channel::with(workers, Recording::default(), StreamOptions::default()).await;
    let mut lost = String::new();
    let channel = survives(channel, SILENT, "", |channel, worker| {
        channel.farm.line(worker).set(Weather::both(Flow::Swallowed));
        lost = worker.to_owned();
    })
    .await;
    channel.farm.line(&lost).heal();
    channel.stop().await;
}

#[tokio::test]
async fn a_worker_whose_connections_are_reset_is_replaced() {
    let workers = farm(&[])
        .worker(WorkerSpec::new("first").behind_proxy())
        .worker(WorkerSpec::new("second").behind_proxy());
    let channel = Channel::with(workers, Recording::default(), StreamOptions::default()).await;
    let mut lost = String::new();
    let channel = survives(channel, GONE, "", |channel, worker| {
        channel.farm.line(worker).cut();
        lost = worker.to_owned();
    })
    .await;
    channel.farm.line(&lost).heal();
    channel.stop().await;
}

#[tokio::test]
async fn two_replacements_in_a_row_are_not_seen_either() {
    let mut channel = Channel::on(&["first", "second", "third"]).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    let player = channel.farm.play(CHANNEL, PROFILE);
    viewer.watches(3.0).await;
    let first = channel.farm.encoder(CHANNEL, PROFILE).await;
    channel.farm.kill_worker(&first);
    let second = channel.farm.moved(CHANNEL, PROFILE, &first).await;
    // As soon as it is there: what it has to do is not done yet.
    channel.farm.kill_worker(&second);
    channel
        .farm
        .variant_becomes(CHANNEL, PROFILE, "to be on the third", |variant| {
            variant
                .attempts
                .iter()
                .any(|attempt| attempt.worker.name != first && attempt.worker.name != second)
        })
        .await;
    viewer.watches(4.0).await;
    player.fetches(2).await;
    let (received, played) = (viewer.stop(), player.stop());
    channel.saw_all(&received, "viewer");
    channel.played_all(&played, "player");
    assert_eq!(played.discontinuities(), 0);
    assert_eq!(channel.farm.variant(CHANNEL, PROFILE).await.unwrap().failovers.len(), 2);
    channel.stop().await;
}

#[tokio::test]
async fn a_standby_takes_over_with_nothing_missing() {
    let options = StreamOptions { redundancy: 2, ..StreamOptions::default() };
    let mut channel = Channel::with(farm(&["first", "second"]), Recording::default(), options).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;
    let both = channel
        .farm
        .variant_becomes(CHANNEL, PROFILE, "to run twice", |variant| variant.attempts.len() == 2)
        .await;
    let mut workers: Vec<_> = both.attempts.iter().map(|attempt| attempt.worker.name.clone()).collect();
    workers.sort();
    assert_eq!(workers, ["first", "second"]);
    viewer.watches(4.0).await;
    let active = channel.farm.encoder(CHANNEL, PROFILE).await;
    let since = Instant::now();
    channel.farm.kill_worker(&active);
    channel.farm.moved(CHANNEL, PROFILE, &active).await;
    viewer.watches(4.0).await;
    let received = viewer.stop();
    // One GOP at a time comes anyway.
    let stall = received.longest_stall_since(since);
    assert!(stall < seconds(4), "nothing came for {stall:?}");
    channel.saw_all(&received, "viewer");
    channel.stop().await;
}

#[tokio::test]
async fn viewers_wait_for_a_worker_for_a_while_and_go_on_when_it_comes() {
    let options = StreamOptions { hold_ms: 20_000, ..StreamOptions::default() };
    let mut channel = Channel::with(farm(&["first"]), Recording::default(), options).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;
    channel.farm.kill_worker("first");
    let held = channel
        .farm
        .variant_becomes(CHANNEL, PROFILE, "to be held", |variant| variant.state == VariantState::Held)
        .await;
    assert!(held.problem.is_some_and(|problem| !problem.is_empty()), "nobody says why");
    assert!(!viewer.has_ended());
    channel.farm.start_worker(WorkerSpec::new("second")).await;
    viewer.watches(4.0).await;
    let received = viewer.stop();
    channel.saw_all(&received, "viewer");
    channel.stop().await;
}

#[tokio::test]
async fn viewers_are_sent_home_properly_when_no_worker_comes() {
    let options = StreamOptions { hold_ms: 2_000, ..StreamOptions::default() };
    let mut channel = Channel::with(farm(&["first"]), Recording::default(), options).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    let player = channel.farm.play(CHANNEL, PROFILE);
    viewer.watches(3.0).await;
    let since = Instant::now();
    channel.farm.kill_worker("first");
    // A proper end of the chunked body, and of the playlist.
    assert_eq!(viewer.ended(seconds(20)).await, Ok(()));
    assert!(since.elapsed() >= seconds(2), "after {:?}", since.elapsed());
    player.ends().await;
    player.stop().assert_proper();
    let received = viewer.stop();
    channel.saw_all(&received, "viewer");
    // Who comes now is told to come later.
    let refused = channel.farm.watch(CHANNEL, PROFILE);
    assert_eq!(refused.status().await, 503);
    channel.stop().await;
}

#[tokio::test]
async fn a_restarted_coordinator_goes_on_numbering_where_it_was() {
    let mut channel = Channel::on(&["first"]).await;
    let mut last = (0, 0);
    for gently in [true, false, true] {
        let player = channel.farm.play(CHANNEL, PROFILE);
        player.fetches(3).await;
        let played = player.stop();
        played.assert_proper();
        let list = &played.playlists.last().unwrap().1;
        assert!(list.sequence >= last.0, "{} after {}", list.sequence, last.0);
        assert!(list.discontinuity_sequence >= last.1, "{} after {}", list.discontinuity_sequence, last.1);
        last = (list.next_sequence(), list.discontinuity_sequence);
        let viewer = channel.farm.watch(CHANNEL, PROFILE);
        viewer.watches(0.5).await;
        channel.farm.stop_coordinator(gently).await;
        if gently {
            assert_eq!(viewer.ended(seconds(10)).await, Ok(()));
        }
        channel.farm.start_coordinator().await;
        channel.farm.registered("first").await;
        wait::until(seconds(10), "the old encode to end", || async {
            let encoders = channel.farm.ffmpegs();
            encoders.is_empty().then_some(())
        })
        .await;
    }
    channel.stop().await;
}
