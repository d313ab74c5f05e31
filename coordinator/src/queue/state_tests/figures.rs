//! What is told to machines: depths, speeds, counts.

use common::{api::WorkerState, metrics::text};
use prometheus_client::registry::Registry;

use super::*;
use crate::{
    fleet::Encoded,
    queue::{Demand, Depth, Line},
};

/// What was counted, line by line.
fn counted(bench: &Bench) -> Vec<String> {
    let mut registry = Registry::default();
    bench.state.metrics.register(&mut registry);
    text(&[&registry]).unwrap().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn has(bench: &Bench, line: &str) {
    let counted = counted(bench);
    assert!(counted.iter().any(|there| there == line), "{line} is not among {counted:#?}");
}

#[test]
fn what_waits_is_told_by_what_it_needs_whose_it_is_and_how_urgent() {
    let mut bench = Bench::new();
    bench.shared = true;
    for n in 1..=4 {
        bench.submit(n, 0);
    }
    bench.pass(Duration::from_secs(7));
    bench.submit(5, 9);
    let figures = bench.state.figures(bench.now());
    assert_eq!(figures.ready.values().map(|depth| depth.tasks).sum::<u64>(), 5);
    assert_eq!((figures.jobs_queued, figures.jobs_running), (5, 0));
    let urgent: Vec<(&Line, &Depth)> = figures.ready.iter().filter(|(line, _)| line.priority == 9).collect();
    assert_eq!(urgent.len(), 1);
    assert_eq!(urgent[0].0.requirement, "h264 prefer");
    assert_eq!((urgent[0].1.tasks, urgent[0].1.oldest), (1, Duration::ZERO));
    let oldest = figures.ready.values().map(|depth| depth.oldest).max();
    assert_eq!(oldest, Some(Duration::from_secs(7)));
}

#[test]
fn what_ends_is_counted_once_however_it_ends() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.submit(1, 0);
    let (_, first) = bench.assigned().unwrap();
    bench.pass(Duration::from_secs(3));
    bench.succeed(session, first);
    bench.submit(2, 0);
    let (_, second) = bench.assigned().unwrap();
    bench.fail(session, second, FailureKind::InvalidInput, Need::default());
    let cancelled = bench.submit(3, 0);
    bench.state.cancel(cancelled, bench.now()).unwrap();
    bench.settle();
    has(&bench, "jobs_submitted_total 3");
    has(&bench, "jobs_finished_total{outcome=\"succeeded\",kind=\"none\"} 1");
    has(&bench, "jobs_finished_total{outcome=\"failed\",kind=\"invalid_input\"} 1");
    has(&bench, "jobs_finished_total{outcome=\"cancelled\",kind=\"cancelled\"} 1");
    has(&bench, "attempts_finished_total{class=\"batch\",outcome=\"failed\",kind=\"invalid_input\"} 1");
    has(&bench, "attempts_finished_total{class=\"batch\",outcome=\"succeeded\",kind=\"none\"} 1");
    has(&bench, "attempts_finished_total{class=\"batch\",outcome=\"cancelled\",kind=\"none\"} 1");
    has(&bench, "attempt_run_seconds_sum{preset=\"h264\",outcome=\"succeeded\"} 3.0");
    has(&bench, "queue_wait_seconds_count 3");
    has(&bench, "publish_seconds_count 1");
    let ended = counted(&bench).into_iter().filter(|line| line.starts_with("tasks_finished_total"));
    assert_eq!(ended.count(), 3, "succeeded, failed, cancelled");
}

#[test]
fn publishing_lasts_until_what_was_made_is_where_the_job_wants_it() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.submit_to(1, 0, Some("s3://there/a/"));
    let (_, attempt) = bench.assigned().unwrap();
    bench.succeed(session, attempt);
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.state.figures(bench.now()).delivering, 1);
    has(&bench, "publish_seconds_count 0");
    bench.deliver(&bench.delivery(), Delivered::Done);
    has(&bench, "publish_seconds_sum 4.0");
    has(&bench, "jobs_finished_total{outcome=\"succeeded\",kind=\"none\"} 1");
    assert_eq!(bench.state.figures(bench.now()).delivering, 0);
}

#[test]
fn a_worker_that_left_gently_is_not_told_of_and_one_that_vanished_is() {
    let mut bench = Bench::new();
    let (leaving, _) = bench.connect(1, Vec::new());
    let (vanishing, _) = bench.connect(2, Vec::new());
    let told = |bench: &Bench| bench.state.figures(bench.now()).workers.len();
    bench.state.worker_draining(leaving, bench.now());
    assert_eq!(told(&bench), 2, "it is still there");
    for session in [leaving, vanishing] {
        bench.state.disconnected(session, bench.now());
    }
    let figures = bench.state.figures(bench.now());
    assert_eq!(figures.workers.iter().map(|worker| worker.state).collect::<Vec<_>>(), [WorkerState::Lost]);
    bench.connect(1, Vec::new());
    assert_eq!(told(&bench), 2, "it came back");
}

fn progress(frames: u64, fps: f64) -> Progress {
    Progress { frames, fps, speed: fps / 25.0, ..Progress::default() }
}

#[test]
fn frames_are_counted_as_workers_tell_of_them_and_none_twice() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.submit(1, 0);
    let (_, attempt) = bench.assigned().unwrap();
    for (frames, fps) in [(100, 50.0), (250, 75.0), (250, 0.0), (240, 10.0), (300, 20.0)] {
        let attempts = vec![(attempt, progress(frames, fps), Vec::new())];
        bench.state.heartbeat(session, Beat { attempts, ..Beat::default() }, bench.now());
    }
    bench.settle();
    let figures = bench.state.figures(bench.now());
    let [worker] = &figures.workers[..] else { panic!("{figures:?}") };
    let what = Encoded::batch("h264", Some("libx264"));
    // A number that fell was another ffmpeg's, or a lie; it gives nothing, and what follows counts from there.
    assert_eq!(worker.frames, [(what.clone(), 310)]);
    assert_eq!(worker.running[&what], (20.0, 0.8));
    let result = AttemptResult::Succeeded {
        outputs: Vec::new(),
        warnings: Vec::new(),
        progress: progress(325, 0.0),
        damage: None,
    };
    bench.state.attempt_finished(session, attempt, result, Vec::new(), bench.now());
    bench.settle();
    let worker = &bench.state.figures(bench.now()).workers[0];
    assert_eq!((worker.frames[0].1, worker.completed), (335, 1));
    assert!(worker.running.is_empty());
}

#[test]
fn live_work_is_counted_as_such() {
    let mut bench = Bench::new();
    let (session, _) = bench.connect(1, Vec::new());
    bench.place(1, false).unwrap();
    let attempts = vec![(live(1), progress(60, 30.0), Vec::new())];
    bench.state.heartbeat(session, Beat { attempts, ..Beat::default() }, bench.now());
    let worker = &bench.state.figures(bench.now()).workers[0];
    assert_eq!(worker.frames, [(Encoded::live("h264", Some("libx264")), 60)]);
    assert_eq!((worker.used.live_jobs, worker.used.batch_jobs), (1, 0));
    bench.end_live(1);
    has(&bench, "attempts_finished_total{class=\"live\",outcome=\"cancelled\",kind=\"none\"} 1");
}

#[test]
fn workers_of_one_name_are_told_apart() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    for number in [2, 3] {
        let identity = Identity { name: "box".to_owned(), ..testing::cpu_worker(number).identity };
        bench.connect_as(identity, Vec::new());
    }
    let figures = bench.state.figures(bench.now());
    let names: Vec<&str> = figures.workers.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["worker-1", "box 000000000002", "box 000000000003"]);
}

#[test]
fn an_autoscaler_is_told_of_what_waits_and_of_what_runs() {
    let mut bench = Bench::new();
    bench.connect(1, Vec::new());
    for n in 1..=5 {
        bench.submit(n, 0);
    }
    assert_eq!(bench.assignments().len(), 2);
    let demand = |demand: Demand| bench.state.demand(&demand);
    assert_eq!(demand(Demand::default()), 5);
    let only = |policy| Demand { policies: vec![policy], ..Demand::default() };
    assert_eq!(demand(only(HardwarePolicy::Prefer)), 5);
    assert_eq!(demand(only(HardwarePolicy::Require)), 0);
    assert_eq!(demand(Demand { presets: vec!["hevc".to_owned()], ..Demand::default() }), 0);
    let berlin = [("site".to_owned(), "berlin".to_owned())].into();
    assert_eq!(
        demand(Demand { labels: berlin, ..Demand::default() }),
        5,
        "a task that wants no label is for all"
    );
}
