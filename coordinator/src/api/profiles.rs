//! `/v1/profiles`.

use axum::{Json, extract::State};
use common::{api::Page, profile::Profile};

use super::{Api, extract::Rest, problem::Error};

pub(super) async fn list(State(api): State<Api>) -> Json<Page<Profile>> {
    Json(Page { items: api.profiles.iter().cloned().collect(), next_cursor: None })
}

pub(super) async fn show(State(api): State<Api>, Rest(name): Rest) -> Result<Json<Profile>, Error> {
    api.profiles.get(&name).map(|profile| Json(profile.clone())).ok_or_else(|| Error::no("profile", name))
}
