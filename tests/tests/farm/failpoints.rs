//! Killed at every failpoint in turn, before and after each durable write, while jobs run, and started again: nothing that
//! was accepted is lost, nothing is published twice, nothing is left over.

mod direct;
mod incoming;
mod keys;
mod removal;
mod streams;
mod webhooks;

use std::{
    collections::BTreeSet, fs, os::unix::process::ExitStatusExt as _, path::PathBuf, process::ExitStatus,
    time::Duration,
};

use common::{
    api::{AttemptState, InputRef, JobState, JobView, Upload, WorkerState},
    failpoint::NAMES,
    id::{JobId, UploadId},
};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    clip, media, system,
    wait::{self, seconds},
};
use reqwest::{Client, Response, StatusCode};
use rustix::process::Signal;

const VARIABLE: &str = "TVARR_FAILPOINT";
/// The cheapest work that makes more than one file.
const PRESET: &str = "thumbnails";
/// Reaching a failpoint on a busy machine, with the workers' pause before they dial again.
const REACHED: Duration = seconds(60);

/// What the coordinator passes before it is ready. With the key gone, the first small file is the key, the second says where
/// the coordinator listens.
const STARTING: [&str; 12] = [
    "store.create.before",
    "store.create.after",
    "lock.write.before",
    "lock.write.after",
    "key.write.before",
    "file.staged",
    "file.renamed",
    "key.write.after",
    "store.migrate.before",
    "store.migrate.after",
    "file.staged:2",
    "file.renamed:2",
];

/// What the coordinator passes for a job: the first commits are submissions, the later ones attempts that begin and end.
const COMMITTING: [&str; 12] = [
    "store.commit.begun",
    "store.commit.before",
    "store.commit.after",
    "store.told",
    "store.commit.before:3",
    "store.commit.after:3",
    "store.told:3",
    "store.commit.before:5",
    "store.commit.after:5",
    "store.told:5",
    "attempt.checked",
    "attempt.queued",
];

/// The first object is an input, the third a result.
const WRITING: [&str; 8] = [
    "object.write.before",
    "object.staged",
    "object.finish.before",
    "object.finish.after",
    "object.write.before:3",
    "object.staged:3",
    "object.finish.before:3",
    "object.finish.after:3",
];

const SWEEPING: [&str; 2] = ["attempt.sweep.before", "attempt.sweep.after"];
const FORGETTING: [&str; 2] = ["upload.sweep.before", "upload.sweep.after"];
const DELETING: [&str; 2] = ["upload.delete.before", "upload.delete.after"];
const STOPPING: [&str; 2] = ["store.close.before", "store.close.after"];

/// What a worker passes before it dials.
const WORKER_STARTING: [&str; 6] = [
    "worker.id.before",
    "worker.id.staged",
    "worker.id.renamed",
    "worker.id.after",
    "scratch.prepare.before",
    "scratch.prepare.after",
];

/// What a worker passes for a job.
const WORKER_WORKING: [&str; 12] = [
    "scratch.create.before",
    "scratch.create.after",
    "encode.before",
    "encode.after",
    "upload.put.before",
    "upload.put.after",
    "upload.put.before:2",
    "scratch.remove.before",
    "scratch.remove.after",
    "report.before",
    "report.after",
    "report.acknowledged",
];

#[test]
fn every_failpoint_is_tried() {
    let groups: [&[&str]; 9] = [
        &STARTING,
        &COMMITTING,
        &WRITING,
        &SWEEPING,
        &FORGETTING,
        &DELETING,
        &STOPPING,
        &WORKER_STARTING,
        &WORKER_WORKING,
    ];
    let name = |point: &'static str| point.split(':').next().unwrap_or_default();
    let points = groups.into_iter().flatten().copied();
    let points = points
        .chain(streams::points())
        .chain(incoming::points())
        .chain(keys::points())
        .chain(removal::points())
        .chain(webhooks::points())
        .chain(direct::POINTS);
    let tried: BTreeSet<&str> = points.map(name).collect();
    assert_eq!(tried, NAMES.iter().copied().collect());
}

#[tokio::test]
async fn a_coordinator_killed_while_it_starts() {
    let mut siege = Siege::begin(Farm::builder()).await;
    for point in STARTING {
        siege.farm.stop_coordinator(false).await;
        if point.starts_with("key") || point.starts_with("file") {
            fs::remove_file(siege.data().join("signing.key")).unwrap();
        }
        if point.starts_with("store.create") {
            siege.forget_all();
        }
        siege.coordinator_dies_at(point, &[], async |siege| siege.submit(None).await).await;
    }
    siege.farm.start_worker(WorkerSpec::new("a")).await;
    siege.end().await;
}

#[tokio::test]
async fn a_coordinator_killed_while_it_commits() {
    killed_at_work(&COMMITTING).await;
}

#[tokio::test]
async fn a_coordinator_killed_while_it_writes_objects() {
    killed_at_work(&WRITING).await;
}

async fn killed_at_work(points: &[&str]) {
    let farm = Farm::builder().worker(WorkerSpec::new("a")).worker(WorkerSpec::new("b"));
    let mut siege = Siege::begin(farm).await;
    for point in points {
        siege.farm.stop_coordinator(false).await;
        siege
            .coordinator_dies_at(point, &[], async |siege| {
                siege.submit(None).await;
                // For what is reached by the third or fifth of something.
                if point.contains(':') {
                    siege.submit(None).await;
                }
            })
            .await;
    }
    siege.end().await;
}

#[tokio::test]
async fn a_coordinator_killed_while_it_sweeps_or_stops() {
    let mut siege = Siege::begin(Farm::builder().worker(WorkerSpec::new("b"))).await;
    // The attempt of a dead worker, which has uploaded a file already: its task goes to another epoch, or is cancelled.
    for cancelled in [false, true] {
        for point in SWEEPING {
            siege.farm.stop_coordinator(false).await;
            let grace = if cancelled { "60s" } else { "0s" };
            siege
                .coordinator_dies_at(point, &[("TVARR_DISCONNECT_GRACE", grace)], async |siege| {
                    siege.farm.start_worker(pinned().env(VARIABLE, "upload.put.after")).await;
                    siege.submit(Some("pinned")).await;
                    siege.worker_dies().await;
                    if cancelled {
                        siege.farm.worker_becomes("pinned", WorkerState::Lost).await;
                        siege.cancel_last().await;
                    }
                })
                .await;
            siege.farm.start_worker(pinned()).await;
            siege.all_ended().await;
            siege.retire_worker().await;
        }
    }
    for point in FORGETTING {
        siege.farm.stop_coordinator(false).await;
        siege.coordinator_dies_at(point, &[("TVARR_UPLOAD_TTL", "1s")], async |_| {}).await;
    }
    for point in DELETING {
        siege.farm.stop_coordinator(false).await;
        siege
            .coordinator_dies_at(point, &[], async |siege| {
                let upload = siege.upload().await.expect("nothing is armed for an upload");
                siege.delete(upload).await;
            })
            .await;
    }
    for point in STOPPING {
        siege.farm.stop_coordinator(false).await;
        siege
            .coordinator_dies_at(point, &[], async |siege| {
                siege.submit(None).await;
                siege.farm.coordinator().signal(Signal::TERM);
            })
            .await;
    }
    siege.farm.start_worker(pinned()).await;
    siege.end().await;
}

#[tokio::test]
async fn a_worker_killed_while_it_starts() {
    let mut siege = Siege::begin(Farm::builder()).await;
    for point in WORKER_STARTING {
        let state = siege.farm.worker_state("pinned");
        let known = fs::read_to_string(state.join("worker-id")).ok();
        siege.farm.start_worker(pinned().env(VARIABLE, point).not_awaited()).await;
        siege.worker_dies().await;
        let after = fs::read_to_string(state.join("worker-id")).ok();
        // Whole or not there, and never another one.
        assert!(after.iter().all(|text| text.ends_with('\n')), "{point}: {after:?}");
        assert!(known.is_none() || known == after, "{point}: {known:?} became {after:?}");
        if point.starts_with("worker.id") && after.is_some() {
            fs::remove_file(state.join("worker-id")).unwrap();
        }
    }
    siege.submit(Some("pinned")).await;
    siege.farm.start_worker(pinned()).await;
    siege.end().await;
}

#[tokio::test]
async fn a_worker_killed_while_it_works() {
    let mut siege = Siege::begin(Farm::builder().worker(WorkerSpec::new("b"))).await;
    for point in WORKER_WORKING {
        siege.farm.start_worker(pinned().env(VARIABLE, point)).await;
        siege.submit(Some("pinned")).await;
        siege.submit(None).await;
        siege.worker_dies().await;
        siege.farm.no_ffmpeg().await;
        siege.farm.start_worker(pinned()).await;
        siege.all_ended().await;
        siege.retire_worker().await;
    }
    siege.farm.start_worker(pinned()).await;
    siege.end().await;
}

/// The worker of jobs that ask for it by its label.
fn pinned() -> WorkerSpec {
    WorkerSpec::new("pinned").labels("site=pinned")
}

/// A farm whose daemons die, and a client who remembers what it was answered.
struct Siege {
    farm: Farm,
    client: Client,
    accepted: Vec<JobId>,
    cancelled: BTreeSet<JobId>,
    /// Submissions without an answer: each may have become a job, or not.
    unanswered: usize,
}

impl Siege {
    async fn begin(farm: e2e::FarmBuilder) -> Self {
        Self {
            farm: farm.start().await,
            client: Client::new(),
            accepted: Vec::new(),
            cancelled: BTreeSet::new(),
            unanswered: 0,
        }
    }

    fn data(&self) -> PathBuf {
        self.farm.path().join("data")
    }

    /// Starts the coordinator so that it dies at `point`, provokes it, and starts it again.
    async fn coordinator_dies_at(
        &mut self,
        point: &str,
        env: &[(&str, &str)],
        provoke: impl AsyncFnOnce(&mut Self),
    ) {
        let env: Vec<_> = env.iter().copied().chain([(VARIABLE, point)]).collect();
        let status = match self.farm.try_start_coordinator(&env).await {
            Err(status) => status,
            Ok(()) => {
                provoke(self).await;
                self.farm.coordinator_ended(REACHED).await
            }
        };
        was_killed(point, status);
        self.farm.start_coordinator().await;
        for job in &self.accepted {
            // What was accepted is there at once, not only in the end.
            self.farm.api.job(*job).await;
        }
        self.submit(None).await;
    }

    async fn worker_dies(&mut self) {
        let status = self.farm.worker("pinned").exited(REACHED).await;
        was_killed("the worker's failpoint", status);
    }

    /// The next one is another worker: one that vanishes time and again is rightly given less.
    async fn retire_worker(&mut self) {
        let worker = self.farm.worker("pinned");
        worker.signal(Signal::TERM);
        let status = worker.exited(REACHED).await;
        assert!(status.success(), "{status}");
        fs::remove_file(self.farm.worker_state("pinned").join("worker-id")).unwrap();
    }

    /// Takes the job store away, with what was accepted into it.
    fn forget_all(&mut self) {
        for file in system::files(&self.data()) {
            if file.to_string_lossy().starts_with("jobs.sqlite") {
                fs::remove_file(self.data().join(file)).unwrap();
            }
        }
        self.accepted.clear();
    }

    async fn upload(&self) -> Option<UploadId> {
        let body = fs::read(clip("bikes-2s.mp4")).unwrap();
        let url = format!("{}/v1/uploads?filename=bikes.mp4", self.farm.api.base);
        let answer = answered(self.client.post(url).body(body).send().await).await?;
        let upload: Upload = serde_json::from_str(&answer).unwrap();
        Some(upload.id)
    }

    /// Uploads and submits; whatever is not answered is not counted on.
    async fn submit(&mut self, site: Option<&str>) {
        let Some(upload) = self.upload().await else { return };
        let mut job = request(InputRef::Upload(upload), PRESET);
        job.labels.extend(site.map(|site| ("site".to_owned(), site.to_owned())));
        let url = format!("{}/v1/jobs", self.farm.api.base);
        match answered(self.client.post(url).json(&job).send().await).await {
            Some(answer) => {
                let view: JobView = serde_json::from_str(&answer).unwrap();
                self.accepted.push(view.summary.id);
            }
            None => self.unanswered += 1,
        }
    }

    /// The coordinator may die before it answers: then it has committed before.
    async fn cancel_last(&mut self) {
        let job = *self.accepted.last().unwrap();
        self.cancelled.insert(job);
        let url = format!("{}/v1/jobs/{job}/cancel", self.farm.api.base);
        answered(self.client.post(url).send().await).await;
    }

    async fn delete(&self, upload: UploadId) {
        let url = format!("{}/v1/uploads/{upload}", self.farm.api.base);
        answered(self.client.delete(url).send().await).await;
    }

    async fn all_ended(&self) {
        for job in &self.accepted {
            self.farm.finished(*job).await;
        }
    }

    /// Compares what was answered with what there is, down to the last file.
    async fn end(self) {
        let jobs: BTreeSet<JobId> =
            self.farm.api.jobs("limit=500").await.items.into_iter().map(|job| job.id).collect();
        let accepted: BTreeSet<JobId> = self.accepted.iter().copied().collect();
        assert_eq!(accepted.len(), self.accepted.len(), "an id was given twice");
        let lost: Vec<_> = accepted.difference(&jobs).collect();
        assert!(lost.is_empty(), "accepted and lost: {lost:?}");
        let more = jobs.len() - accepted.len();
        assert!(more <= self.unanswered, "{more} jobs more than accepted, {} unanswered", self.unanswered);

        let mut expected = BTreeSet::new();
        for job in jobs {
            let view = self.farm.finished(job).await;
            let right = if self.cancelled.contains(&job) { JobState::Cancelled } else { JobState::Succeeded };
            assert_eq!(view.summary.state, right, "{view:#?}");
            if right == JobState::Succeeded {
                expected.extend(published(&view));
                self.decodes(&view).await;
            }
        }
        let objects = self.data().join("objects");
        let clean =
            wait::try_until(seconds(20), || async { (results(&objects) == expected).then_some(()) }).await;
        if clean.is_none() {
            let there = results(&objects);
            panic!(
                "published and not there: {:?}; there and not published: {:?}",
                expected.difference(&there).collect::<Vec<_>>(),
                there.difference(&expected).collect::<Vec<_>>()
            );
        }
        let whole = fs::metadata(clip("bikes-2s.mp4")).unwrap().len();
        for upload in system::files(&objects.join("uploads")) {
            let size = fs::metadata(objects.join("uploads").join(&upload)).unwrap().len();
            assert_eq!(size, whole, "{} is not whole", upload.display());
        }
        let staged: Vec<_> = system::files(&self.data())
            .into_iter()
            .filter(|file| file.extension() == Some("new".as_ref()))
            .collect();
        assert!(staged.is_empty(), "{staged:?}");
        self.farm.stop().await;
    }

    async fn decodes(&self, view: &JobView) {
        let folder = tempfile::tempdir().unwrap();
        self.farm.api.download(view, folder.path()).await;
        for output in view.outputs.iter().filter(|output| output.path.ends_with(".jpg")) {
            assert_eq!(media::decode_errors(&folder.path().join(&output.path)), "", "{}", output.path);
        }
    }
}

/// The files of the one attempt that was published.
fn published(view: &JobView) -> BTreeSet<PathBuf> {
    let won: Vec<_> = attempts(view).filter(|attempt| attempt.state == AttemptState::Succeeded).collect();
    assert_eq!((view.tasks.len(), won.len()), (1, 1), "{view:#?}");
    assert!(view.outputs.len() > 1, "{view:#?}");
    let folder = PathBuf::from(format!("{}/{}/{}", view.summary.id, view.tasks[0].id, won[0].epoch));
    view.outputs.iter().map(|output| folder.join(&output.path)).collect()
}

fn results(objects: &std::path::Path) -> BTreeSet<PathBuf> {
    system::files(&objects.join("jobs")).into_iter().collect()
}

/// The body of a 2xx; `None` without an answer.
async fn answered(sent: Result<Response, reqwest::Error>) -> Option<String> {
    let response = sent.ok()?;
    let status = response.status();
    assert!(status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    response.text().await.ok().filter(|_| status.is_success())
}

#[track_caller]
fn was_killed(point: &str, status: ExitStatus) {
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{point}: {status}");
}
