//! What goes wrong with a request, and the one table that says which status it is.

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use common::api::{CommandPlace, Problem};
use hyper::{StatusCode, header, header::HeaderValue};

use crate::{access, holdings, live::service as live, queue, storage, store};

/// Of tus 1.0.
const CHECKSUM_MISMATCH: u16 = 460;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// A field whose value cannot be used.
    Invalid {
        field: String,
        problem: String,
        remedy: String,
    },
    /// An ffmpeg command of which something is not allowed.
    Command(command::Error),
    /// A body or query that cannot be read at all.
    Malformed {
        problem: String,
        remedy: String,
    },
    NotFound {
        what: String,
    },
    MethodNotAllowed,
    /// The request does not fit the state of what it is about.
    Conflict {
        problem: String,
    },
    /// What a job publishes is asked for before it has.
    NotYet {
        problem: String,
        /// It never will.
        ended: bool,
    },
    TooLarge {
        limit: u64,
    },
    MediaType {
        problem: String,
        remedy: String,
    },
    /// A version of a protocol that is not spoken here.
    Version {
        problem: String,
        remedy: String,
    },
    /// A body that is not what its checksum says.
    Checksum {
        problem: String,
    },
    /// Without a key that is good.
    Unauthenticated {
        problem: String,
        remedy: String,
    },
    /// The request comes from where none is taken from, or from whom this is not for.
    Forbidden {
        problem: String,
        remedy: String,
    },
    /// There is nothing that the asker could use.
    NotAcceptable {
        problem: String,
        remedy: String,
    },
    /// Without leave to watch.
    Token {
        problem: String,
    },
    /// As much as somebody may have.
    Quota {
        problem: String,
    },
    /// As many bytes as somebody may hold.
    ByteQuota {
        problem: String,
    },
    /// What the request is about was there, and is over.
    Gone {
        problem: String,
        remedy: String,
    },
    StorageFull,
    Unavailable {
        problem: String,
    },
    Internal {
        problem: String,
    },
}

impl Error {
    pub(super) fn invalid(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Invalid { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The same, about a part of that field.
    pub(super) fn within(self, outer: &str) -> Self {
        match self {
            Self::Invalid { field, problem, remedy } => {
                Self::Invalid { field: format!("{outer}.{field}"), problem, remedy }
            }
            other => other,
        }
    }

    pub(super) fn no(what: &str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { what: format!("there is no {what} {id}") }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } | Self::Command(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } | Self::NotYet { .. } => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Version { .. } => StatusCode::PRECONDITION_FAILED,
            Self::Checksum { .. } => StatusCode::from_u16(CHECKSUM_MISMATCH).expect("it has three digits"),
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::NotAcceptable { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::Token { .. } => StatusCode::FORBIDDEN,
            Self::Quota { .. } | Self::ByteQuota { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Gone { .. } => StatusCode::GONE,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which the same request may work.
    const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::StorageFull => Some(30),
            Self::Quota { .. } => Some(10),
            // Something has to be removed, or to expire.
            Self::ByteQuota { .. } => Some(60),
            Self::Unavailable { .. } | Self::NotYet { ended: false, .. } => Some(5),
            _ => None,
        }
    }

    /// The problem document of RFC 9457.
    #[must_use]
    pub(crate) fn into_problem(self) -> Problem {
        let status = self.status();
        let (kind, title) = match &self {
            Self::Invalid { .. } => ("invalid-field", "A field cannot be used"),
            Self::Command(_) => ("command", "The command is not allowed"),
            Self::Malformed { .. } => ("malformed", "The request cannot be read"),
            Self::NotFound { .. } => ("not-found", "Not found"),
            Self::MethodNotAllowed => ("method-not-allowed", "Method not allowed"),
            Self::Conflict { .. } | Self::NotYet { .. } => ("conflict", "Not possible in this state"),
            Self::TooLarge { .. } => ("too-large", "Too large"),
            Self::MediaType { .. } => ("media-type", "Media type not taken"),
            Self::Version { .. } => ("version", "Version not spoken"),
            Self::Checksum { .. } => ("checksum", "Changed on its way"),
            Self::Unauthenticated { .. } => ("unauthenticated", "No API key"),
            Self::Forbidden { .. } => ("forbidden", "Not allowed"),
            Self::NotAcceptable { .. } => ("not-acceptable", "Not in that format"),
            Self::Token { .. } => ("token", "No leave to watch"),
            Self::Quota { .. } => ("quota", "A quota is used up"),
            Self::ByteQuota { .. } => ("byte-quota", "A quota of bytes is used up"),
            Self::Gone { .. } => ("gone", "Over"),
            Self::StorageFull => ("storage-full", "No space left"),
            Self::Unavailable { .. } => ("unavailable", "Not possible at the moment"),
            Self::Internal { .. } => ("internal", "The coordinator failed"),
        };
        let place = match &self {
            Self::Command(error) => Some(CommandPlace {
                option: error.name.clone(),
                argument: error.argument,
                offset: error.offset,
            }),
            _ => None,
        };
        let (detail, field, remedy) = match self {
            Self::Command(error) => {
                let command::Error { name, argument, offset, problem, remedy } = error;
                let detail = format!("{name} (argument {argument}, byte {offset}): {problem}");
                (detail, Some("command".to_owned()), Some(remedy))
            }
            Self::Invalid { field, problem, remedy } => (problem, Some(field), Some(remedy)),
            Self::Malformed { problem, remedy }
            | Self::Unauthenticated { problem, remedy }
            | Self::Forbidden { problem, remedy }
            | Self::NotAcceptable { problem, remedy }
            | Self::MediaType { problem, remedy }
            | Self::Version { problem, remedy }
            | Self::Gone { problem, remedy } => (problem, None, Some(remedy)),
            Self::Token { problem } => (
                problem,
                None,
                Some(
                    "get a new one from POST /v1/streams/STREAM/tokens and add ?token= to the URL".to_owned(),
                ),
            ),
            Self::Quota { problem } => {
                let remedy = "send it again later, or ask whoever runs the farm for a larger quota";
                (problem, None, Some(remedy.to_owned()))
            }
            Self::ByteQuota { problem } => {
                let remedy = "remove uploads (DELETE /v1/uploads/ID) or jobs with their outputs (DELETE /v1/jobs/ID), wait until \
                              uploads expire, or ask whoever runs the farm for a larger quota";
                (problem, None, Some(remedy.to_owned()))
            }
            Self::NotFound { what } => (what, None, None),
            Self::MethodNotAllowed => (
                "this resource does not have that method; the Allow header names those it has".to_owned(),
                None,
                None,
            ),
            Self::Conflict { problem } | Self::NotYet { problem, ended: true } => (problem, None, None),
            Self::NotYet { problem, ended: false } => {
                (problem, None, Some("try again when the job has succeeded".to_owned()))
            }
            Self::TooLarge { limit } => (
                format!("the body is larger than the {limit} bytes that are taken"),
                None,
                Some(
                    "for files raise TVARR_MAX_UPLOAD_BYTES, or give the job a URL or a shared path"
                        .to_owned(),
                ),
            ),
            Self::Checksum { problem } => (problem, None, Some("send the same bytes again".to_owned())),
            Self::StorageFull => (
                "the coordinator's disk has no space left".to_owned(),
                None,
                Some("free some space below TVARR_DATA_DIR or use a larger disk, then try again".to_owned()),
            ),
            Self::Unavailable { problem } => (problem, None, Some("try again in a moment".to_owned())),
            Self::Internal { problem } => {
                (problem, None, Some("the coordinator's log says more; please report it".to_owned()))
            }
        };
        Problem {
            kind: format!("/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            field,
            remedy,
            command: place,
        }
    }
}

impl From<queue::Error> for Error {
    fn from(error: queue::Error) -> Self {
        let text = error.to_string();
        match error {
            queue::Error::NoSuchJob(_) | queue::Error::NoSuchWorker(_) => Self::NotFound { what: text },
            queue::Error::WrongState(_) | queue::Error::Stale(_) => Self::Conflict { problem: text },
            queue::Error::Quota(_) => Self::Quota { problem: text },
            queue::Error::Store(_) | queue::Error::NoRoom(_) | queue::Error::ShuttingDown => {
                Self::Unavailable { problem: text }
            }
        }
    }
}

impl From<holdings::Error> for Error {
    fn from(error: holdings::Error) -> Self {
        match error {
            holdings::Error::Over(over) => Self::ByteQuota { problem: over.to_string() },
            holdings::Error::Store(error) => error.into(),
        }
    }
}

impl From<access::Error> for Error {
    fn from(error: access::Error) -> Self {
        let text = error.to_string();
        match error {
            access::Error::NoSuchKey(_) => Self::NotFound { what: text },
            access::Error::FirstIsNoAdmin | access::Error::LastAdmin | access::Error::TooMany => {
                Self::Conflict { problem: text }
            }
            access::Error::Store(_) => Self::Unavailable { problem: text },
        }
    }
}

impl From<access::Foreign> for Error {
    fn from(access::Foreign: access::Foreign) -> Self {
        Self::Forbidden {
            problem: "owner: your API key is not this owner's".to_owned(),
            remedy: "leave owner out, or use a key of that owner or one with the scope admin".to_owned(),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Unavailable { problem: error.to_string() }
    }
}

impl From<live::Error> for Error {
    fn from(error: live::Error) -> Self {
        let text = error.to_string();
        match error {
            live::Error::NoSuchStream(_) | live::Error::NoSuchProfile { .. } | live::Error::Ladder { .. } => {
                Self::NotFound { what: text }
            }
            live::Error::Invalid(_) => {
                Self::invalid("", text, "see docs/live.md for what a stream is made of")
            }
            live::Error::InvalidField(invalid) => {
                Self::Invalid { field: invalid.field, problem: invalid.problem, remedy: invalid.remedy }
            }
            live::Error::Exists(_) | live::Error::Configured(_) => Self::Conflict { problem: text },
            live::Error::NoCapacity(_)
            | live::Error::NoSource(_)
            | live::Error::Failed(_)
            | live::Error::Store(_)
            | live::Error::ShuttingDown => Self::Unavailable { problem: text },
        }
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        let text = error.to_string();
        match error {
            storage::Error::NotFound(_) => Self::NotFound { what: text },
            storage::Error::TooLarge { limit, .. } => Self::TooLarge { limit },
            storage::Error::Size { .. } | storage::Error::BrokenOff { .. } => Self::Malformed {
                problem: text,
                remedy: "send the whole file again; nothing of it was kept".to_owned(),
            },
            storage::Error::Digest { .. } => {
                Self::invalid("body", text, "send the file again; nothing of it was kept")
            }
            storage::Error::Full { .. } => Self::StorageFull,
            storage::Error::Denied { .. } | storage::Error::Store { .. } => Self::Internal { problem: text },
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Internal { problem } | Self::Unavailable { problem } = &self {
            tracing::warn!(%problem, "a request could not be answered");
        }
        let retry_after = self.retry_after();
        let is_unauthenticated = matches!(self, Self::Unauthenticated { .. });
        let status = self.status();
        let mut response = (status, Json(self.into_problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if is_unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tvarr\""));
        }
        response
    }
}

/// For the router's fallbacks: every error that axum makes itself becomes a problem document, its headers kept.
pub(super) async fn method_not_allowed() -> Error {
    Error::MethodNotAllowed
}

pub(super) async fn not_found(uri: hyper::Uri) -> Error {
    Error::NotFound { what: format!("there is nothing at {}", uri.path()) }
}

/// An empty answer to what worked and has nothing to say.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use common::id::JobId;

    use super::*;

    #[test]
    fn an_invalid_field_is_named_with_its_remedy() {
        let problem = Error::invalid("input.url", "it has no host", "write http://host/file").into_problem();
        assert_eq!(problem.status, 422);
        assert_eq!(problem.field.as_deref(), Some("input.url"));
        assert_eq!(problem.remedy.as_deref(), Some("write http://host/file"));
    }

    #[test]
    fn errors_below_have_their_status() {
        let status = |error: Error| error.into_problem().status;
        assert_eq!(status(queue::Error::NoSuchJob(JobId::new()).into()), 404);
        assert_eq!(status(queue::Error::WrongState("it has ended".to_owned()).into()), 409);
        assert_eq!(status(queue::Error::Store("disk".to_owned()).into()), 503);
        assert_eq!(status(queue::Error::ShuttingDown.into()), 503);
        assert_eq!(status(storage::Error::Full { doing: "x".to_owned() }.into()), 507);
    }
}
