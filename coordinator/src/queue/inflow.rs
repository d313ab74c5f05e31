//! Inputs that are still on their way to the coordinator: jobs name them before they have ended, and their tasks wait until
//! they can be begun with.
//!
//! Not durable: who receives the inputs tells it again after a restart, before any worker is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::{
    api::JobState,
    failure::{Failure, FailureKind},
    id::TaskId,
    proto::FOLLOWS_SINCE,
    spec::Spec,
};

use super::{
    input::InputLocation,
    state::{Now, State, place, requirement},
};
use crate::{
    fleet::Requirement,
    store::{JobDetails, JobRecord},
};

/// How much of an input there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inflow {
    /// It cannot be read yet: what its tasks wait for, in words.
    Held(String),
    /// It can be read from its beginning while the rest comes.
    Flowing,
    /// All of it is there.
    Whole,
    /// It never will be: why, in words.
    Gone(String),
}

/// The inputs that are not whole, by the key of the object that they become.
#[derive(Debug, Default)]
pub(super) struct Inflows(BTreeMap<String, Flow>);

#[derive(Debug, Default)]
struct Flow {
    /// `None`: it can be read.
    held: Option<String>,
    /// Those that read it; some may be over.
    tasks: BTreeSet<TaskId>,
}

/// The inputs of a job that are objects.
fn keys(request: &JobDetails) -> impl Iterator<Item = &str> {
    request.inputs().filter_map(|input| match input.location() {
        InputLocation::Object(key) => Some(key.as_str()),
        InputLocation::Url(_) | InputLocation::Path(_) | InputLocation::Bucket(_) => None,
    })
}

/// Whether it can be made of an input that is read once, from beginning to end, and whose length is not known before.
const fn reads_forward(spec: &Spec) -> bool {
    matches!(spec, Spec::File(_) | Spec::Hls(_))
}

impl Inflows {
    /// Whether a job's input is still on its way.
    pub(super) fn any(&self, request: &JobDetails) -> bool {
        keys(request).any(|key| self.0.contains_key(key))
    }

    /// What a job cannot begin without, in words.
    pub(super) fn waiting_for(&self, request: &JobDetails) -> Option<String> {
        let flow = keys(request).find_map(|key| self.0.get(key))?;
        match &flow.held {
            Some(words) => Some(words.clone()),
            None if reads_forward(&request.spec) => None,
            None => Some("the end of its upload: what is to be made needs all of it".to_owned()),
        }
    }

    fn note(&mut self, request: &JobDetails, task: TaskId) {
        for key in keys(request) {
            if let Some(flow) = self.0.get_mut(key) {
                flow.tasks.insert(task);
            }
        }
    }
}

/// What a worker must be able to do for an input that is still on its way.
fn follow(requirement: &mut Requirement) {
    requirement.need.wire_since = requirement.need.wire_since.max(FOLLOWS_SINCE);
}

impl State {
    /// An input has come further, or will not.
    pub(crate) fn inflow(&mut self, key: &str, inflow: Inflow, now: Now) {
        match inflow {
            Inflow::Held(words) => self.flows(key, Some(words)),
            Inflow::Flowing => self.flows(key, None),
            Inflow::Whole => {
                for id in self.inflows.0.remove(key).unwrap_or_default().tasks {
                    self.refresh(id);
                    // The time limit is for what they do, not for what they wait for.
                    if let Some(running) =
                        self.tasks.get_mut(&id).and_then(|task| task.attempt.as_deref_mut())
                    {
                        running.since = now.mono;
                    }
                }
            }
            Inflow::Gone(why) => {
                for id in self.inflows.0.remove(key).unwrap_or_default().tasks {
                    let Some(task) = self.tasks.get(&id) else { continue };
                    let failure = Failure::new(FailureKind::InvalidInput, why.clone());
                    // An error means that it is over.
                    let _ = self.end_job(task.record.job, JobState::Failed, Some(failure), now);
                }
            }
        }
    }

    /// What there is to know about inputs after a restart, when the tasks that read them are there already.
    pub(crate) fn inflows(&mut self, inflows: Vec<(String, Inflow)>, now: Now) {
        for (key, inflow) in inflows {
            self.inflow(&key, inflow, now);
        }
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in tasks {
            self.note_inflow(id);
        }
    }

    fn flows(&mut self, key: &str, held: Option<String>) {
        let flow = self.inflows.0.entry(key.to_owned()).or_default();
        flow.held = held;
        for id in flow.tasks.clone() {
            self.refresh(id);
        }
    }

    /// Notes that a task of memory reads what is still on its way, if it does.
    pub(super) fn note_inflow(&mut self, id: TaskId) {
        let Some(job) = self.tasks.get(&id).and_then(|task| self.jobs.get(&task.record.job)) else { return };
        let request = Arc::clone(&job.record.request);
        if self.inflows.any(&request) {
            self.inflows.note(&request, id);
            self.refresh(id);
        }
    }

    /// What a task needs of a worker, and whether it waits, has changed with its input.
    fn refresh(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(job) = self.jobs.get(&task.record.job) else { return };
        let mut needed = requirement(&job.record, &task.record);
        if self.inflows.any(&job.record.request) {
            follow(&mut needed);
        }
        let needed = self.pool.requirement(needed);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let before = std::mem::replace(&mut task.requirement, needed);
        let place = place(task);
        self.ready.remove(&before, place, self.owners.share(place.owner));
        self.make_ready(id);
    }

    /// What a job waits for before any worker can begin with it.
    pub(super) fn waits_for_input(&self, job: &JobRecord) -> Option<String> {
        self.inflows.waiting_for(&job.request)
    }
}
