//! Jobs, tasks and attempts.

use std::{collections::HashSet, sync::Arc};

use common::{
    api::AttemptState,
    api::JobState,
    api::TaskState,
    failure::{Failure, FailureKind},
    id::{AttemptId, Epoch, JobId},
    worker::OutputFile,
};

use super::{Place, commit_jobs, job, unfinished, with_task};
use crate::{
    queue::{InputLocation, JobInput},
    store::{AttemptRecord, Changes, JobStore as _, LogRecord, StoredJob, jobs::RESTORED},
};

pub(in crate::store) async fn what_was_committed_is_there_after_a_restart<P: Place>(place: P) {
    let mut job = job(Some("ada"));
    let (mut task, mut attempt) = with_task(&job);
    let log = LogRecord { id: attempt.id, lines: vec!["line".to_owned()] };
    let store = place.open().await;
    let mut changes = Changes {
        jobs: vec![job.clone()],
        tasks: vec![task.clone()],
        attempts: vec![attempt.clone()],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();

    job.state = JobState::Succeeded;
    job.finished_at = Some(2_000);
    job.failure = Some(Failure::new(FailureKind::Crashed, "boom"));
    job.worker = Some(attempt.worker.clone());
    let output = OutputFile {
        path: "a.mp4".to_owned(),
        size: 7,
        content_type: "video/mp4".to_owned(),
        sha256: "0".repeat(64),
    };
    job.result.outputs = vec![output];
    task.state = TaskState::Succeeded;
    task.published = Some(Epoch(1));
    attempt.state = AttemptState::Succeeded;
    attempt.details.command = vec!["ffmpeg".to_owned(), "-i".to_owned()];
    changes = Changes {
        jobs: vec![job.clone()],
        tasks: vec![task.clone()],
        attempts: vec![attempt.clone()],
        logs: vec![log.clone()],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    store.close().await;

    let store = place.open().await;
    let expected = StoredJob { job: job.clone(), tasks: vec![(task.clone(), vec![attempt])] };
    assert_eq!(store.job(job.id).await.unwrap(), Some(expected));
    assert_eq!(store.logs(job.id).await.unwrap(), [log]);
    assert!(unfinished(&store).await.is_empty());
    assert_eq!(store.job(JobId::new()).await.unwrap(), None);
}

pub(in crate::store) async fn unfinished_jobs_come_whole_and_in_order_however_many_there_are<P: Place>(
    place: P,
) {
    let store = place.open().await;
    let mut changes = Changes::default();
    let mut expected = Vec::new();
    for number in 0..2 * RESTORED as usize + 3 {
        let mut job = job(None);
        let (mut task, first) = with_task(&job);
        let second = AttemptRecord { id: AttemptId { task: task.id, epoch: Epoch(2) }, ..first.clone() };
        match number % 3 {
            0 => job.state = JobState::Running,
            1 => job.state = JobState::Succeeded,
            _ => {}
        }
        task.epoch = Epoch(2);
        changes.attempts.extend([second.clone(), first.clone()]);
        changes.tasks.push(task.clone());
        changes.jobs.push(job.clone());
        if !job.state.is_final() {
            expected.push(StoredJob { job, tasks: vec![(task, vec![first, second])] });
        }
    }
    store.commit(&changes).await.unwrap();
    assert!(expected.len() > RESTORED as usize);
    assert!(unfinished(&store).await == expected);
}

pub(in crate::store) async fn inputs_of_unfinished_jobs_are_in_use<P: Place>(place: P) {
    let store = place.open().await;
    let with_input = |key: &str, state| {
        let mut job = job(None);
        job.state = state;
        Arc::make_mut(&mut job.request).input =
            JobInput::new(InputLocation::Object(key.to_owned()), "a.mp4".to_owned());
        job
    };
    let jobs = vec![
        with_input("uploads/1/a", JobState::Queued),
        with_input("uploads/1/a", JobState::Running),
        with_input("uploads/2/b", JobState::Succeeded),
        job(None),
    ];
    store.commit(&Changes { jobs, ..Changes::default() }).await.unwrap();
    let used = store.objects_in_use().await.unwrap();
    assert_eq!(used, HashSet::from(["uploads/1/a".to_owned()]));
}

pub(in crate::store) async fn a_job_is_removed_with_all_that_is_its_own<P: Place>(place: P) {
    let store = place.open().await;
    let jobs = [job(None), job(None)];
    let mut changes = Changes { jobs: jobs.to_vec(), ..Changes::default() };
    for job in &jobs {
        let (task, attempt) = with_task(job);
        changes.logs.push(LogRecord { id: attempt.id, lines: vec!["line".to_owned()] });
        changes.tasks.push(task);
        changes.attempts.push(attempt);
    }
    store.commit(&changes).await.unwrap();
    store.remove_job(jobs[0].id).await.unwrap();
    store.remove_job(jobs[0].id).await.unwrap();
    assert_eq!(store.job(jobs[0].id).await.unwrap(), None);
    assert!(store.logs(jobs[0].id).await.unwrap().is_empty());
    let other = store.job(jobs[1].id).await.unwrap().unwrap();
    assert_eq!((other.tasks.len(), other.tasks[0].1.len()), (1, 1));
    assert_eq!(store.logs(jobs[1].id).await.unwrap().len(), 1);
}

pub(in crate::store) async fn a_commit_may_be_written_again<P: Place>(place: P) {
    let store = place.open().await;
    let one = job(Some("ada"));
    let (task, attempt) = with_task(&one);
    let changes = Changes {
        jobs: vec![one.clone()],
        tasks: vec![task.clone()],
        attempts: vec![attempt.clone()],
        ..Changes::default()
    };
    for _ in 0..2 {
        store.commit(&changes).await.unwrap();
    }
    // With something to be forgotten in between, and nothing at all.
    commit_jobs(&store, &[job(None)]).await;
    store.commit(&Changes::default()).await.unwrap();
    let expected = StoredJob { job: one.clone(), tasks: vec![(task, vec![attempt])] };
    assert_eq!(store.job(one.id).await.unwrap(), Some(expected));
    assert_eq!(unfinished(&store).await.len(), 2);
}
