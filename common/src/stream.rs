//! Live streams as the HTTP API has them.

use serde::{Deserialize, Serialize};

use crate::{
    api::WorkerRef,
    id::{AttemptId, StreamId},
    worker::Labels,
};

/// A live source, and what may be asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// In viewers' URLs: 1 to 64 lower-case letters, digits, '-' and '_'.
    pub name: String,
    pub source: SourceSpec,
    /// Profiles that may be watched. Empty: all that there are.
    #[serde(default)]
    pub profiles: Vec<String>,
    #[serde(default)]
    pub options: StreamOptions,
}

/// Where a stream comes from. As text: `push`, an absolute path, or a URL; `http(s)` that is no playlist is pulled by the
/// coordinator, everything else comes through a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSpec {
    /// MPEG-TS over HTTP(S), pulled by the coordinator.
    Pull(String),
    /// MPEG-TS that is PUT to `/v1/streams/{id}/input`.
    Push,
    /// Whatever ffmpeg opens, copied by a worker.
    Ingest(String),
    /// A file below a shared root, looped in real time by a worker that has it.
    File(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamOptions {
    /// How long an encode goes on without a viewer.
    pub linger_ms: u64,
    /// How long viewers are held while nobody can encode.
    pub hold_ms: u64,
    /// Workers that encode each variant side by side: 1 or 2.
    pub redundancy: u8,
    /// What is shown while the source is away; `None`: nothing, the picture stands still.
    pub slate: Option<String>,
    /// Workers that may encode it.
    pub labels: Labels,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { linger_ms: 30_000, hold_ms: 15_000, redundancy: 1, slate: None, labels: Labels::default() }
    }
}

/// A stream as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamView {
    pub id: StreamId,
    #[serde(flatten)]
    pub spec: StreamSpec,
    /// It comes from the configuration file: it cannot be removed by the API.
    pub configured: bool,
    pub created_at: i64,
    pub source_state: SourceView,
    pub variants: Vec<VariantView>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceView {
    pub state: SourceState,
    /// What is wrong, in words.
    pub problem: Option<String>,
    /// For people: `h264 1920x1080, aac 48000 Hz`.
    pub tracks: Vec<String>,
    pub bitrate: u64,
    pub bytes_held: u64,
    pub buffered_ms: u64,
    /// Runs of the source since the stream began.
    pub generations: u32,
    /// Packets that were lost on the way here.
    pub gaps: u64,
    /// The worker through which it comes.
    pub worker: Option<WorkerRef>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Nobody watches: nothing is pulled.
    #[default]
    Idle,
    Connecting,
    Live,
    /// It was there and is not: it is tried again.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantView {
    pub profile: String,
    pub state: VariantState,
    /// Why it waits, in words.
    pub problem: Option<String>,
    pub viewers: u32,
    /// Viewers that were dropped because they did not keep up.
    pub dropped_viewers: u64,
    pub bytes_sent: u64,
    pub bytes_held: u64,
    pub bitrate: u64,
    pub media_sequence: u64,
    pub attempts: Vec<VariantAttempt>,
    pub failovers: Vec<FailoverView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VariantState {
    Starting,
    Live,
    /// No attempt encodes it; viewers are held.
    Held,
    /// Nobody watches; it ends soon.
    Lingering,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantAttempt {
    pub attempt: AttemptId,
    pub worker: WorkerRef,
    pub encoder: Option<String>,
    /// `active`, `successor`, `standby`.
    pub role: String,
    pub since: i64,
}

/// One attempt that was replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailoverView {
    pub at: i64,
    pub from: WorkerRef,
    pub to: Option<WorkerRef>,
    /// `worker lost`, `no output for 2 s`, `draining`, `preempted`, ...
    pub reason: String,
    /// From the last frame of the old attempt to the first of the new one, in milliseconds.
    pub stall_ms: Option<u64>,
}
