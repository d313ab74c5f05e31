//! Files that became jobs by themselves, in the same file as the jobs.

use futures::{FutureExt as _, future::BoxFuture};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::SqliteStore;
use crate::store::{Error, WatchStore, WatchedRecord};

const PUT: &str = "
INSERT INTO watched (place, object, version, job, submitted, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (place, object, version) DO UPDATE SET submitted = excluded.submitted";

impl WatchStore for SqliteStore {
    fn watched<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Vec<WatchedRecord>, Error>> {
        async move {
            let found = sqlx::query("SELECT * FROM watched WHERE place = ?1")
                .bind(place)
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "list what was found", source })?;
            found.iter().map(read).collect()
        }
        .boxed()
    }

    fn put_watched<'a>(&'a self, record: &'a WatchedRecord) -> BoxFuture<'a, Result<(), Error>> {
        let statement = sqlx::query(PUT)
            .bind(&record.place)
            .bind(&record.object)
            .bind(&record.version)
            .bind(record.job.to_string())
            .bind(record.submitted)
            .bind(record.seen_at);
        self.change("note a file that was found", statement).boxed()
    }
}

fn read(row: &SqliteRow) -> Result<WatchedRecord, Error> {
    let failed = |source| Error::Database { doing: "read what was found", source };
    let text = |name| row.try_get::<String, _>(name).map_err(failed);
    let (object, job) = (text("object")?, text("job")?);
    let corrupt = |reason: String| Error::Corrupt { table: "watched", row: object.clone(), reason };
    Ok(WatchedRecord {
        place: text("place")?,
        job: job.parse().map_err(|error: common::id::Error| corrupt(error.to_string()))?,
        version: text("version")?,
        submitted: row.try_get("submitted").map_err(failed)?,
        seen_at: row.try_get("seen_at").map_err(failed)?,
        object,
    })
}

#[cfg(test)]
mod tests {
    use common::id::JobId;

    use super::*;

    #[tokio::test]
    async fn what_was_found_is_known_by_place_name_and_version() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
        let record = |object: &str, version: &str| WatchedRecord {
            place: "s3://in/ h264".to_owned(),
            object: object.to_owned(),
            version: version.to_owned(),
            job: JobId::new(),
            submitted: false,
            seen_at: 7,
        };
        let (first, second) = (record("a.mp4", "1"), record("a.mp4", "2"));
        store.put_watched(&first).await.unwrap();
        store.put_watched(&second).await.unwrap();
        let submitted = WatchedRecord { submitted: true, ..first.clone() };
        // Its job was chosen once.
        store.put_watched(&WatchedRecord { job: JobId::new(), ..submitted.clone() }).await.unwrap();
        assert_eq!(store.watched(&first.place).await.unwrap(), [submitted, second]);
        assert_eq!(store.watched("s3://in/ hevc").await.unwrap(), []);
    }
}
