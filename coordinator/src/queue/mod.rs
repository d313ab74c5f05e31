//! The queue: every job from submission to its one final state.
//!
//! [`state`] decides: plain functions of what happened and the time. [`service`] is the shell around it: one task that
//! takes what happened in batches, makes the outcome durable in one commit and only then tells anybody.

mod attempts;
mod delivery;
mod fence;
mod handle;
mod inflow;
mod intern;
mod invariants;
mod jobs;
mod live;
mod live_attempts;
#[cfg(test)]
mod model_tests;
mod once;
mod ready;
mod remedy;
mod schedule;
mod service;
mod shares;
mod state;
#[cfg(test)]
mod state_tests;
mod view;
mod waiting;
mod workers;

pub use delivery::{Delivered, Delivery, DeliveryOrder};
pub use handle::{
    Assignment, AttemptResult, Beat, Error, Handle, InputLocation, JobFilter, JobInput, Registration,
    Submitted, ToWorker, UploadGrant, Welcome,
};
pub use inflow::Inflow;
pub use live::{LiveAssignment, LiveEvent, LiveOrder, LivePlacement};
pub use once::IdempotencyKey;
pub(crate) use once::KEPT as IDEMPOTENCY_KEPT;
pub use service::{Service, Sweep};
pub use state::Settings;
