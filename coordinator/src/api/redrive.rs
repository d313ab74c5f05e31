//! `POST /v1/jobs/redrive`: dead letters back into the queue.

use axum::{Json as JsonBody, extract::State};
use common::{
    api::{JobState, RedriveRefusal, RedriveRequest, Redriven},
    id::JobId,
};
use futures::{StreamExt as _, stream};

use super::{
    Api,
    extract::Json,
    jobs::{cursor, queue_again},
    problem::Error,
};
use crate::{access::Caller, queue::JobFilter};

/// Dead letters that one call looks at: a second of work, so that no caller gives up waiting.
const LETTERS: usize = 1000;
/// Dead letters of a page.
const PAGE: u32 = 500;
/// Dead letters that are queued at once, so that they share commits.
const AT_ONCE: usize = 64;

pub(super) async fn redrive(
    State(api): State<Api>,
    caller: Caller,
    Json(request): Json<RedriveRequest>,
) -> Result<JsonBody<Redriven>, Error> {
    let Some(owner) = caller.listed(condition("owner", request.owner)?) else {
        return Ok(JsonBody(Redriven::default()));
    };
    let mut filter = JobFilter {
        states: vec![JobState::Dead],
        owner,
        kind: request.kind,
        preset: condition("preset", request.preset)?,
        worker: condition("worker", request.worker)?,
        text: condition("text", request.text)?,
        before: cursor(request.cursor)?,
        limit: PAGE,
    };
    let mut redriven = Redriven::default();
    let mut seen = 0;
    while seen < LETTERS {
        let page = api.queue.jobs(filter.clone()).await?;
        let letters: Vec<JobId> = page.items.iter().map(|job| job.id).collect();
        seen += letters.len();
        queue_page(&api, letters, &mut redriven).await?;
        redriven.next_cursor = page.next_cursor;
        let Some(next) = redriven.next_cursor.clone() else { break };
        filter.before = cursor(Some(next))?;
    }
    tracing::info!(
        jobs = redriven.jobs.len(),
        refused = redriven.refused.len(),
        "dead letters were redriven"
    );
    Ok(JsonBody(redriven))
}

/// One that is empty was meant to say something: without it more would be queued again.
fn condition(field: &str, text: Option<String>) -> Result<Option<String>, Error> {
    if text.as_deref() == Some("") {
        return Err(Error::invalid(
            field,
            format!("{field} is empty"),
            "leave it out, or say what it has to be",
        ));
    }
    Ok(text)
}

/// Queues every letter, and goes on after one that is refused. Only what concerns all of them is an error.
async fn queue_page(api: &Api, letters: Vec<JobId>, redriven: &mut Redriven) -> Result<(), Error> {
    // As for a submission: no upload is swept between the look at it and the commit.
    let _uploads = api.uploads.read().await;
    let _removals = api.removals.read().await;
    let mut queued =
        stream::iter(letters).map(|job| async move { (job, queue_again(api, job).await) }).buffered(AT_ONCE);
    while let Some((job, result)) = queued.next().await {
        match result {
            Ok(_) => redriven.jobs.push(job),
            Err(error @ (Error::Unavailable { .. } | Error::Internal { .. })) if redriven.jobs.is_empty() => {
                return Err(error);
            }
            Err(error) => {
                let problem = error.into_problem();
                let remedy = problem.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
                redriven.refused.push(RedriveRefusal { job, reason: format!("{}{remedy}", problem.detail) });
            }
        }
    }
    Ok(())
}
