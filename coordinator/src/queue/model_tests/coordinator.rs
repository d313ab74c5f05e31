//! The coordinator's part: what `queue::State` and its service do, with the rules called where those call them.

use super::{
    Model, Seen,
    farm::{
        Author, Bag, Coordinator, Current, Down, Epochs, Farm, Flaw, Outcome, Row, Stage, Up, WORKERS,
        WaitsFor, bit,
    },
    rules::{epoch, number, session},
};
use crate::queue::fence::{self, Stale};

impl Model {
    pub(super) fn assign(&self, farm: &mut Farm, worker: usize) -> Option<()> {
        let born = farm.restarts;
        let mind = farm.coordinator.as_mut()?;
        let session = mind.sessions[worker]?;
        let given = mind.next_epoch;
        mind.next_epoch = number((self.rules.next_epoch)(epoch(given)));
        mind.row.epoch = given;
        mind.row.stage = Stage::Running { worker, born };
        mind.attempt = Some(Current {
            epoch: given,
            worker,
            born,
            session: Some(session),
            left: self.bounds.lease,
            waits_for: WaitsFor::Lease,
        });
        let assign = Down::Assign { session, epoch: given, born, left: self.full() };
        if std::mem::replace(&mut mind.restored, false) && self.rules.first_assignment_waits {
            mind.outgoing.put((worker, assign));
        } else {
            // Before the commit, so that ffmpeg starts while the disk still syncs.
            mind.open_assignment = true;
            farm.down[worker].put(assign);
        }
        Some(())
    }

    pub(super) fn commit(&self, farm: &mut Farm) -> Option<()> {
        let mind = farm.coordinator.as_mut()?;
        farm.row = mind.row;
        farm.published |= mind.row.published.map_or(0, bit);
        mind.open_assignment = false;
        mind.commits_fail = false;
        let outgoing = std::mem::replace(&mut mind.outgoing, Bag::EMPTY);
        for (worker, mut message) in outgoing.iter().copied() {
            if let Down::Assign { session, epoch, left, .. } = &mut message {
                let is_current =
                    |current: &&mut Current| current.epoch == *epoch && current.session == Some(*session);
                // An attempt that was taken away meanwhile need not begin.
                let Some(current) = mind.attempt.as_mut().filter(is_current) else { continue };
                if self.rules.waiting_lease_begins_when_sent {
                    current.left = self.bounds.lease;
                    *left = self.full();
                }
            }
            farm.down[worker].put(message);
        }
        Some(())
    }

    pub(super) fn expire(&self, farm: &mut Farm) -> Option<()> {
        let current = farm.coordinator?.attempt?;
        match current.waits_for {
            WaitsFor::Grace => {
                if self.bounds.grace < self.bounds.lease {
                    farm.let_go |= bit(current.epoch);
                }
                self.saw(farm, Seen::GRACE_ENDED);
            }
            WaitsFor::Lease => self.saw(farm, Seen::LEASE_ENDED),
            WaitsFor::Adoption => self.saw(farm, Seen::NOT_ADOPTED),
        }
        let mind = farm.coordinator.as_mut()?;
        mind.attempt = None;
        mind.row.stage = Stage::Queued;
        if let Some(session) = current.session {
            self.say(farm, current.worker, Down::Stop { session, epoch: current.epoch });
        }
        Some(())
    }

    pub(super) fn coordinator_loses(&self, farm: &mut Farm, worker: usize) -> Option<()> {
        let mind = farm.coordinator.as_mut()?;
        mind.sessions[worker] = None;
        if let Some(current) = mind.attempt.as_mut().filter(|current| current.worker == worker) {
            current.session = None;
            current.left = self.bounds.grace;
            current.waits_for = WaitsFor::Grace;
        }
        Some(())
    }

    pub(super) fn start_the_coordinator(&self, farm: &mut Farm) {
        farm.restarts += 1;
        let row = farm.row;
        // Nothing is known of an assignment that was not durable: it is found when its worker connects.
        let undurable = undurable(farm);
        farm.let_go |= undurable;
        if undurable != 0 {
            self.saw(farm, Seen::UNDURABLE_LOST);
        }
        let attempt = match row.stage {
            Stage::Running { worker, born } => Some(Current {
                epoch: row.epoch,
                worker,
                born,
                session: None,
                left: (self.rules.lease_after_restart)(self.bounds.lease),
                waits_for: WaitsFor::Adoption,
            }),
            Stage::Queued | Stage::Succeeded | Stage::Cancelled => None,
        };
        farm.coordinator = Some(Coordinator {
            row,
            next_epoch: number((self.rules.next_epoch_after_restart)(epoch(row.epoch))),
            restored: true,
            attempt,
            sessions: [None; WORKERS],
            open_assignment: false,
            commits_fail: false,
            outgoing: Bag::EMPTY,
        });
    }

    pub(super) fn cancel(&self, farm: &mut Farm) -> Option<()> {
        farm.chances.cancels -= 1;
        let mind = farm.coordinator.as_mut()?;
        mind.row.stage = Stage::Cancelled;
        if let Some(current) = mind.attempt.take() {
            farm.let_go |= bit(current.epoch);
            self.saw(farm, Seen::CANCELLED_WHILE_RUNNING);
            if let Some(session) = current.session {
                self.say(farm, current.worker, Down::Stop { session, epoch: current.epoch });
            }
        }
        Some(())
    }

    pub(super) fn retry(&self, farm: &mut Farm) -> Option<()> {
        farm.chances.retries -= 1;
        let mind = farm.coordinator.as_mut()?;
        mind.row.stage = Stage::Queued;
        mind.next_epoch = number((self.rules.next_epoch_after_restart)(epoch(mind.row.epoch)));
        mind.restored = true;
        self.saw(farm, Seen::RETRIED);
        Some(())
    }

    pub(super) fn admit(&self, mind: &Coordinator, from: usize, connection: u8, of: u8) -> Result<(), Stale> {
        let current = mind.attempt.map(|current| fence::Current {
            epoch: epoch(current.epoch),
            session: current.session.map(|number| session(current.worker, number)),
        });
        (self.rules.admit)(current, epoch(of), session(from, connection))
    }

    pub(super) fn coordinator_hears(&self, farm: &mut Farm, worker: usize, message: Up) -> Option<()> {
        match message {
            Up::Heartbeat { session, running } => {
                let mind = farm.coordinator?;
                // Of a connection that is not open any more nothing is heard.
                if mind.sessions[worker] != Some(session) {
                    return Some(());
                }
                let renewed = (0..=self.bounds.epochs)
                    .filter(|epoch| running & bit(*epoch) != 0)
                    .filter(|epoch| self.admit(&mind, worker, session, *epoch).is_ok())
                    .fold(0, |all, epoch| all | bit(epoch));
                let mind = farm.coordinator.as_mut()?;
                if renewed != 0 {
                    if let Some(current) = &mut mind.attempt {
                        current.left = self.bounds.lease;
                    }
                    self.say(farm, worker, Down::Renewed { session, epochs: renewed, left: self.full() });
                }
            }
            Up::Finished { session, epoch, outcome } => {
                let admitted = self.admit(farm.coordinator.as_ref()?, worker, session, epoch);
                let accepted = match outcome {
                    Outcome::Succeeded if admitted.is_ok() || !self.rules.compare_before_set => {
                        self.publish(farm, epoch)?;
                        true
                    }
                    Outcome::HandedBack if admitted.is_ok() => {
                        let mind = farm.coordinator.as_mut()?;
                        mind.attempt = None;
                        mind.row.stage = Stage::Queued;
                        self.saw(farm, Seen::HANDED_BACK);
                        false
                    }
                    Outcome::Succeeded | Outcome::HandedBack => {
                        match admitted {
                            Err(Stale::NoAttempt) => self.saw(farm, Seen::DUPLICATE_REFUSED),
                            Err(Stale::Epoch(_)) => self.saw(farm, Seen::LATE_REFUSED),
                            Err(Stale::Session) => self.saw(farm, Seen::FOREIGN_REFUSED),
                            Ok(()) => {}
                        }
                        false
                    }
                };
                self.say(farm, worker, Down::Acknowledge { session, epoch, accepted });
            }
        }
        Some(())
    }

    fn publish(&self, farm: &mut Farm, epoch: u8) -> Option<()> {
        let files = farm.files[usize::from(epoch)];
        let mind = farm.coordinator.as_mut()?;
        farm.flaw = farm.flaw.or_else(|| {
            if mind.row.stage == Stage::Cancelled {
                return Some(Flaw::PublishedCancelled);
            }
            let Some(current) = mind.attempt.filter(|current| current.epoch == epoch) else {
                return Some(Flaw::PublishedStale);
            };
            let author = Author { worker: current.worker, born: current.born };
            (files != Some(author)).then_some(Flaw::PublishedForeign)
        });
        let adopted = mind.attempt.is_some_and(|current| current.born < farm.restarts);
        mind.attempt = None;
        mind.row = Row { stage: Stage::Succeeded, epoch: mind.row.epoch, published: Some(epoch) };
        if adopted {
            self.saw(farm, Seen::PUBLISHED_AFTER_ADOPTION);
        }
        if epoch > 1 {
            self.saw(farm, Seen::PUBLISHED_AFTER_FAILOVER);
        }
        if farm.seen & Seen::RETRIED != 0 {
            self.saw(farm, Seen::PUBLISHED_AFTER_RETRY);
        }
        Some(())
    }

    /// To a worker: at once if nothing waits for a commit, otherwise after it.
    fn say(&self, farm: &mut Farm, worker: usize, message: Down) {
        let Some(mind) = &mut farm.coordinator else { return };
        // `owes_a_commit`, with its borrows apart.
        let waits = mind.row != farm.row || mind.open_assignment || mind.outgoing.iter().next().is_some();
        if waits && self.rules.tell_after_commit {
            mind.outgoing.put((worker, message));
        } else {
            farm.down[worker].put(message);
        }
    }

    /// It dials, and the coordinator decides what it may keep.
    pub(super) fn connect(&self, farm: &mut Farm, worker: usize) -> Option<()> {
        farm.connections[worker] += 1;
        let session = farm.connections[worker];
        let named = farm.workers[worker].attempts.iter().fold(0, |all, attempt| all | bit(attempt.epoch));
        let mind = farm.coordinator.as_mut()?;
        mind.sessions[worker] = Some(session);
        let (mut keep, mut seen) = (0, 0);
        if let Some(current) = mind.attempt.as_mut().filter(|current| current.worker == worker) {
            if named & bit(current.epoch) != 0 {
                keep = bit(current.epoch);
                seen = match current.waits_for {
                    WaitsFor::Adoption => Seen::ADOPTED_AFTER_RESTART,
                    WaitsFor::Grace => Seen::ADOPTED_WITHIN_GRACE,
                    WaitsFor::Lease => 0,
                };
                current.session = Some(session);
                current.left = self.bounds.lease;
                current.waits_for = WaitsFor::Lease;
            } else {
                // It was restarted.
                mind.attempt = None;
                mind.row.stage = Stage::Queued;
                seen = Seen::FORGOTTEN_BY_ITS_WORKER;
            }
        }
        if named & !keep != 0 {
            seen |= Seen::NOT_KEPT;
        }
        self.saw(farm, seen);
        // The answer to Hello waits for no commit.
        farm.down[worker].put(Down::Welcome { session, keep, left: self.full() });
        Some(())
    }
}

/// Epochs that workers were given and the disk does not know.
fn undurable(farm: &Farm) -> Epochs {
    let started = farm.workers.iter().flat_map(|worker| worker.attempts.iter()).map(|attempt| attempt.epoch);
    let told = farm.down.iter().flat_map(Bag::iter).filter_map(|message| match message {
        Down::Assign { epoch, .. } => Some(*epoch),
        _ => None,
    });
    started.chain(told).filter(|epoch| *epoch > farm.row.epoch).fold(0, |all, epoch| all | bit(epoch))
}
