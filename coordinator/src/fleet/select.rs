//! Who runs it: placement as a plain function of the requirement, the fleet and the time.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use common::{
    id::{AttemptId, WorkerId},
    media::{EncoderFamily, HardwarePolicy},
    proto::LIVE_SINCE,
    worker::{EncoderDevice, Labels, Need, VideoNeed},
};

use super::{
    Fleet, Policy, Worker,
    rules::{Offer, forbidding},
};

/// The two classes of work that share the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Batch,
    Live,
}

impl Class {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Live => "live",
        }
    }
}

/// What a task needs of a worker. Tasks with equal requirements are placed alike, so the queue groups by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    pub need: Need,
    pub policy: HardwarePolicy,
    pub labels: Labels,
    pub preset: String,
    pub class: Class,
    /// Workers where it failed: they get it only if there is no other that could ever take it.
    pub avoid: BTreeSet<WorkerId>,
}

impl Requirement {
    /// The oldest wire protocol that a worker for it speaks.
    pub(super) fn wire_since(&self) -> u32 {
        let class = match self.class {
            Class::Batch => 0,
            Class::Live => LIVE_SINCE,
        };
        self.need.wire_since.max(class)
    }
}

/// Which of a worker's slots an attempt takes, besides the overall one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    Cpu,
    /// The GPU's index.
    Gpu(u32),
}

/// The scheduler's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub worker: WorkerId,
    /// For the video; `None` when there is no video to encode.
    pub encoder: Option<String>,
    /// `None` for software.
    pub device: Option<EncoderDevice>,
    pub slot: Slot,
    /// Encode sessions on the device.
    pub sessions: u32,
}

/// Why a worker cannot take a task now. In the order in which they are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    Disconnected,
    Stale,
    Draining,
    /// It comes and goes.
    Held(String),
    /// It says itself that it takes nothing.
    NotTaking(String),
    /// Its ffmpegd is too old for live work.
    Protocol(u32),
    Preset,
    Labels,
    /// No encoder for it, or the policy or a rule leaves none.
    Encoder,
    Filter(String),
    /// Its ffmpeg does not read from there.
    InputProtocol(String),
    /// It does not see the file.
    SharedRoot,
    Scratch(String),
    /// Everywhere where it could run.
    Quarantined(String),
    /// The task failed here, and there are others.
    FailedHere,
    /// Everything fits, but there is no room now.
    Full(String),
}

/// The best worker, encoder and device for a task, or `None` when nobody can take it now.
///
/// A batch task that failed somewhere waits for another worker that is merely full rather than go back there. Live work
/// does not wait: it goes back when there is no other.
#[must_use]
pub fn select(requirement: &Requirement, fleet: &Fleet, now: Duration) -> Option<Placement> {
    let elsewhere = best(requirement, fleet, false, now);
    if elsewhere.is_some() || must_avoid(requirement, fleet, now) {
        return elsewhere;
    }
    best(requirement, fleet, true, now)
}

/// The best placement among the workers that are to be avoided, or among all others.
pub(super) fn best(
    requirement: &Requirement,
    fleet: &Fleet,
    avoided: bool,
    now: Duration,
) -> Option<Placement> {
    fleet
        .iter()
        .filter(|worker| requirement.avoid.contains(&worker.identity.id) == avoided)
        .filter(|worker| worker.has_room())
        .filter_map(|worker| candidates(requirement, worker, &fleet.policy, now).ok())
        .flatten()
        .min_by_key(Candidate::rank)
        .map(|candidate| candidate.placement())
}

/// Whether there is nowhere to go back to, or another worker to wait for.
pub(super) fn must_avoid(requirement: &Requirement, fleet: &Fleet, now: Duration) -> bool {
    if requirement.class == Class::Live {
        return false;
    }
    requirement.avoid.is_empty()
        || fleet.iter().filter(|worker| !requirement.avoid.contains(&worker.identity.id)).any(|worker| {
            matches!(candidates(requirement, worker, &fleet.policy, now), Ok(_) | Err(Unfit::Full(_)))
        })
}

/// A placement that is possible now, with what it is ranked by.
#[derive(Debug)]
pub(super) struct Candidate<'w> {
    worker: WorkerId,
    fit: Fit<'w>,
    slot: Slot,
    sessions: u32,
    free_sessions: u32,
    device_sessions: u32,
    load: (u32, u32),
    recent_failures: u32,
}

impl Candidate<'_> {
    pub(super) fn placement(&self) -> Placement {
        Placement {
            worker: self.worker,
            encoder: self.fit.encoder.map(str::to_owned),
            device: self.fit.device.cloned(),
            slot: self.slot,
            sessions: self.sessions,
        }
    }

    pub(super) fn in_software(&self) -> bool {
        !self.fit.family.is_hardware()
    }

    pub(super) fn rank(&self) -> Rank {
        Rank {
            software: self.in_software(),
            free_sessions: Reverse(self.free_sessions),
            load: self.load,
            device_sessions: self.device_sessions,
            recent_failures: self.recent_failures,
            family: self.fit.family,
            worker: self.worker,
            slot: self.slot,
        }
    }
}

/// What decides between candidates, in this order; lower is better. The last two make sure that the answer never depends
/// on chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Only `prefer` leaves candidates of both kinds.
    software: bool,
    free_sessions: Reverse<u32>,
    load: (u32, u32),
    /// The emptier GPU of one worker.
    device_sessions: u32,
    recent_failures: u32,
    /// The family that is served best.
    family: EncoderFamily,
    worker: WorkerId,
    slot: Slot,
}

/// Every way in which `worker` can take the task now.
///
/// # Errors
/// The first reason why there is none.
pub(super) fn candidates<'w>(
    requirement: &'w Requirement,
    worker: &'w Worker,
    policy: &Policy,
    now: Duration,
) -> Result<Vec<Candidate<'w>>, Unfit> {
    candidates_without(requirement, worker, policy, now, None)
}

/// The same if that attempt of the worker were gone.
pub(super) fn candidates_without<'w>(
    requirement: &'w Requirement,
    worker: &'w Worker,
    policy: &Policy,
    now: Duration,
    gone: Option<AttemptId>,
) -> Result<Vec<Candidate<'w>>, Unfit> {
    if worker.session.is_none() || worker.ending {
        return Err(Unfit::Disconnected);
    }
    if worker.is_stale(now, policy.stale_after) {
        return Err(Unfit::Stale);
    }
    if worker.draining() {
        return Err(Unfit::Draining);
    }
    if let Some(why) = worker.standing.flaps.held(now) {
        return Err(Unfit::Held(why));
    }
    let identity = &worker.identity;
    let live = requirement.class == Class::Live;
    if identity.protocol < requirement.wire_since() {
        return Err(Unfit::Protocol(identity.protocol));
    }
    // What keeps a worker from taking work is its scratch, of which live needs none.
    if let Some(why) = worker.not_taking.as_ref().filter(|_| !live) {
        return Err(Unfit::NotTaking(why.clone()));
    }
    if !identity.presets.is_empty() && !identity.presets.contains(&requirement.preset) {
        return Err(Unfit::Preset);
    }
    if requirement.labels.iter().any(|(key, value)| identity.labels.get(key) != Some(value)) {
        return Err(Unfit::Labels);
    }
    let offers = offers(requirement, worker, policy);
    if offers.is_empty() {
        return Err(Unfit::Encoder);
    }
    if let Some(filter) =
        requirement.need.filters.iter().find(|filter| !identity.capabilities.filters.contains(*filter))
    {
        return Err(Unfit::Filter(filter.clone()));
    }
    if let Some(protocol) =
        requirement.need.protocols.iter().find(|name| !identity.capabilities.protocols.contains(*name))
    {
        return Err(Unfit::InputProtocol(protocol.clone()));
    }
    if requirement.need.shared_path.as_ref().is_some_and(|path| !identity.shares(path)) {
        return Err(Unfit::SharedRoot);
    }
    let needed = requirement.need.scratch_bytes;
    if let Some(available) = worker.load.scratch_available_bytes.filter(|available| *available < needed) {
        return Err(Unfit::Scratch(format!(
            "{} MiB of scratch, {} MiB needed",
            available >> 20,
            needed.div_ceil(1 << 20)
        )));
    }
    with_room(requirement, worker, policy, offers, now, gone)
}

/// An encoder and device that would do, room or not. No encoder: there is no video to encode.
#[derive(Debug, Clone, Copy)]
struct Fit<'w> {
    encoder: Option<&'w str>,
    family: EncoderFamily,
    device: Option<&'w EncoderDevice>,
}

impl Fit<'_> {
    fn slot(&self) -> Slot {
        self.device.map_or(Slot::Cpu, |device| Slot::Gpu(device.gpu))
    }
}

fn offers<'w>(requirement: &'w Requirement, worker: &'w Worker, policy: &Policy) -> Vec<Fit<'w>> {
    let need = &requirement.need;
    let software_there = need
        .any_of
        .iter()
        .all(|names| names.iter().any(|name| worker.identity.capabilities.encoder(name).is_some()));
    if !software_there {
        return Vec::new();
    }
    match &need.video {
        None => vec![Fit { encoder: None, family: EncoderFamily::Software, device: None }],
        Some(video) => {
            let mut fits = Vec::new();
            if requirement.policy != HardwarePolicy::Never {
                fits.extend(hardware(video, worker, policy));
            }
            if requirement.policy != HardwarePolicy::Require {
                fits.extend(software(video, worker, policy));
            }
            fits
        }
    }
}

fn hardware<'w>(video: &'w VideoNeed, worker: &'w Worker, policy: &Policy) -> impl Iterator<Item = Fit<'w>> {
    worker
        .identity
        .capabilities
        .encoders
        .iter()
        .filter(|encoder| encoder.family.is_hardware() && encoder.codec == video.codec.as_str())
        .filter(|encoder| video.encoder.as_ref().is_none_or(|exact| *exact == encoder.name))
        .flat_map(|encoder| encoder.devices.iter().map(move |device| (encoder, device)))
        .filter(|(_, device)| device.bit_depths.contains(&video.bit_depth))
        .filter(|(encoder, device)| {
            let offer = Offer {
                codec: video.codec,
                encoder: &encoder.name,
                family: encoder.family,
                gpu: Some(device.gpu),
            };
            forbidding(&policy.rules, worker, offer).is_none()
        })
        .map(|(encoder, device)| Fit {
            encoder: Some(&encoder.name),
            family: encoder.family,
            device: Some(device),
        })
}

/// The best software encoder that is there.
fn software<'w>(video: &'w VideoNeed, worker: &Worker, policy: &Policy) -> Option<Fit<'w>> {
    let exact = video.encoder.as_deref();
    let usual = if exact.is_some() { [].as_slice() } else { video.codec.software_encoders() };
    exact
        .into_iter()
        .chain(usual.iter().copied())
        .filter(|name| {
            worker
                .identity
                .capabilities
                .encoder(name)
                .is_some_and(|encoder| !encoder.family.is_hardware() && encoder.codec == video.codec.as_str())
        })
        .find(|name| {
            let offer =
                Offer { codec: video.codec, encoder: name, family: EncoderFamily::Software, gpu: None };
            forbidding(&policy.rules, worker, offer).is_none()
        })
        .map(|name| Fit { encoder: Some(name), family: EncoderFamily::Software, device: None })
}

fn with_room<'w>(
    requirement: &Requirement,
    worker: &Worker,
    policy: &Policy,
    fits: Vec<Fit<'w>>,
    now: Duration,
    gone: Option<AttemptId>,
) -> Result<Vec<Candidate<'w>>, Unfit> {
    let used = worker.in_use_without(gone);
    let capacity = worker.identity.capacity;
    if used.jobs >= capacity.max_jobs {
        return Err(Unfit::Full(format!("{} of {} jobs", used.jobs, capacity.max_jobs)));
    }
    if requirement.class == Class::Batch
        && used.batch_jobs.saturating_add(policy.live_reserved) >= capacity.max_jobs
    {
        return Err(Unfit::Full(format!(
            "{} of {} jobs, {} kept for live",
            used.jobs, capacity.max_jobs, policy.live_reserved
        )));
    }
    let wanted = requirement.need.video.as_ref().map_or(0, |video| video.sessions);
    let load = worker.load_rank();
    let (mut full, mut quarantined) = (None, None);
    let mut room = Vec::with_capacity(fits.len());
    for fit in fits {
        let slot = fit.slot();
        if let Some(why) = worker.standing.health.quarantined(slot) {
            quarantined = Some(why.to_owned());
            continue;
        }
        let (sessions, free_sessions, device_sessions) = match slot {
            Slot::Cpu => {
                if used.cpu_jobs >= capacity.max_cpu_jobs {
                    full = Some(format!("{} of {} CPU jobs", used.cpu_jobs, capacity.max_cpu_jobs));
                    continue;
                }
                (0, 0, 0)
            }
            Slot::Gpu(gpu) => {
                if used.gpu_jobs >= capacity.max_gpu_jobs {
                    full = Some(format!("{} of {} GPU jobs", used.gpu_jobs, capacity.max_gpu_jobs));
                    continue;
                }
                let free = worker.free_sessions_without(gpu, now, gone);
                if free < wanted {
                    full = Some(format!("GPU {gpu} has {free} free encode sessions, {wanted} needed"));
                    continue;
                }
                (wanted, free, worker.own_sessions(gpu))
            }
        };
        room.push(Candidate {
            worker: worker.identity.id,
            fit,
            slot,
            sessions,
            free_sessions,
            device_sessions,
            load,
            recent_failures: worker.standing.recent_failures,
        });
    }
    match (room.is_empty(), full, quarantined) {
        (false, _, _) => Ok(room),
        (true, Some(full), _) => Err(Unfit::Full(full)),
        (true, None, Some(why)) => Err(Unfit::Quarantined(why)),
        (true, None, None) => Err(Unfit::Full(String::new())),
    }
}
