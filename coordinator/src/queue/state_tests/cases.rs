//! What the queue promises, case by case.

use std::collections::BTreeSet;

use common::{api::WorkerState, worker::Load};

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
fn the_lease_of_an_assignment_that_waited_for_its_commit_begins_when_it_is_sent() {
    let mut bench = Bench::new();
    let job = bench.submit(1, 0);
    bench.restart();
    bench.slow = true;
    let (session, _) = bench.connect(1, Vec::new());
    bench.pass(LEASE - Duration::from_secs(1));
    assert_eq!(bench.assigned(), None, "it waits for its commit");
    bench.finish_commit(true);
    bench.slow = false;
    let (_, attempt) = bench.assigned().unwrap();
    bench.pass(LEASE - Duration::from_secs(1));
    bench.succeed(session, attempt);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(attempt.epoch));
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
fn the_same_crash_on_two_workers_makes_a_dead_letter() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (two, _) = bench.connect(2, Vec::new());
    let mut workers = BTreeSet::new();
    for _ in 0..2 {
        bench.pass(Duration::from_secs(5));
        bench.beat(one, &[]);
        bench.beat(two, &[]);
        let (session, attempt) = bench.assigned().unwrap();
        workers.insert(session);
        bench.fail(session, attempt, FailureKind::Crashed, Need::default());
    }
    assert_eq!(workers, BTreeSet::from([one, two]), "tried on another worker");
    assert_eq!(bench.state_of(job), JobState::Dead);
    let failure = bench.job(job).job.failure.clone().unwrap();
    assert!(failure.message.contains("two workers"), "{failure}");
    for worker in [1, 2] {
        let worker = bench.state.fleet.get(testing::worker_id(worker)).unwrap();
        assert!(!worker.is_quarantined(), "the task is the poison, not they");
    }
}

#[test]
fn on_one_worker_the_budget_ends_it() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    for failures in 1..=FAILURE_BUDGET {
        let (_, attempt) = bench.assigned().unwrap();
        assert_eq!(attempt.epoch, Epoch(failures.into()));
        bench.fail(session, attempt, FailureKind::DiskFull, Need::default());
        bench.pass(Duration::from_secs(5));
        bench.beat(session, &[]);
    }
    assert_eq!(bench.state_of(job), JobState::Dead);
    let failure = bench.job(job).job.failure.clone().unwrap();
    assert!(failure.message.contains("attempt 3 of 3"), "{failure}");
    bench.state.retry(bench.stored[&job].clone(), bench.now()).unwrap();
    bench.settle();
    let (_, redriven) = bench.assigned().unwrap();
    bench.succeed(session, redriven);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
}

/// Lets `rounds` jobs crash on worker 1 and succeed on worker 2.
fn crash_here_succeed_there(bench: &mut Bench, one: SessionId, two: SessionId, jobs: std::ops::Range<u128>) {
    for job in jobs {
        // Worker 2 is drained for a moment, so that worker 1 gets it first.
        bench.state.set_draining(testing::worker_id(2), true, bench.now()).unwrap();
        let id = bench.submit(job, 0);
        let (first, crashed) = bench.assigned().unwrap();
        assert_eq!(first, one);
        bench.fail(one, crashed, FailureKind::Crashed, Need::default());
        bench.state.set_draining(testing::worker_id(2), false, bench.now()).unwrap();
        bench.pass(Duration::from_secs(2));
        bench.beat(one, &[]);
        bench.beat(two, &[]);
        let (second, again) = bench.assigned().unwrap();
        assert_eq!(second, two);
        bench.succeed(two, again);
        assert_eq!(bench.state_of(id), JobState::Succeeded);
    }
}

#[test]
fn a_worker_whose_tasks_succeed_elsewhere_is_quarantined_probed_and_released() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect(1, Vec::new());
    let (two, _) = bench.connect(2, Vec::new());
    crash_here_succeed_there(&mut bench, one, two, 1..3);
    let view = bench.state.worker_view(testing::worker_id(1), bench.now()).unwrap();
    assert_eq!(view.state, WorkerState::Quarantined);
    assert!(view.reason.unwrap().contains("tasks fail here (crashed) that succeed elsewhere"));
    let spread: Vec<JobId> = (10..14).map(|job| bench.submit(job, 0)).collect();
    let waiting = spread.iter().filter(|job| bench.state_of(**job) == JobState::Queued).count();
    assert_eq!(waiting, 2, "worker 2 alone takes work");

    bench.pass(Duration::from_secs(61));
    let asked =
        |message: &(SessionId, ToWorker)| matches!(message, (to, ToWorker::ProbeAgain { .. }) if *to == one);
    assert_eq!(bench.sent.iter().filter(|message| asked(message)).count(), 1);
    bench.beat(one, &[]);
    let found = testing::cpu_worker(1).identity.capabilities;
    bench.state.capabilities_changed(one, found, bench.now());
    bench.settle();
    assert_eq!(bench.assigned().unwrap().0, one, "released");
}

#[test]
fn a_session_limit_lowers_the_cap_and_the_task_goes_on_at_once() {
    let mut bench = Bench::new();
    let gpu = testing::gpu_worker(1, 1, None);
    let (session, _) = bench.connect_as(gpu.identity, Vec::new());
    let (one, two) = (bench.submit(1, 0), bench.submit(2, 0));
    let attempt = |job: JobId, epoch| AttemptId { task: TaskId(job.0), epoch: Epoch(epoch) };
    bench.fail(session, attempt(two, 1), FailureKind::SessionLimit, Need::default());
    let (_, again) = bench.assigned().unwrap();
    assert_eq!(again, attempt(two, 2), "requeued at once");
    let encoder = bench.job(two).tasks[0].1.last().unwrap().details.encoder.clone();
    assert_eq!(encoder.as_deref(), Some("libx264"), "the device has one session, and job 1 has it");
    assert_eq!(bench.job(two).tasks[0].0.history.failures, 0);
    bench.beat(session, &[attempt(one, 1), attempt(two, 2)]);
    bench.pass(Duration::from_secs(29));
    bench.beat(session, &[attempt(one, 1), attempt(two, 2)]);
    bench.pass(Duration::from_secs(29));
    bench.beat(session, &[attempt(one, 1), attempt(two, 2)]);
    bench.pass(Duration::from_secs(3));
    let three = bench.submit(3, 0);
    let encoder = bench.job(three).tasks[0].1.last().unwrap().details.encoder.clone();
    assert_eq!(encoder.as_deref(), Some("h264_nvenc"), "a minute later one more is tried");
}

#[test]
fn what_is_preempted_goes_on_elsewhere_and_keeps_its_budget() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, first) = bench.assigned().unwrap();
    bench.connect(2, Vec::new());
    bench.state.set_draining(testing::worker_id(1), true, bench.now()).unwrap();
    bench.state.preempt_worker(testing::worker_id(1), "an operator drains the worker", bench.now()).unwrap();
    bench.settle();
    let (to, second) = bench.assigned().unwrap();
    assert!(to != one && second.epoch == Epoch(2));
    assert!(
        bench.sent.iter().any(|(to, message)| *to == one
            && matches!(message, ToWorker::Stop { attempt, .. } if *attempt == first))
    );
    bench.succeed(one, first);
    assert_eq!(bench.acknowledged(), Some(false), "too late");
    let stored = bench.job(job);
    assert_eq!((stored.job.state, stored.tasks[0].0.history.failures), (JobState::Running, 0));
    let failure = stored.tasks[0].1[0].details.failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::Preempted);
}

#[test]
fn a_jobs_time_limit_holds_for_all_attempts_together() {
    let mut bench = Bench::new();
    bench.state.settings.time_limit = Some(Duration::from_secs(25));
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let limits = |bench: &Bench| -> Vec<Option<Duration>> {
        let limit = |message: &(SessionId, ToWorker)| match &message.1 {
            ToWorker::Assign(assignment) => Some(assignment.time_limit),
            _ => None,
        };
        bench.sent.iter().filter_map(limit).collect()
    };
    bench.pass(Duration::from_secs(10));
    let (_, attempt) = bench.assigned().unwrap();
    bench.fail(session, attempt, FailureKind::DiskFull, Need::default());
    bench.pass(Duration::from_secs(2));
    assert_eq!(limits(&bench), [Some(Duration::from_secs(25)), Some(Duration::from_secs(15))]);
    bench.pass(Duration::from_secs(15));
    let (_, attempt) = bench.assigned().unwrap();
    bench.fail(session, attempt, FailureKind::DiskFull, Need::default());
    let failure = bench.job(job).job.failure.clone().unwrap();
    assert_eq!((bench.state_of(job), failure.kind), (JobState::Failed, FailureKind::TimeLimit), "{failure}");
}

#[test]
fn a_worker_that_was_lost_while_the_coordinator_was_away_costs_nothing() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    bench.restart();
    bench.connect(1, Vec::new());
    let (task, attempts) = &bench.job(job).tasks[0];
    assert_eq!((attempts.len(), task.history.failures), (2, 0));
}

#[test]
fn a_flapping_worker_gets_no_new_work_for_a_while() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        let (session, _) = bench.connect(1, Vec::new());
        bench.state.disconnected(session, bench.now());
        bench.settle();
    }
    bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let waiting = bench.state.summary(job, bench.now()).unwrap().waiting_for.unwrap();
    assert!(waiting.contains("lost its connection 4 times"), "{waiting}");
    let next = bench.state.next_deadline(bench.at).unwrap();
    bench.pass(next - bench.at);
    assert_eq!(bench.state_of(job), JobState::Running, "and then it does, without anybody saying anything");
}

#[test]
fn a_worker_without_room_in_its_scratch_is_passed_over_by_what_needs_more() {
    let mut bench = Bench::new();
    let (small, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    let missing = Need { scratch_bytes: 2 << 30, ..Need::default() };
    bench.fail(small, attempt, FailureKind::DiskFull, missing);
    bench.pass(Duration::from_secs(2));
    let load = Load { scratch_available_bytes: Some(1 << 30), ..Load::default() };
    // It beats before the pause is over, so that it is known.
    assert_eq!(bench.state_of(job), JobState::Running, "unknown is worth a try");
    let (_, again) = bench.assigned().unwrap();
    bench.state.heartbeat(small, Beat { load, ..Beat::default() }, bench.now());
    bench.fail(small, again, FailureKind::DiskFull, Need::default());
    bench.pass(Duration::from_secs(5));
    let waiting = bench.state.summary(job, bench.now()).unwrap().waiting_for.unwrap();
    assert!(waiting.contains("1024 MiB of scratch, 2048 MiB needed"), "{waiting}");
    let (large, _) = bench.connect(2, Vec::new());
    assert_eq!(bench.assigned().unwrap().0, large);
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
    assert!(bench.state.begin_commit().is_empty());
}

#[test]
fn an_idle_worker_that_wants_to_leave_is_told_when_nothing_is_left() {
    let mut bench = Bench::new();
    let job = bench.submit(1, 0);
    let (session, _) = bench.connect(1, Vec::new());
    let worker: WorkerId = testing::worker_id(1);
    bench.state.fleet.get_mut(worker).unwrap().identity.exit_when_idle = true;
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

#[test]
fn a_job_with_a_target_succeeds_when_its_files_are_there() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit_to(1, 0, Some("s3://b/x/"));
    let (_, attempt) = bench.assigned().unwrap();
    bench.succeed(session, attempt);
    assert_eq!(bench.state_of(job), JobState::Running);
    assert_eq!(bench.job(job).tasks[0].0.published, Some(attempt.epoch));
    let delivery = bench.delivery();
    assert_eq!((delivery.job, delivery.to.as_str(), delivery.files.len()), (job, "s3://b/x/", 1));
    // The coordinator dies: the delivery begins anew.
    bench.restart();
    let again = bench.delivery();
    assert_eq!((again.job, &again.files), (job, &delivery.files));
    bench.deliver(&again, Delivered::Done);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    bench.deliver(&again, Delivered::Refused("late".to_owned()));
    assert_eq!(bench.state_of(job), JobState::Succeeded);
}

#[test]
fn a_delivery_that_fails_is_tried_again_and_then_given_up_and_a_redrive_only_delivers() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit_to(1, 0, Some("s3://b/x/"));
    let (_, attempt) = bench.assigned().unwrap();
    bench.succeed(session, attempt);
    for _ in 0..crate::queue::delivery::TRIES {
        assert_eq!(bench.state_of(job), JobState::Running);
        let delivery = bench.delivery();
        bench.deliver(&delivery, Delivered::Failed("a.mp4: 503".to_owned()));
        // Told twice, counted once.
        bench.deliver(&delivery, Delivered::Failed("a.mp4: 503".to_owned()));
        bench.pass(Duration::from_secs(300));
    }
    assert_eq!(bench.deliveries.len(), crate::queue::delivery::TRIES as usize);
    assert_eq!(bench.state_of(job), JobState::Dead);
    let failure = bench.job(job).job.failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::UploadFailed);
    assert!(failure.message.contains("a.mp4: 503"), "{failure}");

    bench.state.retry(bench.stored[&job].clone(), bench.now()).unwrap();
    bench.settle();
    assert_eq!(bench.state_of(job), JobState::Running);
    bench.deliver(&bench.delivery(), Delivered::Done);
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    assert_eq!(bench.assignments().len(), 1, "nothing is encoded again");
}

#[test]
fn what_can_never_be_delivered_is_given_up_at_once_and_a_cancelled_delivery_stops() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let refused = bench.submit_to(1, 0, Some("s3://b/x/"));
    bench.succeed(session, bench.assigned().unwrap().1);
    bench.deliver(&bench.delivery(), Delivered::Refused("no such bucket".to_owned()));
    assert_eq!(bench.state_of(refused), JobState::Dead);

    let cancelled = bench.submit_to(2, 0, Some("s3://b/x/"));
    bench.succeed(session, bench.assigned().unwrap().1);
    let delivery = bench.delivery();
    bench.state.cancel(cancelled, bench.now()).unwrap();
    bench.settle();
    assert_eq!(bench.deliveries.last(), Some(&DeliveryOrder::Stop(cancelled)));
    bench.deliver(&delivery, Delivered::Done);
    assert_eq!(bench.state_of(cancelled), JobState::Cancelled);
}
