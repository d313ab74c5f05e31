//! Inputs that nothing can be made of: one clear failure each, and nothing left behind.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::{H264, Rig, clip};
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_util::task::TaskTracker;

/// More than ffmpeg reads ahead: it cannot go back to the start within its buffer.
const LARGE: [&str; 4] = ["-vf", "scale=1280:720,noise=alls=40:allf=t", "-crf", "20"];

fn half(path: &Path, name: &str) -> PathBuf {
    let bytes = fs::read(path).unwrap();
    let half = path.with_file_name(name);
    fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    half
}

/// Assigns the input; the failure must be of that kind and say all of these words.
async fn expect(rig: &mut Rig, url: &str, kind: &str, words: &[&str]) {
    rig.assign(url, H264).await;
    let failed = rig.coordinator.failed().await;
    assert_eq!(failed.kind, kind, "{url}: {}", failed.message);
    for word in words {
        assert!(failed.message.contains(word), "{url}: {:?} lacks {word:?}", failed.message);
    }
    rig.assert_clean();
}

#[tokio::test]
async fn files_that_are_no_media() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let whole = clip(folder.path(), "whole.mp4", &[]);
    for (path, words) in [
        (file("empty.mp4", ""), ["empty.mp4", "zero bytes"]),
        (file("text.mp4", "this is a letter, not a film"), ["text.mp4", "no media file"]),
        (half(&whole, "cut.mp4"), ["cut.mp4", "moov atom not found"]),
    ] {
        let url = rig.coordinator.offer(&path);
        expect(&mut rig, &url, "invalid_input", &words).await;
    }
}

#[tokio::test]
async fn an_index_at_the_end_without_ranges() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(folder.path(), "behind.mp4", &LARGE)).replace("/in/", "/plain/");
    expect(&mut rig, &url, "invalid_input", &["behind.mp4", "does not support range requests"]).await;

    let url = rig.coordinator.offer(&clip(
        folder.path(),
        "front.mp4",
        &[&LARGE[..], &["-movflags", "+faststart"]].concat(),
    ));
    rig.assign(&url.replace("/in/", "/plain/"), H264).await;
    rig.coordinator.succeeded().await;
}

#[tokio::test]
async fn servers_that_do_not_deliver() {
    let mut rig = Rig::start().await;
    let missing = format!("http://{}/in/nothing.mp4", rig.coordinator.address);
    expect(&mut rig, &missing, "invalid_input", &["/in/nothing.mp4 answered 404 Not Found"]).await;
    expect(&mut rig, "/in/nothing.mp4", "source_unreachable", &["404"]).await;
    expect(&mut rig, "file:///etc/passwd", "invalid_input", &["http or https"]).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        let mut silent = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let count = socket.read(&mut request).await.unwrap_or(0);
            if request[..count].windows(7).any(|word| word == b"/silent") {
                silent.push(socket);
            }
        }
    });
    let silent = format!("http://user:secret@{address}/silent.mp4?key=secret");
    expect(&mut rig, &silent, "source_unreachable", &["/silent.mp4 sent nothing"]).await;
    expect(&mut rig, &format!("http://{address}/rude.mp4"), "source_unreachable", &["/rude.mp4 hung up"])
        .await;
    expect(&mut rig, "http://127.0.0.1:9/x.mp4", "source_unreachable", &["cannot connect", "refused"]).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started() {
    let mut rig = Rig::with(|config| config.ffmpeg = "/no/such/ffmpeg".into()).await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    expect(&mut rig, &url, "crashed", &["/no/such/ffmpeg", "ffmpegd detect"]).await;
}
