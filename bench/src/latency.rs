//! (b) From submission to the start of the process on an idle worker, beside Celery and BullMQ.
//!
//! All three start the same command with the same arguments: the stamp program in place of the ffprobe of the input,
//! which is the first process that a job of the farm needs. The farm's way there has a commit to disk in it, theirs none.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use common::api::{InputRef, JobRequest};
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    api::request,
    clock::{milliseconds, monotonic_ns},
    farm::{Coordinator, Site},
    peers::{BullMq, Celery, Client, Installed},
    stamps::Stamps,
    stats::{Paired, Spread},
};

/// For a process to be started on an idle worker.
const START_LIMIT: Duration = Duration::from_secs(10);
/// For the job of a short clip to end.
const JOB_LIMIT: Duration = Duration::from_secs(60);
/// From the end of a job (the farm) or the start of the command (the others; it takes some 50 ms) to the next
/// submission: long enough that the worker is idle.
const IDLE: Duration = Duration::from_millis(200);

/// What the stamp program stands in for.
const FFPROBE: &str = "ffprobe";

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clip: PathBuf,
    pub(crate) preset: String,
    pub(crate) samples: usize,
    /// Samples of one system before it is the next one's turn.
    pub(crate) round: usize,
    pub(crate) warm_up: usize,
    pub(crate) stamp: PathBuf,
    pub(crate) ffprobe: PathBuf,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Arguments of the command that all three start.
    pub(crate) arguments: Vec<String>,
    /// Milliseconds from just before the client's call to the first line of the process.
    pub(crate) farm: Spread,
    pub(crate) celery: Spread,
    pub(crate) bullmq: Spread,
    /// Milliseconds that the farm's submission took the client (its job is on disk then).
    pub(crate) farm_submit: Spread,
    /// Medians of the rounds, farm over the other, paired by round.
    pub(crate) over_celery: Paired,
    pub(crate) over_bullmq: Paired,
}

/// The farm and both peers, all up and idle.
struct Systems {
    coordinator: Coordinator,
    stamps: Stamps,
    job: JobRequest,
    celery: Celery,
    bullmq: BullMq,
}

pub(crate) async fn measure(site: &Site, installed: &Installed, plan: &Plan) -> Result<Measured> {
    let stamps = Stamps::new(&plan.stamp, &[(FFPROBE, &plan.ffprobe)], &site.folder.join("stamp"))?;
    let coordinator = site.coordinator("latency", &[]).await?;
    let worker = site.worker(&coordinator, "bench", &[("TVARR_FFPROBE", &stamps.program(FFPROBE))]).await?;
    let folder = site.folder.join("peers");
    fs::create_dir_all(&folder)?;
    let celery = Celery::start(installed, &folder, 1).await?;
    let bullmq = BullMq::start(installed, &folder, 1).await?;
    let job = request(InputRef::Path(plan.clip.to_string_lossy().into_owned()), &plan.preset);
    let mut systems = Systems { coordinator, stamps, job, celery, bullmq };

    let measured = systems.measure(plan).await;
    systems.celery.stop().await;
    systems.bullmq.stop().await;
    worker.stop().await;
    systems.coordinator.stop().await;
    measured
}

impl Systems {
    async fn measure(&mut self, plan: &Plan) -> Result<Measured> {
        let arguments = self.farm_start().await?.arguments;
        let argv: Vec<String> =
            std::iter::once(path(&self.stamps.program(FFPROBE))).chain(arguments.iter().cloned()).collect();
        for _ in 0..plan.warm_up {
            self.farm_start().await?;
            peer_start(&self.stamps, &mut self.celery.client, &argv).await?;
            peer_start(&self.stamps, &mut self.bullmq.client, &argv).await?;
        }
        let (mut farm, mut celery, mut bullmq) = (Vec::new(), Vec::new(), Vec::new());
        let mut submits = Vec::new();
        while farm.len() < plan.samples {
            let round = plan.round.min(plan.samples - farm.len());
            for _ in 0..round {
                let start = self.farm_start().await?;
                farm.push(start.milliseconds);
                submits.push(start.submit_milliseconds);
            }
            for _ in 0..round {
                celery.push(peer_start(&self.stamps, &mut self.celery.client, &argv).await?);
            }
            for _ in 0..round {
                bullmq.push(peer_start(&self.stamps, &mut self.bullmq.client, &argv).await?);
            }
            eprintln!("latency: {} of {} samples each", farm.len(), plan.samples);
        }
        Ok(Measured {
            arguments,
            over_celery: rounds(&farm, &celery, plan.round)?,
            over_bullmq: rounds(&farm, &bullmq, plan.round)?,
            farm: spread(&farm)?,
            celery: spread(&celery)?,
            bullmq: spread(&bullmq)?,
            farm_submit: spread(&submits)?,
        })
    }

    async fn farm_start(&self) -> Result<FarmStart> {
        self.stamps.clear();
        let before = monotonic_ns();
        let job = self.coordinator.api.submit(&self.job).await?;
        let submitted = monotonic_ns();
        let stamp = self.stamps.next(START_LIMIT).await.context("waiting for the farm's worker")?;
        self.coordinator.succeeded(job.summary.id, JOB_LIMIT).await?;
        sleep(IDLE).await;
        Ok(FarmStart {
            milliseconds: milliseconds(before, stamp.started_ns),
            submit_milliseconds: milliseconds(before, submitted),
            arguments: stamp.arguments,
        })
    }
}

struct FarmStart {
    milliseconds: f64,
    submit_milliseconds: f64,
    arguments: Vec<String>,
}

async fn peer_start(stamps: &Stamps, client: &mut Client, argv: &[String]) -> Result<f64> {
    stamps.clear();
    let submitted = client.submit_start(argv).await?;
    let stamp = stamps.next(START_LIMIT).await?;
    sleep(IDLE).await;
    Ok(milliseconds(submitted.before_ns, stamp.started_ns))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn spread(samples: &[f64]) -> Result<Spread> {
    Spread::of(samples).context("no sample was taken")
}

/// The medians of rounds that were measured one after the other.
fn rounds(ours: &[f64], theirs: &[f64], round: usize) -> Result<Paired> {
    let medians = |samples: &[f64]| -> Vec<f64> {
        samples.chunks(round.max(1)).filter_map(crate::stats::median).collect()
    };
    let pairs: Vec<(f64, f64)> = medians(ours).into_iter().zip(medians(theirs)).collect();
    Paired::of(&pairs).context("no round was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_paired_by_when_they_were_measured() {
        let paired = rounds(&[1.0, 3.0, 2.0, 4.0], &[2.0, 2.0, 6.0, 6.0], 2).unwrap();
        assert_eq!(paired.ratios, [1.0, 0.5]);
        assert!(rounds(&[], &[], 2).is_err());
    }
}
