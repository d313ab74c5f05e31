//! `POST /v1/run`: one request from an input to a URL of the result.

use axum::{
    Json as JsonBody,
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::api::{JobRequest, RunAnswer};
use hyper::{HeaderMap, StatusCode, header, header::HeaderValue};
use jiff::Timestamp;

use super::{
    Api,
    estimate::Estimate,
    extract::Json,
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
    Json(request): Json<JobRequest>,
) -> Result<Response, Error> {
    let wait = Wait::of(&headers);
    let (job, Estimate { seconds, basis }) = {
        let _uploads = api.uploads.read().await;
        let checked = submission::check(&api, &caller, request).await?;
        let bytes = submission::size(&api, &checked).await?;
        let estimate = api.estimates.estimate(&api.queue, &checked, bytes).await?;
        (api.queue.submit(checked).await?.summary.id, estimate)
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
    let mut response = (StatusCode::CREATED, JsonBody(answer)).into_response();
    wait.applied(response.headers_mut());
    if let Ok(location) = HeaderValue::try_from(format!("/v1/jobs/{job}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
