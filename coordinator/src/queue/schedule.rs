//! Ready tasks to workers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use common::{
    api::{AttemptState, JobState, TaskState, WorkerRef},
    id::{AttemptId, SessionId, TaskId, WorkerId},
};

use super::{
    fence, invariants,
    message::{Assignment, ToWorker},
    milestone::Wait,
    state::{Effect, Now, Running, State},
    transition::become_state,
};
use crate::{
    fleet::{Class, Held, Placement, Requirement, Shortlist, select},
    store::{AttemptDetails, AttemptRecord},
};

impl State {
    /// Places every task that can be placed, best first. A requirement that nobody can take now holds up no other.
    pub(crate) fn schedule(&mut self, now: Now) {
        let mut heads = self.ready.heads();
        let mut lists: BTreeMap<Arc<Requirement>, Shortlist> = BTreeMap::new();
        while let Some((rank, requirement)) = heads.pop_first() {
            let head = self.ready.head(&requirement);
            if head != Some(rank) {
                // What was given out meanwhile has changed somebody's share.
                heads.extend(head.map(|head| (head, requirement)));
                continue;
            }
            let task = rank.task;
            let placement = if requirement.avoid.is_empty() {
                let list = lists
                    .entry(requirement.clone())
                    .or_insert_with(|| Shortlist::new(requirement.clone(), &self.fleet, now.mono));
                list.best().cloned()
            } else {
                select(&requirement, &self.fleet, now.mono)
            };
            let Some(placement) = placement else { continue };
            let worker = placement.worker;
            self.unqueue(task);
            self.assign(task, placement, now);
            if let Some(worker) = self.fleet.get(worker) {
                debug_assert_eq!(invariants::worker(worker), Ok(()));
                for list in lists.values_mut() {
                    list.refresh(worker, &self.fleet.policy);
                }
            }
            if let Some(next) = self.ready.head(&requirement) {
                heads.insert((next, requirement));
            }
        }
        self.tell_idle(now);
    }

    /// What is left of a task's time; `None`: it has no limit.
    pub(super) fn time_left(&self, id: TaskId) -> Option<Duration> {
        let task = self.tasks.get(&id)?;
        let asked = self.jobs.get(&task.record.job)?.record.request.time_limit_ms;
        let limit = asked.map(Duration::from_millis).or(self.settings.time_limit)?;
        Some(limit.saturating_sub(Duration::from_millis(task.record.history.ran_ms)))
    }

    fn assign(&mut self, id: TaskId, placement: Placement, now: Now) {
        let time_limit = self.time_left(id);
        let Some(worker) = self.fleet.get_mut(placement.worker) else { return };
        let Some(session) = worker.session else { return };
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(job) = self.jobs.get_mut(&task.record.job) else { return };

        let attempt = AttemptId { task: id, epoch: task.next_epoch };
        debug_assert!(attempt.epoch > task.record.epoch, "epochs only grow");
        let owner = task.owner;
        task.next_epoch = fence::next_epoch(attempt.epoch);
        let restored = std::mem::replace(&mut task.restored, false);
        let waited = now.wall.saturating_sub(task.record.queued_at).max(0);
        self.metrics.assigned(waited as f64 / 1000.0);
        task.record.epoch = attempt.epoch;
        let queued_at = task.record.queued_at;
        task.record.state = TaskState::Running;
        let worker_ref = WorkerRef { id: worker.identity.id, name: worker.identity.name.clone() };
        let deadline = now.mono + self.settings.lease;
        task.attempt = Some(Box::new(Running {
            record: AttemptRecord {
                id: attempt,
                job: job.record.id,
                state: AttemptState::Running,
                worker: worker_ref.clone(),
                assigned_at: now.wall,
                started_at: None,
                finished_at: None,
                details: AttemptDetails {
                    encoder: placement.encoder.clone(),
                    device: placement.device.clone(),
                    ..AttemptDetails::default()
                },
            },
            session: Some(session),
            deadline,
            since: now.mono,
            orphaned: false,
            progress: None,
            log: VecDeque::new(),
        }));
        self.deadlines.insert((deadline, attempt));
        worker.held.insert(attempt, Held::of(&placement, Class::Batch));
        self.assigned.entry(worker.identity.id).or_default().insert(attempt);
        self.told_idle.remove(&session);

        job.record.worker = Some(worker_ref);
        job.record.started_at.get_or_insert(now.wall);
        become_state(&mut job.record, JobState::Running);
        let request = job.record.request.clone();
        let grows = self.inflows.any(&request);
        let job = job.record.id;
        let assign = ToWorker::Assign(Box::new(Assignment {
            job,
            attempt,
            preset: request.preset.clone(),
            spec: request.spec.clone(),
            input: request.input.clone(),
            more_inputs: request.more_inputs.clone(),
            grows,
            encoder: placement.encoder,
            device: placement.device,
            on_damaged_input: request.on_damaged_input,
            time_limit,
        }));
        self.effects.push(if restored {
            Effect::Send(session, assign)
        } else {
            Effect::AtOnce(session, assign)
        });
        self.changed.tasks.insert(id);
        self.changed.assigned.insert(attempt, Wait { queued_at });
        self.ready.give_out();
        self.owners.begin(owner);
        self.reshare(owner);
        self.job_changed(job, now);
    }

    /// Tells workers that asked for it that nothing is left for them.
    fn tell_idle(&mut self, now: Now) {
        let waiting: Vec<(WorkerId, SessionId)> = self
            .fleet
            .iter()
            .filter(|worker| worker.identity.exit_when_idle && worker.held.is_empty())
            .filter_map(|worker| Some((worker.identity.id, worker.session?)))
            .filter(|(_, session)| !self.told_idle.contains(session))
            .collect();
        for (worker, session) in waiting {
            // What is ready was offered to it a moment ago. What is delayed may be for it later.
            let later = self.delayed.iter().any(|(_, task)| {
                self.tasks.get(task).is_some_and(|task| {
                    select(&task.requirement, &self.fleet, now.mono)
                        .is_some_and(|placement| placement.worker == worker)
                })
            });
            if !later {
                self.told_idle.insert(session);
                self.effects.push(Effect::Send(session, ToWorker::Idle));
            }
        }
    }
}
