//! One request for a source, and what can go wrong with it.

use std::{error::Error as _, time::Duration};

use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING},
    redirect,
};
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the answer's head; some servers start an encoder for it.
const ANSWER: Duration = Duration::from_secs(15);
const MAX_REDIRECTS: usize = 5;

/// Why a source gives nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Url(String),
    Connect(String),
    Redirect(String),
    NoAnswer,
    Status(StatusCode),
    /// What it is instead.
    NotTransportStream(&'static str),
    Silent(Duration),
    Broken(String),
    Ended,
    /// Another connection brings the source, or it was taken down.
    TakenOver,
}

impl Failure {
    pub(super) fn broken(error: &reqwest::Error) -> Self {
        Self::Broken(innermost(error))
    }

    /// What happened, to what, and what next.
    pub(super) fn describe(&self, shown: &str) -> String {
        match self {
            Self::Url(reason) => {
                format!("{shown} cannot be asked for: {reason}; add the stream again with another URL")
            }
            Self::Connect(reason) => {
                format!("cannot connect to {shown}: {reason}; it is tried again, check that the server runs")
            }
            Self::Redirect(reason) => {
                format!("{shown} {reason}; add the stream again with the URL that it leads to")
            }
            Self::NoAnswer => {
                format!("{shown} did not answer within {} s; it is tried again", ANSWER.as_secs())
            }
            Self::Status(status) => {
                let remedy = match status.as_u16() {
                    401 | 403 => "check the user name and password, or the token, in the source's URL",
                    404 | 410 => "check the source's URL",
                    _ => "it is tried again",
                };
                format!("{shown} answered {status}; {remedy}")
            }
            Self::NotTransportStream(what) => format!(
                "{shown} gave {what}, not MPEG-TS; add it as an ingest source, {{\"ingest\": URL}} or ingest:URL, which a \
                 worker's ffmpeg opens"
            ),
            Self::Silent(silence) => {
                format!("{shown} gave nothing for {} s; it is asked again", silence.as_secs())
            }
            Self::Broken(reason) => format!("the connection to {shown} broke: {reason}; it is tried again"),
            Self::Ended => format!("{shown} ended; it is asked for more"),
            Self::TakenOver => format!("{shown} is brought by another connection"),
        }
    }
}

pub(super) fn build() -> Result<Client, reqwest::Error> {
    Client::builder()
        // One stream, one connection, with TCP's own window.
        .http1_only()
        .connect_timeout(CONNECT)
        .no_proxy()
        .referer(false)
        .user_agent(concat!("tvarr-coordinator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::custom(|attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error(format!("redirects more than {MAX_REDIRECTS} times"));
            }
            match attempt.url().scheme() {
                "http" | "https" => attempt.follow(),
                _ => attempt.error("redirects to what is neither http nor https"),
            }
        }))
        .build()
}

pub(super) async fn open(client: &Client, url: &str) -> Result<Response, Failure> {
    let url: reqwest::Url = url.parse().map_err(|error| Failure::Url(format!("{error}")))?;
    let request = client.get(url).header(ACCEPT, "video/mp2t, */*").header(ACCEPT_ENCODING, "identity");
    let response = match timeout(ANSWER, request.send()).await {
        Err(_) => return Err(Failure::NoAnswer),
        Ok(Err(error)) if error.is_redirect() => return Err(Failure::Redirect(innermost(&error))),
        Ok(Err(error)) if error.is_builder() => return Err(Failure::Url(innermost(&error))),
        Ok(Err(error)) if error.is_connect() && error.is_timeout() => {
            return Err(Failure::Connect(format!("no connection within {} s", CONNECT.as_secs())));
        }
        Ok(Err(error)) if error.is_connect() => return Err(Failure::Connect(innermost(&error))),
        Ok(Err(error)) => return Err(Failure::broken(&error)),
        Ok(Ok(response)) => response,
    };
    match response.status() {
        status if status.is_success() => Ok(response),
        // The client follows those that it may.
        status if status.is_redirection() => {
            Err(Failure::Redirect("redirects to what is neither http nor https".to_owned()))
        }
        status => Err(Failure::Status(status)),
    }
}

/// The cause at the bottom, which has no URL in it: `Connection refused` instead of `error sending request for url`.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut reason = "it hung up".to_owned();
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    reason
}
