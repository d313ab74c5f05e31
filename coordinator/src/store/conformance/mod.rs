//! What every store promises, whatever database it is: each case is run against each of them, on an empty store of its own.

pub(in crate::store) mod jobs;
pub(in crate::store) mod keys;
pub(in crate::store) mod lists;
pub(in crate::store) mod owners;
pub(in crate::store) mod streams;
pub(in crate::store) mod texts;
pub(in crate::store) mod uploads;
pub(in crate::store) mod watched;
pub(in crate::store) mod webhooks;

use std::sync::Arc;

use common::{
    api::{AttemptState, JobState, TaskState, WorkerRef},
    id::{AttemptId, Epoch, JobId, TaskId, WorkerId},
};
use futures::{TryStreamExt as _, future::LocalBoxFuture};
use serde_json::json;

use super::{
    AttemptDetails, AttemptRecord, Changes, JobDetails, JobRecord, JobResult, JobStore, StoredJob,
    TaskHistory, TaskRecord, engine::Engine,
};
use crate::{
    plan::TaskKind,
    queue::{InputLocation, JobFilter, JobInput},
};

/// Where a store is, empty at first.
pub(super) trait Place: Send + Sync + 'static {
    type Store: Engine;

    /// Opens it, again after it was closed.
    fn open(&self) -> LocalBoxFuture<'_, Self::Store>;
}

/// Hands the cases to a macro.
macro_rules! cases {
    ($take:ident) => {
        $take! {
            jobs::what_was_committed_is_there_after_a_restart,
            jobs::unfinished_jobs_come_whole_and_in_order_however_many_there_are,
            jobs::inputs_of_unfinished_jobs_are_in_use,
            jobs::a_job_is_removed_with_all_that_is_its_own,
            jobs::a_commit_may_be_written_again,
            lists::lists_are_filtered_and_paged_newest_first,
            lists::dead_letters_are_found_by_kind_preset_worker_and_owner,
            keys::keys_survive_a_restart_and_stay_revoked,
            keys::idempotency_keys_come_oldest_first_and_old_ones_go,
            owners::outputs_are_counted_once_they_are_published_and_until_their_job_is_removed,
            owners::an_upload_is_counted_as_long_as_it_is_said_to_be,
            owners::an_upload_is_whose_it_was_said_to_be,
            owners::quotas_are_changed_and_taken_back,
            streams::streams_survive_a_restart_and_names_are_unique,
            streams::a_floor_only_rises,
            texts::any_text_comes_back_and_is_found,
            texts::no_text_keeps_a_commit_from_happening,
            texts::texts_are_compared_byte_by_byte,
            texts::numbers_come_back_at_their_limits,
            uploads::uploads_survive_a_restart_as_they_were_last,
            watched::what_was_found_is_known_by_place_name_and_version,
            webhooks::an_end_is_written_once_with_its_job_and_settled_by_its_attempts,
            webhooks::what_is_over_is_forgotten_and_goes_with_its_job,
            webhooks::what_is_heard_has_the_tasks_of_its_own_job,
        }
    };
}
pub(super) use cases;

pub(super) async fn unfinished(store: &impl JobStore) -> Vec<StoredJob> {
    store.unfinished().try_collect().await.unwrap()
}

/// The places in `jobs` of those that a list has.
pub(super) async fn listed(store: &impl JobStore, jobs: &[JobRecord], filter: JobFilter) -> Vec<usize> {
    let found = store.jobs(&JobFilter { limit: 10, ..filter }).await.unwrap();
    found.iter().map(|found| jobs.iter().position(|job| job.id == found.id).unwrap()).collect()
}

pub(super) async fn commit_jobs(store: &impl JobStore, jobs: &[JobRecord]) {
    store.commit(&Changes { jobs: jobs.to_vec(), ..Changes::default() }).await.unwrap();
}

pub(super) fn job(owner: Option<&str>) -> JobRecord {
    JobRecord {
        id: JobId::new(),
        state: JobState::Queued,
        priority: 0,
        request: Arc::new(JobDetails {
            input: JobInput::new(
                InputLocation::Url("http://x/it's \"odd\" \u{1f3ac}.mp4".to_owned()),
                "it's \"odd\" \u{1f3ac}.mp4".to_owned(),
            ),
            more_inputs: Vec::new(),
            preset: "h264".to_owned(),
            spec: Arc::new(serde_json::from_value(json!({"kind": "file", "container": "mp4"})).unwrap()),
            hardware: common::media::HardwarePolicy::Prefer,
            priority: 3,
            labels: std::iter::once(("site".to_owned(), "b".to_owned())).collect(),
            owner: owner.map(str::to_owned),
            on_damaged_input: Default::default(),
            time_limit_ms: Some(60_000),
            output: Some("s3://bucket/x/".to_owned()),
            webhook: None,
        }),
        submitted_at: 1_000,
        started_at: None,
        finished_at: None,
        failure: None,
        worker: None,
        result: JobResult::default(),
    }
}

pub(super) fn with_task(job: &JobRecord) -> (TaskRecord, AttemptRecord) {
    let task = TaskRecord {
        id: TaskId::new(),
        job: job.id,
        kind: TaskKind::Encode,
        state: TaskState::Running,
        epoch: Epoch(1),
        published: None,
        queued_at: 1_000,
        finished_at: None,
        history: TaskHistory::default(),
    };
    let attempt = AttemptRecord {
        id: AttemptId { task: task.id, epoch: Epoch(1) },
        job: job.id,
        state: AttemptState::Running,
        worker: WorkerRef { id: WorkerId::new(), name: "gpu-1".to_owned() },
        assigned_at: 1_001,
        started_at: None,
        finished_at: None,
        details: AttemptDetails { encoder: Some("libx264".to_owned()), ..AttemptDetails::default() },
    };
    (task, attempt)
}
