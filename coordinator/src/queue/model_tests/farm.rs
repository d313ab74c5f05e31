//! What the model knows of a farm: one task, a coordinator, two workers, and the messages between them.

pub(super) const WORKERS: usize = 2;
/// Epochs that are told apart; [`super::Bounds::epochs`] is below.
pub(super) const EPOCHS: usize = 6;
/// Room for messages on their way, per worker and direction; [`super::Bounds::on_the_way`] is below.
pub(super) const ON_THE_WAY: usize = 3;
/// Attempts that a worker remembers.
const REMEMBERED: usize = 2;

/// A few things in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Bag<T, const N: usize>([Option<T>; N]);

impl<T: Copy + Ord, const N: usize> Bag<T, N> {
    pub(super) const EMPTY: Self = Self([None; N]);

    /// `false`: it is full.
    pub(super) fn put(&mut self, thing: T) -> bool {
        let Some(free) = self.0.iter_mut().find(|place| place.is_none()) else { return false };
        *free = Some(thing);
        self.sort();
        true
    }

    pub(super) fn take(&mut self, index: usize) -> Option<T> {
        let taken = self.0.get_mut(index)?.take();
        self.sort();
        taken
    }

    pub(super) fn get(&self, index: usize) -> Option<T> {
        self.0.get(index).copied().flatten()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for place in &mut self.0 {
            *place = place.filter(&keep);
        }
        self.sort();
    }

    pub(super) fn change(&mut self, mut change: impl FnMut(&mut T)) {
        self.0.iter_mut().flatten().for_each(&mut change);
        self.sort();
    }

    /// What is there comes first, so that equal bags look equal.
    fn sort(&mut self) {
        self.0.sort_unstable_by_key(|place| (place.is_none(), *place));
    }
}

/// The task's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) stage: Stage,
    /// Of the newest attempt.
    pub(super) epoch: u8,
    pub(super) published: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Queued,
    Running { worker: usize, born: u8 },
    Succeeded,
    Cancelled,
}

/// A coordinator's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Coordinator {
    /// As it will be after the next commit.
    pub(super) row: Row,
    pub(super) next_epoch: u8,
    /// The task comes from the store, and nothing was assigned since.
    pub(super) restored: bool,
    pub(super) attempt: Option<Current>,
    /// The open connection of each worker.
    pub(super) sessions: [Option<u8>; WORKERS],
    /// An assignment went out that is not durable.
    pub(super) open_assignment: bool,
    /// The last commit failed, and life goes on until one does not.
    pub(super) commits_fail: bool,
    /// What goes out after the commit.
    pub(super) outgoing: Bag<(usize, Down), ON_THE_WAY>,
}

/// The current attempt, as the coordinator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Current {
    pub(super) epoch: u8,
    pub(super) worker: usize,
    pub(super) born: u8,
    pub(super) session: Option<u8>,
    /// Ticks until it is lost.
    pub(super) left: u8,
    pub(super) waits_for: WaitsFor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum WaitsFor {
    /// A heartbeat.
    Lease,
    /// Its worker, whose connection was lost.
    Grace,
    /// Its worker, since the coordinator started.
    Adoption,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) session: Option<u8>,
    pub(super) attempts: Bag<Attempt, REMEMBERED>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) epoch: u8,
    /// How often the coordinator had been restarted when it gave it out: tells two attempts of one epoch apart, if a rule
    /// lets that happen.
    pub(super) born: u8,
    pub(super) doing: Doing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Doing {
    /// With so many ticks until the worker stops it by itself.
    Running { left: u8 },
    /// It waits for its acknowledgement.
    Ended(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    Succeeded,
    HandedBack,
}

/// Epochs, a bit each.
pub(super) type Epochs = u8;

pub(super) const fn bit(epoch: u8) -> Epochs {
    1 << epoch
}

/// From a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Up {
    Heartbeat { session: u8, running: Epochs },
    Finished { session: u8, epoch: u8, outcome: Outcome },
}

/// To a worker. `left` is what its lease has left that began when the coordinator decided this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Down {
    Welcome { session: u8, keep: Epochs, left: u8 },
    Assign { session: u8, epoch: u8, born: u8, left: u8 },
    Renewed { session: u8, epochs: Epochs, left: u8 },
    Acknowledge { session: u8, epoch: u8, accepted: bool },
    Stop { session: u8, epoch: u8 },
}

impl Down {
    pub(super) fn session(self) -> u8 {
        match self {
            Self::Welcome { session, .. }
            | Self::Assign { session, .. }
            | Self::Renewed { session, .. }
            | Self::Acknowledge { session, .. }
            | Self::Stop { session, .. } => session,
        }
    }

    pub(super) fn left_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Welcome { left, .. } | Self::Assign { left, .. } | Self::Renewed { left, .. } => Some(left),
            Self::Acknowledge { .. } | Self::Stop { .. } => None,
        }
    }
}

/// How often may happen what otherwise could happen for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Chances {
    /// The coordinator is killed.
    pub(super) crashes: u8,
    /// A commit fails.
    pub(super) failed_commits: u8,
    /// A worker is killed, and started again.
    pub(super) deaths: u8,
    /// A connection breaks that both sides wanted.
    pub(super) cuts: u8,
    /// A message is lost though its connection lives.
    pub(super) losses: u8,
    pub(super) duplicates: u8,
    pub(super) cancels: u8,
    pub(super) retries: u8,
    pub(super) hand_backs: u8,
    /// A worker reports an end of somebody else's attempt.
    pub(super) lies: u8,
}

impl Chances {
    pub(super) const NONE: Self = Self {
        crashes: 0,
        failed_commits: 0,
        deaths: 0,
        cuts: 0,
        losses: 0,
        duplicates: 0,
        cancels: 0,
        retries: 0,
        hand_backs: 0,
        lies: 0,
    };
}

/// Something that happened once and must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Two attempts wrote below one prefix.
    TwoAuthors,
    /// Published, and not the task's current attempt.
    PublishedStale,
    /// Published what another attempt wrote.
    PublishedForeign,
    /// Published though the job was cancelled.
    PublishedCancelled,
}

/// Who wrote the files of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Author {
    pub(super) worker: usize,
    pub(super) born: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Farm {
    /// The row on disk.
    pub(super) row: Row,
    /// `None` while it is down.
    pub(super) coordinator: Option<Coordinator>,
    pub(super) workers: [Worker; WORKERS],
    pub(super) up: [Bag<Up, ON_THE_WAY>; WORKERS],
    pub(super) down: [Bag<Down, ON_THE_WAY>; WORKERS],
    /// How many connections each worker has had.
    pub(super) connections: [u8; WORKERS],
    pub(super) restarts: u8,
    pub(super) chances: Chances,
    // What nobody in the farm sees, and the properties look at.
    pub(super) files: [Option<Author>; EPOCHS],
    /// What was ever published on disk.
    pub(super) published: Epochs,
    /// What the coordinator gave away knowing that its worker may still be at it.
    pub(super) let_go: Epochs,
    pub(super) flaw: Option<Flaw>,
    /// What happened on the way here, if the model is asked to remember: see [`super::Seen`].
    pub(super) seen: u32,
}

impl Coordinator {
    /// Something is to be written. Unless commits fail nothing else is looked at until it is.
    pub(super) fn owes_a_commit(&self, farm: &Farm) -> bool {
        self.row != farm.row || self.open_assignment || self.outgoing.iter().next().is_some()
    }

    pub(super) fn listens(&self, farm: &Farm) -> bool {
        self.commits_fail || !self.owes_a_commit(farm)
    }
}

impl Farm {
    /// Both workers are connected, and the task waits.
    pub(super) fn new(chances: Chances) -> Self {
        let worker = Worker { session: Some(1), attempts: Bag::EMPTY };
        let row = Row { stage: Stage::Queued, epoch: 0, published: None };
        Self {
            row,
            coordinator: Some(Coordinator {
                row,
                next_epoch: 1,
                restored: false,
                attempt: None,
                sessions: [Some(1); WORKERS],
                open_assignment: false,
                commits_fail: false,
                outgoing: Bag::EMPTY,
            }),
            workers: [worker; WORKERS],
            up: [Bag::EMPTY; WORKERS],
            down: [Bag::EMPTY; WORKERS],
            connections: [1; WORKERS],
            restarts: 0,
            chances,
            files: [None; EPOCHS],
            published: 0,
            let_go: 0,
            flaw: None,
            seen: 0,
        }
    }

    pub(super) fn listens(&self) -> bool {
        self.coordinator.is_some_and(|mind| mind.listens(self))
    }

    /// Messages that are decided and not heard.
    pub(super) fn on_the_way(&self) -> usize {
        let up: usize = self.up.iter().map(|messages| messages.iter().count()).sum();
        let down: usize = self.down.iter().map(|messages| messages.iter().count()).sum();
        let waiting = self.coordinator.map_or(0, |mind| mind.outgoing.iter().count());
        up + down + waiting
    }

    pub(super) fn is_final(&self) -> bool {
        matches!(self.row.stage, Stage::Succeeded | Stage::Cancelled)
    }
}
