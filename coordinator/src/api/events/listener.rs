//! One listener: its share of the frames, as chunks of its response.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use common::{
    api::{Event, Topic},
    id::WorkerId,
};
use futures::{Stream, stream};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, timeout_at},
};

use super::{
    frame::{Frame, Topics, Wanted, written},
    hub::Interest,
};
use crate::{access::Caller, queue};

/// Silence after which a comment is sent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Bytes after which a chunk goes out, though more is there.
const CHUNK: usize = 64 * 1024;

/// Who listens, and to what.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) caller: Caller,
    pub(super) wanted: Wanted,
    /// A worker that everything is told of, and who knows it.
    pub(super) looked_at: Option<(WorkerId, queue::Handle)>,
}

impl Start {
    /// What has to be made for it.
    pub(super) fn needs(&self) -> Topics {
        // The rows that changed say when to look at the worker.
        self.wanted.topics.iter().chain(self.looked_at.as_ref().map(|_| Topic::Load)).collect()
    }

    #[cfg(test)]
    pub(super) fn testing(topics: &[Topic]) -> Self {
        let wanted = Wanted { topics: topics.iter().copied().collect(), job: None };
        Self { caller: Caller::Open, wanted, looked_at: None }
    }
}

pub(super) struct Listener {
    /// Not told yet.
    pieces: Vec<Bytes>,
    live: broadcast::Receiver<Frame>,
    start: Start,
    keep_alive: Instant,
    _interest: Interest,
}

impl Listener {
    pub(super) fn new(
        first: Vec<Bytes>,
        live: broadcast::Receiver<Frame>,
        start: Start,
        interest: Interest,
    ) -> Self {
        Self { pieces: first, live, start, keep_alive: Instant::now(), _interest: interest }
    }

    /// Until the coordinator stops.
    pub(super) fn chunks(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, |mut this| async move { this.chunk().await.map(|chunk| (Ok(chunk), this)) })
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        while self.pieces.is_empty() {
            match timeout_at(self.keep_alive, self.live.recv()).await {
                Ok(Ok(frame)) => self.take(&frame).await,
                // Without an id: what follows has its own.
                Ok(Err(RecvError::Lagged(missed))) => {
                    self.pieces.push(written(&Event::Lagged { missed }, None));
                }
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => self.pieces.push(Bytes::from_static(b":\n\n")),
            }
        }
        // What else is there already goes with it: one write for all.
        while self.pieces.iter().map(Bytes::len).sum::<usize>() < CHUNK
            && let Ok(frame) = self.live.try_recv()
        {
            self.take(&frame).await;
        }
        self.keep_alive = Instant::now() + KEEP_ALIVE;
        let pieces = std::mem::take(&mut self.pieces);
        Some(match <[Bytes; 1]>::try_from(pieces) {
            Ok([whole]) => whole,
            Err(pieces) => pieces.concat().into(),
        })
    }

    async fn take(&mut self, frame: &Frame) {
        let Start { caller, wanted, looked_at } = &self.start;
        frame.for_listener(wanted, caller, &mut self.pieces);
        if let Some((worker, queue)) = looked_at
            && frame.touches(*worker)
            // It may be gone by now, which the rows tell.
            && let Ok(view) = queue.worker(*worker).await
        {
            self.pieces.push(written(&Event::Detail { worker: Box::new(view) }, None));
        }
    }
}
