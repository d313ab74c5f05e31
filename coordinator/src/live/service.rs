//! What the rest of the coordinator may ask of live streams.

use std::{sync::Arc, time::Duration};

use common::{
    id::AttemptId,
    profile::Profiles,
    stream::{StreamSpec, StreamView},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use super::attempts::{AttemptInput, AttemptOutput};
use super::{
    attempts::Attempts,
    output::{Output, ReadEnd},
    presence::{Player, Viewer},
    runtime::{COMMANDS, Command, Joined, Runtime, Settings, Status, Wanted},
    source::{Feed, Source},
    streams::Streams,
    work,
};
use crate::{
    metrics::LiveMetrics,
    queue::{self, LiveEvent},
};

/// How long a viewer who said what it can play waits for the source to be known.
const SOURCE: Duration = Duration::from_secs(10);
/// The profile that repackages the source.
const COPY: &str = "copy";

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
    /// It was tried on several workers, and failed on all.
    #[error("it cannot be encoded: {0}")]
    Failed(String),
    #[error("{0}")]
    Store(String),
    #[error("the coordinator is shutting down")]
    ShuttingDown,
}

/// The live streams; cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    commands: mpsc::Sender<Command>,
    attempts: Attempts,
    streams: Streams,
    metrics: LiveMetrics,
}

/// What a viewer says it can play: names of codecs as ffmpeg has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept(pub Vec<String>);

/// A variant that somebody watches, for as long as this is held; it goes on for the linger after the last one.
#[derive(Debug)]
pub struct Watch {
    pub output: Arc<Output>,
    /// The profile that is really given: `copy` where the source already is what the viewer accepts.
    pub profile: String,
    _viewer: Option<Viewer>,
}

/// Starts the task that knows every stream.
#[must_use]
pub fn start(
    settings: Settings,
    queue: queue::Handle,
    events: mpsc::UnboundedReceiver<LiveEvent>,
    profiles: Arc<Profiles>,
    streams: Streams,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Live {
    let (commands, asked) = mpsc::channel(COMMANDS);
    let (attempts, ends) = Attempts::new();
    let metrics = LiveMetrics::default();
    let (known, begun, all) = (streams.clone(), attempts.clone(), metrics.clone());
    let runtime = Runtime::new(settings, queue, profiles, known, begun, tracker.clone(), all);
    tracker.spawn(runtime.run(asked, ends, events, stop));
    Live { commands, attempts, streams, metrics }
}

impl Live {
    /// What is counted over all streams.
    pub(crate) fn metrics(&self) -> LiveMetrics {
        self.metrics.clone()
    }

    /// # Errors
    /// The name is taken, or something in it makes no sense.
    pub async fn add(&self, spec: StreamSpec) -> Result<StreamView, Error> {
        self.ask(|answer| Command::Add(spec, answer)).await
    }

    /// # Errors
    /// The coordinator is shutting down.
    pub async fn streams(&self) -> Result<Vec<StreamView>, Error> {
        self.ask(Command::List).await
    }

    /// By name or id.
    ///
    /// # Errors
    /// There is no such stream.
    pub async fn stream(&self, stream: &str) -> Result<StreamView, Error> {
        self.ask(|answer| Command::Show(stream.to_owned(), answer)).await
    }

    /// Whose a stream is, by its name or id; `None`: the farm's own.
    ///
    /// # Errors
    /// There is no such stream.
    pub fn owner(&self, stream: &str) -> Result<Option<String>, Error> {
        let record = self.streams.get(stream).ok_or_else(|| Error::NoSuchStream(stream.to_owned()))?;
        Ok(record.spec.options.owner)
    }

    /// Ends its variants and forgets it.
    ///
    /// # Errors
    /// There is no such stream, or it is a configured one.
    pub async fn remove(&self, stream: &str) -> Result<(), Error> {
        self.ask(|answer| Command::Remove(stream.to_owned(), answer)).await
    }

    /// Joins a variant, which begins if nobody watched it. Returns when the first of its frames are there. A `player` comes
    /// again and again; without one, what is returned is a viewer by itself.
    ///
    /// # Errors
    /// There is no such stream or profile, or there will be no picture, and why.
    pub async fn watch(
        &self,
        stream: &str,
        profile: &str,
        accept: &Accept,
        player: Option<Player>,
    ) -> Result<Watch, Error> {
        let wanted = self.wanted(stream, profile, accept, player).await?;
        let profile = wanted.profile.clone();
        let Joined { output, mut status, viewer } = self.ask(|answer| Command::Watch(wanted, answer)).await?;
        let refused = async {
            loop {
                if let Status::Refused(error) = &*status.borrow_and_update() {
                    return error.clone();
                }
                if status.changed().await.is_err() {
                    // It ended some other way, which the output knows.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            error = refused => return Err(error),
            found = output.parameters() => match found {
                Ok(_) => {}
                Err(ReadEnd::Ended(reason)) => return Err(Error::NoSource(reason)),
                Err(ReadEnd::TooSlow) => return Err(Error::NoSource("the stream ended".to_owned())),
            },
        }
        Ok(Watch { output, profile, _viewer: Some(viewer) })
    }

    /// Reads on in a variant that runs or ended lately. Starts nothing.
    ///
    /// # Errors
    /// There is no such stream, or nothing of such a variant.
    pub async fn rejoin(
        &self,
        stream: &str,
        profile: &str,
        accept: &Accept,
        player: Option<Player>,
    ) -> Result<Watch, Error> {
        let wanted = self.wanted(stream, profile, accept, player).await?;
        let profile = wanted.profile.clone();
        let (output, viewer) = self.ask(|answer| Command::Rejoin(wanted, answer)).await?;
        Ok(Watch { output, profile, _viewer: viewer })
    }

    /// What is really given to who asks for this.
    async fn wanted(
        &self,
        stream: &str,
        profile: &str,
        accept: &Accept,
        player: Option<Player>,
    ) -> Result<Wanted, Error> {
        let profile = if !accept.0.is_empty() && self.plays(stream, accept).await? { COPY } else { profile };
        Ok(Wanted { stream: stream.to_owned(), profile: profile.to_owned(), player })
    }

    /// Whether the source already is what a viewer can play.
    async fn plays(&self, stream: &str, accept: &Accept) -> Result<bool, Error> {
        let mut generations = self.ask(|answer| Command::Source(stream.to_owned(), answer)).await?;
        let known = timeout(SOURCE, generations.wait_for(Option::is_some)).await;
        let Ok(Ok(generation)) = known else { return Ok(false) };
        Ok(generation.as_ref().is_some_and(|generation| work::is_played_by(generation, &accept.0)))
    }

    /// The profiles behind a name: itself, or a ladder's renditions for this source, the best first.
    ///
    /// # Errors
    /// There is no such stream or profile.
    pub async fn renditions(&self, stream: &str, profile: &str) -> Result<Vec<String>, Error> {
        let asked =
            |answer| Command::Renditions { stream: stream.to_owned(), profile: profile.to_owned(), answer };
        self.ask(asked).await
    }

    /// A connection that brings a source of the kind `push`.
    ///
    /// # Errors
    /// There is no such stream, or its source is of another kind.
    pub async fn push(&self, stream: &str) -> Result<PushInput, Error> {
        let source = self.ask(|answer| Command::Push(stream.to_owned(), answer)).await?;
        Ok(PushInput { source, feed: None })
    }

    /// What an attempt reads; `None`: it is not current, or nothing comes in for it, or it is read already.
    #[must_use]
    pub fn attempt_input(&self, attempt: AttemptId) -> Option<AttemptInput> {
        self.attempts.input(attempt)
    }

    /// Where an attempt writes; `None`: it is not current, or it writes already.
    #[must_use]
    pub fn attempt_output(&self, attempt: AttemptId) -> Option<AttemptOutput> {
        self.attempts.output(attempt)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Error::ShuttingDown)?;
        answered.await.map_err(|_| Error::ShuttingDown)?
    }
}

/// Bytes of a pushed source.
#[derive(Debug)]
pub struct PushInput {
    source: Source,
    /// From the first bytes on: a connection that brings nothing takes nothing over.
    feed: Option<Feed>,
}

impl PushInput {
    /// # Errors
    /// Another connection has taken over, or the stream was removed: why, in words.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let feed = self.feed.get_or_insert_with(|| self.source.connect());
        if feed.push(bytes) {
            Ok(())
        } else {
            Err("another connection sends this stream now, or it was removed".to_owned())
        }
    }

    /// How far it is ahead of the clock, see [`Feed::ahead`].
    #[must_use]
    pub fn ahead(&self) -> Duration {
        self.feed.as_ref().map_or(Duration::ZERO, Feed::ahead)
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
