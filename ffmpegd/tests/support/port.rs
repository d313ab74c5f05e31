//! The two bodies of live work, as far as a worker can see: what it reads, and what it writes.

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    routing::{get, put},
};
use common::{live::Work, proto::Assign};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::task::TaskTracker;

use super::{Rig, SOON, ffmpeg};

/// Where the bytes come from and go to.
pub struct Port {
    pub address: std::net::SocketAddr,
    /// What the worker reads; dropped, its input is over. An error breaks it off.
    pub source: Option<mpsc::Sender<io::Result<Bytes>>>,
    /// What it writes: bytes, or how the body ended.
    pub sink: mpsc::UnboundedReceiver<Got>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    Bytes(Bytes),
    End,
    Broken,
}

#[derive(Clone)]
struct Ends {
    source: Arc<Mutex<Option<mpsc::Receiver<io::Result<Bytes>>>>>,
    sink: mpsc::UnboundedSender<Got>,
    /// Answers to the PUT as soon as so many bytes were read.
    refuse_after: Option<(usize, StatusCode)>,
}

impl Port {
    pub async fn open(refuse_after: Option<(usize, StatusCode)>) -> Self {
        let (source, receiver) = mpsc::channel(16);
        let (sender, sink) = mpsc::unbounded_channel();
        let ends = Ends { source: Arc::new(Mutex::new(Some(receiver))), sink: sender, refuse_after };
        let router =
            Router::new().route("/live/input", get(read)).route("/live/output", put(write)).with_state(ends);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(axum::serve(listener, router).into_future());
        Self { address, source: Some(source), sink }
    }

    pub fn assign(&self, rig: &Rig, work: &Work) -> Assign {
        Assign {
            live_json: serde_json::to_string(work).unwrap(),
            live_input_url: match work {
                Work::Encode(_) => format!("http://{}/live/input", self.address),
                Work::Ingest(_) | Work::Slate(_) => String::new(),
            },
            live_output_url: format!("http://{}/live/output", self.address),
            spec_json: String::new(),
            input: None,
            ..rig.coordinator.assign("/none", "")
        }
    }

    pub async fn give(&self, bytes: &Bytes) {
        for piece in bytes.chunks(64 * 1024) {
            let _ = self.source.as_ref().unwrap().send(Ok(bytes.slice_ref(piece))).await;
        }
    }

    pub async fn next(&mut self) -> Got {
        timeout(SOON, self.sink.recv()).await.expect("nothing came").expect("the port's own channel")
    }

    /// Everything to the end.
    pub async fn all(&mut self) -> (Vec<u8>, Got) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Got::Bytes(bytes) => all.extend_from_slice(&bytes),
                end => return (all, end),
            }
        }
    }
}

async fn read(State(ends): State<Ends>) -> Result<Body, StatusCode> {
    let source = ends.source.lock().unwrap().take().ok_or(StatusCode::NOT_FOUND)?;
    Ok(Body::from_stream(ReceiverStream::new(source)))
}

async fn write(State(ends): State<Ends>, body: Body) -> StatusCode {
    let mut body = body.into_data_stream();
    let mut count = 0;
    while let Some(bytes) = body.next().await {
        let Ok(bytes) = bytes else {
            let _ = ends.sink.send(Got::Broken);
            return StatusCode::BAD_REQUEST;
        };
        count += bytes.len();
        let _ = ends.sink.send(Got::Bytes(bytes));
        if let Some((_, status)) = ends.refuse_after.filter(|(after, _)| count >= *after) {
            return status;
        }
    }
    let _ = ends.sink.send(Got::End);
    StatusCode::OK
}

/// So many seconds of MPEG-TS.
pub fn footage(seconds: u32) -> Bytes {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.ts");
    let (picture, sound) =
        (format!("testsrc2=s=320x180:r=25:d={seconds}"), format!("sine=d={seconds}:r=48000"));
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-f",
        "lavfi",
        "-i",
        &sound,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "50",
        "-c:a",
        "aac",
        "-output_ts_offset",
        "10",
        path.to_str().unwrap(),
    ]);
    std::fs::read(path).unwrap().into()
}
