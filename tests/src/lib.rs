//! The end-to-end harness: starts real coordinators, workers and `ffmpegctl`s on free ports and temporary folders, feeds
//! them real footage, and at the end looks for what they left behind.
//!
//! [`Farm`] is the entry point. A test ends with [`Farm::stop`], which shuts everything down as an operator would and
//! then asserts that no process, no temporary file and no log line at ERROR stayed that the test did not ask for. If the
//! test panics before, everything is killed and the logs are printed.
//!
//! Nothing here sleeps to let something happen: see [`wait::until`].

// A harness fails its test where something is not as it must be; it has nobody to return an error to.
#![allow(clippy::unwrap_used)]

pub mod api;
pub mod binaries;
pub mod books;
pub mod clock;
pub mod collector;
pub mod ctl;
pub mod daemon;
pub mod disk;
pub mod farm;
pub mod footage;
pub mod liar;
pub mod live;
pub mod media;
pub mod prometheus;
pub mod proxy;
pub mod receiver;
pub mod soak;
pub mod stores;
pub mod system;
pub mod tus;
pub mod wait;
pub mod web;

pub use api::{Api, Refused};
pub use farm::{Farm, FarmBuilder, WorkerSpec};
pub use footage::clip;
