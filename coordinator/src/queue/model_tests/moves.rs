//! What can happen next, and what follows.

use super::{
    Model, Seen,
    farm::{Attempt, Bag, Coordinator, Doing, Down, Farm, Outcome, Stage, Up, WORKERS},
    worker::{end, running},
};

/// One thing that happens. Numbers are of workers, then of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Time passes, for everybody.
    Tick,
    // The coordinator.
    Assign(usize),
    Commit,
    CommitFails,
    Expire,
    CoordinatorHears(usize, usize),
    CoordinatorLosesWorker(usize),
    CoordinatorDies,
    CoordinatorStarts,
    // People.
    Cancel,
    Retry,
    // A worker.
    Connect(usize),
    WorkerLosesCoordinator(usize),
    WorkerHears(usize, usize),
    Heartbeat(usize),
    /// ffmpeg is done: the files are uploaded, which the coordinator must allow, and the result is reported.
    Finish(usize),
    HandBack(usize),
    StopByItself(usize),
    WorkerDies(usize),
    Lie(usize),
    // The network.
    LoseUp(usize, usize),
    LoseDown(usize, usize),
    DuplicateUp(usize, usize),
}

impl Model {
    pub(super) fn moves(&self, farm: &Farm, moves: &mut Vec<Move>) {
        if self.may_tick(farm) {
            moves.push(Move::Tick);
        }
        match &farm.coordinator {
            None => moves.push(Move::CoordinatorStarts),
            Some(mind) => self.moves_of_the_coordinator(farm, mind, moves),
        }
        for worker in 0..WORKERS {
            self.moves_of_a_worker(farm, worker, moves);
            for message in 0..farm.up[worker].iter().count() {
                if farm.listens() {
                    moves.push(Move::CoordinatorHears(worker, message));
                }
                if farm.chances.losses > 0 {
                    moves.push(Move::LoseUp(worker, message));
                }
                if farm.chances.duplicates > 0 {
                    moves.push(Move::DuplicateUp(worker, message));
                }
            }
            for message in 0..farm.down[worker].iter().count() {
                moves.push(Move::WorkerHears(worker, message));
                if farm.chances.losses > 0 {
                    moves.push(Move::LoseDown(worker, message));
                }
            }
        }
    }

    fn moves_of_the_coordinator(&self, farm: &Farm, mind: &Coordinator, moves: &mut Vec<Move>) {
        if mind.owes_a_commit(farm) {
            moves.push(Move::Commit);
            if farm.chances.failed_commits > 0 {
                moves.push(Move::CommitFails);
            }
        }
        if farm.chances.crashes > 0 {
            moves.push(Move::CoordinatorDies);
        }
        let may_assign = mind.attempt.is_none()
            && mind.row.stage == Stage::Queued
            && mind.next_epoch <= self.bounds.epochs
            && !(self.rules.one_open_assignment && (mind.open_assignment || mind.commits_fail));
        for worker in 0..WORKERS {
            if may_assign && mind.sessions[worker].is_some() {
                moves.push(Move::Assign(worker));
            }
        }
        if !mind.listens(farm) {
            return;
        }
        for worker in 0..WORKERS {
            if let Some(session) = mind.sessions[worker]
                && (!is_wanted(farm, worker, session) || farm.chances.cuts > 0)
            {
                moves.push(Move::CoordinatorLosesWorker(worker));
            }
        }
        if mind.attempt.is_some_and(|current| self.rules.is_over(current.left)) {
            moves.push(Move::Expire);
        }
        if farm.chances.cancels > 0 && matches!(mind.row.stage, Stage::Queued | Stage::Running { .. }) {
            moves.push(Move::Cancel);
        }
        if farm.chances.retries > 0 && farm.row.stage == Stage::Cancelled && mind.row == farm.row {
            moves.push(Move::Retry);
        }
    }

    fn moves_of_a_worker(&self, farm: &Farm, worker: usize, moves: &mut Vec<Move>) {
        let me = &farm.workers[worker];
        let asked = farm.down[worker].iter().any(|message| matches!(message, Down::Welcome { .. }));
        match me.session {
            None => {
                if farm.listens() && !asked && farm.connections[worker] < self.bounds.connections {
                    moves.push(Move::Connect(worker));
                }
            }
            Some(session) => {
                let open = farm.coordinator.is_some_and(|mind| mind.sessions[worker] == Some(session));
                if !open || farm.chances.cuts > 0 {
                    moves.push(Move::WorkerLosesCoordinator(worker));
                }
                let beats = farm.up[worker].iter().any(|message| matches!(message, Up::Heartbeat { .. }));
                if !beats && running(farm, worker) != 0 {
                    moves.push(Move::Heartbeat(worker));
                }
                let current = farm.coordinator.and_then(|mind| mind.attempt);
                if farm.chances.lies > 0 && current.is_some_and(|current| current.worker != worker) {
                    moves.push(Move::Lie(worker));
                }
            }
        }
        for attempt in me.attempts.iter() {
            match attempt.doing {
                Doing::Running { left: 0 } => moves.push(Move::StopByItself(worker)),
                Doing::Running { .. } => {
                    if me.session.is_some() && farm.listens() {
                        moves.push(Move::Finish(worker));
                    }
                    if farm.chances.hand_backs > 0 {
                        moves.push(Move::HandBack(worker));
                    }
                }
                Doing::Ended(_) => {}
            }
        }
        if farm.chances.deaths > 0 && me.attempts.iter().next().is_some() {
            moves.push(Move::WorkerDies(worker));
        }
    }

    /// What the farm becomes; `None` if nothing changes.
    pub(super) fn follow(&self, before: &Farm, next: Move) -> Option<Farm> {
        let mut farm = *before;
        match next {
            Move::Tick => Self::tick(&mut farm),
            Move::Assign(worker) => self.assign(&mut farm, worker)?,
            Move::Commit => self.commit(&mut farm)?,
            Move::CommitFails => {
                farm.chances.failed_commits -= 1;
                farm.coordinator.as_mut()?.commits_fail = true;
            }
            Move::Expire => self.expire(&mut farm)?,
            Move::CoordinatorHears(worker, message) => {
                let message = farm.up[worker].take(message)?;
                self.coordinator_hears(&mut farm, worker, message)?;
            }
            Move::CoordinatorLosesWorker(worker) => {
                if is_wanted(&farm, worker, farm.coordinator?.sessions[worker]?) {
                    farm.chances.cuts -= 1;
                }
                self.coordinator_loses(&mut farm, worker)?;
            }
            Move::CoordinatorDies => {
                farm.chances.crashes -= 1;
                farm.coordinator = None;
                farm.up = [Bag::EMPTY; WORKERS];
            }
            Move::CoordinatorStarts => self.start_the_coordinator(&mut farm),
            Move::Cancel => self.cancel(&mut farm)?,
            Move::Retry => self.retry(&mut farm)?,
            Move::Connect(worker) => self.connect(&mut farm, worker)?,
            Move::WorkerLosesCoordinator(worker) => {
                let session = farm.workers[worker].session.take();
                if farm.coordinator.is_some_and(|mind| mind.sessions[worker] == session) {
                    farm.chances.cuts -= 1;
                }
                farm.down[worker] = Bag::EMPTY;
            }
            Move::WorkerHears(worker, message) => {
                let message = farm.down[worker].take(message)?;
                self.worker_hears(&mut farm, worker, message);
            }
            Move::Heartbeat(worker) => {
                let session = farm.workers[worker].session?;
                let beat = Up::Heartbeat { session, running: running(&farm, worker) };
                if !farm.up[worker].put(beat) {
                    return None;
                }
            }
            Move::Finish(worker) => self.finish(&mut farm, worker)?,
            Move::HandBack(worker) => {
                farm.chances.hand_backs -= 1;
                let attempt = farm.workers[worker].attempts.iter().copied().find(Attempt::is_running)?;
                end(&mut farm, worker, attempt, Outcome::HandedBack);
            }
            Move::StopByItself(worker) => {
                farm.workers[worker]
                    .attempts
                    .retain(|attempt| !matches!(attempt.doing, Doing::Running { left: 0 }));
                self.saw(&mut farm, Seen::STOPPED_BY_ITSELF);
            }
            Move::WorkerDies(worker) => {
                farm.chances.deaths -= 1;
                farm.workers[worker].session = None;
                farm.workers[worker].attempts = Bag::EMPTY;
                farm.down[worker] = Bag::EMPTY;
            }
            Move::Lie(worker) => {
                farm.chances.lies -= 1;
                let session = farm.workers[worker].session?;
                let epoch = farm.coordinator?.attempt?.epoch;
                farm.up[worker].put(Up::Finished { session, epoch, outcome: Outcome::HandedBack });
            }
            Move::LoseUp(worker, message) => {
                farm.chances.losses -= 1;
                farm.up[worker].take(message);
            }
            Move::LoseDown(worker, message) => {
                farm.chances.losses -= 1;
                farm.down[worker].take(message);
            }
            Move::DuplicateUp(worker, message) => {
                farm.chances.duplicates -= 1;
                let message = farm.up[worker].get(message)?;
                if !farm.up[worker].put(message) {
                    return None;
                }
            }
        }
        (farm != *before).then_some(farm)
    }

    /// What a worker uses of a whole lease.
    pub(super) fn full(&self) -> u8 {
        (self.rules.worker_uses)(self.bounds.lease)
    }

    /// A worker that counts a lease from when its assignment arrived counts on the network to be quick.
    fn may_tick(&self, farm: &Farm) -> bool {
        let Some(slowest) = self.bounds.slowest_assignment else { return true };
        farm.down.iter().flat_map(Bag::iter).all(|message| match message {
            Down::Assign { left, .. } => self.full() - left < slowest,
            Down::Welcome { .. } | Down::Renewed { .. } | Down::Acknowledge { .. } | Down::Stop { .. } => {
                true
            }
        })
    }

    fn tick(farm: &mut Farm) {
        let down = |left: &mut u8| *left = left.saturating_sub(1);
        if let Some(current) = farm.coordinator.as_mut().and_then(|mind| mind.attempt.as_mut()) {
            down(&mut current.left);
        }
        for worker in &mut farm.workers {
            worker.attempts.change(|attempt| {
                if let Doing::Running { left } = &mut attempt.doing {
                    down(left);
                }
            });
        }
        let grow_old = |message: &mut Down| message.left_mut().into_iter().for_each(down);
        farm.down.iter_mut().for_each(|messages| messages.change(grow_old));
        if let Some(mind) = &mut farm.coordinator {
            mind.outgoing.change(|(_, message)| grow_old(message));
        }
    }

    pub(super) fn saw(&self, farm: &mut Farm, what: u32) {
        if self.remembers {
            farm.seen |= what;
        }
    }
}

/// Whether the worker is on this connection, or will be when it hears that it is welcome.
fn is_wanted(farm: &Farm, worker: usize, session: u8) -> bool {
    farm.workers[worker].session == Some(session)
        || farm.down[worker]
            .iter()
            .any(|message| matches!(message, Down::Welcome { .. }) && message.session() == session)
}
