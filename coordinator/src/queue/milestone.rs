//! What a commit made of jobs and attempts, for the log and for the trace of each job. Told once it is durable.

use common::{
    api::{AttemptState, JobState},
    failure::Failure,
    id::{AttemptId, JobId},
    telemetry::trace::{self, KeyValue, Part, Span},
};

use super::state::State;
use crate::store::{AttemptRecord, Changes, JobRecord};

/// A step that a job has taken. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) enum Milestone {
    Assigned { queued_at: i64, attempt: Box<AttemptRecord> },
    AttemptOver(Box<AttemptRecord>),
    JobOver(Box<JobRecord>),
}

/// A wait that an assignment ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) queued_at: i64,
}

impl State {
    /// In the order in which they were taken. Of what is being written, to be asked after `begin_commit`.
    pub(super) fn milestones(&self, changes: &Changes) -> Vec<Milestone> {
        let assigned = changes.attempts.iter().filter_map(|attempt| {
            let queued_at = self.writing.assigned.get(&attempt.id)?.queued_at;
            Some(Milestone::Assigned { queued_at, attempt: Box::new(attempt.clone()) })
        });
        let over = changes.attempts.iter().filter(|attempt| attempt.finished_at.is_some());
        let over = over.map(|attempt| Milestone::AttemptOver(Box::new(attempt.clone())));
        let ended = changes.jobs.iter().filter(|job| job.state.is_final());
        let ended = ended.map(|job| Milestone::JobOver(Box::new(job.clone())));
        assigned.chain(over).chain(ended).collect()
    }
}

impl Milestone {
    pub(super) fn tell(self) {
        self.log();
        if trace::is_sent() {
            trace::tell(self.span());
        }
    }

    fn log(&self) {
        match self {
            Self::Assigned { attempt, .. } => {
                let AttemptRecord { id, job, worker, details, .. } = attempt.as_ref();
                let encoder = details.encoder.as_deref();
                tracing::info!(
                    %job, task = %id.task, epoch = %id.epoch, worker = %worker.id, name = worker.name, encoder,
                    "attempt assigned"
                );
            }
            Self::AttemptOver(attempt) => {
                let AttemptRecord { id, job, worker, state, details, .. } = attempt.as_ref();
                let (kind, reason) = said(details.failure.as_ref());
                tracing::info!(
                    %job, task = %id.task, epoch = %id.epoch, worker = %worker.id, name = worker.name,
                    state = word(*state), kind, reason, "attempt over"
                );
            }
            Self::JobOver(job) => {
                let JobRecord { id, state, failure, .. } = job.as_ref();
                let (kind, reason) = said(failure.as_ref());
                match state {
                    JobState::Dead => tracing::warn!(job = %id, kind, reason, "a job is given up"),
                    _ => tracing::info!(job = %id, state = state.as_str(), kind, reason, "job over"),
                }
            }
        }
    }

    fn span(&self) -> Span {
        match self {
            Self::Assigned { queued_at, attempt } => Span {
                part: Part::Queue(attempt.job, attempt.id),
                began: trace::at(*queued_at),
                ended: trace::at(attempt.assigned_at),
                attributes: of_attempt(attempt.job, attempt.id).into(),
                failure: None,
            },
            Self::AttemptOver(attempt) => {
                let AttemptRecord { worker, state, details, .. } = attempt.as_ref();
                let mut attributes = Vec::from(of_attempt(attempt.job, attempt.id));
                attributes.push(KeyValue::new("worker", worker.id.to_string()));
                attributes.push(KeyValue::new("worker.name", worker.name.clone()));
                attributes.push(KeyValue::new("state", word(*state)));
                attributes.extend(details.encoder.clone().map(|encoder| KeyValue::new("encoder", encoder)));
                attributes.extend(kind(details.failure.as_ref()));
                Span {
                    part: Part::Attempt(attempt.job, attempt.id),
                    began: trace::at(attempt.assigned_at),
                    ended: trace::at(attempt.finished_at.unwrap_or(attempt.assigned_at)),
                    attributes,
                    failure: details.failure.as_ref().map(|failure| failure.message.clone()),
                }
            }
            Self::JobOver(job) => {
                let mut attributes = vec![
                    KeyValue::new("job", job.id.to_string()),
                    KeyValue::new("preset", job.request.preset.clone()),
                    KeyValue::new("priority", i64::from(job.priority)),
                    KeyValue::new("state", job.state.as_str()),
                ];
                attributes.extend(job.request.owner.clone().map(|owner| KeyValue::new("owner", owner)));
                attributes.extend(kind(job.failure.as_ref()));
                Span {
                    part: Part::Job(job.id),
                    began: trace::at(job.submitted_at),
                    ended: trace::at(job.finished_at.unwrap_or(job.submitted_at)),
                    attributes,
                    failure: job.failure.as_ref().map(|failure| failure.message.clone()),
                }
            }
        }
    }
}

fn of_attempt(job: JobId, attempt: AttemptId) -> [KeyValue; 3] {
    [
        KeyValue::new("job", job.to_string()),
        KeyValue::new("task", attempt.task.to_string()),
        KeyValue::new("epoch", i64::try_from(attempt.epoch.0).unwrap_or(i64::MAX)),
    ]
}

fn kind(failure: Option<&Failure>) -> Option<KeyValue> {
    failure.map(|failure| KeyValue::new("failure.kind", failure.kind.as_str()))
}

fn said(failure: Option<&Failure>) -> (Option<&str>, Option<&str>) {
    (failure.map(|failure| failure.kind.as_str()), failure.map(|failure| failure.message.as_str()))
}

/// As in JSON.
const fn word(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Running => "running",
        AttemptState::Disconnected => "disconnected",
        AttemptState::Succeeded => "succeeded",
        AttemptState::Failed => "failed",
        AttemptState::Cancelled => "cancelled",
        AttemptState::Superseded => "superseded",
    }
}
