//! What there is to do for a job.

use common::{spec::Spec, worker::Need};
use serde::{Deserialize, Serialize};

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Input to outputs with one ffmpeg.
    Encode,
}

impl TaskKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encode => "encode",
        }
    }
}

/// A task that the plan asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub kind: TaskKind,
    pub need: Need,
}

/// The tasks of a job. A whole file is one encode task.
#[must_use]
pub fn plan(spec: &Spec) -> Vec<Planned> {
    vec![Planned { kind: TaskKind::Encode, need: spec.need() }]
}
