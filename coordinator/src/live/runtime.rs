//! The shell around [`super::control`]: one task that knows every stream, carries what happens to the state machines and does
//! what they say.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    id::{AttemptId, StreamId, TaskId},
    profile::{Output as ProfileOutput, Packaging, Profiles, Rendition},
    stream::{SourceSpec, StreamSpec, StreamView},
};
use mux::Ticks;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    attempts::{Attempts, OutputEnd, Sink},
    control::{
        supply::{self, Errand, Kind, Supply},
        variant::{self, Refusal, Seen, Terms, Variant},
    },
    copy,
    output::{self, Output},
    pipeline::{Delivery, Pipeline},
    pull,
    service::Error,
    source::{Generation, Limits, Source},
    splice::FeedEnd,
    streams::{StreamRecord, Streams},
    view, work,
};
use crate::queue::{self, LiveEvent, LivePlacement};

/// How often it is looked at what the attempts give. A hang of two seconds is found within it.
const LOOK: Duration = Duration::from_millis(100);
/// Requests that wait for their turn.
pub(super) const COMMANDS: usize = 1024;
/// How long the worker of an attempt whose connection broke may take to say why. Its slot is kept as long.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a source is taken in for somebody who only asked what it is.
const CURIOSITY: Duration = Duration::from_secs(15);

/// How much is kept of streams.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub source: Limits,
    /// Of a variant.
    pub max_bytes: usize,
    pub max_length: Duration,
}

/// What a viewer waits for.
#[derive(Debug, Clone)]
pub(super) enum Status {
    Going,
    Refused(Error),
}

/// A variant that was joined.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) output: Arc<Output>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) viewer: Viewer,
}

/// Counted as a viewer while it is held.
#[derive(Debug)]
pub(super) struct Viewer(Arc<AtomicU32>);

impl Viewer {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Command {
    Add(StreamSpec, Answer<StreamView>),
    List(Answer<Vec<StreamView>>),
    Show(String, Answer<StreamView>),
    Remove(String, Answer<()>),
    Watch {
        stream: String,
        profile: String,
        answer: Answer<Joined>,
    },
    Renditions {
        stream: String,
        profile: String,
        answer: Answer<Vec<String>>,
    },
    /// Takes the source in for a moment, to know what it is.
    Source(String, Answer<watch::Receiver<Option<Generation>>>),
    Push(String, Answer<Source>),
}

/// What the runtime's own tasks tell it. Not bounded, but each says one thing.
enum Told {
    Placed(AttemptId, Result<LivePlacement, queue::Error>),
    Generation(StreamId, u32),
    Reserved(StreamId, u64),
    /// Its worker did not say why it ended.
    Silent(AttemptId),
}

/// Whose an attempt is.
#[derive(Debug, Clone)]
struct Owner {
    stream: StreamId,
    /// `None`: it brings the source.
    profile: Option<String>,
}

pub(super) struct Stream {
    pub(super) record: StreamRecord,
    pub(super) source: Source,
    pub(super) supply: Supply,
    pub(super) pull: Option<(CancellationToken, watch::Receiver<pull::State>)>,
    pub(super) slate: Arc<AtomicBool>,
    pub(super) variants: BTreeMap<String, Running>,
    /// Media sequence where the stream's timeline begins.
    first_sequence: u64,
    /// Reserved up to here, durably.
    reserved: u64,
    reserving: bool,
    curious_until: Duration,
    /// Ends its tasks.
    stop: CancellationToken,
}

pub(super) struct Running {
    pub(super) control: Variant,
    pub(super) pipeline: Pipeline,
    pub(super) output: Arc<Output>,
    viewers: Arc<AtomicU32>,
    status: watch::Sender<Status>,
    /// `None`: the source as it is.
    rendition: Option<Rendition>,
    packaging: Packaging,
    stop: CancellationToken,
}

impl Running {
    /// When the newest frame went out.
    fn delivered(&self, started: Instant) -> Option<Duration> {
        self.pipeline.figures().delivered_at.map(|at| at.saturating_duration_since(started))
    }

    pub(super) fn viewers(&self) -> u32 {
        self.viewers.load(Ordering::Relaxed)
    }
}

pub(super) struct Runtime {
    pub(super) settings: Settings,
    pub(super) queue: queue::Handle,
    pub(super) profiles: Arc<Profiles>,
    pub(super) records: Streams,
    pub(super) attempts: Attempts,
    pub(super) tracker: TaskTracker,
    pub(super) started: Instant,
    streams: BTreeMap<StreamId, Stream>,
    owners: HashMap<AttemptId, Owner>,
    /// Attempts whose connection broke a moment ago.
    dying: HashMap<AttemptId, Owner>,
    tell: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Runtime {
    pub(super) fn new(
        settings: Settings,
        queue: queue::Handle,
        profiles: Arc<Profiles>,
        records: Streams,
        attempts: Attempts,
        tracker: TaskTracker,
    ) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            settings,
            queue,
            profiles,
            records,
            attempts,
            tracker,
            started: Instant::now(),
            streams: BTreeMap::new(),
            owners: HashMap::new(),
            dying: HashMap::new(),
            tell,
            told,
        }
    }

    /// Runs until `stop`, then ends every variant.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut ends: mpsc::UnboundedReceiver<OutputEnd>,
        mut events: mpsc::UnboundedReceiver<LiveEvent>,
        stop: CancellationToken,
    ) {
        for record in self.records.list() {
            self.take_in(record);
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(end) = ends.recv() => self.output_ended(end),
                Some(event) = events.recv() => self.happened(event),
                Some(told) = self.told.recv() => self.hear(told),
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                _ = look.tick() => self.look(),
            }
        }
        let streams: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in streams {
            self.take_down(id, "the coordinator is shutting down");
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    // ---- streams

    fn take_in(&mut self, record: StreamRecord) {
        let id = record.id;
        let source = Source::new(self.settings.source);
        let kind = match record.spec.source {
            SourceSpec::Pull(_) => Kind::Pull,
            SourceSpec::Push => Kind::Push,
            SourceSpec::Ingest(_) | SourceSpec::File(_) => Kind::Worker,
        };
        let slate = record.spec.options.slate.is_some();
        let stop = CancellationToken::new();
        let mut generations = source.generations();
        let (tell, ended) = (self.tell.clone(), stop.clone());
        self.tracker.spawn(async move {
            while let Some(Ok(())) = ended.run_until_cancelled(generations.changed()).await {
                let number = generations.borrow_and_update().as_ref().map(|generation| generation.number);
                if let Some(number) = number
                    && tell.send(Told::Generation(id, number)).is_err()
                {
                    return;
                }
            }
        });
        let stream = Stream {
            supply: Supply::new(kind, slate, TaskId::new(), self.now()),
            pull: None,
            slate: Arc::default(),
            variants: BTreeMap::new(),
            first_sequence: record.first_sequence,
            reserved: record.reserved,
            reserving: false,
            curious_until: Duration::ZERO,
            record,
            source,
            stop,
        };
        self.streams.insert(id, stream);
    }

    fn take_down(&mut self, id: StreamId, reason: &str) {
        let now = self.now();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let profiles: Vec<String> = stream.variants.keys().cloned().collect();
        let mut effects = Vec::new();
        for profile in profiles {
            if let Some(running) = stream.variants.get_mut(&profile) {
                effects.push((profile, running.control.close(reason.to_owned())));
            }
        }
        for (profile, effects) in effects {
            self.act(id, &profile, effects);
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let effects = stream.supply.want(false, now);
        self.supply(id, effects);
        if let Some(stream) = self.streams.remove(&id) {
            stream.source.close();
            stream.stop.cancel();
        }
    }

    fn find(&self, name: &str) -> Result<StreamId, Error> {
        let by_id = name.parse().ok().filter(|id| self.streams.contains_key(id));
        by_id
            .or_else(|| {
                let mut streams = self.streams.values();
                streams.find(|stream| stream.record.spec.name == name).map(|stream| stream.record.id)
            })
            .ok_or_else(|| Error::NoSuchStream(name.to_owned()))
    }

    // ---- what is asked

    async fn command(&mut self, command: Command) {
        // Nobody may wait for the answer any more.
        match command {
            Command::Add(spec, answer) => {
                let _ = answer.send(self.add(spec).await);
            }
            Command::List(answer) => {
                let views = self.streams.values().map(|stream| view::stream(stream, self.started));
                let _ = answer.send(Ok(views.collect()));
            }
            Command::Show(name, answer) => {
                let view = self.find(&name).and_then(|id| self.view(id));
                let _ = answer.send(view);
            }
            Command::Remove(name, answer) => {
                let _ = answer.send(self.remove(&name).await);
            }
            Command::Watch { stream, profile, answer } => {
                let _ = answer.send(self.watch(&stream, &profile));
            }
            Command::Renditions { stream, profile, answer } => {
                let _ = answer.send(self.find(&stream).and_then(|id| self.renditions(id, &profile)));
            }
            Command::Source(name, answer) => {
                let _ = answer.send(self.source(&name));
            }
            Command::Push(name, answer) => {
                let _ = answer.send(self.push(&name));
            }
        }
    }

    async fn add(&mut self, spec: StreamSpec) -> Result<StreamView, Error> {
        let record = self.records.add(spec, &self.profiles).await?;
        let id = record.id;
        self.take_in(record);
        self.view(id)
    }

    fn view(&self, id: StreamId) -> Result<StreamView, Error> {
        let stream = self.streams.get(&id).ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        Ok(view::stream(stream, self.started))
    }

    async fn remove(&mut self, name: &str) -> Result<(), Error> {
        let id = self.find(name)?;
        self.records.remove(id).await?;
        self.take_down(id, "the stream was removed");
        Ok(())
    }

    fn source(&mut self, name: &str) -> Result<watch::Receiver<Option<Generation>>, Error> {
        let (id, now) = (self.find(name)?, self.now());
        let stream = self.streams.get_mut(&id).ok_or_else(|| Error::NoSuchStream(name.to_owned()))?;
        stream.curious_until = now + CURIOSITY;
        let generations = stream.source.generations();
        let effects = stream.supply.want(true, now);
        self.supply(id, effects);
        Ok(generations)
    }

    fn push(&mut self, name: &str) -> Result<Source, Error> {
        let id = self.find(name)?;
        let stream = self.streams.get(&id).ok_or_else(|| Error::NoSuchStream(name.to_owned()))?;
        match stream.record.spec.source {
            SourceSpec::Push => Ok(stream.source.clone()),
            SourceSpec::Pull(_) | SourceSpec::Ingest(_) | SourceSpec::File(_) => {
                Err(Error::Invalid(format!(
                    "stream {name:?} fetches its source itself; add one with the source \"push\" to send it here"
                )))
            }
        }
    }

    fn offered(&self, stream: &Stream) -> Vec<String> {
        match stream.record.spec.profiles.as_slice() {
            [] => self.profiles.names().map(str::to_owned).collect(),
            some => some.to_vec(),
        }
    }

    /// The profiles behind a name. Those of a ladder that are taller than the source are left out, but never all.
    fn renditions(&self, id: StreamId, profile: &str) -> Result<Vec<String>, Error> {
        let stream = self.streams.get(&id).ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        let offered = self.offered(stream);
        let unknown = || Error::NoSuchProfile {
            stream: stream.record.spec.name.clone(),
            profile: profile.to_owned(),
            offered: offered.clone(),
        };
        let by_ladder = |name: &String| match self.profiles.get(name).map(|profile| &profile.output) {
            Some(ProfileOutput::Ladder { renditions }) => renditions.iter().any(|rung| rung == profile),
            _ => false,
        };
        if !offered.iter().any(|name| name == profile) && !offered.iter().any(by_ladder) {
            return Err(unknown());
        }
        let known = self.profiles.get(profile).ok_or_else(unknown)?;
        let ProfileOutput::Ladder { renditions } = &known.output else { return Ok(vec![profile.to_owned()]) };
        let height = stream.source.generation().and_then(|generation| work::height(&generation));
        let fits = |name: &&String| {
            let rung = self.profiles.get(name).and_then(|profile| match &profile.output {
                ProfileOutput::Rendition(rendition) => rendition.video.as_ref().map(|video| video.height),
                ProfileOutput::Ladder { .. } | ProfileOutput::Copy(_) => None,
            });
            height.zip(rung).is_none_or(|(source, rung)| rung <= source)
        };
        let fitting: Vec<String> = renditions.iter().filter(fits).cloned().collect();
        let lowest = || renditions.last().cloned().into_iter().collect();
        Ok(if fitting.is_empty() { lowest() } else { fitting })
    }

    fn watch(&mut self, name: &str, profile: &str) -> Result<Joined, Error> {
        let (id, now) = (self.find(name)?, self.now());
        let renditions = self.renditions(id, profile)?;
        if renditions != [profile] {
            return Err(Error::Ladder { stream: name.to_owned(), profile: profile.to_owned(), renditions });
        }
        if !self.streams.get(&id).is_some_and(|stream| stream.variants.contains_key(profile)) {
            self.begin(id, profile, now)?;
        }
        let stream = self.streams.get_mut(&id).ok_or_else(|| Error::NoSuchStream(name.to_owned()))?;
        let generation = stream.source.generation().map(|generation| generation.number);
        let running = stream
            .variants
            .get_mut(profile)
            .ok_or_else(|| Error::NoSource(format!("{profile:?} of stream {name:?} is over")))?;
        let viewer = Viewer::new(&running.viewers);
        let joined =
            Joined { output: Arc::clone(&running.output), status: running.status.subscribe(), viewer };
        let mut effects = running.control.watched_by(running.viewers(), now);
        if let Some(number) = generation.filter(|_| !stream.source.is_over()) {
            effects.extend(running.control.generation(number, now));
        }
        let supply = stream.supply.want(true, now);
        self.act(id, profile, effects);
        self.supply(id, supply);
        Ok(joined)
    }

    /// A variant that nobody watched until now.
    fn begin(&mut self, id: StreamId, profile: &str, now: Duration) -> Result<(), Error> {
        let no_profile = || Error::Invalid(format!("there is no profile {profile:?}"));
        let known = self.profiles.get(profile).ok_or_else(no_profile)?;
        let (rendition, packaging) = match &known.output {
            ProfileOutput::Rendition(rendition) => (Some(rendition.clone()), rendition.packaging),
            ProfileOutput::Copy(packaging) => (None, *packaging),
            ProfileOutput::Ladder { .. } => return Err(no_profile()),
        };
        let settings = self.settings;
        let stream = self.streams.get_mut(&id).ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        let options = &stream.record.spec.options;
        let grid = Ticks::from_millis(packaging.segment_ms.into());
        let output = Output::new(output::Settings {
            grid,
            part: packaging.low_latency.then(|| Ticks::from_millis(packaging.part_ms.into())),
            max_bytes: settings.max_bytes,
            max_length: settings.max_length,
            first_sequence: stream.first_sequence,
            first_discontinuity: stream.first_sequence,
            clock: stream.source.clock(),
        });
        let delivery = if options.redundancy > 1 { Delivery::Gops } else { Delivery::Frames };
        let pipeline = Pipeline::new(Arc::clone(&output), grid, delivery);
        let terms = Terms {
            linger: Duration::from_millis(options.linger_ms),
            hold: Duration::from_millis(options.hold_ms),
            redundancy: options.redundancy,
            copies: rendition.is_none(),
        };
        let stop = stream.stop.child_token();
        if rendition.is_none() {
            let copying = copy::run(stream.source.clone(), pipeline.clone(), stop.clone());
            self.tracker.spawn(copying);
        }
        let running = Running {
            control: Variant::new(terms, TaskId::new(), now),
            pipeline,
            output,
            viewers: Arc::default(),
            status: watch::Sender::new(Status::Going),
            rendition,
            packaging,
            stop,
        };
        tracing::info!(stream = stream.record.spec.name, profile, "variant begins");
        stream.variants.insert(profile.to_owned(), running);
        Ok(())
    }

    // ---- what happens

    fn hear(&mut self, told: Told) {
        let now = self.now();
        match told {
            Told::Placed(attempt, Ok(placement)) => self.placed(attempt, placement, now),
            Told::Placed(attempt, Err(error)) => {
                self.attempts.remove(attempt);
                let Some(Owner { stream: id, profile }) = self.owners.remove(&attempt) else { return };
                let reason = error.to_string();
                self.of_owner(
                    id,
                    profile,
                    |running, _| {
                        running.pipeline.close(attempt, FeedEnd::Lost);
                        running.control.not_placed(attempt, reason.clone(), now)
                    },
                    |supply| supply.not_placed(attempt, reason.clone(), now),
                );
            }
            Told::Generation(id, number) => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                let mut all = Vec::new();
                for (profile, running) in &mut stream.variants {
                    all.push((profile.clone(), running.control.generation(number, now)));
                }
                for (profile, effects) in all {
                    self.act(id, &profile, effects);
                }
            }
            Told::Silent(attempt) => {
                self.dying.remove(&attempt);
            }
            Told::Reserved(id, reserved) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.reserving = false;
                    stream.reserved = stream.reserved.max(reserved);
                }
            }
        }
    }

    fn placed(&mut self, attempt: AttemptId, placement: LivePlacement, now: Duration) {
        let LivePlacement { worker, encoder, .. } = placement;
        let Some(Owner { stream: id, profile }) = self.owners.get(&attempt).cloned() else {
            // It was given up while it was placed.
            self.end(attempt, "it is not needed any more");
            return;
        };
        tracing::info!(%attempt, worker = worker.name, encoder, profile, "live attempt placed");
        self.of_owner(
            id,
            profile,
            |running, _| running.control.placed(attempt, worker.clone(), encoder.clone(), now),
            |supply| supply.placed(attempt, worker.clone(), now),
        );
    }

    fn happened(&mut self, event: LiveEvent) {
        let now = self.now();
        match event {
            LiveEvent::Started { attempt, argv } => {
                tracing::debug!(%attempt, argv = argv.join(" "), "live attempt started");
            }
            // Its output has ended properly, or is about to.
            LiveEvent::Ended { attempt, result: Ok(()) } => self.over(attempt, None),
            LiveEvent::Ended { attempt, result: Err(failure) } => self.over_because(attempt, failure.message),
            LiveEvent::Lost { attempt, reason } => self.over_because(attempt, reason),
            LiveEvent::Leaving { attempt, reason, .. } => {
                let Some(Owner { stream: id, profile }) = self.owners.get(&attempt).cloned() else { return };
                self.of_owner(
                    id,
                    profile,
                    |running, _| running.control.leaving(attempt, &reason, now),
                    |supply| supply.leaving(attempt, &reason, now),
                );
            }
            LiveEvent::Room => {
                let ids: Vec<StreamId> = self.streams.keys().copied().collect();
                for id in ids {
                    self.each(id, |running| running.control.room(now), |supply| supply.room(now));
                }
            }
        }
    }

    /// A worker, or the queue, says why an attempt is over, which its connection may have told before.
    fn over_because(&mut self, attempt: AttemptId, reason: String) {
        match self.dying.remove(&attempt) {
            None => self.over(attempt, Some(reason)),
            Some(Owner { stream, profile: Some(profile) }) => {
                tracing::warn!(%attempt, profile, reason, "why the live attempt was lost");
                let stream = self.streams.get_mut(&stream);
                if let Some(running) = stream.and_then(|stream| stream.variants.get_mut(&profile)) {
                    running.control.explain(attempt, &reason);
                }
            }
            Some(Owner { stream, profile: None }) => {
                tracing::warn!(%attempt, reason, "why the source was lost");
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.supply.problem = Some(reason);
                }
            }
        }
    }

    fn output_ended(&mut self, OutputEnd { attempt, problem }: OutputEnd) {
        if problem.is_some()
            && let Some(owner) = self.owners.get(&attempt)
        {
            self.dying.insert(attempt, owner.clone());
        }
        self.over(attempt, problem);
    }

    /// An attempt is over; `problem`: not as it should be.
    fn over(&mut self, attempt: AttemptId, problem: Option<String>) {
        let now = self.now();
        let started = self.started;
        let Some(Owner { stream: id, profile }) = self.owners.get(&attempt).cloned() else { return };
        if let Some(problem) = &problem {
            tracing::warn!(%attempt, profile, problem, "live attempt lost");
        } else {
            tracing::info!(%attempt, profile, "live attempt done");
        }
        self.of_owner(
            id,
            profile,
            |running, _| match &problem {
                Some(problem) => {
                    running.pipeline.close(attempt, FeedEnd::Lost);
                    let delivered = running.delivered(started);
                    let promoted = running.pipeline.active();
                    running.control.broken(attempt, problem, delivered, promoted, now)
                }
                None => running.control.finished(attempt, now),
            },
            |supply| supply.broken(attempt, problem.as_deref().unwrap_or("the source ended"), now),
        );
    }

    /// Lets the state machine that an attempt belongs to decide, and does what it says.
    fn of_owner(
        &mut self,
        id: StreamId,
        profile: Option<String>,
        of_variant: impl FnOnce(&mut Running, &Source) -> Vec<variant::Effect>,
        of_supply: impl FnOnce(&mut Supply) -> Vec<supply::Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match profile {
            Some(profile) => {
                let Some(running) = stream.variants.get_mut(&profile) else { return };
                let effects = of_variant(running, &stream.source);
                self.act(id, &profile, effects);
            }
            None => {
                let effects = of_supply(&mut stream.supply);
                self.supply(id, effects);
            }
        }
    }

    /// The same for everything of a stream.
    fn each(
        &mut self,
        id: StreamId,
        mut of_variant: impl FnMut(&mut Running) -> Vec<variant::Effect>,
        of_supply: impl FnOnce(&mut Supply) -> Vec<supply::Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let mut all = Vec::new();
        for (profile, running) in &mut stream.variants {
            all.push((profile.clone(), of_variant(running)));
        }
        let effects = of_supply(&mut stream.supply);
        for (profile, effects) in all {
            self.act(id, &profile, effects);
        }
        self.supply(id, effects);
    }

    /// Looks at what the attempts and the sources give.
    fn look(&mut self) {
        let now = self.now();
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            if stream.variants.is_empty() && !stream.supply.is_wanted() {
                continue;
            }
            let figures = stream.source.figures();
            let newest = figures.newest_at.map(|at| at.saturating_duration_since(self.started));
            let slate = stream.slate.load(Ordering::Relaxed);
            let wanted = !stream.variants.is_empty() || now < stream.curious_until;
            let mut supply = stream.supply.want(wanted, now);
            supply.extend(stream.supply.tick(newest.filter(|_| !slate), now));
            let mut all = Vec::new();
            for (profile, running) in &mut stream.variants {
                let seen: Vec<Seen> = running
                    .control
                    .feeds()
                    .iter()
                    .filter_map(|feed| {
                        let progress = running.pipeline.progress(feed.attempt)?;
                        let output_at =
                            progress.newest.map(|_| progress.at.saturating_duration_since(self.started));
                        Some(Seen { attempt: feed.attempt, output_at })
                    })
                    .collect();
                if let Some(newest) = figures.newest {
                    running.pipeline.source_at(newest);
                }
                let mut effects = running.control.watched_by(running.viewers(), now);
                if let Some(active) = running.pipeline.active() {
                    effects.extend(running.control.delivers(active, now));
                }
                effects.extend(running.control.tick(&seen, newest, running.delivered(self.started), now));
                all.push((profile.clone(), effects));
            }
            self.reserve(id);
            for (profile, effects) in all {
                self.act(id, &profile, effects);
            }
            self.supply(id, supply);
        }
    }

    /// Keeps a stretch of media sequences reserved ahead of those that are used.
    fn reserve(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(newest) = stream.source.figures().newest else { return };
        let grid = stream.variants.values().map(|running| running.packaging.segment_ms).min().unwrap_or(1000);
        let used = stream.source.clock().boundaries(newest, Ticks::from_millis(grid.into()));
        let used = stream.first_sequence.saturating_add(used);
        if stream.reserving || used.saturating_add(super::streams::BLOCK / 2) < stream.reserved {
            return;
        }
        stream.reserving = true;
        let (records, tell) = (self.records.clone(), self.tell.clone());
        self.tracker.spawn(async move {
            match records.reserve_sequences(id, used).await {
                Ok(reserved) => {
                    // An error means that the coordinator is shutting down.
                    let _ = tell.send(Told::Reserved(id, reserved));
                }
                Err(error) => {
                    tracing::warn!(stream = %id, %error, "cannot reserve media sequences; it is tried again");
                    let _ = tell.send(Told::Reserved(id, 0));
                }
            }
        });
    }

    // ---- what is done

    fn act(&mut self, id: StreamId, profile: &str, effects: Vec<variant::Effect>) {
        for effect in effects {
            match effect {
                variant::Effect::Place(order) => self.place(id, profile, &order),
                variant::Effect::End(attempt, reason) => {
                    if let Some(running) = self.variant(id, profile) {
                        running.pipeline.close(attempt, FeedEnd::Lost);
                    }
                    self.end(attempt, &reason);
                }
                variant::Effect::GiveUp(attempt, reason) => self.over(attempt, Some(reason)),
                variant::Effect::Refuse(refusal) => {
                    let error = match refusal {
                        Refusal::NoCapacity(reason) => Error::NoCapacity(reason),
                        Refusal::NoSource(reason) => {
                            let problem = self.streams.get(&id).and_then(view::source_problem);
                            Error::NoSource(problem.map_or(reason.clone(), |why| format!("{reason}: {why}")))
                        }
                        Refusal::Failed(reason) => Error::Failed(reason),
                    };
                    self.close(id, profile, &error.to_string(), Some(error));
                }
                variant::Effect::Close(reason) => self.close(id, profile, &reason, None),
            }
        }
    }

    fn close(&mut self, id: StreamId, profile: &str, reason: &str, refused: Option<Error>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(running) = stream.variants.remove(profile) else { return };
        tracing::info!(stream = stream.record.spec.name, profile, reason, "variant ends");
        if let Some(error) = refused {
            running.status.send_replace(Status::Refused(error));
        }
        running.output.end(reason);
        running.stop.cancel();
    }

    fn variant(&self, id: StreamId, profile: &str) -> Option<&Running> {
        self.streams.get(&id)?.variants.get(profile)
    }

    fn place(&mut self, id: StreamId, profile: &str, order: &variant::Order) {
        if let Err(reason) = self.try_place(id, profile, order) {
            let error = queue::Error::NoRoom(reason);
            self.owners.insert(order.attempt, Owner { stream: id, profile: Some(profile.to_owned()) });
            // Not at once: the answer is an event like every other.
            let _ = self.tell.send(Told::Placed(order.attempt, Err(error)));
        }
    }

    fn try_place(&mut self, id: StreamId, profile: &str, order: &variant::Order) -> Result<(), String> {
        let gone = || "the stream is gone".to_owned();
        let stream = self.streams.get(&id).ok_or_else(gone)?;
        let running = stream.variants.get(profile).ok_or_else(gone)?;
        let rendition = running.rendition.as_ref().ok_or_else(gone)?;
        let generation = stream.source.generation().filter(|known| known.number == order.generation);
        let generation = generation.ok_or("the source has gone on meanwhile")?;
        let cut = running.pipeline.cut();
        let from = work::reads_from(order.role, &generation, running.control.delivered, cut);
        let reader = stream
            .source
            .read(order.generation, from)
            .or_else(|_| stream.source.read(order.generation, super::source::From::Newest))
            .map_err(|error| error.to_string())?;
        let grid = Ticks::from_millis(running.packaging.segment_ms.into());
        let base = work::base(reader.start(), grid);
        let rendition = work::fitting(rendition, &generation)?;
        let encode = work::encode(rendition, &generation, order.role, cut, base);
        let container = encode.container;
        let terms = work::Terms {
            stream: id,
            options: &stream.record.spec.options,
            profile,
            avoid: order.avoid.clone(),
            preempts: order.preempts,
        };
        let live_order = work::encode_order(order.attempt, encode, terms);
        running.pipeline.open(order.attempt, order.role, container, base, Instant::now());
        self.attempts.add(order.attempt, Some((reader, base)), Sink::Variant(running.pipeline.clone()));
        self.send_order(live_order, Owner { stream: id, profile: Some(profile.to_owned()) });
        Ok(())
    }

    fn supply(&mut self, id: StreamId, effects: Vec<supply::Effect>) {
        for effect in effects {
            match effect {
                supply::Effect::StartPull => self.start_pull(id),
                supply::Effect::StopPull => {
                    if let Some((stop, _)) = self.streams.get_mut(&id).and_then(|stream| stream.pull.take()) {
                        stop.cancel();
                    }
                }
                supply::Effect::Place { attempt, errand, avoid } => {
                    self.place_supply(id, attempt, errand, avoid)
                }
                supply::Effect::End(attempt, reason) => self.end(attempt, &reason),
            }
        }
    }

    fn start_pull(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let SourceSpec::Pull(url) = &stream.record.spec.source else { return };
        let stop = stream.stop.child_token();
        let (state, seen) = watch::channel(pull::State::default());
        let pulling = pull::run(url.clone(), stream.source.clone(), state, stop.clone());
        self.tracker.spawn(pulling);
        stream.pull = Some((stop, seen));
    }

    fn place_supply(
        &mut self,
        id: StreamId,
        attempt: AttemptId,
        errand: Errand,
        avoid: Vec<common::id::WorkerId>,
    ) {
        let Some(stream) = self.streams.get(&id) else { return };
        let spec = &stream.record.spec;
        let profile = match errand {
            Errand::Ingest => "ingest",
            Errand::Slate => "slate",
        };
        let terms = work::Terms { stream: id, options: &spec.options, profile, avoid, preempts: true };
        let (order, slate) = match errand {
            Errand::Ingest => (work::ingest_order(attempt, &spec.source, terms), None),
            Errand::Slate => {
                let text = spec.options.slate.as_deref().unwrap_or_default();
                let generation = stream.source.generation();
                let order = work::slate_order(attempt, text, generation.as_ref(), terms);
                (Some(order), Some(Arc::clone(&stream.slate)))
            }
        };
        let Some(order) = order else { return };
        self.attempts.add(attempt, None, Sink::Source { source: stream.source.clone(), slate });
        self.send_order(order, Owner { stream: id, profile: None });
    }

    fn send_order(&mut self, order: queue::LiveOrder, owner: Owner) {
        let attempt = order.attempt;
        self.owners.insert(attempt, owner);
        let (queue, tell) = (self.queue.clone(), self.tell.clone());
        self.tracker.spawn(async move {
            let placed = queue.place_live(order).await;
            // An error means that the coordinator is shutting down.
            let _ = tell.send(Told::Placed(attempt, placed));
        });
    }

    fn end(&mut self, attempt: AttemptId, reason: &str) {
        self.owners.remove(&attempt);
        self.attempts.remove(attempt);
        let is_dying = self.dying.contains_key(&attempt);
        let (queue, tell, reason) = (self.queue.clone(), self.tell.clone(), reason.to_owned());
        self.tracker.spawn(async move {
            if is_dying {
                sleep(LAST_WORDS).await;
                // An error means that the coordinator is shutting down.
                let _ = tell.send(Told::Silent(attempt));
            }
            queue.end_live(attempt, &reason).await;
        });
    }
}
