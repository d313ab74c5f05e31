//! How fast the farm takes jobs in, and how fast it gives them out and takes the results back.

use anyhow::{Result, ensure};
use common::api::JobRequest;
use tokio::sync::watch;

use crate::{
    clock::seconds,
    farm::Site,
    fleet::{Fleet, Size},
    flood::{Flood, Flooded},
    memory::job,
    null_worker::FINAL,
};

/// Jobs that are submitted before the clock runs: connections, prepared statements and the store's file are there then.
const WARM_UP: usize = 500;

/// Submits `jobs` jobs to a coordinator that has no worker.
pub(crate) async fn submit(
    site: &Site,
    data: &str,
    preset: &str,
    jobs: usize,
    clients: usize,
) -> Result<Flooded> {
    let coordinator = site.coordinator(data, &[]).await?;
    let flood = |numbers: std::ops::Range<usize>| {
        Flood::new("/v1/jobs", coordinator.api.address(), numbers.map(|number| job(number, preset)))
    };
    flood(0..WARM_UP)?.send(clients).await?;
    let flooded = flood(WARM_UP..WARM_UP + jobs)?.send(clients).await?;
    coordinator.kill().await;
    Ok(flooded)
}

/// Claims and completions per second of what `job` makes of its number, by a fleet that is connected before the clock runs, of jobs that are queued before.
///
/// The fleet first fills its slots and holds what it got. The clock runs from when it lets go until the coordinator has
/// acknowledged `jobs` more results than that, each of which was assigned, started, finished and committed meanwhile.
pub(crate) async fn claim(
    site: &Site,
    data: &str,
    job: impl Fn(usize) -> JobRequest,
    jobs: usize,
    clients: usize,
    size: Size,
) -> Result<f64> {
    let coordinator = site.coordinator(data, &[]).await?;
    let (open, gate) = watch::channel(false);
    let mut fleet = Fleet::start(&coordinator, size, &gate).await?;
    let held = size.workers * size.slots as usize;
    Flood::new("/v1/jobs", coordinator.api.address(), (0..held + jobs).map(job))?.send(clients).await?;
    fleet.holds(held).await?;
    let before = crate::clock::monotonic_ns();
    open.send(true)?;
    let after = fleet.finished(held + jobs).await?;
    let ended = coordinator.api.count(FINAL).await?;
    ensure!(ended == held + jobs, "{ended} of {} jobs ended with their first attempt", held + jobs);
    drop(fleet);
    coordinator.kill().await;
    #[allow(clippy::cast_precision_loss)]
    Ok(jobs as f64 / seconds(before, after))
}
