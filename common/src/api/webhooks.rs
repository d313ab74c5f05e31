//! Webhooks: what a job tells whom, and what became of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobState, JobView};

/// Whom a job tells what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// http or https, at an address that inputs may have, too.
    pub url: String,
    /// Default: every final state.
    #[serde(default = "WebhookEvent::ends")]
    pub events: Vec<WebhookEvent>,
}

/// What a webhook tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WebhookEvent {
    #[serde(rename = "job.succeeded")]
    Succeeded,
    #[serde(rename = "job.failed")]
    Failed,
    #[serde(rename = "job.dead")]
    Dead,
    #[serde(rename = "job.cancelled")]
    Cancelled,
    /// The latest only, now and then while it runs, and tried once.
    #[serde(rename = "job.progress")]
    Progress,
}

impl WebhookEvent {
    /// That of a state that is final.
    #[must_use]
    pub const fn of_end(state: JobState) -> Option<Self> {
        match state {
            JobState::Queued | JobState::Running => None,
            JobState::Succeeded => Some(Self::Succeeded),
            JobState::Failed => Some(Self::Failed),
            JobState::Dead => Some(Self::Dead),
            JobState::Cancelled => Some(Self::Cancelled),
        }
    }

    /// Those of the final states.
    #[must_use]
    pub fn ends() -> Vec<Self> {
        vec![Self::Succeeded, Self::Failed, Self::Dead, Self::Cancelled]
    }

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "job.succeeded",
            Self::Failed => "job.failed",
            Self::Dead => "job.dead",
            Self::Cancelled => "job.cancelled",
            Self::Progress => "job.progress",
        }
    }
}

/// The body of a webhook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WebhookPayload {
    pub r#type: WebhookEvent,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The job as `GET /v1/jobs/{id}` gave it then, without `output_url`.
    pub data: JobView,
}

/// In `GET /v1/jobs/{id}/webhooks`: the end of a job, and how its receiver was told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WebhookView {
    /// Its `webhook-id`, the same in every attempt.
    pub id: String,
    pub r#type: WebhookEvent,
    /// Without what may be a secret of it.
    pub url: String,
    pub state: WebhookState,
    pub created_at: Timestamp,
    /// When it is tried next, by the coordinator's clock; absent when it is not.
    pub next_attempt_at: Option<Timestamp>,
    /// Oldest first; of many the newest.
    pub attempts: Vec<WebhookAttempt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// It was not tried yet, or is tried again.
    Pending,
    /// The receiver answered with a 2xx.
    Delivered,
    /// After the last try, or because the receiver said 410.
    GivenUp,
}

/// One request to the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookAttempt {
    pub at: Timestamp,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why this was no delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub duration_ms: u64,
}

/// `GET /v1/webhooks/secret`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSecrets {
    /// Whose jobs' webhooks are signed with it; `null`: of jobs without an owner.
    pub owner: Option<String>,
    /// Each signs; one that verifies is enough. Newest first, `whsec_BASE64`.
    pub secrets: Vec<String>,
}
