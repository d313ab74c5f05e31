//! A worker that lies: it speaks the real protocol, and a test says what it says.

use std::{collections::VecDeque, time::Duration};

use common::{
    config::Secret,
    id::WorkerId,
    media::EncoderFamily,
    proto::{
        self, Assign, AttemptAcknowledged, AttemptFinished, AttemptProgress, AttemptStarted,
        CoordinatorMessage, Failed, Heartbeat, Hello, OpenUploadsRequest, OutputFile, RunningAttempt,
        Succeeded, Welcome, WorkerMessage, attempt_finished::Result as Outcome,
        coordinator_message::Message as Order, worker_message::Message as Said,
        worker_service_client::WorkerServiceClient,
    },
    worker::{Capabilities, Capacity, Encoder},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

use crate::Farm;

/// Everything that is waited for comes within this, also on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const OUTBOX: usize = 1024;

/// What an honest worker without a GPU says of itself.
#[must_use]
pub fn hello(name: &str, worker: WorkerId, jobs: u32) -> Hello {
    let encoder = |name: &str, codec: &str| Encoder {
        name: name.to_owned(),
        codec: codec.to_owned(),
        family: EncoderFamily::Software,
        devices: Vec::new(),
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let capabilities = Capabilities {
        ffmpeg_version: "5.1.0".to_owned(),
        ffprobe_version: "5.1.0".to_owned(),
        encoders: vec![encoder("libx264", "h264"), encoder("aac", "aac")],
        decoders: words(&["h264", "aac", "mpeg4"]),
        muxers: words(&["mp4", "mpegts"]),
        filters: words(&[
            "scale",
            "format",
            "aresample",
            "aformat",
            "atrim",
            "asetpts",
            "pad",
            "setsar",
            "select",
            "setpts",
        ]),
        protocols: words(&["file", "http"]),
        ..Capabilities::default()
    };
    Hello {
        protocol_min: proto::PROTOCOL_MIN,
        protocol_max: proto::PROTOCOL_MAX,
        worker_id: worker.to_string(),
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Some(capabilities.into()),
        capacity: Some(Capacity { max_jobs: jobs, max_gpu_jobs: 0, max_cpu_jobs: jobs }.into()),
        ..Hello::default()
    }
}

/// A session that a test holds by hand. It beats only when told to.
#[derive(Debug)]
pub struct Liar {
    pub worker: WorkerId,
    pub welcome: Welcome,
    address: String,
    token: Secret,
    client: WorkerServiceClient<Channel>,
    outbox: mpsc::Sender<WorkerMessage>,
    inbox: Streaming<CoordinatorMessage>,
    /// What came while something else was waited for.
    passed_over: VecDeque<Order>,
}

impl Liar {
    /// Registers as an honest worker would, and begins to beat.
    ///
    /// # Panics
    /// It is refused.
    pub async fn join(farm: &Farm, name: &str, jobs: u32) -> Self {
        let liar = Self::say_hello(farm, hello(name, WorkerId::new(), jobs)).await.unwrap();
        liar.beat(&[]).await;
        liar
    }

    /// Registers with these words.
    ///
    /// # Errors
    /// The coordinator's answer to them.
    pub async fn say_hello(farm: &Farm, hello: Hello) -> Result<Self, Status> {
        Self::dial(&format!("http://{}", farm.worker_address()), farm.token(), hello).await
    }

    /// The same at any worker port, by its URL.
    ///
    /// # Errors
    /// The coordinator's answer.
    pub async fn dial(address: &str, token: &str, hello: Hello) -> Result<Self, Status> {
        common::tls::install_provider();
        let (address, token) = (address.to_owned(), Secret::new(token));
        let worker = hello.worker_id.parse().unwrap_or_else(|_| WorkerId::new());
        let mut client = WorkerServiceClient::connect(address.clone()).await.unwrap();
        let (outbox, messages) = mpsc::channel(OUTBOX);
        outbox.send(said(Said::Hello(hello))).await.unwrap();
        let request = authorised(ReceiverStream::new(messages), &token);
        let mut inbox = client.session(request).await?.into_inner();
        match inbox.message().await? {
            Some(CoordinatorMessage { message: Some(Order::Welcome(welcome)) }) => Ok(Self {
                worker,
                welcome,
                address,
                token,
                client,
                outbox,
                inbox,
                passed_over: VecDeque::new(),
            }),
            other => panic!("no welcome: {other:?}"),
        }
    }

    /// # Panics
    /// The session has ended.
    pub async fn say(&self, message: Said) {
        self.outbox.send(said(message)).await.unwrap();
    }

    /// A heartbeat that names these attempts.
    pub async fn beat(&self, attempts: &[RunningAttempt]) {
        let attempts = attempts.iter().map(|attempt| AttemptProgress {
            task_id: attempt.task_id.clone(),
            epoch: attempt.epoch,
            progress: Some(proto::Progress { phase: "encoding".to_owned(), frames: 1, ..Default::default() }),
            log: Vec::new(),
        });
        let load = Some(proto::Load { cpu: 0.0, ..Default::default() });
        let attempts = attempts.collect();
        self.say(Said::Heartbeat(Heartbeat { load, attempts, ..Default::default() })).await;
    }

    /// The next order that is `wanted`; others are kept for later.
    ///
    /// # Panics
    /// None came in time.
    pub async fn next<T>(&mut self, what: &str, mut wanted: impl FnMut(&Order) -> Option<T>) -> T {
        for index in 0..self.passed_over.len() {
            if let Some(found) = wanted(&self.passed_over[index]) {
                self.passed_over.remove(index);
                return found;
            }
        }
        let find = async {
            loop {
                let message = self.inbox.message().await.unwrap().expect("the session goes on");
                let Some(order) = message.message else { continue };
                if let Some(found) = wanted(&order) {
                    return found;
                }
                self.passed_over.push_back(order);
            }
        };
        timeout(SOON, find).await.unwrap_or_else(|_| panic!("no {what} came"))
    }

    pub async fn assigned(&mut self) -> Assign {
        self.next("assignment", |order| match order {
            Order::Assign(assign) => Some(assign.clone()),
            _ => None,
        })
        .await
    }

    /// Everything that was assigned until now and not taken yet.
    pub async fn all_assigned(&mut self, count: usize) -> Vec<Assign> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            all.push(self.assigned().await);
        }
        all
    }

    /// The answer to the end of an attempt.
    pub async fn acknowledged(&mut self, task: &str, epoch: u64) -> AttemptAcknowledged {
        self.next("acknowledgement", |order| match order {
            Order::AttemptAcknowledged(answer) if answer.task_id == task && answer.epoch == epoch => {
                Some(answer.clone())
            }
            _ => None,
        })
        .await
    }

    /// Waits for the session's end, and gives the status with which it ended.
    ///
    /// # Panics
    /// It goes on.
    pub async fn ended(&mut self) -> Option<Status> {
        let end = async {
            loop {
                match self.inbox.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        };
        timeout(SOON, end).await.expect("the session goes on")
    }

    pub async fn started(&self, assign: &Assign) {
        self.say(Said::AttemptStarted(AttemptStarted {
            task_id: assign.task_id.clone(),
            epoch: assign.epoch,
            argv: vec!["ffmpeg".to_owned()],
            input_info_json: String::new(),
        }))
        .await;
    }

    /// Says that an attempt succeeded with these files, and gives the answer.
    pub async fn claims(&mut self, task: &str, epoch: u64, outputs: Vec<OutputFile>) -> AttemptAcknowledged {
        let succeeded = Succeeded { outputs, ..Succeeded::default() };
        self.finishes(task, epoch, Outcome::Succeeded(succeeded)).await;
        self.acknowledged(task, epoch).await
    }

    /// Says that an attempt failed, and gives the answer.
    pub async fn fails(&mut self, task: &str, epoch: u64, kind: &str) -> AttemptAcknowledged {
        let failed =
            Failed { kind: kind.to_owned(), message: "so says the liar".to_owned(), ..Failed::default() };
        self.finishes(task, epoch, Outcome::Failed(failed)).await;
        self.acknowledged(task, epoch).await
    }

    pub async fn finishes(&self, task: &str, epoch: u64, result: Outcome) {
        self.say(Said::AttemptFinished(AttemptFinished {
            task_id: task.to_owned(),
            epoch,
            result: Some(result),
            log_tail: Vec::new(),
        }))
        .await;
    }

    /// Asks where to put files.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn open_uploads(
        &mut self,
        task: &str,
        epoch: u64,
        files: &[OutputFile],
    ) -> Result<Vec<String>, Status> {
        let request = OpenUploadsRequest {
            worker_id: self.worker.to_string(),
            session_id: self.welcome.session_id.clone(),
            task_id: task.to_owned(),
            epoch,
            files: files.to_vec(),
        };
        let request = authorised(request, &self.token);
        Ok(self.client.open_uploads(request).await?.into_inner().urls)
    }

    /// Puts bytes at an address that [`Liar::open_uploads`] gave, and gives the status.
    ///
    /// # Panics
    /// Nobody answers.
    pub async fn put(&self, url: &str, bytes: Vec<u8>) -> u16 {
        let url = if url.contains("://") { url.to_owned() } else { format!("{}{url}", self.address) };
        let client = reqwest::Client::new();
        client.put(url).body(bytes).send().await.unwrap().status().as_u16()
    }
}

/// A file as it is reported.
#[must_use]
pub fn file(path: &str, size: u64, sha256: &str) -> OutputFile {
    OutputFile {
        path: path.to_owned(),
        size,
        content_type: "video/mp4".to_owned(),
        sha256: sha256.to_owned(),
    }
}

fn said(message: Said) -> WorkerMessage {
    WorkerMessage { message: Some(message) }
}

fn authorised<T>(message: T, token: &Secret) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {}", token.expose()).parse().unwrap();
    request.metadata_mut().insert(proto::AUTHORIZATION, value);
    request
}
