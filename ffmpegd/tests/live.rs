//! Live work: a real worker and a real ffmpeg between the two bodies of a coordinator that the test plays.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::StatusCode,
    routing::{get, put},
};
use common::{
    live::{Begin, Container, Encode, Slate, SourceTracks, Work},
    profile::Profiles,
    proto::{self, Assign, coordinator_message::Message as ToWorker, worker_message::Message as FromWorker},
};
use ffmpegd::Outcome;
use support::{
    Rig, eventually, fake,
    port::{Got, Port, footage},
    processes_in,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

fn encode() -> Work {
    let mut rendition = Profiles::builtin().renditions("h264-720p-ll")[0].1.clone();
    let video = rendition.video.as_mut().unwrap();
    (video.width, video.height, video.bitrate) = (320, 180, 300_000);
    Work::Encode(Box::new(Encode {
        container: Container::MpegTs,
        rendition,
        source: SourceTracks { video: true, audio: true, frame: Some(3600) },
        begin: Begin::default(),
    }))
}

async fn begin(rig: &mut Rig, port: &Port, work: &Work) -> Assign {
    let assign = port.assign(rig, work);
    rig.coordinator.send(ToWorker::Assign(assign.clone())).await;
    assign
}

fn video_frames(bytes: &[u8]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.ts");
    std::fs::write(&path, bytes).unwrap();
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().next().unwrap().trim_matches(',').parse().unwrap()
}

#[tokio::test]
async fn a_source_that_ends_is_encoded_to_its_last_frame() {
    let mut rig = Rig::start().await;
    let mut port = Port::open(None).await;
    port.give(&footage(2)).await;
    let assign = begin(&mut rig, &port, &encode()).await;
    let started = rig.coordinator.started().await;
    assert_eq!(started.task_id, assign.task_id);
    assert!(started.argv.iter().any(|arg| arg == "libx264"), "{:?}", started.argv);
    // What comes first comes while the input is still open.
    assert!(matches!(port.next().await, Got::Bytes(_)));
    port.source = None;
    let (bytes, end) = port.all().await;
    assert_eq!(end, Got::End);
    assert_eq!(bytes.len() % 188, 0);
    let succeeded = rig.coordinator.succeeded().await;
    assert_eq!(succeeded.outputs, []);
    assert_eq!(succeeded.final_progress.unwrap().frames, 50);
    rig.assert_clean();
}

#[tokio::test]
async fn every_frame_comes_out() {
    let mut rig = Rig::start().await;
    let mut port = Port::open(None).await;
    port.give(&footage(3)).await;
    port.source = None;
    begin(&mut rig, &port, &encode()).await;
    let (bytes, end) = port.all().await;
    assert_eq!((video_frames(&bytes), end), (75, Got::End));
    rig.coordinator.succeeded().await;
}

#[tokio::test]
async fn heartbeats_tell_how_far_it_is() {
    let mut rig = Rig::start().await;
    let port = Port::open(None).await;
    port.give(&footage(4)).await;
    begin(&mut rig, &port, &encode()).await;
    let frames = |message| match message {
        FromWorker::Heartbeat(heartbeat) => {
            heartbeat.attempts.into_iter().filter_map(|one| one.progress).find(|progress| progress.frames > 0)
        }
        _ => None,
    };
    let progress = rig.coordinator.next("progress", frames).await;
    assert_eq!(progress.phase, "encoding");
}

#[tokio::test]
async fn a_stop_ends_it_at_once_and_breaks_the_body_off() {
    let mut rig = Rig::start().await;
    let mut port = Port::open(None).await;
    port.give(&footage(2)).await;
    let assign = begin(&mut rig, &port, &encode()).await;
    rig.coordinator.started().await;
    assert!(matches!(port.next().await, Got::Bytes(_)));
    let stop = proto::StopAttempt {
        task_id: assign.task_id,
        epoch: assign.epoch,
        reason: "nobody watches".to_owned(),
    };
    rig.coordinator.send(ToWorker::StopAttempt(stop)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "cancelled");
    assert_eq!(port.all().await.1, Got::Broken);
    rig.assert_clean();
}

#[tokio::test]
async fn a_killed_ffmpeg_never_ends_the_body_properly() {
    let mut rig = Rig::start().await;
    let mut port = Port::open(None).await;
    port.give(&footage(2)).await;
    begin(&mut rig, &port, &encode()).await;
    rig.coordinator.started().await;
    assert!(matches!(port.next().await, Got::Bytes(_)));
    for pid in processes_in(&rig.scratch()) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    assert_eq!(port.all().await.1, Got::Broken);
    let failed = rig.coordinator.failed().await;
    assert!(matches!(failed.kind.as_str(), "crashed" | "out_of_memory"), "{failed:?}");
    rig.assert_clean();
}

#[tokio::test]
async fn an_input_that_breaks_ends_the_attempt() {
    let mut rig = Rig::start().await;
    let mut port = Port::open(None).await;
    port.give(&footage(2)).await;
    begin(&mut rig, &port, &encode()).await;
    rig.coordinator.started().await;
    assert!(matches!(port.next().await, Got::Bytes(_)));
    port.source.as_ref().unwrap().send(Err(io::Error::other("gone"))).await.unwrap();
    assert_eq!(port.all().await.1, Got::Broken);
    assert_eq!(rig.coordinator.failed().await.kind, "source_unreachable");
    rig.assert_clean();
}

#[tokio::test]
async fn an_attempt_that_is_not_wanted_any_more_ends_without_a_word() {
    for (after, status) in [(188, StatusCode::GONE), (188, StatusCode::NOT_FOUND)] {
        let mut rig = Rig::start().await;
        let port = Port::open(Some((after, status))).await;
        port.give(&footage(2)).await;
        begin(&mut rig, &port, &encode()).await;
        rig.coordinator.started().await;
        let scratch = rig.scratch();
        let gone = || async { std::fs::read_dir(&scratch).unwrap().next().is_none().then_some(()) };
        eventually("the end", gone).await;
        rig.assert_clean();
    }
    // Nor is there a source for it.
    let rig = Rig::start().await;
    let mut port = Port::open(None).await;
    port.source = None;
    let assign =
        Assign { live_input_url: format!("http://{}/nothing", port.address), ..port.assign(&rig, &encode()) };
    rig.coordinator.send(ToWorker::Assign(assign)).await;
    rig.shutdown.drain.cancel();
    assert_eq!(rig.left().await, Outcome::Done);
}

#[tokio::test]
async fn a_coordinator_that_refuses_the_result_fails_the_attempt() {
    let mut rig = Rig::start().await;
    let port = Port::open(Some((188, StatusCode::INTERNAL_SERVER_ERROR))).await;
    port.give(&footage(2)).await;
    begin(&mut rig, &port, &encode()).await;
    assert_eq!(rig.coordinator.failed().await.kind, "upload_failed");
    rig.assert_clean();
}

#[tokio::test]
async fn it_ends_with_the_session_and_is_not_heard_of_again() {
    let mut rig = Rig::start().await;
    let mut port = Port::open(None).await;
    port.give(&footage(2)).await;
    begin(&mut rig, &port, &encode()).await;
    rig.coordinator.started().await;
    rig.coordinator.hang_up();
    assert_eq!(port.all().await.1, Got::Broken);
    assert_eq!(rig.coordinator.hello().await.running, []);
    let scratch = rig.scratch();
    let gone = || async { std::fs::read_dir(&scratch).unwrap().next().is_none().then_some(()) };
    eventually("the end", gone).await;
    rig.assert_clean();
}

#[tokio::test]
async fn a_slate_comes_in_real_time_until_it_is_stopped() {
    let mut rig = Rig::start().await;
    let mut port = Port::open(None).await;
    let slate = Slate { width: 320, height: 180, frame_rate: (25, 1), text: "Soon: 'more'".to_owned() };
    let assign = begin(&mut rig, &port, &Work::Slate(slate)).await;
    rig.coordinator.started().await;
    for _ in 0..20 {
        assert!(matches!(port.next().await, Got::Bytes(_)));
    }
    let stop = proto::StopAttempt { task_id: assign.task_id, epoch: 1, reason: "it is back".to_owned() };
    rig.coordinator.send(ToWorker::StopAttempt(stop)).await;
    assert_eq!(rig.coordinator.failed().await.kind, "cancelled");
    rig.assert_clean();
}

#[tokio::test]
async fn a_file_outside_of_the_shared_folders_is_not_ingested() {
    let mut rig = Rig::start().await;
    let port = Port::open(None).await;
    for url in ["/etc/passwd", "file:///etc/passwd"] {
        let ingest = common::live::Ingest { url: url.to_owned(), file: url.starts_with('/') };
        begin(&mut rig, &port, &Work::Ingest(ingest)).await;
        let failed = rig.coordinator.failed().await;
        assert!(matches!(failed.kind.as_str(), "invalid_input" | "source_unreachable"), "{failed:?}");
    }
    rig.assert_clean();
}

#[tokio::test]
async fn a_file_is_looped_in_real_time() {
    let shared = tempfile::tempdir().unwrap();
    let root = shared.path().canonicalize().unwrap();
    std::fs::write(root.join("loop.ts"), footage(1)).unwrap();
    let roots = vec![root.clone()];
    let mut rig = Rig::with(move |config| config.shared_roots = roots).await;
    let mut port = Port::open(None).await;
    let url = root.join("loop.ts").to_str().unwrap().to_owned();
    let begun = Instant::now();
    begin(&mut rig, &port, &Work::Ingest(common::live::Ingest { url, file: true })).await;
    let mut bytes = 0;
    let once = footage(1).len();
    while bytes < once * 5 / 2 {
        let Got::Bytes(more) = port.next().await else { panic!("it ended") };
        bytes += more.len();
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "faster than it plays");
}

#[tokio::test]
async fn nothing_is_held_back_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    // Each line goes out as it comes in.
    let program = fake(folder.path(), "exec cat");
    let mut rig = Rig::with(move |config| config.ffmpeg = program).await;
    let mut port = Port::open(None).await;
    let begin_at = Begin { video: Some(900_000), audio: None };
    let Work::Encode(mut work) = encode() else { unreachable!() };
    work.begin = begin_at;
    begin(&mut rig, &port, &Work::Encode(work)).await;
    rig.coordinator.started().await;
    let mut times = Vec::new();
    for number in 0..50u8 {
        let sent = Instant::now();
        port.give(&Bytes::from(vec![number; 188])).await;
        assert_eq!(port.next().await, Got::Bytes(Bytes::from(vec![number; 188])));
        times.push(sent.elapsed());
    }
    times.sort();
    // Four processes take turns on a busy machine; Nagle's algorithm or a timer would add 40 ms.
    assert!(times[25] < Duration::from_millis(20), "{times:?}");
    port.source = None;
    assert_eq!(port.all().await.1, Got::End);
    rig.coordinator.succeeded().await;
}

#[tokio::test]
async fn who_does_not_read_holds_the_source_up_instead_of_filling_memory() {
    let folder = tempfile::tempdir().unwrap();
    let program = fake(folder.path(), "exec cat");
    let mut rig = Rig::with(move |config| config.ffmpeg = program).await;
    let (source, receiver) = mpsc::channel(1);
    let ends = Arc::new(Mutex::new(Some(receiver)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stuck = put(|body: Body| async move {
        std::future::pending::<()>().await;
        drop(body);
    });
    let input = get(move || async move {
        Body::from_stream(ReceiverStream::<io::Result<Bytes>>::new(ends.lock().unwrap().take().unwrap()))
    });
    let router = Router::new().route("/live/input", input).route("/live/output", stuck);
    TaskTracker::new().spawn(axum::serve(listener, router).into_future());
    let port = Port { address, source: Some(source), sink: mpsc::unbounded_channel().1 };
    let Work::Encode(mut work) = encode() else { unreachable!() };
    work.begin.video = Some(900_000);
    begin(&mut rig, &port, &Work::Encode(work)).await;
    rig.coordinator.started().await;
    let piece = Bytes::from(vec![0; 1 << 20]);
    let mut sent = 0;
    while timeout(Duration::from_secs(2), port.source.as_ref().unwrap().send(Ok(piece.clone()))).await.is_ok()
    {
        sent += piece.len();
        assert!(sent < 64 << 20, "nothing holds it up");
    }
}
