//! The port: three paths, to be read and nothing else.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use common::metrics;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::{Figures, Gauges};

/// Connections at once: Prometheus has one, a health check another.
const CONNECTIONS: usize = 32;
/// For a request's headers, idle time before them included.
const HEADERS: Duration = Duration::from_secs(30);
/// Bytes of them.
const HEADER_BYTES: usize = 16 << 10;
/// For all of a connection, so that whoever reads nothing does not keep it.
const LIFE: Duration = Duration::from_secs(600);
/// Wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is bound, and not yet served.
#[derive(Debug)]
pub(crate) struct Port(TcpListener, SocketAddr);

#[derive(Debug, Clone)]
struct Told {
    registry: Arc<Registry>,
    /// Why there is no session; empty while there is one.
    trouble: watch::Receiver<String>,
}

impl Port {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self(listener, address))
    }

    /// Serves on tasks of its own until `stop`.
    pub(crate) fn serve(
        self,
        figures: &Figures,
        gauges: Gauges,
        trouble: watch::Receiver<String>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) {
        let mut registry = metrics::registry("ffmpegd", env!("CARGO_PKG_VERSION"));
        let own = registry.sub_registry_with_prefix("tvarr_worker");
        figures.register(own);
        own.register_collector(Box::new(gauges));
        let told = Told { registry: Arc::new(registry), trouble };
        let router = Router::new()
            .route("/metrics", get(scrape))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .fallback(async || (StatusCode::NOT_FOUND, "there is /metrics, /healthz and /readyz\n"))
            .with_state(told);
        tracing::info!(http = %self.1, "metrics and health are told");
        let connections = tasks.clone();
        tasks.spawn(accept(self.0, router, connections, stop).in_current_span());
    }
}

async fn accept(listener: TcpListener, router: Router, tasks: TaskTracker, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                // Without room it is closed at once.
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                let (serving, stop) = (serve(stream, router.clone()), stop.clone());
                tasks.spawn(async move {
                    let _permit = permit;
                    let _ = stop.run_until_cancelled(timeout(LIFE, serving)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service =
        service_fn(move |request: hyper::Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection for metrics broke off");
    }
}

async fn scrape(State(told): State<Told>) -> Response {
    match metrics::text(&[&told.registry]) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be written\n").into_response(),
    }
}

async fn ready(State(told): State<Told>) -> Response {
    let trouble = told.trouble.borrow().clone();
    if trouble.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("no session with the coordinator: {trouble}\n")).into_response()
}
