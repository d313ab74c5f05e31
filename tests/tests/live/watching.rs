//! Viewers: how they come, how many there are, how they leave.

use common::stream::{SourceState, StreamOptions, VariantState};
use e2e::{
    Farm, WorkerSpec,
    live::{Broadcast, HlsPlayer, Recording, Viewer, ts, viewer::Sleeper},
    wait::{self, seconds},
};

use crate::channel::{CHANNEL, Channel, PROFILE, farm};

#[tokio::test]
async fn the_first_viewer_starts_the_encode_and_the_next_ones_join_it_at_once() {
    let channel = Channel::on(&["alone"]).await;
    let idle = channel.farm.api.stream(CHANNEL).await.unwrap();
    assert_eq!((idle.source_state.state, idle.variants.len()), (SourceState::Idle, 0));
    assert_eq!(channel.broadcast.connections(), 0, "pulled while nobody watches");

    let first = channel.farm.watch(CHANNEL, PROFILE);
    assert_eq!(first.headers().await["content-type"], "video/mp2t");
    first.watches(3.0).await;
    let second = channel.farm.watch(CHANNEL, PROFILE);
    let joined = second.first_byte().await;
    assert!(joined < seconds(1), "{joined:?} for what is there already");
    second.watches(3.0).await;
    let view = channel.farm.api.stream(CHANNEL).await.unwrap();
    assert_eq!(view.source_state.state, SourceState::Live);
    assert!(
        view.source_state.tracks.iter().any(|track| track.contains("640x360")),
        "{:?}",
        view.source_state.tracks
    );
    let [variant] = &view.variants[..] else { panic!("{:#?}", view.variants) };
    assert_eq!((variant.viewers, variant.attempts.len(), variant.state), (2, 1, VariantState::Live));
    let (first, second) = (first.stop(), second.stop());
    let decoded = channel.saw_all(&first, "first");
    let later = channel.saw_all(&second, "second");
    assert!(later.pictures[0].pts > decoded.pictures[0].pts);
    assert_eq!(channel.broadcast.connections(), 1);
    channel.stop().await;
}

#[tokio::test]
async fn a_hundred_viewers_who_come_together_start_one_encode() {
    let channel = Channel::on(&["first", "second"]).await;
    let viewers: Vec<_> = (0..100).map(|_| channel.farm.watch(CHANNEL, PROFILE)).collect();
    for viewer in &viewers {
        viewer.has_watched(2.0).await;
    }
    let variant = channel.farm.variant(CHANNEL, PROFILE).await.unwrap();
    assert_eq!((variant.viewers, variant.attempts.len()), (100, 1));
    assert_eq!(channel.farm.ffmpegs().len(), 1, "{:?}", channel.farm.ffmpegs());
    assert_eq!(channel.broadcast.connections(), 1);
    let received: Vec<_> = viewers.into_iter().map(Viewer::stop).collect();
    channel.saw_all(&received[0], "one");
    // All of them read the same buffer: the packets of all are one run of it.
    let longest = received
        .iter()
        .map(|received| ts::complete(&received.bytes))
        .max_by_key(|bytes| bytes.len())
        .unwrap();
    for received in &received {
        let bytes = ts::complete(&received.bytes);
        let head = &bytes[..bytes.len().min(64 * 188)];
        assert!(
            longest.windows(head.len()).step_by(188).any(|window| window == head),
            "a viewer has bytes of its own"
        );
    }
    channel.stop().await;
}

#[tokio::test]
async fn two_profiles_are_two_encodes_of_one_pull() {
    let channel = Channel::on(&["alone"]).await;
    let picture = channel.farm.watch(CHANNEL, PROFILE);
    let sound = channel.farm.watch(CHANNEL, "audio-aac");
    picture.watches(2.0).await;
    sound.watches(2.0).await;
    assert_eq!(channel.broadcast.connections(), 1);
    assert_eq!(channel.farm.api.stream(CHANNEL).await.unwrap().variants.len(), 2);
    let (picture, sound) = (picture.stop(), sound.stop());
    channel.saw_all(&picture, "picture");
    crate::channel::saw_all(&channel.farm.folder("sound"), &sound, &channel.recording.clone().audio_only());
    channel.stop().await;
}

#[tokio::test]
async fn an_encode_without_viewers_ends_after_the_linger_and_the_next_viewer_starts_another() {
    let options = StreamOptions { linger_ms: 2_000, ..StreamOptions::default() };
    let channel = Channel::with(farm(&["alone"]), Recording::default(), options).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(1.0).await;
    drop(viewer);
    let lingers = |variant: &common::stream::VariantView| variant.state == VariantState::Lingering;
    channel.farm.variant_becomes(CHANNEL, PROFILE, "to linger", lingers).await;
    // Somebody comes back in time: nothing has to be started.
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(4.0).await;
    let variant = channel.farm.variant(CHANNEL, PROFILE).await.unwrap();
    let attempt = variant.attempts[0].attempt;
    assert!(variant.failovers.is_empty(), "{:?}", variant.failovers);
    drop(viewer);
    channel.farm.variant_ends(CHANNEL, PROFILE, seconds(10)).await;
    channel.farm.no_ffmpeg().await;
    wait::until(seconds(10), "the source to be let go", || async {
        (channel.broadcast.listeners() == 0).then_some(())
    })
    .await;

    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;
    assert_ne!(channel.farm.variant(CHANNEL, PROFILE).await.unwrap().attempts[0].attempt, attempt);
    let received = viewer.stop();
    channel.saw_all(&received, "viewer");
    channel.stop().await;
}

/// A player is there between its requests too: it counts, and what it watches does not linger, even where nothing ever may.
#[tokio::test]
async fn a_player_that_asks_again_and_again_is_one_viewer_until_it_asks_no_more() {
    let options = StreamOptions { linger_ms: 0, ..StreamOptions::default() };
    let channel = Channel::with(farm(&["alone"]), Recording::default(), options).await;
    let first = channel.farm.play(CHANNEL, PROFILE);
    first.fetches(1).await;
    let attempt = channel.farm.variant(CHANNEL, PROFILE).await.unwrap().attempts[0].attempt;
    let named = format!("{CHANNEL}/{PROFILE}/index.m3u8?viewer=second");
    let second = HlsPlayer::play(&channel.farm.live(&named));
    second.fetches(1).await;
    let reader = channel.farm.watch(CHANNEL, PROFILE);
    reader.watches(1.0).await;
    let is_there = first.fetches(4);
    let looked_at = async {
        // However the players' requests fall.
        for _ in 0..50 {
            let variant = channel.farm.variant(CHANNEL, PROFILE).await.unwrap();
            assert_eq!((variant.viewers, variant.state), (3, VariantState::Live));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::join!(is_there, looked_at);
    let variant = channel.farm.variant(CHANNEL, PROFILE).await.unwrap();
    assert_eq!(variant.attempts[0].attempt, attempt, "it was encoded all the time");
    drop(reader);
    first.stop().assert_proper();
    let played = second.stop();
    played.assert_proper();
    assert!(played.segments.iter().all(|fetched| fetched.segment.uri.ends_with("?viewer=second")));
    channel.farm.variant_ends(CHANNEL, PROFILE, seconds(20)).await;
    channel.farm.no_ffmpeg().await;
    channel.stop().await;
}

#[tokio::test]
async fn viewers_who_do_not_read_are_dropped_and_disturb_nobody() {
    // A short buffer is soon overrun.
    let builder = farm(&["alone"]).env("TVARR_LIVE_BUFFER", "10s").env("TVARR_LIVE_BUFFER_BYTES", "4MiB");
    let channel = Channel::with(builder, Recording::default(), StreamOptions::default()).await;
    let readers: Vec<_> = (0..45).map(|_| channel.farm.watch(CHANNEL, PROFILE)).collect();
    readers[0].watches(1.0).await;
    let url = channel.farm.live(&format!("{CHANNEL}/{PROFILE}/stream.ts"));
    let sleepers: Vec<_> = (0..5).map(|_| Sleeper::watch(&url)).collect();
    channel
        .farm
        .variant_becomes(CHANNEL, PROFILE, "to have fifty viewers", |variant| variant.viewers == 50)
        .await;
    let dropped = wait::until(seconds(45), "the sleepers to be dropped", || async {
        let variant = channel.farm.variant(CHANNEL, PROFILE).await?;
        (variant.dropped_viewers >= 5).then_some(variant)
    })
    .await;
    assert_eq!((dropped.dropped_viewers, dropped.viewers), (5, 45));
    for sleeper in sleepers {
        assert!(sleeper.wakes(seconds(20)) < 8 << 20);
    }
    let begun = readers[0].seconds();
    for reader in &readers {
        reader.has_watched(begun + 1.0).await;
    }
    let received: Vec<_> = readers.into_iter().map(Viewer::stop).collect();
    channel.saw_all(&received[0], "first");
    channel.saw_all(&received[44], "last");
    for received in &received {
        assert_eq!(ts::faults(ts::complete(&received.bytes)), Vec::<String>::new());
        assert!(received.longest_stall() < seconds(3), "{:?}", received.longest_stall());
    }
    channel.stop().await;
}

#[tokio::test]
async fn without_a_worker_a_viewer_hears_why_and_when_to_come_again() {
    let broadcast = Broadcast::of(&Recording::default());
    let farm = Farm::builder().start().await;
    farm.pull(CHANNEL, &broadcast.url()).await;
    for path in ["stream.ts", "index.m3u8", "manifest.mpd"] {
        let response = farm.api.get(&format!("/live/{CHANNEL}/{PROFILE}/{path}")).await.unwrap();
        assert_eq!(response.status(), 503, "{path}");
        let again: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&again), "{again} s");
        let text = response.text().await.unwrap();
        assert!(text.contains("worker"), "{path}: {text}");
    }
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_with_words() {
    let channel = Channel::on(&["alone"]).await;
    for path in [
        "nothing/h264-480p/stream.ts",
        "channel/nothing/stream.ts",
        "channel/h264-480p/nothing",
        "nothing/master.m3u8",
    ] {
        let response = channel.farm.api.get(&format!("/live/{path}")).await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert!(!response.text().await.unwrap().is_empty(), "{path}");
    }
    assert_eq!(channel.broadcast.connections(), 0);
    channel.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_removed_ends_its_viewers_properly() {
    let channel = Channel::on(&["alone"]).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;
    channel.farm.api.remove_stream(CHANNEL).await.unwrap();
    assert_eq!(viewer.ended(seconds(10)).await, Ok(()));
    let received = viewer.stop();
    channel.saw_all(&received, "viewer");
    channel.farm.no_ffmpeg().await;
    assert_eq!(channel.farm.api.stream(CHANNEL).await.unwrap_err().status, 404);
    channel.farm.stop().await;
}

#[tokio::test]
async fn streams_survive_a_restart_and_names_are_taken_once() {
    let broadcast = Broadcast::of(&Recording::default());
    let mut farm = Farm::builder().worker(WorkerSpec::new("alone")).start().await;
    let added = farm.pull(CHANNEL, &broadcast.url()).await;
    let again = farm.api.add_stream(&added.spec).await.unwrap_err();
    assert_eq!(again.status, 409);
    for name in ["", "Upper", "a/b", "..", &"x".repeat(65)] {
        let spec = common::stream::StreamSpec { name: name.to_owned(), ..added.spec.clone() };
        assert_eq!(farm.api.add_stream(&spec).await.unwrap_err().status, 422, "{name:?}");
    }
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    assert_eq!(farm.api.stream(CHANNEL).await.unwrap().id, added.id);
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}
