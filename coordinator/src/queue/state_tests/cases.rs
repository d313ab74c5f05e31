//! What the queue promises, case by case.

use super::*;

#[test]
fn a_job_runs_and_its_result_is_published() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    assert_eq!(bench.state_of(job), JobState::Running);
    let (to, attempt) = bench.assigned().unwrap();
    assert_eq!((to, attempt.epoch), (session, Epoch(1)));
    bench.succeed(session, attempt);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(Epoch(1)));
    assert_eq!(bench.acknowledged(), Some(true));
    assert!(!bench.state.knows(job), "what is over leaves the memory");
}

#[test]
fn jobs_wait_for_a_worker_by_priority_and_then_by_age() {
    let mut bench = Bench::new();
    let (low, high, higher) = (bench.submit(1, 0), bench.submit(2, 5), bench.submit(3, 5));
    bench.connect(1, Vec::new());
    let order: Vec<_> = bench.assignments().iter().map(|attempt| JobId(attempt.task.0)).collect();
    assert_eq!(order, [high, higher], "two slots, and the low one waits");
    assert_eq!(bench.state_of(low), JobState::Queued);
}

#[test]
fn a_worker_that_disconnects_may_come_back_within_the_grace() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.state.disconnected(session, bench.now());
    bench.settle();
    assert_eq!(bench.job(job).tasks[0].1[0].state, AttemptState::Running, "a blink is not worth a write");
    bench.pass(GRACE - Duration::from_secs(1));
    let (again, verdicts) = bench.connect(1, vec![attempt]);
    assert_eq!(verdicts, [(attempt, true)]);
    bench.pass(GRACE);
    bench.succeed(again, attempt);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    assert_eq!(bench.assignments().len(), 1);
}

#[test]
fn after_the_grace_the_task_goes_to_another_worker_and_the_late_result_changes_nothing() {
    let mut bench = Bench::new();
    let (first, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, lost) = bench.assigned().unwrap();
    bench.state.disconnected(first, bench.now());
    let (second, _) = bench.connect(2, Vec::new());
    bench.pass(GRACE);
    let (to, attempt) = bench.assigned().unwrap();
    assert_eq!((to, attempt.epoch), (second, Epoch(2)));
    assert!(bench.sweeps.contains(&lost));

    let (back, verdicts) = bench.connect(1, vec![lost]);
    assert_eq!(verdicts, [(lost, false)], "it is told to stop");
    bench.succeed(back, lost);
    assert_eq!(bench.acknowledged(), Some(false));
    assert_eq!(bench.state_of(job), JobState::Running);
    bench.succeed(second, attempt);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(Epoch(2)));
    assert_eq!(bench.job(job).tasks[0].0.history.failures, 1, "a lost worker is a failure");
}

#[test]
fn a_silent_worker_is_found_by_its_lease() {
    let mut bench = Bench::new();
    let (silent, _) = bench.connect(1, Vec::new());
    bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.pass(LEASE / 2);
    bench.beat(silent, &[attempt]);
    bench.pass(LEASE - Duration::from_secs(1));
    assert_eq!(bench.assignments().len(), 1, "the heartbeat renewed it");
    let (other, _) = bench.connect(2, Vec::new());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.assigned().unwrap().0, other);
    assert!(bench.sent.iter().any(|(to, message)| *to == silent && matches!(message, ToWorker::Stop { .. })));
}

#[test]
fn a_restarted_worker_does_not_hold_its_attempts_up() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.submit(1, 0);
    bench.connect(1, Vec::new());
    assert_eq!(bench.assigned().unwrap().1.epoch, Epoch(2));
}

#[test]
fn a_restarted_coordinator_adopts_what_runs() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.restart();
    bench.connect(2, Vec::new());
    bench.pass(LEASE - Duration::from_secs(1));
    assert_eq!(bench.assignments().len(), 1, "nothing expires before one lease has passed");
    let (session, verdicts) = bench.connect(1, vec![attempt]);
    assert_eq!(verdicts, [(attempt, true)]);
    bench.succeed(session, attempt);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(attempt.epoch));
}

#[test]
fn after_a_restart_an_epoch_that_may_have_been_given_out_is_left_out() {
    let mut bench = Bench::new();
    bench.submit(1, 0);
    bench.restart();
    bench.connect(1, Vec::new());
    assert_eq!(bench.assigned().unwrap().1.epoch, Epoch(2));
}

#[test]
fn invalid_input_is_tried_once() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.fail(session, attempt, FailureKind::InvalidInput, Need::default());
    assert_eq!(bench.state_of(job), JobState::Failed);
    assert_eq!(bench.job(job).job.failure.as_ref().unwrap().kind, FailureKind::InvalidInput);
    assert_eq!(bench.job(job).tasks[0].1.len(), 1);
}

#[test]
fn a_crash_is_tried_on_another_worker_first_and_given_up_after_the_budget() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (two, _) = bench.connect(2, Vec::new());
    let mut workers = Vec::new();
    for _ in 0..FAILURE_BUDGET {
        bench.pass(Duration::from_secs(5));
        bench.beat(one, &[]);
        bench.beat(two, &[]);
        let (session, attempt) = bench.assigned().unwrap();
        workers.push(session);
        bench.fail(session, attempt, FailureKind::Crashed, Need::default());
    }
    assert_eq!(bench.state_of(job), JobState::Failed);
    assert_ne!(workers[0], workers[1]);
    let failure = bench.job(job).job.failure.clone().unwrap();
    assert!(failure.message.contains("attempt 3 of 3"), "{failure}");
}

#[test]
fn what_an_attempt_lacked_becomes_a_need() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    let missing = Need { filters: vec!["zscale".to_owned()], ..Need::default() };
    bench.fail(session, attempt, FailureKind::MissingCapability, missing);
    assert_eq!(bench.state_of(job), JobState::Queued);
    let waiting = bench.state.summary(job, bench.now()).unwrap().waiting_for.unwrap();
    assert!(waiting.contains("no zscale filter"), "{waiting}");
}

#[test]
fn cancelling_stops_the_attempt_and_holds_its_slot_until_it_has_stopped() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let (one, _two, three) = (bench.submit(1, 0), bench.submit(2, 0), bench.submit(3, 0));
    let attempt = AttemptId { task: TaskId(one.0), epoch: Epoch(1) };
    bench.state.cancel(one, bench.now()).unwrap();
    bench.settle();
    assert_eq!(bench.state_of(one), JobState::Cancelled);
    assert_eq!(bench.state_of(three), JobState::Queued, "the slot is not free yet");
    bench.fail(session, attempt, FailureKind::Cancelled, Need::default());
    assert_eq!(bench.state_of(three), JobState::Running);
    assert_eq!(bench.state_of(one), JobState::Cancelled);
    assert!(
        matches!(bench.state.cancel(one, bench.now()), Err(Error::NoSuchJob(_))),
        "over is not in memory"
    );
}

#[test]
fn a_failed_job_can_be_retried_with_a_new_budget_and_a_newer_epoch() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    bench.fail(session, attempt, FailureKind::InvalidInput, Need::default());
    bench.state.retry(bench.stored[&job].clone(), bench.now()).unwrap();
    bench.settle();
    let (_, again) = bench.assigned().unwrap();
    assert!(again.epoch > attempt.epoch);
    bench.succeed(session, again);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    assert!(bench.state.retry(bench.stored[&job].clone(), bench.now()).is_err());
}

#[test]
fn a_result_from_another_worker_changes_nothing() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    let (liar, _) = bench.connect(2, Vec::new());
    bench.succeed(liar, attempt);
    assert_eq!(bench.acknowledged(), Some(false));
    assert_eq!(bench.state_of(job), JobState::Running);
    assert!(matches!(bench.state.upload_grant(liar, attempt), Err(Error::Stale(_))));
}

#[test]
fn a_drained_worker_takes_nothing_until_it_is_resumed() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.state.set_draining(testing::worker_id(1), true, bench.now()).unwrap();
    let job = bench.submit(1, 0);
    let waiting = bench.state.summary(job, bench.now()).unwrap().waiting_for.unwrap();
    assert!(waiting.contains("worker-1 (draining)"), "{waiting}");
    bench.state.set_draining(testing::worker_id(1), false, bench.now()).unwrap();
    bench.settle();
    assert_eq!(bench.state_of(job), JobState::Running);
}

#[test]
fn a_job_that_could_not_be_stored_leaves_nothing() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    bench.state.withdraw(job, bench.now());
    assert!(!bench.state.knows(job));
    assert!(bench.state.changes().is_empty());
}

#[test]
fn an_idle_worker_that_wants_to_leave_is_told_when_nothing_is_left() {
    let mut bench = Bench::new();
    let job = bench.submit(1, 0);
    let (session, _) = bench.connect(1, Vec::new());
    let worker: WorkerId = testing::worker_id(1);
    bench.state.fleet.get_mut(worker).unwrap().exit_when_idle = true;
    let idle =
        |bench: &Bench| bench.sent.iter().filter(|(_, message)| matches!(message, ToWorker::Idle)).count();
    bench.pass(Duration::from_secs(1));
    assert_eq!(idle(&bench), 0, "it has work");
    let (_, attempt) = bench.assigned().unwrap();
    bench.succeed(session, attempt);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    bench.pass(Duration::from_secs(1));
    assert_eq!(idle(&bench), 1, "told once");
}
