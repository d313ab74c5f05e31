//! `/v1/jobs/{id}/outputs`: what a job published.

use axum::{Json, extract::State, response::Response};
use common::{
    api::{JobSummary, JobView, Page},
    id::{AttemptId, JobId},
    worker::OutputFile,
};
use hyper::{HeaderMap, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Api,
    extract::{Query, Rest},
    jobs::Seen,
    problem::Error,
};
use crate::storage::{
    Key, RelPath,
    respond::{Presentation, Source, respond},
};

pub(super) async fn list(State(api): State<Api>, Seen(job): Seen) -> Result<Json<Page<OutputFile>>, Error> {
    let (_, items) = published(&api, job).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OutputQuery {
    /// Present with any value: to be saved rather than shown.
    download: Option<String>,
}

pub(super) async fn get(
    State(api): State<Api>,
    Seen(job): Seen,
    Rest(path): Rest,
    Query(query): Query<OutputQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    send(&api, job, &path, query.download.is_some(), &method, &headers).await
}

/// One output, as the request's headers want it.
pub(super) async fn send(
    api: &Api,
    job: JobId,
    path: &str,
    download: bool,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let (attempt, files) = published(api, job).await?;
    let none = || Error::NotFound { what: format!("job {job} has no output {path:?}") };
    let file = files.into_iter().find(|file| file.path == path).ok_or_else(none)?;
    let key = Key::output(job, attempt, &RelPath::parse(&file.path).map_err(|_| none())?);
    let object = api.storage.object(&key).await?;
    let presentation =
        Presentation { name: key.name(), content_type: &file.content_type, attachment: download };
    respond(method, headers, Source::Object(Box::new(object)), presentation)
        .await
        .map_err(|error| Error::Internal { problem: format!("reading {key}: {error}") })
}

async fn published(api: &Api, job: JobId) -> Result<(AttemptId, Vec<OutputFile>), Error> {
    match api.queue.published(job).await? {
        Some(published) => Ok(published),
        None => Err(nothing_yet(&api.queue.job(job).await?)),
    }
}

pub(super) fn nothing_yet(view: &JobView) -> Error {
    let JobSummary { id, state, failure, .. } = &view.summary;
    let why = failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message));
    Error::NotYet {
        problem: format!("job {id} is {} and has published nothing{why}", state.as_str()),
        ended: state.is_final(),
    }
}
