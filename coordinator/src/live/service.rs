//! The streams, and what is asked of them.

use std::sync::Arc;

use bytes::Bytes;
use common::{
    id::AttemptId,
    stream::{StreamSpec, StreamView},
};

use super::output::Output;

/// Why something live was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("there is no stream {0:?}")]
    NoSuchStream(String),
    #[error("stream {stream:?} has no profile {profile:?}; it has {}", .offered.join(", "))]
    NoSuchProfile { stream: String, profile: String, offered: Vec<String> },
    /// The profile is several renditions: only its master playlist can be watched.
    #[error("{profile:?} is a ladder; watch /live/{stream}/{profile}/master.m3u8, or one of {}", .renditions.join(", "))]
    Ladder { stream: String, profile: String, renditions: Vec<String> },
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    InvalidField(#[from] super::streams::Invalid),
    #[error("a stream named {0:?} is there already")]
    Exists(String),
    #[error("stream {0:?} is in the configuration file; remove it there")]
    Configured(String),
    /// Nobody can encode it now.
    #[error("{0}")]
    NoCapacity(String),
    /// The source gives nothing.
    #[error("{0}")]
    NoSource(String),
    #[error("{0}")]
    Store(String),
    #[error("the coordinator is shutting down")]
    ShuttingDown,
}

/// What the rest of the coordinator may ask of live streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {}

/// What a viewer says it can play.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept(pub Vec<String>);

/// A variant that somebody watches, for as long as this is held; it goes on for the linger after the last one.
#[derive(Debug)]
pub struct Watch {
    pub output: Arc<Output>,
    /// The profile that is really given: `copy` where the source already is what the viewer accepts.
    pub profile: String,
}

impl Live {
    pub async fn add(&self, spec: StreamSpec) -> Result<StreamView, Error> {
        let _ = spec;
        unimplemented!()
    }
    pub async fn streams(&self) -> Result<Vec<StreamView>, Error> {
        unimplemented!()
    }
    /// By name or id.
    pub async fn stream(&self, stream: &str) -> Result<StreamView, Error> {
        let _ = stream;
        unimplemented!()
    }
    pub async fn remove(&self, stream: &str) -> Result<(), Error> {
        let _ = stream;
        unimplemented!()
    }

    /// Joins a variant, which begins if nobody watched it. Returns when the first of its frames are there or it is clear
    /// that there will be none.
    pub async fn watch(&self, stream: &str, profile: &str, accept: &Accept) -> Result<Watch, Error> {
        let _ = (stream, profile, accept);
        unimplemented!()
    }

    /// The profiles behind a name: itself, or a ladder's renditions for this source, the best first.
    pub async fn renditions(&self, stream: &str, profile: &str) -> Result<Vec<String>, Error> {
        let _ = (stream, profile);
        unimplemented!()
    }

    /// A connection that brings a source of the kind `push`.
    pub fn push(&self, stream: &str) -> Result<PushInput, Error> {
        let _ = stream;
        unimplemented!()
    }

    /// What an attempt reads; `None`: it is not current, or nothing comes in for it.
    #[must_use]
    pub fn attempt_input(&self, attempt: AttemptId) -> Option<AttemptInput> {
        let _ = attempt;
        unimplemented!()
    }

    /// Where an attempt writes; `None`: it is not current, or it writes already.
    #[must_use]
    pub fn attempt_output(&self, attempt: AttemptId) -> Option<AttemptOutput> {
        let _ = attempt;
        unimplemented!()
    }
}

/// Bytes of a source for an attempt.
#[derive(Debug)]
pub struct AttemptInput {}

impl AttemptInput {
    /// The next bytes of MPEG-TS; `None`: the input is over, properly (the attempt ends its encode and reports success).
    pub async fn next(&mut self) -> Option<Bytes> {
        unimplemented!()
    }
}

/// Bytes of an attempt.
#[derive(Debug)]
pub struct AttemptOutput {}

impl AttemptOutput {
    /// # Errors
    /// They are not wanted any more, or not usable: why, in words.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let _ = bytes;
        unimplemented!()
    }

    /// The body ended properly. Dropped without this, the connection broke.
    pub fn finish(self) {
        unimplemented!()
    }
}

/// Bytes of a pushed source.
#[derive(Debug)]
pub struct PushInput {}

impl PushInput {
    /// # Errors
    /// Another connection has taken over, or the stream was removed: why, in words.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let _ = bytes;
        unimplemented!()
    }
}
