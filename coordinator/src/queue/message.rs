//! What a worker's session and the queue tell each other.

use std::{sync::Arc, time::Duration};

use common::{
    api::OnDamagedInput,
    failure::Failure,
    id::{AttemptId, JobId, SessionId},
    spec::Spec,
    worker::{Damage, EncoderDevice, GpuLoad, Load, Need, OutputFile, Progress},
};

use super::{input::JobInput, live::LiveAssignment};
use crate::fleet::Identity;

/// `Hello`, checked.
#[derive(Debug, Clone)]
pub struct Registration {
    pub identity: Identity,
    pub running: Vec<AttemptId>,
    pub draining: bool,
    /// Why it takes no work for now.
    pub not_taking: Option<String>,
}

/// `Heartbeat`, checked.
#[derive(Debug, Clone, Default)]
pub struct Beat {
    pub load: Load,
    pub gpus: Vec<GpuLoad>,
    pub attempts: Vec<(AttemptId, Progress, Vec<String>)>,
    /// Why the worker takes no work for now.
    pub not_taking: Option<String>,
}

/// The queue's answer to a registration.
#[derive(Debug, Clone)]
pub struct Welcome {
    pub session: SessionId,
    /// For each of [`Registration::running`]: may it go on.
    pub verdicts: Vec<(AttemptId, bool)>,
}

/// An attempt for a worker to run.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub job: JobId,
    pub attempt: AttemptId,
    pub preset: String,
    pub spec: Arc<Spec>,
    pub input: JobInput,
    pub more_inputs: Vec<JobInput>,
    /// The input is still on its way.
    pub grows: bool,
    pub encoder: Option<String>,
    pub device: Option<EncoderDevice>,
    pub on_damaged_input: OnDamagedInput,
    /// What is left of the wall-clock limit; `None`: no limit.
    pub time_limit: Option<Duration>,
}

/// What the queue tells a connected worker.
#[derive(Debug, Clone)]
pub enum ToWorker {
    Assign(Box<Assignment>),
    AssignLive(Box<LiveAssignment>),
    Stop {
        attempt: AttemptId,
        reason: String,
    },
    Acknowledge {
        attempt: AttemptId,
        /// Why it changed nothing, if it did not.
        refused: Option<String>,
    },
    LeasesRenewed(Vec<AttemptId>),
    SetDraining(bool),
    Idle,
    /// Its results are doubted.
    ProbeAgain {
        reason: String,
    },
    /// The same worker connected again, or was refused: end this stream with this reason.
    Disconnect {
        reason: String,
    },
}

/// How an attempt ended, after the session checked that the files are there.
#[derive(Debug, Clone)]
pub enum AttemptResult {
    Succeeded { outputs: Vec<OutputFile>, warnings: Vec<String>, progress: Progress, damage: Option<Damage> },
    Failed { failure: Failure, missing: Need },
}

/// Leave to upload an attempt's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadGrant {
    pub job: JobId,
    pub attempt: AttemptId,
}
