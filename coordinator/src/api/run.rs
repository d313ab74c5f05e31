//! `POST /v1/run`: one request from an input to a URL of the result.

use axum::{
    Json as JsonBody,
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::api::{JobRequest, RunAnswer};
use hyper::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::{
    Api,
    estimate::Estimate,
    extract::Once,
    jobs,
    problem::Error,
    submission,
    wait::{self, Wait},
};
use crate::access::Caller;

/// Queues a job and says where its result will be and how long it may take. With `Prefer: wait=SECONDS` the answer comes when
/// the job has ended, if that is sooner.
pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Once { body: request, key }: Once<JobRequest>,
) -> Result<Response, Error> {
    let wait = Wait::of(&headers);
    let (job, Estimate { seconds, basis }) = if let Some(job) = jobs::before(&api, key.as_ref()).await? {
        let basis = "this request was answered before, and only then estimated".to_owned();
        (job, Estimate { seconds: None, basis })
    } else {
        let _uploads = api.uploads.read().await;
        let checked = submission::check(&api, &caller, request).await?;
        let bytes = submission::size(&api, &checked).await?;
        let estimate = api.estimates.estimate(&api.queue, &checked, bytes).await?;
        (api.queue.submit_once(checked, key).await?.view.summary.id, estimate)
    };
    let view = wait::ended(&api, job, wait).await?;
    let answer = RunAnswer {
        job_id: job,
        status: view.summary.state,
        output_url: api.links.url(job, &headers, Timestamp::now()),
        estimated_duration_seconds: seconds,
        estimate_basis: basis,
        failure: view.summary.failure,
    };
    let response = (StatusCode::CREATED, JsonBody(answer)).into_response();
    Ok(jobs::located(wait.applied(response), job))
}
