//! The queue's throughput: durable submissions, and claims with completions, beside BullMQ in memory and PostgreSQL.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    claims,
    clock::seconds,
    durability::disk_fsync,
    farm::Site,
    fleet::Size,
    memory::job,
    peers::{BullMq, Installed, Postgres},
    stats::{Paired, Spread, median},
};

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) preset: String,
    pub(crate) rounds: usize,
    /// Jobs of one run.
    pub(crate) jobs: usize,
    /// Sizes of the farm's fleet. A fleet of one has as many slots as BullMQ's worker; in others each worker has one.
    pub(crate) fleets: Vec<usize>,
    /// Submissions at once.
    pub(crate) clients: usize,
    /// Jobs that one worker of BullMQ, or a fleet of one, runs at once.
    pub(crate) concurrency: u32,
    /// Rows that PostgreSQL's clients claim at once.
    pub(crate) claim_batch: usize,
    /// PostgreSQL's clients that claim.
    pub(crate) claim_clients: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) jobs: usize,
    pub(crate) clients: usize,
    pub(crate) disk_fsync_milliseconds: f64,
    pub(crate) submit: Submit,
    /// One for each size of the fleet.
    pub(crate) claim: Vec<Claim>,
    /// BullMQ's worker, per second.
    pub(crate) bullmq_process: Vec<f64>,
    /// Rows that PostgreSQL's clients claimed in batches, per second; nothing was completed.
    pub(crate) postgres_claim: Vec<f64>,
    pub(crate) postgres_version: String,
}

/// Submissions per second.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Submit {
    pub(crate) farm: Vec<f64>,
    pub(crate) farm_median: f64,
    pub(crate) farm_milliseconds: Spread,
    pub(crate) over_bullmq: Paired,
    /// One row per transaction.
    pub(crate) over_postgres: Paired,
}

/// Claims with completions per second by so many workers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Claim {
    pub(crate) workers: usize,
    pub(crate) slots_per_worker: u32,
    pub(crate) over_bullmq: Paired,
    /// PostgreSQL only claims.
    pub(crate) over_postgres: Paired,
}

/// What one round gave, per second.
struct Round {
    farm_submit: f64,
    bullmq_submit: f64,
    postgres_submit: f64,
    /// By fleet.
    farm_claim: Vec<f64>,
    bullmq_process: f64,
    postgres_claim: f64,
}

pub(crate) async fn measure(site: &Site, installed: &Installed, plan: &Plan) -> Result<Measured> {
    let disk_fsync_milliseconds = disk_fsync(&site.folder)?;
    let folder = site.folder.join("postgres");
    let postgres = Postgres::start(&folder).await?;
    let postgres_version = postgres.version().to_owned();
    let (mut rounds, mut latencies) = (Vec::new(), Vec::new());
    for index in 0..plan.rounds {
        let round = round(site, installed, &postgres, plan, index, &mut latencies).await?;
        eprintln!(
            "queue {}: submit {:.0}/s, BullMQ {:.0}/s, PostgreSQL {:.0}/s; claim and complete {:.0?}/s, BullMQ {:.0}/s, \
             PostgreSQL {:.0}/s claimed",
            index + 1,
            round.farm_submit,
            round.bullmq_submit,
            round.postgres_submit,
            round.farm_claim,
            round.bullmq_process,
            round.postgres_claim
        );
        rounds.push(round);
    }
    postgres.stop().await;

    let each = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let paired = |ours: &dyn Fn(&Round) -> f64, theirs: fn(&Round) -> f64| {
        let pairs: Vec<(f64, f64)> = rounds.iter().map(|round| (ours(round), theirs(round))).collect();
        Paired::of(&pairs).context("no round was measured")
    };
    let claim = |(index, workers): (usize, usize)| {
        let ours = move |round: &Round| round.farm_claim[index];
        anyhow::Ok(Claim {
            workers,
            slots_per_worker: size(workers, plan).slots,
            over_bullmq: paired(&ours, |round| round.bullmq_process)?,
            over_postgres: paired(&ours, |round| round.postgres_claim)?,
        })
    };
    let submit = |round: &Round| round.farm_submit;
    Ok(Measured {
        jobs: plan.jobs,
        clients: plan.clients,
        disk_fsync_milliseconds,
        submit: Submit {
            farm: each(submit),
            farm_median: median(&each(submit)).context("no round was measured")?,
            farm_milliseconds: Spread::of(&latencies).context("no job was submitted")?,
            over_bullmq: paired(&submit, |round| round.bullmq_submit)?,
            over_postgres: paired(&submit, |round| round.postgres_submit)?,
        },
        claim: plan.fleets.iter().copied().enumerate().map(claim).collect::<Result<_>>()?,
        bullmq_process: each(|round| round.bullmq_process),
        postgres_claim: each(|round| round.postgres_claim),
        postgres_version,
    })
}

fn size(workers: usize, plan: &Plan) -> Size {
    Size { workers, slots: if workers == 1 { plan.concurrency } else { 1 } }
}

/// Everything once, one after the other, so that all of a round saw the machine in much the same state.
async fn round(
    site: &Site,
    installed: &Installed,
    postgres: &Postgres,
    plan: &Plan,
    index: usize,
    latencies: &mut Vec<f64>,
) -> Result<Round> {
    #[allow(clippy::cast_precision_loss)]
    let jobs = plan.jobs as f64;
    let flooded =
        claims::submit(site, &format!("submit-{index}"), &plan.preset, plan.jobs, plan.clients).await?;
    latencies.extend(flooded.milliseconds);
    let farm_submit = jobs / seconds(flooded.before_ns, flooded.after_ns);

    let folder = site.folder.join(format!("bullmq-{index}"));
    fs::create_dir_all(&folder)?;
    let mut bullmq = BullMq::start(installed, &folder, plan.concurrency).await?;
    bullmq.process(plan.jobs / 20, plan.clients).await?;
    let run = bullmq.process(plan.jobs, plan.clients).await?;
    bullmq.stop().await;

    let postgres_submit = postgres.insert(plan.jobs, plan.clients).await?;
    let mut farm_claim = Vec::with_capacity(plan.fleets.len());
    for workers in plan.fleets.iter().copied() {
        let data = format!("claim-{workers}-{index}");
        let size = size(workers, plan);
        farm_claim.push(
            claims::claim(site, &data, |number| job(number, &plan.preset), plan.jobs, plan.clients, size)
                .await?,
        );
    }
    let postgres_claim = postgres.claim(plan.claim_batch, plan.claim_clients).await?;
    Ok(Round {
        farm_submit,
        bullmq_submit: jobs / run.submit_seconds,
        postgres_submit,
        farm_claim,
        bullmq_process: jobs / run.process_seconds,
        postgres_claim,
    })
}
