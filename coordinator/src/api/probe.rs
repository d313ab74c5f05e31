//! `POST /v1/probe`: what ffprobe says about an input. A worker asks it, under the same rules as for a job's input.

use axum::{
    Json as JsonBody,
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::{
    api::{JobRequest, JobState, ProbePending, ProbeRequest},
    spec::{PROBE_ANSWER, Spec},
};
use hyper::{HeaderMap, Method, StatusCode, header, header::HeaderValue};

use super::{
    Api,
    extract::Json,
    outputs,
    problem::Error,
    submission,
    wait::{self, Wait},
};
use crate::access::Caller;

/// Before everything else that waits: somebody looks at the answer, and it is soon done.
const PRIORITY: i32 = 100;
/// Seconds that the answer may take unless the request says otherwise.
const PATIENCE: u64 = 30;
/// Seconds that ffprobe may take.
const TIME_LIMIT: u64 = 120;

pub(super) async fn probe(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<ProbeRequest>,
) -> Result<Response, Error> {
    let wait = Wait::of(&headers).or(PATIENCE);
    let request = JobRequest {
        spec: Some(Spec::Probe),
        priority: PRIORITY,
        owner: request.owner,
        time_limit_seconds: Some(TIME_LIMIT),
        ..JobRequest::new(request.input)
    };
    let job = {
        let _uploads = api.uploads.read().await;
        let checked = submission::check(&api, &caller, request).await?;
        api.queue.submit(checked).await?.summary.id
    };
    let view = wait::ended(&api, job, wait).await?;
    let summary = view.summary;
    let mut response = match (summary.state, summary.failure) {
        (JobState::Succeeded, _) => {
            // The whole of it, whatever the request's own headers ask for.
            outputs::send(&api, job, PROBE_ANSWER, false, &Method::GET, &HeaderMap::new()).await?
        }
        (JobState::Failed | JobState::Dead, Some(failure)) => {
            return Err(Error::invalid("input", failure.message, "give an input that can be read"));
        }
        (status, _) => {
            let pending = ProbePending { job_id: job, status, waiting_for: summary.waiting_for };
            (StatusCode::ACCEPTED, JsonBody(pending)).into_response()
        }
    };
    wait.applied(response.headers_mut());
    if let Ok(location) = HeaderValue::try_from(format!("/v1/jobs/{job}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
