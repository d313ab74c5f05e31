//! `POST /v1/probe`: what ffprobe says about an input. A worker asks it, under the same rules as for a job's input.

use axum::{
    Json as JsonBody,
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::{
    api::{JobRequest, JobState, ProbePending, ProbeRequest},
    spec::PROBE_ANSWER,
};
use hyper::{HeaderMap, Method, StatusCode};

use super::{
    Api,
    extract::Json,
    jobs, outputs,
    problem::Error,
    wait::{self, Wait},
};
use crate::access::Caller;

/// Seconds that the answer may take unless the request says otherwise.
const PATIENCE: u64 = 30;

pub(super) async fn probe(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<ProbeRequest>,
) -> Result<Response, Error> {
    let wait = Wait::of(&headers).or(PATIENCE);
    let request = JobRequest { owner: request.owner, ..JobRequest::probe(request.input) };
    let job = jobs::queue(&api, &caller, request, None).await?.view.summary.id;
    let view = wait::ended(&api, job, wait).await?;
    let summary = view.summary;
    let response = match (summary.state, summary.failure) {
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
    Ok(jobs::located(wait.applied(response), job))
}
