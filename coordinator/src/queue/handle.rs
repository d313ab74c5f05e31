//! What the rest of the coordinator may ask of the queue.

use common::{
    api::{AttemptLog, Event, JobState, JobSummary, JobView, Page, WorkerView},
    failure::Failure,
    id::{AttemptId, JobId, SessionId, WorkerId},
    media::{HardwarePolicy, MediaInfo},
    spec::Spec,
    worker::{Capabilities, Capacity, EncoderDevice, GpuLoad, Labels, Load, Need, OutputFile, Progress},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

/// Why the queue did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    #[error("there is no worker {0}")]
    NoSuchWorker(WorkerId),
    /// Cancelling what has ended, retrying what runs.
    #[error("{0}")]
    WrongState(String),
    /// The attempt is not current, or not this worker's.
    #[error("attempt {0} is not current: its lease was lost, or it belongs to another worker")]
    Stale(AttemptId),
    #[error("the job store cannot write: {0}; the request was not accepted, try again later")]
    Store(String),
    #[error("the coordinator is shutting down")]
    ShuttingDown,
}

/// A job that was checked and may be queued.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub input: JobInput,
    /// Preset name, or `custom`.
    pub preset: String,
    pub spec: Spec,
    pub hardware: HardwarePolicy,
    pub priority: i32,
    pub labels: Labels,
    pub owner: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInput {
    pub location: InputLocation,
    /// The name that the user knows it by: the URL, the path, the uploaded file's name.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputLocation {
    Url(String),
    /// Key in the object storage.
    Object(String),
    /// Absolute path below a shared root of the coordinator, canonical.
    Path(String),
}

/// `Hello`, checked.
#[derive(Debug, Clone)]
pub struct Registration {
    pub worker: WorkerId,
    pub name: String,
    pub version: String,
    /// Where it connects from, for people.
    pub address: String,
    pub capabilities: Capabilities,
    pub capacity: Capacity,
    pub labels: Labels,
    pub presets: Vec<String>,
    pub running: Vec<AttemptId>,
    pub exit_when_idle: bool,
    pub draining: bool,
}

/// The queue's answer to a registration.
#[derive(Debug, Clone)]
pub struct Welcome {
    pub session: SessionId,
    /// For each of [`Registration::running`]: may it go on.
    pub verdicts: Vec<(AttemptId, bool)>,
}

/// What the queue tells a connected worker.
#[derive(Debug, Clone)]
pub enum ToWorker {
    Assign {
        job: JobId,
        attempt: AttemptId,
        preset: String,
        spec: Spec,
        input: JobInput,
        encoder: Option<String>,
        device: Option<EncoderDevice>,
    },
    Stop {
        attempt: AttemptId,
        reason: String,
    },
    Acknowledge {
        attempt: AttemptId,
        accepted: bool,
    },
    LeasesRenewed(Vec<AttemptId>),
    SetDraining(bool),
    Idle,
    /// The same worker connected again, or was refused: end this stream with this reason.
    Disconnect {
        reason: String,
    },
}

/// How an attempt ended, after the session checked that the files are there.
#[derive(Debug, Clone)]
pub enum AttemptResult {
    Succeeded { outputs: Vec<OutputFile>, warnings: Vec<String>, progress: Progress },
    Failed { failure: Failure, missing: Need },
}

/// Leave to upload an attempt's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadGrant {
    pub job: JobId,
    pub attempt: AttemptId,
}

/// Which jobs a list shows; newest first.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub states: Vec<JobState>,
    pub owner: Option<String>,
    /// Jobs older than this one.
    pub before: Option<JobId>,
    /// 1 to 500.
    pub limit: u32,
}

/// A cloneable handle to the running queue. Every method that changes something returns after the change is on disk.
#[derive(Clone, Debug)]
pub struct Handle {}

#[allow(clippy::unused_async, unused_variables, clippy::missing_errors_doc)]
impl Handle {
    pub async fn submit(&self, job: NewJob) -> Result<JobView, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn cancel(&self, job: JobId) -> Result<JobView, Error> {
        Err(Error::ShuttingDown)
    }
    /// Queues a failed or cancelled job again.
    pub async fn retry(&self, job: JobId) -> Result<JobView, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn job(&self, job: JobId) -> Result<JobView, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn jobs(&self, filter: JobFilter) -> Result<Page<JobSummary>, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn logs(&self, job: JobId) -> Result<Vec<AttemptLog>, Error> {
        Err(Error::ShuttingDown)
    }
    /// The attempt whose files are the job's published outputs; `None` while there is none.
    pub async fn published(&self, job: JobId) -> Result<Option<(AttemptId, Vec<OutputFile>)>, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn workers(&self) -> Result<Vec<WorkerView>, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn set_draining(&self, worker: WorkerId, draining: bool) -> Result<WorkerView, Error> {
        Err(Error::ShuttingDown)
    }
    /// Events from now on; a receiver that is too slow gets `Lagged`.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        broadcast::channel(1).1
    }

    // ---- what a worker's session says

    /// A worker said Hello. What the queue has to tell it comes through `outbox`.
    pub async fn register(
        &self,
        hello: Registration,
        outbox: mpsc::Sender<ToWorker>,
    ) -> Result<Welcome, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn heartbeat(
        &self,
        session: SessionId,
        load: Load,
        gpus: Vec<GpuLoad>,
        attempts: Vec<(AttemptId, Progress, Vec<String>)>,
    ) {
    }
    pub async fn attempt_started(
        &self,
        session: SessionId,
        attempt: AttemptId,
        argv: Vec<String>,
        input: Option<MediaInfo>,
    ) {
    }
    /// Who may upload: the job, if the attempt is current and this session's.
    pub async fn upload_grant(&self, session: SessionId, attempt: AttemptId) -> Result<UploadGrant, Error> {
        Err(Error::ShuttingDown)
    }
    pub async fn attempt_finished(
        &self,
        session: SessionId,
        attempt: AttemptId,
        result: AttemptResult,
        log_tail: Vec<String>,
    ) {
    }
    pub async fn worker_draining(&self, session: SessionId) {}
    pub async fn capabilities_changed(&self, session: SessionId, capabilities: Capabilities) {}
    /// The stream ended.
    pub async fn disconnected(&self, session: SessionId) {}
}
