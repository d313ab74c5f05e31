//! What the versions before this one said still means the same.

#![allow(clippy::unwrap_used)]

mod load;

use std::path::Path;

use common::{
    failure::FailureKind,
    id::{JobId, SessionId, StreamId, TaskId, WorkerId},
    live::{Container, Work},
    media::MediaInfo,
    profile::Profiles,
    proto::{
        self, CoordinatorMessage, OnDamagedInput, OpenUploadsRequest, OpenUploadsResponse, WorkerMessage,
        attempt_finished::Result as Outcome, coordinator_message::Message as Told,
        worker_message::Message as Said,
    },
    spec::Spec,
    worker::Capabilities,
};
use load::{Recorded, call, said, told};
use prost::Message;

fn messages(version: u32) -> Vec<Recorded> {
    load::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded"), version)
}

/// Of the one kind that is asked for.
macro_rules! each {
    ($messages:expr, $variant:path) => {
        $messages.into_iter().map(|message| match message {
            $variant(inner) => inner,
            other => panic!("{other:?}"),
        })
    };
}

#[test]
fn every_version_that_is_spoken_was_recorded() {
    for version in proto::PROTOCOL_MIN..=proto::PROTOCOL_MAX {
        let messages = messages(version);
        let hello = each!(said(&messages, "hello"), Said::Hello).next().unwrap();
        assert_eq!(hello.protocol_max, version);
        let welcome = each!(told(&messages, "welcome"), Told::Welcome).next().unwrap();
        assert_eq!(welcome.protocol, version);
    }
}

/// A field that was dropped, renumbered or given another type would be lost on the way or come out different.
#[test]
fn nothing_that_was_recorded_gets_lost_by_decoding() {
    for version in proto::PROTOCOL_MIN..=proto::PROTOCOL_MAX {
        for Recorded { by, kind, bytes } in messages(version) {
            let again = match (by.as_str(), kind.as_str()) {
                (_, "open-uploads") => OpenUploadsRequest::decode(bytes.as_slice()).unwrap().encode_to_vec(),
                (_, "upload-urls") => OpenUploadsResponse::decode(bytes.as_slice()).unwrap().encode_to_vec(),
                ("worker", _) => WorkerMessage::decode(bytes.as_slice()).unwrap().encode_to_vec(),
                _ => CoordinatorMessage::decode(bytes.as_slice()).unwrap().encode_to_vec(),
            };
            assert!(again == bytes, "v{version}: {kind} of the {by} is not what it was");
        }
    }
}

#[test]
fn a_worker_of_version_1_is_understood() {
    let messages = messages(1);
    let hello = each!(said(&messages, "hello"), Said::Hello).next().unwrap();
    assert_eq!((hello.protocol_min, hello.protocol_max), (1, 1));
    assert_eq!((hello.name.as_str(), hello.version.as_str()), ("steady", "0.1.0"));
    assert_eq!(hello.labels, [("site".to_owned(), "here".to_owned())].into());
    assert_eq!(hello.capacity, Some(proto::Capacity { max_jobs: 2, max_gpu_jobs: 0, max_cpu_jobs: 2 }));
    assert!(
        !hello.exit_when_idle && !hello.draining && hello.presets.is_empty() && hello.not_taking.is_empty()
    );
    assert!(hello.dialled.starts_with("127.0.0.1:"));
    let worker: WorkerId = hello.worker_id.parse().unwrap();
    let capabilities = Capabilities::try_from(hello.capabilities.unwrap()).unwrap();
    assert_eq!(capabilities.ffmpeg_version, "5.1.9-0+deb12u1");
    assert_eq!(capabilities.encoder("libx264").unwrap().codec, "h264");
    assert!(capabilities.encoder("h264_nvenc").is_none() && !capabilities.rejected.is_empty());
    assert!(capabilities.filters.contains("scale") && capabilities.muxers.contains("mp4"));
    assert!(capabilities.machine.cores > 0);

    let again = each!(said(&messages, "hello-again"), Said::Hello).next().unwrap();
    assert_eq!(again.worker_id.parse::<WorkerId>().unwrap(), worker);
    assert_eq!((again.running.len(), again.running[0].epoch), (1, 1));
    again.running[0].task_id.parse::<TaskId>().unwrap();

    for beat in each!(said(&messages, "heartbeat"), Said::Heartbeat) {
        let load = beat.load.unwrap();
        assert!(load.memory_used_bytes > 0 && load.scratch_free_bytes > 0);
        // What version 1 did not say is not taken for an answer.
        assert_eq!((load.scratch_available_bytes, beat.not_taking.as_str()), (None, ""));
    }
    let started = each!(said(&messages, "started"), Said::AttemptStarted).next().unwrap();
    assert!(started.argv[0].ends_with("ffmpeg") && started.argv.contains(&"libx264".to_owned()));
    let input: MediaInfo = serde_json::from_str(&started.input_info_json).unwrap();
    assert_eq!((input.duration, input.size, input.streams.len()), (Some(2.16), Some(92_568), 1));

    let beats = each!(said(&messages, "heartbeat-log"), Said::Heartbeat).collect::<Vec<_>>();
    let said_of = &beats.last().unwrap().attempts[0];
    assert_eq!((said_of.task_id.as_str(), said_of.epoch), (started.task_id.as_str(), 1));
    let progress = said_of.progress.as_ref().unwrap();
    assert_eq!((progress.frames, progress.phase.as_str(), progress.out_time_us), (52, "encoding", 1_960_078));
    assert!(progress.fraction.is_some_and(|fraction| fraction > 0.9 && fraction < 1.0));
    assert!(!said_of.log.is_empty());

    let request: OpenUploadsRequest = call(&messages, "open-uploads");
    assert_eq!(request.worker_id.parse::<WorkerId>().unwrap(), worker);
    request.session_id.parse::<SessionId>().unwrap();
    let file = &request.files[0];
    assert_eq!((file.path.as_str(), file.content_type.as_str()), ("bikes-2s.mp4", "video/mp4"));
    assert_eq!((file.size, file.sha256.as_str()), (102_435, ""));

    let finished = each!(said(&messages, "succeeded"), Said::AttemptFinished).next().unwrap();
    let Some(Outcome::Succeeded(succeeded)) = finished.result else { panic!("{finished:?}") };
    assert_eq!(succeeded.outputs, request.files);
    assert_eq!(succeeded.damage, None, "no word of damage is no damage");
    assert_eq!(succeeded.final_progress.unwrap().phase, "uploading");
    assert!(!finished.log_tail.is_empty());

    let failed = each!(said(&messages, "failed"), Said::AttemptFinished).next().unwrap();
    let Some(Outcome::Failed(failed)) = failed.result else { panic!("{failed:?}") };
    assert_eq!(failed.kind.parse::<FailureKind>().unwrap(), FailureKind::InvalidInput);
    assert!(failed.message.contains("no-moov.mp4") && failed.missing_scratch_bytes == 0);

    let reasons: Vec<_> =
        each!(said(&messages, "draining"), Said::Draining).map(|draining| draining.reason).collect();
    assert_eq!(reasons, ["the worker is shutting down", "nothing is queued for this worker"]);
}

#[test]
fn a_coordinator_of_version_1_is_understood() {
    let messages = messages(1);
    let welcome = each!(told(&messages, "welcome"), Told::Welcome).next().unwrap();
    welcome.session_id.parse::<SessionId>().unwrap();
    assert_eq!((welcome.heartbeat_interval_ms, welcome.lease_ms), (200, 30_000));
    assert_eq!(welcome.verdicts, []);

    let assign = each!(told(&messages, "assign"), Told::Assign).next().unwrap();
    assign.job_id.parse::<JobId>().unwrap();
    assign.task_id.parse::<TaskId>().unwrap();
    assert_eq!((assign.epoch, assign.preset.as_str(), assign.encoder.as_str()), (1, "h264", "libx264"));
    assert_eq!((assign.device, assign.stall_timeout_ms, assign.time_limit_ms), (None, 60_000, 0));
    assert_eq!(OnDamagedInput::try_from(assign.on_damaged_input), Ok(OnDamagedInput::Warn));
    let spec: Spec = serde_json::from_str(&assign.spec_json).unwrap();
    let preset = common::preset::Presets::builtin();
    assert_eq!(spec, preset.get("h264").unwrap().spec, "the preset, as it was and is");
    let input = assign.input.unwrap();
    assert_eq!(input.name, "bikes-2s.mp4");
    let Some(proto::input::Location::Url(url)) = input.location else { panic!("{input:?}") };
    assert!(url.starts_with("/objects/uploads/"), "{url}");

    let renewed = each!(told(&messages, "renewed"), Told::LeasesRenewed).next().unwrap();
    let ours = proto::RunningAttempt { task_id: assign.task_id.clone(), epoch: 1 };
    assert_eq!(renewed.attempts, [ours]);
    let acknowledged = each!(told(&messages, "acknowledged"), Told::AttemptAcknowledged).next().unwrap();
    assert_eq!((acknowledged.task_id, acknowledged.epoch), (assign.task_id.clone(), 1));
    assert!(acknowledged.accepted && acknowledged.reason.is_empty());
    let urls: OpenUploadsResponse = call(&messages, "upload-urls");
    let place = format!("/objects/jobs/{}/{}/1/bikes-2s.mp4?", assign.job_id, assign.task_id);
    assert!(urls.urls[0].starts_with(&place), "{urls:?}");

    let again = each!(told(&messages, "welcome-again"), Told::Welcome).next().unwrap();
    assert!(again.session_id != welcome.session_id && again.verdicts[0].keep);
    let stop = each!(told(&messages, "stop"), Told::StopAttempt).next().unwrap();
    assert_eq!((stop.epoch, stop.reason.as_str()), (1, "the job is over"));
    let draining: Vec<_> =
        each!(told(&messages, "set-draining"), Told::SetDraining).map(|set| set.draining).collect();
    assert_eq!(draining, [true, false]);
    assert_eq!(told(&messages, "idle"), [Told::Idle(proto::Idle {})]);
}

#[test]
fn live_work_of_version_3_is_understood() {
    let messages = messages(3);
    let assigned = |kind: &str| {
        let assign = each!(told(&messages, kind), Told::Assign).next().unwrap();
        assign.job_id.parse::<StreamId>().unwrap();
        assert_eq!((assign.epoch, assign.spec_json.as_str(), assign.input.as_ref()), (1, "", None));
        let output = format!("/live/output?task={}&epoch=1&", assign.task_id);
        assert!(assign.live_output_url.starts_with(&output), "{assign:?}");
        let work: Work = serde_json::from_str(&assign.live_json).unwrap();
        (assign, work)
    };
    let (assign, work) = assigned("assign-encode");
    assert_eq!((assign.preset.as_str(), assign.encoder.as_str()), ("h264-480p", "libx264"));
    assert!(assign.live_input_url.starts_with(&format!("/live/input?task={}&epoch=1&", assign.task_id)));
    let Work::Encode(encode) = work else { panic!("{work:?}") };
    let profiles = Profiles::builtin();
    assert_eq!(&encode.rendition, profiles.renditions("h264-480p")[0].1, "the profile, as it was and is");
    assert_eq!(encode.container, Container::MpegTs);
    assert!(encode.source.video && encode.source.audio && encode.source.frame == Some(3600));
    assert_eq!((encode.begin.video, encode.begin.audio), (None, Some(900_000)));
    // The one that follows is the same task's.
    let next = each!(told(&messages, "assign-encode"), Told::Assign).nth(1).unwrap();
    assert_eq!((next.task_id.as_str(), next.epoch), (assign.task_id.as_str(), 2));
    let Ok(Work::Encode(next)) = serde_json::from_str(&next.live_json) else { panic!("{next:?}") };
    assert!(next.begin.audio > encode.begin.audio, "{next:?}");

    let (ingested, work) = assigned("assign-ingest");
    assert_eq!((ingested.encoder.as_str(), ingested.live_input_url.as_str()), ("", ""));
    let Work::Ingest(ingest) = work else { panic!("{work:?}") };
    assert!(ingest.file && ingest.url.ends_with("/shared/loop.ts"), "{ingest:?}");

    let started = each!(said(&messages, "started-encode"), Said::AttemptStarted).next().unwrap();
    assert_eq!((started.task_id.as_str(), started.epoch), (assign.task_id.as_str(), 1));
    assert!(started.argv.contains(&"libx264".to_owned()) && started.input_info_json.is_empty());
    for kind in ["heartbeat-frames-encode", "heartbeat-frames-ingest"] {
        for beat in each!(said(&messages, kind), Said::Heartbeat) {
            let progress = beat.attempts[0].progress.as_ref().unwrap();
            assert!(progress.frames > 0 && progress.phase == "encoding", "{progress:?}");
            assert_eq!(progress.fraction, None, "a live stream has no end");
        }
    }
    let stop = each!(told(&messages, "stop-ingest"), Told::StopAttempt).next().unwrap();
    assert_eq!((stop.task_id.as_str(), stop.epoch), (ingested.task_id.as_str(), 1));
    assert_eq!(stop.reason, "nobody watches any more");
    for kind in ["failed-encode", "failed-ingest"] {
        let stopped = each!(said(&messages, kind), Said::AttemptFinished).next().unwrap();
        let Some(Outcome::Failed(failed)) = stopped.result else { panic!("{stopped:?}") };
        assert_eq!(failed.kind.parse::<FailureKind>().unwrap(), FailureKind::Cancelled);
    }
    let heard = each!(told(&messages, "acknowledged-ingest"), Told::AttemptAcknowledged).next().unwrap();
    assert!(!heard.accepted, "nothing of it is a result");
}

#[test]
fn commands_probes_and_growing_inputs_of_version_4_are_understood() {
    let messages = messages(4);
    let assigned = |kind: &str| {
        let assign = each!(told(&messages, kind), Told::Assign).next().unwrap();
        let spec: Spec = serde_json::from_str(&assign.spec_json).unwrap();
        (assign, spec)
    };
    let name = |input: &proto::Input| input.name.clone();
    let (assign, spec) = assigned("assign-command");
    let Spec::Command(command) = spec else { panic!("{spec:?}") };
    assert!(command.command.to_string().contains("hstack"), "{command:?}");
    assert_eq!(assign.more_inputs.iter().map(name).collect::<Vec<_>>(), ["bikes-2s.mp4"]);

    let (assign, spec) = assigned("assign-probe");
    assert_eq!((spec, assign.encoder.as_str()), (Spec::Probe, ""));
    let (assign, _) = assigned("assign-grows");
    let input = assign.input.unwrap();
    assert!(input.grows && input.name == "faststart.mp4", "{input:?}");
    assert!(!each!(told(&messages, "assign"), Told::Assign).next().unwrap().input.unwrap().grows);
    let urls: OpenUploadsResponse = call(&messages, "upload-urls");
    assert!(!urls.direct, "a disk is written to through the coordinator");
}
