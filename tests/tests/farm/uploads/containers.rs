//! Which containers are encoded while they come: each is held back at four fifths, until something of it was written.

use common::api::JobView;
use e2e::{Farm, media::Media};

use super::{assert_one_attempt, begun, made, writes};

/// What comes out, and out of which file, for a clip that is brought in pieces.
async fn follows(
    farm: &Farm,
    name: &str,
    from: &str,
    args: &[&str],
    preset: &str,
) -> (JobView, Media, Media) {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = made(&folder, name, from, args);
    let held = file.len() * 4 / 5;
    let (upload, job) = begun(farm, name, Some(file.len()), preset).await;
    upload.send_part(&file, 0, held / 2).await;
    upload.send_part(&file, held / 2, held).await;
    writes(farm, job).await;
    assert_eq!(upload.offset().await, Some(held as u64), "{name}: the end is not there yet");
    upload.send_part(&file, held, file.len()).await;
    let view = farm.succeeded(job).await;
    assert_one_attempt(&view);
    let log = farm.api.logs(job).await;
    let again = log.iter().flat_map(|log| &log.lines).any(|line| line.contains("it is tried again"));
    assert!(!again, "{name}: {log:#?}");
    farm.api.download(&view, folder.path()).await;
    let result = Media::read(&folder.path().join(&view.outputs[0].path));
    (view, Media::read(&path), result)
}

/// Every frame, once.
async fn film(name: &str, args: &[&str]) {
    let farm = Farm::small().await;
    let (view, source, result) = follows(&farm, name, "ocean.mp4", args, "proxy").await;
    assert_eq!(result.video().packets(), 240, "{name}");
    assert!((result.duration() - 10.1).abs() < 0.2, "{name}: {}", result.duration());
    let known = view.input_info.unwrap().duration.expect("the end was there to be read");
    assert!((known - source.duration()).abs() < 0.1, "{name}: {known} of {}", source.duration());
    farm.stop().await;
}

async fn sound(name: &str, args: &[&str]) {
    let farm = Farm::small().await;
    let args: Vec<_> = ["-vn", "-ac", "2"].iter().chain(args).copied().collect();
    let (_, source, result) = follows(&farm, name, "demo.mp4", &args, "audio-only").await;
    assert!((result.duration() - source.duration()).abs() < 0.1, "{name}: {}", result.duration());
    farm.stop().await;
}

#[tokio::test]
async fn mp4_with_its_index_in_front() {
    film("front.mp4", &["-c", "copy", "-movflags", "+faststart"]).await;
}

#[tokio::test]
async fn fragmented_mp4() {
    film("fragments.mp4", &["-c", "copy", "-movflags", "frag_keyframe+empty_moov"]).await;
}

#[tokio::test]
async fn quicktime_with_its_index_in_front() {
    film("front.mov", &["-c", "copy", "-movflags", "+faststart"]).await;
}

#[tokio::test]
async fn matroska() {
    film("a.mkv", &["-c", "copy"]).await;
}

#[tokio::test]
async fn webm() {
    let vp8 = [
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-b:v",
        "1M",
        "-c:a",
        "libopus",
        "-ac",
        "2",
    ];
    film("a.webm", &vp8).await;
}

#[tokio::test]
async fn transport_stream() {
    film("a.ts", &["-c", "copy"]).await;
}

#[tokio::test]
async fn avi() {
    film("a.avi", &["-c:v", "mpeg4", "-c:a", "mp3", "-ac", "2"]).await;
}

#[tokio::test]
async fn mp3() {
    sound("a.mp3", &[]).await;
}

#[tokio::test]
async fn wav() {
    sound("a.wav", &[]).await;
}

#[tokio::test]
async fn flac() {
    sound("a.flac", &[]).await;
}

#[tokio::test]
async fn ogg() {
    sound("a.ogg", &["-c:a", "libopus"]).await;
}
