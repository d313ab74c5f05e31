//! A transcoding worker: probes its machine, dials the coordinator, runs ffmpeg for what it is given.
//!
//! `ffmpegd` is this library and a thin `main`; `ffmpegctl` runs the same [`Worker`] inside itself.

pub mod cli;
mod fetch;
pub mod metrics;
pub mod options;
pub mod probe;
mod run;
mod session;
mod state_dir;
mod worker;

pub use self::{
    fetch::Limits as SourceLimits,
    options::{Address, Config, Options},
    worker::{Error, Outcome, Shutdown, Worker},
};
