//! Rows as the queue and the store exchange them. Times are milliseconds since the Unix epoch, for people only: no
//! decision is made from them.

use std::sync::Arc;

use common::{
    api::{AttemptState, JobState, OnDamagedInput, Scope, TaskState, Webhook, WorkerRef},
    digest::Digest,
    failure::{Failure, FailureKind},
    id::{AttemptId, Epoch, JobId, KeyId, StreamId, TaskId, UploadId, WorkerId},
    media::{HardwarePolicy, MediaInfo},
    spec::Spec,
    stream::StreamSpec,
    worker::{Damage, EncoderDevice, Labels, Need, OutputFile, Progress},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{plan::TaskKind, queue::JobInput};

/// A job. What never changes after submission is in `request`, so that an update does not write it again in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    pub id: JobId,
    pub state: JobState,
    /// As it is now; `request` has what was asked for.
    pub priority: i32,
    pub request: Arc<JobDetails>,
    pub submitted_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub failure: Option<Failure>,
    /// The worker that has it, or had it last.
    pub worker: Option<WorkerRef>,
    pub result: JobResult,
}

/// What was asked for, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDetails {
    pub input: JobInput,
    /// What `{{in_2}}` and the following of a command stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_inputs: Vec<JobInput>,
    /// Preset name, or `custom`, `command` or `probe`.
    pub preset: String,
    /// Shared by the jobs of a preset that are in memory.
    #[serde(serialize_with = "spec_itself", deserialize_with = "spec_alone")]
    pub spec: Arc<Spec>,
    pub hardware: HardwarePolicy,
    pub priority: i32,
    pub labels: Labels,
    pub owner: Option<String>,
    #[serde(default)]
    pub on_damaged_input: OnDamagedInput,
    /// Wall-clock milliseconds that all attempts of a task may take together; `None`: the coordinator's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_ms: Option<u64>,
    /// Where what was published is delivered to: the address of a folder or of a prefix in a bucket, as checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Whom to tell what becomes of it, checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Box<Webhook>>,
}

impl JobDetails {
    /// All of them, in order.
    pub fn inputs(&self) -> impl Iterator<Item = &JobInput> {
        std::iter::once(&self.input).chain(&self.more_inputs)
    }
}

fn spec_itself<S: Serializer>(spec: &Arc<Spec>, serializer: S) -> Result<S::Ok, S::Error> {
    spec.as_ref().serialize(serializer)
}

fn spec_alone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Spec>, D::Error> {
    Spec::deserialize(deserializer).map(Arc::new)
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_info: Option<Box<MediaInfo>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Box<Damage>>,
    /// Of the attempt that was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Box<Progress>>,
}

impl JobResult {
    /// Bytes of the published files.
    #[must_use]
    pub fn output_bytes(&self) -> u64 {
        self.outputs.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    pub id: TaskId,
    pub job: JobId,
    pub kind: TaskKind,
    pub state: TaskState,
    /// Of the newest attempt; 0 before the first.
    pub epoch: Epoch,
    /// The attempt whose files are the result: set once, never changed.
    pub published: Option<Epoch>,
    pub queued_at: i64,
    pub finished_at: Option<i64>,
    pub history: TaskHistory,
}

/// What a task learned from its attempts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskHistory {
    /// What it needs beyond what its spec says, found out by attempts that lacked it. Version 1 of the store had the whole
    /// need here.
    #[serde(default, alias = "need", skip_serializing_if = "Option::is_none")]
    pub learned: Option<Box<Need>>,
    /// Failures that count against the budget.
    #[serde(default)]
    pub failures: u32,
    /// One for each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mishaps: Vec<Mishap>,
    /// Wall-clock milliseconds that its attempts took.
    #[serde(default)]
    pub ran_ms: u64,
}

/// Where and how an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mishap {
    pub worker: WorkerId,
    /// The GPU's index; absent for the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    pub kind: FailureKind,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    pub id: AttemptId,
    pub job: JobId,
    pub state: AttemptState,
    pub worker: WorkerRef,
    pub assigned_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub details: AttemptDetails,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AttemptDetails {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<EncoderDevice>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What ffmpeg wrote in an attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub id: AttemptId,
    pub lines: Vec<String>,
}

/// A live stream that somebody added.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredStream {
    pub id: StreamId,
    pub spec: StreamSpec,
    pub created_at: i64,
}

/// An upload that comes in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    pub id: UploadId,
    pub details: UploadDetails,
    /// Bytes of the whole; `None` while nobody has said.
    pub length: Option<u64>,
    /// Bytes that are on disk, without a hole.
    pub received: u64,
    /// It is whole, and an object.
    pub placed: bool,
    pub created_at: i64,
    /// When it is removed unless more comes; of no meaning once it is placed.
    pub expires_at: i64,
}

/// What an upload was created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadDetails {
    /// As the storage may call it.
    pub filename: String,
    /// `Upload-Metadata`, as it came.
    pub metadata: String,
    pub concat: Concat,
}

/// The part of an upload in a concatenation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concat {
    /// None: it is a file by itself.
    Alone,
    /// A piece of a file.
    Partial,
    /// Made of pieces: `Upload-Concat`, as it came.
    Final(String),
}

/// Bytes that an owner holds in the farm's storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// As long as they are said to be, those that have not ended included.
    pub uploads: u64,
    /// Published files of its jobs.
    pub outputs: u64,
}

/// A job that was asked for under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Whose key it is.
    pub owner: Option<String>,
    pub key: String,
    /// Of everything that was asked for.
    pub digest: Digest,
    pub job: JobId,
    pub submitted_at: i64,
}

/// A key of the HTTP API: what is known of it, which is not the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    pub id: KeyId,
    /// Of the key's text.
    pub digest: Digest,
    /// The key's beginning.
    pub hint: String,
    pub owner: Option<String>,
    pub scopes: Vec<Scope>,
    pub name: Option<String>,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
}

/// A file that was found in a watched place, and the job that it became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedRecord {
    pub place: String,
    pub object: String,
    pub version: String,
    pub job: JobId,
    /// `false`: the job may not be there yet.
    pub submitted: bool,
    pub seen_at: i64,
}
