//! `/v1/owners`: quotas of owners that have some of their own.

use axum::{Json as JsonBody, extract::State, response::Response};
use common::api::{OwnerView, Page, Quotas};

use super::{
    Api,
    extract::{Json, Rest},
    problem::{self, Error},
    submission::{MAX_OWNER, printable},
};

pub(super) async fn list(State(api): State<Api>) -> Result<JsonBody<Page<OwnerView>>, Error> {
    let items = api.store.quotas().await?.into_iter().map(|(owner, quotas)| OwnerView { owner, quotas });
    Ok(JsonBody(Page { items: items.collect(), next_cursor: None }))
}

pub(super) async fn put(
    State(api): State<Api>,
    Rest(owner): Rest,
    Json(quotas): Json<Quotas>,
) -> Result<JsonBody<OwnerView>, Error> {
    printable("owner", &owner, MAX_OWNER)?;
    set(&api, &owner, Some(quotas)).await?;
    Ok(JsonBody(OwnerView { owner, quotas }))
}

/// What is configured for everybody holds again.
pub(super) async fn delete(State(api): State<Api>, Rest(owner): Rest) -> Result<Response, Error> {
    set(&api, &owner, None).await?;
    Ok(problem::no_content())
}

async fn set(api: &Api, owner: &str, quotas: Option<Quotas>) -> Result<(), Error> {
    api.store.set_quotas(owner, quotas).await?;
    api.queue.set_quotas(owner.to_owned(), quotas).await?;
    tracing::info!(owner, ?quotas, "the quotas of an owner were set");
    Ok(())
}
