//! A worker of the version before, with the words that it really said.

use std::path::Path;

use common::{
    api::JobState,
    live::Work,
    proto::{
        self, OpenUploadsRequest, attempt_finished::Result as Outcome, coordinator_message::Message,
        worker_message::Message as Said,
    },
    stream::{SourceState, StreamView},
};
use reqwest::{Body, Response, StatusCode};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

use crate::{
    farm::{Farm, Worker, eventually},
    recorded::{self, Recorded},
    streams::clip,
};

/// What was recorded of a version.
fn version(number: u32) -> Vec<Recorded> {
    recorded::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/tests/recorded"), number)
}

fn hello(messages: &[Recorded], kind: &str) -> proto::Hello {
    match recorded::said(messages, kind).remove(0) {
        Said::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

/// What was recorded, said of the attempt that is assigned here.
fn about(message: Said, assign: &proto::Assign) -> Said {
    let (task_id, epoch) = (assign.task_id.clone(), assign.epoch);
    match message {
        Said::Heartbeat(mut beat) => {
            for attempt in &mut beat.attempts {
                (attempt.task_id, attempt.epoch) = (task_id.clone(), epoch);
            }
            Said::Heartbeat(beat)
        }
        Said::AttemptStarted(started) => {
            Said::AttemptStarted(proto::AttemptStarted { task_id, epoch, ..started })
        }
        Said::AttemptFinished(finished) => {
            Said::AttemptFinished(proto::AttemptFinished { task_id, epoch, ..finished })
        }
        other => other,
    }
}

async fn say_all(worker: &Worker, messages: &[Recorded], kinds: &[&str], assign: &proto::Assign) {
    for kind in kinds {
        for message in recorded::said(messages, kind) {
            worker.say(about(message, assign)).await;
        }
    }
}

/// The next answer to the end of an attempt; nothing that version 1 does not know comes before it.
async fn acknowledged(worker: &mut Worker) -> proto::AttemptAcknowledged {
    loop {
        match worker.told().await.unwrap() {
            Message::AttemptAcknowledged(acknowledged) => return acknowledged,
            Message::ProbeAgain(probe) => panic!("version 1 does not know {probe:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_worker_of_version_1_works_to_a_published_job_without_digests() {
    let messages = version(1);
    let farm = Farm::start().await;
    let upload = farm.upload("bikes-2s.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let mut worker = Worker::connect(farm.client().await, hello(&messages, "hello")).await.unwrap();
    assert_eq!(worker.welcome.protocol, 1);

    let assign = worker.assigned().await;
    let course = ["heartbeat", "started", "heartbeat-attempt", "heartbeat-log"];
    say_all(&worker, &messages, &course, &assign).await;
    eventually(async || {
        let progress = farm.job(job).await.summary.progress?;
        (progress.progress.frames == 52).then_some(())
    })
    .await;

    let request: OpenUploadsRequest = recorded::call(&messages, "open-uploads");
    let urls = worker.open_uploads(&assign, request.files.clone()).await.unwrap();
    let body = vec![0; usize::try_from(request.files[0].size).unwrap()];
    let put = farm.http.put(farm.worker_url(&urls[0])).body(body).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    worker.say(about(recorded::said(&messages, "succeeded").remove(0), &assign)).await;
    assert!(acknowledged(&mut worker).await.accepted);

    let view = farm.job(job).await;
    assert_eq!(view.summary.state, JobState::Succeeded, "{view:#?}");
    assert_eq!((view.outputs[0].path.as_str(), view.outputs[0].size), ("bikes-2s.mp4", 102_435));
    assert_eq!(view.tasks[0].attempts.len(), 1);
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_of_version_1_comes_back_to_its_attempt_and_its_failure_counts() {
    let messages = version(1);
    let farm = Farm::start().await;
    let upload = farm.upload("no-moov.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let mut worker = Worker::connect(farm.client().await, hello(&messages, "hello")).await.unwrap();
    let assign = worker.assigned().await;
    drop(worker);

    let mut again = hello(&messages, "hello-again");
    again.running = vec![proto::RunningAttempt { task_id: assign.task_id.clone(), epoch: assign.epoch }];
    let mut worker = Worker::connect(farm.client().await, again).await.unwrap();
    assert_eq!(worker.welcome.protocol, 1);
    assert!(worker.welcome.verdicts[0].keep, "{:?}", worker.welcome);

    let failed = recorded::said(&messages, "failed").remove(0);
    let Said::AttemptFinished(proto::AttemptFinished { result: Some(Outcome::Failed(said)), .. }) = &failed
    else {
        panic!("{failed:?}")
    };
    worker.say(about(failed.clone(), &assign)).await;
    assert!(acknowledged(&mut worker).await.accepted);
    let view = farm.job(job).await;
    assert_eq!(view.summary.state, JobState::Failed, "{view:#?}");
    assert_eq!(view.summary.failure.unwrap().message, said.message);
    farm.stop().await;
}

/// Watches a stream that a worker of version 3 encodes or brings.
struct Live {
    farm: Farm,
    messages: Vec<Recorded>,
    worker: Worker,
    viewer: JoinHandle<Response>,
    assign: proto::Assign,
}

impl Live {
    async fn watch(source: &str, profile: &str) -> Self {
        let messages = version(3);
        let farm = Farm::start().await;
        let stream = json!({"name": "news", "source": source});
        assert_eq!(farm.post("/v1/streams", &stream).await.status(), StatusCode::CREATED);
        let mut worker = Worker::connect(farm.client().await, hello(&messages, "hello")).await.unwrap();
        assert_eq!(worker.welcome.protocol, 3);
        let url = farm.url(&format!("/live/news/{profile}/stream.ts"));
        let watching = farm.http.get(url).send();
        let viewer = TaskTracker::new().spawn(async { watching.await.unwrap() });
        if source == "push" {
            let input = farm.http.put(farm.url("/v1/streams/news/input")).body(open(clip()));
            TaskTracker::new().spawn(input.send());
        }
        let assign = worker.assigned().await;
        Self { farm, messages, worker, viewer, assign }
    }

    async fn say(&self, kinds: &[&str]) {
        say_all(&self.worker, &self.messages, kinds, &self.assign).await;
    }

    /// Brings these bytes and more never, and waits until the viewer has some of them.
    async fn brings(&mut self, bytes: Vec<u8>) {
        let output = self.farm.http.put(self.farm.worker_url(&self.assign.live_output_url)).body(open(bytes));
        TaskTracker::new().spawn(output.send());
        let mut seen = (&mut self.viewer).await.unwrap();
        assert_eq!(seen.status(), StatusCode::OK);
        assert_eq!(seen.chunk().await.unwrap().unwrap()[0], 0x47, "MPEG-TS");
    }

    async fn view(&self) -> StreamView {
        self.farm.get("/v1/streams/news").await.json().await.unwrap()
    }

    /// Removes the stream: the attempt is stopped, and its end is heard.
    async fn ends(mut self, said: &str) {
        let url = self.farm.url("/v1/streams/news");
        assert_eq!(self.farm.http.delete(url).send().await.unwrap().status(), StatusCode::NO_CONTENT);
        let stop = loop {
            if let Message::StopAttempt(stop) = self.worker.told().await.unwrap() {
                break stop;
            }
        };
        assert_eq!((stop.task_id.as_str(), stop.epoch), (self.assign.task_id.as_str(), self.assign.epoch));
        self.say(&[said]).await;
        self.worker.acknowledged().await;
        self.farm.stop().await;
    }
}

/// A body of these bytes that stays open.
fn open(bytes: Vec<u8>) -> Body {
    let (pieces, body) = mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    pieces.try_send(Ok(bytes)).unwrap();
    TaskTracker::new().spawn(async move { pieces.closed().await });
    Body::wrap_stream(ReceiverStream::new(body))
}

/// Of the work that was asked for then.
fn work(messages: &[Recorded], kind: &str) -> Work {
    let Message::Assign(then) = recorded::told(messages, kind).remove(0) else { panic!() };
    serde_json::from_str(&then.live_json).unwrap()
}

#[tokio::test]
async fn a_worker_of_version_3_encodes_for_a_viewer() {
    let mut live = Live::watch("push", "h264-480p").await;
    let asked: Work = serde_json::from_str(&live.assign.live_json).unwrap();
    let (Work::Encode(asked), Work::Encode(then)) = (asked, work(&live.messages, "assign-encode")) else {
        panic!("{:?}", live.assign)
    };
    assert_eq!((&asked.rendition, asked.container), (&then.rendition, then.container));
    live.say(&["started-encode", "heartbeat-frames-encode"]).await;
    // The source as it comes is as good as one that was encoded.
    let mut source =
        live.farm.http.get(live.farm.worker_url(&live.assign.live_input_url)).send().await.unwrap();
    assert_eq!(source.status(), StatusCode::OK);
    let mut bytes = Vec::new();
    while bytes.len() < clip().len() / 2 {
        bytes.extend_from_slice(&source.chunk().await.unwrap().unwrap());
    }
    live.brings(bytes).await;
    let view = live.view().await;
    assert_eq!(view.variants[0].attempts[0].worker.name, "steady", "{view:#?}");
    live.ends("failed-encode").await;
}

#[tokio::test]
async fn a_worker_of_version_3_brings_a_source() {
    let mut live = Live::watch("udp://127.0.0.1:9", "copy").await;
    let asked = serde_json::from_str(&live.assign.live_json).unwrap();
    assert!(matches!(asked, Work::Ingest(_)), "{asked:?}");
    assert!(matches!(work(&live.messages, "assign-ingest"), Work::Ingest(_)));
    assert_eq!(live.assign.live_input_url, "");
    live.say(&["started-ingest", "heartbeat-attempt-ingest"]).await;
    live.brings(clip()).await;
    let view = live.view().await;
    assert_eq!(view.source_state.state, SourceState::Live, "{view:#?}");
    live.ends("failed-ingest").await;
}
