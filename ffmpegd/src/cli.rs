//! The command line of `ffmpegd`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::options::Options;

/// A transcoding worker: probes its machine, dials the coordinator, runs ffmpeg for what it is given.
///
/// Exit codes: 0 drained or idle, with everything done; 1 something broke; 2 wrong usage or configuration; 3 no ffmpeg
/// that works; 4 left with work unfinished (it goes to other workers).
#[derive(Debug, Parser)]
#[command(name = "ffmpegd", version)]
pub struct Cli {
    /// TOML file that sets any of these options by its long name.
    #[arg(long, env = "TVARR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub options: Options,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Ask the worker of this machine, on `TVARR_METRICS_PORT`, whether it has a session with its coordinator, and leave: 0 if
    /// it has, else 1.
    Health,
    /// Say what this machine can do, and leave.
    Detect {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}
