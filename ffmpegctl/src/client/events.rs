//! The coordinator's events, kept coming over broken connections.

use std::{sync::Arc, time::Duration};

use common::{api::Event, backoff::Backoff};
use tokio::sync::{broadcast, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Client, Error, sse};

/// Events kept for a follower that is busy; one that falls further behind reads its job again.
const BUFFERED: usize = 1024;
/// The server sends a comment at least this often; without one the connection is dead.
const SILENCE: Duration = Duration::from_secs(60);
const RECONNECT: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(5) };

/// What a listener hears.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    Event(Arc<Event>),
    /// The stream is there, for the first time or again. Events may have been missed before.
    Connected,
}

/// A connection to `GET /v1/events` that is opened again whenever it ends. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Events {
    signals: broadcast::Sender<Signal>,
    /// Whether the stream is open: without it, followers ask by themselves.
    open: watch::Receiver<bool>,
    stop: CancellationToken,
}

impl Events {
    pub(crate) fn start(client: Client) -> Self {
        let signals = broadcast::Sender::new(BUFFERED);
        let (is_open, open) = watch::channel(false);
        let stop = CancellationToken::new();
        let listener = Listener { client, signals: signals.clone(), is_open };
        let stopped = stop.clone();
        TaskTracker::new().spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = listener.listen() => {}
            }
        });
        Self { signals, open, stop }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Listener {
    client: Client,
    signals: broadcast::Sender<Signal>,
    is_open: watch::Sender<bool>,
}

impl Listener {
    async fn listen(self) {
        let mut failures = 0;
        loop {
            match self.client.get(&["v1", "events"]).send().await {
                Ok(response) if response.status().is_success() => {
                    failures = 0;
                    self.is_open.send_replace(true);
                    self.say(Signal::Connected);
                    self.read(response).await;
                    self.is_open.send_replace(false);
                }
                Ok(response) => {
                    tracing::debug!(status = %response.status(), "no event stream; asking instead");
                }
                Err(error) => {
                    let error = Error::from_transport(self.client.address(), &error);
                    tracing::debug!(%error, "no event stream; asking instead");
                }
            }
            tokio::time::sleep(RECONNECT.delay(failures, rand::random())).await;
            failures += 1;
        }
    }

    /// Until the stream ends, whatever way.
    async fn read(&self, mut response: reqwest::Response) {
        let mut parser = sse::Parser::default();
        while let Ok(Ok(Some(bytes))) = tokio::time::timeout(SILENCE, response.chunk()).await {
            let Ok(events) = parser.feed(&bytes) else { return };
            for data in events {
                match serde_json::from_str(&data) {
                    Ok(event) => self.say(Signal::Event(Arc::new(event))),
                    // A newer coordinator may have events that this version does not know.
                    Err(error) => tracing::debug!(%error, "event not understood"),
                }
            }
        }
    }

    fn say(&self, signal: Signal) {
        // Nobody follows a job at the moment.
        let _ = self.signals.send(signal);
    }
}
