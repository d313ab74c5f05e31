//! A coordinator on free ports with a folder of its own, and a worker to play.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use common::{
    api::{JobView, Problem, Upload},
    config::Secret,
    digest::Digest,
    id::{JobId, WorkerId},
    proto::{
        self, coordinator_message::Message, worker_message::Message as Said,
        worker_service_client::WorkerServiceClient,
    },
};
use coordinator::{Config, Coordinator};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

pub(crate) const TOKEN: &str = "a-token-of-the-test";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Farm {
    folder: tempfile::TempDir,
    coordinator: Coordinator,
    pub(crate) http: Client,
}

impl Farm {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), change).await
    }

    /// On a folder that something was put into, below `data`.
    pub(crate) async fn start_on(folder: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        common::tls::install_provider();
        let mut config = Self::config(folder.path().join("data"));
        change(&mut config);
        let coordinator = Coordinator::start(config).await.unwrap();
        Self { folder, coordinator, http: Client::new() }
    }

    pub(crate) fn config(data_dir: PathBuf) -> Config {
        Config::embedded(data_dir, Secret::new(TOKEN))
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.data_dir().join("objects")
    }

    /// Stops the coordinator and starts one on the same folder.
    pub(crate) async fn restart(self) -> Self {
        let folder = self.stop().await;
        let coordinator = Coordinator::start(Self::config(folder.path().join("data"))).await.unwrap();
        Self { folder, coordinator, http: Client::new() }
    }

    /// On a data folder of somebody else's.
    pub(crate) async fn start_at(data: PathBuf) -> Self {
        Self::start_with(|config| config.data_dir = data).await
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        tokio::time::timeout(PATIENCE, self.coordinator.shutdown()).await.expect("shutdown hangs");
        self.folder
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.coordinator.http_addr())
    }

    pub(crate) fn http_addr(&self) -> std::net::SocketAddr {
        self.coordinator.http_addr()
    }

    /// What a worker makes of a path and query that it was given.
    /// Where KEDA asks.
    pub(crate) fn scaler(&self) -> Option<std::net::SocketAddr> {
        self.coordinator.scaler_addr()
    }

    pub(crate) fn worker_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.coordinator.worker_addr().unwrap())
    }

    /// PUTs to a URL that a worker was given.
    pub(crate) async fn bring(&self, url: &str, body: impl Into<reqwest::Body>) -> Response {
        self.http.put(self.worker_url(url)).body(body).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.http.post(self.url(path)).json(body).send().await.unwrap()
    }

    pub(crate) async fn upload(&self, name: &str, body: &'static str) -> Upload {
        let request = self.http.post(self.url("/v1/uploads")).query(&[("filename", name)]).body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        response.json().await.unwrap()
    }

    pub(crate) async fn submit_upload(&self, upload: &Upload) -> JobView {
        let body = json!({"input": {"upload": upload.id}, "preset": "h264", "hardware": "never"});
        let response = self.post("/v1/jobs", &body).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let view: JobView = response.json().await.unwrap();
        assert_eq!(location, format!("/v1/jobs/{}", view.summary.id));
        view
    }

    pub(crate) async fn job(&self, id: JobId) -> JobView {
        self.get(&format!("/v1/jobs/{id}")).await.json().await.unwrap()
    }

    pub(crate) async fn client(&self) -> WorkerServiceClient<Channel> {
        let address = format!("http://{}", self.coordinator.worker_addr().unwrap());
        WorkerServiceClient::connect(address).await.unwrap()
    }

    pub(crate) async fn worker(&self) -> Worker {
        Worker::connect(self.client().await, hello()).await.unwrap()
    }
}

pub(crate) async fn problem(response: Response) -> Problem {
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status.as_u16());
    problem
}

pub(crate) fn hello() -> proto::Hello {
    let encoder = |name: &str, codec: &str| proto::Encoder {
        name: name.to_owned(),
        codec: codec.to_owned(),
        family: "software".to_owned(),
        devices: Vec::new(),
    };
    proto::Hello {
        protocol_min: proto::PROTOCOL_MIN,
        protocol_max: proto::PROTOCOL_MAX,
        worker_id: WorkerId::new().to_string(),
        name: "test".to_owned(),
        version: "0".to_owned(),
        capabilities: Some(proto::Capabilities {
            ffmpeg_version: "5.1".to_owned(),
            encoders: vec![encoder("libx264", "h264"), encoder("aac", "aac"), encoder("mjpeg", "mjpeg")],
            ..proto::Capabilities::default()
        }),
        capacity: Some(proto::Capacity { max_jobs: 2, max_gpu_jobs: 0, max_cpu_jobs: 2 }),
        ..proto::Hello::default()
    }
}

pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(proto::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    request
}

/// One session.
pub(crate) struct Worker {
    pub(crate) client: WorkerServiceClient<Channel>,
    pub(crate) welcome: proto::Welcome,
    say: mpsc::Sender<proto::WorkerMessage>,
    told: Streaming<proto::CoordinatorMessage>,
}

impl Worker {
    pub(crate) async fn connect(
        client: WorkerServiceClient<Channel>,
        hello: proto::Hello,
    ) -> Result<Self, Status> {
        Self::connect_with(client, hello, TOKEN).await
    }

    pub(crate) async fn connect_with(
        mut client: WorkerServiceClient<Channel>,
        hello: proto::Hello,
        token: &str,
    ) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(64);
        say.send(proto::WorkerMessage { message: Some(Said::Hello(hello)) }).await.unwrap();
        let mut told = client.session(with_token(ReceiverStream::new(said), token)).await?.into_inner();
        match next(&mut told).await? {
            Message::Welcome(welcome) => Ok(Self { client, welcome, say, told }),
            other => panic!("{other:?} before Welcome"),
        }
    }

    pub(crate) async fn say(&self, message: Said) {
        self.say.send(proto::WorkerMessage { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn told(&mut self) -> Result<Message, Status> {
        next(&mut self.told).await
    }

    pub(crate) async fn assigned(&mut self) -> proto::Assign {
        loop {
            if let Message::Assign(assign) = self.told().await.unwrap() {
                return assign;
            }
        }
    }

    pub(crate) async fn acknowledged(&mut self) -> proto::AttemptAcknowledged {
        loop {
            if let Message::AttemptAcknowledged(acknowledged) = self.told().await.unwrap() {
                return acknowledged;
            }
        }
    }

    pub(crate) async fn open_uploads(
        &mut self,
        assign: &proto::Assign,
        files: Vec<proto::OutputFile>,
    ) -> Result<Vec<String>, Status> {
        let request = proto::OpenUploadsRequest {
            worker_id: String::new(),
            session_id: self.welcome.session_id.clone(),
            task_id: assign.task_id.clone(),
            epoch: assign.epoch,
            files,
        };
        Ok(self.client.open_uploads(with_token(request, TOKEN)).await?.into_inner().urls)
    }

    pub(crate) async fn succeed(&self, assign: &proto::Assign, outputs: Vec<proto::OutputFile>) {
        let succeeded = proto::Succeeded { outputs, ..proto::Succeeded::default() };
        self.say(Said::AttemptFinished(proto::AttemptFinished {
            task_id: assign.task_id.clone(),
            epoch: assign.epoch,
            result: Some(proto::attempt_finished::Result::Succeeded(succeeded)),
            log_tail: vec!["the last line".to_owned()],
        }))
        .await;
    }
}

async fn next(told: &mut Streaming<proto::CoordinatorMessage>) -> Result<Message, Status> {
    let message = tokio::time::timeout(PATIENCE, told.message()).await.expect("the coordinator is silent")?;
    Ok(message.expect("the stream ended").message.expect("a known message"))
}

pub(crate) fn input_url(assign: &proto::Assign) -> &str {
    match assign.input.as_ref().unwrap().location.as_ref().unwrap() {
        proto::input::Location::Url(url) => url,
        proto::input::Location::Path(path) => panic!("{path} instead of a URL"),
    }
}

/// The file as a worker reports it.
pub(crate) fn output(path: &str, content: &str) -> proto::OutputFile {
    proto::OutputFile {
        path: path.to_owned(),
        size: content.len() as u64,
        content_type: "video/mp4".to_owned(),
        sha256: Digest::of(content.as_bytes()).to_string(),
    }
}

/// Files and folders below a folder.
pub(crate) fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, |found| {
        found.flatten().map(|entry| 1 + if entry.path().is_dir() { entries(&entry.path()) } else { 0 }).sum()
    })
}

/// Asks again until `done` says so.
pub(crate) async fn eventually<T>(mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let ask = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            tick.tick().await;
            if let Some(value) = done().await {
                return value;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.expect("it did not happen")
}
