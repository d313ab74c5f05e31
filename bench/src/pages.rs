//! What open pages cost the coordinator: its processor time with ten listeners to everything that events tell, beside the same
//! fleet with nobody looking.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::{
    clock::{monotonic_ns, seconds},
    farm::{Coordinator, Site},
    fleet::{Fleet, Size},
    flood::Flood,
    memory::job,
    report::Verdict,
    stats::median,
};

/// Percent of a core for all pages together: below.
const MOST: f64 = 10.0;
/// Every worker has said its load once by then.
const SETTLE: Duration = Duration::from_secs(10);
/// More than a page of any kind asks for.
const TOPICS: &str = "jobs,progress,workers,load,streams,summary";

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) preset: String,
    /// Each with one job that runs, and the usual heartbeat of 5 s.
    pub(crate) workers: usize,
    pub(crate) pages: usize,
    pub(crate) rounds: usize,
    /// Of each look, with pages and without.
    pub(crate) look: Duration,
    pub(crate) clients: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) workers: usize,
    pub(crate) pages: usize,
    pub(crate) rounds: Vec<Round>,
    /// Percent of a core.
    pub(crate) median_of_pages: f64,
    pub(crate) median_in_all: f64,
}

/// Percent of a core that the coordinator took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) without: f64,
    pub(crate) with: f64,
    /// Bytes per second that each page read.
    pub(crate) bytes_per_page: f64,
}

pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let coordinator = site.coordinator("pages", &[]).await?;
    let (_closed, gate) = watch::channel(false);
    let mut fleet = Fleet::start(&coordinator, Size { workers: plan.workers, slots: 1 }, &gate).await?;
    let jobs = (0..plan.workers).map(|number| job(number, &plan.preset));
    Flood::new("/v1/jobs", coordinator.api.address(), jobs)?.send(plan.clients).await?;
    fleet.holds(plan.workers).await?;
    sleep(SETTLE).await;
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        let round = round(&coordinator, plan).await?;
        eprintln!(
            "pages {}: {:.2} % of a core with {} pages, {:.2} % without; {:.0} KiB/s to each",
            number + 1,
            round.with,
            plan.pages,
            round.without,
            round.bytes_per_page / 1024.0
        );
        rounds.push(round);
    }
    drop(fleet);
    coordinator.kill().await;
    let of_pages: Vec<f64> = rounds.iter().map(|round| round.with - round.without).collect();
    let in_all: Vec<f64> = rounds.iter().map(|round| round.with).collect();
    Ok(Measured {
        workers: plan.workers,
        pages: plan.pages,
        median_of_pages: median(&of_pages).context("no round was measured")?,
        median_in_all: median(&in_all).context("no round was measured")?,
        rounds,
    })
}

async fn round(coordinator: &Coordinator, plan: &Plan) -> Result<Round> {
    let (without, _) = look(coordinator, plan.look, &AtomicU64::new(0)).await?;
    let worker = coordinator.api.workers().await?.first().context("the workers are listed")?.id;
    let read = Arc::new(AtomicU64::new(0));
    let mut pages = JoinSet::new();
    for _ in 0..plan.pages {
        let page = open(coordinator.api.address(), &format!("{TOPICS}&worker={worker}")).await?;
        pages.spawn(listen(page, Arc::clone(&read)));
    }
    // The first batch is of the whole fleet.
    sleep(Duration::from_secs(3)).await;
    let (with, bytes) = look(coordinator, plan.look, &read).await?;
    if let Some(ended) = pages.try_join_next() {
        ended??;
        bail!("the coordinator ended a page's events");
    }
    #[allow(clippy::cast_precision_loss)]
    let bytes_per_page = bytes / plan.pages as f64;
    if bytes_per_page == 0.0 {
        bail!("the pages were told nothing");
    }
    Ok(Round { without, with, bytes_per_page })
}

/// Percent of a core, and bytes per second.
#[allow(clippy::cast_precision_loss)]
async fn look(coordinator: &Coordinator, span: Duration, read: &AtomicU64) -> Result<(f64, f64)> {
    let (began, ticks, bytes) =
        (monotonic_ns(), cpu_ticks(coordinator.process())?, read.load(Ordering::Relaxed));
    sleep(span).await;
    let took = seconds(began, monotonic_ns());
    let ticks = cpu_ticks(coordinator.process())? - ticks;
    let bytes = read.load(Ordering::Relaxed) - bytes;
    Ok((ticks as f64 / clock_ticks_per_second() as f64 / took * 100.0, bytes as f64 / took))
}

async fn open(address: &str, query: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    let request = format!(
        "GET /v1/events?topics={query} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    if &status != b"HTTP/1.1 200" {
        bail!("/v1/events answered {}", String::from_utf8_lossy(&status));
    }
    Ok(stream)
}

/// Reads and counts, and looks at nothing: what the reader computes is taken from the coordinator's cores.
async fn listen(mut page: TcpStream, read: Arc<AtomicU64>) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match page.read(&mut buffer).await? {
            0 => return Ok(()),
            count => read.fetch_add(count as u64, Ordering::Relaxed),
        };
    }
}

/// Processor time of a process so far, in user and kernel, by `/proc/PID/stat`.
fn cpu_ticks(process: i32) -> Result<u64> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse(&text).with_context(|| format!("{path} has no utime and stime"))
}

/// The name, in brackets, may have spaces in it.
fn parse(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

pub(crate) fn verdict(pages: &Measured) -> Verdict {
    Verdict {
        what: format!("processor for events to {} pages, {} workers", pages.pages, pages.workers),
        farm: format!("{:.2} % of a core", pages.median_of_pages),
        other: format!("{:.2} % with all else that the coordinator does", pages.median_in_all),
        target: format!("below {MOST} %"),
        met: pages.median_of_pages < MOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_that_in_user_and_kernel() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 9 0 0 0 120 34 5 6 20 0 8 0 1 2 3";
        assert_eq!(parse(stat), Some(154));
        assert_eq!(parse("7 (a) S 1"), None);
    }
}
