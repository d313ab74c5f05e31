//! The shell around the queue's decisions: one task, one writer.
//!
//! It takes what has happened in batches, lets [`State`] decide, makes the outcome durable in one commit and only then
//! answers and tells. Two things go out before the commit. An assignment: should the commit not happen, the attempt that it
//! began is unknown after the restart, is told to stop when its worker connects, and its epoch is never used again (see
//! `State::restore`), so nothing of it can be published. And the renewal of leases, which are not durable: while the disk
//! is full, what runs goes on.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    api::{Event, JobView},
    failpoint,
    id::{AttemptId, JobId, SessionId},
};
use futures::TryStreamExt as _;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    handle::{Command, Error, Handle, ToWorker},
    state::{Effect, Now, Settings, State},
};
use crate::store::{self, JobStore};

/// Commands that wait for the queue. A full channel slows down who sends, which is what is wanted.
const COMMANDS: usize = 4096;
/// Commands that one commit takes. More would delay the first of them.
const BATCH: usize = 512;
/// Events that a listener may be behind.
const EVENTS: usize = 4096;
/// Between tries of a commit that failed.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// An attempt whose objects are of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    pub job: JobId,
    pub attempt: AttemptId,
}

/// The queue, ready to run.
pub struct Service {
    state: State,
    store: Arc<dyn JobStore>,
    commands: mpsc::Receiver<Command>,
    events: broadcast::Sender<Event>,
    outboxes: HashMap<SessionId, mpsc::Sender<ToWorker>>,
    sweeps: mpsc::UnboundedSender<Sweep>,
    started: Instant,
    /// Answers that wait for the commit.
    answers: Vec<PendingAnswer>,
    /// What goes out after the commit.
    outgoing: Vec<Effect>,
    /// When a failed commit is tried again; while it is set nothing new is assigned.
    commit_again: Option<TokioInstant>,
}

enum PendingAnswer {
    Submitted(JobId, oneshot::Sender<Result<JobView, Error>>),
    Done(oneshot::Sender<Result<(), Error>>),
}

impl Service {
    /// Reads what is unfinished from the store. Attempts whose objects can go come out of the returned receiver.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(
        settings: Settings,
        store: Arc<dyn JobStore>,
    ) -> Result<(Self, Handle, mpsc::UnboundedReceiver<Sweep>), store::Error> {
        let started = Instant::now();
        let mut state = State::new(settings);
        let mut unfinished = store.unfinished();
        let mut jobs = 0_usize;
        while let Some(stored) = unfinished.try_next().await? {
            state.restore(stored, now(started));
            jobs += 1;
        }
        drop(unfinished);
        if jobs > 0 {
            tracing::info!(jobs, took = ?started.elapsed(), "unfinished jobs go on");
        }
        let (command_sender, commands) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        // Bounded by the attempts that there are: each is swept once.
        let (sweeps, swept) = mpsc::unbounded_channel();
        let handle = Handle { commands: command_sender, events: events.clone(), store: store.clone() };
        let service = Self {
            state,
            store,
            commands,
            events,
            outboxes: HashMap::new(),
            sweeps,
            started,
            answers: Vec::new(),
            outgoing: Vec::new(),
            commit_again: None,
        };
        Ok((service, handle, swept))
    }

    /// Runs until `shutdown`, then commits what was decided and ends. Whatever waits for an answer then gets
    /// [`Error::ShuttingDown`].
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wake = self.wake_at();
            let timer = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                taken = self.commands.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                }
                () = timer => {}
            }
            for command in batch.drain(..) {
                self.handle(command);
            }
            while self.advance().await {}
        }
        self.advance().await;
    }

    fn now(&self) -> Now {
        now(self.started)
    }

    /// When there is something to do without a command.
    fn wake_at(&self) -> Option<TokioInstant> {
        let deadline = self
            .state
            .next_deadline(self.now().mono)
            .map(|deadline| TokioInstant::from_std(self.started + deadline));
        deadline.into_iter().chain(self.commit_again).min()
    }

    fn handle(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Submit(submission, answer) => {
                let id = submission.id;
                self.state.submit(submission, now);
                self.answers.push(PendingAnswer::Submitted(id, answer));
            }
            Command::Cancel(job, answer) => {
                let done = self.state.cancel(job, now);
                self.answer_when_durable(done, answer);
            }
            Command::Retry(stored, answer) => {
                let id = stored.job.id;
                let done = if self.state.knows(id) {
                    Err(Error::WrongState(format!("job {id} has not ended: there is nothing to retry")))
                } else {
                    self.state.retry(stored, now)
                };
                self.answer_when_durable(done, answer);
            }
            Command::Overlays(jobs, answer) => {
                let _ = answer.send(jobs.into_iter().map(|job| self.state.overlay(job, now)).collect());
            }
            Command::LiveLogs(job, answer) => {
                let _ = answer.send(self.state.live_logs(job));
            }
            Command::Workers(answer) => {
                let _ = answer.send(self.state.worker_views(now));
            }
            Command::SetDraining(worker, draining, answer) => {
                let done = self
                    .state
                    .set_draining(worker, draining, now)
                    .and_then(|()| self.state.worker_view(worker, now).ok_or(Error::NoSuchWorker(worker)));
                let _ = answer.send(done);
            }
            Command::PreemptWorker(worker, reason, answer) => {
                let done = self.state.preempt_worker(worker, &reason, now);
                self.answer_when_durable(done, answer);
            }
            Command::Register(hello, session, outbox, answer) => {
                self.outboxes.insert(session, outbox);
                let welcome = self.state.register(*hello, session, now);
                // Before anything is assigned: the worker hears Welcome first.
                let _ = answer.send(welcome);
            }
            Command::Heartbeat(session, beat) => self.state.heartbeat(session, beat, now),
            Command::AttemptStarted(session, attempt, argv, input) => {
                self.state.attempt_started(session, attempt, argv, input, now);
            }
            Command::IsCurrent(attempt, answer) => {
                let _ = answer.send(self.state.current(attempt).is_some());
            }
            Command::UploadGrant(session, attempt, answer) => {
                let _ = answer.send(self.state.upload_grant(session, attempt));
            }
            Command::AttemptFinished(session, attempt, result, log) => {
                self.state.attempt_finished(session, attempt, result, log, now);
            }
            Command::WorkerDraining(session) => self.state.worker_draining(session, now),
            Command::CapabilitiesChanged(session, capabilities) => {
                self.state.capabilities_changed(session, *capabilities, now);
            }
            Command::Disconnected(session) => {
                self.outboxes.remove(&session);
                self.state.disconnected(session, now);
            }
        }
    }

    fn answer_when_durable(&mut self, done: Result<(), Error>, answer: oneshot::Sender<Result<(), Error>>) {
        match done {
            Ok(()) => self.answers.push(PendingAnswer::Done(answer)),
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    /// Lets time pass, places what can be placed, commits, tells. `true` when there is more to place at once.
    ///
    /// While commits fail nothing is assigned, so that of each task at most one assignment is not durable: the epoch that
    /// `State::restore` leaves out.
    async fn advance(&mut self) -> bool {
        let now = self.now();
        self.state.tick(now);
        if self.commit_again.is_none() {
            self.state.schedule(now);
        }
        for effect in self.state.take_effects() {
            match effect {
                Effect::Send(session, message @ (ToWorker::Assign(_) | ToWorker::LeasesRenewed(_))) => {
                    self.send(session, message);
                }
                effect => self.outgoing.push(effect),
            }
        }
        debug_assert_eq!(self.state.check_changed(), Ok(()));
        let changes = self.state.changes();
        let committed = if changes.is_empty() { Ok(()) } else { self.store.commit(&changes).await };
        match committed {
            Ok(()) => {
                let recovered = self.commit_again.take().is_some();
                if recovered {
                    tracing::info!("the job store can be written again");
                }
                self.tell(now);
                failpoint::hit("store.told");
                recovered
            }
            Err(error) => {
                self.refuse(&error, now);
                false
            }
        }
    }

    /// Everything is durable: answers and messages go out.
    fn tell(&mut self, now: Now) {
        for answer in std::mem::take(&mut self.answers) {
            match answer {
                PendingAnswer::Submitted(job, answer) => {
                    let _ = answer.send(self.state.view(job, now).ok_or(Error::NoSuchJob(job)));
                }
                PendingAnswer::Done(answer) => {
                    let _ = answer.send(Ok(()));
                }
            }
        }
        self.state.written();
        for effect in std::mem::take(&mut self.outgoing) {
            match effect {
                Effect::Send(session, message) => self.send(session, message),
                Effect::Announce(event) => {
                    // An error means that nobody listens.
                    let _ = self.events.send(event);
                }
                Effect::Sweep(job, attempt) => {
                    // An error means that the coordinator is shutting down.
                    let _ = self.sweeps.send(Sweep { job, attempt });
                }
            }
        }
    }

    /// Nothing was written: new jobs are refused, all else is tried again.
    fn refuse(&mut self, error: &store::Error, now: Now) {
        if self.commit_again.is_none() {
            tracing::error!(%error, "the job store cannot be written: new jobs are refused until it can");
        }
        self.commit_again = Some(TokioInstant::now() + COMMIT_RETRY);
        for answer in std::mem::take(&mut self.answers) {
            let refused = Error::Store(error.to_string());
            match answer {
                PendingAnswer::Submitted(job, answer) => {
                    self.state.withdraw(job, now);
                    let _ = answer.send(Err(refused));
                }
                PendingAnswer::Done(answer) => {
                    let _ = answer.send(Err(refused));
                }
            }
        }
        self.outgoing.extend(self.state.take_effects());
    }

    /// Hands a message to a session. A session that does not take its messages is broken: it is ended, and its worker
    /// comes back.
    fn send(&mut self, session: SessionId, message: ToWorker) {
        let Some(outbox) = self.outboxes.get(&session) else { return };
        if outbox.try_send(message).is_err() {
            tracing::warn!(%session, "a worker does not read what it is sent: its session ends");
            self.outboxes.remove(&session);
        }
    }
}

fn now(started: Instant) -> Now {
    Now { mono: started.elapsed(), wall: jiff::Timestamp::now().as_millisecond() }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
