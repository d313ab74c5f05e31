//! Live work on the fleet: placed like batch, before it, and never durable.

use common::{
    api::WorkerRef,
    failure::Failure,
    id::{AttemptId, StreamId, WorkerId},
    live::Work,
    worker::EncoderDevice,
};

use crate::fleet::Requirement;

/// Live work to place.
#[derive(Debug, Clone)]
pub struct LiveOrder {
    pub stream: StreamId,
    /// The stream's, for people.
    pub name: String,
    /// New for each attempt: nothing of an older one can be taken for it.
    pub attempt: AttemptId,
    /// Of [`crate::fleet::Class::Live`]; the preset is the profile's name.
    pub requirement: Requirement,
    pub work: Work,
    /// Something comes in: the worker gets a URL to read from.
    pub reads: bool,
    /// Rather nowhere than on a worker that is to be avoided: beside itself on one worker, a standby guards against nothing.
    pub only_elsewhere: bool,
    /// If nobody is free, a batch attempt is taken away from whom it can be.
    pub preempts: bool,
}

/// A live attempt for a worker to run.
#[derive(Debug, Clone)]
pub struct LiveAssignment {
    pub attempt: AttemptId,
    pub stream: StreamId,
    pub profile: String,
    pub work: Work,
    /// It gets a URL to read from.
    pub reads: bool,
    pub encoder: Option<String>,
    pub device: Option<EncoderDevice>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LivePlacement {
    pub worker: WorkerRef,
    pub encoder: Option<String>,
    pub device: Option<EncoderDevice>,
}

/// What becomes of live attempts that were placed. Each ends with exactly one `Ended` or `Lost`, unless it was ended by
/// [`super::Handle::end_live`].
#[derive(Debug, Clone, PartialEq)]
pub enum LiveEvent {
    /// ffmpeg runs, with this command line.
    Started { attempt: AttemptId, argv: Vec<String> },
    /// The worker says that it is over.
    Ended { attempt: AttemptId, result: Result<(), Failure> },
    /// Its worker is gone, silent, or was told to give everything up.
    Lost { attempt: AttemptId, reason: String },
    /// Its worker is leaving or was drained: it goes on until it was moved.
    Leaving { attempt: AttemptId, worker: WorkerId, reason: String },
    /// Somebody may be able to take work who could not before: a slot, a worker, an encoder.
    Room,
}
