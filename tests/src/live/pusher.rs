//! Somebody who brings a broadcast to the coordinator.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::stream;
use reqwest::{Body, StatusCode};
use tokio::task::AbortHandle;

use super::{Broadcast, runtime};
use crate::wait;

type End = Arc<Mutex<Option<Result<StatusCode, String>>>>;

/// Pushes until it is dropped.
#[derive(Debug)]
pub struct Pusher {
    end: End,
    task: AbortHandle,
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pusher {
    /// One chunked PUT of what is on the air from now on.
    #[must_use]
    pub fn put(url: &str, broadcast: &Broadcast) -> Self {
        let pieces = broadcast.listen();
        let body = Body::wrap_stream(stream::unfold(pieces, |mut pieces| async move {
            let piece = pieces.recv().await.map_err(std::io::Error::other);
            Some((piece, pieces))
        }));
        let end = End::default();
        let (told, url) = (Arc::clone(&end), url.to_owned());
        let task = runtime().spawn(async move {
            let client = super::client();
            let answer = client.put(url).header("content-type", "video/mp2t").body(body).send().await;
            let answer = answer.map(|answer| answer.status()).map_err(|error| format!("{error:?}"));
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        });
        Self { end, task: task.abort_handle() }
    }

    /// Waits until the coordinator wants no more: its answer, or how the connection ended.
    ///
    /// # Errors
    /// The connection broke.
    ///
    /// # Panics
    /// It goes on.
    pub async fn ended(&self, deadline: Duration) -> Result<StatusCode, String> {
        wait::until(deadline, "the coordinator to end the push", || async {
            self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
        .await
    }
}
