//! The workers that are known, what they hold, and who runs a task.
//!
//! Everything here is memory: a worker tells all about itself each time it connects. [`select`] is the one decision.

mod displace;
mod explain;
mod flaps;
mod health;
mod history;
mod rules;
mod select;
#[cfg(test)]
mod select_tests;
mod session_cap;
mod shortlist;
#[cfg(test)]
pub(crate) mod testing;
mod worker;

use std::collections::{BTreeMap, VecDeque};

use common::id::{SessionId, WorkerId};

pub use displace::{Cost, Room, make_room};
pub use explain::explain;
pub use history::{History, Moment, Sample};
pub use rules::{EncoderRule, Error as RuleError, parse_rules};
pub use select::{Class, Placement, Requirement, Slot, select};
pub use session_cap::SessionCap;
pub use shortlist::Shortlist;
pub use worker::{Encoded, Held, Identity, InUse, Standing, Worker, shares};

/// Workers that were removed lately, for those who follow: as many at once only come with a great many listed.
const REMOVED: usize = 4096;

/// Every worker that is or was connected, and the rules of placement.
#[derive(Debug, Default)]
pub struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    /// Which worker a session belongs to; only the newest session of a worker is here.
    sessions: BTreeMap<SessionId, WorkerId>,
    /// Grows with every change.
    version: u64,
    changes: u64,
    /// When which worker was removed, in the same count. The oldest go.
    removed: VecDeque<(u64, WorkerId)>,
    pub policy: Policy,
}

/// What the operator configured about placement.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub rules: Vec<EncoderRule>,
    /// Jobs on each worker that batch leaves free for live.
    pub live_reserved: u32,
    /// A worker that was not heard for longer takes no work.
    pub stale_after: std::time::Duration,
}

impl Fleet {
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The same number means the same fleet, so that what was found out about it can be kept.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A count of all that changed until now.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Workers that were removed after that count, and are not there again.
    pub fn removed_since(&self, changes: u64) -> impl Iterator<Item = WorkerId> {
        let later = self.removed.iter().rev().take_while(move |(at, _)| *at > changes);
        later.map(|(_, id)| *id).filter(|id| !self.workers.contains_key(id))
    }

    /// What people see of a worker has changed, and nothing that placement looks at.
    pub fn touch(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            self.changes += 1;
            worker.changed = self.changes;
        }
    }

    /// Adds a worker or replaces what was known of it.
    pub fn insert(&mut self, mut worker: Worker) {
        self.version += 1;
        self.changes += 1;
        worker.changed = self.changes;
        if let Some(old) = self.workers.get(&worker.identity.id).and_then(|old| old.session) {
            self.sessions.remove(&old);
        }
        if let Some(session) = worker.session {
            self.sessions.insert(session, worker.identity.id);
        }
        self.workers.insert(worker.identity.id, worker);
    }

    #[must_use]
    pub fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    pub fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.version += 1;
        self.touch(id);
        self.workers.get_mut(&id)
    }

    /// The worker whose current session this is.
    #[must_use]
    pub fn of_session(&self, session: SessionId) -> Option<WorkerId> {
        self.sessions.get(&session).copied()
    }

    /// Marks the worker of this session as disconnected and returns it; `None` if the session was replaced already.
    pub fn disconnect(&mut self, session: SessionId) -> Option<WorkerId> {
        self.version += 1;
        let id = self.sessions.remove(&session)?;
        self.touch(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.session = None;
        }
        Some(id)
    }

    pub fn remove(&mut self, id: WorkerId) {
        self.version += 1;
        let Some(worker) = self.workers.remove(&id) else { return };
        if let Some(session) = worker.session {
            self.sessions.remove(&session);
        }
        self.changes += 1;
        if self.removed.len() == REMOVED {
            self.removed.pop_front();
        }
        self.removed.push_back((self.changes, id));
    }

    /// By id.
    pub fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }
}
