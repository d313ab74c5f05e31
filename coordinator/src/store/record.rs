//! Rows as the queue and the store exchange them. Times are milliseconds since the Unix epoch, for people only: no
//! decision is made from them.

use std::{collections::BTreeSet, sync::Arc};

use common::{
    api::{AttemptState, JobState, OnDamagedInput, TaskState, WorkerRef},
    failure::Failure,
    id::{AttemptId, Epoch, JobId, TaskId, WorkerId},
    media::{HardwarePolicy, MediaInfo},
    spec::Spec,
    worker::{Damage, EncoderDevice, Labels, Need, OutputFile, Progress},
};
use serde::{Deserialize, Serialize};

use crate::{plan::TaskKind, queue::JobInput};

/// A job. What never changes after submission is in `request`, so that an update does not write it again in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    pub id: JobId,
    pub state: JobState,
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
    /// Preset name, or `custom`.
    pub preset: String,
    pub spec: Spec,
    pub hardware: HardwarePolicy,
    pub priority: i32,
    pub labels: Labels,
    pub owner: Option<String>,
    #[serde(default)]
    pub on_damaged_input: OnDamagedInput,
    /// Wall-clock milliseconds that all attempts of a task may take together; `None`: the coordinator's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_ms: Option<u64>,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_info: Option<MediaInfo>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    /// Of the attempt that was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
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
    pub need: Need,
    /// Failures that count against the budget.
    #[serde(default)]
    pub failures: u32,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed_on: BTreeSet<WorkerId>,
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
