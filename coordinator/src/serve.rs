//! Accepting connections and serving HTTP/1.1 and HTTP/2 on them, with every limit said explicitly.

use std::{future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::Instrument as _;

/// Receive window of one HTTP/2 stream.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// HTTP/2 streams of one connection at the same time.
const MAX_STREAMS: u32 = 32;
/// Receive window of a connection: all of its streams together, so that one unread stream never stops the others. hyper's
/// default is the window of a single stream.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;
/// Silence on an HTTP/2 connection before it is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Time for the answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an HTTP/1.1 request's headers, idle time between requests included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The other end of the connection that a request came on; an extension of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The connection that a request came on; an extension of every request.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    closed: CancellationToken,
    tracker: TaskTracker,
}

impl Connection {
    /// Drops the connection, whatever it is at, when this says so. It is dropped itself when the connection has ended.
    pub(crate) fn close_when(&self, over: impl Future<Output = bool> + Send + 'static) {
        let closed = self.closed.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = closed.cancelled() => {}
                close = over => {
                    if close {
                        closed.cancel();
                    }
                }
            }
        });
    }
}

/// When to stop, and how hard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// No new connections; those that are open end after what they are at.
    pub(crate) graceful: CancellationToken,
    /// Drop everything.
    pub(crate) now: CancellationToken,
}

/// Accepts until [`Stop::graceful`]; every connection is a task of `tracker`.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: Stop, tracker: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.graceful.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer, router.clone(), stop.clone(), tracker.clone());
                tracker.spawn(connection.instrument(tracing::debug_span!("connection", %peer)));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit of open files if it lasts");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: Stop, tracker: TaskTracker) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection was gone before it was served");
        return;
    }
    let closed = stop.now.child_token();
    let this = Connection { closed: closed.clone(), tracker: tracker.clone() };
    // What waits for its end is told, however that comes.
    let closing = closed.clone().drop_guard();
    let mut builder = auto::Builder::new(Tracked(tracker));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(this.clone());
        router.clone().oneshot(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        biased;
        () = closed.cancelled() => return,
        result = connection.as_mut() => result,
        () = stop.graceful.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = closed.cancelled() => return,
                result = connection.as_mut() => result,
            }
        }
    };
    drop(closing);
    if let Err(error) = result {
        tracing::debug!(error = %error, "the connection broke off");
    }
}

/// Runs what hyper starts for a connection on the tracker, so that shutdown can wait for it.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
