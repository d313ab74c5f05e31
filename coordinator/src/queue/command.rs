//! What the queue's task is asked for: a handle sends it, the service takes it.

use std::collections::BTreeMap;

use common::{
    api::{AttemptLog, JobView, Quotas, WorkerView},
    id::{AttemptId, JobId, SessionId, WorkerId},
    media::MediaInfo,
    worker::Capabilities,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    delivery::Delivered,
    handle::Error,
    inflow::Inflow,
    jobs::Submission,
    live::{LiveOrder, LivePlacement},
    message::{AttemptResult, Beat, Registration, ToWorker, UploadGrant, Welcome},
    once::IdempotencyKey,
    rows::Look,
    view::Overlay,
};
use crate::store::StoredJob;

/// What the queue's task is asked for. Those with an answer that changes jobs are answered after the commit.
///
/// Those about workers and live are urgent: they are taken while a commit is under way, and in the order in which they were
/// sent. The others wait for it.
pub(super) enum Command {
    Submit(Submission, Answer<Reply>),
    /// The job that the same request gave before, once it is durable.
    Submitted(IdempotencyKey, Answer<Option<JobId>>),
    SetPriority(JobId, i32, Answer<()>),
    SetQuotas(String, Option<Quotas>, oneshot::Sender<()>),
    OwnersInUse(oneshot::Sender<BTreeMap<String, (u32, u32)>>),
    Cancel(JobId, Answer<()>),
    Retry(StoredJob, Answer<()>),
    Overlays(Vec<JobId>, oneshot::Sender<Vec<Overlay>>),
    LiveLogs(JobId, oneshot::Sender<Vec<AttemptLog>>),
    /// What of the fleet somebody wants to see.
    Look(Look),
    Probe(WorkerId, Answer<()>),
    Forget(WorkerId, Answer<()>),
    SetDraining(WorkerId, bool, oneshot::Sender<Result<WorkerView, Error>>),
    PreemptWorker(WorkerId, String, Answer<()>),
    Register(Box<Registration>, SessionId, mpsc::Sender<ToWorker>, oneshot::Sender<Welcome>),
    Heartbeat(SessionId, Beat),
    AttemptStarted(SessionId, AttemptId, Vec<String>, Option<MediaInfo>),
    IsCurrent(AttemptId, oneshot::Sender<bool>),
    UploadGrant(SessionId, AttemptId, oneshot::Sender<Result<UploadGrant, Error>>),
    Delivered(JobId, u64, Delivered),
    AttemptFinished(SessionId, AttemptId, AttemptResult, Vec<String>),
    WorkerDraining(SessionId),
    CapabilitiesChanged(SessionId, Box<Capabilities>),
    SessionEnding(SessionId),
    Disconnected(SessionId),
    Inflow(String, Inflow, Answer<()>),
    Inflows(Vec<(String, Inflow)>, oneshot::Sender<()>),
    PlaceLive(Box<LiveOrder>, Answer<LivePlacement>),
    EndLive(AttemptId, String),
}

/// What became of a submission; durable.
#[derive(Debug)]
pub(super) enum Reply {
    New(Box<JobView>),
    Before(JobId),
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;
