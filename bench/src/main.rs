//! Benchmarks of the farm, side by side with plain ffmpeg, Celery, BullMQ and PostgreSQL.
//!
//! `scripts/bench.sh` sets up what this needs and starts it; `bench/README.md` says what is measured and how to read it.

mod api;
mod bucket;
mod claims;
mod clock;
mod durability;
mod encode;
mod failover;
mod far;
mod farm;
mod fleet;
mod flood;
mod input;
mod latency;
mod limits;
mod live;
mod memory;
mod null_worker;
mod options;
mod owners;
mod pages;
mod peers;
mod process;
mod queue;
mod replay;
mod report;
mod resident;
mod scrape;
mod stamps;
mod stats;
mod throughput;
mod timed;
mod uploading;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    options::{Options, Part},
    report::{Machine, Report, Results},
};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    common::tls::install_provider();
    limits::open_many_files();
    let options = Options::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    // Leaving the select drops what runs, and with it every process that it has started.
    tokio::select! {
        report = measure(&options) => {
            let report = report?;
            report.print();
            println!("{}", report.write(&options.results)?.display());
            let all_met = report.verdicts.iter().all(|verdict| verdict.met);
            Ok(if options.check && !all_met { ExitCode::from(2) } else { ExitCode::SUCCESS })
        }
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn measure(options: &Options) -> Result<Report> {
    let scratch = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&options.scratch)
        .with_context(|| format!("making a folder in {}", options.scratch.display()))?;
    let machine = Machine::look(scratch.path());
    let site = options.site(scratch.path())?;
    let installed = options.installed();
    let mut results = Results::default();
    for part in options.parts() {
        match part {
            Part::Latency => {
                results.latency = Some(latency::measure(&site, &installed, &options.latency()?).await?);
            }
            Part::Throughput => {
                let plan = options.throughput();
                results.throughput = Some(throughput::measure(&site, &installed, &plan).await?);
            }
            Part::Encode => results.encode = Some(encode::measure(&site, &options.encode()).await?),
            Part::Failover => {
                results.failover = Some(failover::measure(&site, &options.failover()?).await?);
            }
            Part::Queue => {
                results.queue = Some(queue::measure(&site, &installed, &options.queue()).await?);
            }
            Part::Owners => results.owners = Some(owners::measure(&site, &options.owners()).await?),
            Part::Upload => {
                results.uploading = Some(uploading::measure(&site, &options.uploading()?).await?);
            }
            Part::Input => results.input = Some(input::measure(&site, &options.input()).await?),
            Part::Bucket => results.bucket = Some(bucket::measure(&site, &options.bucket()).await?),
            Part::Live => results.live = Some(live::measure(&site, &options.live()).await?),
            Part::Pages => results.pages = Some(pages::measure(&site, &options.pages()).await?),
            Part::Memory => results.memory = Some(memory::measure(&site, &options.memory()).await?),
            Part::Scrape => results.scrape = Some(scrape::measure(&site, &options.scrape()).await?),
        }
    }
    let verdicts = results.verdicts();
    Ok(Report { measured_at: Timestamp::now(), machine, results, verdicts })
}
