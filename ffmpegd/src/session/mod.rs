//! The control connection to the coordinator, and what is decided from it.
//!
//! [`state`] decides and knows no I/O. [`link`] dials, for ever, and carries messages. Running attempts do not care whether
//! a session is open: they go on, within their leases.

mod doubt;
mod lease;
mod link;
mod state;

use common::proto;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

pub(crate) use self::{
    doubt::Doubt,
    lease::Lease,
    link::{Dial, Link, LinkEvent},
    state::{Effect, Event, State, Terms, Why},
};

pub(crate) type Client =
    proto::worker_service_client::WorkerServiceClient<InterceptedService<Channel, Bearer>>;

/// An open session, for calls beside the stream.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) session: String,
}

/// Puts the worker's token on every call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(pub(crate) Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert(proto::AUTHORIZATION, token.clone());
        }
        Ok(request)
    }
}

/// A message of the worker.
pub(crate) fn message(message: proto::worker_message::Message) -> proto::WorkerMessage {
    proto::WorkerMessage { message: Some(message) }
}

/// Progress of an attempt for a heartbeat.
pub(crate) fn attempt_progress(
    attempt: common::id::AttemptId,
    progress: impl Into<proto::Progress>,
    log: Vec<String>,
) -> proto::AttemptProgress {
    proto::AttemptProgress {
        task_id: attempt.task.to_string(),
        epoch: attempt.epoch.0,
        progress: Some(progress.into()),
        log,
    }
}
