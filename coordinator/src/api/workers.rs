//! `/v1/workers`.

use axum::{Json, extract::State, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{
    api::{DrainRequest, Page, WorkerHistory, WorkerSummary, WorkerView},
    id::WorkerId,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Api,
    extract::{Id, OptionalJson, Query},
    lists::{self, given},
    problem::{self, Error},
};
use crate::queue::WorkerFilter;

/// Workers on a page unless the request says otherwise.
const PAGE: u32 = 100;
/// Workers on a page at most.
const MAX_PAGE: u32 = 1000;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListQuery {
    /// One or more, separated by commas.
    state: Option<String>,
    /// In the name, the id, the address, the version, or a label (`site=berlin`).
    text: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// By name.
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<WorkerSummary>>, Error> {
    let (items, more) = api.queue.workers(filter(query)?).await?;
    let next_cursor = items.last().filter(|_| more).map(|last| cursor(&last.name, last.id));
    Ok(Json(Page { items, next_cursor }))
}

fn filter(query: ListQuery) -> Result<WorkerFilter, Error> {
    let states = "online, draining, quarantined or lost";
    Ok(WorkerFilter {
        states: lists::states(query.state.as_deref(), "worker", states)?,
        text: given(query.text),
        after: lists::cursor(query.cursor, read)?,
        limit: lists::limit(query.limit, PAGE, MAX_PAGE)? as usize,
    })
}

/// Names a place in the list, whether that worker is still there or not.
fn cursor(name: &str, id: WorkerId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{id} {name}"))
}

fn read(cursor: &str) -> Option<(String, WorkerId)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (id, name) = text.split_once(' ')?;
    Some((name.to_owned(), id.parse().ok()?))
}

pub(super) async fn show(State(api): State<Api>, Id(id): Id<WorkerId>) -> Result<Json<WorkerView>, Error> {
    Ok(Json(api.queue.worker(id).await?))
}

pub(super) async fn history(
    State(api): State<Api>,
    Id(id): Id<WorkerId>,
) -> Result<Json<WorkerHistory>, Error> {
    Ok(Json(api.queue.worker_history(id).await?))
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

pub(super) async fn probe(State(api): State<Api>, Id(id): Id<WorkerId>) -> Result<Json<WorkerView>, Error> {
    api.queue.probe_worker(id).await?;
    show(State(api), Id(id)).await
}

pub(super) async fn forget(State(api): State<Api>, Id(id): Id<WorkerId>) -> Result<Response, Error> {
    api.queue.forget_worker(id).await?;
    Ok(problem::no_content())
}

#[cfg(test)]
mod tests {
    use common::api::WorkerState;

    use super::*;

    #[test]
    fn a_filter_names_what_it_does_not_understand() {
        let query = |state: &str, cursor: &str, limit| ListQuery {
            state: Some(state.to_owned()),
            cursor: Some(cursor.to_owned()),
            limit,
            text: Some(String::new()),
        };
        let id = WorkerId::new();
        let good = filter(query("online, lost", &cursor("a b", id), Some(1000))).unwrap();
        assert_eq!(good.states, [WorkerState::Online, WorkerState::Lost]);
        assert_eq!((good.text, good.after), (None, Some(("a b".to_owned(), id))));
        for (query, field) in [
            (query("gone", "", None), "state"),
            (query("", "x", None), "cursor"),
            (query("", "", Some(0)), "limit"),
            (query("", "", Some(1001)), "limit"),
        ] {
            assert_eq!(filter(query).unwrap_err().into_problem().field.as_deref(), Some(field));
        }
    }
}
