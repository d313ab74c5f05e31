//! Why a source could not be read.

use common::{
    bytes,
    failure::{Failure, FailureKind},
};

use super::policy::Origin;

/// What the proxy saw of a server that did not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceFailure {
    /// An answer that is none of 200, 206 and 416.
    Status(u16),
    /// No connection, in words: refused, no such host, no route, TLS.
    Connect(String),
    /// No byte for that many seconds.
    Stalled { seconds: u64, at: u64 },
    /// The connection ended in the middle.
    HungUp { at: u64, of: Option<u64> },
    /// More redirects than anybody needs, or one to where none may lead.
    Redirect(String),
    /// An address that may not be read.
    Refused(String),
    /// More bytes than an input may have.
    TooLarge { most: u64 },
    /// It was waited for so long, all together.
    TooLong { seconds: u64 },
    /// Bytes per second.
    TooSlow { rate: u64, least: u64 },
    /// An answer that makes no sense: a range that was not asked for.
    Nonsense(String),
}

impl SourceFailure {
    /// Whether asking again cannot help, by the server's own word.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Status(code) => matches!(code, 400..=407 | 410 | 414 | 451),
            Self::Redirect(_) | Self::Refused(_) | Self::TooLarge { .. } => true,
            Self::Connect(_)
            | Self::Stalled { .. }
            | Self::HungUp { .. }
            | Self::TooLong { .. }
            | Self::TooSlow { .. }
            | Self::Nonsense(_) => false,
        }
    }

    /// The failure of an attempt whose source this is. What a user's server refuses for good is the input's fault and is
    /// tried once; what the coordinator refuses may work with the next attempt's address.
    pub(crate) fn failure(&self, shown: &str, origin: Origin) -> Failure {
        let kind = match origin {
            Origin::User if self.is_final() => FailureKind::InvalidInput,
            Origin::User | Origin::Coordinator => FailureKind::SourceUnreachable,
        };
        Failure::new(kind, format!("source unreachable: {}", self.describe(shown)))
    }

    fn describe(&self, shown: &str) -> String {
        match self {
            Self::Status(code) => {
                let reason = reqwest::StatusCode::from_u16(*code)
                    .ok()
                    .and_then(|status| status.canonical_reason())
                    .unwrap_or("which is no known status");
                let remedy = match code {
                    401 | 403 | 407 => "; give a URL that may be read without logging in",
                    404 | 410 => "; check the URL",
                    429 | 500..=599 => "; the server may answer later",
                    _ => "",
                };
                format!("{shown} answered {code} {reason}{remedy}")
            }
            Self::Connect(reason) => format!("cannot connect to {shown}: {reason}"),
            Self::Stalled { seconds, at: 0 } => format!("{shown} sent nothing for {seconds} s"),
            Self::Stalled { seconds, at } => {
                format!("{shown} stalled: nothing came for {seconds} s after {at} bytes")
            }
            Self::HungUp { at, of: Some(of) } => {
                format!("{shown} hung up after {at} of {of} bytes, again and again")
            }
            Self::HungUp { at, of: None } => format!("{shown} hung up after {at} bytes, again and again"),
            Self::Redirect(reason) => format!("{shown}: {reason}"),
            Self::Refused(reason) => format!("{shown} may not be read: {reason}"),
            Self::TooLarge { most } => format!(
                "{shown} has more than {}, the most that an input may have (TVARR_SOURCE_MAX_SIZE)",
                bytes::show(*most)
            ),
            Self::TooLong { seconds } => {
                format!("{shown} kept the worker waiting for {seconds} s in all (TVARR_SOURCE_MAX_TIME)")
            }
            Self::TooSlow { rate, least } => {
                format!("{shown} sent {rate} bytes per second; {least} are the least (TVARR_SOURCE_MIN_RATE)")
            }
            Self::Nonsense(reason) => format!("{shown} answered nonsense: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_refuses_for_good_is_tried_once() {
        let failure = SourceFailure::Status(404).failure("https://a/b.mp4", Origin::User);
        assert_eq!(failure.kind, FailureKind::InvalidInput);
        assert_eq!(
            failure.message,
            "source unreachable: https://a/b.mp4 answered 404 Not Found; check the URL"
        );
        for again in [
            SourceFailure::Status(503),
            SourceFailure::Status(429),
            SourceFailure::Connect("connection refused".to_owned()),
            SourceFailure::Stalled { seconds: 30, at: 9 },
            SourceFailure::HungUp { at: 1, of: Some(2) },
        ] {
            assert_eq!(again.failure("x", Origin::User).kind, FailureKind::SourceUnreachable, "{again:?}");
        }
    }

    #[test]
    fn an_address_that_the_coordinator_refuses_is_tried_again() {
        let failure = SourceFailure::Status(403).failure("clip.mp4", Origin::Coordinator);
        assert_eq!(failure.kind, FailureKind::SourceUnreachable);
    }
}
