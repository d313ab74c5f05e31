//! Scratch space: reserved before it is used, bounded, and told.

#![allow(clippy::unwrap_used)]

mod support;

use common::proto::{self, coordinator_message::Message as ToWorker, worker_message::Message as FromWorker};
use support::{Coordinator, H264, Rig, clip, fake, film};

const MIB: u64 = 1 << 20;

/// The next heartbeat that says why no work is taken, or that it is.
async fn heartbeat(coordinator: &mut Coordinator, takes: bool) -> proto::Heartbeat {
    let what = if takes { "heartbeat that takes work" } else { "heartbeat that takes none" };
    coordinator
        .next(what, |message| match message {
            FromWorker::Heartbeat(beat) => Some(beat).filter(|beat| beat.not_taking.is_empty() == takes),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_result_that_outgrows_its_room_is_ended_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let greedy = fake(folder.path(), "head -c 80000000 /dev/zero > out/clip.mp4; exec sleep 600");
    let mut rig = Rig::with(|config| {
        config.ffmpeg = greedy;
        config.scratch_limit = Some(70 * MIB);
    })
    .await;
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    rig.assign(&url, H264).await;
    let failed = rig.coordinator.failed().await;
    assert_eq!(failed.kind, "disk_full", "{failed:?}");
    assert!(failed.missing_scratch_bytes >= 160_000_000, "{failed:?}");
    for words in ["encoding clip.mp4", "70.0 MiB", "TVARR_SCRATCH_LIMIT"] {
        assert!(failed.message.contains(words), "{failed:?}");
    }
    rig.assert_clean();
}

#[tokio::test]
async fn what_cannot_fit_fails_before_ffmpeg_starts() {
    let mut rig = Rig::with(|config| config.scratch_limit = Some(100 * MIB)).await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    let huge = r#"{"kind":"file","container":"mp4","video":{"codec":"h264","rate":{"bitrate":{"average":2000000000,"max":2000000000,"buffer":2000000000}}}}"#;
    rig.assign(&url, huge).await;
    let failed = rig
        .coordinator
        .next("AttemptFinished", |message| match message {
            FromWorker::AttemptStarted(started) => panic!("ffmpeg was started: {started:?}"),
            FromWorker::AttemptFinished(finished) => finished.result,
            _ => None,
        })
        .await;
    let proto::attempt_finished::Result::Failed(failed) = failed else { panic!("{failed:?}") };
    assert_eq!(failed.kind, "disk_full");
    assert!((500_000_000..700_000_000).contains(&failed.missing_scratch_bytes), "{failed:?}");
    rig.assert_clean();
}

/// Takes much longer than any test, and no more scratch than the least that is reserved.
const SMALL_BUT_SLOW: &str = r#"{"kind":"file","container":"mp4","video":{"codec":"hevc","rate":{"bitrate":{"average":100000,"max":100000,"buffer":100000}},"speed":"slow"}}"#;

#[tokio::test]
async fn a_worker_without_room_hands_back_until_it_has_some() {
    let mut rig = Rig::with(|config| config.scratch_limit = Some(100 * MIB)).await;
    let beat = heartbeat(&mut rig.coordinator, true).await;
    assert_eq!(beat.load.unwrap().scratch_available_bytes, Some(100 * MIB));
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&film(folder.path()));
    let first = rig.assign(&url, SMALL_BUT_SLOW).await;
    let beat = heartbeat(&mut rig.coordinator, false).await;
    let scratch = rig.scratch();
    for words in ["no room in the scratch folder", scratch.to_str().unwrap(), "64.0 MiB", "make room"] {
        assert!(beat.not_taking.contains(words), "{}", beat.not_taking);
    }
    assert!(beat.load.unwrap().scratch_available_bytes.unwrap() <= 36 * MIB);

    let second = rig.assign(&url, SMALL_BUT_SLOW).await;
    let finished = rig.coordinator.finished().await;
    assert_eq!(finished.task_id, second.task_id);
    let Some(proto::attempt_finished::Result::Failed(failed)) = finished.result else { panic!() };
    assert_eq!(failed.kind, "handed_back", "{failed:?}");
    assert!(failed.message.contains("no room in the scratch folder"), "{failed:?}");

    rig.coordinator.hang_up();
    let hello = rig.coordinator.hello().await;
    assert!(hello.not_taking.contains("no room"), "{:?}, {:?}", hello.not_taking, hello.running);

    let stop = proto::StopAttempt { task_id: first.task_id, epoch: 1, reason: String::new() };
    rig.coordinator.send(ToWorker::StopAttempt(stop)).await;
    heartbeat(&mut rig.coordinator, true).await;
    assert_eq!(rig.coordinator.failed().await.kind, "cancelled");
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    rig.assign(&url, H264).await;
    rig.coordinator.started().await;
}

#[tokio::test]
async fn a_worker_that_starts_without_room_says_so_in_its_hello() {
    let rig = Rig::with(|config| config.scratch_keep_free = Some(u64::MAX)).await;
    assert!(rig.hello.not_taking.contains("TVARR_SCRATCH_KEEP_FREE"), "{}", rig.hello.not_taking);
}

#[tokio::test]
async fn a_full_disk_makes_a_worker_take_nothing_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let full = fake(
        folder.path(),
        "echo '[error] av_interleaved_write_frame(): No space left on device' >&2; exit 1",
    );
    let mut rig = Rig::with(|config| config.ffmpeg = full).await;
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    rig.assign(&url, H264).await;
    let mut said = String::new();
    let failed = rig
        .coordinator
        .next("AttemptFinished", |message| match message {
            FromWorker::Heartbeat(beat) => {
                said = beat.not_taking;
                None
            }
            FromWorker::AttemptFinished(finished) => finished.result,
            _ => None,
        })
        .await;
    let proto::attempt_finished::Result::Failed(failed) = failed else { panic!("{failed:?}") };
    assert_eq!(failed.kind, "disk_full");
    assert!(said.contains("ffmpeg found the file system full"), "it is told before the result: {said}");
    heartbeat(&mut rig.coordinator, true).await;
}
