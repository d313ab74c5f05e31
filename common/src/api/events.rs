//! What `GET /v1/events` tells, and what may be asked of it.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FleetSummary, JobSummary, ProgressView, WorkerState, WorkerSummary, WorkerView};
use crate::{
    id::{JobId, StreamId, WorkerId},
    stream::StreamView,
};

/// What a listener may ask to be told of: `?topics=jobs,progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Jobs that were submitted or changed their state.
    Jobs,
    /// How far jobs are: of each the newest, at most once a second.
    Progress,
    /// Workers that came, went, or changed their state.
    Workers,
    /// Rows of workers, those that changed, at most once a second.
    Load,
    /// Live streams, those that changed, at most once a second.
    Streams,
    /// The fleet's totals, if they changed, at most once a second.
    Summary,
}

/// A word that names no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topic")]
pub struct NoTopic(String);

impl Topic {
    pub const ALL: [Self; 6] =
        [Self::Jobs, Self::Progress, Self::Workers, Self::Load, Self::Streams, Self::Summary];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Progress => "progress",
            Self::Workers => "workers",
            Self::Load => "load",
            Self::Streams => "streams",
            Self::Summary => "summary",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Topic {
    type Err = NoTopic;

    fn from_str(word: &str) -> Result<Self, NoTopic> {
        let found = Self::ALL.into_iter().find(|topic| topic.as_str() == word);
        found.ok_or_else(|| NoTopic(word.chars().take(100).collect()))
    }
}

/// One event of `GET /v1/events` (server-sent events; `event:` is the tag, `data:` this object).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A job was submitted or changed its state.
    Job {
        job: Box<JobSummary>,
    },
    Progress {
        job: JobId,
        #[serde(default)]
        owner: Option<String>,
        progress: ProgressView,
    },
    Worker {
        id: WorkerId,
        name: String,
        state: WorkerState,
    },
    /// Rows of `GET /v1/workers` that changed.
    Load {
        workers: Vec<WorkerSummary>,
        /// Workers that are listed no more.
        gone: Vec<WorkerId>,
    },
    /// The worker that `?worker=` asks for, as `GET /v1/workers/{id}` has it.
    Detail {
        worker: Box<WorkerView>,
    },
    /// A stream that changed, as `GET /v1/streams` has it.
    Stream {
        stream: Box<StreamView>,
    },
    StreamGone {
        id: StreamId,
    },
    /// The totals of `GET /v1/summary`.
    Summary {
        #[serde(flatten)]
        fleet: FleetSummary,
    },
    /// The listener was too slow: events are missing, read the lists again.
    Lagged {
        missed: u64,
    },
}

impl Event {
    /// The server-sent event's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Job { .. } => "job",
            Self::Progress { .. } => "progress",
            Self::Worker { .. } => "worker",
            Self::Load { .. } => "load",
            Self::Detail { .. } => "detail",
            Self::Stream { .. } => "stream",
            Self::StreamGone { .. } => "stream_gone",
            Self::Summary { .. } => "summary",
            Self::Lagged { .. } => "lagged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_as_they_are_written() {
        for topic in Topic::ALL {
            assert_eq!(topic.to_string().parse(), Ok(topic));
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.as_str());
        }
        assert_eq!("fleet".parse::<Topic>().unwrap_err().to_string(), "\"fleet\" is no topic");
    }

    #[test]
    fn an_event_is_named_as_it_is_tagged() {
        let told = Event::Summary { fleet: FleetSummary { waiting: 7, ..FleetSummary::default() } };
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!((&json["event"], &json["waiting"]), (&told.name().into(), &7.into()));
    }
}
