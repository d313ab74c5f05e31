//! Bytes for workers: GET, HEAD and PUT of what a signed URL names, and of nothing else.

use std::{
    collections::HashSet,
    path::Path as FilePath,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::StreamExt as _;
use hyper::{HeaderMap, Method, StatusCode, header};

use super::urls::now;
use crate::{
    api::problem::Error as Problem,
    storage::{
        Error, Expect, Key, Storage,
        respond::{Presentation, Source, respond},
        shared::{Refused as NotShared, SharedRoots},
        sign::{Action, Params, Signer},
    },
};

#[derive(Clone)]
pub(super) struct Objects {
    pub(super) storage: Storage,
    pub(super) shared: SharedRoots,
    pub(super) signer: Signer,
    /// Objects that are being written at the moment.
    pub(super) writing: Arc<Mutex<HashSet<Key>>>,
}

pub(super) fn router(objects: Objects) -> Router {
    Router::new()
        .route("/objects/{*target}", get(read).put(write))
        .route("/shared/{*target}", get(read_shared))
        .with_state(objects)
}

type Signed = Result<Query<Params>, QueryRejection>;

impl Objects {
    fn verify(&self, action: Action, target: &str, params: Signed) -> Result<Params, Problem> {
        let refused = |problem: String| Problem::Forbidden {
            problem,
            remedy: "use the URL exactly as the coordinator gave it".to_owned(),
        };
        let Query(params) = params.map_err(|_| refused("the URL is not signed".to_owned()))?;
        self.signer.verify(action, target, &params, now()).map_err(|error| refused(error.to_string()))?;
        Ok(params)
    }
}

async fn read(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    objects.verify(Action::Read, &target, params)?;
    let key = key(&target)?;
    let object = objects.storage.open(&key).await?;
    send(&method, &headers, Source::Object(Box::new(object)), key.name()).await
}

async fn read_shared(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = format!("/{target}");
    objects.verify(Action::ReadShared, &path, params)?;
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

async fn send(method: &Method, headers: &HeaderMap, source: Source, name: &str) -> Result<Response, Problem> {
    let presentation = Presentation { name, content_type: "", attachment: true };
    respond(method, headers, source, presentation)
        .await
        .map_err(|error| Problem::Internal { problem: format!("reading {name}: {error}") })
}

fn key(target: &str) -> Result<Key, Problem> {
    Key::parse(target).map_err(|error| Problem::NotFound { what: error.to_string() })
}

/// Writes an object once: a second PUT of the same object is answered like the first (the worker did not hear the
/// answer), and changes nothing.
async fn write(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    request: Request,
) -> Result<Response, Problem> {
    let size = objects.verify(Action::Write, &target, params)?.size();
    let key = key(&target)?;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match announced.and_then(|text| text.parse::<u64>().ok()) {
        Some(announced) if announced == size => {}
        Some(announced) => {
            return Err(Problem::Malformed {
                problem: format!("the body has {announced} bytes and the URL was signed for {size}"),
                remedy: "ask for new upload URLs when a file has changed".to_owned(),
            });
        }
        None => {
            return Err(Problem::Malformed {
                problem: "the body's length is not said".to_owned(),
                remedy: "send a Content-Length header".to_owned(),
            });
        }
    }
    let _writing = Writing::begin(&objects.writing, &key)
        .ok_or_else(|| Problem::Conflict { problem: format!("{key} is being written by another request") })?;
    let mut body = Body::into_data_stream(request.into_body());
    if objects.storage.size(&key).await? == Some(size) {
        // Taken and thrown away: who is hung up on while sending does not hear the answer.
        while let Some(Ok(_)) = body.next().await {}
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    match objects.storage.put(&key, Expect::Exactly(size), body).await {
        Ok(_) => Ok(StatusCode::CREATED.into_response()),
        Err(error) => {
            if !matches!(error, Error::BrokenOff { .. }) {
                tracing::warn!(%key, %error, "a worker's file could not be stored");
            }
            Err(error.into())
        }
    }
}

/// The right to write an object, until dropped.
struct Writing {
    keys: Arc<Mutex<HashSet<Key>>>,
    key: Key,
}

impl Writing {
    fn begin(keys: &Arc<Mutex<HashSet<Key>>>, key: &Key) -> Option<Self> {
        let free = keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        free.then(|| Self { keys: Arc::clone(keys), key: key.clone() })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
