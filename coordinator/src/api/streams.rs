//! `/v1/streams`: live streams, and the bytes of those that are pushed.

use std::{pin::pin, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse as _, Response},
    routing::{get, put},
};
use common::{
    api::Page,
    stream::{StreamSpec, StreamView},
};
use futures::StreamExt as _;
use hyper::{StatusCode, http::request::Parts};
use tokio::time::{sleep, timeout};

use super::{
    Api,
    extract::{Json, segment},
    problem::{self, Error},
};
use crate::{
    access::Caller,
    live::{
        pull::{AHEAD, Sniffer, Verdict},
        service,
    },
};

/// A connection that brings nothing for this long is given up, so that its end is the source's end.
const SILENCE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/streams", get(list).post(add))
        .route("/v1/streams/{stream}", get(show).delete(remove))
        // ffmpeg's http output sends POST, curl -T sends PUT.
        .route("/v1/streams/{stream}/input", put(input).post(input))
}

/// The path's `{stream}`: a name or an id.
struct Stream(String);

impl<S: Send + Sync> FromRequestParts<S> for Stream {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        segment(parts, state, "stream").await.map(Self)
    }
}

/// Whether the stream is there for this caller; one without an owner to be watched alone. What is somebody else's is not
/// there, in the same words.
pub(super) fn seen(api: &Api, caller: &Caller, stream: &str) -> Result<(), Error> {
    let owner = api.live.owner(stream)?;
    if caller.sees(owner.as_deref()) || caller.watches(owner.as_deref()) {
        Ok(())
    } else {
        Err(service::Error::NoSuchStream(stream.to_owned()).into())
    }
}

/// Whether the caller may do something to the stream.
pub(super) fn own(api: &Api, caller: &Caller, stream: &str) -> Result<(), Error> {
    if caller.sees(api.live.owner(stream)?.as_deref()) {
        Ok(())
    } else {
        Err(service::Error::NoSuchStream(stream.to_owned()).into())
    }
}

async fn add(State(api): State<Api>, Json(spec): Json<StreamSpec>) -> Result<Response, Error> {
    let view = api.live.add(spec).await?;
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

async fn list(State(api): State<Api>, caller: Caller) -> Result<axum::Json<Page<StreamView>>, Error> {
    let mut items = api.live.streams().await?;
    items.retain(|stream| caller.watches(stream.spec.options.owner.as_deref()));
    Ok(axum::Json(Page { items, next_cursor: None }))
}

async fn show(
    State(api): State<Api>,
    caller: Caller,
    Stream(stream): Stream,
) -> Result<axum::Json<StreamView>, Error> {
    seen(&api, &caller, &stream)?;
    Ok(axum::Json(api.live.stream(&stream).await?))
}

async fn remove(State(api): State<Api>, Stream(stream): Stream) -> Result<Response, Error> {
    api.live.remove(&stream).await?;
    Ok(problem::no_content())
}

/// `PUT` or `POST`: MPEG-TS for as long as the connection lasts.
async fn input(
    State(api): State<Api>,
    caller: Caller,
    Stream(stream): Stream,
    request: Request,
) -> Result<Response, Error> {
    own(&api, &caller, &stream)?;
    let mut input = api.live.push(&stream).await.map_err(|error| match error {
        service::Error::Invalid(problem) => Error::Conflict { problem },
        other => other.into(),
    })?;
    let mut sniffer = Sniffer::new(request.headers());
    let mut body = Body::into_data_stream(request.into_body());
    let mut over = pin!(caller.over());
    tracing::info!(name = stream, "a connection brings the stream");
    loop {
        let chunk = tokio::select! {
            biased;
            () = api.stop.cancelled() => {
                return Err(Error::Unavailable { problem: "the coordinator is shutting down".to_owned() });
            }
            () = &mut over => return Err(interrupted("the API key was revoked or has expired".to_owned())),
            chunk = timeout(SILENCE, body.next()) => chunk,
        };
        let chunk = match chunk {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(interrupted(format!("the connection broke: {error}"))),
            Err(_) => return Err(interrupted(format!("nothing came for {} s", SILENCE.as_secs()))),
        };
        if let Verdict::Other(what) = sniffer.look(&chunk) {
            return Err(no_transport_stream(what));
        }
        input.write(&chunk).map_err(|problem| Error::Conflict { problem })?;
        let ahead = input.ahead();
        if ahead > AHEAD {
            // A file comes faster than it plays: the rest waits, in the sender.
            sleep(ahead - AHEAD).await;
        }
    }
    tracing::info!(name = stream, "the connection that brought the stream ended");
    match sniffer.end() {
        Some(what) => Err(no_transport_stream(what)),
        None => Ok(problem::no_content()),
    }
}

fn interrupted(problem: String) -> Error {
    Error::Malformed {
        problem,
        remedy: "send the stream again; viewers are still held for a while".to_owned(),
    }
}

fn no_transport_stream(what: &str) -> Error {
    Error::invalid(
        "body",
        format!("it is {what}, not MPEG-TS"),
        "send it with ffmpeg -re -i INPUT -c copy -f mpegts URL",
    )
}
