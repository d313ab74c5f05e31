//! Identifiers that must not be mixed up.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A string that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id (a UUID such as 0193a5b0-7c1d-7000-8000-3f2a9c4d5e6f)")]
pub struct Error {
    pub kind: &'static str,
    pub text: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $new:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new one, different from every other.
            #[must_use]
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::$new())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::parse_str(text)
                    .map($name)
                    .map_err(|_| Error { kind: $kind, text: text.to_owned() })
            }
        }
    };
}

uuid_id!(
    /// What a user asked for. UUIDv7: ids sort by the time of submission.
    JobId,
    "job",
    now_v7
);
uuid_id!(
    /// A unit that one worker runs with one ffmpeg.
    TaskId,
    "task",
    now_v7
);
uuid_id!(
    /// One `ffmpegd`, over all its restarts.
    WorkerId,
    "worker",
    new_v4
);
uuid_id!(
    /// One connection of a worker.
    SessionId,
    "session",
    new_v4
);
uuid_id!(
    /// A file that was uploaded to be an input.
    UploadId,
    "upload",
    now_v7
);

uuid_id!(
    /// A live source with the variants that may be asked of it.
    StreamId,
    "stream",
    now_v7
);

uuid_id!(
    /// Leave to use the HTTP API; what people call the key by, and no secret.
    KeyId,
    "key",
    now_v7
);

/// The fence of a task: each attempt gets the next one, and whatever carries an older one changes nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the attempt after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One try of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AttemptId {
    pub task: TaskId,
    pub epoch: Epoch,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text() {
        let id = JobId::new();
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
    }

    #[test]
    fn a_wrong_id_says_what_was_expected() {
        let error = "42".parse::<WorkerId>().unwrap_err();
        assert!(error.to_string().contains("\"42\" is not a worker id"), "{error}");
    }
}
