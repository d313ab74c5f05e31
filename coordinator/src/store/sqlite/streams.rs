//! Streams, in the same file as the jobs.

use std::collections::BTreeMap;

use common::failpoint;
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::SqliteStore;
use crate::store::{Error, StoredStream, StreamStore};

const RAISE: &str = "
INSERT INTO stream_sequences (name, floor) SELECT value->>0, value->>1 FROM json_each(?1) WHERE true
ON CONFLICT (name) DO UPDATE SET floor = max(floor, excluded.floor)";

impl SqliteStore {
    async fn read_streams(&self) -> Result<Vec<StoredStream>, Error> {
        let found = sqlx::query("SELECT * FROM streams ORDER BY id")
            .fetch_all(&self.readers)
            .await
            .map_err(|source| Error::Database { doing: "list streams", source })?;
        found.iter().map(read_stream).collect()
    }

    async fn read_floors(&self) -> Result<BTreeMap<String, u64>, Error> {
        let failed = |source| Error::Database { doing: "read the media sequences of streams", source };
        let found: Vec<(String, i64)> = sqlx::query_as("SELECT name, floor FROM stream_sequences")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        Ok(found.into_iter().map(|(name, floor)| (name, u64::try_from(floor).unwrap_or(0))).collect())
    }

    /// One statement is one transaction.
    pub(super) async fn change(
        &self,
        doing: &'static str,
        statement: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        statement.execute(&mut *writer).await.map_err(|source| Error::Database { doing, source })?;
        Ok(())
    }
}

impl StreamStore for SqliteStore {
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StoredStream>, Error>> {
        self.read_streams().boxed()
    }

    fn add_stream<'a>(&'a self, stream: &'a StoredStream) -> BoxFuture<'a, Result<(), Error>> {
        let statement =
            sqlx::query("INSERT INTO streams (id, name, spec, created_at) VALUES (?1, ?2, ?3, ?4)")
                .bind(stream.id.to_string())
                .bind(&stream.spec.name)
                .bind(json!(stream.spec).to_string())
                .bind(stream.created_at);
        async move {
            failpoint::hit("stream.add.before");
            self.change("store a stream", statement).await?;
            failpoint::hit("stream.add.after");
            Ok(())
        }
        .boxed()
    }

    fn remove_stream(&self, id: common::id::StreamId) -> BoxFuture<'_, Result<(), Error>> {
        let statement = sqlx::query("DELETE FROM streams WHERE id = ?1").bind(id.to_string());
        async move {
            failpoint::hit("stream.remove.before");
            self.change("remove a stream", statement).await?;
            failpoint::hit("stream.remove.after");
            Ok(())
        }
        .boxed()
    }

    fn sequence_floors(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, Error>> {
        self.read_floors().boxed()
    }

    fn raise_sequence_floors<'a>(&'a self, floors: &'a [(String, u64)]) -> BoxFuture<'a, Result<(), Error>> {
        let statement = sqlx::query(RAISE).bind(json!(floors).to_string());
        async move {
            failpoint::hit("stream.reserve.before");
            self.change("reserve media sequences", statement).await?;
            failpoint::hit("stream.reserve.after");
            Ok(())
        }
        .boxed()
    }
}

fn read_stream(row: &SqliteRow) -> Result<StoredStream, Error> {
    let text = |name| row.try_get::<String, _>(name);
    let failed = |source| Error::Database { doing: "read a stream", source };
    let id = text("id").map_err(failed)?;
    let corrupt = |reason: String| Error::Corrupt { table: "streams", row: id.clone(), reason };
    Ok(StoredStream {
        id: id.parse().map_err(|error: common::id::Error| corrupt(error.to_string()))?,
        spec: serde_json::from_str(&text("spec").map_err(failed)?)
            .map_err(|error| corrupt(error.to_string()))?,
        created_at: row.try_get("created_at").map_err(failed)?,
    })
}

#[cfg(test)]
mod tests {
    use common::{id::StreamId, stream::StreamOptions, stream::StreamSpec};

    use super::*;

    fn stream(name: &str) -> StoredStream {
        let spec = StreamSpec {
            name: name.to_owned(),
            source: "http://u:p@host/live.ts?token=1".parse().unwrap(),
            profiles: vec!["h264-720p".to_owned()],
            options: StreamOptions { slate: Some("it's \"away\"".to_owned()), ..StreamOptions::default() },
        };
        StoredStream { id: StreamId::new(), spec, created_at: 5 }
    }

    #[tokio::test]
    async fn streams_survive_a_restart_and_names_are_unique() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        let (one, two) = (stream("one"), stream("two"));
        store.add_stream(&one).await.unwrap();
        store.add_stream(&two).await.unwrap();
        assert!(store.add_stream(&stream("one")).await.is_err());
        store.remove_stream(two.id).await.unwrap();
        crate::store::JobStore::close(&store).await;
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.streams().await.unwrap(), [one]);
    }

    #[tokio::test]
    async fn a_floor_only_rises() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
        let raise = |name: &str, floor| vec![(name.to_owned(), floor)];
        store.raise_sequence_floors(&raise("a", 7)).await.unwrap();
        store.raise_sequence_floors(&raise("a", 3)).await.unwrap();
        store.raise_sequence_floors(&raise("b", 1)).await.unwrap();
        let floors = store.sequence_floors().await.unwrap();
        assert_eq!(floors, BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 1)]));
    }
}
