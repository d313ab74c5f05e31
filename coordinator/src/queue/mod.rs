//! The queue: every job from submission to its one final state.
//!
//! [`state`] decides: plain functions of what happened and the time. [`service`] is the shell around it: one task that
//! takes what happened in batches, makes the outcome durable in one commit and only then tells anybody.

mod attempts;
mod command;
mod commit;
mod delivery;
mod fence;
mod figures;
mod handle;
mod inflow;
mod input;
mod intern;
mod invariants;
mod jobs;
mod live;
mod live_attempts;
mod message;
mod milestone;
#[cfg(test)]
mod model_tests;
mod once;
mod ready;
mod remedy;
mod rows;
mod schedule;
mod service;
mod shares;
mod state;
#[cfg(test)]
mod state_tests;
mod transition;
mod view;
mod waiting;
mod workers;

pub use delivery::{Delivered, Delivery, DeliveryOrder};
pub(crate) use figures::{Demand, Depth, Figures, Line, WorkerFigures};
pub use handle::{Error, Handle, JobFilter, Submitted};
pub use inflow::Inflow;
pub use input::{InputLocation, JobInput};
pub use live::{LiveAssignment, LiveEvent, LiveOrder, LivePlacement};
pub use message::{Assignment, AttemptResult, Beat, Registration, ToWorker, UploadGrant, Welcome};
pub use once::IdempotencyKey;
pub(crate) use once::KEPT as IDEMPOTENCY_KEPT;
pub use rows::{FleetChanges, Since, WorkerFilter};
pub use service::{Service, Sweep};
pub use state::Settings;
pub(crate) use view::{stored_view, time as timestamp};
