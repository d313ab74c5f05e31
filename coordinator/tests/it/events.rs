//! What pages live on: rows, totals and streams as they change, told to those who ask for them.

use std::time::Duration;

use common::{
    api::{Event, FleetSummary, WorkerState, WorkerSummary},
    id::WorkerId,
    proto::{self, worker_message::Message as Said},
    stream::StreamView,
};
use futures::{StreamExt as _, stream::BoxStream};
use reqwest::StatusCode;
use serde_json::json;

use crate::farm::{Farm, Worker, hello, problem};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open stream of events.
pub(crate) struct Events {
    chunks: BoxStream<'static, bytes::Bytes>,
    text: String,
}

impl Events {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { chunks: response.bytes_stream().map(Result::unwrap).boxed(), text: String::new() }
    }

    async fn listen(farm: &Farm, query: &str) -> Self {
        Self::of(farm.get(&format!("/v1/events?{query}")).await)
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Event {
        let read = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let data = data.map(|data| serde_json::from_str(data).unwrap());
                    self.text = rest.to_owned();
                    match data {
                        Some(event) => return event,
                        None => continue,
                    }
                }
                let chunk = self.chunks.next().await.expect("the stream of events ended");
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("no event came")
    }

    async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    async fn load(&mut self) -> (Vec<WorkerSummary>, Vec<WorkerId>) {
        self.until(|event| match event {
            Event::Load { workers, gone } => Some((workers, gone)),
            _ => None,
        })
        .await
    }

    async fn summary(&mut self, wanted: impl Fn(&FleetSummary) -> bool) {
        self.until(|event| match event {
            Event::Summary { fleet } if wanted(&fleet) => Some(()),
            _ => None,
        })
        .await;
    }

    async fn stream(&mut self, wanted: impl Fn(&StreamView) -> bool) -> StreamView {
        self.until(|event| match event {
            Event::Stream { stream } if wanted(&stream) => Some(*stream),
            _ => None,
        })
        .await
    }
}

async fn connect(farm: &Farm, name: &str) -> (WorkerId, Worker) {
    let hello = proto::Hello { name: name.to_owned(), ..hello() };
    let id = hello.worker_id.parse().unwrap();
    (id, Worker::connect(farm.client().await, hello).await.unwrap())
}

async fn beat(worker: &Worker, cpu: f64, attempt: Option<&proto::Assign>) {
    let progress = proto::Progress { fraction: Some(0.25), fps: 48.0, speed: 2.0, ..Default::default() };
    let attempts = attempt.into_iter().map(|assign| proto::AttemptProgress {
        task_id: assign.task_id.clone(),
        epoch: assign.epoch,
        progress: Some(progress.clone()),
        ..Default::default()
    });
    worker
        .say(Said::Heartbeat(proto::Heartbeat {
            load: Some(proto::Load { cpu, ..Default::default() }),
            attempts: attempts.collect(),
            ..Default::default()
        }))
        .await;
}

#[tokio::test]
async fn rows_come_as_they_change_after_a_first_batch_of_all_and_totals_with_them() {
    let farm = Farm::start().await;
    let (one, mut busy) = connect(&farm, "one").await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "bytes").await).await.summary.id;
    let assign = busy.assigned().await;
    let (_, idle) = connect(&farm, "two").await;
    let mut events = Events::listen(&farm, "topics=load,summary").await;
    let mut names: Vec<_> = events.load().await.0.into_iter().map(|row| row.name).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    events.summary(|fleet| fleet.workers.online == 2 && fleet.waiting == 0).await;

    beat(&busy, 0.5, Some(&assign)).await;
    let row = loop {
        let (rows, gone) = events.load().await;
        assert!(gone.is_empty());
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [one], "the other has not changed");
        if rows[0].fps > 0.0 {
            break rows.into_iter().next().unwrap();
        }
    };
    let work = row.work.unwrap();
    assert_eq!((work.job, work.input.as_str(), work.preset.as_str()), (job, "a.mp4", "h264"));
    assert_eq!((work.percent, work.speed, row.load.cpu), (Some(25.0), Some(2.0), 0.5));
    events.summary(|fleet| fleet.fps == 48.0 && fleet.batch == 1 && fleet.cpu_jobs.used == 1).await;

    drop(idle);
    let (rows, _) = events.load().await;
    assert_eq!((rows[0].name.as_str(), rows[0].state), ("two", WorkerState::Lost));
    events.summary(|fleet| fleet.workers.online == 1 && fleet.workers.lost == 1).await;
    let forgotten = farm.http.delete(farm.url(&format!("/v1/workers/{}", rows[0].id))).send().await.unwrap();
    assert_eq!(forgotten.status(), StatusCode::NO_CONTENT);
    let gone = loop {
        let (_, gone) = events.load().await;
        if !gone.is_empty() {
            break gone;
        }
    };
    assert_eq!(gone, [rows[0].id]);
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_that_hangs_is_told_of_though_nothing_happens() {
    let farm = Farm::start_with(|config| config.lease = Duration::from_millis(1500)).await;
    let (_, _silent) = connect(&farm, "one").await;
    let mut events = Events::listen(&farm, "topics=load").await;
    loop {
        let (rows, _) = events.load().await;
        if rows.iter().any(|row| row.state == WorkerState::Lost) {
            assert!(rows[0].reason.as_deref().unwrap().contains("silent"), "{rows:?}");
            break;
        }
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_looked_at_is_told_of_in_full() {
    let farm = Farm::start().await;
    let (one, mut worker) = connect(&farm, "one").await;
    let mut events = Events::listen(&farm, &format!("topics=summary&worker={one}")).await;
    farm.submit_upload(&farm.upload("a.mp4", "bytes").await).await;
    let assign = worker.assigned().await;
    let (_, other) = connect(&farm, "two").await;
    let argv = vec!["ffmpeg".to_owned(), "-i".to_owned(), "in".to_owned()];
    worker
        .say(Said::AttemptStarted(proto::AttemptStarted {
            task_id: assign.task_id.clone(),
            epoch: assign.epoch,
            argv: argv.clone(),
            ..Default::default()
        }))
        .await;
    let mut detail = async |wanted: &dyn Fn(&common::api::WorkerView) -> bool| {
        events
            .until(|event| match event {
                Event::Detail { worker } => {
                    assert_eq!(worker.id, one, "only that one");
                    wanted(&worker).then_some(())
                }
                Event::Load { .. } => panic!("it did not ask for rows"),
                _ => None,
            })
            .await;
    };
    // Before any heartbeat says it.
    detail(&|view| view.running.first().is_some_and(|task| task.command == argv)).await;
    beat(&other, 0.1, None).await;
    beat(&worker, 0.5, Some(&assign)).await;
    detail(&|view| {
        view.load.cpu == 0.5
            && view.running[0].progress.as_ref().is_some_and(|progress| progress.percent == Some(25.0))
    })
    .await;
    let nobody = problem(farm.get(&format!("/v1/events?worker={}", WorkerId::new())).await).await;
    assert_eq!(nobody.status, 404);
    farm.stop().await;
}

#[tokio::test]
async fn one_job_is_followed_without_the_others() {
    let farm = Farm::start().await;
    let upload = farm.upload("a.mp4", "bytes").await;
    let followed = farm.submit_upload(&upload).await.summary.id;
    let mut events = Events::listen(&farm, &format!("topics=jobs,progress&job={followed}")).await;
    let (_, mut worker) = connect(&farm, "one").await;
    farm.submit_upload(&upload).await;
    let assigns = [worker.assigned().await, worker.assigned().await];
    for assign in &assigns {
        beat(&worker, 0.5, Some(assign)).await;
    }
    loop {
        match events.next().await {
            Event::Job { job } => assert_eq!(job.id, followed),
            Event::Progress { job, progress, .. } => {
                assert_eq!((job, progress.percent), (followed, Some(25.0)));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let nobody = farm.get(&format!("/v1/events?job={}", common::id::JobId::new())).await;
    assert_eq!(problem(nobody).await.status, 404);
    farm.stop().await;
}

#[tokio::test]
async fn streams_are_told_of_when_they_come_change_and_go() {
    let farm = Farm::start().await;
    let mut events = Events::listen(&farm, "topics=streams").await;
    farm.post("/v1/streams", &json!({"name": "news", "source": "push"})).await;
    let added = events.stream(|stream| stream.spec.name == "news").await;
    let input = farm.http.put(farm.url("/v1/streams/news/input")).body(crate::streams::clip());
    assert_eq!(input.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    events.stream(|stream| !stream.source_state.tracks.is_empty()).await;
    farm.http.delete(farm.url("/v1/streams/news")).send().await.unwrap();
    let gone = events
        .until(|event| match event {
            Event::StreamGone { id } => Some(id),
            _ => None,
        })
        .await;
    assert_eq!(gone, added.id);
    farm.stop().await;
}

#[tokio::test]
async fn what_cannot_be_listened_to_is_refused_with_what_can_be() {
    let farm = Farm::start().await;
    let unknown = problem(farm.get("/v1/events?topics=jobs,fleet").await).await;
    assert_eq!((unknown.status, unknown.field.as_deref()), (422, Some("topics")));
    assert!(unknown.remedy.unwrap().contains("jobs, progress, workers, load, streams, summary"));
    for wrong in ["?topic=jobs", "?job=x", "?worker=x"] {
        assert_eq!(problem(farm.get(&format!("/v1/events{wrong}")).await).await.status, 400, "{wrong}");
    }
    farm.stop().await;
}
