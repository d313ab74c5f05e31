//! Uploads that come in pieces, in the same file as the jobs.

use common::id::UploadId;
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::SqliteStore;
use crate::store::{Error, UploadOwners as _, UploadRecord, UploadStore};

const PUT: &str = "
INSERT INTO uploads (id, details, length, received, placed, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (id) DO UPDATE SET length = excluded.length, received = excluded.received, placed = excluded.placed,
    expires_at = excluded.expires_at";

impl UploadStore for SqliteStore {
    fn uploads(&self) -> BoxFuture<'_, Result<Vec<UploadRecord>, Error>> {
        async move {
            let found = sqlx::query("SELECT * FROM uploads ORDER BY id")
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "list uploads", source })?;
            found.iter().map(read).collect()
        }
        .boxed()
    }

    fn put_upload<'a>(&'a self, upload: &'a UploadRecord) -> BoxFuture<'a, Result<(), Error>> {
        let count = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let statement = sqlx::query(PUT)
            .bind(upload.id.to_string())
            .bind(json!(upload.details).to_string())
            .bind(upload.length.map(count))
            .bind(count(upload.received))
            .bind(upload.placed)
            .bind(upload.created_at)
            .bind(upload.expires_at);
        self.change("store an upload", statement).boxed()
    }

    fn remove_upload(&self, id: UploadId) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            // Whose it was last: without the upload nobody asks for that.
            let statement = sqlx::query("DELETE FROM uploads WHERE id = ?1").bind(id.to_string());
            self.change("remove an upload", statement).await?;
            self.forget_upload(id).await
        }
        .boxed()
    }
}

fn read(row: &SqliteRow) -> Result<UploadRecord, Error> {
    let failed = |source| Error::Database { doing: "read an upload", source };
    let text = |name| row.try_get::<String, _>(name).map_err(failed);
    let number = |name| row.try_get::<i64, _>(name).map_err(failed);
    let id = text("id")?;
    let corrupt = |reason: String| Error::Corrupt { table: "uploads", row: id.clone(), reason };
    let bytes = |count: i64| u64::try_from(count).map_err(|_| corrupt(format!("{count} bytes")));
    Ok(UploadRecord {
        id: id.parse().map_err(|error: common::id::Error| corrupt(error.to_string()))?,
        details: serde_json::from_str(&text("details")?).map_err(|error| corrupt(error.to_string()))?,
        length: row.try_get::<Option<i64>, _>("length").map_err(failed)?.map(bytes).transpose()?,
        received: bytes(number("received")?)?,
        placed: row.try_get("placed").map_err(failed)?,
        created_at: number("created_at")?,
        expires_at: number("expires_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Concat, UploadDetails};

    #[tokio::test]
    async fn uploads_survive_a_restart_as_they_were_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        let mut upload = UploadRecord {
            id: UploadId::new(),
            details: UploadDetails {
                filename: "it's \"a\".mp4".to_owned(),
                metadata: "filename YQ==".to_owned(),
                concat: Concat::Final("final;/v1/uploads/x".to_owned()),
            },
            length: None,
            received: 0,
            placed: false,
            created_at: 1,
            expires_at: 2,
        };
        store.put_upload(&upload).await.unwrap();
        let other = UploadRecord { id: UploadId::new(), ..upload.clone() };
        store.put_upload(&other).await.unwrap();
        store.remove_upload(other.id).await.unwrap();
        (upload.length, upload.received, upload.placed, upload.expires_at) = (Some(9), 9, true, 3);
        store.put_upload(&upload).await.unwrap();
        crate::store::JobStore::close(&store).await;
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.uploads().await.unwrap(), [upload]);
    }
}
