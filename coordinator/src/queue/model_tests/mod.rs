//! Every course that one task can take, in a small farm.
//!
//! A model of lease, epoch and publishing that calls the rules of [`super::fence`] and is explored exhaustively: two
//! workers, messages that come late, in another order, twice or never, connections that break on either side at different
//! times, a coordinator and workers that are killed at any point, assignments that leave before their commit, commits that
//! are late, cancels, retries, hand-backs and a worker that lies. Time is what is left of leases, so no course is cut off by
//! a clock; what could happen for ever has a number of [`Chances`]. The tests then take one rule away at a time, and the
//! model must find what that rule was for.
//!
//! One task, because tasks meet only in the slots of workers, which `state_tests` looks after.

mod broken;
mod coordinator;
mod ends;
mod farm;
mod holds;
mod moves;
mod rules;
mod worker;

use stateright::Property;

use self::{
    farm::{Chances, Down, Farm, Flaw},
    moves::Move,
    rules::Rules,
};

#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Ticks. A tick is the margin by which a worker stops before its lease ends.
    lease: u8,
    grace: u8,
    /// Epochs that are given out.
    epochs: u8,
    /// Of each worker.
    connections: u8,
    /// Messages at a time.
    on_the_way: usize,
    /// Ticks that an assignment may take to its worker; `None`: any time. Any other message may take any time.
    slowest_assignment: Option<u8>,
    chances: Chances,
}

#[derive(Debug, Clone)]
struct Model {
    bounds: Bounds,
    rules: Rules,
    looks_at: LooksAt,
    /// What happened on the way is a part of the state.
    remembers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LooksAt {
    /// What must always hold.
    Promises,
    /// One of them: the checker stops at the first, hence shortest, counterexample.
    Promise(&'static str),
    /// What must happen in some course.
    Courses(&'static [&'static str]),
}

/// Declares what can have happened on the way, and the property that some course has it.
macro_rules! courses {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $words:literal;)+) => {
        /// What can have happened.
        struct Seen;

        impl Seen {
            $($(#[$doc])* const $name: u32 = 1 << $bit;)+
        }

        fn courses() -> Vec<Property<Model>> {
            vec![$(Property::sometimes($words, |_: &Model, farm: &Farm| farm.seen & Seen::$name != 0)),+]
        }
    };
}

courses! {
    STOPPED_BY_ITSELF = 0, "a worker stops an attempt by itself";
    LEASE_ENDED = 1, "a lease ends";
    GRACE_ENDED = 2, "a grace ends";
    NOT_ADOPTED = 3, "nobody comes back after a restart";
    ADOPTED_AFTER_RESTART = 4, "an attempt is adopted after a restart";
    ADOPTED_WITHIN_GRACE = 5, "a worker comes back within the grace and goes on";
    FORGOTTEN_BY_ITS_WORKER = 6, "a worker comes back without its attempt";
    NOT_KEPT = 7, "a worker comes back with an attempt that it may not keep";
    PUBLISHED_AFTER_ADOPTION = 8, "an adopted attempt is published";
    PUBLISHED_AFTER_FAILOVER = 9, "a later attempt is published";
    PUBLISHED_AFTER_RETRY = 10, "a job that was cancelled and retried is published";
    LATE_REFUSED = 11, "the result of an older epoch is refused";
    DUPLICATE_REFUSED = 12, "a result is refused because nothing runs any more";
    FOREIGN_REFUSED = 13, "a result is refused that comes on another session";
    HANDED_BACK = 14, "an attempt is handed back";
    CANCELLED_WHILE_RUNNING = 15, "a job is cancelled while it runs";
    RETRIED = 16, "a cancelled job is retried";
    UNDURABLE_LOST = 17, "an assignment is lost that was not durable";
}

const ONE_PUBLISHED: &str = "of a task at most one epoch is ever published";
const OWN_PREFIX: &str = "no two attempts write below the same prefix";
const CURRENT: &str = "what is published was the task's attempt, and its own files";
const CANCELLED: &str = "what was cancelled is not published";
const ONE_HOLDER: &str = "a lease is given away only when its holder has stopped";
const TOLD: &str = "what a worker was told is on disk";

impl stateright::Model for Model {
    type State = Farm;
    type Action = Move;

    fn init_states(&self) -> Vec<Farm> {
        vec![Farm::new(self.bounds.chances)]
    }

    fn actions(&self, farm: &Farm, moves: &mut Vec<Move>) {
        self.moves(farm, moves);
    }

    fn next_state(&self, farm: &Farm, next: Move) -> Option<Farm> {
        self.follow(farm, next)
    }

    fn within_boundary(&self, farm: &Farm) -> bool {
        farm.on_the_way() <= self.bounds.on_the_way
    }

    fn properties(&self) -> Vec<Property<Self>> {
        match self.looks_at {
            LooksAt::Promises => promises(),
            LooksAt::Promise(name) => promises().into_iter().filter(|promise| promise.name == name).collect(),
            LooksAt::Courses(names) => {
                courses().into_iter().filter(|course| names.contains(&course.name)).collect()
            }
        }
    }
}

fn promises() -> Vec<Property<Model>> {
    vec![
        Property::always(ONE_PUBLISHED, |_: &Model, farm: &Farm| farm.published.count_ones() <= 1),
        Property::always(OWN_PREFIX, |_: &Model, farm: &Farm| farm.flaw != Some(Flaw::TwoAuthors)),
        Property::always(CURRENT, |_: &Model, farm: &Farm| {
            !matches!(farm.flaw, Some(Flaw::PublishedStale | Flaw::PublishedForeign))
        }),
        Property::always(CANCELLED, |_: &Model, farm: &Farm| farm.flaw != Some(Flaw::PublishedCancelled)),
        Property::always(ONE_HOLDER, |_: &Model, farm: &Farm| holders(farm) <= 1),
        Property::always(TOLD, |_: &Model, farm: &Farm| {
            farm.down.iter().flat_map(farm::Bag::iter).all(|message| match message {
                Down::Acknowledge { epoch, accepted: true, .. } => farm.row.published == Some(*epoch),
                _ => true,
            })
        }),
    ]
}

/// Attempts whose worker believes that it holds the lease, without those that the coordinator knowingly let go: what was
/// cancelled, what stayed away for longer than the grace, and what was lost with an assignment that was not durable.
fn holders(farm: &Farm) -> usize {
    let attempts = farm.workers.iter().flat_map(|worker| worker.attempts.iter());
    attempts
        .filter(|attempt| attempt.holds_its_lease() && farm.let_go & farm::bit(attempt.epoch) == 0)
        .count()
}

/// A farm in which nothing goes wrong but time.
const QUIET: Bounds = Bounds {
    lease: 2,
    grace: 1,
    epochs: 2,
    connections: 1,
    on_the_way: 2,
    slowest_assignment: Some(1),
    chances: Chances::NONE,
};

impl Model {
    fn of(bounds: Bounds, rules: Rules, looks_at: LooksAt) -> Self {
        assert!(
            usize::from(bounds.epochs) < farm::EPOCHS,
            "the model keeps files of {} epochs",
            farm::EPOCHS
        );
        assert!(bounds.on_the_way < farm::ON_THE_WAY, "what is one too many must fit, to be seen");
        Self { bounds, rules, looks_at, remembers: matches!(looks_at, LooksAt::Courses(_)) }
    }
}
