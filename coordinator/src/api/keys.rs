//! `/v1/keys`.

use axum::{
    Json as JsonBody,
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::{
    api::{KeyRequest, KeyView, Page, Scope},
    id::KeyId,
};
use hyper::{StatusCode, header, header::HeaderValue};
use jiff::Timestamp;

use super::{
    Api,
    extract::{Id, Json},
    problem::Error,
    submission::printable,
};
use crate::access::MAX_OWNER;

const MAX_NAME: usize = 128;

pub(super) async fn list(State(api): State<Api>) -> JsonBody<Page<KeyView>> {
    JsonBody(Page { items: api.access.list(), next_cursor: None })
}

pub(super) async fn create(
    State(api): State<Api>,
    Json(request): Json<KeyRequest>,
) -> Result<Response, Error> {
    let now = Timestamp::now();
    let created = api.access.create(checked(request, now)?, now).await?;
    let mut response = (StatusCode::CREATED, JsonBody(created)).into_response();
    // It is told once.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn revoke(State(api): State<Api>, Id(key): Id<KeyId>) -> Result<JsonBody<KeyView>, Error> {
    Ok(JsonBody(api.access.revoke(key, Timestamp::now()).await?))
}

fn checked(mut request: KeyRequest, now: Timestamp) -> Result<KeyRequest, Error> {
    request.owner = request.owner.filter(|owner| !owner.is_empty());
    if request.scopes.is_empty() {
        return Err(Error::invalid(
            "scopes",
            "there is none",
            "give some of submit, read, admin, view, metrics",
        ));
    }
    match &request.owner {
        Some(owner) => printable("owner", owner, MAX_OWNER)?,
        None if request.scopes.contains(&Scope::Admin) => {}
        None => {
            return Err(Error::invalid(
                "owner",
                "there is none: its holder would see nothing",
                "name whose jobs its holder submits and sees; only a key with the scope admin may do without",
            ));
        }
    }
    if let Some(name) = &request.name {
        printable("name", name, MAX_NAME)?;
    }
    if request.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::invalid("expires_at", "it is over already", "give a time that is still to come"));
    }
    Ok(request)
}
