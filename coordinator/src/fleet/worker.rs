//! One worker as the coordinator sees it.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
    time::Duration,
};

use common::{
    api::WorkerState,
    id::{AttemptId, SessionId, WorkerId},
    worker::{Capabilities, Capacity, GpuLoad, Labels, Load},
};

use super::{
    flaps::Flaps,
    health::Health,
    history::{History, Sample},
    select::{Class, Placement, Slot},
    session_cap::SessionCap,
};

/// What an attempt takes of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub slot: Slot,
    pub class: Class,
    /// Encode sessions on the slot's GPU.
    pub sessions: u32,
}

impl Held {
    /// What a placement takes.
    #[must_use]
    pub fn of(placement: &Placement, class: Class) -> Self {
        Self { slot: placement.slot, class, sessions: placement.sessions }
    }
}

/// Who a worker is and what it can do, as it says itself each time it connects.
#[derive(Debug, Clone)]
pub struct Identity {
    pub id: WorkerId,
    pub name: String,
    pub version: String,
    /// Where it connects from, for people.
    pub address: String,
    /// The protocol version that its session uses.
    pub protocol: u32,
    pub capabilities: Capabilities,
    pub capacity: Capacity,
    pub labels: Labels,
    /// If not empty, only tasks of these presets are taken.
    pub presets: Vec<String>,
    pub exit_when_idle: bool,
    /// Folders that it sees under the same path as the coordinator.
    pub shared_roots: Vec<String>,
}

impl Identity {
    /// Whether it sees this absolute path below one of its own folders.
    #[must_use]
    pub fn shares(&self, path: &str) -> bool {
        shares(&self.shared_roots, path)
    }
}

/// Whether an absolute path is below one of these folders of a worker. One that goes up is below none.
#[must_use]
pub fn shares(roots: &[String], path: &str) -> bool {
    let path = Path::new(path);
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let below = |root: &String| {
        let root = Path::new(root);
        root.is_absolute() && path.starts_with(root)
    };
    !goes_up && roots.iter().any(below)
}

/// What is remembered of a worker from one connection to the next.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The operator wants no more work on it.
    pub drained_by_operator: bool,
    pub health: Health,
    pub flaps: Flaps,
    /// By GPU.
    pub session_caps: BTreeMap<u32, SessionCap>,
    /// Failures since the last success.
    pub recent_failures: u32,
    pub completed: u64,
    pub failed: u64,
    /// Frames that were encoded here. As many entries as there are presets, profiles and encoders at most.
    pub frames: BTreeMap<Encoded, u64>,
    pub history: History,
}

impl Standing {
    /// So many frames more.
    pub fn encoded(&mut self, what: Encoded, frames: u64) {
        if frames > 0 {
            let sum = self.frames.entry(what).or_default();
            *sum = sum.saturating_add(frames);
        }
    }
}

/// What is encoded with what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoded {
    pub class: Class,
    /// The job's preset, or the variant's profile.
    pub preset: String,
    /// `None`: no video is encoded.
    pub encoder: Option<String>,
}

impl Encoded {
    #[must_use]
    pub fn batch(preset: &str, encoder: Option<&str>) -> Self {
        Self { class: Class::Batch, preset: preset.to_owned(), encoder: encoder.map(str::to_owned) }
    }

    #[must_use]
    pub fn live(profile: &str, encoder: Option<&str>) -> Self {
        Self { class: Class::Live, ..Self::batch(profile, encoder) }
    }
}

#[derive(Debug, Clone)]
pub struct Worker {
    pub identity: Identity,
    /// `None` while it is not connected.
    pub session: Option<SessionId>,
    /// Its stream has ended and only its last reports are looked at: it hears nothing any more.
    pub ending: bool,
    /// Monotonic time of its newest message.
    pub last_heard: Duration,
    pub connected_at_ms: i64,
    /// The worker itself is shutting down.
    pub shutting_down: bool,
    /// Why it takes no work for now, in its own words.
    pub not_taking: Option<String>,
    pub load: Load,
    pub gpu_loads: Vec<GpuLoad>,
    /// Frames per second of all that runs, as of the newest heartbeat.
    pub fps: f64,
    /// Encode sessions that other programs have, by GPU, as of the newest heartbeat.
    pub foreign_sessions: BTreeMap<u32, u32>,
    pub held: BTreeMap<AttemptId, Held>,
    pub standing: Standing,
    /// When something of it changed, in the count of [`super::Fleet::changes`].
    pub changed: u64,
}

/// Jobs in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InUse {
    pub jobs: u32,
    pub gpu_jobs: u32,
    pub cpu_jobs: u32,
    pub batch_jobs: u32,
    pub live_jobs: u32,
}

impl Worker {
    #[must_use]
    pub fn in_use(&self) -> InUse {
        self.in_use_without(None)
    }

    /// What would be in use if that attempt were gone.
    pub(super) fn in_use_without(&self, gone: Option<AttemptId>) -> InUse {
        let mut used = InUse::default();
        for held in self.held_without(gone) {
            used.jobs += 1;
            match held.slot {
                Slot::Cpu => used.cpu_jobs += 1,
                Slot::Gpu(_) => used.gpu_jobs += 1,
            }
            match held.class {
                Class::Batch => used.batch_jobs += 1,
                Class::Live => used.live_jobs += 1,
            }
        }
        used
    }

    fn held_without(&self, gone: Option<AttemptId>) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(move |(id, _)| Some(**id) != gone).map(|(_, held)| held)
    }

    /// A free job of whatever kind.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.held.len() < self.identity.capacity.max_jobs as usize
    }

    /// Encode sessions that our attempts have on a GPU.
    #[must_use]
    pub fn own_sessions(&self, gpu: u32) -> u32 {
        self.own_sessions_without(gpu, None)
    }

    fn own_sessions_without(&self, gpu: u32, gone: Option<AttemptId>) -> u32 {
        self.held_without(gone).filter(|held| held.slot == Slot::Gpu(gpu)).map(|held| held.sessions).sum()
    }

    /// Encode sessions that a GPU can still open; `u32::MAX` where no limit is known.
    #[must_use]
    pub fn free_sessions(&self, gpu: u32, now: Duration) -> u32 {
        self.free_sessions_without(gpu, now, None)
    }

    pub(super) fn free_sessions_without(&self, gpu: u32, now: Duration, gone: Option<AttemptId>) -> u32 {
        let limit = self.possible_sessions(gpu, now);
        let foreign = self.foreign_sessions.get(&gpu).copied().unwrap_or(0);
        limit.map_or(u32::MAX, |limit| {
            limit.saturating_sub(self.own_sessions_without(gpu, gone)).saturating_sub(foreign)
        })
    }

    /// Encode sessions that a GPU can have open at once; `None` where no limit is known.
    #[must_use]
    pub fn possible_sessions(&self, gpu: u32, now: Duration) -> Option<u32> {
        let gpus = &self.identity.capabilities.gpus;
        let declared = gpus.iter().find(|known| known.index == gpu).and_then(|gpu| gpu.max_sessions);
        let learned = self.standing.session_caps.get(&gpu).and_then(|cap| cap.at(now));
        declared.into_iter().chain(learned).min()
    }

    /// What runs here, as of a heartbeat that was taken in.
    pub fn runs(&mut self, now: Duration, fps: f64) {
        self.fps = fps;
        let jobs = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        let sample = Sample { load: &self.load, gpus: &self.gpu_loads, fps, jobs };
        self.standing.history.add(now, sample);
    }

    /// Takes in a heartbeat.
    pub fn heard(&mut self, now: Duration, load: Load, gpus: Vec<GpuLoad>) {
        self.last_heard = now;
        self.load = load;
        self.foreign_sessions = gpus
            .iter()
            .map(|gpu| (gpu.index, gpu.sessions.saturating_sub(self.own_sessions(gpu.index))))
            .collect();
        self.gpu_loads = gpus;
    }

    /// How busy it is, in thousandths: the fuller of its slots and its processors, then both together.
    #[must_use]
    pub fn load_rank(&self) -> (u32, u32) {
        let slots = f64::from(self.in_use().jobs) / f64::from(self.identity.capacity.max_jobs.max(1));
        let cpu = if self.load.cpu.is_finite() { self.load.cpu.clamp(0.0, 1.0) } else { 1.0 };
        let thousandths = |load: f64| (load * 1000.0).round() as u32;
        (thousandths(slots.max(cpu)), thousandths(slots + cpu))
    }

    #[must_use]
    pub const fn draining(&self) -> bool {
        self.standing.drained_by_operator || self.shutting_down
    }

    /// It said goodbye, left, and owes nothing: nobody has to look for it.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.session.is_none() && self.shutting_down && self.held.is_empty()
    }

    /// What people are told about it.
    #[must_use]
    pub fn state(&self, now: Duration, stale_after: Duration) -> (WorkerState, Option<String>) {
        if self.session.is_none() || self.ending {
            return (WorkerState::Lost, Some("not connected".to_owned()));
        }
        if self.is_stale(now, stale_after) {
            let silent = now.saturating_sub(self.last_heard).as_secs();
            return (WorkerState::Lost, Some(format!("connected, but silent for {silent} s")));
        }
        let quarantine = self.quarantine();
        if self.is_quarantined() {
            return (WorkerState::Quarantined, quarantine);
        }
        if self.shutting_down {
            return (WorkerState::Draining, Some("it is shutting down".to_owned()));
        }
        if self.standing.drained_by_operator {
            return (WorkerState::Draining, Some("drained by an operator".to_owned()));
        }
        let held = self.standing.flaps.held(now);
        let aside: Vec<String> = held.into_iter().chain(self.not_taking.clone()).chain(quarantine).collect();
        (WorkerState::Online, (!aside.is_empty()).then(|| aside.join("; ")))
    }

    /// The places where it runs tasks.
    fn places(&self) -> impl Iterator<Item = Slot> {
        let capacity = self.identity.capacity;
        let cpu = (capacity.max_cpu_jobs > 0).then_some(Slot::Cpu);
        let gpus = self.identity.capabilities.gpus.iter().map(|gpu| Slot::Gpu(gpu.index));
        cpu.into_iter().chain(gpus.filter(move |_| capacity.max_gpu_jobs > 0))
    }

    /// Nothing of it is trusted.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        let mut places = self.places().peekable();
        places.peek().is_some() && places.all(|slot| self.standing.health.quarantined(slot).is_some())
    }

    /// What of it is quarantined and why, in words.
    fn quarantine(&self) -> Option<String> {
        let tell = |(slot, why): (Slot, &str)| match slot {
            Slot::Cpu => format!("its CPU is quarantined: {why}"),
            Slot::Gpu(index) => format!("GPU {index} is quarantined: {why}"),
        };
        let told: Vec<String> = self.standing.health.quarantines().map(tell).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Whether what people see of it is another than before by the passing of time alone. Seconds that count down are no
    /// change.
    #[must_use]
    pub fn differs(&self, before: Duration, now: Duration, stale_after: Duration) -> bool {
        let held = |at| self.standing.flaps.held_until(at).is_some();
        let mut gpus = self.identity.capabilities.gpus.iter();
        self.is_stale(before, stale_after) != self.is_stale(now, stale_after)
            || held(before) != held(now)
            || gpus.any(|gpu| {
                self.possible_sessions(gpu.index, before) != self.possible_sessions(gpu.index, now)
            })
    }

    #[must_use]
    pub fn is_stale(&self, now: Duration, stale_after: Duration) -> bool {
        now.saturating_sub(self.last_heard) >= stale_after
    }
}
