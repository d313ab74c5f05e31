//! Removing uploads that nobody uses any more.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use common::{failpoint, id::UploadId};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Api, problem::Error};
use crate::storage::StoredUpload;

/// Time between two looks, if uploads live long.
const EVERY: Duration = Duration::from_secs(600);

/// How long uploads are kept that nobody seems to want.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Whole, and no input of a job that has not ended.
    pub(crate) unused: Duration,
    /// Not whole, and without a byte coming.
    pub(crate) unfinished: Duration,
}

/// Looks for old uploads until `stop`.
pub(crate) async fn run(api: Api, patience: Patience, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY.min(patience.unused).min(patience.unfinished));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match sweep(&api, patience.unused).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed uploads that no job uses"),
            Err(error) => {
                let problem = error.into_problem();
                tracing::warn!(%problem, "could not look for old uploads; will try again");
            }
        }
        if let Err(error) = api.incoming.expire().await {
            tracing::warn!(%error, "could not remove uploads that expired; will try again");
        }
    }
}

async fn sweep(api: &Api, ttl: Duration) -> Result<usize, Error> {
    // No job can claim an upload while it is being removed.
    let _uploads = api.uploads.write().await;
    let used = api.queue.objects_in_use().await?;
    // Before the files: an upload has its row once its file is there.
    let charged = api.upload_owners.charged_uploads().await?;
    let stored = api.storage.uploads().await?;
    for (id, bytes) in corrections(charged, &stored) {
        match bytes {
            // Its row says how much has come.
            _ if api.incoming.knows(id) => {}
            Some(bytes) => api.upload_owners.charge_upload(id, bytes).await?,
            None => api.upload_owners.forget_upload(id).await?,
        }
    }
    let old = unused(&stored, &used, Timestamp::now(), ttl);
    let mut removed = 0;
    for upload in old {
        failpoint::hit("upload.sweep.before");
        api.storage.delete(&upload.key).await?;
        failpoint::hit("upload.sweep.after");
        if let Some(id) = upload.id() {
            api.incoming.forget(id).await?;
            api.upload_owners.forget_upload(id).await?;
        }
        removed += 1;
    }
    Ok(removed)
}

/// Uploads whose owner is charged with other than what there is of them, with what that is: a crash between the two, or a version
/// that did not charge.
fn corrections(charged: Vec<(UploadId, u64)>, stored: &[StoredUpload]) -> Vec<(UploadId, Option<u64>)> {
    let sizes: HashMap<UploadId, u64> =
        stored.iter().filter_map(|upload| Some((upload.id()?, upload.size))).collect();
    let wrong = |(id, bytes): (UploadId, u64)| {
        let size = sizes.get(&id).copied();
        (size != Some(bytes)).then_some((id, size))
    };
    charged.into_iter().filter_map(wrong).collect()
}

/// The uploads that are older than `ttl` and no input of a job that has not ended.
fn unused<'a>(
    stored: &'a [StoredUpload],
    used: &HashSet<String>,
    now: Timestamp,
    ttl: Duration,
) -> Vec<&'a StoredUpload> {
    let old = |upload: &StoredUpload| {
        now.duration_since(upload.modified).unsigned_abs() >= ttl && upload.modified < now
    };
    stored.iter().filter(|upload| old(upload) && !used.contains(upload.key.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Key;

    #[test]
    fn a_charge_that_is_not_what_there_is_is_put_right() {
        let [right, wrong, gone] = [(); 3].map(|()| UploadId::new());
        let stored = [right, wrong].map(|id| StoredUpload {
            key: Key::upload(id, "a"),
            size: 5,
            modified: Timestamp::UNIX_EPOCH,
        });
        let found = corrections(vec![(right, 5), (wrong, 0), (gone, 7)], &stored);
        assert_eq!(found, [(wrong, Some(5)), (gone, None)]);
    }

    #[test]
    fn only_old_uploads_without_a_job_go() {
        let upload = |key: &str, second| StoredUpload {
            key: Key::parse(key).unwrap(),
            size: 1,
            modified: Timestamp::from_second(second).unwrap(),
        };
        let stored = [
            upload("uploads/a/old", 0),
            upload("uploads/b/used", 0),
            upload("uploads/c/new", 50),
            upload("uploads/d/future", 500),
        ];
        let used = HashSet::from(["uploads/b/used".to_owned()]);
        let now = Timestamp::from_second(100).unwrap();
        let names: Vec<_> = unused(&stored, &used, now, Duration::from_secs(60))
            .iter()
            .map(|upload| upload.key.name())
            .collect();
        assert_eq!(names, ["old"]);
    }
}
