//! The range proxy on loopback.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, RANGE},
    },
    response::{IntoResponse, Response},
    routing::any,
};
use common::reach::Reach;
use prometheus_client::metrics::counter::Counter;
use reqwest::Url;
use tokio::{net::TcpListener, sync::OwnedSemaphorePermit};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use super::{
    Limits,
    failure::SourceFailure,
    follow::{Follower, Following, until_whole},
    policy::Origin,
    range::{Wanted, parse_range},
    reader::{Opened, Reader},
    source::{Source, shown},
    upstream::Upstream,
};

/// The running proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    sources: Arc<Sources>,
}

#[derive(Debug)]
struct Sources {
    upstream: Upstream,
    /// Bytes of all sources.
    fetched: Counter,
    /// Uploads that attempts of this worker follow, by their URL without the query, in which each attempt has its own
    /// signature.
    followed: Mutex<HashMap<String, Weak<Following>>>,
    /// By token.
    by_token: Mutex<HashMap<String, Arc<Source>>>,
}

/// A source that ffmpeg can read until this is dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    /// What ffmpeg opens.
    pub(crate) url: String,
    pub(crate) source: Arc<Source>,
    token: String,
    sources: Arc<Sources>,
}

impl Proxy {
    /// Listens on loopback, until `stop`.
    pub(crate) async fn start(
        limits: Limits,
        reach: Reach,
        fetched: Counter,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let upstream = Upstream::new(limits, reach).map_err(io::Error::other)?;
        let sources =
            Arc::new(Sources { upstream, fetched, followed: Mutex::default(), by_token: Mutex::default() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/{token}/{name}", any(serve)).with_state(Arc::clone(&sources));
        tasks.spawn(async move {
            // It never ends by itself. Connections that are open then end with the ffmpeg at their other end.
            stop.run_until_cancelled(axum::serve(listener, router).into_future()).await;
        });
        Ok(Self { address, sources })
    }

    /// Makes a source readable. `name` is only for guessing the format: its extension is kept.
    pub(crate) fn mount(&self, url: Url, origin: Origin, name: &str) -> Mount {
        self.mount_source(Source::new(url, origin), name)
    }

    /// The same of an input that is still on its way to the coordinator: ffmpeg gets it as it comes, from its beginning and
    /// without a length. Read again once it has ended, it is like any other.
    pub(crate) fn mount_growing(&self, url: Url, name: &str) -> Mount {
        let following = self.sources.following(&url);
        self.mount_source(Source::growing(url, following), name)
    }

    fn mount_source(&self, mut source: Source, name: &str) -> Mount {
        source.fetched = self.sources.fetched.clone();
        let token = format!("{:032x}", rand::random::<u128>());
        let source = Arc::new(source);
        self.sources.lock().insert(token.clone(), Arc::clone(&source));
        Mount {
            url: format!("http://{}/{token}/{}", self.address, plain_name(name)),
            source,
            token,
            sources: Arc::clone(&self.sources),
        }
    }
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Source>>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    /// The one that every reader of an upload shares.
    fn following(&self, url: &Url) -> Arc<Following> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, following| following.strong_count() > 0);
        let slot = followed.entry(shown(url)).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let following = Arc::new(Following::default());
            *slot = Arc::downgrade(&following);
            following
        })
    }
}

impl Mount {
    /// Returns once an input that was on its way has come.
    ///
    /// # Errors
    /// It will not, or the coordinator is away for too long.
    pub(crate) async fn until_whole(&self) -> Result<(), SourceFailure> {
        until_whole(&self.sources.upstream, &self.source).await
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.sources.lock().remove(&self.token);
    }
}

/// `input` and the extension of the user's name, which some demuxers go by.
fn plain_name(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, extension))
            if (1..=8).contains(&extension.len())
                && extension.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            format!("input.{}", extension.to_ascii_lowercase())
        }
        _ => "input".to_owned(),
    }
}

async fn serve(
    State(sources): State<Arc<Sources>>,
    Path((token, _name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(source) = sources.lock().get(&token).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    let Ok(permit) = Arc::clone(&source.reads).try_acquire_owned() else {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    };
    let wanted = parse_range(headers.get(RANGE).and_then(|value| value.to_str().ok()));
    if let Some(following) = source.following.clone().filter(|_| source.grows()) {
        return forward(&sources, source, following, wanted, method == Method::HEAD, permit);
    }
    let opening = Reader::open(sources.upstream.clone(), Arc::clone(&source), wanted, permit);
    match opening.instrument(source.span.clone()).await {
        Ok(opened) => respond(&source, wanted, method == Method::HEAD, opened),
        Err(failure) => refused(&failure),
    }
}

/// Answers with an input as it comes.
fn forward(
    sources: &Sources,
    source: Arc<Source>,
    following: Arc<Following>,
    wanted: Wanted,
    head: bool,
    permit: OwnedSemaphorePermit,
) -> Response {
    if wanted.start > 0 {
        // ffmpeg was told that it cannot seek here.
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let follower = Follower::new(sources.upstream.clone(), source, following, permit);
    let body = if head { Body::empty() } else { Body::from_stream(follower.stream()) };
    ([(ACCEPT_RANGES, "none")], body).into_response()
}

fn respond(source: &Source, wanted: Wanted, head: bool, opened: Opened) -> Response {
    let (reader, length, total, ranges) = match opened {
        Opened::Beyond { total: 0 } if wanted.start == 0 => {
            return (StatusCode::OK, [(CONTENT_LENGTH, "0")]).into_response();
        }
        Opened::Beyond { total } => {
            let range = format!("bytes */{total}");
            return (StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, range)]).into_response();
        }
        Opened::Body { reader, length, total, ranges } => (reader, length, total, ranges),
    };
    if !ranges && wanted.start > 0 {
        // ffmpeg was told that it cannot seek here, and must not get the wrong bytes if it tries.
        source.gave_up(SourceFailure::Nonsense("it stopped to honour ranges".to_owned()), wanted.start);
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut response = Response::new(if head { Body::empty() } else { Body::from_stream(reader.stream()) });
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static(if ranges { "bytes" } else { "none" }));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if let (true, true, Some(length)) = (ranges, wanted.ranged, length) {
        let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
        let range = format!("bytes {}-{}/{total}", wanted.start, (wanted.start + length).saturating_sub(1));
        if let Ok(range) = HeaderValue::from_str(&range) {
            headers.insert(CONTENT_RANGE, range);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn refused(failure: &SourceFailure) -> Response {
    let status = match failure {
        SourceFailure::Status(code) => StatusCode::from_u16(*code).unwrap_or(StatusCode::BAD_GATEWAY),
        SourceFailure::Stalled { .. } | SourceFailure::TooLong { .. } | SourceFailure::TooSlow { .. } => {
            StatusCode::GATEWAY_TIMEOUT
        }
        SourceFailure::Refused(_) | SourceFailure::TooLarge { .. } => StatusCode::FORBIDDEN,
        SourceFailure::Connect(_)
        | SourceFailure::HungUp { .. }
        | SourceFailure::Redirect(_)
        | SourceFailure::Nonsense(_) => StatusCode::BAD_GATEWAY,
    };
    // ffmpeg reports what is not an error status as success.
    if status.is_client_error() || status.is_server_error() { status } else { StatusCode::BAD_GATEWAY }
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_harmless_extension_of_the_name_is_kept() {
        for (name, plain) in [
            ("Holiday 2024.MP4", "input.mp4"),
            ("https://h/a/b.mkv", "input.mkv"),
            ("noextension", "input"),
            ("a.", "input"),
            ("x.m/../p4", "input"),
            ("a.mp4?x=1", "input"),
        ] {
            assert_eq!(plain_name(name), plain, "{name}");
        }
    }
}
