//! A real worker and a real ffmpeg, with a coordinator that the test plays.

#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, time::Duration};

use common::proto::{self, coordinator_message::Message as ToWorker, worker_message::Message as FromWorker};
use ffmpegd::Outcome;
use support::{Coordinator, H264, Rig, SLOW, clip, eventually, film, processes_in};

#[tokio::test]
async fn a_clip_is_encoded_checked_and_uploaded() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    let assign = rig.assign(&url, H264).await;

    let started = rig.coordinator.started().await;
    assert_eq!(started.task_id, assign.task_id);
    assert!(started.argv.iter().any(|arg| arg == "libx264"), "{:?}", started.argv);
    assert!(started.input_info_json.contains("\"h264\""), "{}", started.input_info_json);

    let succeeded = rig.coordinator.succeeded().await;
    let output = &succeeded.outputs[0];
    assert_eq!((output.path.as_str(), output.content_type.as_str()), ("clip.mp4", "video/mp4"));
    let uploads = rig.coordinator.uploads();
    let file = &uploads[&format!("{}-1/clip.mp4", assign.task_id)];
    assert_eq!(file.len() as u64, output.size);
    let progress = succeeded.final_progress.unwrap();
    assert!(progress.frames >= 49, "{progress:?}");
    rig.assert_clean();

    rig.shutdown.drain.cancel();
    assert_eq!(rig.left().await, Outcome::Done);
}

#[tokio::test]
async fn cancelling_kills_ffmpeg_and_cleans_up() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&film(folder.path()));
    let assign = rig.assign(&url, SLOW).await;
    rig.coordinator.started().await;
    assert!(!processes_in(&rig.scratch()).is_empty());
    let stop = proto::StopAttempt {
        task_id: assign.task_id,
        epoch: assign.epoch,
        reason: "cancelled by a test".to_owned(),
    };
    rig.coordinator.send(ToWorker::StopAttempt(stop)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "cancelled");
    rig.assert_clean();
}

#[tokio::test]
async fn ffmpeg_goes_on_while_the_coordinator_is_away() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&film(folder.path()));
    let assign = rig.assign(&url, SLOW).await;
    rig.coordinator.started().await;
    let before = processes_in(&rig.scratch());
    rig.coordinator.hang_up();
    let hello = rig.coordinator.hello().await;
    assert_eq!(hello.running, [proto::RunningAttempt { task_id: assign.task_id.clone(), epoch: 1 }]);
    assert_eq!(rig.coordinator.started().await.task_id, assign.task_id, "it is told again");
    assert_eq!(processes_in(&rig.scratch()), before);

    // The next time the coordinator has given it to somebody else.
    rig.coordinator.keep(false);
    rig.coordinator.hang_up();
    rig.coordinator.hello().await;
    let scratch = rig.scratch();
    eventually("stopping", || async { fs::read_dir(&scratch).unwrap().next().is_none().then_some(()) }).await;
    rig.assert_clean();
}

#[tokio::test]
async fn a_result_that_nobody_acknowledged_is_told_again() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    rig.coordinator.acknowledge(false);
    rig.assign(&url, H264).await;
    rig.coordinator.succeeded().await;
    rig.coordinator.acknowledge(true);
    rig.coordinator.hang_up();
    assert_eq!(rig.coordinator.hello().await.running.len(), 1);
    rig.coordinator.succeeded().await;
    rig.shutdown.drain.cancel();
    assert_eq!(rig.left().await, Outcome::Done);
}

#[tokio::test]
async fn an_attempt_without_a_lease_stops_by_itself() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&film(folder.path()));
    rig.coordinator.lease(Duration::from_secs(5), true);
    rig.coordinator.hang_up();
    rig.coordinator.hello().await;
    rig.assign(&url, SLOW).await;
    rig.coordinator.started().await;
    // Only now: how long it takes to start is the machine's affair.
    rig.coordinator.lease(Duration::from_secs(5), false);
    let scratch = rig.scratch();
    eventually("stopping", || async { fs::read_dir(&scratch).unwrap().next().is_none().then_some(()) }).await;
    rig.assert_clean();
}

#[tokio::test]
async fn uploads_are_tried_again() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    rig.coordinator.refuse_uploads(2);
    rig.assign(&url, H264).await;
    rig.coordinator.succeeded().await;
    assert_eq!(rig.coordinator.uploads().len(), 1);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_refuses_what_comes() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    rig.assign(&url, H264).await;
    rig.coordinator.started().await;
    rig.shutdown.drain.cancel();
    rig.coordinator
        .next("Draining", |message| matches!(message, FromWorker::Draining(_)).then_some(()))
        .await;
    rig.coordinator.succeeded().await;
    assert_eq!(rig.left().await, Outcome::Done);
}

#[tokio::test]
async fn what_is_not_done_when_the_drain_ends_is_handed_back() {
    let mut rig = Rig::with(|config| config.drain_timeout = Duration::from_millis(100)).await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&film(folder.path()));
    rig.assign(&url, SLOW).await;
    rig.coordinator.started().await;
    rig.shutdown.drain.cancel();
    assert_eq!(rig.coordinator.failed().await.kind, "handed_back");
    rig.assert_clean();
    assert_eq!(rig.left().await, Outcome::Unfinished(1));
}

#[tokio::test]
async fn an_idle_worker_that_was_asked_to_leaves() {
    let rig = Rig::with(|config| config.exit_when_idle = true).await;
    rig.coordinator.send(ToWorker::Idle(proto::Idle {})).await;
    assert_eq!(rig.left().await, Outcome::Done);
}

#[tokio::test]
async fn more_than_was_declared_is_handed_back() {
    let mut rig = Rig::with(|config| config.limits.cpu_jobs = Some(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&film(folder.path()));
    rig.assign(&url, SLOW).await;
    rig.coordinator.started().await;
    rig.assign(&url, SLOW).await;
    assert_eq!(rig.coordinator.failed().await.kind, "handed_back");
    assert_eq!(fs::read_dir(rig.scratch()).unwrap().count(), 1);
}

#[tokio::test]
async fn odd_messages_are_survived() {
    let mut rig = Rig::start().await;
    let odd = proto::RunningAttempt { task_id: "?".to_owned(), epoch: 0 };
    for message in [
        ToWorker::Welcome(proto::Welcome::default()),
        ToWorker::Assign(proto::Assign::default()),
        ToWorker::StopAttempt(proto::StopAttempt::default()),
        ToWorker::AttemptAcknowledged(proto::AttemptAcknowledged::default()),
        ToWorker::LeasesRenewed(proto::LeasesRenewed { attempts: vec![odd] }),
        ToWorker::SetDraining(proto::SetDraining { draining: true }),
        ToWorker::Idle(proto::Idle {}),
    ] {
        rig.coordinator.send(message).await;
    }
    let assign = proto::Assign { spec_json: "{}".to_owned(), ..rig.coordinator.assign("/in/x", H264) };
    rig.coordinator.send(ToWorker::Assign(assign)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "invalid_spec");
}

#[tokio::test]
async fn a_worker_whose_version_does_not_fit_connects_once_the_coordinator_is_updated() {
    let mut rig = Rig::start().await;
    rig.coordinator.refuse_version(true);
    rig.coordinator.hang_up();
    eventually("a refusal", || async { (rig.coordinator.refused() > 0).then_some(()) }).await;
    rig.coordinator.refuse_version(false);
    rig.coordinator.hello().await;
    // It waits for seconds in between, however long the coordinator takes.
    assert_eq!(rig.coordinator.refused(), 1);
    rig.shutdown.drain.cancel();
    assert_eq!(rig.left().await, Outcome::Done);
}

#[tokio::test]
async fn the_coordinator_comes_back_at_the_same_address() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path(), "clip.mp4", &[]);
    let address = rig.coordinator.address;
    rig.coordinator = Coordinator::start().await;
    rig.coordinator = Coordinator::start_at(address).await;
    rig.coordinator.hello().await;
    let url = rig.coordinator.offer(&clip);
    rig.assign(&url, H264).await;
    rig.coordinator.succeeded().await;
}
