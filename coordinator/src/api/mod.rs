//! The HTTP API for users: JSON as in `common::api`, errors as RFC 9457 problem documents.

mod access;
mod estimate;
mod events;
mod extract;
mod guard;
mod health;
mod jobs;
mod keys;
mod lists;
pub(crate) mod live;
mod metrics;
mod openapi;
mod outputs;
mod owners;
mod pages;
mod presets;
mod probe;
pub(crate) mod problem;
mod profiles;
mod redrive;
mod run;
mod session;
mod signed;
mod streams;
mod submission;
mod suggest;
mod summary;
pub(crate) mod sweep;
mod tus;
mod uploads;
mod wait;
mod webhooks;
mod workers;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{delete, get, post, put},
};
use common::{api::WorkerPort, preset::Presets, profile::Profiles};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use self::access::{Gate, Refused};
pub(crate) use self::{
    estimate::Estimates,
    events::{Batches, EventHub},
    session::Cookies,
    signed::Links,
};
use crate::{
    access::{Access, Token},
    holdings::Holdings,
    incoming::Incoming,
    live::service::Live,
    metrics::{Metrics, observe},
    queue,
    storage::{Storage, buckets::Buckets, shared::SharedRoots},
    store::{JobStore, UploadOwners},
    webhooks::Webhooks,
};

/// What the handlers work with; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) queue: queue::Handle,
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) storage: Storage,
    pub(crate) presets: Arc<Presets>,
    pub(crate) shared: SharedRoots,
    pub(crate) buckets: Buckets,
    pub(crate) max_upload: u64,
    pub(crate) incoming: Incoming,
    /// Read while a job claims an upload, written while uploads are removed.
    pub(crate) uploads: Arc<RwLock<()>>,
    /// Read while a job that is over is queued again, written while one is removed.
    pub(crate) removals: Arc<RwLock<()>>,
    /// Whose uploads are.
    pub(crate) upload_owners: Arc<dyn UploadOwners>,
    /// How much they hold.
    pub(crate) holdings: Holdings,
    pub(crate) access: Access,
    pub(crate) cookies: Cookies,
    pub(crate) events: EventHub,
    pub(crate) live: Live,
    pub(crate) profiles: Arc<Profiles>,
    /// Who may watch.
    pub(crate) viewers: live::Viewers,
    pub(crate) links: Links,
    pub(crate) estimates: Estimates,
    pub(crate) webhooks: Webhooks,
    pub(crate) metrics: Metrics,
    /// Where workers connect to.
    pub(crate) worker_port: Option<WorkerPort>,
    /// Ends event streams and live streams.
    pub(crate) stop: CancellationToken,
}

/// Where the API is reached.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    /// From this machine alone.
    pub(crate) loopback: bool,
    /// Whoever reaches it may do everything while there is no key.
    pub(crate) insecure_open: bool,
    /// Opens `/metrics`, whatever keys there are.
    pub(crate) scraper: Option<Token>,
}

/// The routes.
pub(crate) fn router(api: Api, Reached { loopback, insecure_open, scraper }: Reached) -> Router {
    let refused = Refused::default();
    let gate = Gate {
        access: api.access.clone(),
        insecure_open,
        loopback,
        scraper,
        refused: refused.clone(),
        cookies: api.cookies.clone(),
    };
    routes()
        // For JSON; uploads read their body as a stream, with a limit of their own.
        .layer(DefaultBodyLimit::max(extract::MAX_JSON))
        .layer(middleware::from_fn_with_state(gate, access::gate))
        .layer(Extension(refused))
        .layer(middleware::from_fn(guard::guard))
        .layer(middleware::from_fn_with_state(api.metrics.http.clone(), observe))
        .with_state(api)
}

/// Each of them is in [`access::ROUTES`].
fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(pages::root))
        .route("/ui", get(pages::home))
        .route("/ui/", get(pages::index))
        .route("/ui/{*path}", get(pages::file))
        .route("/openapi.json", get(openapi::json))
        .route("/docs", get(openapi::docs))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
        .route("/v1/session", get(session::show).post(session::sign_in).delete(session::sign_out))
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/redrive", post(redrive::redrive))
        .route("/v1/jobs/{id}", get(jobs::show).patch(jobs::patch).delete(jobs::remove))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/logs", get(jobs::logs))
        .route("/v1/jobs/{id}/webhooks", get(webhooks::list))
        .route("/v1/jobs/{id}/webhooks/{event}/redeliver", post(webhooks::redeliver))
        .route("/v1/webhooks/secret", get(webhooks::secret))
        .route("/v1/jobs/{id}/outputs", get(outputs::list))
        .route("/v1/jobs/{id}/outputs/{*path}", get(outputs::get))
        .route("/v1/uploads", post(uploads::post).options(tus::options))
        .route(
            "/v1/uploads/{path}",
            put(uploads::put)
                .delete(uploads::delete)
                .head(tus::head)
                .patch(tus::patch)
                .post(tus::override_method)
                .options(tus::options),
        )
        .route("/v1/run", post(run::run))
        .route("/v1/probe", post(probe::probe))
        .route("/signed/{id}/{leave}", get(signed::main))
        .route("/signed/{id}/{leave}/{*path}", get(signed::file))
        .route("/v1/events", get(events::events))
        .route("/v1/workers", get(workers::list))
        .route("/v1/summary", get(summary::show))
        .route("/v1/workers/{id}", get(workers::show).delete(workers::forget))
        .route("/v1/workers/{id}/history", get(workers::history))
        .route("/v1/workers/{id}/probe", post(workers::probe))
        .route("/v1/workers/{id}/drain", post(workers::drain))
        .route("/v1/workers/{id}/resume", post(workers::resume))
        .route("/v1/presets", get(presets::list))
        .route("/v1/presets/{path}", get(presets::show))
        .route("/v1/profiles", get(profiles::list))
        .route("/v1/profiles/{path}", get(profiles::show))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", delete(keys::revoke))
        .route("/v1/owners", get(owners::list))
        .route("/v1/owners/{path}/quotas", put(owners::put).delete(owners::delete))
        .merge(live::routes())
        .merge(streams::routes())
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::not_found)
}
