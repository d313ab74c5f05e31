//! What a scrape of the coordinator takes when its fleet is large and all of it works.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::{sync::watch, time::interval};

use crate::{
    clock::{monotonic_ns, seconds},
    farm::Site,
    fleet::{Fleet, Size},
    flood::Flood,
    memory::job,
    report::Verdict,
    stats::Spread,
};

/// The median scrape, in milliseconds: below.
const TARGET: f64 = 20.0;
/// Between two scrapes: far more often than any Prometheus, and still apart, so that each is one by itself.
const EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) preset: String,
    pub(crate) workers: usize,
    /// Attempts that each has.
    pub(crate) slots: u32,
    /// Jobs that wait besides.
    pub(crate) queued: usize,
    pub(crate) clients: usize,
    pub(crate) scrapes: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    workers: usize,
    attempts: usize,
    queued: usize,
    /// Of one answer.
    bytes: usize,
    lines: usize,
    /// From the request to the last byte of the answer, over a connection that is there.
    pub(crate) milliseconds: Spread,
}

pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let coordinator = site.coordinator("scrape", &[]).await?;
    let (_closed, gate) = watch::channel(false);
    let size = Size { workers: plan.workers, slots: plan.slots };
    let mut fleet = Fleet::start(&coordinator, size, &gate).await?;
    let held = plan.workers * plan.slots as usize;
    let jobs = (0..held + plan.queued).map(|number| job(number, &plan.preset));
    Flood::new("/v1/jobs", coordinator.api.address(), jobs)?.send(plan.clients).await?;
    fleet.holds(held).await?;

    let mut text = coordinator.api.metrics().await?;
    let mut next = interval(EVERY);
    let mut milliseconds = Vec::with_capacity(plan.scrapes);
    for _ in 0..plan.scrapes {
        next.tick().await;
        let before = monotonic_ns();
        text = coordinator.api.metrics().await?;
        milliseconds.push(seconds(before, monotonic_ns()) * 1000.0);
    }
    let up = |line: &&str| {
        let value = line.strip_prefix("tvarr_fleet_up{").and_then(|rest| rest.rsplit(' ').next());
        value.and_then(|value| value.parse::<f64>().ok()).is_some_and(|value| value > 0.0)
    };
    let told = text.lines().filter(up).count();
    ensure!(told == plan.workers, "{told} of {} workers are told as connected", plan.workers);
    drop(fleet);
    coordinator.kill().await;
    Ok(Measured {
        workers: plan.workers,
        attempts: held,
        queued: plan.queued,
        bytes: text.len(),
        lines: text.lines().count(),
        milliseconds: Spread::of(&milliseconds).ok_or_else(|| anyhow::anyhow!("no scrape was asked for"))?,
    })
}

pub(crate) fn verdict(measured: &Measured) -> Verdict {
    Verdict {
        what: format!("/metrics with {} workers, {} attempts", measured.workers, measured.attempts),
        farm: format!("median {:.1} ms, 99 % {:.1} ms", measured.milliseconds.p50, measured.milliseconds.p99),
        other: format!("{} lines, {} KiB", measured.lines, measured.bytes / 1024),
        target: format!("median below {TARGET} ms"),
        met: measured.milliseconds.p50 < TARGET,
    }
}
