//! What ffmpeg writes: one chunked PUT that lasts as long as the attempt.

use std::{
    error::Error as _,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use common::failure::{Failure, FailureKind};
use futures::Stream;
use reqwest::{Body, Response, StatusCode, Url};
use tokio::{process::ChildStdout, sync::oneshot};
use tokio_util::io::poll_read_buf;

use super::flow::Flow;
use crate::run::{Ending, Tools};

/// Room for one read: as much as the pipe may hold, so that a flood takes few of them. What is read goes out at once, however
/// little it is.
const READ: usize = 256 * 1024;
/// With less room than this a new buffer is made.
const LEAST: usize = 16 * 1024;

/// The body: ends properly when told that the attempt did, breaks off otherwise.
pub(super) struct Outgoing {
    stdout: Option<ChildStdout>,
    buffer: BytesMut,
    /// A message: all is well. Its end without one: it is not.
    verdict: oneshot::Receiver<()>,
    flow: Arc<Flow>,
}

impl Outgoing {
    pub(super) fn new(stdout: ChildStdout, verdict: oneshot::Receiver<()>, flow: Arc<Flow>) -> Self {
        Self { stdout: Some(stdout), buffer: BytesMut::new(), verdict, flow }
    }
}

impl Stream for Outgoing {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let this = self.get_mut();
        if let Some(stdout) = &mut this.stdout {
            if this.buffer.capacity() < LEAST {
                this.buffer = BytesMut::with_capacity(READ);
            }
            this.flow.awaited.store(true, Ordering::Relaxed);
            let read = ready!(poll_read_buf(Pin::new(stdout), context, &mut this.buffer));
            this.flow.awaited.store(false, Ordering::Relaxed);
            match read {
                Ok(0) => this.stdout = None,
                Ok(count) => {
                    this.flow.given.fetch_add(count as u64, Ordering::Relaxed);
                    this.flow.figures.uploaded.inc_by(count as u64);
                    return Poll::Ready(Some(Ok(this.buffer.split().freeze())));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let verdict = ready!(Pin::new(&mut this.verdict).poll(context));
        Poll::Ready(verdict.is_err().then(|| Err(io::Error::other("the attempt did not end well"))))
    }
}

/// The PUT; over when the coordinator has answered.
pub(super) async fn put(tools: &Tools, url: Url, body: Outgoing) -> Result<Response, String> {
    tools
        .live_http
        .put(url)
        .header("content-type", "application/octet-stream")
        .body(Body::wrap_stream(body))
        .send()
        .await
        .map_err(cause)
}

/// What an answer to the PUT means that is no success, or that came too early.
pub(super) fn refused(answer: Result<Response, String>) -> Ending {
    let what = match answer {
        // It has enough of it.
        Ok(answer) if answer.status().is_success() => return Ending::NotCurrent,
        Ok(answer) if matches!(answer.status(), StatusCode::GONE | StatusCode::NOT_FOUND) => {
            return Ending::NotCurrent;
        }
        Ok(answer) => format!("the coordinator answered {}", answer.status()),
        Err(problem) => problem,
    };
    let message = format!("sending the live stream to the coordinator: {what}");
    Failure::new(FailureKind::UploadFailed, message).into()
}

/// The cause at the bottom, without the URL: its signature is a secret.
pub(super) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
