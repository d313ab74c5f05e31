//! Whether a job that was accepted is on disk: the coordinator's fsync calls are counted while jobs are submitted.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result, bail};
use common::api::JobRequest;
use serde::Serialize;

use crate::{
    farm::Site,
    fleet::Fleet,
    null_worker::open_gate,
    stats::median,
    throughput::{Plan, submit_all},
};

/// Jobs submitted one after the other, each of which must have waited for the disk.
const ALONE: usize = 50;
const DISK_SAMPLES: usize = 100;
/// SQLite's default page.
const PAGE: usize = 4096;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Submissions, one at a time, that were answered only after an fsync had returned, of how many.
    pub(crate) waited_for_fsync: usize,
    pub(crate) submitted_alone: usize,
    /// fsync calls for so many jobs from submission to result under load: what committing in groups saves.
    pub(crate) fsyncs_under_load: u64,
    pub(crate) jobs_under_load: usize,
    pub(crate) failed_fsyncs: u64,
    /// Median of appending 4 KiB and fdatasync on the same disk, milliseconds.
    pub(crate) disk_fsync_milliseconds: f64,
}

pub(crate) async fn measure(site: &Site, library: &Path, job: &JobRequest, plan: &Plan) -> Result<Measured> {
    let disk_fsync_milliseconds = disk_fsync(&site.folder)?;
    let counter = site.folder.join("fsyncs");
    let env = [("LD_PRELOAD", library), ("BENCH_FSYNC_FILE", counter.as_path())];
    let coordinator = site.coordinator("durability", &env).await?;
    let mut waited_for_fsync = 0;
    for _ in 0..ALONE {
        let before = counts(&counter)?.0;
        coordinator.api.submit(job).await?;
        waited_for_fsync += usize::from(counts(&counter)?.0 > before);
    }
    let mut fleet = Fleet::start(&coordinator, plan.size(), &open_gate()).await?;
    fleet.finished(ALONE).await?;
    let before = counts(&counter)?.0;
    let jobs_under_load = plan.jobs.min(1000);
    submit_all(&coordinator.api, job, jobs_under_load, plan.clients).await?;
    fleet.finished(ALONE + jobs_under_load).await?;
    let (after, failed_fsyncs) = counts(&counter)?;
    drop(fleet);
    coordinator.stop().await;
    Ok(Measured {
        waited_for_fsync,
        submitted_alone: ALONE,
        fsyncs_under_load: after - before,
        jobs_under_load,
        failed_fsyncs,
        disk_fsync_milliseconds,
    })
}

/// Calls that returned, and calls that failed, as `fsync_count.c` writes them.
fn counts(counter: &Path) -> Result<(u64, u64)> {
    let bytes = fs::read(counter).with_context(|| format!("reading {}", counter.display()))?;
    let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    match (number(0), number(8)) {
        (Some(returned), Some(failed)) => Ok((returned, failed)),
        _ => bail!("{} has no counts: the preloaded library did not start", counter.display()),
    }
}

/// Median of appending 4 KiB and fdatasync in that folder, milliseconds.
pub(crate) fn disk_fsync(folder: &Path) -> Result<f64> {
    use std::io::Write as _;
    let mut file = tempfile::tempfile_in(folder).context("making a file to time the disk with")?;
    let mut took = Vec::with_capacity(DISK_SAMPLES);
    for _ in 0..DISK_SAMPLES {
        let before = Instant::now();
        file.write_all(&[7; PAGE])?;
        file.sync_data()?;
        took.push(before.elapsed().as_secs_f64() * 1e3);
    }
    median(&took).context("the disk was not timed")
}
