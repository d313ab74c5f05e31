//! The coordinator: takes jobs, knows the fleet, places work, publishes results. Runs no ffmpeg.
//!
//! `fleet`, `plan` and `queue` decide; `store` and `storage` keep, `incoming` takes uploads in pieces; `session` talks to workers and `api` to users; `metrics` tells machines how it goes.

mod access;
mod api;
mod delivery;
pub mod fleet;
mod holdings;
mod incoming;
pub mod live;
mod lock;
mod metrics;
pub mod options;
pub mod plan;
pub mod queue;
mod ready;
mod scaler;
mod serve;
mod session;
pub mod storage;
pub mod store;
mod sweep;
mod text;
pub mod watch;
pub mod webhooks;

mod coordinator;

pub use coordinator::{Coordinator, Error};
pub use options::Config;
