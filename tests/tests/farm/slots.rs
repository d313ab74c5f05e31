//! No worker is ever given more than it declared.

use std::collections::BTreeMap;

use common::api::{InputRef, JobState};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    clip,
    wait::{self, seconds},
};

const JOBS: usize = 50;

#[tokio::test]
async fn a_burst_of_jobs_never_exceeds_the_declared_slots() {
    let slots = BTreeMap::from([("one", 1), ("three", 3)]);
    let mut builder = Farm::builder();
    for (name, jobs) in &slots {
        builder = builder.worker(WorkerSpec::new(name).jobs(*jobs));
    }
    let mut farm = builder.start().await;
    let pids: BTreeMap<u32, &str> = slots.keys().map(|name| (farm.worker(name).pid(), *name)).collect();
    farm.no_ffmpeg().await;

    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let burst = (0..JOBS).map(|_| {
        let request = request(InputRef::Upload(upload.id), "proxy");
        let api = &farm.api;
        async move { api.submit(&request).await.summary.id }
    });
    let jobs = futures::future::join_all(burst).await;

    let mut most: BTreeMap<&str, u32> = BTreeMap::new();
    wait::until(seconds(180), "all jobs to end", || {
        let mut running: BTreeMap<&str, u32> = BTreeMap::new();
        for process in farm.ffmpegs() {
            if let Some(worker) = pids.get(&process.parent) {
                *running.entry(worker).or_default() += 1;
            }
        }
        for (worker, count) in running {
            let seen = most.entry(worker).or_default();
            *seen = count.max(*seen);
        }
        let api = &farm.api;
        async move {
            let page = api.jobs("limit=500").await;
            let ended = page.items.iter().filter(|job| job.state.is_final()).count();
            (ended == JOBS).then_some(())
        }
    })
    .await;
    for (worker, count) in &most {
        assert!(count <= &slots[worker], "{worker} ran {count} ffmpegs with {} slots", slots[worker]);
    }
    assert_eq!(most.len(), 2, "only these workers were seen working: {most:?}");

    let mut edges: BTreeMap<String, Vec<(jiff::Timestamp, i32)>> = BTreeMap::new();
    for job in jobs {
        let view = farm.api.job(job).await;
        assert_eq!(view.summary.state, JobState::Succeeded, "{view:#?}");
        for attempt in attempts(&view) {
            let edges = edges.entry(attempt.worker.name.clone()).or_default();
            edges.push((attempt.assigned_at, 1));
            edges.push((attempt.finished_at.unwrap(), -1));
        }
    }
    for (worker, mut edges) in edges {
        // An end comes before a start of the same moment.
        edges.sort_unstable();
        let mut running = 0;
        for (at, change) in edges {
            running += change;
            assert!(running <= i32::try_from(slots[worker.as_str()]).unwrap(), "{worker} at {at}");
        }
    }
    farm.stop().await;
}
