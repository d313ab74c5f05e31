//! The worker port: the gRPC service, and the signed URLs through which bytes go.
//!
//! A session is one `Session` stream. Everything that a worker says is checked here and handed to the queue under the
//! session's id, which is what the queue goes by: no worker can speak about another's attempt. However a stream ends, the
//! queue is told once.

mod auth;
mod current;
mod direct;
mod hello;
mod live;
mod objects;
mod stream;
mod uploads;
mod urls;
mod wire;

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::Request as HttpRequest,
    response::{IntoResponse as _, Response as HttpResponse},
};
use common::{
    config::Secret,
    id::SessionId,
    proto::{
        self,
        worker_service_server::{WorkerService, WorkerServiceServer},
    },
};
use hyper::header;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Request, Response, Status, Streaming,
    service::{Routes, interceptor::InterceptedService},
};
use tracing::Instrument as _;

pub(crate) use self::uploads::Uploads;
use self::{
    auth::Auth, current::Current, direct::Direct, live::LiveBytes, objects::Objects, stream::Session,
};
use crate::{
    api::problem,
    incoming::Incoming,
    live::service::Live,
    queue,
    serve::Peer,
    storage::{Storage, buckets::Buckets, shared::SharedRoots, sign::Signer},
};

/// Messages to a worker that it has not taken yet, per session. They are small; a worker that lets so many wait is stuck.
const OUTGOING: usize = 64;
/// Bytes of a message from a worker. The largest is the end of an attempt with very many segments.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Files that one OpenUploads call asks for: the answer, some 300 bytes each, stays below gRPC's usual 4 MiB.
const MAX_UPLOADS: usize = 8_000;

/// What the worker port works with.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) queue: queue::Handle,
    pub(crate) storage: Storage,
    pub(crate) shared: SharedRoots,
    pub(crate) buckets: Buckets,
    pub(crate) signer: Signer,
    pub(crate) uploads: Uploads,
    /// How long a URL of the object store is good that a worker gets; `None`: workers get none.
    pub(crate) direct: Option<Duration>,
    pub(crate) incoming: Incoming,
    pub(crate) live: Live,
    /// What each open session has agreed on.
    pub(crate) protocols: Arc<Mutex<HashMap<SessionId, u32>>>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) lease: Duration,
    pub(crate) stall_timeout: Duration,
    /// Ends every session.
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

/// The routes of the worker port.
pub(crate) fn router(sessions: Sessions, token: Option<&Secret>) -> Router {
    let objects = objects::router(Objects {
        storage: sessions.storage.clone(),
        shared: sessions.shared.clone(),
        buckets: sessions.buckets.clone(),
        signer: sessions.signer.clone(),
        current: Current::new(sessions.queue.clone()),
        uploads: sessions.uploads.clone(),
        direct: Direct::new(sessions.direct, sessions.stop.clone(), sessions.tracker.clone()),
        incoming: sessions.incoming.clone(),
        stop: sessions.stop.clone(),
        tracker: sessions.tracker.clone(),
    });
    let live = live::router(LiveBytes {
        live: sessions.live.clone(),
        signer: sessions.signer.clone(),
        open: live::Open::default(),
        stop: sessions.stop.clone(),
        tracker: sessions.tracker.clone(),
    });
    let service = WorkerServiceServer::new(sessions).max_decoding_message_size(MAX_MESSAGE);
    let grpc = Routes::new(InterceptedService::new(service, Auth::new(token)));
    grpc.into_axum_router()
        .merge(objects)
        .merge(live)
        .method_not_allowed_fallback(async || problem::Error::MethodNotAllowed)
        .fallback(unknown)
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/grpc")) {
        return Status::unimplemented(format!("{} is not served here", request.uri().path())).into_http();
    }
    let what = "this is the port for workers; the HTTP API is on TVARR_HTTP_PORT".to_owned();
    problem::Error::NotFound { what }.into_response()
}

#[tonic::async_trait]
impl WorkerService for Sessions {
    type SessionStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<proto::CoordinatorMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if self.stop.is_cancelled() {
            return Err(Status::unavailable("the coordinator is shutting down"));
        }
        let peer = peer(&request);
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let session = Session { server: self.clone(), peer, outgoing, live: Mutex::default() };
        let span = tracing::error_span!(
            "session",
            peer = peer.map(tracing::field::display),
            worker = tracing::field::Empty,
            session = tracing::field::Empty
        );
        self.tracker.spawn(session.run(request.into_inner()).instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn open_uploads(
        &self,
        request: Request<proto::OpenUploadsRequest>,
    ) -> Result<Response<proto::OpenUploadsResponse>, Status> {
        let request = request.into_inner();
        if request.files.len() > MAX_UPLOADS {
            return Err(Status::invalid_argument(format!(
                "{} files at once are more than {MAX_UPLOADS}; ask in parts",
                request.files.len()
            )));
        }
        let session: SessionId = request
            .session_id
            .parse()
            .map_err(|error| Status::invalid_argument(format!("session_id: {error}")))?;
        let attempt = hello::attempt(&request.task_id, request.epoch)?;
        let files = wire::outputs(request.files).map_err(Status::invalid_argument)?;
        let grant = self.queue.upload_grant(session, attempt).await.map_err(|error| status(&error))?;
        if let Some(problem) = wire::undigested(&files, self.protocol(session)) {
            return Err(Status::invalid_argument(problem));
        }
        self.uploads.grant(grant.job, attempt, &files).map_err(Status::invalid_argument)?;
        let urls = urls::uploads(&self.signer, grant, &files);
        let direct = self.direct.is_some() && self.storage.is_remote();
        Ok(Response::new(proto::OpenUploadsResponse { urls, direct }))
    }
}

impl Sessions {
    fn agreed(&self, session: SessionId, protocol: u32) {
        self.protocols.lock().unwrap_or_else(PoisonError::into_inner).insert(session, protocol);
    }

    fn ended(&self, session: SessionId) {
        self.protocols.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }

    /// What the session has agreed on; the newest when it has just ended.
    fn protocol(&self, session: SessionId) -> u32 {
        let protocols = self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        protocols.get(&session).copied().unwrap_or(proto::PROTOCOL_MAX)
    }
}

fn peer<T>(request: &Request<T>) -> Option<SocketAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

/// The queue's errors as gRPC says them.
fn status(error: &queue::Error) -> Status {
    let text = error.to_string();
    match error {
        queue::Error::NoSuchJob(_) | queue::Error::NoSuchWorker(_) => Status::not_found(text),
        queue::Error::WrongState(_) | queue::Error::Stale(_) => Status::failed_precondition(text),
        queue::Error::Quota(_) => Status::resource_exhausted(text),
        queue::Error::Store(_) | queue::Error::NoRoom(_) | queue::Error::ShuttingDown => {
            Status::unavailable(text)
        }
    }
}
