//! The shell around [`super::control`]: one task that knows every stream, carries what happens to the state machines and does
//! what they say.

mod acts;
mod asked;
mod events;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use common::{
    id::{AttemptId, StreamId, TaskId},
    profile::{Packaging, Profiles, Rendition},
    stream::{SourceSpec, StreamSpec, StreamView},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    attempts::{Attempts, OutputEnd},
    control::{
        supply::{Kind, Supply},
        variant::Variant,
    },
    output::{Numbers, Output},
    pipeline::Pipeline,
    presence::{Player, Presence, Viewer},
    pull,
    service::Error,
    source::{Generation, Limits, Source},
    streams::{StreamRecord, Streams},
};
use crate::{
    metrics::LiveMetrics,
    queue::{self, LiveEvent, LivePlacement},
};

/// How often it is looked at what the attempts give. A hang of two seconds is found within it.
const LOOK: Duration = Duration::from_millis(100);
/// Requests that wait for their turn.
pub(super) const COMMANDS: usize = 1024;
/// How long what is left of a variant is kept for players that come for its pieces.
const PAST: Duration = Duration::from_secs(60);
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

type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// A variant, and who asks for it.
pub(super) struct Wanted {
    pub(super) stream: String,
    pub(super) profile: String,
    /// `None`: whoever asks is a viewer by itself.
    pub(super) player: Option<Player>,
}

pub(super) enum Command {
    Add(StreamSpec, Answer<StreamView>),
    List(Answer<Vec<StreamView>>),
    Show(String, Answer<StreamView>),
    Remove(String, Answer<()>),
    Watch(Wanted, Answer<Joined>),
    /// What runs, or is left of what ended lately.
    Rejoin(Wanted, Answer<(Arc<Output>, Option<Viewer>)>),
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
    /// Variants that were watched, by profile.
    past: BTreeMap<String, Past>,
    /// Media sequence where the stream's timeline begins.
    first_sequence: u64,
    /// Reserved up to here, durably.
    reserved: u64,
    reserving: bool,
    curious_until: Duration,
    /// Ends its tasks.
    stop: CancellationToken,
}

/// What is left of a variant that is over.
struct Past {
    reached: Numbers,
    /// For those who read it piece by piece and have not seen its end.
    output: Option<(Arc<Output>, Duration)>,
}

pub(super) struct Running {
    pub(super) control: Variant,
    pub(super) pipeline: Pipeline,
    pub(super) output: Arc<Output>,
    presence: Presence,
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
        self.presence.viewers()
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
    pub(super) metrics: LiveMetrics,
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
        metrics: LiveMetrics,
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
            metrics,
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
            past: BTreeMap::new(),
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
}
