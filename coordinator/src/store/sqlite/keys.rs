//! Keys of the HTTP API and whose uploads are, in the same file as the jobs.

use common::{
    failpoint,
    id::{KeyId, UploadId},
};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;

use super::{SqliteStore, rows};
use crate::store::{Error, KeyStore, StoredKey, UploadOwners};

impl KeyStore for SqliteStore {
    fn keys(&self) -> BoxFuture<'_, Result<Vec<StoredKey>, Error>> {
        async move {
            let found = sqlx::query("SELECT * FROM api_keys ORDER BY id")
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "list API keys", source })?;
            found.iter().map(rows::read_key).collect()
        }
        .boxed()
    }

    fn add_key<'a>(&'a self, key: &'a StoredKey) -> BoxFuture<'a, Result<(), Error>> {
        let statement = sqlx::query(
            "INSERT INTO api_keys (id, digest, hint, owner, scopes, name, created_at, expires_at, revoked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .bind(key.id.to_string())
        .bind(key.digest.to_string())
        .bind(&key.hint)
        .bind(&key.owner)
        .bind(json!(key.scopes).to_string())
        .bind(&key.name)
        .bind(key.created_at)
        .bind(key.expires_at)
        .bind(key.revoked_at);
        async move {
            failpoint::hit("access.add.before");
            self.change("store an API key", statement).await?;
            failpoint::hit("access.add.after");
            Ok(())
        }
        .boxed()
    }

    fn revoke_key(&self, id: KeyId, at: i64) -> BoxFuture<'_, Result<(), Error>> {
        let statement =
            sqlx::query("UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL")
                .bind(id.to_string())
                .bind(at);
        async move {
            failpoint::hit("access.revoke.before");
            self.change("revoke an API key", statement).await?;
            failpoint::hit("access.revoke.after");
            Ok(())
        }
        .boxed()
    }
}

impl UploadOwners for SqliteStore {
    fn upload_owner(&self, id: UploadId) -> BoxFuture<'_, Result<Option<String>, Error>> {
        async move {
            sqlx::query_scalar("SELECT owner FROM upload_owners WHERE upload = ?1")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "read whose an upload is", source })
        }
        .boxed()
    }

    fn own_upload<'a>(
        &'a self,
        id: UploadId,
        owner: &'a str,
        bytes: u64,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let statement = sqlx::query("INSERT INTO upload_owners (upload, owner, bytes) VALUES (?1, ?2, ?3)")
            .bind(id.to_string())
            .bind(owner)
            .bind(i64::try_from(bytes).unwrap_or(i64::MAX));
        async move {
            failpoint::hit("upload.own.before");
            self.change("store whose an upload is", statement).await?;
            failpoint::hit("upload.own.after");
            Ok(())
        }
        .boxed()
    }

    fn charged_uploads(&self) -> BoxFuture<'_, Result<Vec<(UploadId, u64)>, Error>> {
        async move {
            let found: Vec<(String, i64)> = sqlx::query_as("SELECT upload, bytes FROM upload_owners")
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "read whose uploads are", source })?;
            let read = |(upload, bytes): (String, i64)| {
                let corrupt =
                    |reason: String| Error::Corrupt { table: "upload_owners", row: upload.clone(), reason };
                let id = upload.parse().map_err(|error: common::id::Error| corrupt(error.to_string()))?;
                Ok((id, u64::try_from(bytes).map_err(|_| corrupt(format!("{bytes} bytes")))?))
            };
            found.into_iter().map(read).collect()
        }
        .boxed()
    }

    fn charge_upload(&self, id: UploadId, bytes: u64) -> BoxFuture<'_, Result<(), Error>> {
        let statement = sqlx::query("UPDATE upload_owners SET bytes = ?2 WHERE upload = ?1")
            .bind(id.to_string())
            .bind(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.change("charge an upload", statement).boxed()
    }

    fn forget_upload(&self, id: UploadId) -> BoxFuture<'_, Result<(), Error>> {
        let statement = sqlx::query("DELETE FROM upload_owners WHERE upload = ?1").bind(id.to_string());
        self.change("forget whose an upload was", statement).boxed()
    }
}

#[cfg(test)]
mod tests {
    use common::{api::Scope, digest::Digest};

    use super::*;
    use crate::store::JobStore as _;

    fn key(text: &str) -> StoredKey {
        StoredKey {
            id: KeyId::new(),
            digest: Digest::of(text.as_bytes()),
            hint: "tvarr_ab".to_owned(),
            owner: Some("ann \"the\" owner".to_owned()),
            scopes: vec![Scope::Submit, Scope::Read],
            name: None,
            created_at: 5,
            expires_at: Some(7),
            revoked_at: None,
        }
    }

    #[tokio::test]
    async fn keys_survive_a_restart_and_stay_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        let (one, mut two) = (key("one"), key("two"));
        store.add_key(&one).await.unwrap();
        store.add_key(&two).await.unwrap();
        assert!(store.add_key(&StoredKey { id: KeyId::new(), ..one.clone() }).await.is_err(), "the same key");
        store.revoke_key(two.id, 9).await.unwrap();
        store.revoke_key(two.id, 10).await.unwrap();
        store.close().await;
        two.revoked_at = Some(9);
        assert_eq!(SqliteStore::open(&path).await.unwrap().keys().await.unwrap(), [one, two]);
    }

    #[tokio::test]
    async fn an_upload_is_whose_it_was_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
        let (own, other) = (UploadId::new(), UploadId::new());
        store.own_upload(own, "ann", 5).await.unwrap();
        assert_eq!(store.upload_owner(own).await.unwrap().as_deref(), Some("ann"));
        assert_eq!(store.upload_owner(other).await.unwrap(), None);
        assert_eq!(store.charged_uploads().await.unwrap(), [(own, 5)]);
        store.forget_upload(own).await.unwrap();
        assert_eq!(store.upload_owner(own).await.unwrap(), None);
    }
}
