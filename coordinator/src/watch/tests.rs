//! A watched folder beside a real queue and a real store.

use std::{fs, sync::Arc, time::Duration};

use common::{
    api::{JobState, Quotas},
    preset::Presets,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Known, Watcher};
use crate::{
    fleet::Policy,
    holdings::Holdings,
    queue::{Handle, JobFilter, Service, Settings},
    storage::buckets::Buckets,
    store::{JobRecord, JobStore, SqliteStore, WatchStore as _},
};

const LONG: Duration = Duration::from_secs(60);

struct Place {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    queue: Handle,
    holdings: Holdings,
    known: Option<Known>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Place {
    async fn new(quotas: Quotas) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        Self::on(folder, quotas).await
    }

    async fn on(folder: tempfile::TempDir, quotas: Quotas) -> Self {
        let store = Arc::new(SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap());
        let settings =
            Settings { lease: LONG, grace: LONG, time_limit: None, policy: Policy::default(), quotas };
        let (service, queue, _) = Service::open(settings, Arc::clone(&store) as _).await.unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(service.run(stop.clone()));
        let holdings = Holdings::new(Arc::clone(&store) as _, quotas, Default::default());
        Self { folder, store, queue, holdings, known: None, stop, tracker }
    }

    /// Another coordinator on the same folder.
    async fn restart(self, quotas: Quotas) -> Self {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.store.close().await;
        Self::on(self.folder, quotas).await
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join("in").join(name), content).unwrap();
    }

    /// Looks twice, as a file is taken when it was the same at two looks.
    async fn look(&mut self) {
        let rule = format!("{}/in h264 owner=ann", self.folder.path().display());
        let watcher = Watcher {
            rule: rule.parse().unwrap(),
            every: LONG,
            presets: Arc::new(Presets::builtin()),
            buckets: Buckets::default(),
            queue: self.queue.clone(),
            store: Arc::clone(&self.store) as _,
            holdings: self.holdings.clone(),
        };
        for _ in 0..2 {
            watcher.look(&mut self.known).await.unwrap();
        }
    }

    /// Oldest first.
    async fn jobs(&self) -> Vec<JobRecord> {
        let filter = JobFilter { limit: 100, ..JobFilter::default() };
        let mut jobs = self.store.jobs(&filter).await.unwrap();
        jobs.reverse();
        jobs
    }

    /// Inputs' names and states of the jobs.
    async fn there(&self) -> Vec<(String, JobState)> {
        let name = |job: &JobRecord| job.request.input.name().rsplit('/').next().unwrap().to_owned();
        self.jobs().await.iter().map(|job| (name(job), job.state)).collect()
    }

    async fn waiting(&self) -> usize {
        let place = format!("file://{}/in/ h264", self.folder.path().display());
        let records = self.store.watched(&place).await.unwrap();
        records.iter().filter(|record| !record.submitted).count()
    }
}

#[tokio::test]
async fn what_is_found_above_a_quota_waits_and_is_submitted_once_there_is_room() {
    let quotas = Quotas { queued: Some(1), ..Quotas::default() };
    let mut place = Place::new(quotas).await;
    place.write("a.mp4", "one");
    place.look().await;
    place.write("b.mp4", "two");
    place.write("c.mp4", "three");
    place.look().await;
    assert_eq!(place.there().await, [("a.mp4".to_owned(), JobState::Queued)]);
    assert_eq!(place.waiting().await, 2);
    let first = place.jobs().await.remove(0);
    assert_eq!(first.request.owner.as_deref(), Some("ann"));
    // Room for one.
    place.queue.cancel(first.id).await.unwrap();
    place.look().await;
    assert_eq!((place.there().await.len(), place.waiting().await), (2, 1));
    let mut place = place.restart(quotas).await;
    place.look().await;
    assert_eq!((place.there().await.len(), place.waiting().await), (2, 1), "still no room");
    let mut place = place.restart(Quotas::default()).await;
    place.look().await;
    place.look().await;
    let mut names: Vec<_> = place.there().await.into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!((names, place.waiting().await), (["a.mp4", "b.mp4", "c.mp4"].map(str::to_owned).to_vec(), 0));
    assert!(place.there().await.iter().all(|(_, state)| *state != JobState::Dead));
}

#[tokio::test]
async fn a_quota_of_bytes_holds_up_what_is_found_too() {
    let mut place = Place::new(Quotas { bytes: Some(0), ..Quotas::default() }).await;
    place.write("a.mp4", "one");
    place.look().await;
    assert_eq!((place.there().await.len(), place.waiting().await), (0, 1));
    place.holdings.set("ann", Some(Quotas { bytes: Some(1), ..Quotas::default() }));
    place.look().await;
    assert_eq!((place.there().await.len(), place.waiting().await), (1, 0));
}

#[tokio::test]
async fn what_waits_is_the_file_that_was_found_and_no_other() {
    let mut place = Place::new(Quotas { bytes: Some(0), ..Quotas::default() }).await;
    place.write("a.mp4", "one");
    place.write("b.mp4", "two");
    place.look().await;
    assert_eq!(place.waiting().await, 2);
    // One is replaced, one is away for a while.
    place.write("a.mp4", "another");
    fs::rename(place.folder.path().join("in/b.mp4"), place.folder.path().join("b.mp4")).unwrap();
    place.holdings.set("ann", None);
    let mut place = place.restart(Quotas::default()).await;
    place.look().await;
    assert_eq!(place.there().await, [("a.mp4".to_owned(), JobState::Queued)]);
    fs::rename(place.folder.path().join("b.mp4"), place.folder.path().join("in/b.mp4")).unwrap();
    place.look().await;
    assert_eq!((place.there().await.len(), place.waiting().await), (2, 0));
}

#[tokio::test]
async fn what_could_not_be_submitted_is_submitted_later_without_a_restart() {
    let mut place = Place::new(Quotas::default()).await;
    place.look().await;
    place.write("a.mp4", "one");
    // The queue is gone before the file is taken.
    place.stop.cancel();
    place.tracker.close();
    place.tracker.wait().await;
    let rule = format!("{}/in h264", place.folder.path().display());
    let mut watcher = Watcher {
        rule: rule.parse().unwrap(),
        every: LONG,
        presets: Arc::new(Presets::builtin()),
        buckets: Buckets::default(),
        queue: place.queue.clone(),
        store: Arc::clone(&place.store) as _,
        holdings: place.holdings.clone(),
    };
    watcher.look(&mut place.known).await.unwrap();
    watcher.look(&mut place.known).await.unwrap_err();
    assert_eq!(place.waiting().await, 1);
    let settings = Settings {
        lease: LONG,
        grace: LONG,
        time_limit: None,
        policy: Policy::default(),
        quotas: Quotas::default(),
    };
    let (service, queue, _) = Service::open(settings, Arc::clone(&place.store) as _).await.unwrap();
    TaskTracker::new().spawn(service.run(CancellationToken::new()));
    watcher.queue = queue;
    watcher.look(&mut place.known).await.unwrap();
    assert_eq!((place.there().await.len(), place.waiting().await), (1, 0));
}
