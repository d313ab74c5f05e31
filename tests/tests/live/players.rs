//! What people see in ffplay and in VLC.

use common::stream::StreamOptions;
use e2e::{
    live::{Decoded, Played, Player, Recording, Watched},
    wait::{self, seconds},
};

use crate::channel::{CHANNEL, Channel, PROFILE, farm};

/// Both play `file`, from before the worker is killed to what only its successor can have made.
async fn play_on(profile: &str, file: &str) -> (Channel, [Watched; 2]) {
    let mut channel =
        Channel::with(farm(&["first", "second"]), Recording::default(), StreamOptions::default()).await;
    let url = channel.farm.live(&format!("{CHANNEL}/{profile}/{file}"));
    let witness = channel.farm.play(CHANNEL, profile);
    // VLC begins with the first segment that it finds and throws pictures away when it waits for the second.
    witness.fetches(3).await;
    let ffplay = Player::ffplay(&url);
    if file == MANIFEST {
        reaches_back(&channel, profile).await;
    }
    let players = [ffplay, Player::vlc(&url)];
    for player in &players {
        player.shows_more(25).await;
    }
    let before = channel.farm.encoder(CHANNEL, profile).await;
    let seen = players.each_ref().map(Player::pictures);
    channel.farm.kill_worker(&before);
    channel.farm.moved(CHANNEL, profile, &before).await;
    // The first that is finished after it was begun before.
    witness.fetches(2).await;
    let number = last_number(&channel, witness.stop());
    for (player, seen) in players.iter().zip(seen) {
        player.shows_from(number, seen, &channel.recording).await;
    }
    (channel, players.map(Player::stop))
}

const MANIFEST: &str = "manifest.mpd";

/// Waits until the manifest reaches back to where it suggests to play: VLC, which reads it each five seconds only, runs dry
/// before that. ffplay begins with its oldest segment, which had better not go soon.
async fn reaches_back(channel: &Channel, profile: &str) {
    wait::until(seconds(40), "a long manifest", || async {
        let path = format!("/live/{CHANNEL}/{profile}/{MANIFEST}");
        let text = channel.farm.api.get(&path).await.ok()?.text().await.ok()?;
        let seconds = |name: &str| -> Option<f64> {
            let value = text.split(&format!(" {name}=\"PT")).nth(1)?;
            value.split_once('S')?.0.parse().ok()
        };
        (seconds("timeShiftBufferDepth")? >= seconds("suggestedPresentationDelay")? + 4.0).then_some(())
    })
    .await;
}

/// The number in the last picture.
fn last_number(channel: &Channel, mut played: Played) -> u32 {
    played.assert_proper();
    let last = played.segments.pop();
    played.segments = last.into_iter().collect();
    let decoded = Decoded::of(&played.save(&channel.farm.folder("witness")));
    decoded.pictures.last().and_then(|picture| picture.number).unwrap()
}

async fn show_every_picture_once(profile: &str, file: &str) {
    let (channel, watched) = play_on(profile, file).await;
    watched.iter().for_each(|watched| watched.assert_whole(&channel.recording));
    channel.stop().await;
}

#[tokio::test]
async fn ffplay_and_vlc_play_mpeg_ts_on_when_the_worker_is_killed() {
    show_every_picture_once(PROFILE, "stream.ts").await;
}

#[tokio::test]
async fn ffplay_and_vlc_play_hls_on_when_the_worker_is_killed() {
    show_every_picture_once(PROFILE, "index.m3u8").await;
}

#[tokio::test]
async fn ffplay_and_vlc_play_fragmented_mp4_on_when_the_worker_is_killed() {
    show_every_picture_once("h264-720p-ll", "index.m3u8").await;
}

/// ffplay leaves out a segment that went before it came to it, on a machine that is too slow.
#[tokio::test]
async fn ffplay_and_vlc_play_dash_on_when_the_worker_is_killed() {
    let (channel, watched) = play_on(PROFILE, MANIFEST).await;
    watched.iter().for_each(|watched| watched.assert_in_order(&channel.recording));
    channel.stop().await;
}
