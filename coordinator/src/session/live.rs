//! Bytes of live attempts: one endless GET of what comes in, one endless PUT of what goes out, each on a connection of its
//! own.
//!
//! Nothing is gathered here and nothing is counted: what is there goes on at once, and TCP holds up whoever is faster. A
//! connection may be quiet for as long as it likes; who is missed is looked for elsewhere.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::{get, put},
};
use bytes::Bytes;
use common::id::AttemptId;
use futures::{StreamExt as _, stream};
use hyper::{Method, StatusCode, header};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::objects::{Signed, linger, over, verify};
use crate::{
    api::problem::Error as Problem,
    live::service::{AttemptInput, AttemptOutput, Live},
    storage::sign::{Action, Signer},
};

#[derive(Clone)]
pub(super) struct LiveBytes {
    pub(super) live: Live,
    pub(super) signer: Signer,
    pub(super) open: Open,
    /// Ends every connection.
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
}

pub(super) fn router(bytes: LiveBytes) -> Router {
    Router::new().route("/live/input", get(read)).route("/live/output", put(write)).with_state(bytes)
}

/// The directions of attempts that have their connection: a second one would take bytes away from the first.
#[derive(Clone, Default)]
pub(super) struct Open(Arc<Mutex<HashSet<(AttemptId, Direction)>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Direction {
    In,
    Out,
}

/// Held by the connection.
struct Opened {
    open: Open,
    what: (AttemptId, Direction),
}

impl Open {
    fn begin(&self, attempt: AttemptId, direction: Direction) -> Result<Opened, Problem> {
        let what = (attempt, direction);
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(what) {
            return Ok(Opened { open: self.clone(), what });
        }
        let problem = match direction {
            Direction::In => format!("the input of attempt {attempt} is being read already"),
            Direction::Out => format!("the output of attempt {attempt} is being written already"),
        };
        Err(Problem::Conflict { problem })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.open.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.what);
    }
}

/// What an attempt reads, until its input is over. A body that is cut off was no proper end.
async fn read(State(bytes): State<LiveBytes>, params: Signed, method: Method) -> Result<Response, Problem> {
    let attempt = verify(&bytes.signer, Action::ReadLive, "", params)?.attempt;
    if method == Method::HEAD {
        return Err(Problem::MethodNotAllowed);
    }
    let opened = bytes.open.begin(attempt, Direction::In)?;
    let input = bytes.live.attempt_input(attempt).ok_or_else(|| over(attempt))?;
    let headers = [(header::CONTENT_TYPE, "video/mp2t"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(pieces(input, opened, bytes.stop))).into_response())
}

fn pieces(
    input: AttemptInput,
    opened: Opened,
    stop: CancellationToken,
) -> impl futures::Stream<Item = Result<Bytes, Stopped>> {
    stream::unfold(Some((input, opened, stop)), |reading| async move {
        let (mut input, opened, stop) = reading?;
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => return Some((Err(Stopped), None)),
            next = input.next() => next?,
        };
        Some((Ok(next), Some((input, opened, stop))))
    })
}

/// Cuts a body off, so that it is not taken for complete.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is shutting down")]
struct Stopped;

/// What an attempt makes, frame by frame as it comes.
async fn write(
    State(bytes): State<LiveBytes>,
    params: Signed,
    request: Request,
) -> Result<Response, Problem> {
    let attempt = verify(&bytes.signer, Action::WriteLive, "", params)?.attempt;
    let mut body = Body::into_data_stream(request.into_body());
    let taken = match begin(&bytes, attempt) {
        Ok((output, _opened)) => tokio::select! {
            biased;
            () = bytes.stop.cancelled() => {
                Err(Problem::Unavailable { problem: Stopped.to_string() })
            }
            taken = take(attempt, output, &mut body) => taken,
        },
        Err(problem) => Err(problem),
    };
    if taken.is_err() {
        linger(body, &bytes.stop, &bytes.tracker);
    }
    taken.map(|status| status.into_response())
}

fn begin(bytes: &LiveBytes, attempt: AttemptId) -> Result<(AttemptOutput, Opened), Problem> {
    let opened = bytes.open.begin(attempt, Direction::Out)?;
    let output = bytes.live.attempt_output(attempt).ok_or_else(|| over(attempt))?;
    Ok((output, opened))
}

async fn take(
    attempt: AttemptId,
    mut output: AttemptOutput,
    body: &mut BodyDataStream,
) -> Result<StatusCode, Problem> {
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| Problem::Malformed {
            problem: format!("the body broke off: {error}"),
            remedy: "end it properly when the attempt has".to_owned(),
        })?;
        output.write(&piece).map_err(|why| Problem::Gone {
            problem: format!("attempt {attempt}: {why}"),
            remedy: "stop the attempt; nothing that it does counts".to_owned(),
        })?;
    }
    output.finish();
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
