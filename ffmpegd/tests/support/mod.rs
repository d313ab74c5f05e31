//! A coordinator as far as a worker can see: the real protocol over a real socket, and a test in the place of the queue.

#![allow(dead_code, unreachable_pub)]

pub mod port;

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path as UrlPath, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use common::{
    id::{Epoch, JobId, TaskId},
    proto::{
        self, Assign, CoordinatorMessage, Hello, OpenUploadsRequest, OpenUploadsResponse, Welcome,
        WorkerMessage, attempt_finished, coordinator_message::Message as ToWorker,
        worker_message::Message as FromWorker, worker_service_server,
    },
    reach::Reach,
    worker::Capabilities,
};
use ffmpegd::{Config, Outcome, Shutdown, SourceLimits, Worker};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response as Answer, Status, Streaming};

/// Everything that is waited for happens within this, also on a busy machine.
pub const SOON: Duration = Duration::from_secs(90);
pub const TOKEN: &str = "test-token";

pub struct Coordinator {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<FromWorker>,
    stop: CancellationToken,
}

struct Shared {
    inbox: mpsc::UnboundedSender<FromWorker>,
    outbox: Mutex<Option<mpsc::Sender<Result<CoordinatorMessage, Status>>>>,
    sessions: AtomicU64,
    keep: AtomicBool,
    renew: AtomicBool,
    acknowledge: AtomicBool,
    lease_ms: AtomicU64,
    protocol: AtomicU32,
    uploads: Mutex<HashMap<String, Bytes>>,
    /// In memory: the worker runs on this thread too, and must not wait for the coordinator's reading.
    inputs: Mutex<HashMap<String, Bytes>>,
    /// Sessions are refused as those of a worker of a version that is too old or too new.
    refuse_version: AtomicBool,
    refused: AtomicU64,
    /// Uploads answer 503 this many times.
    refuse_uploads: AtomicU64,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.hang_up();
    }
}

impl Coordinator {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        common::tls::install_provider();
        let (sender, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            inbox: sender,
            outbox: Mutex::default(),
            sessions: AtomicU64::new(0),
            keep: AtomicBool::new(true),
            renew: AtomicBool::new(true),
            acknowledge: AtomicBool::new(true),
            lease_ms: AtomicU64::new(30_000),
            protocol: AtomicU32::new(proto::PROTOCOL_MAX),
            uploads: Mutex::default(),
            inputs: Mutex::default(),
            refuse_version: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            refuse_uploads: AtomicU64::new(0),
        });
        let service = worker_service_server::WorkerServiceServer::new(Service(Arc::clone(&shared)));
        let bytes = Router::new()
            .route("/in/{name}", get(input))
            .route("/plain/{name}", get(input_without_ranges))
            .route("/up/{*path}", put(upload))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let router = tonic::service::Routes::new(service).into_axum_router().merge(bytes);
        let listener = eventually("binding", || async { TcpListener::bind(address).await.ok() }).await;
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = stop.clone();
        TaskTracker::new().spawn(async move {
            serving.run_until_cancelled(axum::serve(listener, router).into_future()).await
        });
        Self { address, shared, inbox, stop }
    }

    /// The next message that is `wanted`; others are passed over.
    pub async fn next<T>(&mut self, what: &str, mut wanted: impl FnMut(FromWorker) -> Option<T>) -> T {
        let find = async {
            loop {
                let message = self.inbox.recv().await.expect("the coordinator's own channel");
                if let Some(found) = wanted(message) {
                    return found;
                }
            }
        };
        timeout(SOON, find).await.unwrap_or_else(|_| panic!("no {what} came"))
    }

    pub async fn hello(&mut self) -> Hello {
        self.next("Hello", |message| match message {
            FromWorker::Hello(hello) => Some(hello),
            _ => None,
        })
        .await
    }

    pub async fn started(&mut self) -> proto::AttemptStarted {
        self.next("AttemptStarted", |message| match message {
            FromWorker::AttemptStarted(started) => Some(started),
            FromWorker::AttemptFinished(finished) => panic!("it finished before it started: {finished:?}"),
            _ => None,
        })
        .await
    }

    pub async fn finished(&mut self) -> proto::AttemptFinished {
        self.next("AttemptFinished", |message| match message {
            FromWorker::AttemptFinished(finished) => Some(finished),
            _ => None,
        })
        .await
    }

    pub async fn failed(&mut self) -> proto::Failed {
        let finished = self.finished().await;
        match finished.result.unwrap() {
            attempt_finished::Result::Failed(failed) => failed,
            attempt_finished::Result::Succeeded(succeeded) => panic!("it succeeded: {succeeded:?}"),
        }
    }

    pub async fn succeeded(&mut self) -> proto::Succeeded {
        let finished = self.finished().await;
        match finished.result.unwrap() {
            attempt_finished::Result::Succeeded(succeeded) => succeeded,
            attempt_finished::Result::Failed(failed) => {
                panic!("{failed:?}\n{}", finished.log_tail.join("\n"))
            }
        }
    }

    pub async fn send(&self, message: ToWorker) {
        let outbox = self.shared.outbox.lock().unwrap().clone().expect("a worker is connected");
        outbox.send(Ok(CoordinatorMessage { message: Some(message) })).await.unwrap();
    }

    /// Ends the session; the worker dials again.
    pub fn hang_up(&self) {
        self.shared.outbox.lock().unwrap().take();
    }

    pub fn keep(&self, keep: bool) {
        self.shared.keep.store(keep, Ordering::SeqCst);
    }

    pub fn acknowledge(&self, acknowledge: bool) {
        self.shared.acknowledge.store(acknowledge, Ordering::SeqCst);
    }

    pub fn lease(&self, length: Duration, renew: bool) {
        self.shared.lease_ms.store(u64::try_from(length.as_millis()).unwrap(), Ordering::SeqCst);
        self.shared.renew.store(renew, Ordering::SeqCst);
    }

    /// The version that the next session speaks.
    pub fn speak(&self, protocol: u32) {
        self.shared.protocol.store(protocol, Ordering::SeqCst);
    }

    /// Whether no worker's version fits.
    pub fn refuse_version(&self, refuse: bool) {
        self.shared.refuse_version.store(refuse, Ordering::SeqCst);
    }

    /// Sessions that were refused for their version.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    pub fn refuse_uploads(&self, times: u64) {
        self.shared.refuse_uploads.store(times, Ordering::SeqCst);
    }

    pub fn uploads(&self) -> HashMap<String, Bytes> {
        self.shared.uploads.lock().unwrap().clone()
    }

    /// A file as an input: its URL on the worker port.
    pub fn offer(&self, path: &Path) -> String {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.shared.inputs.lock().unwrap().insert(name.clone(), fs::read(path).unwrap().into());
        format!("/in/{name}")
    }

    pub fn assign(&self, url: &str, spec: &str) -> Assign {
        Assign {
            job_id: JobId::new().to_string(),
            task_id: TaskId::new().to_string(),
            epoch: Epoch(1).0,
            preset: "test".to_owned(),
            spec_json: spec.to_owned(),
            encoder: if spec.contains("hevc") { "libx265" } else { "libx264" }.to_owned(),
            device: None,
            input: Some(proto::Input {
                location: Some(proto::input::Location::Url(url.to_owned())),
                name: url.rsplit('/').next().unwrap().to_owned(),
                grows: false,
            }),
            stall_timeout_ms: 60_000,
            time_limit_ms: 0,
            on_damaged_input: 0,
            ..Default::default()
        }
    }
}

struct Service(Arc<Shared>);

fn check_token(request: &tonic::metadata::MetadataMap) -> Result<(), Status> {
    match request.get(proto::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default()) {
        Some(value) if value == format!("Bearer {TOKEN}") => Ok(()),
        _ => Err(Status::unauthenticated("wrong token")),
    }
}

#[tonic::async_trait]
impl worker_service_server::WorkerService for Service {
    type SessionStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Answer<Self::SessionStream>, Status> {
        check_token(request.metadata())?;
        let shared = Arc::clone(&self.0);
        let mut messages = request.into_inner();
        let Some(Ok(WorkerMessage { message: Some(FromWorker::Hello(hello)) })) = messages.next().await
        else {
            return Err(Status::invalid_argument("no hello"));
        };
        if shared.refuse_version.load(Ordering::SeqCst) {
            shared.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Status::failed_precondition("this coordinator speaks versions 3 to 4"));
        }
        let (outbox, stream) = mpsc::channel(64);
        let keep = shared.keep.load(Ordering::SeqCst);
        let welcome = Welcome {
            session_id: format!("session-{}", shared.sessions.fetch_add(1, Ordering::SeqCst)),
            protocol: shared.protocol.load(Ordering::SeqCst),
            heartbeat_interval_ms: 100,
            lease_ms: u32::try_from(shared.lease_ms.load(Ordering::SeqCst)).unwrap(),
            verdicts: hello
                .running
                .iter()
                .map(|one| proto::RunningVerdict { task_id: one.task_id.clone(), epoch: one.epoch, keep })
                .collect(),
        };
        outbox.send(Ok(CoordinatorMessage { message: Some(ToWorker::Welcome(welcome)) })).await.unwrap();
        *shared.outbox.lock().unwrap() = Some(outbox.clone());
        let weak = outbox.downgrade();
        drop(outbox);
        shared.inbox.send(FromWorker::Hello(hello)).unwrap();
        TaskTracker::new().spawn(async move {
            while let Some(Ok(WorkerMessage { message: Some(message) })) = messages.next().await {
                let answer = match &message {
                    FromWorker::Heartbeat(heartbeat) if shared.renew.load(Ordering::SeqCst) => {
                        let attempts = heartbeat.attempts.iter().map(|attempt| proto::RunningAttempt {
                            task_id: attempt.task_id.clone(),
                            epoch: attempt.epoch,
                        });
                        Some(ToWorker::LeasesRenewed(proto::LeasesRenewed { attempts: attempts.collect() }))
                    }
                    FromWorker::AttemptFinished(finished) if shared.acknowledge.load(Ordering::SeqCst) => {
                        Some(ToWorker::AttemptAcknowledged(proto::AttemptAcknowledged {
                            task_id: finished.task_id.clone(),
                            epoch: finished.epoch,
                            accepted: true,
                            reason: String::new(),
                        }))
                    }
                    _ => None,
                };
                if shared.inbox.send(message).is_err() {
                    return;
                }
                if let (Some(answer), Some(outbox)) = (answer, weak.upgrade()) {
                    let _ = outbox.send(Ok(CoordinatorMessage { message: Some(answer) })).await;
                }
            }
        });
        Ok(Answer::new(ReceiverStream::new(stream)))
    }

    async fn open_uploads(
        &self,
        request: Request<OpenUploadsRequest>,
    ) -> Result<Answer<OpenUploadsResponse>, Status> {
        check_token(request.metadata())?;
        let request = request.into_inner();
        let session = format!("session-{}", self.0.sessions.load(Ordering::SeqCst).saturating_sub(1));
        if request.session_id != session {
            return Err(Status::failed_precondition("not the current session"));
        }
        let urls = request
            .files
            .iter()
            .map(|file| format!("/up/{}-{}/{}?size={}", request.task_id, request.epoch, file.path, file.size))
            .collect();
        Ok(Answer::new(OpenUploadsResponse { urls, direct: false }))
    }
}

async fn input(
    State(shared): State<Arc<Shared>>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let Some(bytes) = file(&shared, &name) else { return StatusCode::NOT_FOUND.into_response() };
    let range = headers.get("range").and_then(|value| value.to_str().ok());
    let start =
        range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    match start {
        None => bytes.into_response(),
        Some(start) if start >= bytes.len() => {
            (StatusCode::RANGE_NOT_SATISFIABLE, [("content-range", format!("bytes */{}", bytes.len()))])
                .into_response()
        }
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            (StatusCode::PARTIAL_CONTENT, [("content-range", range)], Body::from(bytes.slice(start..)))
                .into_response()
        }
    }
}

async fn input_without_ranges(State(shared): State<Arc<Shared>>, UrlPath(name): UrlPath<String>) -> Response {
    file(&shared, &name).map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

fn file(shared: &Shared, name: &str) -> Option<Bytes> {
    shared.inputs.lock().unwrap().get(name).cloned()
}

async fn upload(
    State(shared): State<Arc<Shared>>,
    UrlPath(path): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers["content-length"], body.len().to_string());
    let refuse = |left: u64| left.checked_sub(1);
    if shared.refuse_uploads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    shared.uploads.lock().unwrap().insert(path, body);
    StatusCode::CREATED
}

// ---- the worker

pub struct Rig {
    pub coordinator: Coordinator,
    /// The worker's first.
    pub hello: Hello,
    pub shutdown: Shutdown,
    pub worker: JoinHandle<Result<Outcome, ffmpegd::Error>>,
    pub state: tempfile::TempDir,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A worker in this process that is connected to a coordinator.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut coordinator = Coordinator::start().await;
        let state = tempfile::tempdir().unwrap();
        let mut config =
            Config::new(coordinator.address.to_string().parse().unwrap(), state.path().to_owned());
        config.token = Some(common::config::Secret::new(TOKEN));
        config.limits.cpu_jobs = Some(2);
        config.capabilities =
            Some(Capabilities { ffmpeg_version: "test".to_owned(), ..Capabilities::default() });
        config.source = SourceLimits {
            connect: Duration::from_secs(2),
            stall: Duration::from_millis(500),
            resumes: 1,
            ..SourceLimits::default()
        };
        config.reach = Reach::anywhere();
        change(&mut config);
        let shutdown = Shutdown::default();
        let worker = Worker::prepare(config).await.unwrap();
        let worker = TaskTracker::new().spawn(worker.run(shutdown.clone()));
        let hello = coordinator.hello().await;
        Self { coordinator, hello, shutdown, worker, state }
    }

    pub fn scratch(&self) -> PathBuf {
        self.state.path().join("scratch")
    }

    pub async fn assign(&mut self, url: &str, spec: &str) -> Assign {
        let assign = self.coordinator.assign(url, spec);
        self.coordinator.send(ToWorker::Assign(assign.clone())).await;
        assign
    }

    /// Nothing is left of any attempt.
    pub fn assert_clean(&self) {
        assert_eq!(processes_in(&self.scratch()), Vec::<i32>::new());
        let left: Vec<_> = fs::read_dir(self.scratch()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    pub async fn left(self) -> Outcome {
        timeout(SOON, self.worker).await.expect("the worker does not leave").unwrap().unwrap()
    }
}

/// Processes whose working folder is below `folder`.
pub fn processes_in(folder: &Path) -> Vec<i32> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)))
        .collect()
}

/// Asks until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begun.elapsed() < SOON, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

// ---- media

/// Quick to make and to encode.
pub const H264: &str = r#"{"kind":"file","container":"mp4","video":{"codec":"h264","rate":{"quality":30},"speed":"fastest"},"audio":{"codec":"aac"}}"#;
/// Takes much longer than any test.
pub const SLOW: &str =
    r#"{"kind":"file","container":"mp4","video":{"codec":"hevc","rate":{"quality":20},"speed":"slow"}}"#;

/// Runs the system's ffmpeg.
pub fn ffmpeg(args: &[&str]) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg {args:?}");
}

/// Two seconds with sound.
pub fn clip(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut args = vec!["-f", "lavfi", "-i", "testsrc=s=192x108:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2"];
    args.extend(["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-shortest"]);
    args.extend(more);
    args.push(path.to_str().unwrap());
    ffmpeg(&args);
    path
}

/// Minutes that take much longer to encode with [`SLOW`] than any test waits.
pub fn film(folder: &Path) -> PathBuf {
    let (second, path) = (folder.join("second.mp4"), folder.join("film.mp4"));
    let source = "testsrc2=s=1280x720:r=30:d=1";
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        source,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        second.to_str().unwrap(),
    ]);
    ffmpeg(&["-stream_loop", "299", "-i", second.to_str().unwrap(), "-c", "copy", path.to_str().unwrap()]);
    path
}

/// A program in the place of ffmpeg. It runs in the attempt's folder, in which `out` is for results.
pub fn fake(folder: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("fake-ffmpeg");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
