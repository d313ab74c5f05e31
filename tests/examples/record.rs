//! Records what a worker and a coordinator say to each other, for `common/tests/recorded`.
//!
//! `cargo run -p e2e --example record -- --coordinator PROGRAM --ffmpegd PROGRAM --out common/tests/recorded/vN`
//!
//! A real worker does real work for a real coordinator; everything between them passes through here, and of each kind of
//! message some are kept as they were on the wire. To be run with the programs of a version when that version is done: the
//! next one then has its neighbour's words to understand.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::State};
use bytes::{Buf as _, Bytes, BytesMut};
use clap::Parser;
use common::{
    live::Work,
    proto::{
        Assign, AttemptProgress, CoordinatorMessage, OpenUploadsRequest, OpenUploadsResponse, WorkerMessage,
        attempt_finished, coordinator_message::Message as Told, worker_message::Message as Said,
    },
    spec::Spec,
};
use e2e::{
    Api, clip,
    daemon::{Daemon, Launch},
    live::{Broadcast, Recording, Viewer},
    proxy::{Proxy, Weather},
    tus::TusUpload,
    wait::{self, seconds},
};
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message as _;
use rustix::process::Signal;

const TOKEN: &str = "recorded";
/// Bytes before each message of gRPC: one flag, four of length.
const GRPC_PREFIX: usize = 5;
/// Of each kind; two, so that a change between them shows. Of Hello one, which names every filter that ffmpeg has.
const KEPT: usize = 2;
/// Characters of a message in the text beside the bytes.
const SHOWN: usize = 3000;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    coordinator: PathBuf,
    #[arg(long)]
    ffmpegd: PathBuf,
    /// Emptied first.
    #[arg(long)]
    out: PathBuf,
}

/// Everything that was heard.
#[derive(Debug, Default)]
struct Book {
    heard: Vec<Heard>,
    /// What the attempts of live tasks are for, by the tasks' ids: an end of theirs is another kind of message.
    live: BTreeMap<String, &'static str>,
}

/// A message of one direction, as it was sent.
#[derive(Debug)]
struct Heard {
    by: &'static str,
    kind: String,
    text: String,
    bytes: Bytes,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let book = Arc::new(Mutex::new(Book::default()));
    play(&options, &book).await;
    let heard = std::mem::take(&mut book.lock().unwrap().heard);
    keep(&heard, &options.out);
}

/// Work that makes both sides say everything they can say on a machine without a GPU.
async fn play(options: &Options, book: &Arc<Mutex<Book>>) {
    let folder = tempfile::Builder::new().prefix("record-").tempdir().unwrap();
    let path = folder.path();
    let ready = path.join("ready.json");
    let shared = path.join("shared");
    fs::create_dir(&shared).unwrap();
    let roots = || ("TVARR_SHARED_ROOTS", OsString::from(&shared));
    let coordinator = start(
        path,
        "coordinator",
        &options.coordinator,
        &[
            ("TVARR_HTTP_PORT", "0".into()),
            ("TVARR_GRPC_PORT", "0".into()),
            ("TVARR_DATA_DIR", path.join("data").into()),
            ("TVARR_GRPC_AUTH_TOKEN", TOKEN.into()),
            ("TVARR_READY_FILE", ready.clone().into()),
            ("TVARR_HEARTBEAT_INTERVAL", "200ms".into()),
            roots(),
        ],
    );
    let addresses: serde_json::Value = wait::until(seconds(30), "the coordinator to be ready", || async {
        serde_json::from_slice(&fs::read(&ready).ok()?).ok()
    })
    .await;
    let api = Api::new(&format!("http://{}", addresses["http"].as_str().unwrap()));
    let recorder = record(addresses["grpc"].as_str().unwrap(), Arc::clone(book)).await;
    let line = Proxy::to(recorder);

    let worker = |name: &str, more: &[(&str, OsString)]| {
        let state = path.join(name);
        let mut env = vec![
            ("TVARR_COORDINATOR_URL", line.address().into()),
            ("TVARR_AUTH_TOKEN", TOKEN.into()),
            ("TVARR_WORKER_NAME", name.into()),
            ("TVARR_STATE_DIR", state.into()),
            ("TVARR_MAX_JOBS", "2".into()),
            ("TVARR_MAX_CPU_JOBS", "2".into()),
            ("TVARR_LABELS", "site=here".into()),
            roots(),
        ];
        env.extend(more.iter().cloned());
        start(path, name, &options.ffmpegd, &env)
    };
    let mut steady = worker("steady", &[]);
    let id = becomes(&api, "steady", "online").await;

    // A result, a failure, a cancellation.
    let done = submit(&api, "bikes-2s.mp4", "h264").await;
    becomes_state(&api, &done, "succeeded").await;
    let broken = submit(&api, "no-moov.mp4", "h264").await;
    becomes_state(&api, &broken, "failed").await;
    let long = submit(&api, "bikes-5min.mp4", "h264").await;
    encoding(&api, &long).await;
    tell(&api, &format!("/v1/jobs/{long}/cancel")).await;

    // A connection that breaks while an attempt runs.
    let long = submit(&api, "bikes-5min.mp4", "h264").await;
    encoding(&api, &long).await;
    line.set(Weather { cut: true, ..Weather::FAIR });
    becomes(&api, "steady", "lost").await;
    line.set(Weather::FAIR);
    becomes(&api, "steady", "online").await;
    encoding(&api, &long).await;

    tell(&api, &format!("/v1/jobs/{long}/cancel")).await;

    commands(&api).await;
    live(&api, &shared).await;

    // An operator, then a signal.
    let long = submit(&api, "bikes-5min.mp4", "h264").await;
    encoding(&api, &long).await;
    tell(&api, &format!("/v1/workers/{id}/drain")).await;
    tell(&api, &format!("/v1/workers/{id}/resume")).await;
    tell(&api, &format!("/v1/jobs/{long}/cancel")).await;
    steady.signal(Signal::TERM);
    steady.exited(seconds(60)).await;
    let mut idle = worker("idle", &[("TVARR_EXIT_WHEN_IDLE", "true".into())]);
    idle.exited(seconds(60)).await;
    drop(coordinator);
}

/// A user's command with two inputs, a probe, and an input that is encoded while it comes.
async fn commands(api: &Api) {
    let (first, second) = (api.upload(&clip("bikes-2s.mp4")).await, api.upload(&clip("bikes-2s.mp4")).await);
    let command = "-i {{in}} -i {{in_2}} -filter_complex hstack -c:v libx264 {{out:beside.mp4}}";
    let both = serde_json::json!({
        "input": {"upload": first.id}, "more_inputs": [{"upload": second.id}], "command": command,
    });
    becomes_state(api, &made(api, "/v1/jobs", &both).await, "succeeded").await;
    let probe = serde_json::json!({"input": {"upload": first.id}});
    let answer = api.post_json("/v1/probe", probe.to_string()).await;
    assert!(answer.status().is_success(), "{}", answer.status());

    let file = fs::read(clip("faststart.mp4")).unwrap();
    let upload = TusUpload::create(&api.base, "faststart.mp4", Some(file.len() as u64)).await.unwrap();
    let (begun, whole) = (file.len() / 4 * 3, file.len());
    upload.send_part(&file, 0, begun).await;
    let job = serde_json::json!({"input": {"upload": upload.id}, "preset": "h264"});
    let id = made(api, "/v1/jobs", &job).await;
    encoding(api, &id).await;
    upload.send_part(&file, begun, whole).await;
    becomes_state(api, &id, "succeeded").await;
}

/// A source that is encoded: it breaks off and comes back, so that one attempt ends with its input and the next with its
/// stream. Then one that the worker brings.
async fn live(api: &Api, shared: &Path) {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let viewer = stream(api, &broadcast.url(), "h264-480p").await;
    viewer.watches(2.0).await;
    broadcast.cut_off();
    viewer.watches(4.0).await;
    remove(api, viewer).await;

    let file = shared.join("loop.ts");
    fs::write(&file, &recording.load().bytes).unwrap();
    let viewer = stream(api, file.to_str().unwrap(), "copy").await;
    viewer.watches(2.0).await;
    remove(api, viewer).await;
}

const STREAM: &str = "channel";

async fn stream(api: &Api, source: &str, profile: &str) -> Viewer {
    let stream = serde_json::json!({"name": STREAM, "source": source});
    let answer = api.post_json("/v1/streams", stream.to_string()).await;
    assert!(answer.status().is_success(), "{source}: {}", answer.status());
    Viewer::watch(&format!("{}/live/{STREAM}/{profile}/stream.ts", api.base))
}

/// Removes the stream, and waits until its attempts have ended.
async fn remove(api: &Api, viewer: Viewer) {
    api.remove_stream(STREAM).await.unwrap();
    let _ = viewer.ended(seconds(10)).await;
    wait::until(seconds(30), "the worker to be idle", || async {
        let page = look(api, "/v1/workers").await?;
        let idle = |worker: &serde_json::Value| worker["jobs"] == 0;
        page["items"].as_array()?.iter().all(idle).then_some(())
    })
    .await;
}

fn start(folder: &Path, name: &str, program: &Path, env: &[(&str, OsString)]) -> Daemon {
    let home = ("HOME".to_owned(), folder.join("home").into());
    let launch = Launch {
        program: program.canonicalize().unwrap(),
        args: Vec::new(),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).chain([home]).collect(),
        cwd: folder.to_owned(),
    };
    Daemon::start(name, &launch, &folder.join(format!("{name}.log")))
}

// What the HTTP API says is read loosely: it is another version's.

async fn look(api: &Api, path: &str) -> Option<serde_json::Value> {
    api.get(path).await.ok()?.json().await.ok()
}

async fn tell(api: &Api, path: &str) {
    let answer = api.post_json(path, String::new()).await;
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
}

async fn submit(api: &Api, name: &str, preset: &str) -> String {
    let upload = api.upload(&clip(name)).await;
    let job = serde_json::json!({"input": {"upload": upload.id}, "preset": preset});
    made(api, "/v1/jobs", &job).await
}

/// The id of the job that a request makes.
async fn made(api: &Api, path: &str, request: &serde_json::Value) -> String {
    let view: serde_json::Value = api.post_json(path, request.to_string()).await.json().await.unwrap();
    view["id"].as_str().unwrap_or_else(|| panic!("{path}: {view}")).to_owned()
}

/// Waits for a worker's state; its id.
async fn becomes(api: &Api, name: &str, state: &str) -> String {
    wait::until(seconds(30), &format!("{name} to become {state}"), || async {
        let page = look(api, "/v1/workers").await?;
        let named = |worker: &&serde_json::Value| worker["name"] == name && worker["state"] == state;
        Some(page["items"].as_array()?.iter().find(named)?["id"].as_str()?.to_owned())
    })
    .await
}

async fn becomes_state(api: &Api, job: &str, state: &str) {
    wait::until(seconds(60), &format!("job {job} to be {state}"), || async {
        (look(api, &format!("/v1/jobs/{job}")).await?["state"] == state).then_some(())
    })
    .await;
}

async fn encoding(api: &Api, job: &str) {
    wait::until(seconds(60), "a job to be encoded", || async {
        let view = look(api, &format!("/v1/jobs/{job}")).await?;
        (view["progress"]["frames"].as_u64()? > 0).then_some(())
    })
    .await;
}

// ---- what passes through

#[derive(Clone)]
struct Recorder {
    upstream: String,
    /// Media goes over HTTP/1.1, the session over HTTP/2.
    media: Client<hyper_util::client::legacy::connect::HttpConnector, Body>,
    session: Client<hyper_util::client::legacy::connect::HttpConnector, Body>,
    book: Arc<Mutex<Book>>,
}

/// Listens for workers; the port.
async fn record(upstream: &str, book: Arc<Mutex<Book>>) -> u16 {
    let client = || Client::builder(TokioExecutor::new());
    let recorder = Recorder {
        upstream: upstream.to_owned(),
        media: client().build_http(),
        session: client().http2_only(true).build_http(),
        book,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(forward).with_state(recorder);
    let serving = tokio_util::task::TaskTracker::new();
    serving.spawn(axum::serve(listener, router).into_future());
    port
}

async fn forward(
    State(recorder): State<Recorder>,
    mut request: axum::extract::Request,
) -> Result<axum::response::Response, axum::http::StatusCode> {
    let path = request.uri().path_and_query().unwrap().to_string();
    *request.uri_mut() = format!("http://{}{path}", recorder.upstream).parse().unwrap();
    let rpc = path.strip_prefix("/ffmpegd.v1.WorkerService/").map(str::to_owned);
    let sent = match &rpc {
        None => recorder.media.request(request).await,
        Some(rpc) => {
            let tap = Tap { by: "worker", rpc: rpc.clone(), book: Arc::clone(&recorder.book) };
            recorder.session.request(request.map(|body| tap.on(body))).await
        }
    };
    let answer = sent.map_err(|_| axum::http::StatusCode::BAD_GATEWAY)?;
    Ok(answer.map(|body| match rpc {
        None => Body::new(body),
        Some(rpc) => Tap { by: "coordinator", rpc, book: recorder.book }.on(Body::new(body)),
    }))
}

/// Takes down the messages of one body.
struct Tap {
    by: &'static str,
    rpc: String,
    book: Arc<Mutex<Book>>,
}

impl Tap {
    fn on(self, body: Body) -> Body {
        let mut pending = BytesMut::new();
        Body::new(body.map_frame(move |frame| {
            if let Some(bytes) = frame.data_ref() {
                pending.extend_from_slice(bytes);
                self.take(&mut pending);
            }
            frame
        }))
    }

    fn take(&self, pending: &mut BytesMut) {
        while pending.len() >= GRPC_PREFIX {
            let length = u32::from_be_bytes([pending[1], pending[2], pending[3], pending[4]]) as usize;
            if pending.len() < GRPC_PREFIX + length {
                return;
            }
            assert_eq!(pending[0], 0, "nothing here is compressed");
            pending.advance(GRPC_PREFIX);
            let bytes = pending.split_to(length).freeze();
            let mut book = self.book.lock().unwrap();
            let (kind, text) = describe(self.by, &self.rpc, bytes.clone(), &mut book.live);
            book.heard.push(Heard { by: self.by, kind, text, bytes });
        }
    }
}

/// What kind of message it is, and the message as text. Of a live task the kind ends with what it is for.
fn describe(
    by: &str,
    rpc: &str,
    bytes: Bytes,
    live: &mut BTreeMap<String, &'static str>,
) -> (String, String) {
    let of = |kind: &str, task: &str, live: &BTreeMap<String, &'static str>| match live.get(task) {
        Some(work) => format!("{kind}-{work}"),
        None => kind.to_owned(),
    };
    match (by, rpc) {
        ("worker", "Session") => {
            let message = WorkerMessage::decode(bytes).unwrap().message.unwrap();
            let (kind, task) = match &message {
                Said::Hello(hello) if hello.running.is_empty() => ("hello", ""),
                Said::Hello(_) => ("hello-again", ""),
                Said::Heartbeat(beat) => match beat.attempts.first() {
                    None => ("heartbeat", ""),
                    Some(first) if beat.attempts.iter().any(|attempt| !attempt.log.is_empty()) => {
                        ("heartbeat-log", first.task_id.as_str())
                    }
                    Some(first) if live.contains_key(&first.task_id) && encoded(first) => {
                        ("heartbeat-frames", first.task_id.as_str())
                    }
                    Some(first) => ("heartbeat-attempt", first.task_id.as_str()),
                },
                Said::AttemptStarted(started) => ("started", started.task_id.as_str()),
                Said::AttemptFinished(finished) => {
                    let kind = match finished.result {
                        Some(attempt_finished::Result::Succeeded(_)) => "succeeded",
                        Some(attempt_finished::Result::Failed(_)) => "failed",
                        None => "finished",
                    };
                    (kind, finished.task_id.as_str())
                }
                Said::Draining(_) => ("draining", ""),
                Said::CapabilitiesChanged(_) => ("capabilities", ""),
            };
            (of(kind, task, live), format!("{message:?}"))
        }
        ("coordinator", "Session") => {
            let message = CoordinatorMessage::decode(bytes).unwrap().message.unwrap();
            let (kind, task) = match &message {
                Told::Welcome(welcome) if welcome.verdicts.is_empty() => ("welcome", ""),
                Told::Welcome(_) => ("welcome-again", ""),
                Told::Assign(assign) => {
                    if let Some(work) = work(&assign.live_json) {
                        live.insert(assign.task_id.clone(), work);
                    }
                    (batch(assign), assign.task_id.as_str())
                }
                Told::StopAttempt(stop) => ("stop", stop.task_id.as_str()),
                Told::AttemptAcknowledged(acknowledged) => ("acknowledged", acknowledged.task_id.as_str()),
                Told::LeasesRenewed(renewed) => {
                    ("renewed", renewed.attempts.first().map_or("", |attempt| attempt.task_id.as_str()))
                }
                Told::SetDraining(_) => ("set-draining", ""),
                Told::Idle(_) => ("idle", ""),
                Told::ProbeAgain(_) => ("probe-again", ""),
            };
            (of(kind, task, live), format!("{message:?}"))
        }
        ("worker", "OpenUploads") => {
            ("open-uploads".to_owned(), format!("{:?}", OpenUploadsRequest::decode(bytes).unwrap()))
        }
        ("coordinator", "OpenUploads") => {
            ("upload-urls".to_owned(), format!("{:?}", OpenUploadsResponse::decode(bytes).unwrap()))
        }
        (by, rpc) => panic!("{by} said something in {rpc}"),
    }
}

fn encoded(attempt: &AttemptProgress) -> bool {
    attempt.progress.as_ref().is_some_and(|progress| progress.frames > 0)
}

/// What kind of work an assignment that is not live is.
fn batch(assign: &Assign) -> &'static str {
    match serde_json::from_str(&assign.spec_json) {
        Ok(Spec::Command(_)) => "assign-command",
        Ok(Spec::Probe) => "assign-probe",
        _ if assign.input.as_ref().is_some_and(|input| input.grows) => "assign-grows",
        _ => "assign",
    }
}

/// What `Assign.live_json` asks for; `None`: it is empty, for batch.
fn work(json: &str) -> Option<&'static str> {
    match serde_json::from_str(json).ok()? {
        Work::Encode(_) => Some("encode"),
        Work::Ingest(_) => Some("ingest"),
        Work::Slate(_) => Some("slate"),
    }
}

/// Writes the first few of each kind, in the order in which they were heard.
fn keep(heard: &[Heard], out: &Path) {
    let _ = fs::remove_dir_all(out);
    fs::create_dir_all(out).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut text =
        "What these messages say, in order; the bytes beside this file are what was sent.\n".to_owned();
    let mut number = 0;
    for message in heard {
        let count = counts.entry((message.by, &message.kind)).or_default();
        *count += 1;
        let kept = if message.kind.starts_with("hello") { 1 } else { KEPT };
        if *count > kept {
            continue;
        }
        let name = format!("{number:02}-{}-{}.bin", message.by, message.kind);
        number += 1;
        fs::write(out.join(&name), &message.bytes).unwrap();
        let shown: String = message.text.chars().take(SHOWN).collect();
        let more = if shown.len() < message.text.len() { " ..." } else { "" };
        write!(text, "\n{name}\n{shown}{more}\n").unwrap();
    }
    fs::write(out.join("messages.txt"), text).unwrap();
    println!("{} of {} messages kept in {}: {counts:?}", number, heard.len(), out.display());
}
