//! The containers and playlists that a variant can be had in.

use std::{fs, path::Path};

use common::stream::StreamOptions;
use e2e::{
    binaries,
    live::{Decoded, HlsPlayer, Recording},
    media::Media,
    wait::seconds,
};
use tempfile::TempDir;

use crate::channel::{CHANNEL, Channel, PROFILE, farm};

/// Profiles that cost little: what is tested is how they are packed.
pub(crate) fn small_profiles() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let profile = |name: &str, codec: &str, more: &str| {
        let text = format!(
            "description = \"A small picture\"\nkind = \"rendition\"\nsegment_ms = 1000\n{more}\n\n[video]\n\
             codec = \"{codec}\"\nwidth = 426\nheight = 240\nbitrate = 500_000\n\n[audio]\ncodec = \"aac\"\nbitrate = 96_000\n"
        );
        fs::write(folder.path().join(name), text).unwrap();
    };
    profile("small.toml", "h264", "");
    profile("small-hevc.toml", "hevc", "");
    profile("small-av1.toml", "av1", "");
    profile("small-ll.toml", "h264", "low_latency = true\npart_ms = 250");
    folder
}

async fn channel(profiles: &Path) -> Channel {
    let builder = farm(&["first", "second"]).env("TVARR_PROFILES_DIR", profiles);
    Channel::with(builder, Recording::default(), StreamOptions::default()).await
}

#[tokio::test]
async fn hevc_is_given_as_transport_stream_and_as_fragments_through_a_kill() {
    let profiles = small_profiles();
    let mut channel = channel(profiles.path()).await;
    let viewer = channel.farm.watch(CHANNEL, "small-hevc");
    let player = channel.farm.play(CHANNEL, "small-hevc");
    player.fetches(3).await;
    let before = channel.farm.encoder(CHANNEL, "small-hevc").await;
    channel.farm.kill_worker(&before);
    player.fetches(6).await;
    let (received, played) = (viewer.stop(), player.stop());
    channel.saw_all(&received, "viewer");
    assert!(
        played.segments.iter().all(|fetched| fetched.segment.init.is_some()),
        "HEVC in HLS wants fragments"
    );
    channel.played_all(&played, "player");
    assert_eq!(played.discontinuities(), 0);
    let media = Media::read(&played.save(&channel.farm.folder("player")));
    assert_eq!(
        (media.video().codec_name.as_str(), media.video().codec_tag_string.as_str()),
        ("hevc", "hvc1")
    );
    channel.stop().await;
}

#[tokio::test]
async fn av1_is_given_as_fragments_and_not_as_transport_stream() {
    let profiles = small_profiles();
    let channel = channel(profiles.path()).await;
    let player = channel.farm.play(CHANNEL, "small-av1");
    player.fetches(4).await;
    let refused = channel.farm.watch(CHANNEL, "small-av1");
    assert!(refused.status().await.is_client_error());
    let played = player.stop();
    channel.played_all(&played, "player");
    assert_eq!(Media::read(&played.save(&channel.farm.folder("player"))).video().codec_name, "av1");
    channel.stop().await;
}

#[tokio::test]
async fn low_latency_parts_come_as_they_are_made_and_go_on_through_a_kill() {
    let profiles = small_profiles();
    let mut channel = channel(profiles.path()).await;
    let player = channel.farm.play(CHANNEL, "small-ll");
    player.fetches(3).await;
    let before = channel.farm.encoder(CHANNEL, "small-ll").await;
    channel.farm.kill_worker(&before);
    player.fetches(6).await;
    let played = player.stop();
    channel.played_all(&played, "player");
    let list = &played.playlists.last().unwrap().1;
    assert!(list.blocks && list.part_target.is_some_and(|target| (target - 0.25).abs() < 0.051), "{list:#?}");
    assert!(played.parts.len() >= 12, "{} parts", played.parts.len());
    assert!(played.parts.iter().all(|(_, _, bytes)| bytes[4..8] == *b"moof" || bytes[4..8] == *b"styp"));
    channel.stop().await;
}

#[tokio::test]
async fn every_segment_can_be_decoded_by_itself() {
    let profiles = small_profiles();
    let channel = channel(profiles.path()).await;
    for profile in ["small", "small-hevc"] {
        let player = channel.farm.play(CHANNEL, profile);
        player.fetches(4).await;
        assert_eq!(player.stop().dependent(&channel.farm.folder(profile)), Vec::<String>::new());
    }
    channel.stop().await;
}

#[tokio::test]
async fn dash_is_played_by_ffmpeg() {
    let profiles = small_profiles();
    let channel = channel(profiles.path()).await;
    let viewer = channel.farm.watch(CHANNEL, "small");
    viewer.watches(4.0).await;
    let url = channel.farm.live(&format!("{CHANNEL}/small/manifest.mpd"));
    let response = channel.farm.api.get(&format!("/live/{CHANNEL}/small/manifest.mpd")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/dash+xml");
    let decoded = Decoded::by(&binaries::system("ffmpeg"), &url, &["-t", "4"]);
    // When its list is renewed, ffmpeg's reader reckons in whole seconds and may read a segment again.
    let again = "non monotonically increasing dts";
    let complaints: Vec<_> = decoded.complaints.lines().filter(|line| !line.contains(again)).collect();
    assert_eq!(complaints, Vec::<&str>::new());
    assert!(decoded.seconds() > 3.0, "{} s", decoded.seconds());
    assert_eq!(decoded.lost_and_doubled(&channel.recording).0, 0, "{:?}", decoded.runs(&channel.recording));
    channel.stop().await;
}

#[tokio::test]
async fn a_source_that_already_is_what_is_wanted_is_repackaged_without_an_encoder() {
    let profiles = small_profiles();
    let channel = channel(profiles.path()).await;
    let viewer = channel.farm.watch(CHANNEL, "copy");
    let player = channel.farm.play(CHANNEL, "copy");
    viewer.watches(5.0).await;
    player.fetches(2).await;
    assert!(channel.farm.ffmpegs().is_empty(), "{:?}", channel.farm.ffmpegs());
    let (received, played) = (viewer.stop(), player.stop());
    let seen = channel.saw_all(&received, "viewer");
    assert!(seen.seconds() > 4.0);
    channel.played_all(&played, "player");
    assert_eq!(Media::read(&received.save(&channel.farm.folder("copied"), "it.ts")).video().width, 640);

    // Who says that it plays H.264 and AAC gets the source, whatever the profile; who does not gets an encode.
    let url = channel.farm.live(&format!("{CHANNEL}/small/stream.ts?accept=hevc,h264,aac"));
    let capable = e2e::live::Viewer::watch(&url);
    capable.watches(2.0).await;
    assert!(channel.farm.ffmpegs().is_empty(), "{:?}", channel.farm.ffmpegs());
    let url = channel.farm.live(&format!("{CHANNEL}/small/stream.ts?accept=hevc"));
    let other = e2e::live::Viewer::watch(&url);
    other.watches(1.0).await;
    assert_eq!(channel.farm.ffmpegs().len(), 1);
    let received = capable.stop();
    assert_eq!(Media::read(&received.save(&channel.farm.folder("accepted"), "it.ts")).video().width, 640);
    channel.stop().await;
}

#[tokio::test]
async fn a_ladder_is_a_master_playlist_whose_renditions_have_the_same_segments() {
    let profiles = small_profiles();
    fs::write(
        profiles.path().join("tiny.toml"),
        fs::read_to_string(profiles.path().join("small.toml"))
            .unwrap()
            .replace("426", "320")
            .replace("240", "180"),
    )
    .unwrap();
    fs::write(
        profiles.path().join("twins.toml"),
        "description = \"Two of one grid\"\nkind = \"ladder\"\nrenditions = [\"small\", \"tiny\"]\n",
    )
    .unwrap();
    let channel = channel(profiles.path()).await;
    let response = channel.farm.api.get(&format!("/live/{CHANNEL}/twins/master.m3u8")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/vnd.apple.mpegurl");
    let text = response.text().await.unwrap();
    let base = reqwest::Url::parse(&channel.farm.live(&format!("{CHANNEL}/twins/master.m3u8"))).unwrap();
    let renditions: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(renditions.len(), 2, "{text}");
    assert!(
        text.contains("CODECS=") && text.contains("RESOLUTION=") && text.contains("BANDWIDTH="),
        "{text}"
    );
    let players: Vec<_> =
        renditions.iter().map(|uri| HlsPlayer::play(base.join(uri).unwrap().as_str())).collect();
    for player in &players {
        player.fetches(4).await;
    }
    let played: Vec<_> = players.into_iter().map(HlsPlayer::stop).collect();
    for (index, played) in played.iter().enumerate() {
        channel.played_all(played, &format!("rendition-{index}"));
    }
    // A player that changes from one to the other finds the same time under the same number.
    let first_pictures = |index: usize| {
        let one = |fetched: &e2e::live::hls::Fetched| {
            let one = e2e::live::Played { segments: vec![fetched.clone()], ..played[index].clone() };
            let decoded = Decoded::of(&one.save(&channel.farm.folder("one")));
            (fetched.segment.sequence, (decoded.pictures[0].number, fetched.segment.date))
        };
        played[index].segments.iter().map(one).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (left, right) = (first_pictures(0), first_pictures(1));
    let common: Vec<_> = left.keys().filter(|sequence| right.contains_key(sequence)).collect();
    assert!(!common.is_empty(), "{left:?} {right:?}");
    for sequence in common {
        assert_eq!(left[sequence], right[sequence], "segment {sequence}");
    }
    let all = channel.farm.api.get(&format!("/live/{CHANNEL}/master.m3u8")).await.unwrap();
    assert_eq!(all.status(), 200);
    channel.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_play_and_segments_can_be_asked_for_in_parts() {
    let channel = Channel::on(&["alone"]).await;
    let player = channel.farm.play(CHANNEL, PROFILE);
    player.fetches(1).await;
    let client = reqwest::Client::new();
    let base = reqwest::Url::parse(&channel.farm.live(&format!("{CHANNEL}/{PROFILE}/index.m3u8"))).unwrap();
    let list = client.get(base.clone()).header("origin", "http://example.org").send().await.unwrap();
    assert_eq!(list.headers()["access-control-allow-origin"], "*");
    let list = e2e::live::playlist::Playlist::parse(&list.text().await.unwrap()).unwrap();
    let segment = base.join(&list.segments.last().unwrap().uri).unwrap();
    let whole = client.get(segment.clone()).send().await.unwrap().bytes().await.unwrap();

    let head = client.head(segment.clone()).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()),
        (200, &*whole.len().to_string())
    );
    assert_eq!(head.headers()["accept-ranges"], "bytes");
    let part = client.get(segment.clone()).header("range", "bytes=188-375").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 188-375/{}", whole.len()));
    assert_eq!(part.bytes().await.unwrap(), whole[188..376]);
    let beyond =
        client.get(segment.clone()).header("range", format!("bytes={}-", whole.len())).send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    let preflight = client
        .request(reqwest::Method::OPTIONS, segment)
        .header("origin", "http://example.org")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "range")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success(), "{preflight:?}");
    assert!(
        preflight.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .to_lowercase()
            .contains("range")
    );
    let head =
        client.head(channel.farm.live(&format!("{CHANNEL}/{PROFILE}/stream.ts"))).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-type"]),
        (200, &"video/mp2t".parse().unwrap())
    );
    drop(player);
    channel.stop().await;
}

#[tokio::test]
async fn a_ladder_itself_is_no_stream() {
    let channel = Channel::on(&["alone"]).await;
    let viewer = channel.farm.watch(CHANNEL, "ladder");
    assert!(viewer.status().await.is_client_error());
    assert!(viewer.ended(seconds(5)).await.is_ok());
    channel.stop().await;
}
