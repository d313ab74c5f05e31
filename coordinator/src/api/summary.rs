//! `/v1/summary`: what a page has at its head.

use axum::{Json, extract::State};
use common::api::{Scope, Summary};

use super::{Api, problem::Error};
use crate::access::Caller;

pub(super) async fn show(State(api): State<Api>, caller: Caller) -> Result<Json<Summary>, Error> {
    let who = caller.who().ok_or_else(|| Error::Internal { problem: "nobody was let in".to_owned() })?;
    let jobs = match caller.listed(None).filter(|_| caller.may(Scope::Read)) {
        Some(owner) => api.store.job_counts(owner.as_deref()).await?,
        None => Default::default(),
    };
    Ok(Json(Summary {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        keys: api.access.is_closed(),
        who,
        worker_port: api.worker_port,
        fleet: api.queue.fleet().await?,
        jobs,
    }))
}
