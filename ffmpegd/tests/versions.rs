//! A coordinator of another version: the one before with the words that it really said, and one that is too new.

#![allow(clippy::unwrap_used)]

#[path = "../../common/tests/recorded/load.rs"]
mod recorded;
mod support;

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{
    live::{Ingest, Work},
    proto::{self, coordinator_message::Message as Told, worker_message::Message as FromWorker},
};
use ffmpegd::Outcome;
use recorded::{Recorded, told};
use support::{
    Coordinator, Rig, TOKEN, clip, eventually,
    port::{Got, Port, footage},
};

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was recorded of a version.
fn version(number: u32) -> Vec<Recorded> {
    recorded::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/tests/recorded"), number)
}

#[tokio::test]
async fn a_coordinator_of_version_1_gets_its_work_done() {
    let messages = version(1);
    let mut rig = Rig::start().await;
    rig.coordinator.speak(1);
    rig.coordinator.acknowledge(false);
    rig.coordinator.hang_up();
    let hello = rig.coordinator.hello().await;
    assert!((hello.protocol_min..=hello.protocol_max).contains(&1), "{hello:?}");

    let media = tempfile::tempdir().unwrap();
    let url = rig.coordinator.offer(&clip(media.path(), "bikes-2s.mp4", &[]));
    let Told::Assign(mut assign) = told(&messages, "assign").remove(0) else { panic!("no assignment") };
    // Its own input is gone; everything else is as it was said.
    assign.input.as_mut().unwrap().location = Some(proto::input::Location::Url(url));
    rig.coordinator.send(Told::Assign(assign.clone())).await;
    assert_eq!(rig.coordinator.started().await.task_id, assign.task_id);
    for draining in told(&messages, "set-draining") {
        rig.coordinator.send(draining).await;
    }
    let beats = |message| match message {
        FromWorker::Heartbeat(beat) => Some(beat),
        FromWorker::AttemptFinished(finished) => panic!("it finished before a heartbeat: {finished:?}"),
        _ => None,
    };
    let beat = rig.coordinator.next("Heartbeat", beats).await;
    assert_eq!((beat.attempts[0].task_id.as_str(), beat.attempts[0].epoch), (assign.task_id.as_str(), 1));
    rig.coordinator.send(told(&messages, "renewed").remove(0)).await;

    let succeeded = rig.coordinator.succeeded().await;
    assert_eq!(succeeded.outputs[0].path, "bikes-2s.mp4");
    let uploads = rig.coordinator.uploads();
    let file = &uploads[&format!("{}-1/bikes-2s.mp4", assign.task_id)];
    assert_eq!(file.len() as u64, succeeded.outputs[0].size);
    rig.assert_clean();

    // Its acknowledgement is one: the worker has nothing left to tell and leaves.
    rig.coordinator.send(told(&messages, "acknowledged").remove(0)).await;
    rig.coordinator.send(told(&messages, "idle").remove(0)).await;
    rig.shutdown.drain.cancel();
    assert_eq!(rig.left().await, Outcome::Done);
}

/// The first assignment of live work of this kind, with addresses of a port of today's.
fn live(messages: &[Recorded], kind: &str, port: &Port) -> proto::Assign {
    let Told::Assign(assign) = told(messages, kind).remove(0) else { panic!("no assignment") };
    let reads = !assign.live_input_url.is_empty();
    proto::Assign {
        live_input_url: if reads { format!("http://{}/live/input", port.address) } else { String::new() },
        live_output_url: format!("http://{}/live/output", port.address),
        ..assign
    }
}

#[tokio::test]
async fn a_coordinator_of_version_3_gets_its_live_work_done() {
    let messages = version(3);
    let shared = tempfile::tempdir().unwrap();
    let root = shared.path().canonicalize().unwrap();
    let roots = vec![root.clone()];
    let mut rig = Rig::with(move |config| config.shared_roots = roots).await;
    rig.coordinator.speak(3);
    rig.coordinator.hang_up();
    rig.coordinator.hello().await;

    // A source that is encoded, until it ends.
    let mut port = Port::open(None).await;
    port.give(&footage(2)).await;
    let assign = live(&messages, "assign-encode", &port);
    rig.coordinator.send(Told::Assign(assign.clone())).await;
    let started = rig.coordinator.started().await;
    assert_eq!((&started.task_id, started.epoch), (&assign.task_id, assign.epoch));
    assert!(started.argv.iter().any(|arg| arg == "libx264"), "{:?}", started.argv);
    assert!(matches!(port.next().await, Got::Bytes(_)));
    rig.coordinator.send(told(&messages, "renewed-encode").remove(0)).await;
    port.source = None;
    assert_eq!(port.all().await.1, Got::End);
    assert_eq!(rig.coordinator.succeeded().await.outputs, []);

    // One that the worker brings, until it is stopped.
    let mut port = Port::open(None).await;
    let mut assign = live(&messages, "assign-ingest", &port);
    let Ok(Work::Ingest(said)) = serde_json::from_str(&assign.live_json) else {
        panic!("{}", assign.live_json)
    };
    // Its own file is gone.
    let file = root.join("loop.ts");
    fs::write(&file, footage(2)).unwrap();
    let url = file.to_str().unwrap().to_owned();
    assign.live_json = serde_json::to_string(&Work::Ingest(Ingest { url, ..said })).unwrap();
    rig.coordinator.send(Told::Assign(assign)).await;
    rig.coordinator.started().await;
    assert!(matches!(port.next().await, Got::Bytes(_)));
    rig.coordinator.send(told(&messages, "stop-ingest").remove(0)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "cancelled");
    assert_eq!(port.all().await.1, Got::Broken);
    rig.assert_clean();
}

#[tokio::test]
async fn a_coordinator_that_is_too_new_is_told_of_and_dialled_again() {
    let mut coordinator = Coordinator::start().await;
    let newer = proto::PROTOCOL_MAX + 1;
    coordinator.speak(newer);
    let state = tempfile::tempdir().unwrap();
    let log = state.path().join("log");
    let daemon = Command::new(env!("CARGO_BIN_EXE_ffmpegd"))
        .args(["--coordinator-url", &coordinator.address.to_string(), "--hwaccel", "none", "--state-dir"])
        .arg(state.path())
        .env("TVARR_AUTH_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn();
    let mut daemon = Daemon(daemon.unwrap());
    coordinator.hello().await;
    let words = format!("protocol version {newer}, and this worker speaks");
    eventually("a word about versions", || async {
        fs::read_to_string(&log).unwrap().contains(&words).then_some(())
    })
    .await;
    // The coordinator is put back to a version that both know; nobody touches the worker.
    coordinator.speak(proto::PROTOCOL_MAX);
    coordinator.hello().await;
    let beats = |message| matches!(message, FromWorker::Heartbeat(_)).then_some(());
    coordinator.next("Heartbeat", beats).await;
    assert_eq!(daemon.0.try_wait().unwrap(), None, "it gave up");
    assert_eq!(fs::read_to_string(&log).unwrap().matches(&words).count(), 1, "it is said once");
}
