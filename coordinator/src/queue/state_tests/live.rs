//! What is promised of live attempts, case by case.

use common::{proto::LIVE_SINCE, worker::Gpu};

use super::*;

fn worker(number: u128) -> WorkerId {
    testing::worker_id(number)
}

/// The newest message to anybody that hands out live work.
fn assigned(bench: &Bench) -> Option<(SessionId, AttemptId)> {
    bench.sent.iter().rev().find_map(|(session, message)| match message {
        ToWorker::AssignLive(assignment) => Some((*session, assignment.attempt)),
        _ => None,
    })
}

fn stopped(bench: &Bench, attempt: AttemptId) -> bool {
    bench
        .sent
        .iter()
        .any(|(_, message)| matches!(message, ToWorker::Stop { attempt: it, .. } if *it == attempt))
}

fn batch(number: u128, epoch: u64) -> AttemptId {
    AttemptId { task: TaskId(Uuid::from_u128(number)), epoch: Epoch(epoch) }
}

fn reserved(slots: u32) -> Bench {
    let mut settings = settings();
    settings.policy.live_reserved = slots;
    Bench { state: State::new(settings), ..Bench::new() }
}

fn room(bench: &Bench) -> usize {
    bench.told.iter().filter(|event| **event == LiveEvent::Room).count()
}

fn refusal(placed: Result<LivePlacement, Error>) -> String {
    match placed {
        Err(Error::NoRoom(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn live_takes_the_slot_that_batch_leaves_free_and_disturbs_nobody() {
    let mut bench = reserved(1);
    let (session, _) = bench.connect(1, Vec::new());
    let (one, two) = (bench.submit(1, 0), bench.submit(2, 0));
    assert_eq!((bench.state_of(one), bench.state_of(two)), (JobState::Running, JobState::Queued));
    let placed = bench.place(1, true).unwrap();
    assert_eq!((placed.worker.id, placed.encoder.as_deref()), (worker(1), Some("libx264")));
    assert_eq!(assigned(&bench), Some((session, live(1))));
    assert_eq!(bench.state_of(one), JobState::Running);
}

#[test]
fn where_nobody_is_free_the_cheapest_batch_attempt_makes_room_and_goes_on_elsewhere() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let (important, long) = (bench.submit(1, 5), bench.submit(2, 0));
    bench.place(1, true).unwrap();
    assert_eq!(bench.state_of(important), JobState::Running, "the lower priority goes first");
    assert_eq!(bench.state_of(long), JobState::Queued);
    let stored = bench.job(long);
    assert_eq!(stored.tasks[0].0.history.failures, 0, "it costs nothing of its budget");
    assert_eq!(stored.tasks[0].1[0].details.failure.as_ref().unwrap().kind, FailureKind::Preempted);
    // Its worker hears of it before it hears of the live work.
    let order: Vec<AttemptId> = bench
        .sent
        .iter()
        .filter_map(|(_, message)| match message {
            ToWorker::Stop { attempt, .. } => Some(*attempt),
            ToWorker::AssignLive(assignment) => Some(assignment.attempt),
            _ => None,
        })
        .collect();
    assert_eq!(order, [batch(2, 1), live(1), batch(2, 1)]);
    bench.succeed(session, batch(2, 1));
    assert_eq!(bench.acknowledged(), Some(false), "too late");
    bench.connect(2, Vec::new());
    assert_eq!(bench.state_of(long), JobState::Running);
}

#[test]
fn of_equal_attempts_the_youngest_makes_room() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let old = bench.submit(1, 0);
    bench.pass(Duration::from_secs(10));
    let young = bench.submit(2, 0);
    bench.place(1, true).unwrap();
    assert_eq!((bench.state_of(old), bench.state_of(young)), (JobState::Running, JobState::Queued));
}

#[test]
fn an_attempt_that_is_stopping_anyway_makes_room_even_for_who_may_not_preempt() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    let (one, two) = (bench.submit(1, 0), bench.submit(2, 0));
    bench.state.cancel(one, bench.now()).unwrap();
    bench.settle();
    bench.place(1, false).unwrap();
    assert_eq!(bench.state_of(two), JobState::Running);
    assert!(refusal(bench.place(2, false)).contains("2 of 2 jobs"));
}

#[test]
fn never_does_live_take_a_place_from_live() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.place(1, true).unwrap();
    bench.place(2, true).unwrap();
    let why = refusal(bench.place(3, true));
    assert_eq!(why, "a free slot on a worker with an h264 encoder: worker-1 (2 of 2 jobs)");
    assert!(!stopped(&bench, live(1)) && !stopped(&bench, live(2)));
    assert_eq!(room(&bench), 0);
    bench.succeed(session, live(1));
    assert_eq!(room(&bench), 1, "who was refused hears that there is room");
    bench.place(3, true).unwrap();
    bench.end_live(3);
    assert_eq!(room(&bench), 1, "and nobody hears it who was not");
}

#[test]
fn an_end_is_told_once_and_acknowledged() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let (liar, _) = bench.connect(2, Vec::new());
    bench.place(1, true).unwrap();
    let (session, liar) =
        if assigned(&bench).unwrap().0 == session { (session, liar) } else { (liar, session) };
    let argv = vec!["ffmpeg".to_owned()];
    bench.state.attempt_started(session, live(1), argv.clone(), None, bench.now());
    bench.succeed(liar, live(1));
    assert_eq!(bench.acknowledged(), Some(false), "it is not its own");
    bench.fail(session, live(1), FailureKind::Crashed, Need::default());
    assert_eq!(bench.acknowledged(), Some(true));
    bench.fail(session, live(1), FailureKind::Crashed, Need::default());
    assert_eq!(bench.acknowledged(), Some(false));
    let failure = Failure::new(FailureKind::Crashed, "it broke");
    let told = [
        LiveEvent::Started { attempt: live(1), argv },
        LiveEvent::Ended { attempt: live(1), result: Err(failure) },
    ];
    assert_eq!(bench.told, told);
    let failed: u64 = bench.state.fleet.iter().map(|worker| worker.standing.failed).sum();
    assert_eq!(failed, 1, "and it counts where it happened");
}

#[test]
fn what_was_ended_is_stopped_frees_its_slot_and_is_not_spoken_of() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.place(1, true).unwrap();
    bench.end_live(1);
    bench.end_live(1);
    assert!(stopped(&bench, live(1)));
    bench.succeed(session, live(1));
    assert_eq!(bench.acknowledged(), Some(false));
    assert_eq!(bench.told, []);
    assert!(bench.state.fleet.get(worker(1)).unwrap().held.is_empty());
}

#[test]
fn a_broken_connection_loses_live_at_once_and_batch_after_its_grace() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let job = bench.submit(1, 0);
    bench.place(1, true).unwrap();
    bench.state.session_ending(session);
    bench.settle();
    let lost = LiveEvent::Lost { attempt: live(1), reason: "worker worker-1 disconnected".to_owned() };
    assert_eq!(bench.told, std::slice::from_ref(&lost));
    refusal(bench.place(2, true));
    // Its last report counts nevertheless.
    bench.succeed(session, batch(1, 1));
    assert_eq!(bench.state_of(job), JobState::Succeeded);
    bench.state.disconnected(session, bench.now());
    bench.settle();
    let (_, verdicts) = bench.connect(1, vec![live(1)]);
    assert_eq!(verdicts, [(live(1), false)], "it may not go on with it");
    assert_eq!(bench.told, [lost, LiveEvent::Room], "told once");
}

#[test]
fn a_worker_that_connects_anew_has_lost_what_it_had() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.place(1, true).unwrap();
    let (_, verdicts) = bench.connect(1, vec![live(1)]);
    assert_eq!(verdicts, [(live(1), false)]);
    assert!(
        matches!(&bench.told[..], [LiveEvent::Lost { attempt, .. }] if *attempt == live(1)),
        "{:?}",
        bench.told
    );
}

#[test]
fn a_silent_worker_loses_live_by_its_lease_and_heartbeats_renew_it() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.place(1, true).unwrap();
    bench.pass(LEASE / 2);
    bench.beat(session, &[live(1)]);
    let renewed = |message: &(SessionId, ToWorker)| matches!(&message.1, ToWorker::LeasesRenewed(renewed) if *renewed == [live(1)]);
    assert!(bench.sent.iter().any(renewed));
    bench.pass(LEASE - Duration::from_secs(1));
    assert_eq!(bench.told, []);
    assert_eq!(bench.state.next_deadline(bench.at), Some(bench.at + Duration::from_secs(1)));
    bench.pass(Duration::from_secs(1));
    assert!(matches!(&bench.told[..], [LiveEvent::Lost { .. }]), "{:?}", bench.told);
    assert!(stopped(&bench, live(1)));
}

#[test]
fn who_leaves_is_told_of_and_what_it_has_goes_on() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.place(1, true).unwrap();
    bench.state.set_draining(worker(1), true, bench.now()).unwrap();
    bench.state.worker_draining(session, bench.now());
    bench.settle();
    let reason = "worker worker-1 was drained by an operator".to_owned();
    assert_eq!(bench.told, [LiveEvent::Leaving { attempt: live(1), worker: worker(1), reason }], "once");
    assert!(!stopped(&bench, live(1)));
    assert!(refusal(bench.place(2, true)).contains("draining"));

    bench.state.preempt_worker(worker(1), "it has to go now", bench.now()).unwrap();
    bench.settle();
    assert_eq!(bench.told[1], LiveEvent::Lost { attempt: live(1), reason: "it has to go now".to_owned() });
    assert!(stopped(&bench, live(1)));
}

#[test]
fn a_worker_is_avoided_while_there_is_another_even_at_a_batch_attempts_price() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.submit(1, 0);
    bench.submit(2, 0);
    bench.connect(2, Vec::new());
    let avoid = |worker| Requirement {
        avoid: std::collections::BTreeSet::from([worker]),
        ..testing::h264(HardwarePolicy::Prefer)
    };
    assert_eq!(bench.place_as(1, avoid(worker(2)), false).unwrap().worker.id, worker(2), "rather than none");
    assert_eq!(bench.place_as(2, avoid(worker(2)), true).unwrap().worker.id, worker(1));
    let running = (1..3).filter(|job| bench.state_of(JobId(Uuid::from_u128(*job))) == JobState::Running);
    assert_eq!(running.count(), 2, "and batch goes where live did not want to");
}

#[test]
fn a_standby_is_placed_nowhere_rather_than_beside_what_it_stands_by() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    bench.place(1, false).unwrap();
    let order = |attempt| LiveOrder {
        stream: StreamId(Uuid::from_u128(1)),
        name: "camera".to_owned(),
        attempt: live(attempt),
        requirement: Requirement {
            class: Class::Live,
            avoid: std::collections::BTreeSet::from([worker(1)]),
            ..testing::h264(HardwarePolicy::Prefer)
        },
        work: Work::Ingest(Ingest { url: "rtsp://camera/".to_owned(), file: false }),
        reads: false,
        only_elsewhere: true,
        preempts: false,
    };
    assert!(matches!(bench.state.place_live(order(2), bench.now()), Err(Error::NoRoom(_))));
    bench.connect(2, Vec::new());
    let placed = bench.state.place_live(order(3), bench.now()).unwrap();
    assert_eq!(placed.worker.id, worker(2));
}

#[test]
fn a_hardware_slot_is_taken_from_batch_before_a_software_one() {
    let mut bench = Bench::new();
    let gpu = testing::gpu_worker(1, 1, Some(1));
    bench.connect_as(gpu.identity, Vec::new());
    let (on_gpu, on_cpu, also) = (bench.submit(1, 0), bench.submit(2, 0), bench.submit(3, 0));
    let placed = bench.place(1, true).unwrap();
    assert_eq!(placed.encoder.as_deref(), Some("h264_nvenc"));
    assert_eq!(bench.state_of(on_gpu), JobState::Queued);
    assert_eq!((bench.state_of(on_cpu), bench.state_of(also)), (JobState::Running, JobState::Running));
    // The device has one session: a refused one lowers nothing below what it has.
    let session = assigned(&bench).unwrap().0;
    bench.fail(session, live(1), FailureKind::SessionLimit, Need::default());
    assert_eq!(bench.state.fleet.get(worker(1)).unwrap().free_sessions(0, bench.at), 0);
}

#[test]
fn a_worker_that_is_too_old_or_cannot_read_the_source_is_told_in_words() {
    let mut bench = Bench::new();
    let mut old = testing::cpu_worker(1).identity;
    old.protocol = LIVE_SINCE - 1;
    bench.connect_as(old, Vec::new());
    let why = refusal(bench.place(1, true));
    assert!(why.contains("worker-1 (speaks protocol 2: update it)"), "{why}");

    let copy = |need: Need| Requirement { need, ..testing::h264(HardwarePolicy::Prefer) };
    let rtsp = || copy(Need { protocols: vec!["rtsp".to_owned()], ..Need::default() });
    let mut able = testing::cpu_worker(2).identity;
    bench.connect_as(able.clone(), Vec::new());
    let why = refusal(bench.place_as(1, rtsp(), true));
    assert_eq!(why, "a worker whose ffmpeg can read from the source: worker-2 (no rtsp)");
    let file = || copy(Need { shared_path: Some("/media/loop.mp4".to_owned()), ..Need::default() });
    let why = refusal(bench.place_as(1, file(), true));
    assert!(why.contains("a shared root (TVARR_SHARED_ROOTS) that /media/loop.mp4 is below"), "{why}");

    able.capabilities.protocols.insert("rtsp".to_owned());
    able.shared_roots.push("/media".to_owned());
    bench.connect_as(able, Vec::new());
    assert_eq!(bench.place_as(1, rtsp(), true).unwrap().worker.id, worker(2));
    assert_eq!(bench.place_as(2, file(), true).unwrap().encoder, None);
}

#[test]
fn a_full_scratch_keeps_nobody_from_live() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    let beat = Beat { not_taking: Some("no room in its scratch".to_owned()), ..Beat::default() };
    bench.state.heartbeat(session, beat, bench.now());
    let job = bench.submit(1, 0);
    assert_eq!(bench.state_of(job), JobState::Queued);
    bench.place(1, true).unwrap();
}

#[test]
fn live_is_shown_with_its_worker() {
    let mut bench = Bench::new();
    let mut gpu = testing::gpu_worker(1, 1, None).identity;
    gpu.capabilities.gpus = vec![Gpu { max_sessions: Some(3), ..gpu.capabilities.gpus[0].clone() }];
    bench.connect_as(gpu, Vec::new());
    bench.place(1, true).unwrap();
    let view = bench.state.worker_view(worker(1), bench.now()).unwrap();
    assert_eq!((view.jobs, view.gpu_jobs, view.live_jobs), (1, 1, 1));
    assert_eq!((view.live.len(), view.running.len()), (1, 0));
    let shown = &view.live[0];
    assert_eq!((shown.profile.as_str(), shown.encoder.as_deref()), ("h264", Some("h264_nvenc")));
}

#[test]
fn who_was_refused_is_told_to_try_again_after_a_while_in_any_case() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        let (session, _) = bench.connect(1, Vec::new());
        bench.state.disconnected(session, bench.now());
        bench.settle();
    }
    bench.connect(1, Vec::new());
    assert!(refusal(bench.place(1, true)).contains("lost its connection 4 times"));
    let next = bench.state.next_deadline(bench.at).unwrap();
    bench.pass(next - bench.at);
    bench.pass(Duration::from_secs(5));
    assert_eq!(room(&bench), 1);
    bench.place(1, true).unwrap();
}
