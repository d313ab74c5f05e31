//! Sources that a worker's ffmpeg opens: UDP, SRT, RTMP, RTSP.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use common::stream::{SourceSpec, SourceState, StreamSpec};
use e2e::{
    Farm, WorkerSpec, binaries,
    live::{
        Broadcast, Decoded, Received, Recording,
        farm::stream,
        sender::{Protocol, Sender},
    },
    wait::{self, seconds},
};

use crate::{
    channel::{CHANNEL, Channel, PROFILE, saw_all},
    sources::{decoded, one_break},
};

/// Longer than a worker that brings a source may be silent.
const LOST: std::time::Duration = seconds(20);

fn taken_in(url: &str) -> StreamSpec {
    let source: SourceSpec = url.parse().unwrap();
    assert_eq!(source, SourceSpec::Ingest(url.to_owned()));
    stream(CHANNEL, source)
}

/// How many ffmpegs of the farm have this source open.
fn pulls(farm: &Farm, url: &str) -> usize {
    farm.ffmpegs().iter().filter(|process| process.command.iter().any(|word| word == url)).count()
}

/// A farm that takes in what is sent by a protocol.
async fn channel(protocol: Protocol, recording: Recording) -> (Channel, Sender) {
    let broadcast = Broadcast::of(&recording);
    let sender = Sender::of(protocol, &broadcast);
    let farm = Farm::builder().worker(WorkerSpec::new("alone").jobs(4)).start().await;
    farm.api.add_stream(&taken_in(&sender.url())).await.unwrap();
    (Channel { farm, broadcast, recording }, sender)
}

/// Two variants at once are one pull, and both are watched.
async fn two_variants_of_one_pull(channel: &Channel, sender: &Sender) -> (Received, Received) {
    let picture = channel.farm.watch(CHANNEL, PROFILE);
    let sound = channel.farm.watch(CHANNEL, "audio-aac");
    picture.watches(5.0).await;
    sound.watches(3.0).await;
    let view = channel.farm.api.stream(CHANNEL).await.unwrap();
    assert_eq!(view.source_state.state, SourceState::Live, "{:?}", view.source_state);
    assert_eq!(view.source_state.worker.map(|worker| worker.name).as_deref(), Some("alone"));
    assert_eq!(view.variants.len(), 2);
    assert_eq!(pulls(&channel.farm, &sender.url()), 1, "{:?}", channel.farm.ffmpegs());
    // The pull and two encodes.
    assert_eq!(channel.farm.ffmpegs().len(), 3, "{:?}", channel.farm.ffmpegs());
    (picture.stop(), sound.stop())
}

async fn is_watched(protocol: Protocol) {
    let (channel, sender) = channel(protocol, Recording::default()).await;
    let (picture, sound) = two_variants_of_one_pull(&channel, &sender).await;
    assert_eq!(channel.farm.api.stream(CHANNEL).await.unwrap().source_state.generations, 1);
    channel.saw_all(&picture, "picture");
    saw_all(&channel.farm.folder("sound"), &sound, &channel.recording.clone().audio_only());
    channel.stop().await;
}

#[tokio::test]
async fn udp_is_taken_in_once_for_all_variants() {
    is_watched(Protocol::Udp).await;
}

#[tokio::test]
async fn srt_is_taken_in_once_for_all_variants() {
    is_watched(Protocol::Srt).await;
}

#[tokio::test]
async fn rtmp_is_taken_in_once_for_all_variants() {
    is_watched(Protocol::Rtmp).await;
}

/// RTP has a clock of its own, which follows the server's: frames are not as far apart as in the recording, and a server that
/// is held up jumps, but they are all there.
fn saw_all_frames(decoded: &Decoded, recording: &Recording) {
    assert_eq!(decoded.complaints, "");
    assert_eq!(decoded.lost_and_doubled(recording), (0, 0), "{:?}", decoded.runs(recording));
    assert!(decoded.pictures.iter().all(|picture| picture.number.is_some()));
    assert!(decoded.seconds() > 3.0, "{} s", decoded.seconds());
    let begins = decoded.sounds.first().map(|sound| sound.pts - decoded.pictures[0].pts);
    assert!(
        begins.is_some_and(|apart| apart.abs() < 45_000),
        "sound begins {begins:?} ticks after the picture"
    );
}

#[tokio::test]
async fn rtsp_is_taken_in_once_for_all_variants() {
    // Cameras have no B-frames, other servers have; RTP tells no decoding times.
    for b_frames in [0, 2] {
        let (channel, sender) = channel(Protocol::Rtsp, Recording { b_frames, ..Recording::default() }).await;
        let (picture, sound) = two_variants_of_one_pull(&channel, &sender).await;
        let connections = sender.log().lines().filter(|line| *line == "client").count();
        assert_eq!(connections, 1, "{}", sender.log());
        let seen = Decoded::of(&picture.save(&channel.farm.folder("picture"), "received.ts"));
        saw_all_frames(&seen, &channel.recording);
        let heard = Decoded::of(&sound.save(&channel.farm.folder("sound"), "received.ts"));
        assert_eq!((heard.complaints.as_str(), heard.pictures.len()), ("", 0));
        assert!(heard.seconds() > 2.0, "{} s", heard.seconds());
        channel.stop().await;
    }
}

/// The sender goes, and is told to be gone, and comes back: who watches goes on watching.
async fn comes_back(protocol: Protocol) {
    let (channel, mut sender) = channel(protocol, Recording::default()).await;
    let viewer = channel.farm.watch(CHANNEL, PROFILE);
    viewer.watches(3.0).await;
    sender.gone();
    wait::until(LOST, "the loss to be told", || async {
        let source = channel.farm.api.stream(CHANNEL).await.unwrap().source_state;
        (source.state == SourceState::Lost && source.problem.is_some()).then_some(())
    })
    .await;
    sender.back();
    viewer.watches(5.0).await;
    assert!(!viewer.has_ended());
    let received = viewer.stop();
    one_break(&decoded(&channel, &received), &channel.recording, &channel.recording);
    assert_eq!(pulls(&channel.farm, &sender.url()), 1, "{:?}", channel.farm.ffmpegs());
    channel.stop().await;
}

#[tokio::test]
async fn an_rtmp_server_goes_away_and_comes_back_while_viewers_stay() {
    comes_back(Protocol::Rtmp).await;
}

#[tokio::test]
async fn an_srt_sender_goes_away_and_comes_back_while_viewers_stay() {
    comes_back(Protocol::Srt).await;
}

#[tokio::test]
async fn udp_packets_that_cease_and_come_again_are_watched_again() {
    comes_back(Protocol::Udp).await;
}

/// An ffmpeg that was built without a protocol.
fn ffmpeg_without(protocol: &str, farm: &Farm) -> PathBuf {
    let path = farm.path().join(format!("ffmpeg-without-{protocol}"));
    let ffmpeg = binaries::system("ffmpeg");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in\n*' -protocols '*) '{ffmpeg}' \"$@\" | grep -vx ' *{protocol}' ;;\n*) exec '{ffmpeg}' \
         \"$@\" ;;\nesac\n",
        ffmpeg = ffmpeg.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_source_goes_to_a_worker_that_has_its_protocol() {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let sender = Sender::of(Protocol::Srt, &broadcast);
    let mut farm = Farm::builder().start().await;
    let without = ffmpeg_without("srt", &farm);
    farm.start_worker(WorkerSpec::new("without").jobs(4).ffmpeg(&without)).await;
    farm.api.add_stream(&taken_in(&sender.url())).await.unwrap();

    let response = farm.api.get(&format!("/live/{CHANNEL}/{PROFILE}/stream.ts")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let reason = response.text().await.unwrap();
    assert!(reason.contains("srt") && reason.contains("without"), "{reason}");
    assert_eq!(pulls(&farm, &sender.url()), 0, "{:?}", farm.ffmpegs());

    // Its one slot is for the source, so the other encodes.
    farm.start_worker(WorkerSpec::new("with").jobs(1)).await;
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.watches(3.0).await;
    let worker = farm.api.stream(CHANNEL).await.unwrap().source_state.worker;
    assert_eq!(worker.map(|worker| worker.name).as_deref(), Some("with"));
    assert_eq!(farm.encoder(CHANNEL, PROFILE).await, "without");
    let received = viewer.stop();
    saw_all(&farm.folder("viewer"), &received, &recording);
    farm.api.remove_stream(CHANNEL).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn a_source_that_nobody_sends_is_told_with_why() {
    let farm = Farm::builder().worker(WorkerSpec::new("alone").jobs(3)).start().await;
    let mut viewers = Vec::new();
    for (name, url, why) in [
        ("refused", "rtmp://127.0.0.1:1/live/camera", "refused"),
        ("nothing", "rtsp://user:secret@127.0.0.1:1/camera", "refused"),
        ("silent", "srt://127.0.0.1:1?passphrase=secret-secret", "127.0.0.1:1"),
    ] {
        farm.api.add_stream(&StreamSpec { name: name.to_owned(), ..taken_in(url) }).await.unwrap();
        viewers.push((name, why, farm.watch(name, PROFILE)));
    }
    for (name, why, viewer) in viewers {
        assert_eq!(viewer.status().await, 503, "{name}");
        assert!(viewer.headers().await.contains_key("retry-after"), "{name}");
        assert_eq!(viewer.ended(seconds(5)).await, Ok(()), "{name}");
        let text = String::from_utf8_lossy(&viewer.stop().bytes).into_owned();
        assert!(text.to_lowercase().contains(why), "{name}: {text}");
        assert!(!text.contains("secret"), "{name}: {text}");
        farm.api.remove_stream(name).await.unwrap();
    }
    farm.stop().await;
}
