//! What a person sees in a browser.

use std::time::{Duration, Instant};

use common::stream::StreamOptions;
use e2e::live::{
    Recording,
    browser::{Browser, By, Report},
};

use crate::channel::{CHANNEL, Channel, PROFILE, farm};

/// What a player has in its buffer covers a failover; a busy machine's browser stutters.
const STUTTER: Duration = Duration::from_millis(1500);

/// Segments that Chromium's own player wants to find: it gives up where it has fetched all that there were before it began to
/// play.
const IN_QUEUE: usize = 3;

async fn plays_on(by: By, profile: &str) {
    let mut channel =
        Channel::with(farm(&["first", "second"]), Recording::default(), StreamOptions::default()).await;
    let url = channel.farm.live(&format!("{CHANNEL}/{profile}/index.m3u8"));
    if by == By::Itself {
        channel.farm.play(CHANNEL, profile).fetches(IN_QUEUE).await;
    }
    let browser = Browser::play(&url, by).await;
    browser.plays(2.0).await;
    let before = channel.farm.encoder(CHANNEL, profile).await;
    let since = Instant::now();
    channel.farm.kill_worker(&before);
    channel.farm.moved(CHANNEL, profile, &before).await;
    // More than was in its buffer when the worker died.
    let ahead = browser.reports().last().map_or(0.0, |report| report.ahead);
    let report = browser.plays(ahead + 4.0).await;
    assert_eq!(report.errors, Vec::<String>::new());
    assert_eq!(report.ranges, 1, "there is a hole");
    let stall = browser.longest_stall_since(since);
    assert!(stall < STUTTER, "the picture stood for {stall:?}");
    goes_on(&browser.reports(), &channel.recording);
    drop(browser);
    channel.stop().await;
}

/// The numbers in the pictures only grow (round the circle), as the time does.
fn goes_on(reports: &[Report], recording: &Recording) {
    let seen: Vec<_> = reports.iter().filter_map(|report| Some((report.time, report.picture?))).collect();
    assert!(seen.len() > 20, "{seen:?}");
    for pair in seen.windows(2) {
        let [(before, was), (after, is)] = [pair[0], pair[1]];
        let frames = (i64::from(is) - i64::from(was)).rem_euclid(i64::from(recording.frames())) as f64;
        let expected = (after - before) * 90_000.0 / recording.frame() as f64;
        assert!(
            (frames - expected).abs() < 8.0,
            "{frames} frames where the time tells of {expected:.1}: {pair:?}"
        );
    }
}

#[tokio::test]
async fn hls_js_plays_on_when_the_worker_is_killed() {
    plays_on(By::HlsJs, PROFILE).await;
}

#[tokio::test]
async fn chromium_itself_plays_on_when_the_worker_is_killed() {
    plays_on(By::Itself, PROFILE).await;
}

#[tokio::test]
async fn hls_js_plays_low_latency_and_plays_on() {
    plays_on(By::HlsJsLowLatency, "h264-720p-ll").await;
}
