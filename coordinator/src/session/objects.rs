//! Bytes for workers: GET, HEAD and PUT of what a signed URL names, and of nothing else.

use std::{path::Path as FilePath, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
    routing::get,
};
use common::{id::AttemptId, proto};
use futures::StreamExt as _;
use hyper::{HeaderMap, Method, StatusCode, header, header::HeaderValue};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    current::Current,
    direct::{self, Direct},
    uploads::{Begin, Uploads, Writing},
};
use crate::{
    api::problem::{self, Error as Problem},
    incoming::{Incoming, There},
    storage::{
        Error, Expect, Key, Storage,
        address::Address,
        buckets::Buckets,
        respond::{Presentation, Source, part, respond},
        shared::{Refused as NotShared, SharedRoots},
        sign::{Action, Leave, Params, Signer},
    },
};

/// How long the rest of a refused body is taken and thrown away: who is hung up on while sending does not hear the answer.
const LINGER: Duration = Duration::from_secs(10);
/// How long who follows an upload waits for one answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Objects {
    pub(super) storage: Storage,
    pub(super) shared: SharedRoots,
    pub(super) buckets: Buckets,
    pub(super) signer: Signer,
    pub(super) current: Current,
    pub(super) uploads: Uploads,
    pub(super) direct: Direct,
    pub(super) incoming: Incoming,
    /// Ends what lingers.
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
}

pub(super) fn router(objects: Objects) -> Router {
    Router::new()
        .route("/objects/{*target}", get(read).put(write).post(direct::ask))
        .route("/shared/{*target}", get(read_shared))
        .route("/bucket/{*target}", get(read_bucket))
        .with_state(objects)
}

pub(super) type Signed = Result<Query<Params>, QueryRejection>;

/// What the URL of a request was signed for.
pub(super) fn verify(
    signer: &Signer,
    action: Action,
    target: &str,
    params: Signed,
) -> Result<Leave, Problem> {
    let refused = |problem: String| Problem::Forbidden {
        problem,
        remedy: "use the URL exactly as the coordinator gave it".to_owned(),
    };
    let Query(params) = params.map_err(|_| refused("the URL is not signed".to_owned()))?;
    signer.verify(action, target, &params).map_err(|error| refused(error.to_string()))
}

impl Objects {
    async fn may_read(&self, action: Action, target: &str, params: Signed) -> Result<(), Problem> {
        let Leave { attempt, .. } = verify(&self.signer, action, target, params)?;
        if self.current.lately(attempt).await? { Ok(()) } else { Err(over(attempt)) }
    }

    /// Writes an object, for as long as its attempt is current: looked at before and after, so that no object of an attempt
    /// that is over stays. The order is what makes the removal safe: who writes is registered before the first look, one
    /// writes at a time, and files are only counted when nobody does (see [`Uploads::seal`]), so nothing that was counted is
    /// ever removed.
    async fn bring(&self, leave: Leave, key: &Key, body: &mut BodyDataStream) -> Result<StatusCode, Problem> {
        let Leave { attempt, size, sha256 } = leave;
        let writing = match self.uploads.begin(attempt, key, size, sha256).await {
            Begin::Write(writing) => writing,
            Begin::There => {
                // The worker did not hear the answer.
                while let Some(Ok(_)) = body.next().await {}
                return Ok(StatusCode::NO_CONTENT);
            }
            Begin::Sealed => {
                return Err(Problem::Conflict {
                    problem: format!("{key}: the attempt has reported its end"),
                });
            }
        };
        let brought = match self.write(leave, key, body, &writing).await {
            Err(_) if writing.is_stopped() && self.current.now(attempt).await? => {
                Err(Problem::Conflict { problem: format!("{key} is being written by another request") })
            }
            Err(_) if writing.is_stopped() => Err(over(attempt)),
            brought => brought,
        };
        if matches!(brought, Err(Problem::Gone { .. })) {
            drop(writing);
            self.uploads.forget(attempt);
        }
        brought
    }

    async fn write(
        &self,
        Leave { attempt, size, sha256 }: Leave,
        key: &Key,
        body: &mut BodyDataStream,
        writing: &Writing,
    ) -> Result<StatusCode, Problem> {
        if !self.current.now(attempt).await? {
            return Err(over(attempt));
        }
        let expect = Expect::File { size, sha256 };
        let written =
            self.storage.put_until(key, expect, body, writing.stop()).await.inspect_err(|error| {
                if !matches!(error, Error::BrokenOff { .. } | Error::Full { .. }) {
                    tracing::warn!(%key, %error, "a worker's file could not be stored");
                }
            })?;
        if !self.current.now(attempt).await? {
            if let Err(error) = self.storage.delete(key).await {
                tracing::warn!(task = %attempt.task, epoch = %attempt.epoch, %key, %error, "a file of a superseded attempt stays until the next start");
            }
            return Err(over(attempt));
        }
        if let Some(digest) = written.sha256 {
            writing.stored(written.size, digest);
        }
        Ok(StatusCode::CREATED)
    }
}

/// Takes the rest of a refused body for a while, so that the answer is heard.
pub(super) fn linger(mut body: BodyDataStream, stop: &CancellationToken, tracker: &TaskTracker) {
    let rest = async move { while let Some(Ok(_)) = body.next().await {} };
    tracker.spawn(stop.clone().run_until_cancelled_owned(tokio::time::timeout(LINGER, rest)));
}

pub(super) fn over(attempt: AttemptId) -> Problem {
    Problem::Gone {
        problem: format!(
            "attempt {attempt} is not current any more: its lease was lost, its job is over, or another took its place"
        ),
        remedy: "stop the attempt; nothing that it does counts".to_owned(),
    }
}

async fn read(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    objects.may_read(Action::Read, &target, params).await?;
    let key = key(&target)?;
    if let Some(patience) = headers.get(proto::FOLLOW) {
        if let Some(response) = follow(&objects, &key, patience, &headers).await? {
            return Ok(response);
        }
    } else if objects.incoming.is_growing(&key) {
        return Err(Problem::Conflict { problem: format!("{key} is an upload that has not ended") });
    }
    if let Some(redirect) = objects.direct.reading(&objects.storage, &key, &headers).await {
        return Ok(redirect);
    }
    let object = objects.storage.object(&key).await?;
    send(&method, &headers, Source::Object(Box::new(object)), key.name()).await
}

/// Answers a worker that follows an upload. `None`: the upload has ended.
async fn follow(
    objects: &Objects,
    key: &Key,
    patience: &HeaderValue,
    headers: &HeaderMap,
) -> Result<Option<Response>, Problem> {
    let seconds = patience.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let patience = Duration::from_secs(seconds).min(LONGEST_WAIT);
    let from = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split('-').next()?.parse().ok())
        .unwrap_or(0);
    let there = objects.incoming.follow(key, from, patience).await?;
    let mut response = match there {
        There::Whole => return Ok(None),
        There::Gone => {
            return Err(Problem::NotFound {
                what: format!("the upload {key} was removed before it had ended"),
            });
        }
        There::NothingYet => problem::no_content(),
        There::Bytes { file, range, total } => part(file, range, total)
            .await
            .map_err(|error| Problem::Internal { problem: format!("reading {key}: {error}") })?,
    };
    response.headers_mut().insert(proto::FOLLOW, HeaderValue::from_static("1"));
    Ok(Some(response))
}

async fn read_shared(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = format!("/{target}");
    objects.may_read(Action::ReadShared, &path, params).await?;
    let opened = {
        let path = path.clone();
        let open = move || {
            let file = objects.shared.open(FilePath::new(&path))?;
            Source::file(file).map_err(|error| NotShared::Unreadable(error.to_string()))
        };
        tokio::task::spawn_blocking(open).await
    };
    let source = opened
        .map_err(|error| Problem::Internal { problem: format!("opening {path}: {error}") })?
        .map_err(|refused| Problem::NotFound { what: format!("{path} {refused}") })?;
    send(&method, &headers, source, path.rsplit('/').next().unwrap_or_default()).await
}

async fn read_bucket(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    objects.may_read(Action::ReadBucket, &target, params).await?;
    let address =
        Address::from_path(&target).map_err(|error| Problem::NotFound { what: error.to_string() })?;
    if let Some(ttl) = objects.direct.followed(&headers)
        && let Some(url) = objects.buckets.read_url(&address, ttl).await
    {
        return Ok(direct::redirect(&url, ttl));
    }
    let object = objects.buckets.object(&address).await?;
    send(&method, &headers, Source::Object(Box::new(object)), address.name()).await
}

async fn send(method: &Method, headers: &HeaderMap, source: Source, name: &str) -> Result<Response, Problem> {
    let presentation = Presentation { name, content_type: "", attachment: true };
    respond(method, headers, source, presentation)
        .await
        .map_err(|error| Problem::Internal { problem: format!("reading {name}: {error}") })
}

pub(super) fn key(target: &str) -> Result<Key, Problem> {
    Key::parse(target).map_err(|error| Problem::NotFound { what: error.to_string() })
}

/// Writes an object once: a second PUT of the same object is answered like the first (the worker did not hear the
/// answer), and changes nothing.
///
/// It is done by a task of its own: a worker whose connection breaks ends its body, and not the look at whether its attempt is
/// still current once the file is there.
async fn write(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    request: Request,
) -> Result<Response, Problem> {
    let leave = verify(&objects.signer, Action::Write, &target, params)?;
    let key = key(&target)?;
    let announced = announced(request.headers(), leave.size);
    let mut body = Body::into_data_stream(request.into_body());
    let tracker = objects.tracker.clone();
    let bringing = tracker.spawn(async move {
        let brought = match announced {
            Ok(()) => objects.bring(leave, &key, &mut body).await,
            Err(problem) => Err(problem),
        };
        if brought.is_err() {
            linger(body, &objects.stop, &objects.tracker);
        }
        brought
    });
    let brought = bringing
        .await
        .unwrap_or_else(|error| Err(Problem::Internal { problem: format!("bringing {target}: {error}") }));
    brought.map(|status| status.into_response())
}

fn announced(headers: &HeaderMap, size: u64) -> Result<(), Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match announced.and_then(|text| text.parse::<u64>().ok()) {
        Some(announced) if announced == size => Ok(()),
        Some(announced) => Err(Problem::Malformed {
            problem: format!("the body has {announced} bytes and the URL was signed for {size}"),
            remedy: "ask for new upload URLs when a file has changed".to_owned(),
        }),
        None => Err(Problem::Malformed {
            problem: "the body's length is not said".to_owned(),
            remedy: "send a Content-Length header".to_owned(),
        }),
    }
}
