//! The fleet at a glance: rows for lists, totals, and what was in the last hour.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobState, Who, WorkerState};
use crate::{
    id::{JobId, WorkerId},
    worker::{Capacity, Labels, Load},
};

/// A worker in `GET /v1/workers`, and in events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerSummary {
    pub id: WorkerId,
    pub name: String,
    pub state: WorkerState,
    /// Why, for any state but online; and why an online one takes less than it could.
    pub reason: Option<String>,
    pub version: String,
    pub address: String,
    pub ffmpeg_version: String,
    pub labels: Labels,
    /// Families of hardware encoders that work: `nvenc`, `vaapi`.
    pub hardware: Vec<String>,
    pub capacity: Capacity,
    /// Jobs in use: all, on GPUs, on the CPU.
    pub jobs: u32,
    pub gpu_jobs: u32,
    pub cpu_jobs: u32,
    /// How many of the jobs in use are live.
    pub live_jobs: u32,
    /// Frames per second of all that runs, as of the newest heartbeat.
    pub fps: f64,
    pub load: Load,
    pub memory_total_bytes: u64,
    /// 0: the worker does not say.
    pub scratch_total_bytes: u64,
    /// The GPUs with their loads, and how many sessions they can have.
    pub gpus: Vec<GpuView>,
    /// The first of the batch attempts that it runs.
    pub work: Option<AtWork>,
    pub connected_at: Timestamp,
    pub completed: u64,
    pub failed: u64,
}

/// What a worker is at, in a few words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AtWork {
    pub job: JobId,
    /// Name of the job's preset, or `custom`.
    pub preset: String,
    /// The name that the user knows the input by.
    pub input: String,
    /// 0 to 100; absent while the duration is unknown.
    pub percent: Option<f64>,
    /// Media seconds per wall-clock second; absent until a heartbeat said it.
    pub speed: Option<f64>,
}

/// A GPU and how busy it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuView {
    pub index: u32,
    pub name: String,
    /// Percent; absent until a heartbeat said it.
    pub utilisation: Option<u32>,
    pub encoder_utilisation: Option<u32>,
    pub decoder_utilisation: Option<u32>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: u64,
    pub temperature_celsius: Option<u32>,
    /// Encode sessions, those of other programs included.
    pub sessions: Option<u32>,
    /// Encode sessions that can be open: what the device declares, or fewer where it refused some. Absent: no limit known.
    pub sessions_possible: Option<u32>,
}

/// A part of a worker that gets no work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quarantine {
    /// Index of the GPU; absent: the CPU.
    pub gpu: Option<u32>,
    pub reason: String,
}

/// `GET /v1/workers/{id}/history`. Each list has an entry for every step, oldest first; `null`: nothing was heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerHistory {
    pub id: WorkerId,
    pub memory_total_bytes: u64,
    /// The last ten minutes, in steps of ten seconds.
    pub minutes: Series,
    /// The last hour, in steps of a minute.
    pub hour: Series,
}

/// What was measured, step by step; means over the step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// Begin of the first step.
    pub from: Timestamp,
    pub step_seconds: u32,
    /// 0 to 1 over all cores.
    pub cpu: Vec<Option<f32>>,
    pub memory_used_bytes: Vec<Option<u64>>,
    pub fps: Vec<Option<f32>>,
    pub jobs: Vec<Option<f32>>,
    pub gpus: Vec<GpuSeries>,
}

/// Percent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuSeries {
    pub index: u32,
    pub utilisation: Vec<Option<f32>>,
    pub encoder_utilisation: Vec<Option<f32>>,
}

/// What the fleet has at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetSummary {
    pub workers: WorkerCounts,
    /// Of workers that are not lost.
    pub cpu_jobs: Slots,
    pub gpu_jobs: Slots,
    /// Attempts that run.
    pub live: u32,
    pub batch: u32,
    /// Jobs that wait, of all owners.
    #[serde(default)]
    pub waiting: u32,
    /// Frames per second of all that runs, as of the newest heartbeats.
    #[serde(default)]
    pub fps: f64,
}

/// Workers by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerCounts {
    pub online: u32,
    pub draining: u32,
    pub quarantined: u32,
    pub lost: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    pub used: u32,
    pub total: u32,
}

/// The port that workers dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerPort {
    /// As the coordinator has it, whatever a container or proxy makes of it.
    pub port: u16,
    /// Workers of other machines are taken, with the token.
    pub token: bool,
}

/// `GET /v1/summary`: what a page has at its head.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Of the coordinator.
    pub version: String,
    /// Whether the API asks for a key.
    pub keys: bool,
    pub who: Who,
    /// Where workers connect to; absent: none are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_port: Option<WorkerPort>,
    #[serde(flatten)]
    pub fleet: FleetSummary,
    /// Jobs by state, those that the asker sees. A state without jobs is left out.
    pub jobs: BTreeMap<JobState, u64>,
}
