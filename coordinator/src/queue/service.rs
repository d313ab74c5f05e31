//! The shell around the queue's decisions: one task, one writer.
//!
//! It takes what has happened in batches, lets [`State`] decide, makes the outcome durable in one commit and only then
//! answers and tells. Some things go out before the commit. An assignment: should the commit not happen, the attempt that it
//! began is unknown after the restart, is told to stop when its worker connects, and its epoch is never used again (see
//! `State::restore`), so nothing of it can be published. The renewal of leases, which are not durable: while the disk
//! is full, what runs goes on. And everything about live, of which nothing is durable.
//!
//! While a commit is under way, what workers say and what live asks is taken and decided; what follows from it for batch is
//! for the next commit. Users' requests and new assignments wait for the one under way.

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
use futures::{TryStreamExt as _, future::BoxFuture};
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot},
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    command::{Answer, Command, Reply},
    delivery::DeliveryOrder,
    handle::{Error, Handle},
    inflow::Inflow,
    jobs::Accepted,
    live::LiveEvent,
    message::ToWorker,
    milestone::Milestone,
    once::KEPT,
    state::{Effect, Now, Settings, State},
};
use crate::{
    metrics::QueueMetrics,
    store::{self, JobStore},
};

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
    /// Taken while a commit is under way, too.
    urgent: mpsc::Receiver<Command>,
    events: broadcast::Sender<Event>,
    outboxes: HashMap<SessionId, mpsc::Sender<ToWorker>>,
    sweeps: mpsc::UnboundedSender<Sweep>,
    deliveries: mpsc::UnboundedSender<DeliveryOrder>,
    /// Until it is handed out.
    delivery_orders: Option<mpsc::UnboundedReceiver<DeliveryOrder>>,
    live: mpsc::UnboundedSender<LiveEvent>,
    /// Until it is handed out.
    live_events: Option<mpsc::UnboundedReceiver<LiveEvent>>,
    /// Rung when receivers of webhooks are to hear of something.
    webhooks: Arc<Notify>,
    started: Instant,
    /// Answers that wait for the next commit.
    answers: Vec<PendingAnswer>,
    /// What goes out after the next commit.
    outgoing: Vec<Effect>,
    under_way: Option<UnderWay>,
    /// When a failed commit is tried again; while it is set nothing new is assigned.
    commit_again: Option<TokioInstant>,
}

enum PendingAnswer {
    Submitted(JobId, Answer<Reply>),
    /// The same request once more, while the first is on its way to the disk.
    Again(JobId, Answer<Reply>),
    Done(oneshot::Sender<Result<(), Error>>),
}

/// A commit, and what waits for it.
struct UnderWay {
    commit: BoxFuture<'static, Result<(), store::Error>>,
    /// With the job as it was when the commit began.
    answers: Vec<(PendingAnswer, Option<JobView>)>,
    outgoing: Vec<Effect>,
    milestones: Vec<Milestone>,
    /// Receivers are to hear of something in it.
    webhooks: bool,
}

/// Waits for the commit under way, for ever if there is none.
async fn committed(under_way: &mut Option<UnderWay>) -> Result<(), store::Error> {
    match under_way {
        Some(under_way) => (&mut under_way.commit).await,
        None => std::future::pending().await,
    }
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
        state.remember(store.idempotency_keys(now(started).wall - KEPT).await?);
        for (owner, quotas) in store.quotas().await? {
            state.set_quotas(&owner, Some(quotas));
        }
        if jobs > 0 {
            tracing::info!(jobs, took = ?started.elapsed(), "unfinished jobs go on");
        }
        let (command_sender, commands) = mpsc::channel(COMMANDS);
        let (urgent_sender, urgent) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        // Bounded by the attempts that there are: each is swept once.
        let (sweeps, swept) = mpsc::unbounded_channel();
        // Bounded by the jobs that there are: each has one delivery.
        let (deliveries, delivery_orders) = mpsc::unbounded_channel();
        // Bounded by the live attempts that there are: each is told of four times at most, and `Room` only after a refusal.
        let (live, live_events) = mpsc::unbounded_channel();
        let handle = Handle {
            commands: command_sender,
            urgent: urgent_sender,
            events: events.clone(),
            store: store.clone(),
            webhooks: Arc::default(),
        };
        let service = Self {
            state,
            store,
            commands,
            urgent,
            events,
            outboxes: HashMap::new(),
            sweeps,
            deliveries,
            delivery_orders: Some(delivery_orders),
            live,
            live_events: Some(live_events),
            webhooks: Arc::clone(&handle.webhooks),
            started,
            answers: Vec::new(),
            outgoing: Vec::new(),
            under_way: None,
            commit_again: None,
        };
        Ok((service, handle, swept))
    }

    /// What becomes of live attempts; for one listener, to be taken before the queue runs.
    pub fn live_events(&mut self) -> Option<mpsc::UnboundedReceiver<LiveEvent>> {
        self.live_events.take()
    }

    /// What is counted here.
    pub(crate) fn metrics(&self) -> QueueMetrics {
        self.state.metrics.clone()
    }

    /// What is to be delivered; for one listener, to be taken before the queue runs.
    pub fn delivery_orders(&mut self) -> Option<mpsc::UnboundedReceiver<DeliveryOrder>> {
        self.delivery_orders.take()
    }

    /// Runs until `shutdown`, then commits what was decided and ends. Whatever waits for an answer then gets
    /// [`Error::ShuttingDown`].
    pub async fn run(mut self, shutdown: CancellationToken) {
        // Whom nobody listens to is not written to.
        self.live_events = None;
        self.delivery_orders = None;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wake = self.wake_at();
            let timer = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let free = self.under_way.is_none();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                result = committed(&mut self.under_way) => self.committed(result),
                first = self.urgent.recv() => match first {
                    Some(command) => batch.push(command),
                    None => break,
                },
                first = self.commands.recv(), if free => match first {
                    Some(command) => batch.push(command),
                    None => break,
                },
                () = timer => {}
            }
            self.take_more(&mut batch);
            for command in batch.drain(..) {
                self.handle(command);
            }
            self.advance();
        }
        // What is under way, then what was decided meanwhile.
        self.finish().await;
        self.advance();
        self.finish().await;
    }

    /// Waits for the commit under way, if there is one.
    async fn finish(&mut self) {
        if self.under_way.is_some() {
            let result = committed(&mut self.under_way).await;
            self.committed(result);
        }
    }

    /// What else is there: neither channel holds up the other.
    fn take_more(&mut self, batch: &mut Vec<Command>) {
        let mut room = BATCH.saturating_sub(batch.len());
        while room > 0
            && let Ok(command) = self.urgent.try_recv()
        {
            batch.push(command);
            room -= 1;
        }
        let mut room = if self.under_way.is_none() { BATCH } else { 0 };
        while room > 0
            && let Ok(command) = self.commands.try_recv()
        {
            batch.push(command);
            room -= 1;
        }
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
        let commit_again = self.commit_again.filter(|_| self.under_way.is_none());
        deadline.into_iter().chain(commit_again).min()
    }

    fn handle(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Submit(submission, answer) => {
                let id = submission.id;
                match self.state.submit(submission, now) {
                    Ok(Accepted::New) => self.answers.push(PendingAnswer::Submitted(id, answer)),
                    Ok(Accepted::Before(job)) if self.is_on_its_way(job) => {
                        self.answers.push(PendingAnswer::Again(job, answer));
                    }
                    Ok(Accepted::Before(job)) => {
                        let _ = answer.send(Ok(Reply::Before(job)));
                    }
                    Err(error) => {
                        let _ = answer.send(Err(error));
                    }
                }
            }
            Command::Submitted(key, answer) => {
                let before = self.state.submitted(&key, now);
                let durable = before.map(|job| job.filter(|job| !self.is_on_its_way(*job)));
                let _ = answer.send(durable);
            }
            Command::SetPriority(job, priority, answer) => {
                let done = self.state.set_priority(job, priority, now);
                self.answer_when_durable(done, answer);
            }
            Command::SetQuotas(owner, quotas, answer) => {
                self.state.set_quotas(&owner, quotas);
                let _ = answer.send(());
            }
            Command::OwnersInUse(answer) => {
                let _ = answer.send(self.state.owners.in_use());
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
            Command::Look(look) => self.state.look(look, now),
            Command::Probe(worker, answer) => {
                let _ = answer.send(self.state.probe_worker(worker, now));
            }
            Command::Forget(worker, answer) => {
                let done = self.state.forget_worker(worker, now);
                self.answer_when_durable(done, answer);
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
            Command::Delivered(job, number, outcome) => self.state.delivered(job, number, outcome, now),
            Command::SessionEnding(session) => self.state.session_ending(session),
            Command::PlaceLive(order, answer) => {
                let attempt = order.attempt;
                let placed = self.state.place_live(*order, now);
                self.send_at_once();
                let is_placed = placed.is_ok();
                if answer.send(placed).is_err() && is_placed {
                    self.state.end_live(attempt, "who asked for it has gone");
                }
            }
            Command::EndLive(attempt, reason) => {
                self.state.end_live(attempt, &reason);
                self.send_at_once();
            }
            Command::Inflows(inflows, answer) => {
                self.state.inflows(inflows, now);
                let _ = answer.send(());
            }
            Command::Inflow(key, inflow, answer) => {
                let durable = matches!(inflow, Inflow::Gone(_));
                self.state.inflow(&key, inflow, now);
                if durable {
                    self.answer_when_durable(Ok(()), answer);
                } else {
                    let _ = answer.send(Ok(()));
                }
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

    /// Whether nobody was told yet that the job was accepted.
    fn is_on_its_way(&self, job: JobId) -> bool {
        self.answers.iter().any(|answer| matches!(answer, PendingAnswer::Submitted(id, _) if *id == job))
    }

    fn answer_when_durable(&mut self, done: Result<(), Error>, answer: oneshot::Sender<Result<(), Error>>) {
        match done {
            Ok(()) => self.answers.push(PendingAnswer::Done(answer)),
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    /// Lets time pass, places what can be placed, tells what needs no commit, and begins a commit if none is under way.
    ///
    /// While a commit is under way or fails nothing is assigned, so that of each task at most one assignment is not durable:
    /// the epoch that `State::restore` leaves out.
    fn advance(&mut self) {
        let now = self.now();
        self.state.tick(now);
        if self.under_way.is_none() && self.commit_again.is_none() {
            self.state.schedule(now);
        }
        self.send_at_once();
        // Who waits for an answer is not kept waiting.
        let again = |at: TokioInstant| at <= TokioInstant::now() || !self.answers.is_empty();
        if self.under_way.is_some() || !self.commit_again.is_none_or(again) {
            return;
        }
        debug_assert_eq!(self.state.check_changed(), Ok(()));
        let changes = self.state.begin_commit();
        let viewed = |answer: PendingAnswer| {
            let view = match &answer {
                PendingAnswer::Submitted(job, _) => self.state.view(*job, now),
                PendingAnswer::Done(_) | PendingAnswer::Again(..) => None,
            };
            (answer, view)
        };
        let answers = std::mem::take(&mut self.answers).into_iter().map(viewed).collect();
        let outgoing = std::mem::take(&mut self.outgoing);
        if changes.is_empty() {
            self.durable(answers, outgoing);
            return;
        }
        let store = Arc::clone(&self.store);
        let webhooks = !changes.webhooks.is_empty();
        let milestones = self.state.milestones(&changes);
        let commit = Box::pin(async move { store.commit(&changes).await });
        self.under_way = Some(UnderWay { commit, answers, outgoing, milestones, webhooks });
    }

    /// Tells what need not be durable.
    fn send_at_once(&mut self) {
        for effect in self.state.take_effects() {
            match effect {
                Effect::AtOnce(session, message) => self.send(session, message),
                Effect::Live(event) => {
                    // An error means that the coordinator is shutting down.
                    let _ = self.live.send(event);
                }
                // So that what waits is bounded by what there is, however long the store cannot be written.
                Effect::Announce(event @ (Event::Progress { .. } | Event::Worker { .. })) => {
                    self.announce(event);
                }
                effect
                @ (Effect::Send(..) | Effect::Announce(_) | Effect::Sweep(..) | Effect::Deliver(_)) => {
                    self.outgoing.push(effect);
                }
            }
        }
    }

    /// The commit under way has ended.
    fn committed(&mut self, result: Result<(), store::Error>) {
        let Some(UnderWay { answers, outgoing, milestones, webhooks, .. }) = self.under_way.take() else {
            return;
        };
        if webhooks && result.is_ok() {
            self.webhooks.notify_one();
        }
        match result {
            Ok(()) => {
                self.durable(answers, outgoing);
                milestones.into_iter().for_each(Milestone::tell);
            }
            Err(error) => self.refuse(&error, answers, outgoing),
        }
    }

    /// What was decided is durable: answers and messages go out.
    fn durable(&mut self, answers: Vec<(PendingAnswer, Option<JobView>)>, outgoing: Vec<Effect>) {
        if self.commit_again.take().is_some() {
            tracing::info!("the job store can be written again");
        }
        for answer in answers {
            match answer {
                (PendingAnswer::Submitted(job, answer), view) => {
                    if let Some(view) = &view {
                        tracing::info!(%job, preset = view.summary.preset, owner = view.summary.owner, "job accepted");
                    }
                    let view = view.map(|view| Reply::New(Box::new(view)));
                    let _ = answer.send(view.ok_or(Error::NoSuchJob(job)));
                }
                (PendingAnswer::Again(job, answer), _) => {
                    let _ = answer.send(Ok(Reply::Before(job)));
                }
                (PendingAnswer::Done(answer), _) => {
                    let _ = answer.send(Ok(()));
                }
            }
        }
        let now = self.now();
        self.state.written(now);
        for effect in outgoing {
            if !self.state.goes_out(&effect, now) {
                continue;
            }
            match effect {
                Effect::Send(session, message) | Effect::AtOnce(session, message) => {
                    self.send(session, message);
                }
                Effect::Announce(event) => self.announce(event),
                Effect::Sweep(job, attempt) => {
                    // An error means that the coordinator is shutting down.
                    let _ = self.sweeps.send(Sweep { job, attempt });
                }
                Effect::Deliver(order) => {
                    let _ = self.deliveries.send(order);
                }
                Effect::Live(event) => {
                    let _ = self.live.send(event);
                }
            }
        }
        failpoint::hit("store.told");
    }

    fn announce(&self, event: Event) {
        // An error means that nobody listens.
        let _ = self.events.send(event);
    }

    /// Nothing was written: new jobs are refused, all else is tried again.
    fn refuse(
        &mut self,
        error: &store::Error,
        answers: Vec<(PendingAnswer, Option<JobView>)>,
        mut outgoing: Vec<Effect>,
    ) {
        let now = self.now();
        if self.commit_again.is_none() {
            tracing::error!(%error, "the job store cannot be written: new jobs are refused until it can");
        }
        self.commit_again = Some(TokioInstant::now() + COMMIT_RETRY);
        self.state.not_written();
        for (answer, _) in answers {
            let refused = Error::Store(error.to_string());
            match answer {
                PendingAnswer::Submitted(job, answer) => {
                    self.state.withdraw(job, now);
                    let _ = answer.send(Err(refused));
                }
                PendingAnswer::Again(_, answer) => {
                    let _ = answer.send(Err(refused));
                }
                PendingAnswer::Done(answer) => {
                    let _ = answer.send(Err(refused));
                }
            }
        }
        // Before what was decided meanwhile.
        outgoing.append(&mut self.outgoing);
        self.outgoing = outgoing;
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
