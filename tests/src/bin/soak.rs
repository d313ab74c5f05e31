//! `make soak`: random faults under load, then everything against everything. See [`e2e::soak`].

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use e2e::soak::{self, Plan};

/// Runs a farm on this machine, breaks it at random for a while, lets it heal, and looks whether anything is lost, wrong or
/// left over. Ends with code 1 and the list of what is.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Options {
    /// How long faults go on.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Of the random faults and jobs; printed, so that a run can be repeated. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Mean seconds between two faults.
    #[arg(long, default_value_t = 3.0)]
    pause: f64,
    /// Folder to put the figures in, as JSON.
    #[arg(long)]
    figures: Option<PathBuf>,
}

// The daemons live as long as the thread that starts them, which is this one: `block_on` runs its future here.
#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let plan = Plan {
        seconds: options.minutes * 60.0,
        seed: options.seed.unwrap_or_else(rand::random),
        workers: options.workers.max(1),
        pause: options.pause,
    };
    let report = Box::pin(soak::run(plan)).await;
    println!("{report}");
    if let Some(file) = options.figures {
        std::fs::write(&file, report.to_json()).expect("the file for the figures can be written");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
