//! What can go wrong between here and the coordinator, and what it means for the exit code.

use std::error::Error as _;

use common::api::Problem;
use reqwest::StatusCode;

use crate::{exit::Exit, text::printable};

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answered, or the connection broke.
    #[error("{address} cannot be reached: {reason}; {}", unreachable_remedy(address))]
    Unreachable {
        address: String,
        reason: String,
        /// The request did not get as far as being sent: it may be sent again.
        unsent: bool,
    },
    /// The coordinator (or what stands before it) says that it cannot answer at the moment.
    #[error("{address} is not ready: {reason}; try again in a while")]
    NotReady { address: String, reason: String },
    /// The coordinator refused.
    #[error("{}", problem_text(.0))]
    Refused(Box<Problem>),
    /// Something answers there, and it is not the coordinator's API.
    #[error(
        "{address} answers, but not as a coordinator's HTTP API: {reason}; check the address (the API is on port 8080 \
         by default, workers connect to 9090)"
    )]
    NotTheApi { address: String, reason: String },
}

impl Error {
    pub(crate) fn from_transport(address: &str, error: &reqwest::Error) -> Self {
        let address = address.to_owned();
        let reason =
            if error.is_timeout() { "no answer in time".to_owned() } else { printable(&innermost(error)) };
        // What http/1 says when the other side speaks something else.
        if reason.contains("invalid HTTP version") || reason.contains("http2 error") {
            return Self::NotTheApi { address, reason };
        }
        Self::Unreachable { address, reason, unsent: error.is_connect() }
    }

    pub(crate) fn from_answer(address: &str, status: StatusCode, body: &[u8]) -> Self {
        let address = address.to_owned();
        let problem = serde_json::from_slice::<Problem>(body);
        match (status, problem) {
            (
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT,
                problem,
            ) => Self::NotReady {
                address,
                reason: problem.map_or_else(|_| status.to_string(), |problem| printable(&problem.detail)),
            },
            (_, Ok(problem)) => Self::Refused(Box::new(problem)),
            (_, Err(_)) => Self::NotTheApi { address, reason: format!("it says {status}") },
        }
    }

    /// Whether the same call may succeed a little later.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotReady { .. })
    }

    /// Whether the call certainly had no effect, and may succeed a little later.
    pub(crate) const fn had_no_effect(&self) -> bool {
        matches!(self, Self::Unreachable { unsent: true, .. } | Self::NotReady { .. })
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Unreachable { .. } | Self::NotReady { .. } | Self::NotTheApi { .. } => None,
        }
    }

    /// Whether the same call succeeds once others of the same owner have got on. What an owner holds goes away by itself in days,
    /// if ever: that is no wait.
    pub(crate) fn is_before_its_turn(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.kind == "/problems/quota")
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::NotReady { .. } | Self::NotTheApi { .. } => Exit::Unreachable,
            // What was asked for does not fit the state of the job or worker: not wrong, but not done.
            Self::Refused(problem) => match problem.status {
                409 | 429 => Exit::Failed,
                507 => Exit::Unwritable,
                400..500 => Exit::Invalid,
                _ => Exit::Failed,
            },
        }
    }
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        Self { exit: error.exit(), message: error.to_string() }
    }
}

/// The cause at the bottom, which is the one that says something.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

fn unreachable_remedy(address: &str) -> &'static str {
    if address == super::DEFAULT_ADDRESS {
        "is a coordinator running here? name another one with --coordinator URL or TVARR_API_URL"
    } else {
        "check the address and that the coordinator runs"
    }
}

fn problem_text(problem: &Problem) -> String {
    let mut text = printable(if problem.detail.is_empty() { &problem.title } else { &problem.detail });
    if let Some(field) = &problem.field
        && !text.contains(field.as_str())
    {
        text = format!("{}: {text}", printable(field));
    }
    if let Some(remedy) = &problem.remedy
        && !text.contains(remedy.as_str())
    {
        text.push_str("; ");
        text.push_str(&printable(remedy));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Error {
        Error::from_answer("http://farm:8080", StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn a_problem_document_is_told_with_field_and_remedy() {
        let error = answer(
            422,
            r#"{"type":"about:blank","title":"Invalid","status":422,"detail":"is 500, at most 100 is possible",
                "field":"priority","remedy":"use -100 to 100"}"#,
        );
        assert_eq!(error.to_string(), "priority: is 500, at most 100 is possible; use -100 to 100");
        assert_eq!(error.exit(), Exit::Invalid);
        assert!(!error.is_transient());
    }

    #[test]
    fn a_coordinator_that_starts_is_worth_another_try() {
        let error = answer(503, "");
        assert!(error.is_transient() && error.had_no_effect());
        assert_eq!(error.exit(), Exit::Unreachable);
    }

    #[test]
    fn something_else_at_the_address_is_not_taken_for_a_coordinator() {
        let error = answer(404, "<html>nginx</html>");
        assert!(error.to_string().contains("not as a coordinator's HTTP API: it says 404"), "{error}");
    }
}
