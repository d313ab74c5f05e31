//! What a worker tells of itself on a port of its own: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps it
//! running. `docs/monitoring.md` has every name.
//!
//! Labels are bounded: encoders are those that this machine offers, GPUs those that it has, the rest are words of ours.

mod gauges;
pub mod health;
mod serve;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::id::AttemptId;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

pub(crate) use self::{gauges::Gauges, serve::Port};
use crate::run::{Ending, Slot, Vitals};

type Labels<const N: usize> = [(&'static str, String); N];
/// By `phase`.
type Phases = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// What happens is counted here, where it happens. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Bytes of inputs that came.
    pub(crate) fetched: Counter,
    /// Bytes of results that went.
    pub(crate) uploaded: Counter,
    pub(crate) sessions: Counter,
    pub(crate) sessions_lost: Counter,
    attempts: Family<Labels<3>, Counter>,
    phases: Phases,
    frames: Family<Labels<1>, Counter>,
    media: Family<Labels<1>, Counter<f64, AtomicU64>>,
    /// Seconds since 1970.
    probed: Arc<AtomicI64>,
    running: Arc<Mutex<BTreeMap<AttemptId, Seen>>>,
}

/// An attempt that runs.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) live: bool,
    pub(crate) slot: Slot,
    pub(crate) encoder: String,
    /// Weak, as they count here.
    pub(crate) vitals: Weak<Vitals>,
}

/// Of phases, in seconds: a probe takes tenths of one, an encode hours.
const DURATIONS: [f64; 12] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 10_800.0];

fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            fetched: Counter::default(),
            uploaded: Counter::default(),
            sessions: Counter::default(),
            sessions_lost: Counter::default(),
            attempts: Family::default(),
            phases: Family::new_with_constructor(durations),
            frames: Family::default(),
            media: Family::default(),
            probed: Arc::default(),
            running: Arc::default(),
        }
    }
}

impl Figures {
    fn register(&self, registry: &mut Registry) {
        let mut bytes = |name: &str, help: &str, counter: &Counter| {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        };
        bytes("fetched", "Read of inputs, by attempts of both classes", &self.fetched);
        bytes("uploaded", "Sent of results, by attempts of both classes", &self.uploaded);
        registry.register("sessions", "Sessions with a coordinator that were opened", self.sessions.clone());
        registry.register("sessions_lost", "Sessions that ended", self.sessions_lost.clone());
        registry.register("attempts_finished", "Attempts that have ended", self.attempts.clone());
        let phase = "What attempts of batch jobs spent in each phase";
        registry.register_with_unit("attempt_phase", phase, Unit::Seconds, self.phases.clone());
        registry.register("frames_encoded", "Frames that ffmpeg has encoded", self.frames.clone());
        let media = "Media time that ffmpeg has written";
        registry.register_with_unit("media_encoded", media, Unit::Seconds, self.media.clone());
    }

    pub(crate) fn begun(&self, attempt: AttemptId, seen: Seen) {
        self.running().insert(attempt, seen);
    }

    pub(crate) fn ended(&self, attempt: AttemptId, ending: &Ending) {
        let Some(seen) = self.running().remove(&attempt) else { return };
        let kind = match ending {
            Ending::Failed(verdict) => verdict.failure.kind.as_str(),
            Ending::Succeeded { .. } | Ending::Stopped | Ending::NotCurrent => "none",
        };
        let labels = [("class", class(seen.live)), ("outcome", ending.word()), ("kind", kind)]
            .map(|(name, word)| (name, word.to_owned()));
        self.attempts.get_or_create(&labels).inc();
    }

    pub(crate) fn phase(&self, phase: &'static str, took: Duration) {
        self.phases.get_or_create(&[("phase", phase)]).observe(took.as_secs_f64());
    }

    /// ffmpeg got that much further.
    pub(crate) fn encoded(&self, encoder: &str, frames: u64, media_us: u64) {
        let labels = [("encoder", encoder.to_owned())];
        self.frames.get_or_create(&labels).inc_by(frames);
        self.media.get_or_create(&labels).inc_by(media_us as f64 / 1e6);
    }

    pub(crate) fn probed(&self) {
        self.probed.store(jiff::Timestamp::now().as_second(), Ordering::Relaxed);
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Seen>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn class(live: bool) -> &'static str {
    if live { "live" } else { "batch" }
}
