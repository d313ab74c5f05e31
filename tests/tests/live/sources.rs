//! Sources that stop, jump, wrap and change while somebody watches, and the other ways that a source can come.

use std::{fs, process::Command, time::Duration};

use common::stream::{SourceSpec, SourceState, StreamOptions};
use e2e::{
    Farm, WorkerSpec, binaries,
    live::{
        Broadcast, Decoded, Played, Received, Recording, decode::RAGGED, farm::stream, pusher::Pusher, ts,
    },
    wait::{self, seconds},
    web::{Behaviour, Web},
};

use crate::channel::{CHANNEL, Channel, PROFILE, farm, saw_all};

/// What may be missing where a source was away and comes back: it goes on with a key frame.
const GROUP: usize = 25;

/// A viewer and a player of a broadcast to which something happens.
async fn through(channel: &Channel, happens: impl AsyncFnOnce(&Channel)) -> (Received, Played) {
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    let player = channel.farm.play(CHANNEL, PROFILE);
    viewer.watches(4.0).await;
    player.fetches(1).await;
    happens(channel).await;
    viewer.watches(5.0).await;
    player.fetches(2).await;
    assert!(!viewer.has_ended());
    (viewer.stop(), player.stop())
}

/// Asserts that there is one break, that the picture stands still there without a hole on the timeline, and that nothing is
/// damaged or comes twice. Gives what came before and after it.
pub(crate) fn one_break(decoded: &Decoded, before: &Recording, after: &Recording) -> (usize, usize) {
    assert_eq!(decoded.complaints, "");
    let (old, new) = (decoded.whole_runs(before), decoded.whole_runs(after));
    let runs = if before == after { old.clone() } else { join(old.clone(), &new) };
    let [first, second] = &runs[..] else { panic!("{runs:#?}") };
    let apart = second.first.pts - first.last.pts;
    // Between them is what the broken group left: where it broke right behind a P-frame, all B-frames in front of that are
    // missing. Where other tracks come, the picture waits for its first key frame; the sound may go on meanwhile.
    let between = if before == after { RAGGED } else { GROUP + RAGGED };
    assert!(
        (1..=(between + 1) as i64 * before.frame()).contains(&apart),
        "{apart} ticks from {:?} to {:?} of {old:#?} and {new:#?}",
        first.last,
        second.first
    );
    let ragged = decoded.pictures.len() - first.pictures - second.pictures;
    assert!(ragged <= RAGGED, "{ragged} pictures at the break");
    assert_eq!(decoded.pictures.iter().filter(|picture| picture.number.is_none()).count(), 0);
    (first.pictures, second.pictures)
}

/// The first run by one count and the last by another.
fn join(
    first: Vec<e2e::live::decode::Run>,
    second: &[e2e::live::decode::Run],
) -> Vec<e2e::live::decode::Run> {
    first.into_iter().take(1).chain(second.last().copied()).collect()
}

pub(crate) fn decoded(channel: &Channel, received: &Received) -> Decoded {
    let counters: Vec<_> = ts::faults(ts::complete(&received.bytes));
    let jumps: Vec<_> = counters.into_iter().filter(|fault| !fault.ends_with("a discontinuity")).collect();
    assert_eq!(jumps, Vec::<String>::new());
    Decoded::of(&received.save(&channel.farm.folder("viewer"), "received.ts"))
}

async fn one_break_everywhere(channel: &Channel, received: &Received, played: &Played) {
    let seen = decoded(channel, received);
    one_break(&seen, &channel.recording, &channel.recording);
    played.assert_proper();
    assert_eq!(played.discontinuities(), 1, "one where the source broke off");
    let view = channel.farm.api.stream(CHANNEL).await.unwrap();
    assert_eq!(view.source_state.generations, 2);
}

#[tokio::test]
async fn a_source_that_is_lost_is_pulled_again_while_its_viewers_stay() {
    let channel = Channel::on(&["alone"]).await;
    let (received, played) = through(&channel, async |channel: &Channel| {
        channel.broadcast.gone();
        wait::until(seconds(10), "the loss to be told", || async {
            let view = channel.farm.api.stream(CHANNEL).await.unwrap();
            (view.source_state.state == SourceState::Lost && view.source_state.problem.is_some())
                .then_some(())
        })
        .await;
        channel.broadcast.back();
    })
    .await;
    one_break_everywhere(&channel, &received, &played).await;
    assert!(channel.broadcast.connections() >= 2);
    channel.stop().await;
}

#[tokio::test]
async fn a_source_whose_connection_breaks_goes_on_with_the_next_key_frame() {
    let channel = Channel::on(&["alone"]).await;
    let (received, played) = through(&channel, async |channel: &Channel| channel.broadcast.cut_off()).await;
    one_break_everywhere(&channel, &received, &played).await;
    let runs = decoded(&channel, &received).runs(&channel.recording);
    let missing = runs[1].first.number.unwrap() - runs[0].last.number.unwrap() - 1;
    assert!(missing as usize <= 4 * GROUP, "{missing} frames are missing");
    channel.stop().await;
}

#[tokio::test]
async fn timestamps_that_jump_either_way_are_one_discontinuity() {
    for jump in [3600.0, -3600.0] {
        let channel = Channel::on(&["alone"]).await;
        let (received, played) =
            through(&channel, async |channel: &Channel| channel.broadcast.jump(jump)).await;
        one_break_everywhere(&channel, &received, &played).await;
        assert_eq!(channel.broadcast.connections(), 1);
        channel.stop().await;
    }
}

#[tokio::test]
async fn timestamps_that_wrap_are_not_noticed() {
    let recording = Recording::default();
    let broadcast = Broadcast::wrapping_after(&recording, seconds(9));
    let farm = farm(&["alone"]).start().await;
    farm.pull(CHANNEL, &broadcast.url()).await;
    let channel = Channel { farm, broadcast, recording };
    let (received, played) = through(&channel, async |_: &Channel| {}).await;
    channel.saw_all(&received, "viewer");
    channel.played_all(&played, "player");
    assert_eq!(played.discontinuities(), 0);
    let view = channel.farm.api.stream(CHANNEL).await.unwrap();
    assert_eq!((view.source_state.generations, view.variants[0].attempts.len()), (1, 1));
    channel.stop().await;
}

#[tokio::test]
async fn a_source_that_falls_silent_keeps_its_viewers() {
    let channel = Channel::on(&["alone"]).await;
    let (received, played) = through(&channel, async |channel: &Channel| {
        channel.broadcast.silent();
        // No encoder is to blame for this: longer than it may be silent.
        wait::pause(seconds(5)).await;
        channel.broadcast.back();
    })
    .await;
    let seen = decoded(&channel, &received);
    assert_eq!(seen.complaints, "");
    let runs = seen.whole_runs(&channel.recording);
    assert_eq!(runs.len(), 2, "{runs:?}");
    played.assert_proper();
    let variant = channel.farm.variant(CHANNEL, PROFILE).await.unwrap();
    assert!(variant.failovers.is_empty(), "{:?}", variant.failovers);
    channel.stop().await;
}

#[tokio::test]
async fn a_source_that_only_pauses_goes_on_where_it_was() {
    let channel = Channel::on(&["alone"]).await;
    let (received, played) = through(&channel, async |channel: &Channel| {
        channel.broadcast.paused();
        wait::pause(seconds(4)).await;
        channel.broadcast.back();
    })
    .await;
    channel.saw_all(&received, "viewer");
    played.assert_proper();
    channel.stop().await;
}

#[tokio::test]
async fn another_resolution_is_scaled_to_the_profile_without_a_break() {
    let channel = Channel::on(&["alone"]).await;
    let larger = Recording::default().size(960, 540);
    let (received, played) =
        through(&channel, async |channel: &Channel| channel.broadcast.switch(&larger)).await;
    let seen = decoded(&channel, &received);
    one_break(&seen, &channel.recording, &larger);
    played.assert_proper();
    assert_eq!(played.discontinuities(), 0, "the variant's parameters are the same");
    let variant = channel.farm.variant(CHANNEL, PROFILE).await.unwrap();
    assert_eq!((variant.attempts.len(), variant.failovers.len()), (1, 0));
    channel.stop().await;
}

#[tokio::test]
async fn another_codec_is_another_generation() {
    let channel = Channel::on(&["alone"]).await;
    let hevc = Recording { video: Some("libx265"), ..Recording::default() };
    // It takes a while to make.
    let _ = hevc.path();
    let (received, played) =
        through(&channel, async |channel: &Channel| channel.broadcast.switch(&hevc)).await;
    one_break(&decoded(&channel, &received), &channel.recording, &hevc);
    played.assert_proper();
    assert_eq!(played.discontinuities(), 1);
    channel.stop().await;
}

#[tokio::test]
async fn sound_that_goes_away_takes_nothing_with_it() {
    let channel = Channel::on(&["alone"]).await;
    let silent = Recording::default().video_only();
    let (received, played) =
        through(&channel, async |channel: &Channel| channel.broadcast.switch(&silent)).await;
    one_break(&decoded(&channel, &received), &channel.recording, &silent);
    played.assert_proper();
    channel.stop().await;
}

#[tokio::test]
async fn a_source_without_sound_and_one_without_a_picture_are_watched_as_they_are() {
    let recordings = [Recording::default().video_only(), Recording::default().audio_only()];
    for recording in recordings {
        let channel = Channel::with(farm(&["first", "second"]), recording, StreamOptions::default()).await;
        let viewer = channel.farm.watch(CHANNEL, PROFILE);
        let player = channel.farm.play(CHANNEL, PROFILE);
        viewer.watches(4.0).await;
        let before = channel.farm.encoder(CHANNEL, PROFILE).await;
        let mut channel = channel;
        channel.farm.kill_worker(&before);
        viewer.watches(4.0).await;
        player.fetches(2).await;
        let (received, played) = (viewer.stop(), player.stop());
        channel.saw_all(&received, "viewer");
        channel.played_all(&played, "player");
        channel.stop().await;
    }
}

#[tokio::test]
async fn what_is_pushed_is_watched_and_a_new_connection_takes_over() {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let farm = farm(&["alone"]).start().await;
    farm.api.add_stream(&stream(CHANNEL, SourceSpec::Push)).await.unwrap();
    let input = format!("{}/v1/streams/{CHANNEL}/input", farm.api.base);
    let pusher = Pusher::put(&input, &broadcast);
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.watches(4.0).await;
    // From elsewhere: what it brings follows, and the old one is told to go.
    let other = Pusher::put(&input, &broadcast);
    let refused = pusher.ended(seconds(10)).await;
    assert!(refused.as_ref().map_or(true, |status| !status.is_success()), "{refused:?}");
    viewer.watches(4.0).await;
    let received = viewer.stop();
    let seen = Decoded::of(&received.save(&farm.folder("viewer"), "received.ts"));
    assert_eq!(seen.complaints, "");
    assert!(seen.runs(&recording).len() <= 2, "{:?}", seen.runs(&recording));
    drop(other);
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn ffmpeg_can_push() {
    let recording = Recording::default();
    let farm = farm(&["alone"]).start().await;
    farm.api.add_stream(&stream(CHANNEL, SourceSpec::Push)).await.unwrap();
    let mut ffmpeg = Command::new(binaries::system("setpriv"))
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binaries::system("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-re", "-i"])
        .arg(recording.path())
        .args(["-map", "0", "-c", "copy", "-f", "mpegts"])
        .arg(format!("{}/v1/streams/{CHANNEL}/input", farm.api.base))
        .spawn()
        .unwrap();
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.watches(4.0).await;
    let received = viewer.stop();
    ffmpeg.kill().unwrap();
    ffmpeg.wait().unwrap();
    saw_all(&farm.folder("viewer"), &received, &recording);
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn hls_is_taken_in_by_a_worker() {
    let channel = Channel::on(&["first", "second"]).await;
    // Our own, so that it comes as players get it.
    let url = channel.farm.live(&format!("{CHANNEL}/copy/index.m3u8"));
    channel.farm.api.add_stream(&stream("again", SourceSpec::Ingest(url))).await.unwrap();
    let viewer = channel.farm.watch("again", PROFILE);
    viewer.watches(6.0).await;
    let view = channel.farm.api.stream("again").await.unwrap();
    assert!(view.source_state.worker.is_some(), "{:?}", view.source_state);
    let received = viewer.stop();
    channel.saw_all(&received, "viewer");
    channel.farm.api.remove_stream("again").await.unwrap();
    channel.stop().await;
}

#[tokio::test]
async fn the_worker_that_takes_a_source_in_may_die() {
    let mut channel = Channel::on(&["first", "second"]).await;
    let url = channel.broadcast.url();
    channel.farm.api.add_stream(&stream("again", SourceSpec::Ingest(url))).await.unwrap();
    let viewer = channel.farm.watch("again", PROFILE);
    viewer.watches(2.0).await;
    let worker = channel.farm.api.stream("again").await.unwrap().source_state.worker.unwrap();
    channel.farm.kill_worker(&worker.name);
    let next = wait::until(seconds(20), "another worker to take it in", || async {
        let view = channel.farm.api.stream("again").await.unwrap();
        view.source_state.worker.filter(|next| next.id != worker.id)
    })
    .await;
    assert_ne!(next.name, worker.name);
    viewer.watches(4.0).await;
    assert!(!viewer.has_ended());
    let received = viewer.stop();
    let seen = decoded(&channel, &received);
    assert_eq!(seen.complaints, "");
    channel.farm.api.remove_stream("again").await.unwrap();
    channel.stop().await;
}

#[tokio::test]
async fn a_file_is_played_in_a_circle_and_in_real_time() {
    let recording = Recording::default();
    let farm = farm(&["alone"]).start().await;
    let short = farm.shared().join("short.ts");
    let reel = recording.load();
    // Four seconds of it.
    fs::write(&short, &reel.bytes[..reel.pieces[100].from]).unwrap();
    let source = SourceSpec::File(short.to_string_lossy().into_owned());
    farm.api.add_stream(&stream(CHANNEL, source)).await.unwrap();
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.first_byte().await;
    let since = std::time::Instant::now();
    viewer.watches(9.0).await;
    let took = since.elapsed();
    assert!((seconds(6)..seconds(14)).contains(&took), "9 s of it took {took:?}");
    let seen = Decoded::of(&viewer.stop().save(&farm.folder("viewer"), "received.ts"));
    assert_eq!(seen.complaints, "");
    let runs = seen.runs(&recording);
    assert!((2..=4).contains(&runs.len()), "{runs:?}");
    // Round it goes: the last of the file, then the first.
    assert_eq!(runs[1].first.number, Some(recording.first()), "{runs:?}");
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn a_slate_fills_the_time_without_a_source() {
    let options = StreamOptions { slate: Some("Back soon".to_owned()), ..StreamOptions::default() };
    let channel = Channel::with(farm(&["first", "second"]), Recording::default(), options).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    let player = channel.farm.play(CHANNEL, PROFILE);
    viewer.watches(3.0).await;
    channel.broadcast.gone();
    // That is more than is left of the broadcast.
    viewer.watches(5.0).await;
    channel.broadcast.back();
    // It is tried again a little later each time.
    viewer.watches(10.0).await;
    player.fetches(1).await;
    let (received, played) = (viewer.stop(), player.stop());
    let seen = decoded(&channel, &received);
    assert_eq!(seen.complaints, "");
    let slate = seen.pictures.iter().filter(|picture| picture.number.is_none()).count();
    assert!(slate > 2 * GROUP, "{slate} pictures of the slate");
    let numbered: Vec<_> =
        seen.whole_runs(&channel.recording).into_iter().filter(|run| run.first.number.is_some()).collect();
    assert_eq!(numbered.len(), 2, "{numbered:?}");
    assert!(numbered[1].pictures > GROUP);
    played.assert_proper();
    channel.stop().await;
}

#[tokio::test]
async fn a_source_that_is_none_is_told_with_what_is_wrong() {
    let farm = farm(&["alone"]).start().await;
    let page = b"<!doctype html><title>Not a stream</title>".repeat(100);
    let web = Web::serve([
        ("/page", Behaviour::NoRanges(page)),
        ("/missing", Behaviour::Status(404)),
        ("/forbidden", Behaviour::Status(403)),
    ])
    .await;
    let closed = "http://127.0.0.1:1/".to_owned();
    let sources = [
        ("page", web.url("/page")),
        ("missing", web.url("/missing")),
        ("forbidden", web.url("/forbidden")),
        ("closed", closed),
    ];
    for (name, url) in &sources {
        farm.pull(name, url).await;
        let since = std::time::Instant::now();
        let response = farm.api.get(&format!("/live/{name}/{PROFILE}/stream.ts")).await.unwrap();
        assert!(response.status().is_server_error(), "{name}: {}", response.status());
        assert!(response.headers().contains_key("retry-after"), "{name}");
        assert!(since.elapsed() < seconds(30), "{name}: {:?}", since.elapsed());
        let text = response.text().await.unwrap();
        assert!(!text.is_empty(), "{name}");
        let problem = farm.api.stream(name).await.unwrap().source_state.problem;
        eprintln!("{name}: {text}; {problem:?}");
        farm.api.remove_stream(name).await.unwrap();
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_newer_ffmpeg_takes_over_from_an_older_one() {
    let Some(newer) = binaries::ffmpeg_n9() else { return };
    let builder = farm(&["first"]).worker(WorkerSpec::new("second").ffmpeg(&newer).not_awaited());
    let recording = Recording::default();
    let mut channel = Channel::with(builder, recording, StreamOptions::default()).await;
    channel.farm.registered("second").await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(3.0).await;
    let before = channel.farm.encoder(CHANNEL, PROFILE).await;
    channel.farm.kill_worker(&before);
    viewer.watches(4.0).await;
    let received = viewer.stop();
    // Other parameter sets are in the stream itself: a decoder goes on.
    let seen = decoded(&channel, &received);
    seen.assert_whole(&channel.recording);
    channel.stop().await;
}

#[tokio::test]
async fn a_stream_can_stand_in_the_configuration() {
    let broadcast = Broadcast::of(&Recording::default());
    let config =
        format!("[[streams]]\nname = \"{CHANNEL}\"\nsource = {{ pull = \"{}\" }}\n", broadcast.url());
    let farm = Farm::builder().config(&config).worker(WorkerSpec::new("alone")).start().await;
    let view = farm.api.stream(CHANNEL).await.unwrap();
    assert!(view.configured);
    assert_eq!(farm.api.remove_stream(CHANNEL).await.unwrap_err().status, 409);
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.watches(1.0).await;
    drop(viewer);
    // It cannot be removed, so its encode ends with the coordinator.
    let mut farm = farm;
    farm.stop_coordinator(true).await;
    wait::until(Duration::from_secs(15), "the encode to end", || async {
        farm.ffmpegs().is_empty().then_some(())
    })
    .await;
    farm.stop().await;
}
