//! What is counted of jobs, tasks and attempts as they end.

use common::{api::JobState, failure::FailureKind};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{LONG, NONE};
use crate::fleet::Class;

/// Of one queue; clones count together. The queue only ever adds to it.
#[derive(Debug, Clone)]
pub(crate) struct QueueMetrics {
    submitted: Counter,
    jobs: Family<End, Counter>,
    tasks: Family<TaskEnd, Counter>,
    attempts: Family<AttemptEnd, Counter>,
    waited: Histogram,
    ran: Family<Ran, Histogram, fn() -> Histogram>,
    published: Histogram,
}

/// How something ended, and the kind of failure if it was one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    outcome: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskEnd {
    task: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptEnd {
    class: &'static str,
    outcome: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ran {
    /// A configured one, or `custom`, `command`, `probe`.
    preset: String,
    outcome: &'static str,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Failed(FailureKind),
    Cancelled,
}

impl Outcome {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Succeeded => ("succeeded", NONE),
            Self::Failed(kind) => ("failed", kind.as_str()),
            Self::Cancelled => ("cancelled", NONE),
        }
    }
}

impl Default for QueueMetrics {
    fn default() -> Self {
        Self {
            submitted: Counter::default(),
            jobs: Family::default(),
            tasks: Family::default(),
            attempts: Family::default(),
            waited: Histogram::new(LONG),
            ran: Family::new_with_constructor(|| Histogram::new(LONG)),
            published: Histogram::new(LONG),
        }
    }
}

impl QueueMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("jobs_submitted", "Jobs that were accepted", self.submitted.clone());
        registry.register(
            "jobs_finished",
            "Jobs that reached a final state, by the kind of the failure that decided it",
            self.jobs.clone(),
        );
        registry.register("tasks_finished", "Tasks that reached a final state", self.tasks.clone());
        registry.register(
            "attempts_finished",
            "Attempts that ended, by class of work and kind of failure",
            self.attempts.clone(),
        );
        registry.register_with_unit(
            "queue_wait",
            "From when a task was queued to its assignment to a worker",
            Unit::Seconds,
            self.waited.clone(),
        );
        registry.register_with_unit(
            "attempt_run",
            "From an attempt's assignment to its end",
            Unit::Seconds,
            self.ran.clone(),
        );
        registry.register_with_unit(
            "publish",
            "From a job's last result to its success being durable, delivery to its output included",
            Unit::Seconds,
            self.published.clone(),
        );
    }

    pub(crate) fn submitted(&self) {
        self.submitted.inc();
    }

    /// `state` is final.
    pub(crate) fn job_ended(&self, state: JobState, kind: Option<FailureKind>) {
        let end = End { outcome: state.as_str(), kind: kind.map_or(NONE, FailureKind::as_str) };
        self.jobs.get_or_create(&end).inc();
    }

    pub(crate) fn task_ended(&self, task: &'static str, outcome: &'static str) {
        self.tasks.get_or_create(&TaskEnd { task, outcome }).inc();
    }

    pub(crate) fn assigned(&self, waited_seconds: f64) {
        self.waited.observe(waited_seconds);
    }

    /// An attempt of a job with that preset, after so many seconds.
    pub(crate) fn attempt_ended(&self, preset: Option<&str>, outcome: Outcome, seconds: f64) {
        let (word, kind) = outcome.words();
        self.attempts.get_or_create(&AttemptEnd { class: Class::Batch.as_str(), outcome: word, kind }).inc();
        if let Some(preset) = preset {
            let ran = Ran { preset: preset.to_owned(), outcome: word };
            self.ran.get_or_create(&ran).observe(seconds);
        }
    }

    pub(crate) fn live_attempt_ended(&self, outcome: Outcome) {
        let (outcome, kind) = outcome.words();
        self.attempts.get_or_create(&AttemptEnd { class: Class::Live.as_str(), outcome, kind }).inc();
    }

    pub(crate) fn published(&self, seconds: f64) {
        self.published.observe(seconds);
    }
}
