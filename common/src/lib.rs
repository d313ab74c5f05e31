//! What `coordinator`, `ffmpegd` and `ffmpegctl` share: the wire contract, the words of the domain, presets and how they
//! become ffmpeg arguments, configuration and telemetry.
//!
//! Nothing here does I/O on behalf of a daemon, reads a clock or keeps state: what is here decides or describes. The
//! exceptions: [`failpoint`], which is not there in a release build, [`metrics`], which reads what the kernel says of the
//! process, and [`telemetry`], which writes logs and sends what a collector is to have.

pub mod api;
pub mod backoff;
pub mod bytes;
pub mod config;
pub mod digest;
pub mod direct;
pub mod failpoint;
pub mod failure;
pub mod ffmpeg;
pub mod id;
pub mod live;
pub mod media;
pub mod metrics;
pub mod preset;
pub mod profile;
pub mod proto;
pub mod reach;
pub mod spec;
pub mod stream;
pub mod telemetry;
pub mod tls;
pub mod worker;
