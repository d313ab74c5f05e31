//! `/v1/jobs`.

use axum::{
    Json as JsonBody,
    extract::{FromRequestParts, State},
    response::{IntoResponse as _, Response},
};
use common::{
    api::{AttemptLog, JobPatch, JobRequest, JobState, JobSummary, JobView, Page},
    failpoint,
    failure::FailureKind,
    id::JobId,
};
use hyper::{
    HeaderMap, StatusCode, header,
    header::{HeaderName, HeaderValue},
    http::request::Parts,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Api,
    extract::{Id, Json, Once, Query},
    lists::{self, given},
    problem::{self, Error},
    submission,
    wait::{self, Wait},
};
use crate::{
    access::Caller,
    queue::{self, IdempotencyKey, InputLocation, JobFilter, Submitted},
};

/// Of an answer to a request that was answered before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Jobs on a page unless the request says otherwise.
const PAGE: u32 = 50;
const STATES: &str = "queued, running, succeeded, failed, cancelled or dead";
/// Jobs on a page at most.
const MAX_PAGE: u32 = 500;

pub(super) async fn submit(
    State(api): State<Api>,
    caller: Caller,
    Once { body: request, key }: Once<JobRequest>,
) -> Result<Response, Error> {
    if let Some(job) = before(&api, key.as_ref()).await? {
        return Ok(submitted(api.queue.job(job).await?, true));
    }
    let Submitted { view, before } = queue(&api, &caller, request, key).await?;
    Ok(submitted(view, before))
}

/// Queues the job that `request` asks for.
pub(super) async fn queue(
    api: &Api,
    caller: &Caller,
    request: JobRequest,
    key: Option<IdempotencyKey>,
) -> Result<Submitted, Error> {
    // Holds the sweep of old uploads off until the job, and with it its claim to the upload, is on disk.
    let _uploads = api.uploads.read().await;
    let job = submission::check(api, caller, request).await?;
    Ok(api.queue.submit_once(job, key).await?)
}

/// The job that the same request gave before.
pub(super) async fn before(api: &Api, key: Option<&IdempotencyKey>) -> Result<Option<JobId>, Error> {
    match key {
        Some(key) => Ok(api.queue.submitted(key.clone()).await?),
        None => Ok(None),
    }
}

/// `before`: the same request had given it before.
fn submitted(view: JobView, before: bool) -> Response {
    let job = view.summary.id;
    let status = if before { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = located((status, JsonBody(view)).into_response(), job);
    if before {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// With the job that it is about as its location.
pub(super) fn located(mut response: Response, job: JobId) -> Response {
    if let Ok(location) = HeaderValue::try_from(format!("/v1/jobs/{job}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// `PATCH`: what of a job may be changed while it has not ended.
pub(super) async fn patch(
    State(api): State<Api>,
    Seen(job): Seen,
    Json(patch): Json<JobPatch>,
) -> Result<JsonBody<JobView>, Error> {
    submission::priority(patch.priority)?;
    Ok(JsonBody(api.queue.set_priority(job, patch.priority).await?))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListQuery {
    /// One or more, separated by commas.
    state: Option<String>,
    owner: Option<String>,
    kind: Option<String>,
    preset: Option<String>,
    /// Name of the worker that has the jobs, or had them last.
    worker: Option<String>,
    /// In the id, or in the name of the input.
    text: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<JsonBody<Page<JobSummary>>, Error> {
    let filter = filter(query)?;
    let Some(owner) = caller.listed(filter.owner) else {
        return Ok(JsonBody(Page { items: Vec::new(), next_cursor: None }));
    };
    Ok(JsonBody(api.queue.jobs(JobFilter { owner, ..filter }).await?))
}

fn filter(query: ListQuery) -> Result<JobFilter, Error> {
    let kind = given(query.kind).map(|word| kind(&word));
    Ok(JobFilter {
        states: lists::states(query.state.as_deref(), "job", STATES)?,
        owner: given(query.owner),
        kind: kind.transpose()?,
        preset: given(query.preset),
        worker: given(query.worker),
        text: given(query.text),
        before: cursor(query.cursor)?,
        limit: lists::limit(query.limit, PAGE, MAX_PAGE)?,
    })
}

/// The job that the page before ended with.
pub(super) fn cursor(text: Option<String>) -> Result<Option<JobId>, Error> {
    lists::cursor(text, |text| text.parse().ok())
}

fn kind(word: &str) -> Result<FailureKind, Error> {
    word.parse().map_err(|_| {
        let known = FailureKind::ALL.map(FailureKind::as_str).join(", ");
        Error::invalid("kind", format!("{word:?} is no kind of failure"), format!("use one of {known}"))
    })
}

/// Whether the job is there for this caller. What is somebody else's is not there, in the same words.
pub(super) async fn seen(api: &Api, caller: &Caller, job: JobId) -> Result<(), Error> {
    if caller.sees(api.queue.owner(job).await?.as_deref()) {
        Ok(())
    } else {
        Err(queue::Error::NoSuchJob(job).into())
    }
}

/// The path's `{id}`, of a job that is there for the caller.
pub(super) struct Seen(pub(super) JobId);

impl FromRequestParts<Api> for Seen {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let Id(job) = Id::<JobId>::from_request_parts(parts, api).await?;
        // For an administrator the handler finds out.
        if !caller.is_admin() {
            seen(api, &caller, job).await?;
        }
        Ok(Self(job))
    }
}

/// With `Prefer: wait=SECONDS` the answer comes when the job has ended, if that is sooner.
pub(super) async fn show(
    State(api): State<Api>,
    Seen(job): Seen,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wait = Wait::of(&headers);
    let mut view = wait::ended(&api, job, wait).await?;
    view.output_url =
        (view.summary.state == JobState::Succeeded).then(|| api.links.url(job, &headers, Timestamp::now()));
    Ok(wait.applied(JsonBody(view).into_response()))
}

/// A job that is over, and what it published. Files go first: when this is cut off, the job is still there and can be removed
/// again.
pub(super) async fn remove(State(api): State<Api>, Seen(job): Seen) -> Result<Response, Error> {
    let _removals = api.removals.write().await;
    let (state, _) = api.queue.inputs(job).await?;
    if !state.is_final() {
        return Err(Error::Conflict {
            problem: format!("job {job} is {}: cancel it first, or wait until it has ended", state.as_str()),
        });
    }
    api.storage.delete_job(job).await?;
    failpoint::hit("job.remove.files");
    api.store.remove_job(job).await?;
    tracing::info!(%job, "a job was removed");
    Ok(problem::no_content())
}

pub(super) async fn cancel(State(api): State<Api>, Seen(job): Seen) -> Result<JsonBody<JobView>, Error> {
    Ok(JsonBody(api.queue.cancel(job).await?))
}

pub(super) async fn retry(State(api): State<Api>, Seen(job): Seen) -> Result<JsonBody<JobView>, Error> {
    let _uploads = api.uploads.read().await;
    let _removals = api.removals.read().await;
    Ok(JsonBody(queue_again(&api, job).await?))
}

/// Queues a job again that is over. The caller holds `api.uploads` and `api.removals`.
pub(super) async fn queue_again(api: &Api, job: JobId) -> Result<JobView, Error> {
    let (state, inputs) = api.queue.inputs(job).await?;
    for input in inputs {
        // Of what may not be queued again anyway, the queue says why.
        if matches!(state, JobState::Failed | JobState::Cancelled | JobState::Dead)
            && let InputLocation::Object(key) = input.location()
            && !api.incoming.has(key)
            && !api.storage.holds(key).await?
            // All that is missing is the delivery.
            && api.queue.published(job).await?.is_none()
        {
            return Err(Error::Conflict {
                problem: format!(
                    "the input of job {job}, the upload {:?}, was removed: upload the file again and submit a new job",
                    input.name()
                ),
            });
        }
    }
    Ok(api.queue.retry(job).await?)
}

pub(super) async fn logs(
    State(api): State<Api>,
    Seen(job): Seen,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let logs = api.queue.logs(job).await?;
    if wants_text(&headers) {
        let text = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
        return Ok((text, as_text(&logs)).into_response());
    }
    Ok(JsonBody(logs).into_response())
}

/// JSON unless text/plain is asked for, and JSON is not asked for before it.
fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept
        .split(',')
        .map(|entry| entry.split(';').next().unwrap_or_default().trim())
        .find(|kind| matches!(*kind, "application/json" | "text/plain" | "text/*"))
        .is_some_and(|kind| kind.starts_with("text/"))
}

fn as_text(logs: &[AttemptLog]) -> String {
    let mut text = String::new();
    for log in logs {
        text.push_str(&format!("== task {} epoch {} on {}\n", log.task, log.epoch, log.worker));
        for line in &log.lines {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_what_it_does_not_understand() {
        let query = |state: &str, cursor: &str, limit| ListQuery {
            state: Some(state.to_owned()),
            cursor: Some(cursor.to_owned()),
            limit,
            owner: Some(String::new()),
            ..ListQuery::default()
        };
        let good = filter(query("queued, running", "", Some(500))).unwrap();
        assert_eq!(good.states, [JobState::Queued, JobState::Running]);
        assert_eq!((good.owner, good.before, good.limit), (None, None, 500));
        for (query, field) in [
            (query("done", "", None), "state"),
            (query("", "x", None), "cursor"),
            (query("", "", Some(0)), "limit"),
            (query("", "", Some(501)), "limit"),
        ] {
            assert_eq!(filter(query).unwrap_err().into_problem().field.as_deref(), Some(field));
        }
    }

    #[test]
    fn logs_are_text_for_who_asks_for_text() {
        let accept = |value: &str| {
            wants_text(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(value).unwrap())]))
        };
        assert!(accept("text/plain"));
        assert!(accept("text/plain;q=1, application/json"));
        assert!(!accept("*/*"));
        assert!(!accept("application/json, text/plain"));
        assert!(!wants_text(&HeaderMap::new()));
    }
}
