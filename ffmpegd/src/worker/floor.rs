//! Where the work is done: one loop that owns the state, between the session and the attempts.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    failpoint,
    id::AttemptId,
    proto::{
        self, coordinator_message::Message as FromCoordinator, worker_message::Message as ToCoordinator,
    },
    worker::{Capabilities, GpuLoad, Load},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Outcome, Shutdown, Worker, health, understand::understand};
use crate::{
    metrics::Seen,
    run::{self, Account, Assignment, Ending, Slot, Tools, Vitals, Whose, Work},
    session::{
        Connection, Doubt, Effect, Event, Link, LinkEvent, State, Terms, Why, attempt_progress, message,
    },
};

/// What a worker that leaves waits for its last messages to be acknowledged.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often the loop looks at the clock when nothing else happens.
const PULSE: Duration = Duration::from_millis(500);
/// For a coordinator that names no interval.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(5);

/// The state, and the attempts that it decides about.
pub(super) struct Floor<'a> {
    pub(super) state: State,
    pub(super) running: HashMap<AttemptId, Running>,
    pub(super) endings: JoinSet<(AttemptId, Ending, Vec<String>)>,
    pub(super) tools: Arc<Tools>,
    pub(super) started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    pub(super) connection: watch::Sender<Option<Connection>>,
    pub(super) load: watch::Receiver<(Load, Vec<GpuLoad>)>,
    pub(super) doubt: Doubt,
    /// The probe that runs.
    pub(super) probe: Option<health::Probe>,
    pub(super) probed: watch::Sender<Arc<Capabilities>>,
    pub(super) worker: &'a Worker,
}

pub(super) struct Running {
    /// It encodes on a device.
    pub(super) gpu: bool,
    vitals: Arc<Vitals>,
    stop: CancellationToken,
    /// What is logged of it is below this.
    span: tracing::Span,
}

impl Running {
    fn ended(&self, ending: &Ending) {
        if let Some(account) = self.vitals.account() {
            account.close(ending, &self.vitals.progress());
        }
        self.span.in_scope(|| log_ending(ending));
    }
}

/// What the loop woke up for.
enum Wake {
    Stop,
    Drain,
    DrainIsOver,
    Farewell,
    Started(AttemptId, proto::AttemptStarted),
    Ended(AttemptId, Ending, Vec<String>),
    Probed(Arc<Capabilities>),
    Link(LinkEvent),
    Heartbeat,
    Lease,
    Pulse,
}

/// Knows since when messages may have waited: this process may have been stopped, for any time. What is read now was not
/// there two beats ago, for between two beats whatever the socket holds is read.
struct Pulse {
    last: Instant,
    before: Instant,
}

impl Pulse {
    const fn new(now: Instant) -> Self {
        Self { last: now, before: now }
    }

    const fn beat(&mut self, now: Instant) {
        self.before = self.last;
        self.last = now;
    }

    const fn before(&self) -> Instant {
        self.before
    }
}

impl Floor<'_> {
    pub(super) async fn work(
        mut self,
        mut link: Link,
        mut starts: mpsc::Receiver<(AttemptId, proto::AttemptStarted)>,
        shutdown: Shutdown,
    ) -> Outcome {
        let mut heartbeat = heartbeat(DEFAULT_HEARTBEAT);
        let (mut draining, mut stopping) = (false, false);
        let mut drain_ends = None;
        let mut farewell = None;
        // For the first Hello.
        self.state.set_not_taking(self.tools.space.not_taking());
        let mut pulse = Pulse::new(Instant::now());
        let mut beats = every(PULSE);
        loop {
            let lease_ends = self.state.next_lease_end();
            let wake = tokio::select! {
                biased;
                () = shutdown.stop.cancelled(), if !stopping => Wake::Stop,
                () = shutdown.drain.cancelled(), if !draining => Wake::Drain,
                () = until(drain_ends), if !stopping => Wake::DrainIsOver,
                () = until(farewell) => Wake::Farewell,
                Some((attempt, started)) = starts.recv() => Wake::Started(attempt, started),
                Some(ended) = self.endings.join_next() => match ended {
                    Ok((attempt, ending, log)) => Wake::Ended(attempt, ending, log),
                    // Panics are caught within, and nothing aborts an attempt.
                    Err(error) => {
                        tracing::error!(%error, "an attempt vanished");
                        continue;
                    }
                },
                capabilities = health::ended(&mut self.probe) => Wake::Probed(capabilities),
                event = link.next(|| self.worker.hello(&self.state, &self.probed.borrow())) => Wake::Link(event),
                _ = heartbeat.tick() => Wake::Heartbeat,
                () = until(lease_ends) => Wake::Lease,
                _ = beats.tick() => Wake::Pulse,
            };
            let now = Instant::now();
            match wake {
                Wake::Drain => {
                    draining = true;
                    let patience = self.worker.config.drain_timeout;
                    tracing::info!(running = self.running.len(), ?patience, "draining");
                    drain_ends = now.checked_add(patience);
                    self.apply(Event::Leave("the worker is shutting down".to_owned()), &mut link);
                }
                Wake::Stop | Wake::DrainIsOver => {
                    stopping = true;
                    tracing::info!(running = self.running.len(), "stopping; what runs is handed back");
                    farewell = Some(now + FAREWELL);
                    self.apply(Event::HandBack, &mut link);
                }
                Wake::Farewell => break,
                Wake::Started(attempt, started) => self.apply(Event::Started(attempt, started), &mut link),
                Wake::Ended(attempt, ending, log) => {
                    let running = self.running.remove(&attempt);
                    if let Some(running) = &running {
                        running.ended(&ending);
                    }
                    self.tools.figures.ended(attempt, &ending);
                    self.learn(running.as_ref(), &ending);
                    // Heard before the result, so that no other attempt comes for it.
                    self.look_at_scratch(&mut link);
                    failpoint::hit("report.before");
                    self.apply(Event::Ended(attempt, ending, log), &mut link);
                    failpoint::hit("report.after");
                }
                Wake::Link(event) => self.link(event, pulse.before(), &mut link, &mut heartbeat),
                Wake::Heartbeat => link.send(message(ToCoordinator::Heartbeat(self.heartbeat(now)))),
                Wake::Lease => self.apply(Event::Tick, &mut link),
                Wake::Probed(capabilities) => self.probed(&capabilities, &mut link),
                Wake::Pulse => {
                    pulse.beat(now);
                    self.look_at_scratch(&mut link);
                }
            }
            if self.doubt.begin(now) {
                self.probe = Some(self.probe_again());
            }
            let nobody_to_tell = stopping && self.state.is_quiet() && self.connection.borrow().is_none();
            if self.state.is_done() || nobody_to_tell {
                break;
            }
        }
        self.close().await
    }

    /// Nothing survives the worker.
    async fn close(mut self) -> Outcome {
        for running in self.running.values() {
            running.stop.cancel();
        }
        let all = async { while self.endings.join_next().await.is_some() {} };
        if timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("an attempt does not end, killing it");
        }
        match self.state.unfinished() {
            0 => {
                tracing::info!("worker leaves, everything is done");
                Outcome::Done
            }
            left => {
                tracing::warn!(
                    attempts = left,
                    "worker leaves with work unfinished; it goes to other workers"
                );
                Outcome::Unfinished(left)
            }
        }
    }

    /// `looked`: when nothing was there to be read yet.
    fn link(&mut self, event: LinkEvent, looked: Instant, link: &mut Link, beat: &mut Interval) {
        match event {
            LinkEvent::Connected(connection, welcome, asked) => {
                tracing::info!(
                    coordinator = %self.worker.config.coordinator,
                    session = connection.session,
                    "connected to the coordinator"
                );
                let every = Duration::from_millis(welcome.heartbeat_interval_ms.into());
                *beat = heartbeat(if every.is_zero() { DEFAULT_HEARTBEAT } else { every });
                self.connection.send_replace(Some(*connection));
                self.tools.figures.sessions.inc();
                self.apply(Event::Connected(Terms::of(&welcome, asked)), link);
            }
            LinkEvent::Message(message) => {
                match &message.message {
                    Some(FromCoordinator::ProbeAgain(ask)) => {
                        tracing::info!(
                            reason = ask.reason,
                            "the coordinator wants this machine probed again"
                        );
                        self.doubt.ask();
                    }
                    Some(FromCoordinator::Assign(_)) => self.look_at_scratch(link),
                    _ => {}
                }
                if let Some(event) = understand(*message, looked) {
                    self.apply(event, link);
                }
            }
            LinkEvent::Lost => {
                self.connection.send_replace(None);
                self.tools.figures.sessions_lost.inc();
                self.doubt.disconnected();
                self.apply(Event::Disconnected, link);
            }
        }
    }

    fn apply(&mut self, event: Event, link: &mut Link) {
        for effect in self.state.apply(event, Instant::now()) {
            match effect {
                Effect::Start(assignment) => self.start(*assignment),
                Effect::Stop(attempt, why) => self.stop(attempt, &why),
                Effect::Send(message) => link.send(message),
            }
        }
    }

    fn start(&mut self, assignment: Assignment) {
        let id = assignment.attempt;
        let span = span(&assignment);
        let gpu = assignment.slot() == Slot::Gpu;
        let encoder = assignment.encoder.as_ref().map_or("", |encoder| encoder.name.as_str());
        let (input, preset) = (&assignment.input, &assignment.preset);
        span.in_scope(|| tracing::info!(input, preset, encoder, gpu, "attempt begins"));
        let vitals = Arc::new(Vitals::of(Account::open(&assignment, &self.tools)));
        let stop = CancellationToken::new();
        let running = Running { gpu, vitals: Arc::clone(&vitals), stop: stop.clone(), span: span.clone() };
        self.running.insert(id, running);
        let encoder = vitals.account().map_or("none", Account::encoder).to_owned();
        let (live, slot) = (assignment.is_live(), assignment.slot());
        self.tools.figures.begun(id, Seen { live, slot, encoder, vitals: Arc::downgrade(&vitals) });
        let (tools, started) = (Arc::clone(&self.tools), self.started.clone());
        match assignment.work.clone() {
            // It leaves nothing on the disk.
            Work::Live(task) => self.endings.spawn(
                async move {
                    let ending = run::live_attempt(&tools, &assignment, &task, &vitals, started, stop).await;
                    (id, ending, vitals.log_tail())
                }
                .instrument(span),
            ),
            Work::Batch(batch) => {
                let claim = self.tools.space.claim(id);
                let attempt = async move {
                    let ending = match claim {
                        Ok(claim) => {
                            run::attempt(&tools, &assignment, &batch, claim, &vitals, started, stop).await
                        }
                        Err(shortage) => {
                            run::no_room(&format!("reading {}", assignment.input), shortage).into()
                        }
                    };
                    (id, ending, vitals.log_tail())
                };
                self.endings.spawn(attempt.instrument(span))
            }
        };
    }

    fn stop(&self, attempt: AttemptId, why: &Why) {
        let Some(running) = self.running.get(&attempt) else { return };
        running.span.in_scope(|| match why {
            Why::Told(reason) => tracing::info!(reason, "stopping, as the coordinator wants"),
            Why::Lost => tracing::warn!("stopping: the lease is lost, the attempt is somebody else's"),
            Why::HandBack => tracing::info!("stopping, to be handed back"),
        });
        running.stop.cancel();
    }

    pub(super) fn heartbeat(&mut self, now: Instant) -> proto::Heartbeat {
        let (mut load, gpus) = self.load.borrow().clone();
        load.scratch_available_bytes = Some(self.tools.space.available());
        let running = self.state.heartbeat(now).into_iter().filter_map(|id| {
            let vitals = &self.running.get(&id)?.vitals;
            Some(attempt_progress(id, vitals.progress(), vitals.take_log()))
        });
        let reported = self.state.reported().into_iter();
        let attempts =
            running.chain(reported.map(|(id, progress)| attempt_progress(id, progress, Vec::new())));
        proto::Heartbeat {
            load: Some(load.into()),
            gpus: gpus.into_iter().map(Into::into).collect(),
            attempts: attempts.collect(),
            not_taking: self.state.not_taking(),
        }
    }
}

/// Its ids, on every line of it.
fn span(assignment: &Assignment) -> tracing::Span {
    let AttemptId { task, epoch } = assignment.attempt;
    match assignment.whose() {
        Whose::Job(job) => tracing::error_span!("attempt", %job, %task, %epoch),
        Whose::Stream(stream) => tracing::error_span!("attempt", %stream, %task, %epoch),
    }
}

fn log_ending(ending: &Ending) {
    match ending {
        Ending::Succeeded { outputs, .. } => {
            tracing::info!(files = outputs.len(), "attempt succeeded");
        }
        Ending::Failed(verdict) => tracing::warn!(
            kind = %verdict.failure.kind, reason = verdict.failure.message, "attempt failed"
        ),
        Ending::Stopped => tracing::info!("attempt stopped"),
        Ending::NotCurrent => tracing::info!("attempt is not current any more"),
    }
}

fn heartbeat(interval: Duration) -> Interval {
    every(interval.clamp(Duration::from_millis(20), Duration::from_secs(60)))
}

fn every(time: Duration) -> Interval {
    let mut interval = interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits until then; for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
