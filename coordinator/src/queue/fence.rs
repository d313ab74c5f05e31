//! The rules of epoch, lease and publishing, apart from everything that they are applied to.
//!
//! `State` decides by them, and the model in `model_tests` explores what follows from them: each of them is needed, for
//! without any one of them the model finds two published results, two attempts that write to one place, a lease given away
//! under its holder, or a task that never ends.

use std::time::Duration;

use common::id::{Epoch, SessionId};

/// The attempt that a task has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) epoch: Epoch,
    /// The session of its worker; `None` while that is disconnected.
    pub(super) session: Option<SessionId>,
}

/// Why a message about an attempt changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stale {
    /// The task has no attempt: its job is over, or it waits.
    NoAttempt,
    /// The task is at another epoch.
    Epoch(Epoch),
    /// Another worker has the attempt, or the same one on a newer connection.
    Session,
}

/// Whether a message of `session` about the attempt of `epoch` may change the task.
pub(super) fn admit(current: Option<Current>, epoch: Epoch, session: SessionId) -> Result<(), Stale> {
    match current {
        None => Err(Stale::NoAttempt),
        Some(current) if current.epoch != epoch => Err(Stale::Epoch(current.epoch)),
        Some(current) if current.session != Some(session) => Err(Stale::Session),
        Some(_) => Ok(()),
    }
}

/// The epoch of the next attempt, when the newest one that is known got `newest`.
pub(super) const fn next_epoch(newest: Epoch) -> Epoch {
    newest.next()
}

/// The same after a restart: the attempt that was assigned last may not have been durable, so its epoch is left out.
pub(super) const fn next_epoch_after_restart(durable: Epoch) -> Epoch {
    next_epoch(next_epoch(durable))
}

/// Whether an attempt is lost whose lease or grace ends at `deadline`. Monotonic.
pub(super) fn is_lost(deadline: Duration, now: Duration) -> bool {
    deadline <= now
}

impl Stale {
    /// For the worker's log.
    pub(super) fn in_words(self) -> String {
        match self {
            Self::NoAttempt => {
                "its task is not running: it was published, cancelled, or waits for another attempt"
                    .to_owned()
            }
            Self::Epoch(current) => format!("its task is at epoch {current}"),
            Self::Session => "another session has it".to_owned(),
        }
    }
}
