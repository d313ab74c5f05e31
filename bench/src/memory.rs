//! The coordinator's memory for jobs that wait and for jobs that run, and what a restart with many of them takes.
//!
//! Every job has an input of its own, as real ones do; nothing is fetched, for nothing is encoded.

use std::time::Duration;

use anyhow::{Context, Result};
use common::api::{InputRef, JobRequest};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    api::request,
    clock::{monotonic_ns, seconds},
    farm::{Coordinator, Site},
    fleet::{Fleet, Size},
    flood::Flood,
    resident::{self, Resident},
};

/// Jobs that an idle coordinator has seen: enough for its buffers and caches to be there.
const WARM_UP: usize = 500;
/// For the memory to stand still: nothing is asked of the coordinator meanwhile.
const SETTLE: Duration = Duration::from_millis(500);
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) preset: String,
    pub(crate) queued: usize,
    pub(crate) running: usize,
    /// Jobs that one null worker holds at once.
    pub(crate) slots: u32,
    pub(crate) clients: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) queued: Stage,
    /// The same jobs after `kill -9` and a start on the same folder.
    pub(crate) queued_after_restart: Stage,
    /// From the start of the process until it says that it is ready, with these jobs in the store; of an empty store.
    pub(crate) restart_seconds: f64,
    pub(crate) start_seconds: f64,
    /// All of them assigned and reported as running, with a heartbeat each.
    pub(crate) running: Stage,
    pub(crate) workers: usize,
}

/// Memory with so many jobs, over that of a coordinator without them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stage {
    pub(crate) jobs: usize,
    pub(crate) idle: Resident,
    pub(crate) with_jobs: Resident,
    pub(crate) rss_per_job: f64,
    pub(crate) anonymous_per_job: f64,
}

impl Stage {
    fn new(jobs: usize, idle: Resident, with_jobs: Resident) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let per_job = |with: u64, without: u64| (with as f64 - without as f64) / jobs as f64;
        Self {
            jobs,
            idle,
            with_jobs,
            rss_per_job: per_job(with_jobs.rss, idle.rss),
            anonymous_per_job: per_job(with_jobs.anonymous, idle.anonymous),
        }
    }
}

pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let before = monotonic_ns();
    let coordinator = site.coordinator("memory-queued", &[]).await?;
    let start_seconds = seconds(before, monotonic_ns());
    submit(&coordinator, plan, 0..WARM_UP).await?;
    let idle = settled(&coordinator).await?;
    submit(&coordinator, plan, WARM_UP..WARM_UP + plan.queued).await?;
    let queued = Stage::new(plan.queued, idle, settled(&coordinator).await?);
    eprintln!("memory: {:.0} bytes per queued job", queued.rss_per_job);
    coordinator.kill().await;

    let before = monotonic_ns();
    let coordinator = site.coordinator("memory-queued", &[]).await?;
    let restart_seconds = seconds(before, monotonic_ns());
    let queued_after_restart = Stage::new(plan.queued, idle, settled(&coordinator).await?);
    eprintln!(
        "memory: {:.0} bytes per queued job after a restart of {restart_seconds:.1} s",
        queued_after_restart.rss_per_job
    );
    coordinator.kill().await;

    let (workers, running) = running(site, plan).await?;
    eprintln!("memory: {:.0} bytes per running job", running.rss_per_job);
    Ok(Measured { queued, queued_after_restart, restart_seconds, start_seconds, running, workers })
}

async fn running(site: &Site, plan: &Plan) -> Result<(usize, Stage)> {
    let coordinator = site.coordinator("memory-running", &[]).await?;
    let workers = (plan.running + WARM_UP).div_ceil(plan.slots as usize);
    let (_closed, gate) = watch::channel(false);
    let mut fleet = Fleet::start(&coordinator, Size { workers, slots: plan.slots }, &gate).await?;
    submit(&coordinator, plan, 0..WARM_UP).await?;
    fleet.holds(WARM_UP).await?;
    let idle = settled(&coordinator).await?;
    submit(&coordinator, plan, WARM_UP..WARM_UP + plan.running).await?;
    fleet.holds(WARM_UP + plan.running).await?;
    let stage = Stage::new(plan.running, idle, settled(&coordinator).await?);
    drop(fleet);
    coordinator.kill().await;
    Ok((workers, stage))
}

async fn submit(coordinator: &Coordinator, plan: &Plan, numbers: std::ops::Range<usize>) -> Result<()> {
    let jobs = numbers.map(|number| job(number, &plan.preset));
    let flooded = Flood::new("/v1/jobs", coordinator.api.address(), jobs)?.send(plan.clients).await?;
    #[allow(clippy::cast_precision_loss)]
    let rate = flooded.milliseconds.len() as f64 / seconds(flooded.before_ns, flooded.after_ns);
    eprintln!("memory: {} jobs submitted, {rate:.0}/s", flooded.milliseconds.len());
    Ok(())
}

/// A job as a media library would submit it.
pub(crate) fn job(number: usize, preset: &str) -> JobRequest {
    let input = format!("https://media.example.com/library/2026/{:03}/clip-{number:07}.mov", number / 1000);
    request(InputRef::Url(input), preset)
}

/// The coordinator's memory once it stands still: two looks in a row that differ by less than a hundredth. Jobs that run are
/// reported by heartbeats meanwhile.
async fn settled(coordinator: &Coordinator) -> Result<Resident> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut last = resident::of(coordinator.process())?;
    loop {
        sleep(SETTLE).await;
        let now = resident::of(coordinator.process())?;
        if now.rss.abs_diff(last.rss) < now.rss / 100 {
            return Ok(now);
        }
        if Instant::now() > deadline {
            return Err(anyhow::anyhow!("the coordinator's memory still changed after {SETTLE_LIMIT:?}"))
                .context("measuring memory");
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_costs_what_is_there_beyond_an_idle_coordinator() {
        let idle = Resident { rss: 10_000, anonymous: 4_000 };
        let with_jobs = Resident { rss: 110_000, anonymous: 94_000 };
        let stage = Stage::new(100, idle, with_jobs);
        assert_eq!((stage.rss_per_job, stage.anonymous_per_job), (1000.0, 900.0));
    }

    #[test]
    fn no_two_jobs_have_the_same_input() {
        assert_ne!(job(1, "h264").input, job(2, "h264").input);
    }
}
