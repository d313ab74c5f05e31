//! `/v1/workers`.

use axum::{Json, extract::State};
use common::{
    api::{DrainRequest, Page, WorkerView},
    id::WorkerId,
};

use super::{
    Api,
    extract::{Id, OptionalJson},
    problem::Error,
};

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Page<WorkerView>>, Error> {
    Ok(Json(Page { items: api.queue.workers().await?, next_cursor: None }))
}

pub(super) async fn show(State(api): State<Api>, Id(id): Id<WorkerId>) -> Result<Json<WorkerView>, Error> {
    let workers = api.queue.workers().await?;
    let worker = workers.into_iter().find(|worker| worker.id == id);
    worker.map(Json).ok_or_else(|| Error::no("worker", id))
}

pub(super) async fn drain(
    State(api): State<Api>,
    Id(id): Id<WorkerId>,
    OptionalJson(drain): OptionalJson<DrainRequest>,
) -> Result<Json<WorkerView>, Error> {
    // First, so that nothing that is taken away comes back to it.
    let drained = api.queue.set_draining(id, true).await?;
    if !drain.now {
        return Ok(Json(drained));
    }
    api.queue.preempt_worker(id, "an operator drained its worker at once").await?;
    show(State(api), Id(id)).await
}

pub(super) async fn resume(State(api): State<Api>, Id(id): Id<WorkerId>) -> Result<Json<WorkerView>, Error> {
    Ok(Json(api.queue.set_draining(id, false).await?))
}
