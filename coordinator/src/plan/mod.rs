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

/// The tasks of a job. A whole file is one encode task.
#[must_use]
pub fn plan(_spec: &Spec) -> Vec<TaskKind> {
    vec![TaskKind::Encode]
}

/// What a task of that kind needs of a worker, as far as the spec alone can tell.
#[must_use]
pub fn need(kind: TaskKind, spec: &Spec) -> Need {
    match kind {
        TaskKind::Encode => spec.need(),
    }
}
