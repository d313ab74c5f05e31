//! One request to the server of a source.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use common::{
    direct, proto,
    reach::{
        Reach,
        http::{self, Resolver, innermost},
    },
};
use reqwest::{
    Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_RANGE, ETAG, IF_RANGE, LOCATION, RANGE},
    redirect,
};
use tokio::time::{Instant, timeout};

use super::{
    Limits,
    failure::SourceFailure,
    policy::{self, Origin},
    range::{ContentRange, Wanted, parse_content_range},
    source::{Onward, Source},
};

const MAX_REDIRECTS: usize = 5;

/// The servers of sources.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    for_users: Client,
    for_coordinator: Client,
    /// Of users' sources.
    reach: Reach,
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

/// What there is of an upload at a place.
#[derive(Debug)]
pub(super) struct More {
    /// With the bytes, if there are any.
    pub(super) response: Option<Response>,
    /// The upload's length, once it has ended.
    pub(super) whole: Option<u64>,
}

impl Upstream {
    pub(super) fn new(limits: Limits, reach: Reach) -> Result<Self, reqwest::Error> {
        let resolver = Resolver { reach: reach.clone(), lookup: http::system };
        Ok(Self {
            for_users: client(limits.connect, Some(reach.clone()))
                .dns_resolver(Arc::new(resolver))
                .build()?,
            // It says where it sends on to, and how long that is good.
            for_coordinator: client(limits.connect, None).redirect(redirect::Policy::none()).build()?,
            reach,
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
        let (client, reach) = match source.origin {
            Origin::User => (&self.for_users, Some(&self.reach)),
            Origin::Coordinator => (&self.for_coordinator, None),
        };
        policy::check(&source.url, reach)
            .map_err(|refusal| SourceFailure::Refused(policy::words(&refusal)))?;
        let response = match source.origin {
            Origin::User => self.send(get(client, &source.url, wanted, same), wanted.start).await?,
            Origin::Coordinator => self.ask_coordinator(source, wanted, same).await?,
        };
        let answer = answer(source, wanted, response)?;
        let size = match &answer {
            Answer::Part { total, .. } => *total,
            Answer::Whole { length, .. } => *length,
            Answer::Beyond { total } => Some(*total),
        };
        match size {
            Some(size) if size > self.limits.largest => {
                Err(SourceFailure::TooLarge { most: self.limits.largest })
            }
            Some(_) | None => Ok(answer),
        }
    }

    /// From the coordinator, or from the store that it sends this worker on to: that address is trusted like its own. A URL
    /// of the store that is not good any more is asked for again; a store that cannot be reached from here is not tried
    /// again.
    async fn ask_coordinator(
        &self,
        source: &Source,
        wanted: Wanted,
        same: Option<&str>,
    ) -> Result<Response, SourceFailure> {
        let client = &self.for_coordinator;
        let lock = || source.onward.lock().unwrap_or_else(PoisonError::into_inner);
        let mut renewed = false;
        for _ in 0..=MAX_REDIRECTS {
            let onward = lock().clone();
            let response = match &onward {
                Onward::Store(url, good_until) if Instant::now() < *good_until => {
                    let response = self.send(get(client, url, wanted, same), wanted.start).await;
                    match response {
                        // Expired, by the store's clock.
                        Ok(response) if is_refusal(response.status()) && !renewed => {
                            *lock() = Onward::Unknown;
                            renewed = true;
                            continue;
                        }
                        Err(SourceFailure::Connect(reason)) => {
                            tracing::warn!(
                                source = source.shown,
                                reason,
                                "the object store is out of reach: reading through the coordinator"
                            );
                            *lock() = Onward::Coordinator;
                            continue;
                        }
                        response => return response,
                    }
                }
                Onward::Coordinator => get(client, &source.url, wanted, same),
                Onward::Unknown | Onward::Store(..) => {
                    get(client, &source.url, wanted, same).header(direct::HEADER, "1")
                }
            };
            let response = self.send(response, wanted.start).await?;
            match sent_on(&response) {
                Some((url, good_for)) => *lock() = Onward::Store(url, Instant::now() + good_for),
                None => return Ok(response),
            }
        }
        Err(SourceFailure::Redirect(format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    async fn send(&self, request: RequestBuilder, at: u64) -> Result<Response, SourceFailure> {
        match timeout(self.limits.stall, request.send()).await {
            Err(_) => Err(SourceFailure::Stalled { seconds: self.limits.stall.as_secs(), at }),
            Ok(Err(error)) => Err(describe(error)),
            Ok(Ok(response)) => Ok(response),
        }
    }
}

fn get(client: &Client, url: &Url, wanted: Wanted, same: Option<&str>) -> RequestBuilder {
    let range = match wanted.end {
        Some(end) => format!("bytes={}-{}", wanted.start, end - 1),
        None => format!("bytes={}-", wanted.start),
    };
    let request = client.get(url.clone()).header(RANGE, range).header(ACCEPT_ENCODING, "identity");
    match same {
        Some(tag) => request.header(IF_RANGE, tag),
        None => request,
    }
}

/// What stores say to a URL that has expired, and to one of an object that went away.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
    )
}

/// Where a 307 of the coordinator leads, and for how long it is worth keeping.
fn sent_on(response: &Response) -> Option<(Url, Duration)> {
    if response.status() != StatusCode::TEMPORARY_REDIRECT {
        return None;
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let url = text(LOCATION)?.parse().ok()?;
    let age = text(CACHE_CONTROL)?.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    // Not to its last moment: a request takes its time.
    Some((url, Duration::from_secs(age.parse().ok()?).mul_f64(0.9)))
}

impl Upstream {
    /// Asks the coordinator for what there is from `at` on of an upload that may still be growing; the answer may take as
    /// long as `patience` where nothing has come.
    pub(super) async fn follow(
        &self,
        source: &Source,
        at: u64,
        patience: Duration,
    ) -> Result<More, SourceFailure> {
        let request = self
            .for_coordinator
            .get(source.url.clone())
            .header(RANGE, format!("bytes={at}-"))
            .header(ACCEPT_ENCODING, "identity")
            .header(proto::FOLLOW, patience.as_secs());
        let longest = patience + self.limits.stall;
        let response = match timeout(longest, request.send()).await {
            Err(_) => return Err(SourceFailure::Stalled { seconds: longest.as_secs(), at }),
            Ok(Err(error)) => return Err(describe(error)),
            Ok(Ok(response)) => response,
        };
        let grows = response.headers().contains_key(proto::FOLLOW);
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        match (response.status(), range.and_then(parse_content_range)) {
            (StatusCode::NO_CONTENT, _) if grows => Ok(More { response: None, whole: None }),
            (StatusCode::PARTIAL_CONTENT, Some(ContentRange::Part { start, total, .. })) if start == at => {
                let whole = if grows { None } else { total };
                Ok(More { response: Some(response), whole })
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(ContentRange::Unsatisfied { total })) if !grows => {
                Ok(More { response: None, whole: Some(total) })
            }
            (status, _) if status.is_client_error() || status.is_server_error() => {
                Err(SourceFailure::Status(status.as_u16()))
            }
            (_, range) => Err(SourceFailure::Nonsense(format!("a part that was not asked for ({range:?})"))),
        }
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

fn client(connect: Duration, reach: Option<Reach>) -> ClientBuilder {
    Client::builder()
        .connect_timeout(connect)
        .no_proxy()
        .referer(false)
        .user_agent(concat!("ffmpegd/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error(format!("it redirects more than {MAX_REDIRECTS} times"));
            }
            match policy::check(attempt.url(), reach.as_ref()) {
                Ok(()) => attempt.follow(),
                Err(refusal) => {
                    let reason = policy::words(&refusal);
                    attempt.error(format!("it redirects to where none may lead: {reason}"))
                }
            }
        }))
}

fn describe(error: reqwest::Error) -> SourceFailure {
    let error = error.without_url();
    if let Some(refusal) = http::refusal(&error) {
        return SourceFailure::Refused(policy::words(refusal));
    }
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
