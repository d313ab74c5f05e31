//! The two endpoints over real connections, with a worker that sends back what it reads.

use std::{process::Command, time::Duration};

use axum::http::HeaderValue;
use common::{
    id::{Epoch, TaskId},
    profile::Profiles,
    stream::{SourceSpec, StreamOptions, StreamSpec},
};
use reqwest::{Client, Response as Answer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use super::*;
use crate::{
    fleet::{Policy, testing},
    live::{
        self,
        service::{Accept, PushInput, Watch},
        source::Limits,
        streams::Streams,
    },
    queue::{Handle, LiveAssignment, Registration, Service, Settings, ToWorker},
    serve::{Stop, serve},
    session::urls::AttemptUrls,
    storage::sign::KEY_LENGTH,
    store::SqliteStore,
};

const PROFILE: &str = "h264-480p";
const LONG: Duration = Duration::from_secs(20);

struct Bench {
    live: Live,
    /// Its session goes on.
    _queue: Handle,
    urls: AttemptUrls,
    address: std::net::SocketAddr,
    told: mpsc::Receiver<ToWorker>,
    stop: Stop,
    tracker: TaskTracker,
    http: Client,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        common::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap());
        let profiles = Arc::new(Profiles::builtin());
        let streams = Streams::open(Arc::clone(&store) as _, Vec::new(), &profiles).await.unwrap();
        let policy = Policy { stale_after: LONG, ..Policy::default() };
        let settings =
            Settings { lease: LONG, grace: LONG, time_limit: None, policy, quotas: Default::default() };
        let (mut service, queue, _) = Service::open(settings, store).await.unwrap();
        let events = service.live_events().unwrap();
        let (tracker, stop) = (TaskTracker::new(), Stop::default());
        tracker.spawn(service.run(stop.now.clone()));
        let kept = live::runtime::Settings {
            source: Limits { max_bytes: 64 << 20, max_length: LONG },
            max_bytes: 64 << 20,
            max_length: LONG,
        };
        let live = live::service::start(
            kept,
            queue.clone(),
            events,
            profiles.clone(),
            streams,
            &tracker,
            stop.graceful.clone(),
        );
        let (outbox, told) = mpsc::channel(64);
        let mut identity = testing::cpu_worker(1).identity;
        identity.capabilities.filters = profiles
            .renditions(PROFILE)
            .into_iter()
            .flat_map(|(_, rendition)| rendition.need().filters)
            .collect();
        let hello = Registration { identity, running: Vec::new(), draining: false, not_taking: None };
        queue.register(hello, outbox).await.unwrap();
        let signer = Signer::new(&[7; KEY_LENGTH]);
        let bytes = LiveBytes {
            live: live.clone(),
            signer: signer.clone(),
            open: Open::default(),
            stop: stop.graceful.clone(),
            tracker: tracker.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tracker.spawn(serve(listener, router(bytes), stop.clone(), tracker.clone()));
        let urls = AttemptUrls(signer);
        Self { live, _queue: queue, urls, address, told, stop, tracker, http: Client::new(), _folder: folder }
    }

    /// A stream, and the first of its bytes.
    async fn push(&self, clip: &[u8]) -> PushInput {
        let spec = StreamSpec {
            name: "news".to_owned(),
            source: SourceSpec::Push,
            profiles: Vec::new(),
            options: StreamOptions::default(),
        };
        self.live.add(spec).await.unwrap();
        let mut push = self.live.push("news").await.unwrap();
        push.write(clip).unwrap();
        push
    }

    /// Somebody watches; what the worker is given for that.
    async fn watched(&mut self) -> (tokio::task::JoinHandle<Watch>, LiveAssignment) {
        let live = self.live.clone();
        let watching = self.tracker.spawn(async move {
            let anything = Accept::default();
            timeout(LONG, live.watch("news", PROFILE, &anything, None)).await.unwrap().unwrap()
        });
        (watching, self.assigned().await)
    }

    async fn assigned(&mut self) -> LiveAssignment {
        loop {
            let message = timeout(LONG, self.told.recv()).await.expect("nothing was assigned").unwrap();
            if let ToWorker::AssignLive(assignment) = message {
                return *assignment;
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn read(&self, attempt: AttemptId) -> Answer {
        self.http.get(self.url(&self.urls.live_input(attempt))).send().await.unwrap()
    }

    async fn put(&self, attempt: AttemptId, body: impl Into<reqwest::Body>) -> Answer {
        self.http.put(self.url(&self.urls.live_output(attempt))).body(body).send().await.unwrap()
    }

    async fn end(self) {
        self.stop.graceful.cancel();
        self.stop.now.cancel();
        self.tracker.close();
        timeout(LONG, self.tracker.wait()).await.unwrap();
    }
}

/// Four seconds with a key frame each half second.
fn clip() -> Vec<u8> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=24:d=4"])
        .args(["-f", "lavfi", "-i", "sine=d=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "12"])
        .args(["-bf", "0", "-c:a", "aac", "-ar", "48000", "-f", "mpegts", "pipe:1"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

#[tokio::test]
async fn what_comes_in_leaves_at_once_and_what_goes_out_is_watched_at_once() {
    let mut bench = Bench::new().await;
    let push = bench.push(&clip()).await;
    let (watching, assigned) = bench.watched().await;
    let attempt = assigned.attempt;
    assert!(assigned.reads);

    // The source stays open: neither body ends, and the viewer has a picture nevertheless.
    let input = bench.read(attempt).await;
    assert_eq!(input.status(), StatusCode::OK);
    assert_eq!(input.headers().get("content-type"), Some(&HeaderValue::from_static("video/mp2t")));
    let again = bench.read(attempt).await;
    assert_eq!(again.status(), StatusCode::CONFLICT, "{}", again.text().await.unwrap());
    let echo = reqwest::Body::wrap_stream(input.bytes_stream());
    let (http, url) = (bench.http.clone(), bench.url(&bench.urls.live_output(attempt)));
    let echoing = bench.tracker.spawn(async move { http.put(url).body(echo).send().await.unwrap() });
    let watch = timeout(LONG, watching).await.unwrap().unwrap();
    let mut reader = watch.output.ts().await.unwrap();
    let first = timeout(LONG, reader.next()).await.unwrap().unwrap();
    assert!(!first.is_empty());
    let second = bench.put(attempt, "x").await;
    assert_eq!(second.status(), StatusCode::CONFLICT, "{}", second.text().await.unwrap());

    // The end of the stream ends the input properly, and with it the output.
    drop(push);
    bench.live.remove("news").await.unwrap();
    let ended = timeout(LONG, echoing).await.unwrap().unwrap();
    assert!([StatusCode::NO_CONTENT, StatusCode::GONE].contains(&ended.status()), "{}", ended.status());
    assert_eq!(bench.read(attempt).await.status(), StatusCode::GONE);
    assert_eq!(bench.put(attempt, "x").await.status(), StatusCode::GONE);
    drop((reader, watch));
    bench.end().await;
}

#[tokio::test]
async fn a_url_opens_one_direction_of_one_attempt() {
    let bench = Bench::new().await;
    let attempt = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    assert_eq!(bench.read(attempt).await.status(), StatusCode::GONE, "nobody knows it");
    let input = bench.urls.live_input(attempt);
    let output = bench.urls.live_output(attempt);
    let other = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    for (method, path) in [
        (Method::GET, output.replace("/live/output", "/live/input")),
        (Method::PUT, input.replace("/live/input", "/live/output")),
        (Method::GET, input.replace(&attempt.task.to_string(), &other.task.to_string())),
        (Method::GET, input.replace("epoch=1", "epoch=2")),
        (Method::GET, "/live/input".to_owned()),
        (Method::PUT, "/live/output".to_owned()),
    ] {
        let answer = bench.http.request(method, bench.url(&path)).body("x").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let head = bench.http.head(bench.url(&input)).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
    bench.end().await;
}

#[tokio::test]
async fn a_broken_connection_is_no_end_and_another_attempt_goes_on() {
    let mut bench = Bench::new().await;
    let _push = bench.push(&clip()).await;
    let (watching, assigned) = bench.watched().await;
    let input = bench.read(assigned.attempt).await;
    let mut output = TcpStream::connect(bench.address).await.unwrap();
    let path = bench.urls.live_output(assigned.attempt);
    let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nGGGG\r\n");
    output.write_all(head.as_bytes()).await.unwrap();
    drop((input, output));
    let replacement = bench.assigned().await;
    assert_ne!(replacement.attempt, assigned.attempt);
    assert_eq!(bench.put(assigned.attempt, "x").await.status(), StatusCode::GONE);
    watching.abort();
    bench.end().await;
}

#[tokio::test]
async fn nobody_takes_the_end_of_the_coordinator_for_the_end_of_the_source() {
    let mut bench = Bench::new().await;
    let _push = bench.push(&clip()).await;
    let (watching, assigned) = bench.watched().await;
    let mut input = TcpStream::connect(bench.address).await.unwrap();
    let path = bench.urls.live_input(assigned.attempt);
    input.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut got = vec![0; 4096];
    let read = timeout(LONG, input.read(&mut got)).await.unwrap().unwrap();
    assert!(read > 0);
    watching.abort();
    bench.stop.graceful.cancel();
    got.truncate(read);
    timeout(LONG, input.read_to_end(&mut got)).await.unwrap().unwrap();
    assert!(!got.ends_with(b"0\r\n\r\n"), "the body was cut off");
    bench.end().await;
}
