//! What the rest of the coordinator may ask of the queue.

use std::{collections::BTreeMap, sync::Arc};

use common::{
    api::{
        AttemptLog, Event, FleetSummary, JobState, JobSummary, JobView, Page, Quotas, Webhook, WorkerHistory,
        WorkerSummary, WorkerView,
    },
    failure::FailureKind,
    id::{AttemptId, JobId, SessionId, TaskId, WorkerId},
    media::MediaInfo,
    worker::{Capabilities, OutputFile},
};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use super::{
    command::{Command, Reply},
    delivery::Delivered,
    figures::{Demand, Figures},
    inflow::Inflow,
    input::JobInput,
    jobs::{Submission, state_word},
    live::{LiveOrder, LivePlacement},
    message::{AttemptResult, Beat, Registration, ToWorker, UploadGrant, Welcome},
    once::IdempotencyKey,
    rows::{FleetChanges, Look, Since, WorkerFilter},
    view::{stored_summary, stored_view},
};
use crate::{
    plan::plan,
    store::{JobDetails, JobRecord, JobStore, StoredJob},
};

/// Why the queue did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    #[error("there is no worker {0}")]
    NoSuchWorker(WorkerId),
    /// Cancelling what has ended, retrying what runs.
    #[error("{0}")]
    WrongState(String),
    /// As much as its owner may have.
    #[error("{0}")]
    Quota(String),
    /// The attempt is not current, or not this worker's.
    #[error("attempt {0} is not current: its lease was lost, or it belongs to another worker")]
    Stale(AttemptId),
    #[error("the job store cannot write: {0}; the request was not accepted, try again later")]
    Store(String),
    /// Nobody can take a live attempt now: what it waits for.
    #[error("no worker can take it now; it needs {0}")]
    NoRoom(String),
    #[error("the coordinator is shutting down")]
    ShuttingDown,
}

/// Which jobs a list shows; newest first.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub states: Vec<JobState>,
    pub owner: Option<String>,
    /// Why they did not succeed.
    pub kind: Option<FailureKind>,
    /// Name of the preset, or `custom`.
    pub preset: Option<String>,
    /// Name of the worker that has them, or had them last.
    pub worker: Option<String>,
    /// In the id, or the name that the user knows the input by.
    pub text: Option<String>,
    /// Jobs older than this one.
    pub before: Option<JobId>,
    /// 1 to 500.
    pub limit: u32,
}

/// A cloneable handle to the running queue. Every method that changes a job returns after the change is on disk.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) urgent: mpsc::Sender<Command>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) store: Arc<dyn JobStore>,
    pub(super) webhooks: Arc<Notify>,
}

/// A job that was submitted.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub view: JobView,
    /// The same request had given it before.
    pub before: bool,
}

impl Handle {
    /// Accepts a job: when this returns, it is on disk and will reach a final state.
    ///
    /// # Errors
    /// [`Error::Store`] when it could not be written; then it was not accepted.
    pub async fn submit(&self, details: JobDetails) -> Result<JobView, Error> {
        Ok(self.submit_once(details, None).await?.view)
    }

    /// The same with an id that was chosen before, and that no job has.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_as(&self, id: JobId, details: JobDetails) -> Result<JobView, Error> {
        Ok(self.queue_one(id, details, None).await?.view)
    }

    /// The same, unless the same request gave a job before: then that one, as it is now.
    ///
    /// # Errors
    /// As [`Handle::submit`]; [`Error::WrongState`]: the key came with another request before; [`Error::Quota`].
    pub async fn submit_once(
        &self,
        details: JobDetails,
        once: Option<IdempotencyKey>,
    ) -> Result<Submitted, Error> {
        self.queue_one(JobId::new(), details, once).await
    }

    async fn queue_one(
        &self,
        id: JobId,
        details: JobDetails,
        once: Option<IdempotencyKey>,
    ) -> Result<Submitted, Error> {
        let tasks = plan(&details.spec).into_iter().map(|kind| (TaskId::new(), kind)).collect();
        let submission = Submission { id, details, tasks, once };
        match self.ask(|answer| Command::Submit(submission, answer)).await?? {
            Reply::New(view) => Ok(Submitted { view: *view, before: false }),
            Reply::Before(job) => Ok(Submitted { view: self.job(job).await?, before: true }),
        }
    }

    /// The job that the same request gave before; whatever it named then need not be there any more.
    ///
    /// # Errors
    /// [`Error::WrongState`]: the key came with another request before.
    pub async fn submitted(&self, key: IdempotencyKey) -> Result<Option<JobId>, Error> {
        self.ask(|answer| Command::Submitted(key, answer)).await?
    }

    /// Puts a job that has not ended elsewhere in the queue.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub async fn set_priority(&self, job: JobId, priority: i32) -> Result<JobView, Error> {
        match self.ask(|answer| Command::SetPriority(job, priority, answer)).await? {
            Ok(()) => self.job(job).await,
            // It is not in memory: over, or never there.
            Err(Error::NoSuchJob(_)) => {
                let state = state_word(self.job(job).await?.summary.state);
                Err(Error::WrongState(format!("job {job} has {state} already: it waits for nothing")))
            }
            Err(error) => Err(error),
        }
    }

    /// What holds for an owner from here on; `None`: what is usual.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub async fn set_quotas(&self, owner: String, quotas: Option<Quotas>) -> Result<(), Error> {
        self.ask(|answer| Command::SetQuotas(owner, quotas, answer)).await
    }

    /// Jobs that wait and tasks that run, of owners that have unfinished jobs.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub async fn owners_in_use(&self) -> Result<BTreeMap<String, (u32, u32)>, Error> {
        self.ask(Command::OwnersInUse).await
    }

    /// Cancels a job: what waits is dropped, what runs is stopped.
    ///
    /// # Errors
    /// There is no such job, or it is over.
    pub async fn cancel(&self, job: JobId) -> Result<JobView, Error> {
        match self.ask(|answer| Command::Cancel(job, answer)).await? {
            Ok(()) => self.job(job).await,
            // It is not in memory: over, or never there.
            Err(Error::NoSuchJob(_)) => {
                let view = self.job(job).await?;
                Err(Error::WrongState(format!(
                    "job {job} has {} already: there is nothing to cancel",
                    state_word(view.summary.state)
                )))
            }
            Err(error) => Err(error),
        }
    }

    /// Queues a failed or cancelled job again.
    ///
    /// # Errors
    /// There is no such job, or it has not failed.
    pub async fn retry(&self, job: JobId) -> Result<JobView, Error> {
        let stored = self.stored(job).await?;
        self.ask(|answer| Command::Retry(stored, answer)).await??;
        self.job(job).await
    }

    /// # Errors
    /// There is no such job, or the store cannot be read.
    pub async fn job(&self, job: JobId) -> Result<JobView, Error> {
        let mut view = stored_view(&self.stored(job).await?);
        for overlay in self.ask(|answer| Command::Overlays(vec![job], answer)).await? {
            overlay.apply(&mut view.summary);
        }
        Ok(view)
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn jobs(&self, mut filter: JobFilter) -> Result<Page<JobSummary>, Error> {
        filter.limit = filter.limit.clamp(1, 500);
        // One more than asked for tells whether there is a next page.
        let wanted = filter.limit as usize;
        filter.limit += 1;
        let mut jobs = self.store.jobs(&filter).await.map_err(|error| Error::Store(error.to_string()))?;
        let more = jobs.len() > wanted;
        jobs.truncate(wanted);
        let next_cursor = jobs.last().filter(|_| more).map(|job| job.id.to_string());
        let mut items: Vec<JobSummary> = jobs.iter().map(stored_summary).collect();
        let active: Vec<usize> = (0..items.len()).filter(|index| !items[*index].state.is_final()).collect();
        let ids = active.iter().map(|index| items[*index].id).collect();
        let overlays = self.ask(|answer| Command::Overlays(ids, answer)).await?;
        for (index, overlay) in active.into_iter().zip(overlays) {
            overlay.apply(&mut items[index]);
        }
        Ok(Page { items, next_cursor })
    }

    /// What ffmpeg wrote, by attempt.
    ///
    /// # Errors
    /// There is no such job, or the store cannot be read.
    pub async fn logs(&self, job: JobId) -> Result<Vec<AttemptLog>, Error> {
        let stored = self.stored(job).await?;
        let kept = self.store.logs(job).await.map_err(|error| Error::Store(error.to_string()))?;
        let worker = |id: AttemptId| {
            let attempts = stored.tasks.iter().flat_map(|(_, attempts)| attempts);
            attempts.filter(|attempt| attempt.id == id).map(|attempt| attempt.worker.name.clone()).next()
        };
        let mut logs: Vec<AttemptLog> = kept
            .into_iter()
            .map(|log| AttemptLog {
                task: log.id.task,
                epoch: log.id.epoch,
                worker: worker(log.id).unwrap_or_default(),
                lines: log.lines,
            })
            .collect();
        for live in self.ask(|answer| Command::LiveLogs(job, answer)).await? {
            if !logs.iter().any(|log| (log.task, log.epoch) == (live.task, live.epoch)) {
                logs.push(live);
            }
        }
        Ok(logs)
    }

    /// The attempt whose files are the job's published outputs; `None` while there is none.
    ///
    /// # Errors
    /// There is no such job, or the store cannot be read.
    pub async fn published(&self, job: JobId) -> Result<Option<(AttemptId, Vec<OutputFile>)>, Error> {
        let stored = self.stored(job).await?;
        if stored.job.state != JobState::Succeeded {
            return Ok(None);
        }
        let attempt = stored
            .tasks
            .iter()
            .find_map(|(task, _)| Some(AttemptId { task: task.id, epoch: task.published? }));
        Ok(attempt.map(|attempt| (attempt, stored.job.result.outputs)))
    }

    /// A job's state, and where its input is.
    ///
    /// # Errors
    /// There is no such job, or the store cannot be read.
    pub async fn inputs(&self, job: JobId) -> Result<(JobState, Vec<JobInput>), Error> {
        let stored = self.stored(job).await?.job;
        Ok((stored.state, stored.request.inputs().cloned().collect()))
    }

    /// Jobs as the store has them, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn records(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, Error> {
        self.store.jobs(filter).await.map_err(|error| Error::Store(error.to_string()))
    }

    /// In whose name a job was submitted.
    ///
    /// # Errors
    /// There is no such job, or the store cannot be read.
    pub async fn owner(&self, job: JobId) -> Result<Option<String>, Error> {
        Ok(self.stored(job).await?.job.request.owner.clone())
    }

    /// Whom a job tells what becomes of it.
    ///
    /// # Errors
    /// There is no such job, or the store cannot be read.
    pub async fn webhook(&self, job: JobId) -> Result<Option<Box<Webhook>>, Error> {
        Ok(self.stored(job).await?.job.request.webhook.clone())
    }

    /// Rung when a commit has something that receivers of webhooks are to hear.
    #[must_use]
    pub fn webhooks(&self) -> Arc<Notify> {
        Arc::clone(&self.webhooks)
    }

    /// Keys of the objects that are inputs of jobs which have not ended: they must not be removed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn objects_in_use(&self) -> Result<std::collections::HashSet<String>, Error> {
        self.store.objects_in_use().await.map_err(|error| Error::Store(error.to_string()))
    }

    /// A page of workers, by name.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub async fn workers(&self, filter: WorkerFilter) -> Result<(Vec<WorkerSummary>, bool), Error> {
        self.ask_urgently(|answer| Command::Look(Look::Workers(filter, answer))).await
    }

    /// # Errors
    /// There is no such worker.
    pub async fn worker(&self, worker: WorkerId) -> Result<WorkerView, Error> {
        let found = self.ask_urgently(|answer| Command::Look(Look::Worker(worker, answer))).await?;
        found.ok_or(Error::NoSuchWorker(worker))
    }

    /// # Errors
    /// There is no such worker.
    pub async fn worker_history(&self, worker: WorkerId) -> Result<WorkerHistory, Error> {
        let found = self.ask_urgently(|answer| Command::Look(Look::History(worker, answer))).await?;
        found.ok_or(Error::NoSuchWorker(worker))
    }

    /// # Errors
    /// The coordinator is shutting down.
    pub async fn fleet(&self) -> Result<FleetSummary, Error> {
        self.ask_urgently(|answer| Command::Look(Look::Fleet(answer))).await
    }

    /// # Errors
    /// The coordinator is shutting down.
    pub(crate) async fn figures(&self) -> Result<Box<Figures>, Error> {
        self.ask_urgently(|answer| Command::Look(Look::Figures(answer))).await
    }

    /// Tasks that wait or run which such machines are for.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub(crate) async fn demand(&self, demand: Demand) -> Result<u64, Error> {
        self.ask_urgently(|answer| Command::Look(Look::Demand(demand, answer))).await
    }

    /// What of the fleet became another.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub async fn fleet_changes(&self, since: Since) -> Result<FleetChanges, Error> {
        self.ask_urgently(|answer| Command::Look(Look::Changes(since, answer))).await
    }

    /// Asks a worker to look again at what it can do.
    ///
    /// # Errors
    /// There is no such worker, or it cannot be asked.
    pub async fn probe_worker(&self, worker: WorkerId) -> Result<(), Error> {
        self.ask_urgently(|answer| Command::Probe(worker, answer)).await?
    }

    /// Forgets a worker that is gone.
    ///
    /// # Errors
    /// There is no such worker, or it is connected.
    pub async fn forget_worker(&self, worker: WorkerId) -> Result<(), Error> {
        self.ask_urgently(|answer| Command::Forget(worker, answer)).await?
    }

    /// # Errors
    /// There is no such worker.
    pub async fn set_draining(&self, worker: WorkerId, draining: bool) -> Result<WorkerView, Error> {
        self.ask_urgently(|answer| Command::SetDraining(worker, draining, answer)).await?
    }

    /// Takes away what a worker runs: it goes to other workers at once, and it costs nothing of its budget.
    ///
    /// # Errors
    /// There is no such worker.
    pub async fn preempt_worker(&self, worker: WorkerId, reason: &str) -> Result<(), Error> {
        self.ask_urgently(|answer| Command::PreemptWorker(worker, reason.to_owned(), answer)).await?
    }

    /// Places live work. Answered at once: before any commit, and while the store cannot be written. What becomes of it
    /// comes as [`super::LiveEvent`]s.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: nobody can take it now; [`super::LiveEvent::Room`] follows when that may have changed.
    pub async fn place_live(&self, order: LiveOrder) -> Result<LivePlacement, Error> {
        self.ask_urgently(|answer| Command::PlaceLive(Box::new(order), answer)).await?
    }

    /// Ends a live attempt, if it has not ended: its worker is told to stop it, its slot is free at once, and no event
    /// about it follows (one may be on its way already).
    pub async fn end_live(&self, attempt: AttemptId, reason: &str) {
        self.tell(Command::EndLive(attempt, reason.to_owned())).await;
    }

    /// Events from now on; a receiver that is too slow gets `Lagged`.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The input that becomes the object `key` has come further, or will not. When this returns, tasks that read it wait or
    /// go on; with [`Inflow::Gone`] their jobs have failed, durably.
    ///
    /// # Errors
    /// The coordinator is shutting down, or the store cannot be written.
    pub async fn inflow(&self, key: &str, inflow: Inflow) -> Result<(), Error> {
        self.ask_urgently(|answer| Command::Inflow(key.to_owned(), inflow, answer)).await?
    }

    /// The same of all inputs that are on their way, after a restart and before any worker is there.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub async fn inflows(&self, inflows: Vec<(String, Inflow)>) -> Result<(), Error> {
        self.ask_urgently(|answer| Command::Inflows(inflows, answer)).await
    }

    // ---- what a worker's session says

    /// A worker said Hello. What the queue has to tell it comes through `outbox`.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub async fn register(
        &self,
        hello: Registration,
        outbox: mpsc::Sender<ToWorker>,
    ) -> Result<Welcome, Error> {
        let session = SessionId::new();
        self.ask_urgently(|answer| Command::Register(Box::new(hello), session, outbox, answer)).await
    }

    pub async fn heartbeat(&self, session: SessionId, beat: Beat) {
        self.tell(Command::Heartbeat(session, beat)).await;
    }

    pub async fn attempt_started(
        &self,
        session: SessionId,
        attempt: AttemptId,
        argv: Vec<String>,
        input: Option<MediaInfo>,
    ) {
        self.tell(Command::AttemptStarted(session, attempt, argv, input)).await;
    }

    /// Whether the attempt is its task's current one: it runs, or waits for its worker to come back within its grace or,
    /// after a restart of the coordinator, within its lease.
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub async fn is_current(&self, attempt: AttemptId) -> Result<bool, Error> {
        self.ask_urgently(|answer| Command::IsCurrent(attempt, answer)).await
    }

    /// Who may upload: the job, if the attempt is current and this session's.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is not.
    pub async fn upload_grant(&self, session: SessionId, attempt: AttemptId) -> Result<UploadGrant, Error> {
        self.ask_urgently(|answer| Command::UploadGrant(session, attempt, answer)).await?
    }

    /// An attempt ended, and its files were seen to be there.
    pub async fn attempt_finished(
        &self,
        session: SessionId,
        attempt: AttemptId,
        result: AttemptResult,
        log_tail: Vec<String>,
    ) {
        self.tell(Command::AttemptFinished(session, attempt, result, log_tail)).await;
    }

    /// A delivery has ended; `number` is the order's.
    pub async fn delivered(&self, job: JobId, number: u64, outcome: Delivered) {
        self.tell(Command::Delivered(job, number, outcome)).await;
    }

    pub async fn worker_draining(&self, session: SessionId) {
        self.tell(Command::WorkerDraining(session)).await;
    }

    pub async fn capabilities_changed(&self, session: SessionId, capabilities: Capabilities) {
        self.tell(Command::CapabilitiesChanged(session, Box::new(capabilities))).await;
    }

    /// The stream has ended, and its last reports may still come: what it did for viewers is lost at once.
    pub async fn session_ending(&self, session: SessionId) {
        self.tell(Command::SessionEnding(session)).await;
    }

    /// The stream ended, and everything that it reported was said.
    pub async fn disconnected(&self, session: SessionId) {
        self.tell(Command::Disconnected(session)).await;
    }

    async fn stored(&self, job: JobId) -> Result<StoredJob, Error> {
        let found = self.store.job(job).await.map_err(|error| Error::Store(error.to_string()))?;
        found.ok_or(Error::NoSuchJob(job))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        ask(&self.commands, command).await
    }

    async fn ask_urgently<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        ask(&self.urgent, command).await
    }

    /// What a session says has no answer; when the queue is gone, the session ends by itself.
    async fn tell(&self, command: Command) {
        let _ = self.urgent.send(command).await;
    }
}

async fn ask<T>(
    queue: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Error> {
    let (answer, answered) = oneshot::channel();
    queue.send(command(answer)).await.map_err(|_| Error::ShuttingDown)?;
    answered.await.map_err(|_| Error::ShuttingDown)
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
