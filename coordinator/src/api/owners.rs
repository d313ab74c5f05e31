//! `/v1/owners`: what owners have, and what they may have.

use std::collections::BTreeMap;

use axum::{Json as JsonBody, extract::State, response::Response};
use common::api::{OwnerView, Page, Quotas, Used};

use super::{
    Api,
    extract::{Json, Rest},
    problem::{self, Error},
    submission::printable,
};
use crate::access::MAX_OWNER;

pub(super) async fn list(State(api): State<Api>) -> Result<JsonBody<Page<OwnerView>>, Error> {
    let own = api.store.quotas().await?;
    let mut used: BTreeMap<String, Used> = own.keys().map(|owner| (owner.clone(), Used::default())).collect();
    for (owner, held) in api.holdings.holders().await? {
        let used = used.entry(owner).or_default();
        (used.upload_bytes, used.output_bytes) = (held.uploads, held.outputs);
    }
    for (owner, (queued, running)) in api.queue.owners_in_use().await? {
        let used = used.entry(owner).or_default();
        (used.queued, used.running) = (queued, running);
    }
    let items = used.into_iter().map(|(owner, used)| OwnerView {
        quotas: api.holdings.quotas(&owner),
        own: own.contains_key(&owner),
        owner,
        used,
    });
    Ok(JsonBody(Page { items: items.collect(), next_cursor: None }))
}

pub(super) async fn put(
    State(api): State<Api>,
    Rest(owner): Rest,
    Json(quotas): Json<Quotas>,
) -> Result<JsonBody<OwnerView>, Error> {
    printable("owner", &owner, MAX_OWNER)?;
    set(&api, &owner, Some(quotas)).await?;
    let used = api.holdings.held(&owner).await?;
    let (queued, running) = api.queue.owners_in_use().await?.remove(&owner).unwrap_or_default();
    let used = Used { queued, running, upload_bytes: used.uploads, output_bytes: used.outputs };
    Ok(JsonBody(OwnerView { owner, quotas, own: true, used }))
}

/// What is configured for everybody holds again.
pub(super) async fn delete(State(api): State<Api>, Rest(owner): Rest) -> Result<Response, Error> {
    set(&api, &owner, None).await?;
    Ok(problem::no_content())
}

async fn set(api: &Api, owner: &str, quotas: Option<Quotas>) -> Result<(), Error> {
    api.store.set_quotas(owner, quotas).await?;
    api.holdings.set(owner, quotas);
    api.queue.set_quotas(owner.to_owned(), quotas).await?;
    tracing::info!(owner, ?quotas, "the quotas of an owner were set");
    Ok(())
}
