//! One worker's stream, from Hello to its end.
//!
//! Three loops run side by side and the first to end ends the session: what the worker says, what it is told, and the
//! slow part of what it says (checking files), which must not hold up heartbeats.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use common::{
    failpoint,
    failure::FailureKind,
    id::{AttemptId, JobId, SessionId},
    proto::{self, coordinator_message, worker_message::Message},
    worker::OutputFile,
};
use futures::FutureExt as _;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::{
    Sessions, hello,
    urls::AttemptUrls,
    wire::{self, Terms},
};
use crate::{
    queue::{AttemptResult, Beat, ToWorker, Welcome},
    storage,
};

/// Time for Hello.
const HELLO: Duration = Duration::from_secs(10);
/// What the queue has for this session and was not sent yet.
const OUTBOX: usize = 256;
/// Starts and ends of attempts that wait for their turn. A worker that is so far ahead waits.
const REPORTS: usize = 256;
/// Time for the reports of a stream that has ended: their files are there, only the check is missing.
const LAST_REPORTS: Duration = Duration::from_secs(10);

type Inbound = Streaming<proto::WorkerMessage>;
type Outgoing = mpsc::Sender<Result<proto::CoordinatorMessage, Status>>;

pub(super) struct Session {
    pub(super) server: Sessions,
    pub(super) peer: Option<SocketAddr>,
    pub(super) outgoing: Outgoing,
    /// Live attempts of this session that have not ended: what is said of them is not looked at and waits for nothing.
    pub(super) live: Mutex<BTreeSet<AttemptId>>,
}

/// The start or end of an attempt; per worker in the order in which they came.
enum Report {
    Started(AttemptId, proto::AttemptStarted),
    Finished(AttemptId, proto::AttemptFinished),
}

/// How a stream ended; `Err` is what the worker is told.
type End = Result<(), Status>;

impl Session {
    pub(super) async fn run(self, mut inbound: Inbound) {
        let end = self.converse(&mut inbound).await;
        if let Err(status) = end {
            tracing::debug!(%status, "session ends");
            // Without room the worker does not read, and will see the end of the stream.
            let _ = self.outgoing.try_send(Err(status));
        }
    }

    async fn converse(&self, inbound: &mut Inbound) -> End {
        let first = tokio::select! {
            biased;
            () = self.server.stop.cancelled() => return Err(shutting_down()),
            first = timeout(HELLO, inbound.message()) => {
                first.map_err(|_| Status::deadline_exceeded("no Hello within 10 s"))??
            }
        };
        let Some(Message::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        let accepted = hello::accept(hello, self.peer).inspect_err(|status| {
            tracing::warn!(%status, "a worker could not be registered");
        })?;
        let (worker, name) = (accepted.registration.identity.id, accepted.registration.identity.name.clone());
        let terms = Terms {
            stall_timeout_ms: self.server.stall_timeout.as_millis().try_into().unwrap_or(u32::MAX),
            urls: AttemptUrls(self.server.signer.clone()),
            shared_roots: accepted.shared_roots,
        };
        let (outbox, messages) = mpsc::channel(OUTBOX);
        // From here to `disconnected` nothing may cut this future short; shutdown is looked at in `serve`.
        let welcome = self
            .server
            .queue
            .register(accepted.registration, outbox)
            .await
            .map_err(|error| super::status(&error))?;
        let session = welcome.session;
        let span = tracing::Span::current();
        span.record("worker", tracing::field::display(worker));
        span.record("session", tracing::field::display(session));
        tracing::info!(name, "worker registered");
        self.server.agreed(session, accepted.protocol);
        let served = AssertUnwindSafe(self.serve(welcome, accepted.protocol, inbound, messages, &terms));
        let end = served.catch_unwind().await;
        self.server.ended(session);
        self.server.queue.disconnected(session).await;
        tracing::info!(name, "worker disconnected");
        end.unwrap_or_else(|_| Err(Status::internal("the session failed; see the coordinator's log")))
    }

    async fn serve(
        &self,
        welcome: Welcome,
        protocol: u32,
        inbound: &mut Inbound,
        messages: mpsc::Receiver<ToWorker>,
        terms: &Terms,
    ) -> End {
        let session = welcome.session;
        self.say(self.welcome(welcome, protocol)).await?;
        let (reports, waiting) = mpsc::channel(REPORTS);
        let mut reporting = std::pin::pin!(self.report(session, waiting));
        let end = tokio::select! {
            biased;
            () = self.server.stop.cancelled() => Err(shutting_down()),
            end = self.tell(messages, terms) => end,
            end = self.hear(session, inbound, reports) => end,
            () = &mut reporting => Ok(()),
        };
        // What it did for viewers goes to another worker now.
        self.server.queue.session_ending(session).await;
        // The sender is gone, so this ends when every report was made.
        if timeout(LAST_REPORTS, reporting).await.is_err() {
            tracing::warn!("the last reports of a session could not be checked in time");
        }
        end
    }

    fn welcome(&self, welcome: Welcome, protocol: u32) -> coordinator_message::Message {
        let verdicts = welcome.verdicts.into_iter().map(|(attempt, keep)| proto::RunningVerdict {
            task_id: attempt.task.to_string(),
            epoch: attempt.epoch.0,
            keep,
        });
        let milliseconds = |duration: Duration| duration.as_millis().try_into().unwrap_or(u32::MAX);
        coordinator_message::Message::Welcome(proto::Welcome {
            session_id: welcome.session.to_string(),
            protocol,
            heartbeat_interval_ms: milliseconds(self.server.heartbeat_interval),
            lease_ms: milliseconds(self.server.lease),
            verdicts: verdicts.collect(),
        })
    }

    /// Sends a message; a worker that does not read for a whole lease is given up.
    async fn say(&self, message: coordinator_message::Message) -> End {
        let message = proto::CoordinatorMessage { message: Some(message) };
        match timeout(self.server.lease, self.outgoing.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the worker closed the stream")),
            Err(_) => Err(Status::deadline_exceeded("the worker does not read its messages")),
        }
    }

    async fn tell(&self, mut messages: mpsc::Receiver<ToWorker>, terms: &Terms) -> End {
        while let Some(message) = messages.recv().await {
            self.note_live(&message);
            match wire::to_wire(message, terms) {
                Ok(message) => self.say(message).await?,
                Err(reason) => return Err(Status::aborted(reason)),
            }
        }
        Err(Status::unavailable("the coordinator closed the session; connect again"))
    }

    /// Keeps in mind which attempts are live.
    fn note_live(&self, message: &ToWorker) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            ToWorker::AssignLive(assignment) => {
                live.insert(assignment.attempt);
            }
            ToWorker::Stop { attempt, .. } => {
                live.remove(attempt);
            }
            _ => {}
        }
    }

    fn is_live(&self, attempt: AttemptId) -> bool {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).contains(&attempt)
    }

    async fn hear(&self, session: SessionId, inbound: &mut Inbound, reports: mpsc::Sender<Report>) -> End {
        while let Some(message) = inbound.message().await? {
            // A message that this version does not know.
            let Some(message) = message.message else { continue };
            match message {
                Message::Heartbeat(heartbeat) => self.heartbeat(session, heartbeat).await?,
                Message::AttemptStarted(started) => {
                    let attempt = hello::attempt(&started.task_id, started.epoch)?;
                    if self.is_live(attempt) {
                        self.started(session, attempt, started).await;
                        continue;
                    }
                    enqueue(&reports, Report::Started(attempt, started)).await?;
                }
                Message::AttemptFinished(finished) => {
                    let attempt = hello::attempt(&finished.task_id, finished.epoch)?;
                    if self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt) {
                        let log_tail = wire::log_lines(&finished.log_tail, wire::MAX_LOG_TAIL);
                        let result = wire::result(finished.result);
                        self.server.queue.attempt_finished(session, attempt, result, log_tail).await;
                        continue;
                    }
                    enqueue(&reports, Report::Finished(attempt, finished)).await?;
                }
                Message::Draining(draining) => {
                    tracing::info!(reason = hello::shorten(&draining.reason, 256), "worker drains");
                    self.server.queue.worker_draining(session).await;
                }
                Message::CapabilitiesChanged(changed) => {
                    let capabilities = hello::capabilities(changed.capabilities.unwrap_or_default())?;
                    self.server.queue.capabilities_changed(session, capabilities).await;
                }
                Message::Hello(_) => return Err(Status::invalid_argument("Hello was said already")),
            }
        }
        Ok(())
    }

    async fn heartbeat(&self, session: SessionId, heartbeat: proto::Heartbeat) -> End {
        if heartbeat.attempts.len() > hello::MAX_ATTEMPTS {
            return Err(Status::invalid_argument("a heartbeat names too many attempts"));
        }
        let attempts = heartbeat.attempts.into_iter().map(|said| {
            let attempt = hello::attempt(&said.task_id, said.epoch)?;
            let progress = hello::progress(said.progress.unwrap_or_default());
            Ok((attempt, progress, wire::log_lines(&said.log, wire::MAX_HEARTBEAT_LOG)))
        });
        let attempts = attempts.collect::<Result<_, Status>>()?;
        let beat = Beat {
            load: hello::load(heartbeat.load.unwrap_or_default()),
            gpus: hello::gpu_loads(heartbeat.gpus),
            attempts,
            not_taking: hello::reason(&heartbeat.not_taking),
        };
        self.server.queue.heartbeat(session, beat).await;
        Ok(())
    }

    async fn report(&self, session: SessionId, mut reports: mpsc::Receiver<Report>) {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Started(attempt, started) => self.started(session, attempt, started).await,
                Report::Finished(attempt, finished) => self.finished(session, attempt, finished).await,
            }
        }
    }

    async fn started(&self, session: SessionId, attempt: AttemptId, started: proto::AttemptStarted) {
        let (argv, input) = (wire::argv(started.argv), wire::input_info(&started.input_info_json));
        self.server.queue.attempt_started(session, attempt, argv, input).await;
    }

    async fn finished(&self, session: SessionId, attempt: AttemptId, finished: proto::AttemptFinished) {
        let log_tail = wire::log_lines(&finished.log_tail, wire::MAX_LOG_TAIL);
        let (result, checked) = self.check(session, attempt, wire::result(finished.result)).await;
        failpoint::hit("attempt.checked");
        self.server.queue.attempt_finished(session, attempt, result, log_tail).await;
        failpoint::hit("attempt.queued");
        if checked {
            // After the queue was told: what asks the queue from here on hears that the attempt is over.
            self.server.uploads.forget(attempt);
        }
    }

    /// A success counts only when its files are in the storage; whether that was looked at.
    async fn check(
        &self,
        session: SessionId,
        attempt: AttemptId,
        result: AttemptResult,
    ) -> (AttemptResult, bool) {
        let AttemptResult::Succeeded { mut outputs, warnings, progress, damage } = result else {
            return (result, false);
        };
        // A stale attempt is told to the queue as it is, which ignores it.
        let Ok(grant) = self.server.queue.upload_grant(session, attempt).await else {
            return (AttemptResult::Succeeded { outputs, warnings, progress, damage }, false);
        };
        if outputs.is_empty() {
            let problem = "the worker reported success without a single file".to_owned();
            return (wire::failed(FailureKind::OutputWrong, problem), true);
        }
        let problem = match self.look(grant.job, attempt, session, &mut outputs).await {
            Ok(None) => return (AttemptResult::Succeeded { outputs, warnings, progress, damage }, true),
            Ok(Some(problem)) => problem,
            Err(error) => format!("the uploaded files could not be checked: {error}"),
        };
        tracing::warn!(
            job = %grant.job, task = %attempt.task, epoch = %attempt.epoch, problem,
            "an attempt's files are not what it reported"
        );
        (wire::failed(FailureKind::UploadFailed, problem), true)
    }

    /// What is wrong with the files, in words.
    async fn look(
        &self,
        job: JobId,
        attempt: AttemptId,
        session: SessionId,
        outputs: &mut [OutputFile],
    ) -> Result<Option<String>, storage::Error> {
        let Sessions { uploads, storage, .. } = &self.server;
        if let Some(problem) = wire::undigested(outputs, self.server.protocol(session)) {
            return Ok(Some(problem));
        }
        if let Err(problem) = uploads.seal(job, attempt, outputs) {
            return Ok(Some(problem));
        }
        storage.check_outputs(job, attempt, outputs, |key| uploads.digest(attempt, key)).await
    }
}

async fn enqueue(reports: &mpsc::Sender<Report>, report: Report) -> End {
    reports.send(report).await.map_err(|_| Status::internal("the session has ended"))
}

fn shutting_down() -> Status {
    Status::unavailable("the coordinator is shutting down; connect again")
}
