//! A worker's part: what `ffmpegd::session` does.

use super::{
    Model,
    farm::{Attempt, Author, Doing, Down, Epochs, Farm, Flaw, Outcome, Up, bit},
    rules::LeaseSince,
};

impl Model {
    pub(super) fn worker_hears(&self, farm: &mut Farm, worker: usize, message: Down) {
        let me = &mut farm.workers[worker];
        // What is over is over, whatever the message says.
        me.attempts.retain(|attempt| !matches!(attempt.doing, Doing::Running { left: 0 }));
        let granted = |since: LeaseSince, left: u8| match since {
            LeaseSince::Decided => left,
            LeaseSince::Arrived => self.full(),
        };
        let renewed = |left: u8| granted(self.rules.renewed_since, left);
        if let Down::Welcome { session, keep, left } = message {
            me.session = Some(session);
            me.attempts.retain(|attempt| keep & bit(attempt.epoch) != 0);
            me.attempts.change(|attempt| attempt.renew(renewed(left)));
            for attempt in me.attempts.iter() {
                if let Doing::Ended(outcome) = attempt.doing {
                    farm.up[worker].put(Up::Finished { session, epoch: attempt.epoch, outcome });
                }
            }
            return;
        }
        if me.session != Some(message.session()) {
            return;
        }
        match message {
            Down::Welcome { .. } => {}
            Down::Assign { epoch, born, left, .. } => {
                if me.attempts.iter().any(|attempt| attempt.epoch == epoch) {
                    return;
                }
                me.attempts.retain(|attempt| attempt.epoch >= epoch);
                let left = granted(self.rules.assigned_since, left);
                // Otherwise it was held up for too long, and is handed back.
                if left > 0 {
                    me.attempts.put(Attempt { epoch, born, doing: Doing::Running { left } });
                }
            }
            Down::Renewed { epochs, left, .. } => me.attempts.change(|attempt| {
                if epochs & bit(attempt.epoch) != 0 {
                    attempt.renew(renewed(left));
                }
            }),
            Down::Acknowledge { epoch, .. } => {
                me.attempts.retain(|attempt| attempt.epoch != epoch || attempt.is_running());
            }
            Down::Stop { epoch, .. } => me.attempts.retain(|attempt| attempt.epoch != epoch),
        }
    }

    pub(super) fn finish(&self, farm: &mut Farm, worker: usize) -> Option<()> {
        let me = farm.workers[worker];
        let attempt = me.attempts.iter().copied().find(Attempt::holds_its_lease)?;
        // Addresses to upload to are given to the current attempt only.
        if self.admit(farm.coordinator.as_ref()?, worker, me.session?, attempt.epoch).is_err() {
            farm.workers[worker].attempts.retain(|known| *known != attempt);
            return Some(());
        }
        let author = Author { worker, born: attempt.born };
        let place = &mut farm.files[usize::from(attempt.epoch)];
        if place.is_some_and(|before| before != author) {
            farm.flaw = farm.flaw.or(Some(Flaw::TwoAuthors));
        }
        // What is there stays: an object is written once.
        place.get_or_insert(author);
        end(farm, worker, attempt, Outcome::Succeeded);
        Some(())
    }
}

pub(super) fn end(farm: &mut Farm, worker: usize, ended: Attempt, outcome: Outcome) {
    let me = &mut farm.workers[worker];
    me.attempts.change(|attempt| {
        if *attempt == ended {
            attempt.doing = Doing::Ended(outcome);
        }
    });
    if let Some(session) = me.session {
        farm.up[worker].put(Up::Finished { session, epoch: ended.epoch, outcome });
    }
}

/// What a heartbeat names.
pub(super) fn running(farm: &Farm, worker: usize) -> Epochs {
    let attempts = farm.workers[worker].attempts;
    attempts.iter().filter(|attempt| attempt.is_running()).fold(0, |all, attempt| all | bit(attempt.epoch))
}

impl Attempt {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.doing, Doing::Running { .. })
    }

    pub(super) fn holds_its_lease(&self) -> bool {
        matches!(self.doing, Doing::Running { left: 1.. })
    }

    fn renew(&mut self, granted: u8) {
        if let Doing::Running { left } = &mut self.doing {
            *left = granted.max(*left);
        }
    }
}
