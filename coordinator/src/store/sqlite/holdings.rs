//! What owners hold, and jobs that are removed, in the same file as the jobs. The sums are kept by triggers (migration 8).

use std::collections::BTreeMap;

use common::{failpoint, id::JobId};
use futures::{FutureExt as _, future::BoxFuture};
use sqlx::SqliteConnection;

use super::SqliteStore;
use crate::store::{Error, Held, HoldingStore};

impl HoldingStore for SqliteStore {
    fn held<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Held, Error>> {
        async move {
            let found: Option<(i64, i64)> =
                sqlx::query_as("SELECT uploads, outputs FROM owner_bytes WHERE owner = ?1")
                    .bind(owner)
                    .fetch_optional(&self.readers)
                    .await
                    .map_err(|source| Error::Database { doing: "read what an owner holds", source })?;
            found.map_or(Ok(Held::default()), |sums| read(owner, sums))
        }
        .boxed()
    }

    fn holders(&self) -> BoxFuture<'_, Result<BTreeMap<String, Held>, Error>> {
        async move {
            let found: Vec<(String, i64, i64)> =
                sqlx::query_as("SELECT owner, uploads, outputs FROM owner_bytes")
                    .fetch_all(&self.readers)
                    .await
                    .map_err(|source| Error::Database { doing: "read what owners hold", source })?;
            found
                .into_iter()
                .map(|(owner, uploads, outputs)| {
                    let held = read(&owner, (uploads, outputs))?;
                    Ok((owner, held))
                })
                .collect()
        }
        .boxed()
    }
}

fn read(owner: &str, (uploads, outputs): (i64, i64)) -> Result<Held, Error> {
    let bytes = |sum: i64| {
        u64::try_from(sum).map_err(|_| Error::Corrupt {
            table: "owner_bytes",
            row: owner.to_owned(),
            reason: format!("{sum} bytes"),
        })
    };
    Ok(Held { uploads: bytes(uploads)?, outputs: bytes(outputs)? })
}

impl SqliteStore {
    /// The idempotency key stays: the same request is told that its job is gone, as long as any other is told of its own.
    pub(super) async fn delete_job(&self, id: JobId) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        let deleted = delete(&mut writer, &id.to_string()).await;
        if deleted.is_err() {
            // There may be no transaction any more, after a full disk.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *writer).await;
        }
        deleted.map_err(|source| Error::Database { doing: "remove a job", source })
    }
}

async fn delete(writer: &mut SqliteConnection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *writer).await?;
    for statement in [
        "DELETE FROM attempt_logs WHERE task IN (SELECT id FROM tasks WHERE job = ?1)",
        "DELETE FROM attempts WHERE job = ?1",
        "DELETE FROM tasks WHERE job = ?1",
        "DELETE FROM jobs WHERE id = ?1",
    ] {
        sqlx::query(statement).bind(id).execute(&mut *writer).await?;
    }
    failpoint::hit("job.remove.before");
    sqlx::raw_sql("COMMIT").execute(&mut *writer).await?;
    failpoint::hit("job.remove.after");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::{id::UploadId, worker::OutputFile};

    use super::*;
    use crate::store::{
        Changes, Concat, JobRecord, JobStore as _, UploadDetails, UploadOwners as _, UploadRecord,
        UploadStore as _, sqlite::tests::job,
    };

    async fn store(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap()
    }

    fn publish(job: &mut JobRecord, size: u64) {
        job.result.outputs = vec![OutputFile {
            path: "a.mp4".to_owned(),
            size,
            content_type: "video/mp4".to_owned(),
            sha256: String::new(),
        }];
    }

    async fn commit(store: &SqliteStore, jobs: &[JobRecord]) {
        store.commit(&Changes { jobs: jobs.to_vec(), ..Changes::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn outputs_are_counted_once_they_are_published_and_until_their_job_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let mut jobs = [job(Some("ann")), job(Some("ann")), job(Some("bob")), job(None)];
        commit(&store, &jobs).await;
        assert_eq!(store.held("ann").await.unwrap(), Held::default());
        for (job, size) in jobs.iter_mut().zip([5, 7, 11, 13]) {
            publish(job, size);
        }
        // The rows are written again whenever something of a job changes.
        commit(&store, &jobs).await;
        jobs[0].request = Arc::clone(&jobs[0].request);
        jobs[0].priority = 3;
        commit(&store, &jobs).await;
        let outputs = |outputs| Held { uploads: 0, outputs };
        let all = BTreeMap::from([("ann".to_owned(), outputs(12)), ("bob".to_owned(), outputs(11))]);
        assert_eq!(store.holders().await.unwrap(), all);
        store.remove_job(jobs[0].id).await.unwrap();
        store.remove_job(jobs[0].id).await.unwrap();
        store.remove_job(jobs[2].id).await.unwrap();
        store.remove_job(jobs[3].id).await.unwrap();
        assert_eq!(store.holders().await.unwrap(), [("ann".to_owned(), outputs(7))].into());
        assert_eq!(store.job(jobs[0].id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_upload_is_counted_as_long_as_it_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let mut upload = UploadRecord {
            id: UploadId::new(),
            details: UploadDetails {
                filename: "a".to_owned(),
                metadata: String::new(),
                concat: Concat::Alone,
            },
            length: None,
            received: 0,
            placed: false,
            created_at: 0,
            expires_at: 0,
        };
        store.put_upload(&upload).await.unwrap();
        store.own_upload(upload.id, "ann", 0).await.unwrap();
        let mut counted = Vec::new();
        for (received, length) in [(4, None), (9, None), (9, Some(20)), (20, Some(20))] {
            (upload.received, upload.length) = (received, length);
            store.put_upload(&upload).await.unwrap();
            counted.push(store.held("ann").await.unwrap().uploads);
        }
        assert_eq!(counted, [4, 9, 20, 20]);
        let other = UploadId::new();
        store.own_upload(other, "ann", 3).await.unwrap();
        store.charge_upload(other, 5).await.unwrap();
        store.charge_upload(UploadId::new(), 5).await.unwrap();
        assert_eq!(store.held("ann").await.unwrap(), Held { uploads: 25, outputs: 0 });
        store.remove_upload(upload.id).await.unwrap();
        store.forget_upload(other).await.unwrap();
        store.forget_upload(other).await.unwrap();
        assert!(store.holders().await.unwrap().is_empty());
    }
}
