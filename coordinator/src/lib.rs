//! The coordinator: takes jobs, knows the fleet, places work, publishes results. Runs no ffmpeg.
//!
//! `fleet`, `plan` and `queue` decide; `store` and `storage` keep; `session` talks to workers and `api` to users.

pub mod fleet;
pub mod plan;
pub mod queue;
pub mod store;
