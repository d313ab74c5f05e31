//! Pulling from real servers on loopback.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use hyper::{StatusCode, header};
use tokio::net::TcpListener;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::*;
use crate::live::source::Limits;

struct Pulling {
    state: watch::Receiver<State>,
    source: Source,
    stop: CancellationToken,
    _pulling: AbortOnDropHandle<()>,
    _server: Option<AbortOnDropHandle<std::io::Result<()>>>,
}

/// Pulls `path` of `router`; `user` goes into the URL.
async fn pull(router: Router, user: &str, path: &str) -> Pulling {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{user}{}{path}", listener.local_addr().unwrap());
    let server = TaskTracker::new().spawn(axum::serve(listener, router).into_future());
    pull_url(url, Some(AbortOnDropHandle::new(server)))
}

fn pull_url(url: String, server: Option<AbortOnDropHandle<std::io::Result<()>>>) -> Pulling {
    common::tls::install_provider();
    let source = Source::new(Limits { max_bytes: 1 << 24, max_length: Duration::from_secs(30) });
    let (tell, state) = watch::channel(State::default());
    let stop = CancellationToken::new();
    let pulling = TaskTracker::new().spawn(run(url, source.clone(), tell, stop.clone()));
    Pulling { state, source, stop, _pulling: AbortOnDropHandle::new(pulling), _server: server }
}

impl Pulling {
    async fn problem(&mut self) -> String {
        let told = self.state.wait_for(|state| state.problem.is_some());
        timeout(Duration::from_secs(20), told).await.unwrap().unwrap().problem.clone().unwrap()
    }
}

/// Packets of nothing, which are MPEG-TS nevertheless.
fn null_packets(count: usize) -> Bytes {
    let mut packet = [0xff; mux::ts::PACKET];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet.repeat(count).into()
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let page = || async { ([(header::CONTENT_TYPE, "text/html")], "<html>sign in</html>") };
    let router = Router::new()
        .route("/page", get(page))
        .route("/playlist", get(|| async { "#EXTM3U\n" }))
        .route("/locked", get(|| async { StatusCode::UNAUTHORIZED }))
        .route("/round", get(|| async { Redirect::temporary("/round") }))
        .route("/away", get(|| async { Redirect::temporary("file:///etc/passwd") }))
        .route("/empty", get(|| async {}));
    for (path, words) in [
        ("/page", "a web page, not MPEG-TS; add it as an ingest source"),
        ("/playlist", "an HLS playlist"),
        ("/locked", "401 Unauthorized; check the user name"),
        ("/round", "redirects more than 5 times"),
        ("/away", "neither http nor https"),
        ("/none", "404 Not Found; check the source's URL"),
        ("/empty", "gave nothing"),
    ] {
        let mut pulling = pull(router.clone(), "", path).await;
        let problem = pulling.problem().await;
        assert!(problem.contains(words), "{path}: {problem}");
    }
}

#[tokio::test]
async fn secrets_are_sent_and_never_shown() {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let answer = move |request: Request| async move {
        let authorized = request.headers().get(header::AUTHORIZATION).is_some();
        count.fetch_add(
            u32::from(authorized && request.uri().query() == Some("token=secret")),
            Ordering::Relaxed,
        );
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut pulling =
        pull(Router::new().route("/live", get(answer)), "user:secret@", "/live?token=secret").await;
    let problem = pulling.problem().await;
    assert!(!problem.contains("secret"), "{problem}");
    assert!(problem.contains("503") && seen.load(Ordering::Relaxed) > 0, "{problem}");
}

#[tokio::test]
async fn a_refused_connection_is_named_without_secrets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://u:secret@{}/live", listener.local_addr().unwrap());
    drop(listener);
    let mut pulling = pull_url(url, None);
    let problem = pulling.problem().await;
    assert!(problem.contains("Connection refused") && !problem.contains("secret"), "{problem}");
}

#[tokio::test]
async fn a_source_that_ends_is_asked_again_and_the_stop_ends_it() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let answer = move || async move {
        // The first connection breaks off, the second goes on for ever.
        let endless = count.fetch_add(1, Ordering::Relaxed) > 0;
        let first = futures::stream::iter([Ok::<_, std::io::Error>(null_packets(20))]);
        let response: Response = if endless {
            Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending())).into_response()
        } else {
            Body::from_stream(first).into_response()
        };
        response
    };
    let mut pulling = pull(Router::new().route("/live", get(answer)), "", "/live").await;
    let problem = pulling.problem().await;
    assert!(problem.contains("ended; it is asked for more"), "{problem}");
    let well = pulling.state.wait_for(|state| state.problem.is_none());
    timeout(Duration::from_secs(20), well).await.unwrap().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(pulling.source.figures().connected);
    pulling.stop.cancel();
    let closed = async {
        while pulling.source.figures().connected {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), closed).await.unwrap();
}
