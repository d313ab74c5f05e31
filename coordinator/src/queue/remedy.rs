//! What becomes of a task whose attempt failed.

use std::{collections::BTreeSet, time::Duration};

use common::{
    backoff::Backoff,
    failure::{Failure, FailureKind, Remedy},
    id::WorkerId,
};

use crate::store::{Mishap, TaskHistory};

/// Failures that a task may have before it is given up.
pub(super) const FAILURE_BUDGET: u32 = 3;
/// A device that refuses sessions so often in a row is not merely busy.
const SESSION_REFUSALS: u32 = 20;
/// Between tries of a task that failed.
const RETRY: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
/// Between tries of a task that was not at fault; the first is immediate.
const REQUEUE: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(30) };

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Back into the queue, ready after this pause.
    Again(Duration),
    /// What was asked for cannot be done.
    Failed(Failure),
    /// Given up: a dead letter.
    Dead(Failure),
}

/// How an attempt failed, as the queue sees it.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    pub(super) failure: &'a Failure,
    pub(super) worker: WorkerId,
    /// The GPU that it ran on.
    pub(super) gpu: Option<u32>,
    /// It told something about the requirement that was not known.
    pub(super) taught: bool,
    /// The coordinator itself was away meanwhile, so a lost worker says nothing.
    pub(super) excused: bool,
    /// How often the task went back into the queue before.
    pub(super) requeues: u32,
}

/// Whether the failure counts, and for the next placement against the worker.
pub(super) fn counts(fault: &Fault<'_>) -> bool {
    let kind = fault.failure.kind;
    match kind.remedy() {
        Remedy::GiveUp => false,
        Remedy::Retry => !(fault.excused && kind == FailureKind::WorkerLost),
        // A worker that lacks nothing that it names would be asked for ever, and so would a device that is always full.
        Remedy::Requeue => match kind {
            FailureKind::MissingCapability => !fault.taught,
            FailureKind::SessionLimit => fault.requeues >= SESSION_REFUSALS,
            _ => false,
        },
        // A worker may only call cancelled what the coordinator cancelled, and that is not current any more.
        Remedy::End => true,
    }
}

/// Writes the failure into the task's history and says what follows. `jitter` is in `0.0..1.0`.
pub(super) fn follow(history: &mut TaskHistory, fault: &Fault<'_>, jitter: f64) -> Next {
    let failure = fault.failure;
    if failure.kind.remedy() == Remedy::GiveUp {
        return Next::Failed(failure.clone());
    }
    if !counts(fault) {
        return Next::Again(requeue_pause(fault.requeues, jitter));
    }
    history.failures += 1;
    history.mishaps.push(Mishap { worker: fault.worker, gpu: fault.gpu, kind: failure.kind });
    let workers: BTreeSet<WorkerId> = history
        .mishaps
        .iter()
        .filter(|mishap| mishap.kind == failure.kind && may_be_poison(mishap.kind))
        .map(|mishap| mishap.worker)
        .collect();
    if workers.len() > 1 {
        return Next::Dead(Failure::new(
            failure.kind,
            format!("{} (the same on two workers: the task is at fault, not they)", failure.message),
        ));
    }
    if history.failures >= FAILURE_BUDGET {
        return Next::Dead(Failure::new(
            failure.kind,
            format!("{} (attempt {} of {FAILURE_BUDGET})", failure.message, history.failures),
        ));
    }
    Next::Again(match failure.kind {
        // The fault lies with the worker, and that is gone: nothing to wait for.
        FailureKind::WorkerLost => requeue_pause(fault.requeues, jitter),
        _ => RETRY.delay(history.failures - 1, jitter),
    })
}

fn requeue_pause(requeues: u32, jitter: f64) -> Duration {
    requeues.checked_sub(1).map_or(Duration::ZERO, |before| REQUEUE.delay(before, jitter))
}

/// Kinds that the task itself can bring about. The others come from outside of it: a source, a disk, a network.
const fn may_be_poison(kind: FailureKind) -> bool {
    match kind {
        FailureKind::OutOfMemory | FailureKind::Stalled | FailureKind::Crashed | FailureKind::OutputWrong => {
            true
        }
        FailureKind::InvalidInput
        | FailureKind::InvalidSpec
        | FailureKind::SourceUnreachable
        | FailureKind::MissingCapability
        | FailureKind::WorkerLost
        | FailureKind::SessionLimit
        | FailureKind::DiskFull
        | FailureKind::TimeLimit
        | FailureKind::UploadFailed
        | FailureKind::Cancelled
        | FailureKind::HandedBack
        | FailureKind::Preempted => false,
    }
}

/// Kinds that say something about the worker once the same task has succeeded on another.
pub(super) const fn blames_the_worker(kind: FailureKind) -> bool {
    may_be_poison(kind) || matches!(kind, FailureKind::SourceUnreachable | FailureKind::UploadFailed)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn fault(failure: &Failure, worker: u128) -> Fault<'_> {
        let worker = WorkerId(Uuid::from_u128(worker));
        Fault { failure, worker, gpu: None, taught: false, excused: false, requeues: 0 }
    }

    fn failure(kind: FailureKind) -> Failure {
        Failure::new(kind, "it broke")
    }

    #[test]
    fn what_no_worker_can_help_fails_at_once() {
        for kind in [FailureKind::InvalidInput, FailureKind::InvalidSpec, FailureKind::TimeLimit] {
            let failure = failure(kind);
            let next = follow(&mut TaskHistory::default(), &fault(&failure, 1), 0.0);
            assert_eq!(next, Next::Failed(failure.clone()));
        }
    }

    #[test]
    fn the_same_failure_on_two_workers_makes_a_dead_letter_and_on_one_the_budget_counts() {
        let crashed = failure(FailureKind::Crashed);
        let mut history = TaskHistory::default();
        assert!(matches!(follow(&mut history, &fault(&crashed, 1), 0.0), Next::Again(_)));
        assert!(matches!(follow(&mut history.clone(), &fault(&crashed, 1), 0.0), Next::Again(_)));
        let Next::Dead(dead) = follow(&mut history, &fault(&crashed, 2), 0.0) else { panic!("dead") };
        assert!(dead.message.contains("two workers"), "{dead}");

        let mut history = TaskHistory::default();
        let next: Vec<_> = (0..3).map(|_| follow(&mut history, &fault(&crashed, 1), 0.0)).collect();
        assert!(matches!(&next[2], Next::Dead(dead) if dead.message.contains("attempt 3 of 3")), "{next:?}");
    }

    #[test]
    fn different_failures_and_those_from_outside_are_no_poison() {
        let mut history = TaskHistory::default();
        follow(&mut history, &fault(&failure(FailureKind::Crashed), 1), 0.0);
        let next = follow(&mut history, &fault(&failure(FailureKind::Stalled), 2), 0.0);
        assert!(matches!(next, Next::Again(_)), "{next:?}");
        let mut history = TaskHistory::default();
        follow(&mut history, &fault(&failure(FailureKind::WorkerLost), 1), 0.0);
        let next = follow(&mut history, &fault(&failure(FailureKind::WorkerLost), 2), 0.0);
        assert_eq!(next, Next::Again(Duration::ZERO), "and it is tried elsewhere at once");
    }

    #[test]
    fn drains_hand_backs_preemption_and_full_devices_cost_nothing_of_the_budget() {
        for kind in [FailureKind::HandedBack, FailureKind::Preempted, FailureKind::SessionLimit] {
            let mut history = TaskHistory::default();
            for requeues in 0..10 {
                let failure = failure(kind);
                let next = follow(&mut history, &Fault { requeues, ..fault(&failure, 1) }, 1.0);
                assert!(matches!(next, Next::Again(pause) if requeues > 0 || pause.is_zero()), "{next:?}");
            }
            assert_eq!(history, TaskHistory::default());
        }
    }

    #[test]
    fn what_can_teach_nothing_more_counts() {
        let missing = failure(FailureKind::MissingCapability);
        assert!(counts(&fault(&missing, 1)));
        assert!(!counts(&Fault { taught: true, ..fault(&missing, 1) }));
        let refused = failure(FailureKind::SessionLimit);
        assert!(counts(&Fault { requeues: SESSION_REFUSALS, ..fault(&refused, 1) }));
    }

    #[test]
    fn a_worker_that_was_lost_while_the_coordinator_was_away_does_not_count() {
        let lost = failure(FailureKind::WorkerLost);
        assert!(counts(&fault(&lost, 1)));
        assert!(!counts(&Fault { excused: true, ..fault(&lost, 1) }));
    }
}
