//! The queue: every job from submission to its one final state.

mod handle;

pub use handle::{
    AttemptResult, Error, Handle, InputLocation, JobFilter, JobInput, NewJob, Registration, ToWorker,
    UploadGrant, Welcome,
};
