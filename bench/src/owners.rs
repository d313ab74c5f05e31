//! What it costs to be fair: claims with completions of jobs that are a hundred owners', beside as many that are one's.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{claims, farm::Site, fleet::Size, memory::job, report::Verdict, stats::Paired};

/// Many owners over one, claims per second: at least.
const RATIO: f64 = 0.9;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) preset: String,
    pub(crate) pairs: usize,
    /// Jobs of one run.
    pub(crate) jobs: usize,
    pub(crate) owners: usize,
    /// Each with one slot.
    pub(crate) workers: usize,
    /// Submissions at once.
    pub(crate) clients: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) jobs: usize,
    pub(crate) owners: usize,
    pub(crate) workers: usize,
    /// Claims with completions per second: jobs of many owners, in turn, over those of one.
    pub(crate) many_over_one: Paired,
}

pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let mut pairs = Vec::new();
    for index in 0..plan.pairs {
        let many_first = index % 2 == 0;
        let first = run(site, plan, index, if many_first { plan.owners } else { 1 }).await?;
        let second = run(site, plan, index, if many_first { 1 } else { plan.owners }).await?;
        let (many, one) = if many_first { (first, second) } else { (second, first) };
        eprintln!("owners {}: {} owners {many:.0}/s, one {one:.0}/s", index + 1, plan.owners);
        pairs.push((many, one));
    }
    Ok(Measured {
        jobs: plan.jobs,
        owners: plan.owners,
        workers: plan.workers,
        many_over_one: Paired::of(&pairs).context("no pair was measured")?,
    })
}

/// Per second.
async fn run(site: &Site, plan: &Plan, index: usize, owners: usize) -> Result<f64> {
    let owned = |number: usize| {
        let mut job = job(number, &plan.preset);
        job.owner = Some(format!("owner-{}", number % owners));
        job
    };
    let size = Size { workers: plan.workers, slots: 1 };
    claims::claim(site, &format!("owners-{owners}-{index}"), owned, plan.jobs, plan.clients, size).await
}

pub(crate) fn verdict(owners: &Measured) -> Verdict {
    let claims = &owners.many_over_one;
    Verdict {
        what: format!("claims and completions per second, {} owners", owners.owners),
        farm: format!("{:.0}/s", claims.median_ours),
        other: format!("one owner {:.0}/s", claims.median_theirs),
        target: format!("ratio {:.2}, at least {RATIO}", claims.median_ratio),
        met: claims.median_ratio >= RATIO,
    }
}
