//! The fleet at a glance: rows of a list, totals, history.

use std::{collections::BTreeSet, time::Duration};

use common::{
    api::{
        AtWork, FleetSummary, GpuView, Quarantine, WorkerCounts, WorkerHistory, WorkerState, WorkerSummary,
        WorkerView,
    },
    id::WorkerId,
};
use tokio::sync::oneshot;

use super::{
    figures::{Demand, Figures},
    state::{Now, State},
    view::time,
};
use crate::fleet::{Moment, Slot, Worker};

/// What of the fleet somebody wants to see.
pub(super) enum Look {
    /// And whether there are more.
    Workers(WorkerFilter, oneshot::Sender<(Vec<WorkerSummary>, bool)>),
    Worker(WorkerId, oneshot::Sender<Option<WorkerView>>),
    History(WorkerId, oneshot::Sender<Option<WorkerHistory>>),
    Fleet(oneshot::Sender<FleetSummary>),
    Figures(oneshot::Sender<Box<Figures>>),
    Demand(Demand, oneshot::Sender<u64>),
    Changes(Since, oneshot::Sender<FleetChanges>),
}

/// Up to where somebody has followed the fleet; the default is from before its beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Since {
    changes: u64,
    mono: Duration,
}

/// What became another since then.
#[derive(Debug)]
pub struct FleetChanges {
    pub rows: Vec<WorkerSummary>,
    /// Workers that are listed no more.
    pub gone: Vec<WorkerId>,
    pub until: Since,
}

/// Which workers a list shows; by name, then id.
#[derive(Debug, Clone, Default)]
pub struct WorkerFilter {
    /// Empty: any.
    pub states: Vec<WorkerState>,
    /// In the name, the id, the address, the version, or a label.
    pub text: Option<String>,
    /// Name and id of the last one of the page before.
    pub after: Option<(String, WorkerId)>,
    pub limit: usize,
}

impl State {
    pub(super) fn look(&self, look: Look, now: Now) {
        match look {
            Look::Workers(filter, answer) => {
                let _ = answer.send(self.worker_rows(&filter, now));
            }
            Look::Worker(id, answer) => {
                let _ = answer.send(self.worker_view(id, now));
            }
            Look::History(id, answer) => {
                let _ = answer.send(self.worker_history(id, now));
            }
            Look::Fleet(answer) => {
                let _ = answer.send(self.fleet_summary(now));
            }
            Look::Figures(answer) => {
                let _ = answer.send(Box::new(self.figures(now)));
            }
            Look::Demand(demand, answer) => {
                let _ = answer.send(self.demand(&demand));
            }
            Look::Changes(since, answer) => {
                let _ = answer.send(self.fleet_changes(since, now));
            }
        }
    }

    fn worker_rows(&self, filter: &WorkerFilter, now: Now) -> (Vec<WorkerSummary>, bool) {
        let text = filter.text.as_ref().map(|text| text.to_lowercase());
        let place = |worker: &Worker| (worker.identity.name.clone(), worker.identity.id);
        let fits = |worker: &&Worker| {
            let state = || worker.state(now.mono, self.fleet.policy.stale_after).0;
            filter.after.as_ref().is_none_or(|after| {
                (worker.identity.name.as_str(), worker.identity.id) > (after.0.as_str(), after.1)
            }) && (filter.states.is_empty() || filter.states.contains(&state()))
                && text.as_ref().is_none_or(|text| names(worker, text))
        };
        let mut found: Vec<&Worker> = self.fleet.iter().filter(fits).collect();
        found.sort_by_cached_key(|worker| place(worker));
        let more = found.len() > filter.limit;
        found.truncate(filter.limit);
        (found.into_iter().map(|worker| self.worker_summary(worker, now)).collect(), more)
    }

    fn fleet_changes(&self, since: Since, now: Now) -> FleetChanges {
        let is_new = |worker: &&Worker| {
            worker.changed > since.changes
                || worker.differs(since.mono, now.mono, self.fleet.policy.stale_after)
        };
        FleetChanges {
            rows: self.fleet.iter().filter(is_new).map(|worker| self.worker_summary(worker, now)).collect(),
            gone: self.fleet.removed_since(since.changes).collect(),
            until: Since { changes: self.fleet.changes(), mono: now.mono },
        }
    }

    /// The first of what a worker runs.
    fn at_work(&self, worker: WorkerId) -> Option<AtWork> {
        self.assigned.get(&worker).into_iter().flatten().find_map(|attempt| {
            let running = self.current(*attempt)?;
            let request = &self.jobs.get(&running.record.job)?.record.request;
            let progress = self.progress_view(*attempt);
            Some(AtWork {
                job: running.record.job,
                preset: request.preset.clone(),
                input: request.input.name().to_owned(),
                percent: progress.as_ref().and_then(|progress| progress.percent),
                speed: progress.map(|progress| progress.progress.speed),
            })
        })
    }

    pub(super) fn worker_summary(&self, worker: &Worker, now: Now) -> WorkerSummary {
        let (state, reason) = worker.state(now.mono, self.fleet.policy.stale_after);
        let used = worker.in_use();
        let identity = &worker.identity;
        let encoders = identity.capabilities.encoders.iter();
        let families: BTreeSet<&str> = encoders
            .filter(|encoder| encoder.family.is_hardware())
            .map(|encoder| encoder.family.as_str())
            .collect();
        WorkerSummary {
            id: identity.id,
            name: identity.name.clone(),
            state,
            reason,
            version: identity.version.clone(),
            address: identity.address.clone(),
            ffmpeg_version: identity.capabilities.ffmpeg_version.clone(),
            labels: identity.labels.clone(),
            hardware: families.into_iter().map(str::to_owned).collect(),
            capacity: identity.capacity,
            jobs: used.jobs,
            gpu_jobs: used.gpu_jobs,
            cpu_jobs: used.cpu_jobs,
            live_jobs: used.live_jobs,
            fps: worker.fps,
            load: worker.load,
            memory_total_bytes: identity.capabilities.machine.memory_total_bytes,
            scratch_total_bytes: identity.capabilities.machine.scratch_total_bytes,
            gpus: gpus(worker, now),
            work: self.at_work(identity.id),
            connected_at: time(worker.connected_at_ms),
            completed: worker.standing.completed,
            failed: worker.standing.failed,
        }
    }

    fn worker_history(&self, id: WorkerId, now: Now) -> Option<WorkerHistory> {
        let worker = self.fleet.get(id)?;
        let (minutes, hour) = worker.standing.history.series(Moment { mono: now.mono, wall: now.wall });
        let memory_total_bytes = worker.identity.capabilities.machine.memory_total_bytes;
        Some(WorkerHistory { id, memory_total_bytes, minutes, hour })
    }

    pub(super) fn fleet_summary(&self, now: Now) -> FleetSummary {
        let mut sum = FleetSummary { waiting: self.owners.waiting(), ..FleetSummary::default() };
        for worker in self.fleet.iter() {
            let (state, _) = worker.state(now.mono, self.fleet.policy.stale_after);
            let WorkerCounts { online, draining, quarantined, lost } = &mut sum.workers;
            match state {
                WorkerState::Online => *online += 1,
                WorkerState::Draining => *draining += 1,
                WorkerState::Quarantined => *quarantined += 1,
                WorkerState::Lost => {
                    *lost += 1;
                    continue;
                }
            }
            let (used, capacity) = (worker.in_use(), worker.identity.capacity);
            sum.cpu_jobs.used += used.cpu_jobs;
            sum.cpu_jobs.total += capacity.max_cpu_jobs.min(capacity.max_jobs);
            sum.gpu_jobs.used += used.gpu_jobs;
            sum.gpu_jobs.total += capacity.max_gpu_jobs.min(capacity.max_jobs);
            sum.live += used.live_jobs;
            sum.batch += used.batch_jobs;
            sum.fps += worker.fps;
        }
        sum
    }
}

/// Whether a worker is one of those that a text, in small letters, may mean.
fn names(worker: &Worker, text: &str) -> bool {
    let has = |word: &str| word.to_lowercase().contains(text);
    let identity = &worker.identity;
    has(&identity.name)
        || has(&identity.address)
        || has(&identity.version)
        || identity.labels.iter().any(|(key, value)| has(&format!("{key}={value}")))
        || identity.id.to_string().contains(text)
}

/// The GPUs of a worker, with what its newest heartbeat says.
pub(super) fn gpus(worker: &Worker, now: Now) -> Vec<GpuView> {
    let view = |gpu: &common::worker::Gpu| {
        let load = worker.gpu_loads.iter().find(|load| load.index == gpu.index);
        GpuView {
            index: gpu.index,
            name: gpu.name.clone(),
            utilisation: load.map(|load| load.utilisation),
            encoder_utilisation: load.map(|load| load.encoder_utilisation),
            decoder_utilisation: load.map(|load| load.decoder_utilisation),
            memory_used_bytes: load.map(|load| load.memory_used_bytes),
            memory_total_bytes: gpu.memory_total_bytes,
            temperature_celsius: load.map(|load| load.temperature_celsius),
            sessions: load.map(|load| load.sessions.max(worker.own_sessions(gpu.index))),
            sessions_possible: worker.possible_sessions(gpu.index, now.mono),
        }
    };
    worker.identity.capabilities.gpus.iter().map(view).collect()
}

pub(super) fn quarantines(worker: &Worker) -> Vec<Quarantine> {
    let view = |(slot, reason): (Slot, &str)| Quarantine {
        gpu: match slot {
            Slot::Cpu => None,
            Slot::Gpu(index) => Some(index),
        },
        reason: reason.to_owned(),
    };
    worker.standing.health.quarantines().map(view).collect()
}
