//! What must hold between any two events: checked by the property tests after every step, and in debug builds by the queue
//! itself for whatever an event has changed.

use common::{api::TaskState, id::TaskId};

use super::{
    remedy::FAILURE_BUDGET,
    state::{Job, State, Task},
};
#[cfg(test)]
use crate::fleet::Class;
use crate::fleet::{Slot, Worker};

/// A promise that does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken(String);

macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(Broken(format!($($words)+)));
        }
    };
}

/// Of one task and its job.
pub(super) fn task(task: &Task, job: &Job) -> Result<(), Broken> {
    let (record, id) = (&task.record, task.record.id);
    let state = job.record.state;
    ensure!(task.next_epoch > record.epoch, "task {id}: the next epoch is not above {}", record.epoch);
    ensure!(
        record.published.is_none_or(|published| published <= record.epoch),
        "task {id} published an epoch that was never given out"
    );
    ensure!(
        record.published.is_some() == (record.state == TaskState::Succeeded),
        "task {id} is {:?}, published: {:?}",
        record.state,
        record.published
    );
    ensure!(
        task.attempt.is_some() == (record.state == TaskState::Running),
        "task {id} is {:?} and has {} attempt",
        record.state,
        if task.attempt.is_some() { "an" } else { "no" }
    );
    ensure!(
        task.attempt.as_ref().is_none_or(|running| running.record.id.epoch == record.epoch),
        "task {id}: its attempt is not of its epoch {}",
        record.epoch
    );
    ensure!(record.history.failures <= FAILURE_BUDGET, "task {id} failed {} times", record.history.failures);
    ensure!(
        record.history.mishaps.len() == record.history.failures as usize,
        "task {id}: {} failures, {} of them known",
        record.history.failures,
        record.history.mishaps.len()
    );
    ensure!(
        !(state.is_final() && matches!(record.state, TaskState::Queued | TaskState::Running)),
        "job {} is {state:?} and its task {id} {:?}",
        job.record.id,
        record.state
    );
    Ok(())
}

/// Of one worker that was just given something.
pub(super) fn worker(worker: &Worker) -> Result<(), Broken> {
    let (used, capacity, name) = (worker.in_use(), worker.identity.capacity, &worker.identity.name);
    ensure!(used.jobs <= capacity.max_jobs, "{name} was given {} of {} jobs", used.jobs, capacity.max_jobs);
    ensure!(
        used.cpu_jobs <= capacity.max_cpu_jobs,
        "{name} was given {} of {} CPU jobs",
        used.cpu_jobs,
        capacity.max_cpu_jobs
    );
    ensure!(
        used.gpu_jobs <= capacity.max_gpu_jobs,
        "{name} was given {} of {} GPU jobs",
        used.gpu_jobs,
        capacity.max_gpu_jobs
    );
    for gpu in &worker.identity.capabilities.gpus {
        let open = worker.own_sessions(gpu.index);
        ensure!(
            gpu.max_sessions.is_none_or(|limit| open <= limit),
            "{name} was given {open} sessions on {:?}, which allows {:?}",
            Slot::Gpu(gpu.index),
            gpu.max_sessions
        );
    }
    Ok(())
}

impl State {
    /// The first promise that does not hold for what changed since the last commit.
    pub(super) fn check_changed(&self) -> Result<(), Broken> {
        self.changed.tasks.iter().try_for_each(|id| self.check_task(*id))
    }

    fn check_task(&self, id: TaskId) -> Result<(), Broken> {
        let Some(known) = self.tasks.get(&id) else { return Ok(()) };
        match self.jobs.get(&known.record.job) {
            Some(job) => task(known, job),
            None => Err(Broken(format!("task {id} has no job"))),
        }
    }

    /// Everything that is in memory.
    #[cfg(test)]
    pub(super) fn check_everything(&self, now: std::time::Duration) -> Result<(), Broken> {
        self.tasks.keys().try_for_each(|id| self.check_task(*id))?;
        for (id, job) in &self.jobs {
            let published =
                |task| self.tasks.get(task).is_some_and(|task| task.record.state == TaskState::Succeeded);
            let all = job.tasks.iter().all(published);
            let state = job.record.state;
            ensure!(
                self.delivering.contains_key(id) == (all && !state.is_final()),
                "job {id} is {state:?}, all published: {all}, delivering: {:?}",
                self.delivering.get(id)
            );
            ensure!(
                !all || state.is_final() || job.record.request.output.is_some(),
                "job {id} waits for a delivery to nowhere"
            );
        }
        let due = self.delivering.iter().filter_map(|(job, delivering)| Some((delivering.due()?, *job)));
        ensure!(
            due.collect::<std::collections::BTreeSet<_>>() == self.due_deliveries,
            "deliveries and their times do not agree"
        );
        for (worker, attempts) in &self.assigned {
            for attempt in attempts {
                ensure!(!self.live.contains_key(attempt), "{attempt} of worker {worker} is batch and live");
                ensure!(
                    self.current(*attempt).is_some() || self.stopping.contains_key(attempt),
                    "worker {worker} has {attempt}, which is neither current nor stopping"
                );
            }
        }
        let deadlines = self.tasks.values().filter_map(|task| {
            let running = task.attempt.as_ref()?;
            Some((running.deadline, running.record.id))
        });
        ensure!(
            deadlines.collect::<std::collections::BTreeSet<_>>() == self.deadlines,
            "deadlines and attempts do not agree"
        );
        self.check_live()?;
        let mut counts: std::collections::BTreeMap<Option<String>, (usize, u32, u32)> = Default::default();
        for job in self.jobs.values() {
            let (jobs, queued, running) = counts.entry(job.record.request.owner.clone()).or_default();
            *jobs += 1;
            *queued += u32::from(job.record.state == common::api::JobState::Queued);
            let tasks = job.tasks.iter().filter_map(|id| self.tasks.get(id));
            *running += u32::try_from(tasks.filter(|task| task.attempt.is_some()).count()).unwrap_or(0);
        }
        ensure!(counts == self.owners.counts(), "jobs {counts:?}, counted {:?}", self.owners.counts());
        // Nothing waits while an eligible worker idles.
        for (rank, requirement) in self.ready.heads() {
            let taker = crate::fleet::select(&requirement, &self.fleet, now);
            ensure!(taker.is_none(), "task {} waits, and {taker:?} would take it", rank.task);
        }
        Ok(())
    }

    /// Live attempts and what the fleet holds for them are the same, each on the session that it was given to.
    #[cfg(test)]
    fn check_live(&self) -> Result<(), Broken> {
        for (attempt, running) in &self.live {
            let worker = self.fleet.get(running.worker.id);
            let held = worker.and_then(|worker| worker.held.get(attempt));
            ensure!(held == Some(&running.held), "live attempt {attempt} holds {held:?}");
            ensure!(
                worker.is_some_and(|worker| worker.session == Some(running.session) && !worker.ending),
                "live attempt {attempt} outlives its session"
            );
        }
        for known in self.fleet.iter() {
            worker(known)?;
            let live = known.held.iter().filter(|(_, held)| held.class == Class::Live);
            for (attempt, _) in live {
                ensure!(
                    self.live.contains_key(attempt),
                    "{} holds {attempt} for nobody",
                    known.identity.name
                );
            }
        }
        Ok(())
    }
}
