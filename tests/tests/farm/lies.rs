//! A worker that lies: about what it can do, what it made, and whose it is. A test says what it says, see
//! [`e2e::liar::Liar`].

use common::{
    api::{AttemptState, InputRef, JobState, WorkerState},
    failure::FailureKind,
    id::{JobId, WorkerId},
    proto::RunningAttempt,
};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    books, clip,
    liar::{self, Liar, file},
    wait::seconds,
};
use sha2::{Digest, Sha256};
use tonic::Code;

use crate::course::{assert_whole, slow_worker, tried};

const LIE: &str = "this is no video";

fn digest(bytes: &[u8]) -> String {
    books::hex(&Sha256::digest(bytes))
}

/// Jobs that only the liar may take, which has the label `only=liar`... until an honest worker carries it too.
async fn submit(farm: &Farm) -> JobId {
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    farm.api.submit(&request(InputRef::Upload(upload.id), "proxy")).await.summary.id
}

/// An honest worker comes, and the job ends well and in order.
async fn ends_well_with_an_honest_worker(mut farm: Farm, job: JobId) {
    farm.start_worker(WorkerSpec::new("honest")).await;
    let view = farm.succeeded(job).await;
    let tried = tried(&view);
    assert_eq!(tried.last(), Some(&("honest", AttemptState::Succeeded, None)), "{tried:?}");
    assert_eq!(
        tried.iter().filter(|(_, state, _)| *state == AttemptState::Succeeded).count(),
        1,
        "{tried:?}"
    );
    assert_whole(&farm, &view, 52).await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_success_without_files_or_with_wrong_ones_is_published_by_nobody() {
    let farm = Farm::builder().start().await;
    let mut liar = Liar::join(&farm, "liar", 1).await;
    let job = submit(&farm).await;
    // One attempt is all that this worker gets to lie in: each lie ends it.
    let first = liar.assigned().await;
    liar.started(&first).await;
    liar.claims(&first.task_id, first.epoch, Vec::new()).await;
    let view = farm.api.job(job).await;
    assert_ne!(view.summary.state, JobState::Succeeded, "published without any file: {view:#?}");

    let second = liar.assigned().await;
    assert!(second.epoch > first.epoch);
    let never = file("bikes-2s.mp4", 16, &digest(LIE.as_bytes()));
    liar.claims(&second.task_id, second.epoch, vec![never]).await;
    let view = farm.api.job(job).await;
    assert_ne!(view.summary.state, JobState::Succeeded, "published what was never uploaded: {view:#?}");
    drop(liar);
    let failures: Vec<_> = attempts(&view).filter_map(|attempt| attempt.failure.clone()).collect();
    assert_eq!(failures.len(), 2, "{view:#?}");
    for failure in &failures {
        assert!(matches!(failure.kind, FailureKind::OutputWrong | FailureKind::UploadFailed), "{failures:?}");
    }
    farm.api.cancel(job).await.ok();
    farm.finished(job).await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_wrong_size_or_digest_is_found_before_it_is_published() {
    let farm = Farm::builder().start().await;
    let mut liar = Liar::join(&farm, "liar", 1).await;
    let job = submit(&farm).await;
    let bytes = LIE.as_bytes().to_vec();
    let size = bytes.len() as u64;

    let assign = liar.assigned().await;
    let honest = file("bikes-2s.mp4", size, &digest(&bytes));
    let urls = liar.open_uploads(&assign.task_id, assign.epoch, std::slice::from_ref(&honest)).await.unwrap();
    // Not what was announced: another length, or other bytes of the same length.
    assert!(liar.put(&urls[0], vec![b'x'; bytes.len() + 1]).await >= 400, "a longer body was taken");
    let other = liar.put(&urls[0], vec![b'x'; bytes.len()]).await;
    if other < 300 {
        let answer = liar.claims(&assign.task_id, assign.epoch, vec![honest]).await;
        let view = farm.api.job(job).await;
        assert_ne!(
            view.summary.state,
            JobState::Succeeded,
            "other bytes were published: {answer:?} {view:#?}"
        );
    } else {
        assert_eq!(liar.put(&urls[0], bytes).await / 100, 2, "the right bytes were refused afterwards");
        let wrong = file("bikes-2s.mp4", size, &digest(b"something else"));
        liar.claims(&assign.task_id, assign.epoch, vec![wrong]).await;
        let view = farm.api.job(job).await;
        assert_ne!(view.summary.state, JobState::Succeeded, "a wrong digest was published: {view:#?}");
    }
    drop(liar);
    ends_well_with_an_honest_worker(farm, job).await;
}

#[tokio::test]
async fn what_belongs_to_another_worker_is_out_of_reach() {
    let fakes = tempfile::tempdir().unwrap();
    let farm = Farm::builder().worker(slow_worker("victim", fakes.path())).start().await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    let view = farm.encoding(job).await;
    let (task, epoch) = (view.tasks[0].id.to_string(), view.tasks[0].epoch.0);

    // Among what it runs there is the victim's attempt.
    let mut hello = liar::hello("thief", WorkerId::new(), 4);
    hello.running = vec![RunningAttempt { task_id: task.clone(), epoch }];
    let mut thief = Liar::say_hello(&farm, hello).await.unwrap();
    assert!(!thief.welcome.verdicts[0].keep, "a worker adopted another's attempt");
    thief.beat(&[RunningAttempt { task_id: task.clone(), epoch }]).await;

    let output = file("bikes.mp4", 3, &digest(b"abc"));
    for epoch in [epoch, epoch + 1, epoch.saturating_sub(1)] {
        let refused = thief
            .open_uploads(&task, epoch, std::slice::from_ref(&output))
            .await
            .expect_err("uploads were opened");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        let answer = thief.claims(&task, epoch, vec![output.clone()]).await;
        assert!(!answer.accepted && !answer.reason.is_empty(), "{answer:?}");
        let answer = thief.fails(&task, epoch, "invalid_input").await;
        assert!(!answer.accepted, "{answer:?}");
    }
    let view = farm.succeeded(job).await;
    assert_eq!(tried(&view), [("victim", AttemptState::Succeeded, None)]);
    assert_whole(&farm, &view, 250).await;
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn paths_out_of_the_attempts_own_folder_are_refused() {
    let farm = Farm::builder().start().await;
    let mut liar = Liar::join(&farm, "liar", 1).await;
    let job = submit(&farm).await;
    let assign = liar.assigned().await;
    for path in ["../2/a.mp4", "/etc/passwd", "a/../../b.mp4", "", "a\0b", "./.."] {
        let refused =
            liar.open_uploads(&assign.task_id, assign.epoch, &[file(path, 3, &digest(b"abc"))]).await;
        assert!(refused.is_err(), "{path:?} was taken: {refused:?}");
    }
    let right = file("a.mp4", 3, &digest(b"abc"));
    let url = liar.open_uploads(&assign.task_id, assign.epoch, &[right]).await.unwrap().remove(0);
    let elsewhere = url.replacen("a.mp4", "b.mp4", 1);
    assert_eq!(liar.put(&elsewhere, b"abc".to_vec()).await, 403, "a URL was signed for another object");
    drop(liar);
    ends_well_with_an_honest_worker(farm, job).await;
}

#[tokio::test]
async fn a_completion_that_comes_twice_or_late_changes_nothing() {
    let farm = Farm::builder().env("TVARR_DISCONNECT_GRACE", "500ms").start().await;
    let mut liar = Liar::join(&farm, "liar", 1).await;
    let job = submit(&farm).await;
    let assign = liar.assigned().await;
    let bytes = std::fs::read(clip("bikes-2s.mp4")).unwrap();
    let output = file("bikes-2s.mp4", bytes.len() as u64, &digest(&bytes));
    let urls = liar.open_uploads(&assign.task_id, assign.epoch, std::slice::from_ref(&output)).await.unwrap();
    assert_eq!(liar.put(&urls[0], bytes).await / 100, 2);
    let first = liar.claims(&assign.task_id, assign.epoch, vec![output.clone()]).await;
    assert!(first.accepted, "{first:?}");
    let before = farm.succeeded(job).await;
    for _ in 0..3 {
        let again = liar.claims(&assign.task_id, assign.epoch, vec![output.clone()]).await;
        assert!(!again.accepted && !again.reason.is_empty(), "{again:?}");
        let failed = liar.fails(&assign.task_id, assign.epoch, "crashed").await;
        assert!(!failed.accepted, "{failed:?}");
    }
    let after = farm.api.job(job).await;
    assert_eq!(serde_json::to_value(&after).unwrap(), serde_json::to_value(&before).unwrap());

    // Of a job that was cancelled.
    let cancelled = submit(&farm).await;
    let assign = liar.assigned().await;
    farm.api.cancel(cancelled).await.unwrap();
    let late = liar.claims(&assign.task_id, assign.epoch, vec![output.clone()]).await;
    assert!(!late.accepted, "{late:?}");
    assert_eq!(farm.finished(cancelled).await.summary.state, JobState::Cancelled);
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn an_impostor_with_a_workers_id_costs_an_attempt_at_most() {
    let fakes = tempfile::tempdir().unwrap();
    let mut farm = Farm::builder().worker(slow_worker("real", fakes.path())).start().await;
    let job = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(job).await;
    let id = farm.api.worker("real").await.id;
    let mut impostor = Liar::say_hello(&farm, liar::hello("real", id, 2)).await.unwrap();
    // The real one connects again and has it thrown out.
    impostor.ended().await;
    farm.registered("real").await;
    let view = farm.succeeded(job).await;
    let tried = tried(&view);
    assert_eq!(
        tried.iter().filter(|(_, state, _)| *state == AttemptState::Succeeded).count(),
        1,
        "{tried:?}"
    );
    assert!(tried.len() <= 3, "{tried:?}");
    assert_whole(&farm, &view, 250).await;
    assert_eq!(farm.api.workers().await.len(), 1);
    farm.books_in_order().await;
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_that_claims_more_than_it_does_keeps_no_job() {
    let mut farm = Farm::builder().env("TVARR_LEASE", "2s").start().await;
    // No such capacity, or none at all, is taken from anybody.
    for jobs in [0, 1_000_000] {
        let refused = Liar::say_hello(&farm, liar::hello("braggart", WorkerId::new(), jobs)).await;
        assert_eq!(refused.expect_err("it was welcomed").code(), Code::InvalidArgument);
    }
    let mut braggart = Liar::join(&farm, "braggart", 1000).await;
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(submit(&farm).await);
    }
    let assigned = braggart.all_assigned(8).await;
    // It beats, and names none of what it was given: their leases run out.
    farm.start_worker(WorkerSpec::new("honest")).await;
    let beating = async {
        loop {
            braggart.beat(&[]).await;
            e2e::wait::pause(seconds(1) / 4).await;
        }
    };
    let leaving = async {
        for job in &jobs {
            e2e::wait::until(seconds(60), "the braggart's jobs to be taken back", || async {
                attempts(&farm.api.job(*job).await)
                    .any(|attempt| attempt.state == AttemptState::Superseded)
                    .then_some(())
            })
            .await;
        }
    };
    tokio::select! { () = beating => {}, () = leaving => {} }
    drop(braggart);
    farm.worker_becomes("braggart", WorkerState::Lost).await;
    for job in jobs {
        let view = farm.finished(job).await;
        assert_eq!(view.summary.state, JobState::Succeeded, "{view:#?}");
        assert_eq!(view.summary.worker.as_ref().unwrap().name, "honest");
    }
    assert_eq!(assigned.len(), 8);
    farm.books_in_order().await;
    farm.stop().await;
}
