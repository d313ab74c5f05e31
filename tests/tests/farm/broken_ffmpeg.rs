//! An ffmpeg that hangs, lies, crashes or makes noise: what becomes of the attempt, how it is named, and that nothing is
//! left of it.

use std::path::Path;

use common::{
    api::{AttemptState, InputRef, JobState},
    failure::FailureKind::{self, *},
};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    clip,
    wait::{self, seconds},
};

use crate::{
    course::{assert_whole, tried},
    fakes,
};

/// What goes wrong in the first run, and the kind that it is given.
const ONCE: [(&str, FailureKind); 9] = [
    ("hangs-before", Stalled),
    ("hangs-after", Stalled),
    ("ignores-signals", Stalled),
    ("says-nothing-was-wrong", OutputWrong),
    ("writes-garbage", OutputWrong),
    ("writes-half", OutputWrong),
    ("crashes", Crashed),
    ("fails", Crashed),
    ("finds-the-disk-full", DiskFull),
];
/// What is no failure at all.
const HARMLESS: [&str; 2] = ["floods-stderr", "leaves-a-child"];

fn faulty(folder: &Path, fault: &str, runs: &[u32]) -> WorkerSpec {
    let faulty = fakes::ffmpeg_with_fault(&folder.join(fault), fault, runs);
    WorkerSpec::new(fault).labels(&format!("fault={fault}")).jobs(1).ffmpeg(&faulty.program)
}

/// A job that only the worker with this fault may take.
async fn submit(farm: &Farm, fault: &str) -> common::id::JobId {
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let mut request = request(InputRef::Upload(upload.id), "proxy");
    request.labels.insert("fault".into(), fault.into());
    farm.api.submit(&request).await.summary.id
}

#[tokio::test]
async fn whatever_ffmpeg_does_once_is_named_and_the_next_attempt_makes_up_for_it() {
    let fakes = tempfile::tempdir().unwrap();
    let mut builder = Farm::builder().env("TVARR_STALL_TIMEOUT", "3s");
    for (fault, _) in ONCE {
        builder = builder.worker(faulty(fakes.path(), fault, &[1]));
    }
    let farm = builder.start().await;
    let mut jobs = Vec::new();
    for (fault, kind) in ONCE {
        jobs.push((fault, kind, submit(&farm, fault).await));
    }
    for (fault, kind, job) in jobs {
        let view = farm.succeeded(job).await;
        assert_eq!(
            tried(&view),
            [(fault, AttemptState::Failed, Some(kind)), (fault, AttemptState::Succeeded, None)],
            "{view:#?}"
        );
        assert_whole(&farm, &view, 52).await;
    }
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn noise_and_children_that_stay_do_no_harm() {
    let fakes = tempfile::tempdir().unwrap();
    let mut builder = Farm::builder();
    for fault in HARMLESS {
        builder = builder.worker(faulty(fakes.path(), fault, &[]));
    }
    let farm = builder.start().await;
    let mut jobs = Vec::new();
    for fault in HARMLESS {
        jobs.push((fault, submit(&farm, fault).await));
    }
    for (fault, job) in jobs {
        let view = farm.succeeded(job).await;
        assert_eq!(tried(&view), [(fault, AttemptState::Succeeded, None)], "{view:#?}");
        assert_whole(&farm, &view, 52).await;
    }
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn what_ignores_every_signal_is_gone_after_a_cancel_and_so_is_its_child() {
    let fakes = tempfile::tempdir().unwrap();
    let farm = Farm::builder().worker(faulty(fakes.path(), "ignores-signals", &[])).start().await;
    let job = submit(&farm, "ignores-signals").await;
    wait::until(seconds(60), "ffmpeg and its child to run", || async {
        (farm.ffmpegs().len() == 1 && farm.processes().len() >= 5).then_some(())
    })
    .await;
    farm.api.cancel(job).await.unwrap();
    // The coordinator and the worker.
    wait::until(seconds(10), "every process of the attempt to go", || async {
        (farm.processes().len() == 2).then_some(())
    })
    .await;
    assert_eq!(farm.finished(job).await.summary.state, JobState::Cancelled);
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_job_past_its_time_limit_fails_at_once_and_for_good() {
    let fakes = tempfile::tempdir().unwrap();
    let farm = Farm::builder().worker(faulty(fakes.path(), "takes-long", &[])).start().await;
    let upload = farm.api.upload(&clip("bikes-2min.mp4")).await;
    let mut request = request(InputRef::Upload(upload.id), "proxy");
    request.time_limit_seconds = Some(2);
    let job = farm.api.submit(&request).await.summary.id;
    let view = farm.finished(job).await;
    assert_eq!(view.summary.state, JobState::Failed, "{view:#?}");
    assert_eq!(view.summary.failure.as_ref().unwrap().kind, TimeLimit);
    assert_eq!(attempts(&view).count(), 1);
    farm.no_ffmpeg().await;
    farm.books_in_order().await;
    farm.stop().await;
}
