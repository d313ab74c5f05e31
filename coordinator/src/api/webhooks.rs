//! What jobs tell whom: the webhook of a request, `/v1/jobs/{id}/webhooks`, and the secret to verify with.

use axum::{
    Json as JsonBody,
    extract::{FromRequestParts, State},
    response::{IntoResponse as _, Response},
};
use common::{
    api::{Page, Webhook, WebhookSecrets, WebhookView},
    reach::http::Refusal,
};
use hyper::{
    header::{self, HeaderValue},
    http::request::Parts,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Api,
    extract::{Query, segment},
    jobs::Seen,
    problem::Error,
    submission::{http_url, printable},
};
use crate::{
    access::{Caller, MAX_OWNER},
    webhooks::{Webhooks, words},
};

/// The webhook that a job asks for. What its name stands for is looked at with each delivery.
pub(super) fn check(webhooks: &Webhooks, wanted: Option<Webhook>) -> Result<Option<Box<Webhook>>, Error> {
    let Some(Webhook { url, mut events }) = wanted else { return Ok(None) };
    let url = http_url(&url).map_err(|error| error.within("webhook"))?;
    if let Err(refusal) = webhooks.reach.check_url(&url) {
        let remedy = match refusal {
            Refusal::Scheme(_) => "use http or https",
            Refusal::Address(_) => {
                "name a host that is reached from the internet, or have its network allowed"
            }
        };
        return Err(Error::invalid("webhook.url", words(&refusal), remedy));
    }
    events.sort_unstable();
    events.dedup();
    if events.is_empty() {
        return Err(Error::invalid(
            "webhook.events",
            "there is none",
            "name some, such as job.succeeded, or leave it out for every final state",
        ));
    }
    Ok(Some(Box::new(Webhook { url: url.into(), events })))
}

pub(super) async fn list(
    State(api): State<Api>,
    Seen(job): Seen,
) -> Result<JsonBody<Page<WebhookView>>, Error> {
    // That there is no such job is for an administrator to hear, too.
    api.queue.owner(job).await?;
    Ok(JsonBody(Page { items: api.webhooks.of(job).await?, next_cursor: None }))
}

/// The path's `{event}`.
pub(super) struct EventId(String);

impl<S: Send + Sync> FromRequestParts<S> for EventId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        segment(parts, state, "event").await.map(Self)
    }
}

pub(super) async fn redeliver(
    State(api): State<Api>,
    Seen(job): Seen,
    EventId(event): EventId,
) -> Result<JsonBody<WebhookView>, Error> {
    let found = api.webhooks.again(job, &event).await?;
    found.map(JsonBody).ok_or_else(|| Error::no("webhook event", event))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SecretQuery {
    /// Whose jobs it signs for. Default: the API key's owner; another one takes an admin key.
    owner: Option<String>,
}

pub(super) async fn secret(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<SecretQuery>,
) -> Result<Response, Error> {
    let owner = caller.named(query.owner)?;
    if let Some(owner) = &owner {
        printable("owner", owner, MAX_OWNER)?;
    } else if !caller.is_admin() {
        return Err(Error::Forbidden {
            problem: "your API key has no owner, and the secret of jobs without one signs for everybody's"
                .to_owned(),
            remedy: "use a key with an owner, or one with the scope admin".to_owned(),
        });
    }
    let secrets = api.webhooks.secrets.of(owner.as_deref()).texts();
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, JsonBody(WebhookSecrets { owner, secrets })).into_response())
}
