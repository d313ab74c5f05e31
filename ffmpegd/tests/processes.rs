//! What ffmpeg may do wrong as a process, with small scripts in its place, and what the worker learns from it.

#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, path::Path};

use common::{
    media::EncoderFamily,
    proto::{self, coordinator_message::Message as ToWorker, worker_message::Message as FromWorker},
    worker::{Encoder, EncoderDevice},
};
use ffmpegd::probe;
use support::{Coordinator, H264, Rig, clip, fake, processes_in};

/// A worker whose ffmpeg is a script, and an assignment for it.
async fn with_fake(folder: &Path, script: &str) -> (Rig, proto::Assign) {
    let fake = fake(folder, script);
    let rig = Rig::with(|config| config.ffmpeg = fake).await;
    let url = rig.coordinator.offer(&clip(folder, "clip.mp4", &[]));
    let assign = rig.coordinator.assign(&url, H264);
    (rig, assign)
}

async fn capabilities(coordinator: &mut Coordinator) -> proto::Capabilities {
    coordinator
        .next("CapabilitiesChanged", |message| match message {
            FromWorker::CapabilitiesChanged(changed) => changed.capabilities,
            _ => None,
        })
        .await
}

#[tokio::test]
async fn neither_ignoring_sigterm_nor_children_help_against_a_cancel() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' TERM INT HUP; sleep 600 & (sleep 600 & wait) & wait; sleep 600";
    let (mut rig, assign) = with_fake(folder.path(), script).await;
    rig.coordinator.send(ToWorker::Assign(assign.clone())).await;
    rig.coordinator.started().await;
    let scratch = rig.scratch();
    support::eventually("the children", || async { (processes_in(&scratch).len() >= 4).then_some(()) }).await;
    let stop = proto::StopAttempt { task_id: assign.task_id, epoch: 1, reason: "a test".to_owned() };
    rig.coordinator.send(ToWorker::StopAttempt(stop)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "cancelled");
    support::eventually("their ends", || async { processes_in(&scratch).is_empty().then_some(()) }).await;
    rig.assert_clean();
}

#[tokio::test]
async fn ffmpeg_that_hangs_is_ended_as_stalled() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rig, assign) =
        with_fake(folder.path(), "echo frame=1; echo progress=continue; exec sleep 600").await;
    let assign = proto::Assign { stall_timeout_ms: 1500, ..assign };
    rig.coordinator.send(ToWorker::Assign(assign)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "stalled");
    rig.assert_clean();
}

#[tokio::test]
async fn a_flood_on_stderr_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let script = "head -c 48000000 /dev/zero | tr '\\0' x >&2; yes '[error] something is wrong' | head -n 400000 >&2; exit 1";
    let (mut rig, assign) = with_fake(folder.path(), script).await;
    let before = peak_memory_kib();
    rig.coordinator.send(ToWorker::Assign(assign)).await;
    let finished = rig.coordinator.finished().await;
    let Some(proto::attempt_finished::Result::Failed(failed)) = finished.result else { panic!() };
    assert_eq!(failed.kind, "crashed");
    assert!(failed.message.contains("something is wrong"), "{}", failed.message);
    assert!(finished.log_tail.iter().map(String::len).sum::<usize>() <= 16 * 1024);
    let grown = peak_memory_kib() - before;
    assert!(grown < 24 * 1024, "{grown} KiB for 58 MB of stderr");
    rig.assert_clean();
}

/// Of this process, in which the worker runs.
fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_worker_that_is_doubted_probes_its_machine_and_says_what_it_found() {
    let mut rig = Rig::with(|config| config.hwaccel = "none".parse().unwrap()).await;
    rig.coordinator.send(ToWorker::ProbeAgain(proto::ProbeAgain { reason: "a test".to_owned() })).await;
    let found = capabilities(&mut rig.coordinator).await;
    assert_ne!(found.ffmpeg_version, "test");
    assert!(found.encoders.iter().any(|encoder| encoder.name == "libx264"));
    // Nothing is new, and it is told nevertheless.
    rig.coordinator.send(ToWorker::ProbeAgain(proto::ProbeAgain::default())).await;
    assert_eq!(capabilities(&mut rig.coordinator).await.encoders, found.encoders);
    rig.coordinator.hang_up();
    assert_eq!(rig.coordinator.hello().await.capabilities.unwrap().encoders, found.encoders);
}

#[tokio::test]
async fn a_crash_on_a_device_makes_a_worker_doubt_itself() {
    let folder = tempfile::tempdir().unwrap();
    let fake = fake(folder.path(), "case \"$*\" in *-progress*) exit 1 ;; *) exec ffmpeg \"$@\" ;; esac");
    let settings = probe::Settings { hwaccel: "none".parse().unwrap(), ..probe::Settings::default() };
    let mut known = probe::probe(&settings).await.unwrap();
    known.encoders.push(Encoder {
        name: "h264_nvenc".to_owned(),
        codec: "h264".to_owned(),
        family: EncoderFamily::Nvenc,
        devices: vec![EncoderDevice { gpu: 0, path: "0".to_owned(), bit_depths: vec![8] }],
    });
    let mut rig = Rig::with(|config| {
        config.ffmpeg = fake;
        config.capabilities = Some(known);
        config.hwaccel = "none".parse().unwrap();
    })
    .await;
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    let on_gpu = proto::Assign {
        encoder: "h264_nvenc".to_owned(),
        device: Some(proto::EncoderDevice { gpu: 0, path: "0".to_owned(), bit_depths: vec![8] }),
        ..rig.coordinator.assign(&url, H264)
    };
    rig.coordinator.send(ToWorker::Assign(on_gpu)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "crashed");
    let found = capabilities(&mut rig.coordinator).await;
    assert!(!found.encoders.iter().any(|encoder| encoder.name == "h264_nvenc"), "{:?}", found.encoders);
}
