//! API keys as the HTTP API has them.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::KeyId;

/// What the holder of a key may do. `admin` is everything; of the others none includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Bring inputs, submit jobs and change one's own: cancel, retry, redrive, priority.
    Submit,
    /// Look at one's own jobs: states, events, logs, outputs.
    Read,
    /// Everything, of every owner.
    Admin,
    /// Watch live streams.
    View,
    /// Read `/metrics`, which names workers, owners and streams.
    Metrics,
}

impl Scope {
    pub const ALL: [Self; 5] = [Self::Submit, Self::Read, Self::Admin, Self::View, Self::Metrics];

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::View => "view",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; write submit, read, admin, view or metrics")]
pub struct NoScope(String);

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        let named = |scope: &Self| scope.as_str() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| NoScope(text.chars().take(32).collect()))
    }
}

/// What an owner may have at once. Absent: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Jobs that wait; another one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// Tasks that run; others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// Bytes of uploads and outputs in the farm's storage; what would be more is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What an owner has of what its quotas limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// Jobs that wait.
    pub queued: u32,
    /// Tasks that run.
    pub running: u32,
    /// Bytes of its uploads, with the length that was said while they are on their way.
    pub upload_bytes: u64,
    /// Bytes of its jobs' outputs.
    pub output_bytes: u64,
}

/// An owner in `GET /v1/owners`: one with quotas of its own, or one that has something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerView {
    pub owner: String,
    /// What holds for it.
    pub quotas: Quotas,
    /// The quotas are its own; else they are those of everybody.
    pub own: bool,
    pub used: Used,
}

/// `PATCH /v1/jobs/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobPatch {
    /// Higher runs first; -100 to 100.
    pub priority: i32,
}

/// `POST /v1/keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// In whose name its holder acts. Only a key with the scope `admin` may do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub scopes: Vec<Scope>,
    /// For people: what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Until when it opens anything; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A key in `GET /v1/keys`, without what opens anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    pub id: KeyId,
    /// The key's beginning, to tell it from others.
    pub hint: String,
    pub owner: Option<String>,
    pub scopes: Vec<Scope>,
    pub name: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// The answer to `POST /v1/keys`: the only time that the key is shown.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeyCreated {
    #[serde(flatten)]
    pub view: KeyView,
    /// To be sent as `Authorization: Bearer KEY`.
    pub key: String,
}

impl fmt::Debug for KeyCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCreated").field("view", &self.view).finish_non_exhaustive()
    }
}
