//! JSON of the HTTP API, as the coordinator writes it and `ffmpegctl` reads it. Times are RFC 3339 in UTC.

mod events;
mod fleet;
mod keys;
mod session;
mod webhooks;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    events::{Event, NoTopic, Topic},
    fleet::{
        AtWork, FleetSummary, GpuSeries, GpuView, Quarantine, Series, Slots, Summary, WorkerCounts,
        WorkerHistory, WorkerPort, WorkerSummary,
    },
    keys::{JobPatch, KeyCreated, KeyRequest, KeyView, NoScope, OwnerView, Quotas, Scope, Used},
    session::{SessionView, SignIn, Who},
    webhooks::{
        Webhook, WebhookAttempt, WebhookEvent, WebhookPayload, WebhookSecrets, WebhookState, WebhookView,
    },
};
use crate::{
    failure::{Failure, FailureKind},
    id::{Epoch, JobId, StreamId, TaskId, UploadId, WorkerId},
    media::{HardwarePolicy, MediaInfo},
    spec::Spec,
    worker::{Capabilities, Capacity, Damage, Labels, Load, OutputFile, Progress},
};

/// `POST /v1/jobs` and `POST /v1/run`. Exactly one of `preset`, `spec` and `command`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    #[serde(alias = "input_url")]
    pub input: InputRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
    /// An ffmpeg command, of which everything must be allowed (docs/commands.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandLine>,
    /// As an extension such as `mp4` or a container such as `hls`: what a command makes that names no output, or the container
    /// of a preset's file, where it takes the preset's codecs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<String>,
    /// With a command: what `{{in_2}}` and the following stand for.
    #[serde(default, alias = "more_input_urls", skip_serializing_if = "Vec::is_empty")]
    pub more_inputs: Vec<InputRef>,
    #[serde(default)]
    pub hardware: HardwarePolicy,
    /// Higher runs first; -100 to 100.
    #[serde(default)]
    pub priority: i32,
    /// A worker must carry all of these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default)]
    pub on_damaged_input: OnDamagedInput,
    /// Folder or prefix of a bucket where the results are delivered to, as `s3://bucket/prefix/`, `gs://`, `az://` or
    /// `file:///folder/`, of those that the coordinator allows. The job has succeeded when everything is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Wall-clock seconds that ffmpeg may take, all attempts together; the coordinator's `TVARR_TIME_LIMIT` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_seconds: Option<u64>,
    /// Whom to tell what becomes of it (docs/webhooks.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

impl JobRequest {
    /// With everything left to its default. It asks for nothing yet.
    #[must_use]
    pub fn new(input: InputRef) -> Self {
        Self {
            input,
            preset: None,
            spec: None,
            command: None,
            output_format: None,
            more_inputs: Vec::new(),
            hardware: HardwarePolicy::default(),
            priority: 0,
            labels: Labels::new(),
            owner: None,
            on_damaged_input: OnDamagedInput::default(),
            output: None,
            time_limit_seconds: None,
            webhook: None,
        }
    }

    /// What ffprobe says. Before everything else that waits, as somebody looks at the answer, and it is soon over.
    #[must_use]
    pub fn probe(input: InputRef) -> Self {
        Self { spec: Some(Spec::Probe), priority: 100, time_limit_seconds: Some(120), ..Self::new(input) }
    }
}

/// A command as text, split as a shell does it, or as a list of arguments, taken as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CommandLine {
    Text(String),
    Arguments(Vec<String>),
}

/// What becomes of a job whose input decodes with errors or ends early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDamagedInput {
    /// It succeeds, with warnings that count and name the damage.
    #[default]
    Warn,
    /// It fails with `invalid_input`.
    Fail,
}

/// Where the input is. As JSON: `{"url": "https://..."}` or the URL alone, `{"upload": "<id>"}` or
/// `{"path": "/mnt/media/a.mp4"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", from = "InputForm")]
pub enum InputRef {
    /// http or https.
    Url(String),
    /// From `POST /v1/uploads`.
    Upload(UploadId),
    /// Absolute, below one of the coordinator's shared roots.
    Path(String),
}

/// The ways to write an input.
#[derive(Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "an input is a URL, {\"url\": \"https://...\"}, {\"upload\": \"ID\"} or {\"path\": \"/...\"}"
)]
enum InputForm {
    Text(String),
    Named(NamedInput),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NamedInput {
    Url(String),
    Upload(UploadId),
    Path(String),
}

impl From<InputForm> for InputRef {
    fn from(form: InputForm) -> Self {
        match form {
            InputForm::Text(url) | InputForm::Named(NamedInput::Url(url)) => Self::Url(url),
            InputForm::Named(NamedInput::Upload(id)) => Self::Upload(id),
            InputForm::Named(NamedInput::Path(path)) => Self::Path(path),
        }
    }
}

/// The answer to `POST /v1/run`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunAnswer {
    pub job_id: JobId,
    pub status: JobState,
    /// Leads to the result, or to the most important of several, for whoever has it: it is signed and works until it expires.
    /// Before the job has succeeded it answers 409.
    pub output_url: String,
    /// Seconds that such a job took on this farm, from its start to its end; absent when it is not known.
    pub estimated_duration_seconds: Option<f64>,
    /// What the estimate comes from, or why there is none, in words.
    pub estimate_basis: String,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// `POST /v1/probe`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    #[serde(alias = "input_url")]
    pub input: InputRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// The answer to a `POST /v1/probe` that was not done in time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProbePending {
    pub job_id: JobId,
    pub status: JobState,
    /// What it waits for, in words.
    pub waiting_for: Option<String>,
}

/// `POST /v1/uploads?filename=NAME`, the body being the file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    pub id: UploadId,
    pub filename: String,
    pub size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Succeeded,
    /// What was asked for cannot be done: the input or the spec is at fault.
    Failed,
    Cancelled,
    /// Given up after failures that may not be the job's own fault: a dead letter, which a person can redrive.
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    Running,
    /// Its worker is disconnected; it may come back within the grace.
    Disconnected,
    Succeeded,
    Failed,
    Cancelled,
    /// Its epoch was given to another attempt.
    Superseded,
}

impl JobState {
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Dead)
    }

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

/// A job in `GET /v1/jobs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobSummary {
    pub id: JobId,
    pub state: JobState,
    /// Preset name, or `custom` for a spec.
    pub preset: String,
    /// The name that the user knows the input by.
    pub input: String,
    pub owner: Option<String>,
    pub priority: i32,
    pub submitted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// What it waits for, in words, while it is queued.
    pub waiting_for: Option<String>,
    pub failure: Option<Failure>,
    /// The worker that has it, or had it last.
    pub worker: Option<WorkerRef>,
    pub progress: Option<ProgressView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRef {
    pub id: WorkerId,
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProgressView {
    /// 0 to 100; absent while the duration is unknown.
    pub percent: Option<f64>,
    /// Seconds until the end; absent while unknown.
    pub eta_seconds: Option<f64>,
    #[serde(flatten)]
    pub progress: Progress,
}

/// `GET /v1/jobs/{id}`, also the answer to `POST /v1/jobs`, `.../cancel` and `.../retry`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    #[serde(flatten)]
    pub summary: JobSummary,
    pub hardware: HardwarePolicy,
    pub labels: Labels,
    pub spec: Spec,
    pub input_info: Option<MediaInfo>,
    pub tasks: Vec<TaskView>,
    pub outputs: Vec<OutputFile>,
    /// Where they are delivered to, if the job said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Leads to the result, or to the most important of several, for whoever has it, until it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_url: Option<String>,
    pub warnings: Vec<String>,
    /// What was wrong with the input, if it gave a result nevertheless.
    pub damage: Option<Damage>,
    pub on_damaged_input: OnDamagedInput,
    /// Whom it tells what becomes of it; the URL without what may be a secret of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// `POST /v1/jobs/redrive`: which dead letters are queued again. All conditions must hold; none given means all of them.
/// One call looks at 1000 dead letters at most, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Name of the worker that had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// In the id, or in the name of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `next_cursor` of the call before, to go on where it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The answer to a redrive.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Redriven {
    pub jobs: Vec<JobId>,
    /// Dead letters that could not be queued again, and why.
    pub refused: Vec<RedriveRefusal>,
    /// There are more: pass it as `cursor` of the next call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RedriveRefusal {
    pub job: JobId,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    pub id: TaskId,
    /// `encode`.
    pub kind: String,
    pub state: TaskState,
    pub epoch: Epoch,
    pub queued_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub attempts: Vec<AttemptView>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    pub epoch: Epoch,
    pub state: AttemptState,
    pub worker: WorkerRef,
    pub encoder: Option<String>,
    pub device: Option<String>,
    pub assigned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The ffmpeg command line, argument by argument, once it runs.
    pub command: Vec<String>,
    pub failure: Option<Failure>,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// `GET /v1/jobs/{id}/logs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AttemptLog {
    pub task: TaskId,
    pub epoch: Epoch,
    pub worker: String,
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    Online,
    Draining,
    Quarantined,
    /// No stream, or nothing heard for longer than a lease.
    Lost,
}

/// `POST /v1/workers/{id}/drain`; no body is the same as `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainRequest {
    /// What the worker runs is taken away at once and goes to others, instead of being finished.
    pub now: bool,
}

/// `GET /v1/workers/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WorkerView {
    pub id: WorkerId,
    pub name: String,
    pub state: WorkerState,
    /// Why, for any state but online.
    pub reason: Option<String>,
    pub version: String,
    pub address: String,
    pub labels: Labels,
    pub presets: Vec<String>,
    pub capacity: Capacity,
    /// Jobs in use: all, on GPUs, on the CPU.
    pub jobs: u32,
    pub gpu_jobs: u32,
    pub cpu_jobs: u32,
    /// How many of the jobs in use are live.
    #[serde(default)]
    pub live_jobs: u32,
    pub capabilities: Capabilities,
    pub load: Load,
    /// The GPUs with their loads, and how many sessions they can have.
    #[serde(default)]
    pub gpus: Vec<GpuView>,
    /// What of it gets no work, and why.
    #[serde(default)]
    pub quarantines: Vec<Quarantine>,
    pub connected_at: Timestamp,
    pub running: Vec<RunningTask>,
    /// Live streams that it encodes or takes in.
    #[serde(default)]
    pub live: Vec<RunningLive>,
    pub completed: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunningTask {
    pub job: JobId,
    pub task: TaskId,
    pub epoch: Epoch,
    /// Name of the job's preset, or `custom`.
    #[serde(default)]
    pub preset: String,
    /// The name that the user knows the input by.
    #[serde(default)]
    pub input: String,
    pub encoder: Option<String>,
    #[serde(default)]
    pub device: Option<String>,
    /// The ffmpeg command line, argument by argument, once it runs.
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    pub progress: Option<ProgressView>,
}

/// An attempt for a live stream, as `GET /v1/workers` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunningLive {
    pub stream: StreamId,
    /// The stream's.
    #[serde(default)]
    pub name: String,
    pub task: TaskId,
    pub epoch: Epoch,
    /// Of the profile; `ingest` and `slate` are no profiles.
    pub profile: String,
    pub encoder: Option<String>,
    pub device: Option<String>,
    /// The ffmpeg command line, argument by argument, once it runs.
    pub command: Vec<String>,
    pub placed_at: Timestamp,
    pub progress: Option<Progress>,
}

/// A preset in `GET /v1/presets`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PresetView {
    pub name: String,
    pub description: String,
    pub spec: Spec,
}

/// RFC 9457 problem document, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, JsonSchema)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// `about:blank` or a path below `/problems/`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The field of the request that is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Where in the command, when that is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandPlace>,
}

/// A place in a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandPlace {
    /// With its dash; for a filter its name, `FILTER OPTION` for an option of one.
    pub option: String,
    /// Counted from 0.
    pub argument: usize,
    /// Bytes before it: from the beginning of a command's text, or of its argument in a list.
    pub offset: usize,
}
