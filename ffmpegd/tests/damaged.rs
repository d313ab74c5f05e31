//! Inputs that are damaged or end early, and an ffmpeg that says that all is well when it is not.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use common::proto::{self, OnDamagedInput, coordinator_message::Message as ToWorker};
use support::{H264, Rig, clip, ffmpeg};

const SOUND: &str = r#"{"kind":"file","container":"m4a","audio":{"codec":"aac"}}"#;

/// The first `percent` of a file.
fn cut(path: &Path, percent: usize, name: &str) -> PathBuf {
    let bytes = fs::read(path).unwrap();
    let to = path.with_file_name(name);
    fs::write(&to, &bytes[..bytes.len() * percent / 100]).unwrap();
    to
}

/// Every so many bytes one is another, from a third of the file on: past all headers.
fn flipped(path: &Path, every: usize, name: &str) -> PathBuf {
    let mut bytes = fs::read(path).unwrap();
    let start = bytes.len() / 3;
    bytes[start..].iter_mut().step_by(every).for_each(|byte| *byte ^= 0x55);
    let to = path.with_file_name(name);
    fs::write(&to, &bytes).unwrap();
    to
}

async fn assign(rig: &mut Rig, path: &Path, spec: &str, policy: OnDamagedInput) {
    let url = rig.coordinator.offer(path);
    let assign = proto::Assign { on_damaged_input: policy.into(), ..rig.coordinator.assign(&url, spec) };
    rig.coordinator.send(ToWorker::Assign(assign)).await;
}

/// What came of it where damage is only warned of: the damage, and the warnings in one text.
async fn warned(rig: &mut Rig, path: &Path, spec: &str) -> (proto::Damage, String) {
    assign(rig, path, spec, OnDamagedInput::Warn).await;
    let succeeded = rig.coordinator.succeeded().await;
    rig.assert_clean();
    let warnings = succeeded.warnings.join("\n");
    let damage = succeeded.damage.unwrap_or_else(|| panic!("{path:?}: no damage is told; {warnings:?}"));
    (damage, warnings)
}

/// The message where damage is no success.
async fn refused(rig: &mut Rig, path: &Path, spec: &str, policy: OnDamagedInput) -> String {
    assign(rig, path, spec, policy).await;
    let failed = rig.coordinator.failed().await;
    assert_eq!(failed.kind, "invalid_input", "{path:?}: {}", failed.message);
    assert!(failed.message.contains(path.file_name().unwrap().to_str().unwrap()), "{}", failed.message);
    rig.assert_clean();
    failed.message
}

#[tokio::test]
async fn an_input_that_ends_early_is_told_in_seconds() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let film = |name, more: &[&str]| clip(folder.path(), name, more);
    let fast = film("fast.mp4", &["-movflags", "+faststart"]);
    let sound = folder.path().join("sound.mp3");
    ffmpeg(&["-i", fast.to_str().unwrap(), "-vn", sound.to_str().unwrap()]);
    for (path, spec) in [
        (cut(&fast, 60, "cut.mp4"), H264),
        (cut(&film("whole.mkv", &[]), 60, "cut.mkv"), H264),
        (cut(&sound, 60, "cut.mp3"), SOUND),
    ] {
        let (damage, words) = warned(&mut rig, &path, spec).await;
        let (there, claimed) = (damage.ends_at_seconds.unwrap(), damage.claimed_seconds.unwrap());
        assert!((0.5..1.9).contains(&there) && (1.9..2.2).contains(&claimed), "{path:?}: {damage:?}");
        assert!(
            words.contains(&format!("ends early: {there:.1} s of the {claimed:.1} s")),
            "{path:?}: {words}"
        );
        let words = refused(&mut rig, &path, spec, OnDamagedInput::Fail).await;
        assert!(words.contains(&format!("ends early: {there:.1} s of the {claimed:.1} s")), "{words}");
    }
}

#[tokio::test]
async fn errors_while_decoding_are_counted() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let film = |name, more: &[&str]| clip(folder.path(), name, more);
    let fast = film("fast.mp4", &["-movflags", "+faststart"]);
    let sound = folder.path().join("sound.aac");
    ffmpeg(&["-i", fast.to_str().unwrap(), "-vn", "-c:a", "copy", sound.to_str().unwrap()]);
    for (path, spec) in [
        (flipped(&fast, 997, "flipped.mp4"), H264),
        (flipped(&film("whole.ts", &[]), 1999, "flipped.ts"), H264),
        (flipped(&film("whole.mkv", &[]), 1999, "flipped.mkv"), H264),
        (flipped(&sound, 503, "flipped.aac"), SOUND),
    ] {
        let (damage, words) = warned(&mut rig, &path, spec).await;
        assert!(damage.errors > 0, "{path:?}: {damage:?}");
        assert!(words.contains("while decoding the input"), "{path:?}: {words}");
        let words = refused(&mut rig, &path, spec, OnDamagedInput::Fail).await;
        assert!(words.contains("is damaged: "), "{words}");
    }
}

#[tokio::test]
async fn a_whole_input_is_not_called_damaged() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["clip.mp4", "clip.mkv", "clip.ts", "clip.flv", "clip.mov"] {
        let path = clip(folder.path(), name, &["-ar", "44100"]);
        assign(&mut rig, &path, H264, OnDamagedInput::Fail).await;
        let succeeded = rig.coordinator.succeeded().await;
        assert_eq!(
            (succeeded.damage, succeeded.warnings.len()),
            (None, 0),
            "{name}: {:?}",
            succeeded.warnings
        );
    }
}

#[tokio::test]
async fn an_input_of_which_nothing_can_be_decoded_is_invalid_whatever_the_policy() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let fast = clip(folder.path(), "fast.mp4", &["-movflags", "+faststart"]);
    let mut bytes = fs::read(&fast).unwrap();
    let media = bytes.windows(4).position(|word| word == b"mdat").unwrap() + 4;
    let stub = folder.path().join("stub.mp4");
    fs::write(&stub, &bytes[..media + 40]).unwrap();
    bytes[media..].fill(0);
    let zeroed = folder.path().join("zeroed.mp4");
    fs::write(&zeroed, &bytes).unwrap();
    for path in [zeroed, stub] {
        for policy in [OnDamagedInput::Warn, OnDamagedInput::Fail] {
            let words = refused(&mut rig, &path, H264, policy).await;
            assert!(words.contains("damaged beyond use"), "{words}");
        }
    }
}

/// An ffmpeg that does something else: `$out` is the output's path.
fn fake(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("ffmpeg");
    fs::write(&path, format!("#!/bin/sh\nfor out; do :; done\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn an_ffmpeg_that_lies_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), "clip.mp4", &[]);
    for (script, words) in [
        ("exit 0", ["encoded nothing", "did not write it"]),
        (": > \"$out\"", ["encoded nothing", "empty"]),
        (
            "head -c 4000 /dev/urandom > \"$out\"; echo frame=50; echo progress=end",
            ["success", "cannot be read"],
        ),
        // The disk was full and nobody said so: the index is whole, the media is not.
        (
            "ffmpeg \"$@\"; truncate -s -3000 \"$out\"",
            ["ffmpeg reported success", "frames and ffmpeg encoded 50"],
        ),
        (
            "shift; ffmpeg -t 1 \"$@\" ",
            ["ffmpeg reported success", "the video lasts 1.000 s and the input's 2.000 s"],
        ),
        ("ffmpeg \"$@\"; cp \"$out\" \"$(dirname \"$out\")/core\"", ["core", "left over"]),
        (
            "ffmpeg -ac 1 \"$@\" && ffmpeg -v error -y -i \"$out\" -c:v copy -ac 2 -f mp4 x && mv x \"$out\"",
            ["2 channels", "instead of 1"],
        ),
    ] {
        let program = fake(folder.path(), script);
        let mut rig = Rig::with(|config| config.ffmpeg = program).await;
        assign(&mut rig, &path, H264, OnDamagedInput::Warn).await;
        let failed = rig.coordinator.failed().await;
        assert_eq!(failed.kind, "output_wrong", "{script}: {}", failed.message);
        for word in words {
            assert!(failed.message.contains(word), "{script}: {:?} lacks {word:?}", failed.message);
        }
        rig.assert_clean();
    }
}
