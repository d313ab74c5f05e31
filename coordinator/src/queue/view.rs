//! Records and what runs, as the API shows them.

use common::{
    api::{
        AttemptLog, AttemptView, JobState, JobSummary, JobView, ProgressView, RunningLive, RunningTask,
        TaskView, Webhook, WorkerView,
    },
    id::{AttemptId, JobId, WorkerId},
    spec::Spec,
    stream::without_secrets,
    worker::Progress,
};
use jiff::Timestamp;

use super::{
    rows::{gpus, quarantines},
    shares::UsedUp,
    state::{Now, State, Task},
};
use crate::store::{AttemptRecord, JobRecord, StoredJob, TaskRecord};

/// Milliseconds since the Unix epoch as a timestamp; out of range is 1970.
pub(crate) fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default()
}

/// A job as the store has it, without what only memory knows.
pub(super) fn stored_summary(job: &JobRecord) -> JobSummary {
    JobSummary {
        id: job.id,
        state: job.state,
        preset: job.request.preset.clone(),
        input: job.request.input.name().to_owned(),
        owner: job.request.owner.clone(),
        priority: job.priority,
        submitted_at: time(job.submitted_at),
        started_at: job.started_at.map(time),
        finished_at: job.finished_at.map(time),
        waiting_for: None,
        failure: job.failure.clone(),
        worker: job.worker.clone(),
        progress: job.result.progress.as_deref().cloned().map(|progress| ProgressView {
            percent: (job.state == JobState::Succeeded).then_some(100.0),
            eta_seconds: None,
            progress,
        }),
    }
}

/// A job with its tasks and attempts as the store has them.
pub(crate) fn stored_view(stored: &StoredJob) -> JobView {
    let job = &stored.job;
    JobView {
        summary: stored_summary(job),
        hardware: job.request.hardware,
        labels: job.request.labels.clone(),
        spec: Spec::clone(&job.request.spec),
        input_info: job.result.input_info.as_deref().cloned(),
        tasks: stored.tasks.iter().map(|(task, attempts)| task_view(task, attempts)).collect(),
        outputs: job.result.outputs.clone(),
        output: job.request.output.clone(),
        output_url: None,
        warnings: job.result.warnings.clone(),
        damage: job.result.damage.as_deref().copied(),
        on_damaged_input: job.request.on_damaged_input,
        webhook: job.request.webhook.as_deref().map(|webhook| Webhook {
            url: without_secrets(&webhook.url).into_owned(),
            events: webhook.events.clone(),
        }),
    }
}

fn task_view(task: &TaskRecord, attempts: &[AttemptRecord]) -> TaskView {
    TaskView {
        id: task.id,
        kind: task.kind.as_str().to_owned(),
        state: task.state,
        epoch: task.epoch,
        queued_at: time(task.queued_at),
        finished_at: task.finished_at.map(time),
        attempts: attempts.iter().map(attempt_view).collect(),
    }
}

fn attempt_view(attempt: &AttemptRecord) -> AttemptView {
    AttemptView {
        epoch: attempt.id.epoch,
        state: attempt.state,
        worker: attempt.worker.clone(),
        encoder: attempt.details.encoder.clone(),
        device: attempt.details.device.as_ref().map(|device| device.path.clone()),
        assigned_at: time(attempt.assigned_at),
        started_at: attempt.started_at.map(time),
        finished_at: attempt.finished_at.map(time),
        command: attempt.details.command.clone(),
        failure: attempt.details.failure.clone(),
    }
}

/// Percent and time to go.
pub(super) fn progress_view(progress: &Progress, duration: Option<f64>) -> ProgressView {
    let percent = progress.fraction.map(|fraction| (fraction * 100.0).clamp(0.0, 100.0));
    let eta_seconds = match (progress.fraction, duration) {
        (Some(fraction), Some(duration)) if progress.speed > 0.0 => {
            Some(((1.0 - fraction).max(0.0) * duration / progress.speed).max(0.0))
        }
        _ => None,
    };
    ProgressView { percent, eta_seconds, progress: progress.clone() }
}

/// What memory knows of a job beyond the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    pub(super) waiting_for: Option<String>,
    pub(super) progress: Option<ProgressView>,
}

impl Overlay {
    pub(super) fn apply(self, summary: &mut JobSummary) {
        summary.waiting_for = self.waiting_for;
        if self.progress.is_some() {
            summary.progress = self.progress;
        }
    }
}

impl State {
    /// A job of the memory as it stands.
    pub(super) fn summary(&self, id: JobId, now: Now) -> Option<JobSummary> {
        let mut summary = stored_summary(&self.jobs.get(&id)?.record);
        self.overlay(id, now).apply(&mut summary);
        Some(summary)
    }

    /// A job of the memory with its tasks and their current attempts; earlier attempts are in the store.
    pub(super) fn view(&self, id: JobId, now: Now) -> Option<JobView> {
        let job = self.jobs.get(&id)?;
        let tasks = job
            .tasks
            .iter()
            .filter_map(|id| self.tasks.get(id))
            .map(|task| {
                (task.record.clone(), task.attempt.iter().map(|running| running.record.clone()).collect())
            })
            .collect();
        let mut view = stored_view(&StoredJob { job: job.record.clone(), tasks });
        self.overlay(id, now).apply(&mut view.summary);
        Some(view)
    }

    pub(super) fn overlay(&self, id: JobId, now: Now) -> Overlay {
        let Some(job) = self.jobs.get(&id) else { return Overlay::default() };
        let tasks = || job.tasks.iter().filter_map(|id| self.tasks.get(id));
        let waiting_for = (job.record.state == JobState::Queued)
            .then(|| {
                tasks().find_map(|task| match (&task.record.state, task.delayed_until) {
                    (common::api::TaskState::Queued, Some(until)) => {
                        let seconds = until.saturating_sub(now.mono).as_secs_f64();
                        Some(format!(
                            "the next try in {seconds:.0} s, after {}",
                            tries(task.record.history.failures)
                        ))
                    }
                    (common::api::TaskState::Queued, None) => self
                        .waits_for_input(&job.record)
                        .or_else(|| self.waits_for_quota(task))
                        .or_else(|| self.waiting.explain(&task.requirement, &self.fleet, now.mono)),
                    _ => None,
                })
            })
            .flatten();
        let progress = tasks().find_map(|task| {
            let running = task.attempt.as_ref()?;
            self.progress_view(running.record.id)
        });
        Overlay { waiting_for, progress }
    }

    fn waits_for_quota(&self, task: &Task) -> Option<String> {
        let UsedUp { owner, limit } = self.owners.held_up(task.owner)?;
        Some(format!("a task of {owner} to end: {limit} run, as many as its quota `running` allows"))
    }

    pub(super) fn progress_view(&self, attempt: AttemptId) -> Option<ProgressView> {
        let running = self.current(attempt)?;
        let job = self.jobs.get(&running.record.job)?;
        let duration = job.record.result.input_info.as_ref().and_then(|info| info.duration);
        running.progress.as_ref().map(|progress| progress_view(progress, duration))
    }

    /// Log lines of what runs.
    pub(super) fn live_logs(&self, id: JobId) -> Vec<AttemptLog> {
        let Some(job) = self.jobs.get(&id) else { return Vec::new() };
        job.tasks
            .iter()
            .filter_map(|task| self.tasks.get(task)?.attempt.as_ref())
            .map(|running| AttemptLog {
                task: running.record.id.task,
                epoch: running.record.id.epoch,
                worker: running.record.worker.name.clone(),
                lines: running.log.iter().cloned().collect(),
            })
            .collect()
    }

    fn live_view(&self, attempt: AttemptId) -> Option<RunningLive> {
        let running = self.live.get(&attempt)?;
        Some(RunningLive {
            stream: running.stream,
            name: running.name.clone(),
            task: attempt.task,
            epoch: attempt.epoch,
            profile: running.profile.clone(),
            encoder: running.encoder.clone(),
            device: running.device.as_ref().map(|device| device.path.clone()),
            command: running.argv.clone(),
            placed_at: time(running.placed_at),
            progress: running.progress.clone(),
        })
    }

    pub(super) fn worker_view(&self, id: WorkerId, now: Now) -> Option<WorkerView> {
        let worker = self.fleet.get(id)?;
        let (state, reason) = worker.state(now.mono, self.fleet.policy.stale_after);
        let used = worker.in_use();
        let running = self.assigned.get(&id).into_iter().flatten().filter_map(|attempt| {
            let running = self.current(*attempt)?;
            let job = self.jobs.get(&running.record.job);
            Some(RunningTask {
                job: running.record.job,
                task: attempt.task,
                epoch: attempt.epoch,
                preset: job.map(|job| job.record.request.preset.clone()).unwrap_or_default(),
                input: job.map(|job| job.record.request.input.name().to_owned()).unwrap_or_default(),
                encoder: running.record.details.encoder.clone(),
                device: running.record.details.device.as_ref().map(|device| device.path.clone()),
                command: running.record.details.command.clone(),
                started_at: running.record.started_at.map(time),
                progress: self.progress_view(*attempt),
            })
        });
        Some(WorkerView {
            id,
            name: worker.identity.name.clone(),
            state,
            reason,
            version: worker.identity.version.clone(),
            address: worker.identity.address.clone(),
            labels: worker.identity.labels.clone(),
            presets: worker.identity.presets.clone(),
            capacity: worker.identity.capacity,
            jobs: used.jobs,
            gpu_jobs: used.gpu_jobs,
            cpu_jobs: used.cpu_jobs,
            live_jobs: used.live_jobs,
            capabilities: worker.identity.capabilities.clone(),
            load: worker.load,
            gpus: gpus(worker, now),
            quarantines: quarantines(worker),
            connected_at: time(worker.connected_at_ms),
            running: running.collect(),
            live: self.live_on(id).into_iter().filter_map(|attempt| self.live_view(attempt)).collect(),
            completed: worker.standing.completed,
            failed: worker.standing.failed,
        })
    }
}

fn tries(failures: u32) -> String {
    match failures {
        0 => "the last worker gave it back".to_owned(),
        1 => "1 failure".to_owned(),
        more => format!("{more} failures"),
    }
}
