//! Who is to blame: the worker whose tasks succeed elsewhere, or the task that fails everywhere.

use common::{
    api::{JobState, WorkerState},
    failure::FailureKind,
};
use e2e::{Farm, WorkerSpec, api::attempts, clip, ctl::Desk};

use crate::fakes;

#[tokio::test]
async fn a_worker_that_always_fails_costs_no_job_and_is_quarantined() {
    let fakes = tempfile::tempdir().unwrap();
    let broken = fakes::ffmpeg_with_fault(&fakes.path().join("broken"), "crashes", &[]);
    let mut farm = Farm::builder()
        .worker(WorkerSpec::new("broken").ffmpeg(&broken.program))
        .worker(WorkerSpec::new("sound"))
        .start()
        .await;
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(farm.submit(&clip("bikes-2s.mp4"), "proxy").await);
    }
    for job in jobs {
        let view = farm.succeeded(job).await;
        assert_eq!(view.summary.worker.unwrap().name, "sound");
    }
    assert!(broken.runs() > 1, "the broken worker was hardly asked");
    farm.worker_becomes("broken", WorkerState::Quarantined).await;
    let shown = Desk::at(&farm.api.base).run(&["workers", "show", "broken"]).await;
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("tasks fail here (crashed) that succeed elsewhere"), "{}", shown.stdout);
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_task_that_crashes_on_two_workers_is_a_dead_letter_and_can_be_redriven() {
    let fakes = tempfile::tempdir().unwrap();
    let one = fakes::ffmpeg_with_fault(&fakes.path().join("one"), "crashes", &[]);
    let two = fakes::ffmpeg_with_fault(&fakes.path().join("two"), "crashes", &[]);
    let mut farm = Farm::builder()
        .worker(WorkerSpec::new("one").ffmpeg(&one.program))
        .worker(WorkerSpec::new("two").ffmpeg(&two.program))
        .start()
        .await;
    let job = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    let view = farm.finished(job).await;
    let failure = view.summary.failure.clone().unwrap();
    assert_eq!((view.summary.state, failure.kind), (JobState::Dead, FailureKind::Crashed), "{view:#?}");
    assert!(failure.message.contains("two workers"), "{failure}");
    assert_eq!(attempts(&view).count(), 2, "no third try");
    for worker in farm.api.workers().await {
        assert_eq!(worker.state, WorkerState::Online, "{}: the task was at fault", worker.name);
    }

    let desk = Desk::at(&farm.api.base);
    let listed = desk.run(&["jobs", "ls", "--state", "dead", "--kind", "crashed"]).await;
    assert!(listed.stdout.contains("dead"), "{}\n{}", listed.stdout, listed.stderr);
    for broken in ["one", "two"] {
        let worker = farm.api.worker(broken).await.id;
        farm.api.drain(worker).await;
    }
    farm.start_worker(WorkerSpec::new("sound")).await;
    let none = desk.run(&["jobs", "ls", "--text", "holiday"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{}", none.stderr);
    let redriven = desk.run(&["jobs", "redrive", "--kind", "crashed", "--text", "BIKES"]).await;
    assert_eq!(redriven.code, 0, "{}", redriven.stderr);
    farm.succeeded(job).await;
    farm.books_in_order().await;
    farm.stop().await;
}
