use common::{
    id::{Epoch, JobId, TaskId},
    media::EncoderFamily,
    spec::Spec,
};

use super::*;
use crate::run::{Batch, Input, LiveTask, Location, Work};

const LEASE: Duration = Duration::from_secs(10);

struct Bench {
    state: State,
    now: Instant,
}

fn bench() -> Bench {
    let capacity = Capacity { max_jobs: 3, max_gpu_jobs: 1, max_cpu_jobs: 2 };
    let mut bench = Bench { state: State::new(capacity, false), now: Instant::now() };
    bench.connect(&[]);
    bench
}

impl Bench {
    fn apply(&mut self, event: Event) -> Vec<Effect> {
        self.state.apply(event, self.now)
    }

    fn connect(&mut self, kept: &[AttemptId]) -> Vec<Effect> {
        let lease = Some(Lease { length: LEASE });
        self.apply(Event::Connected(Terms { asked: self.now, lease, kept: kept.to_vec() }))
    }

    fn assign(&mut self, slot: Slot) -> (AttemptId, Vec<Effect>) {
        let id = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
        (id, self.assign_as(id, slot))
    }

    fn assign_as(&mut self, id: AttemptId, slot: Slot) -> Vec<Effect> {
        self.apply(Event::Assigned(Box::new(assignment(id, slot)), self.now))
    }

    fn running(&mut self, slot: Slot) -> AttemptId {
        let (id, effects) = self.assign(slot);
        assert!(matches!(effects.as_slice(), [Effect::Start(_)]), "{effects:?}");
        id
    }

    fn end(&mut self, id: AttemptId, ending: Ending) -> Vec<Effect> {
        self.apply(Event::Ended(id, ending, Vec::new()))
    }
}

fn assignment(attempt: AttemptId, slot: Slot) -> Assignment {
    let name = match slot {
        Slot::Gpu => "h264_nvenc",
        Slot::Cpu => "libx264",
    };
    let spec: Spec = serde_json::from_str(r#"{"kind":"file","container":"mp4"}"#).unwrap();
    Assignment {
        job: JobId::new(),
        attempt,
        preset: "h264".to_owned(),
        encoder: Some(common::ffmpeg::EncoderChoice {
            name: name.to_owned(),
            family: EncoderFamily::of_encoder(name),
            device: None,
            nvenc_preset: None,
        }),
        input: "x".to_owned(),
        work: Work::Batch(Box::new(Batch {
            spec,
            inputs: vec![Input {
                location: Location::Url("/x".to_owned()),
                name: "x".to_owned(),
                grows: false,
            }],
            stall: None,
            time_limit: None,
            on_damaged_input: Default::default(),
        })),
    }
}

fn success() -> Ending {
    Ending::Succeeded { outputs: Vec::new(), warnings: Vec::new(), progress: Box::default(), damage: None }
}

/// The kinds of the failures that are told; `ok` for a success.
fn told(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(proto::WorkerMessage { message: Some(Message::AttemptFinished(finished)) }) => {
                match finished.result.as_ref().unwrap() {
                    proto::attempt_finished::Result::Succeeded(_) => Some("ok".to_owned()),
                    proto::attempt_finished::Result::Failed(failed) => Some(failed.kind.clone()),
                }
            }
            Effect::Send(_) | Effect::Start(_) | Effect::Stop(..) => None,
        })
        .collect()
}

#[test]
fn a_worker_never_runs_more_than_it_declared() {
    let mut bench = bench();
    bench.running(Slot::Gpu);
    let (_, effects) = bench.assign(Slot::Gpu);
    assert_eq!(told(&effects), ["handed_back"]);
    bench.running(Slot::Cpu);
    bench.running(Slot::Cpu);
    assert_eq!(told(&bench.assign(Slot::Cpu).1), ["handed_back"]);
}

#[test]
fn an_attempt_that_is_being_stopped_leaves_its_slot_to_the_next() {
    let mut bench = bench();
    let id = bench.running(Slot::Gpu);
    let stop = bench.apply(Event::StopAsked(id, "cancelled".to_owned()));
    assert_eq!(stop, [Effect::Stop(id, Why::Told("cancelled".to_owned()))]);
    bench.running(Slot::Gpu);
    assert_eq!(told(&bench.end(id, Ending::Stopped)), ["cancelled"]);
    assert!(!bench.state.unacknowledged().iter().any(|attempt| attempt.task_id == id.task.to_string()));
}

#[test]
fn a_result_is_told_again_until_it_is_acknowledged() {
    let mut bench = bench();
    let id = bench.running(Slot::Cpu);
    bench.apply(Event::Disconnected);
    assert_eq!(bench.end(id, success()), []);
    assert_eq!(bench.state.unacknowledged().len(), 1);
    assert_eq!(told(&bench.connect(&[id])), ["ok"]);
    let reported: Vec<AttemptId> = bench.state.reported().into_iter().map(|(id, _)| id).collect();
    assert_eq!(reported, [id], "its lease is renewed while the coordinator looks at its files");
    bench.apply(Event::Disconnected);
    assert_eq!(told(&bench.connect(&[id])), ["ok"]);
    bench.apply(Event::Acknowledged(id));
    assert!(bench.state.unacknowledged().is_empty());
    assert_eq!(bench.state.reported(), []);
    assert_eq!(bench.connect(&[]), []);
}

#[test]
fn what_the_coordinator_does_not_keep_is_stopped_and_forgotten() {
    let mut bench = bench();
    let (kept, lost, ended) = (bench.running(Slot::Cpu), bench.running(Slot::Gpu), bench.running(Slot::Cpu));
    bench.apply(Event::Disconnected);
    bench.end(ended, success());
    assert_eq!(bench.connect(&[kept]), [Effect::Stop(lost, Why::Lost)]);
    assert_eq!(bench.end(lost, Ending::Stopped), []);
    assert_eq!(bench.state.unacknowledged().len(), 1);
}

#[test]
fn ffmpeg_that_started_while_nobody_listened_is_told_later() {
    let mut bench = bench();
    let id = bench.running(Slot::Cpu);
    bench.apply(Event::Disconnected);
    assert_eq!(bench.apply(Event::Started(id, proto::AttemptStarted::default())), []);
    let effects = bench.connect(&[id]);
    assert!(
        matches!(
            effects.as_slice(),
            [Effect::Send(proto::WorkerMessage { message: Some(Message::AttemptStarted(_)) })]
        ),
        "{effects:?}"
    );
}

#[test]
fn an_attempt_ends_with_its_lease_also_without_a_coordinator() {
    let mut bench = bench();
    let (renewed, lost) = (bench.running(Slot::Cpu), bench.running(Slot::Cpu));
    bench.now += LEASE / 2;
    bench.state.heartbeat(bench.now);
    bench.apply(Event::Renewed(vec![renewed]));
    bench.apply(Event::Disconnected);
    assert_eq!(bench.state.next_lease_end(), Some(bench.now + LEASE * 3 / 10));
    bench.now += LEASE * 3 / 10;
    assert_eq!(bench.apply(Event::Tick), [Effect::Stop(lost, Why::Lost)]);
    assert_eq!(bench.state.running(), [renewed]);
}

#[test]
fn a_renewal_counts_from_when_it_was_asked_for() {
    let mut bench = bench();
    let id = bench.running(Slot::Cpu);
    for _ in 0..2 {
        bench.now += LEASE / 5;
        bench.state.heartbeat(bench.now);
    }
    // The process was stopped while the answers lay in its socket.
    let first = bench.now - LEASE / 5;
    bench.now += LEASE / 2;
    bench.apply(Event::Renewed(vec![id]));
    assert_eq!(bench.state.next_lease_end(), Some(first + LEASE * 4 / 5));
    bench.apply(Event::Renewed(vec![id]));
    assert_eq!(bench.state.next_lease_end(), Some(first + LEASE));
    bench.apply(Event::Renewed(vec![id]));
    assert_eq!(bench.state.next_lease_end(), Some(first + LEASE), "nobody asked for this one");
}

#[test]
fn a_renewal_that_comes_after_the_lease_revives_nothing() {
    let mut bench = bench();
    let id = bench.running(Slot::Cpu);
    bench.state.heartbeat(bench.now);
    bench.now += LEASE;
    assert_eq!(bench.apply(Event::Renewed(vec![id])), [Effect::Stop(id, Why::Lost)]);
}

#[test]
fn a_session_is_answered_from_its_hello_on() {
    let mut bench = bench();
    let id = bench.running(Slot::Cpu);
    bench.state.heartbeat(bench.now);
    bench.apply(Event::Disconnected);
    let asked = bench.now + LEASE / 5;
    bench.now += LEASE / 2;
    let terms = Terms { asked, lease: Some(Lease { length: LEASE }), kept: vec![id] };
    bench.apply(Event::Connected(terms));
    assert_eq!(bench.state.next_lease_end(), Some(asked + LEASE * 4 / 5));
    bench.apply(Event::Renewed(vec![id]));
    assert_eq!(bench.state.next_lease_end(), Some(asked + LEASE * 4 / 5), "that was the old session's");
}

#[test]
fn an_assignment_that_lay_for_too_long_is_handed_back() {
    let mut bench = bench();
    let sent = bench.now;
    bench.now += LEASE;
    let id = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    let effects = bench.apply(Event::Assigned(Box::new(assignment(id, Slot::Cpu)), sent));
    assert_eq!(told(&effects), ["handed_back"]);

    bench.connect(&[]);
    let id = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    let effects = bench.apply(Event::Assigned(Box::new(assignment(id, Slot::Cpu)), sent));
    assert!(matches!(effects.as_slice(), [Effect::Start(_)]), "no session says anything before it begins");
}

#[test]
fn a_worker_that_takes_nothing_hands_back_and_finishes_what_it_has() {
    let mut bench = bench();
    let id = bench.running(Slot::Cpu);
    assert!(bench.state.set_not_taking(Some("no room".to_owned())));
    assert!(!bench.state.set_not_taking(Some("still no room".to_owned())));
    assert_eq!(bench.state.not_taking(), "still no room");
    assert_eq!(told(&bench.assign(Slot::Cpu).1), ["handed_back"]);
    assert_eq!(told(&bench.end(id, success())), ["ok"]);
    assert!(bench.state.set_not_taking(None));
    assert_eq!(bench.state.not_taking(), "");
    bench.running(Slot::Cpu);
}

#[test]
fn a_newer_epoch_ends_the_older_attempt() {
    let mut bench = bench();
    let old = bench.running(Slot::Cpu);
    let new = AttemptId { epoch: Epoch(2), ..old };
    let effects = bench.assign_as(new, Slot::Cpu);
    assert!(
        matches!(effects.as_slice(), [Effect::Stop(id, Why::Lost), Effect::Start(_)] if *id == old),
        "{effects:?}"
    );
    assert_eq!(bench.assign_as(new, Slot::Cpu), [], "the same once more changes nothing");
}

#[test]
fn a_leaving_worker_finishes_what_it_has_and_takes_nothing_new() {
    let mut bench = bench();
    let id = bench.running(Slot::Cpu);
    let effects = bench.apply(Event::Leave("bye".to_owned()));
    assert!(matches!(
        effects.as_slice(),
        [Effect::Send(proto::WorkerMessage { message: Some(Message::Draining(_)) })]
    ));
    assert_eq!(told(&bench.assign(Slot::Cpu).1), ["handed_back"]);
    assert!(!bench.state.is_quiet());
    bench.end(id, success());
    assert!(bench.state.is_quiet() && !bench.state.is_done(), "the result is not acknowledged yet");
    let left: Vec<AttemptId> = bench.state.attempts.keys().copied().collect();
    for id in left {
        bench.apply(Event::Acknowledged(id));
    }
    assert!(bench.state.is_done());
    assert_eq!(bench.state.unfinished(), 0);
}

#[test]
fn what_is_not_finished_in_time_is_handed_back() {
    let mut bench = bench();
    let (slow, quick) = (bench.running(Slot::Cpu), bench.running(Slot::Gpu));
    bench.apply(Event::HandBack);
    assert_eq!(told(&bench.end(quick, success())), ["ok"], "it was done before it could be stopped");
    assert_eq!(told(&bench.end(slow, Ending::Stopped)), ["handed_back"]);
    bench.apply(Event::Acknowledged(quick));
    bench.apply(Event::Acknowledged(slow));
    assert!(bench.state.is_done());
    assert_eq!(bench.state.unfinished(), 1);
}

#[test]
fn an_idle_worker_leaves_once_nothing_is_left() {
    let mut bench = bench();
    bench.state.exit_when_idle = true;
    let id = bench.running(Slot::Cpu);
    bench.apply(Event::Idle);
    assert!(!bench.state.is_leaving());
    bench.end(id, success());
    assert!(!bench.state.is_leaving());
    bench.apply(Event::Acknowledged(id));
    assert!(bench.state.is_done());
}

#[test]
fn a_failure_that_is_tried_again_is_work_that_is_left() {
    let mut bench = bench();
    bench.state.exit_when_idle = true;
    let id = bench.running(Slot::Cpu);
    bench.apply(Event::Idle);
    bench.end(id, Failure::new(FailureKind::Crashed, "x").into());
    bench.apply(Event::Acknowledged(id));
    assert!(!bench.state.is_leaving());
    bench.apply(Event::Idle);
    assert!(bench.state.is_done());
}

#[test]
fn messages_about_unknown_attempts_change_nothing() {
    let mut bench = bench();
    let id = AttemptId { task: TaskId::new(), epoch: Epoch(9) };
    for event in [
        Event::StopAsked(id, String::new()),
        Event::Acknowledged(id),
        Event::Renewed(vec![id]),
        Event::Started(id, proto::AttemptStarted::default()),
        Event::Ended(id, success(), Vec::new()),
    ] {
        assert_eq!(bench.apply(event), []);
    }
    let failure = Failure::new(FailureKind::InvalidSpec, "odd");
    assert_eq!(told(&bench.apply(Event::Unusable(id, failure))), ["invalid_spec"]);
}

impl Bench {
    fn running_live(&mut self) -> AttemptId {
        self.running_live_as(AttemptId { task: TaskId::new(), epoch: Epoch(1) })
    }

    fn running_live_as(&mut self, id: AttemptId) -> AttemptId {
        let slate = common::live::Slate { width: 640, height: 360, frame_rate: (25, 1), text: String::new() };
        let task = LiveTask {
            work: common::live::Work::Slate(slate),
            input_url: None,
            output_url: "/live/output".to_owned(),
        };
        let assignment = Assignment { work: Work::Live(Box::new(task)), ..assignment(id, Slot::Cpu) };
        let effects = self.apply(Event::Assigned(Box::new(assignment), self.now));
        assert!(matches!(effects.as_slice(), [Effect::Start(_)]), "{effects:?}");
        id
    }
}

#[test]
fn attempts_of_a_live_variant_run_side_by_side() {
    let mut bench = bench();
    let before = bench.running_live();
    let next = bench.running_live_as(AttemptId { epoch: Epoch(2), ..before });
    assert_eq!(bench.state.running(), [before, next]);
}

#[test]
fn live_work_is_taken_where_there_is_no_scratch() {
    let mut bench = bench();
    bench.state.set_not_taking(Some("no room".to_owned()));
    bench.running_live();
    assert_eq!(told(&bench.assign(Slot::Cpu).1), ["handed_back"]);
}

#[test]
fn live_work_ends_with_the_session() {
    let mut bench = bench();
    let (live, batch) = (bench.running_live(), bench.running(Slot::Cpu));
    assert_eq!(bench.apply(Event::Disconnected), [Effect::Stop(live, Why::Lost)]);
    let told: Vec<_> = bench.state.unacknowledged().into_iter().map(|one| one.task_id).collect();
    assert_eq!(told, [batch.task.to_string()]);
    assert_eq!(bench.end(live, Ending::Stopped), [], "nobody wants to hear of it");
    assert_eq!(bench.state.running(), [batch]);
}

#[test]
fn a_live_result_that_nobody_acknowledged_is_not_told_again() {
    let mut bench = bench();
    let live = bench.running_live();
    bench.end(live, success());
    bench.apply(Event::Disconnected);
    assert_eq!(bench.state.unacknowledged(), []);
}

#[test]
fn live_work_goes_on_while_the_worker_drains() {
    let mut bench = bench();
    let live = bench.running_live();
    let effects = bench.apply(Event::Leave("bye".to_owned()));
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Send(_))), "{effects:?}");
    assert_eq!(bench.state.running(), [live]);
    bench.apply(Event::StopAsked(live, "moved".to_owned()));
    bench.end(live, Ending::Stopped);
    assert!(bench.state.is_done());
}
