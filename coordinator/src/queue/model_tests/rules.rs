//! The rules that the model goes by: production's, unless a test replaces one.

use std::time::Duration;

use common::id::{Epoch, SessionId};
use uuid::Uuid;

use super::super::fence::{self, Current, Stale};

/// Since when a worker counts the lease that a message gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseSince {
    /// The coordinator decided it, or earlier: when the worker asked for it.
    Decided,
    /// The message arrived.
    Arrived,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) admit: fn(Option<Current>, Epoch, SessionId) -> Result<(), Stale>,
    pub(super) next_epoch: fn(Epoch) -> Epoch,
    pub(super) next_epoch_after_restart: fn(Epoch) -> Epoch,
    pub(super) is_lost: fn(Duration, Duration) -> bool,
    /// Of the lease's ticks, those that the worker uses (`ffmpegd::session::Lease`).
    pub(super) worker_uses: fn(u8) -> u8,
    pub(super) renewed_since: LeaseSince,
    /// Nobody asks for an assignment: all that the worker knows is when it cannot have lain in its socket yet.
    pub(super) assigned_since: LeaseSince,
    /// What is left of the lease of an attempt that was running when the coordinator ended.
    pub(super) lease_after_restart: fn(u8) -> u8,
    /// A result is compared with the task's row before it is set.
    pub(super) compare_before_set: bool,
    /// Nothing is assigned while an assignment is not durable.
    pub(super) one_open_assignment: bool,
    /// The first assignment of a task that comes from the store waits for its commit: of the epochs that were left out after
    /// a restart none may have been given out by the next.
    pub(super) first_assignment_waits: bool,
    /// The lease of such an attempt begins when the assignment is sent, not when it is decided.
    pub(super) waiting_lease_begins_when_sent: bool,
    /// Answers wait for the commit.
    pub(super) tell_after_commit: bool,
}

impl Rules {
    pub(super) const PRODUCTION: Self = Self {
        admit: fence::admit,
        next_epoch: fence::next_epoch,
        next_epoch_after_restart: fence::next_epoch_after_restart,
        is_lost: fence::is_lost,
        worker_uses: |lease| lease - 1,
        renewed_since: LeaseSince::Decided,
        assigned_since: LeaseSince::Arrived,
        lease_after_restart: |lease| lease,
        compare_before_set: true,
        one_open_assignment: true,
        first_assignment_waits: true,
        waiting_lease_begins_when_sent: true,
        tell_after_commit: true,
    };

    pub(super) fn is_over(&self, left: u8) -> bool {
        (self.is_lost)(Duration::from_secs(left.into()), Duration::ZERO)
    }
}

pub(super) fn epoch(number: u8) -> Epoch {
    Epoch(number.into())
}

pub(super) fn number(epoch: Epoch) -> u8 {
    epoch.0.try_into().expect("the model gives out few epochs")
}

/// Of the `number`-th connection of `worker`.
pub(super) fn session(worker: usize, number: u8) -> SessionId {
    SessionId(Uuid::from_u128((worker as u128) << 8 | u128::from(number)))
}
