//! Signing in, as the HTTP API has it.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scope;
use crate::id::KeyId;

/// `POST /v1/session`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// An API key.
    pub key: String,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignIn(..)")
    }
}

/// `GET /v1/session`: who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Whether the API asks for a key. Until there is one, whoever is let in may do everything.
    pub keys: bool,
    /// Absent: nobody, and `reason` says why.
    pub who: Option<Who>,
    /// What is missing, in words.
    pub reason: Option<String>,
    /// When a sign-in by cookie ends, unless it is used again; absent without one.
    pub expires_at: Option<Timestamp>,
}

/// Whoever asks, and what that one may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Who {
    /// Of the API key; absent without one, and for the configuration's (`TVARR_ADMIN_KEY`).
    pub key: Option<KeyId>,
    /// The key's name.
    pub name: Option<String>,
    pub owner: Option<String>,
    /// Everything that is open: with `admin` all of them.
    pub scopes: Vec<Scope>,
}
