//! Lists of jobs.

use std::{collections::BTreeMap, sync::Arc};

use common::{
    api::{JobState, WorkerRef},
    failure::{Failure, FailureKind},
    id::{JobId, WorkerId},
};

use super::{Place, commit_jobs, job, listed, unfinished};
use crate::{queue::JobFilter, store::JobStore as _};

pub(in crate::store) async fn lists_are_filtered_and_paged_newest_first<P: Place>(place: P) {
    let store = place.open().await;
    let mut jobs: Vec<_> =
        (0..5).map(|number| job(Some(if number % 2 == 0 { "ada" } else { "bob" }))).collect();
    jobs[0].state = JobState::Failed;
    commit_jobs(&store, &jobs).await;
    let ids = async |filter: JobFilter| listed(&store, &jobs, filter).await;
    assert_eq!(ids(JobFilter::default()).await, [4, 3, 2, 1, 0]);
    assert_eq!(ids(JobFilter { before: Some(jobs[2].id), ..JobFilter::default() }).await, [1, 0]);
    assert_eq!(ids(JobFilter { owner: Some("bob".to_owned()), ..JobFilter::default() }).await, [3, 1]);
    assert_eq!(ids(JobFilter { states: vec![JobState::Failed], ..JobFilter::default() }).await, [0]);
    let short = jobs[3].id.to_string();
    assert_eq!(ids(JobFilter { text: Some(short[24..].to_uppercase()), ..JobFilter::default() }).await, [3]);
    assert!(ids(JobFilter { text: Some("%".to_owned()), ..JobFilter::default() }).await.is_empty());
    let name = jobs[0].request.input.name().to_uppercase();
    let text = Some(name[name.len() - 4..].to_owned());
    assert_eq!(ids(JobFilter { text: text.clone(), ..JobFilter::default() }).await, [4, 3, 2, 1, 0]);
    let failed = JobFilter { text, states: vec![JobState::Failed], ..JobFilter::default() };
    assert_eq!(ids(failed).await, [0]);
    assert_eq!(unfinished(&store).await.len(), 4);
    let counted = |owner| store.job_counts(owner);
    let all = BTreeMap::from([(JobState::Queued, 4), (JobState::Failed, 1)]);
    assert_eq!(counted(None).await.unwrap(), all);
    assert_eq!(counted(Some("bob")).await.unwrap(), BTreeMap::from([(JobState::Queued, 2)]));
    assert!(counted(Some("eve")).await.unwrap().is_empty());
}

pub(in crate::store) async fn dead_letters_are_found_by_kind_preset_worker_and_owner<P: Place>(place: P) {
    let store = place.open().await;
    let dead = |kind, worker: &str, preset: &str, owner| {
        let mut job = job(owner);
        job.state = JobState::Dead;
        job.failure = Some(Failure::new(kind, "it's \"odd\""));
        job.worker = Some(WorkerRef { id: WorkerId::new(), name: worker.to_owned() });
        Arc::make_mut(&mut job.request).preset = preset.to_owned();
        job
    };
    let mut jobs = vec![
        dead(FailureKind::Crashed, "gpu-1", "h264", Some("ada")),
        dead(FailureKind::Stalled, "gpu-1", "hevc", None),
        dead(FailureKind::Crashed, "gpu-2", "hevc", Some("bob")),
    ];
    // Alike in everything but the state.
    let mut failed = jobs[0].clone();
    (failed.id, failed.state) = (JobId::new(), JobState::Failed);
    jobs.extend([failed, job(None)]);
    commit_jobs(&store, &jobs).await;
    let ids = async |filter: JobFilter| listed(&store, &jobs, filter).await;
    let dead = || JobFilter { states: vec![JobState::Dead], ..JobFilter::default() };
    let crashed = || JobFilter { kind: Some(FailureKind::Crashed), ..dead() };
    assert_eq!(ids(dead()).await, [2, 1, 0]);
    assert_eq!(ids(crashed()).await, [2, 0]);
    assert_eq!(ids(JobFilter { preset: Some("hevc".to_owned()), ..dead() }).await, [2, 1]);
    assert_eq!(ids(JobFilter { worker: Some("gpu-1".to_owned()), ..dead() }).await, [1, 0]);
    assert_eq!(ids(JobFilter { worker: Some("gpu-1".to_owned()), ..crashed() }).await, [0]);
    assert_eq!(ids(JobFilter { owner: Some("bob".to_owned()), ..crashed() }).await, [2]);
    assert_eq!(ids(JobFilter { before: Some(jobs[2].id), ..dead() }).await, [1, 0]);
    let two = vec![JobState::Dead, JobState::Failed, JobState::Dead];
    assert_eq!(ids(JobFilter { states: two.clone(), ..JobFilter::default() }).await, [3, 2, 1, 0]);
    let newest = JobFilter { states: two, limit: 2, ..JobFilter::default() };
    assert_eq!(store.jobs(&newest).await.unwrap().len(), 2);
    assert_eq!(unfinished(&store).await.len(), 1, "dead letters are over");
}
