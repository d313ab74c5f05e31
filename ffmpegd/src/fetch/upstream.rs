//! One request to the server of a source.

use std::{error::Error as _, time::Duration};

use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, RANGE},
    redirect,
};
use tokio::time::timeout;

use super::{
    Limits,
    failure::SourceFailure,
    policy::{self, Origin},
    range::{ContentRange, Wanted, parse_content_range},
    source::Source,
};

const MAX_REDIRECTS: usize = 5;

/// The servers of sources.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    for_users: Client,
    for_coordinator: Client,
    pub(super) limits: Limits,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(super) enum Answer {
    /// The server honours ranges: the body is `start..end` of `total`.
    Part { response: Response, end: u64, total: Option<u64> },
    /// The server does not: the body is the whole file.
    Whole { response: Response, length: Option<u64> },
    /// There is nothing at that place: the file has `total` bytes.
    Beyond { total: u64 },
}

impl Upstream {
    pub(super) fn new(limits: Limits) -> Result<Self, reqwest::Error> {
        Ok(Self {
            for_users: client(limits.connect, Origin::User)?,
            for_coordinator: client(limits.connect, Origin::Coordinator)?,
            limits,
        })
    }

    /// Asks for what is wanted of the source. With `same`, an entity tag, the rest of another file is not taken for the
    /// rest of this one.
    pub(super) async fn open(
        &self,
        source: &Source,
        wanted: Wanted,
        same: Option<&str>,
    ) -> Result<Answer, SourceFailure> {
        policy::check(&source.url, source.origin).map_err(SourceFailure::Refused)?;
        let client = match source.origin {
            Origin::User => &self.for_users,
            Origin::Coordinator => &self.for_coordinator,
        };
        let range = match wanted.end {
            Some(end) => format!("bytes={}-{}", wanted.start, end - 1),
            None => format!("bytes={}-", wanted.start),
        };
        let mut request =
            client.get(source.url.clone()).header(RANGE, range).header(ACCEPT_ENCODING, "identity");
        if let Some(tag) = same {
            request = request.header(IF_RANGE, tag);
        }
        let response = match timeout(self.limits.stall, request.send()).await {
            Err(_) => {
                return Err(SourceFailure::Stalled {
                    seconds: self.limits.stall.as_secs(),
                    at: wanted.start,
                });
            }
            Ok(Err(error)) => return Err(describe(error)),
            Ok(Ok(response)) => response,
        };
        answer(source, wanted, response)
    }
}

fn answer(source: &Source, wanted: Wanted, response: Response) -> Result<Answer, SourceFailure> {
    let content_range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(parse_content_range);
    match (response.status(), content_range) {
        (StatusCode::PARTIAL_CONTENT, Some(ContentRange::Part { start, end, total }))
            if start == wanted.start =>
        {
            source.answered(true, total);
            Ok(Answer::Part { response, end, total })
        }
        (StatusCode::PARTIAL_CONTENT, range) => {
            Err(SourceFailure::Nonsense(format!("a part that was not asked for ({range:?})")))
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(ContentRange::Unsatisfied { total })) => {
            source.answered(true, Some(total));
            Ok(Answer::Beyond { total })
        }
        (StatusCode::OK, _) => {
            let length = response.content_length();
            source.answered(false, length);
            Ok(Answer::Whole { response, length })
        }
        (StatusCode::NO_CONTENT, _) => {
            source.answered(false, Some(0));
            Ok(Answer::Beyond { total: 0 })
        }
        // The client follows those that may be followed.
        (status, _) if status.is_redirection() => {
            Err(SourceFailure::Redirect("it redirects to where none may lead".to_owned()))
        }
        (status, _) => Err(SourceFailure::Status(status.as_u16())),
    }
}

/// The entity tag, if it is a strong one: only those promise the same bytes.
pub(super) fn strong_tag(response: &Response) -> Option<String> {
    let tag = response.headers().get(ETAG)?.to_str().ok()?;
    tag.starts_with('"').then(|| tag.to_owned())
}

fn client(connect: Duration, origin: Origin) -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(connect)
        .no_proxy()
        .referer(false)
        .user_agent(concat!("ffmpegd/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error(format!("it redirects more than {MAX_REDIRECTS} times"));
            }
            match policy::check(attempt.url(), origin) {
                Ok(()) => attempt.follow(),
                Err(reason) => attempt.error(format!("it redirects to where none may lead: {reason}")),
            }
        }))
        .build()
}

fn describe(error: reqwest::Error) -> SourceFailure {
    let error = error.without_url();
    let reason = innermost(&error);
    if error.is_redirect() {
        SourceFailure::Redirect(reason)
    } else if error.is_timeout() {
        SourceFailure::Connect("no connection in time".to_owned())
    } else if error.is_connect() {
        SourceFailure::Connect(reason)
    } else {
        SourceFailure::HungUp { at: 0, of: None }
    }
}

/// The cause at the bottom: `Connection refused` instead of `error sending request`.
fn innermost(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    reason
}
