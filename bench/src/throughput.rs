//! (c) Jobs per second through the store, with workers that run nothing, beside Celery with an empty task.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use common::api::{InputRef, JobRequest};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    api::{Api, request},
    clock::{milliseconds, monotonic_ns, seconds},
    durability,
    farm::Site,
    fleet::{Fleet, Size},
    null_worker::{FINAL, open_gate},
    peers::{Celery, Installed},
    stats::{Paired, Spread},
};

/// As many as Celery has.
const WORKERS: usize = 2;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// A small file that is named as the input and never opened by the null workers.
    pub(crate) clip: PathBuf,
    pub(crate) preset: String,
    pub(crate) pairs: usize,
    pub(crate) jobs: usize,
    pub(crate) tasks: usize,
    pub(crate) clients: usize,
    /// Jobs that a null worker takes at once.
    pub(crate) slots: u32,
    /// `fsync_count.so`.
    pub(crate) fsync_count: PathBuf,
}

impl Plan {
    pub(crate) const fn size(&self) -> Size {
        Size { workers: WORKERS, slots: self.slots }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) jobs: usize,
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) slots_per_worker: u32,
    pub(crate) celery_tasks: usize,
    /// From the first submission to the last result accepted (on disk), farm over Celery.
    pub(crate) jobs_per_second: Paired,
    /// Tasks per second of Celery after the last submission was through: what its workers do when nobody submits.
    pub(crate) celery_drain_per_second: Vec<f64>,
    /// Milliseconds of one submission, with that many clients submitting at once.
    pub(crate) farm_submit: Spread,
    /// Milliseconds of one submission, by one client.
    pub(crate) celery_submit: Spread,
    /// After `kill -9` right after the last result, a new coordinator found every job ended, in every pair.
    pub(crate) all_found_after_kill: bool,
    pub(crate) durability: durability::Measured,
}

pub(crate) async fn measure(site: &Site, installed: &Installed, plan: &Plan) -> Result<Measured> {
    let job = request(InputRef::Path(plan.clip.to_string_lossy().into_owned()), &plan.preset);
    let durability = durability::measure(site, &plan.fsync_count, &job, plan).await?;
    let (mut pairs, mut drains) = (Vec::new(), Vec::new());
    let (mut farm_submits, mut celery_submits) = (Vec::new(), Vec::new());
    let mut all_found = true;
    for index in 0..plan.pairs {
        let farm = farm_run(site, &format!("throughput-{index}"), &job, plan).await?;
        farm_submits.extend(farm.submits);
        all_found &= farm.found_after_kill;

        let folder = site.folder.join(format!("celery-{index}"));
        fs::create_dir_all(&folder)?;
        let mut celery = Celery::start(installed, &folder, WORKERS).await?;
        celery.drain(plan.tasks / 20).await?;
        let run = celery.drain(plan.tasks).await?;
        celery.stop().await;
        #[allow(clippy::cast_precision_loss)]
        let (tasks, latencies) = (plan.tasks as f64, &run.submitted.latencies_ns);
        let theirs = tasks / seconds(run.submitted.before_ns, run.finished_ns);
        celery_submits.extend(latencies.iter().map(|latency| milliseconds(0, *latency)));
        drains.extend(run.drain_per_second);
        eprintln!(
            "throughput {}: farm {:.0}/s, Celery {theirs:.0}/s, ratio {:.2}",
            index + 1,
            farm.per_second,
            farm.per_second / theirs
        );
        pairs.push((farm.per_second, theirs));
    }
    Ok(Measured {
        jobs: plan.jobs,
        clients: plan.clients,
        workers: WORKERS,
        slots_per_worker: plan.slots,
        celery_tasks: plan.tasks,
        jobs_per_second: Paired::of(&pairs).context("no pair was measured")?,
        celery_drain_per_second: drains,
        farm_submit: Spread::of(&farm_submits).context("no job was submitted")?,
        celery_submit: Spread::of(&celery_submits).context("no task was submitted")?,
        all_found_after_kill: all_found,
        durability,
    })
}

struct FarmRun {
    per_second: f64,
    submits: Vec<f64>,
    found_after_kill: bool,
}

async fn farm_run(site: &Site, data: &str, job: &JobRequest, plan: &Plan) -> Result<FarmRun> {
    let coordinator = site.coordinator(data, &[]).await?;
    let mut fleet = Fleet::start(&coordinator, plan.size(), &open_gate()).await?;
    let warm_up = plan.jobs / 20;
    submit_all(&coordinator.api, job, warm_up, plan.clients).await?;
    fleet.finished(warm_up).await?;

    let before = monotonic_ns();
    let submits = submit_all(&coordinator.api, job, plan.jobs, plan.clients).await?;
    let after = fleet.finished(warm_up + plan.jobs).await?;
    coordinator.kill().await;
    drop(fleet);
    let again = site.coordinator(data, &[]).await?;
    let found = again.api.count(FINAL).await?;
    again.stop().await;
    #[allow(clippy::cast_precision_loss)]
    let per_second = plan.jobs as f64 / seconds(before, after);
    Ok(FarmRun { per_second, submits, found_after_kill: found == warm_up + plan.jobs })
}

/// Submits `count` jobs with `clients` requests in flight; returns how many milliseconds each took.
pub(crate) async fn submit_all(
    api: &Api,
    job: &JobRequest,
    count: usize,
    clients: usize,
) -> Result<Vec<f64>> {
    let left = Arc::new(AtomicUsize::new(count));
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (api, job, left) = (api.clone(), job.clone(), Arc::clone(&left));
        running.spawn(async move {
            let mut took = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let before = monotonic_ns();
                api.submit(&job).await?;
                took.push(milliseconds(before, monotonic_ns()));
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::with_capacity(count);
    while let Some(client) = running.join_next().await {
        took.extend(client??);
    }
    Ok(took)
}
