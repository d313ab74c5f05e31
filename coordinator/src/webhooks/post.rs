//! One request to a receiver.
//!
//! It goes to an address that inputs may have, looked at when it is connected to, follows no redirect, and has a time to be
//! over. Of the answer only the status counts: the body is not kept.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use common::reach::{
    Reach,
    http::{self, Refusal, Resolver, innermost},
};
use jiff::Timestamp;
use reqwest::{
    Client, Response, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect,
};

use super::policy::{self, Outcome};

/// The first network packets of a receiver.
const CONNECT: Duration = Duration::from_secs(5);
/// All of it. Receivers are to answer first and work then.
const WHOLE: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read, so that the connection may be used again.
const READ: usize = 4096;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) url: &'a str,
    pub(super) id: &'a str,
    /// Seconds since the Unix epoch.
    pub(super) timestamp: i64,
    pub(super) signature: &'a str,
    pub(super) body: &'a str,
}

/// How it ended, and what went wrong in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Poster {
    /// Made when there is something to send: it reads the machine's certificates. Or why there is none.
    client: OnceLock<Result<Client, String>>,
    reach: Reach,
}

impl Poster {
    pub(super) fn new(reach: Reach) -> Self {
        Self { client: OnceLock::new(), reach }
    }

    fn build(&self) -> Result<Client, String> {
        let resolver = Resolver { reach: self.reach.clone(), lookup: http::system };
        Client::builder()
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .no_proxy()
            .referer(false)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .dns_resolver(Arc::new(resolver))
            .user_agent(concat!("tvarr/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("the coordinator cannot send anything: {}", innermost(&error)))
    }

    pub(super) async fn post(&self, message: Message<'_>) -> Ended {
        let Message { url, id, timestamp, signature, body } = message;
        let failed = |error| Ended { outcome: Outcome::Nothing, error: Some(error) };
        let url = match Url::parse(url) {
            Ok(url) => url,
            Err(error) => return failed(format!("it is no URL: {error}")),
        };
        // A name is looked at by the resolver.
        if let Err(refusal) = self.reach.check_url(&url) {
            return failed(words(&refusal));
        }
        let client = match self.client.get_or_init(|| self.build()) {
            Ok(client) => client,
            Err(reason) => return failed(reason.clone()),
        };
        let request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body.to_owned());
        match request.send().await {
            Ok(response) => answered(response).await,
            Err(error) => failed(describe(&error)),
        }
    }
}

async fn answered(mut response: Response) -> Ended {
    let status = response.status();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|value| policy::retry_after(value, Timestamp::now()));
    let mut read = 0;
    // That it breaks off changes nothing.
    while read < READ
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
    }
    let error = match status {
        status if status.is_success() => None,
        status if status.is_redirection() => {
            Some("it redirects, which is not followed: give the URL that it leads to".to_owned())
        }
        status => Some(format!("it answered {status}")),
    };
    Ended { outcome: Outcome::Answer(status.as_u16(), asked), error }
}

fn describe(error: &reqwest::Error) -> String {
    match http::refusal(error) {
        Some(refusal) => words(refusal),
        None if error.is_timeout() => format!("it did not answer within {} s", WHOLE.as_secs()),
        None => innermost(error),
    }
}

/// The refusal, and what could be done about it.
pub(crate) fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Scheme(_) => refusal.to_string(),
        Refusal::Address(address) => format!(
            "{address}; webhooks go to public addresses only, and to what the coordinator's TVARR_WEBHOOK_ALLOW names \
             (networks, or any)"
        ),
    }
}
