//! The queue and the fleet in numbers, for whoever watches them by machine.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use common::{
    api::{GpuView, WorkerState},
    media::HardwarePolicy,
    worker::{Capacity, Labels, Load},
};

use super::{
    rows::gpus,
    state::{Now, State},
};
use crate::{
    fleet::{Class, Encoded, InUse, Requirement, Slot, Worker},
    text::prefix,
};

/// Bytes of a requirement in words.
const MAX_WORDS: usize = 120;

/// At one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Tasks that are ready for a worker.
    pub(crate) ready: BTreeMap<Line, Depth>,
    /// Tasks that wait for their next try.
    pub(crate) delayed: usize,
    pub(crate) jobs_queued: u64,
    pub(crate) jobs_running: u64,
    /// Jobs whose files are on their way to where they want them.
    pub(crate) delivering: usize,
    /// Without those that said goodbye and left.
    pub(crate) workers: Vec<WorkerFigures>,
}

/// Tasks that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// In words, see [`words`].
    pub(crate) requirement: String,
    /// Empty: nobody's.
    pub(crate) owner: String,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Depth {
    pub(crate) tasks: u64,
    /// Since the oldest was queued.
    pub(crate) oldest: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkerFigures {
    /// Its name, with the end of its id where that tells it from others. No two workers have the same.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) state: WorkerState,
    /// Since it was heard last.
    pub(crate) silent: Duration,
    pub(crate) capacity: Capacity,
    pub(crate) used: InUse,
    pub(crate) load: Load,
    pub(crate) memory_total_bytes: u64,
    pub(crate) scratch_total_bytes: u64,
    pub(crate) gpus: Vec<GpuView>,
    pub(crate) quarantined: Vec<Slot>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) frames: Vec<(Encoded, u64)>,
    /// What it runs now, with frames per second and speed.
    pub(crate) running: BTreeMap<Encoded, (f64, f64)>,
}

/// Which tasks somebody offers machines for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Empty: any.
    pub(crate) policies: Vec<HardwarePolicy>,
    /// Empty: any.
    pub(crate) presets: Vec<String>,
    /// Labels of the machines: a task that wants others is not for them.
    pub(crate) labels: Labels,
}

impl Demand {
    fn takes(&self, requirement: &Requirement) -> bool {
        (self.policies.is_empty() || self.policies.contains(&requirement.policy))
            && (self.presets.is_empty() || self.presets.contains(&requirement.preset))
            && requirement.labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

impl State {
    pub(super) fn figures(&self, now: Now) -> Figures {
        let mut names: BTreeMap<&str, u32> = BTreeMap::new();
        for worker in self.fleet.iter() {
            *names.entry(&worker.identity.name).or_default() += 1;
        }
        let queued = self.owners.queued();
        Figures {
            ready: self.depths(now),
            delayed: self.delayed.len(),
            jobs_queued: queued,
            jobs_running: (self.jobs.len() as u64).saturating_sub(queued),
            delivering: self.delivering.len(),
            workers: self
                .fleet
                .iter()
                .filter(|worker| !worker.has_left())
                .map(|worker| {
                    let is_alone = names.get(worker.identity.name.as_str()) == Some(&1);
                    self.worker_figures(worker, is_alone, now)
                })
                .collect(),
        }
    }

    fn depths(&self, now: Now) -> BTreeMap<Line, Depth> {
        let mut depths: BTreeMap<Line, Depth> = BTreeMap::new();
        for line in self.ready.lines() {
            let key = Line {
                requirement: words(line.requirement),
                owner: self.owners.name(line.owner).unwrap_or_default().to_owned(),
                priority: line.priority,
            };
            let queued_at = line.oldest.and_then(|task| Some(self.tasks.get(&task)?.record.queued_at));
            let age = now.wall.saturating_sub(queued_at.unwrap_or(now.wall));
            let depth = depths.entry(key).or_default();
            depth.tasks += line.tasks as u64;
            depth.oldest = depth.oldest.max(Duration::from_millis(u64::try_from(age).unwrap_or_default()));
        }
        depths
    }

    fn worker_figures(&self, worker: &Worker, is_alone: bool, now: Now) -> WorkerFigures {
        let identity = &worker.identity;
        let machine = &identity.capabilities.machine;
        WorkerFigures {
            name: unlike_others(&identity.name, &identity.id.to_string(), is_alone),
            version: identity.version.clone(),
            state: worker.state(now.mono, self.fleet.policy.stale_after).0,
            silent: now.mono.saturating_sub(worker.last_heard),
            capacity: identity.capacity,
            used: worker.in_use(),
            load: worker.load,
            memory_total_bytes: machine.memory_total_bytes,
            scratch_total_bytes: machine.scratch_total_bytes,
            gpus: gpus(worker, now),
            quarantined: worker.standing.health.quarantines().map(|(slot, _)| slot).collect(),
            completed: worker.standing.completed,
            failed: worker.standing.failed,
            frames: worker.standing.frames.iter().map(|(what, frames)| (what.clone(), *frames)).collect(),
            running: self.speeds(worker),
        }
    }

    fn speeds(&self, worker: &Worker) -> BTreeMap<Encoded, (f64, f64)> {
        let mut speeds: BTreeMap<Encoded, (f64, f64)> = BTreeMap::new();
        for (attempt, held) in &worker.held {
            let found = match held.class {
                Class::Batch => self.current(*attempt).and_then(|running| {
                    let progress = running.progress.as_ref()?;
                    let job = self.jobs.get(&running.record.job)?;
                    let encoder = running.record.details.encoder.as_deref();
                    Some((Encoded::batch(&job.record.request.preset, encoder), progress))
                }),
                Class::Live => self.live.get(attempt).and_then(|running| {
                    let progress = running.progress.as_ref()?;
                    Some((Encoded::live(&running.profile, running.encoder.as_deref()), progress))
                }),
            };
            if let Some((what, progress)) = found {
                let sum = speeds.entry(what).or_default();
                sum.0 += progress.fps;
                sum.1 += progress.speed;
            }
        }
        speeds
    }

    /// Tasks that wait or run which such machines are for: what an autoscaler scales by. Those that run count, or it would
    /// take away who runs them.
    pub(super) fn demand(&self, demand: &Demand) -> u64 {
        let waiting = self.ready.lines().filter(|line| demand.takes(line.requirement));
        let waiting: usize = waiting.map(|line| line.tasks).sum();
        let delayed = self.delayed.iter().filter_map(|(_, task)| self.tasks.get(task));
        let delayed = delayed.filter(|task| demand.takes(&task.requirement)).count();
        let assigned = self.assigned.values().flatten();
        let running = assigned
            .filter(|attempt| self.current(**attempt).is_some())
            .filter_map(|attempt| self.tasks.get(&attempt.task))
            .filter(|task| demand.takes(&task.requirement))
            .count();
        (waiting + delayed + running) as u64
    }
}

/// What a worker is called. Names that look as if they were made so get the id too, or one could be another's.
fn unlike_others(name: &str, id: &str, is_alone: bool) -> String {
    let end = id.rsplit('-').next().unwrap_or(id);
    let looks_made = name.rsplit_once(' ').is_some_and(|(_, last)| {
        last.len() == end.len() && last.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if is_alone && !looks_made { name.to_owned() } else { format!("{name} {end}") }
}

/// A requirement as people read it: `h264 prefer`, `hevc_nvenc require site=berlin`, `any never`.
fn words(requirement: &Requirement) -> String {
    let video = requirement.need.video.as_ref();
    let what = match video {
        Some(video) => video.encoder.as_deref().unwrap_or(video.codec.as_str()),
        None => "any",
    };
    let mut words = format!("{what} {}", requirement.policy);
    for (key, value) in &requirement.labels {
        let _ = write!(words, " {key}={value}");
    }
    prefix(&words, MAX_WORDS).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_worker_can_be_made_into_anothers() {
        let (one, other) = ("6f3c1f0e-6d55-4e0a-9a57-0123456789ab", "0d3c1f0e-6d55-4e0a-9a57-ba9876543210");
        assert_eq!(unlike_others("box", one, true), "box");
        assert_eq!(unlike_others("box 2", one, true), "box 2");
        assert_eq!(unlike_others("box", one, false), "box 0123456789ab");
        assert_eq!(unlike_others("box", other, false), "box ba9876543210");
        assert_eq!(unlike_others("box 0123456789ab", other, true), "box 0123456789ab ba9876543210");
    }
}
