//! Keys of the HTTP API.

use common::{failpoint, id::KeyId};
use futures::{FutureExt as _, future::BoxFuture};

use super::{
    Error, KeyStore, StoredKey,
    engine::{Engine, Query, failed},
    rows,
};

/// Again, after an answer was lost, it is there already.
const ADD: &str = "
INSERT INTO api_keys (id, digest, hint, owner, scopes, name, created_at, expires_at, revoked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";

impl<E: Engine> KeyStore for E {
    fn keys(&self) -> BoxFuture<'_, Result<Vec<StoredKey>, Error>> {
        async move {
            let found = self.read(Query::new("SELECT * FROM api_keys ORDER BY id")).await;
            found.map_err(failed("list API keys"))?.iter().map(|row| rows::read_key(row)).collect()
        }
        .boxed()
    }

    fn add_key<'a>(&'a self, key: &'a StoredKey) -> BoxFuture<'a, Result<(), Error>> {
        let query = Query::new(ADD)
            .bind(key.id.to_string())
            .bind(key.digest.to_string())
            .bind(&key.hint)
            .bind(&key.owner)
            .bind(rows::text(&key.scopes))
            .bind(&key.name)
            .bind(key.created_at)
            .bind(key.expires_at)
            .bind(key.revoked_at);
        async move {
            failpoint::hit("access.add.before");
            self.change(query).await.map_err(failed("store an API key"))?;
            failpoint::hit("access.add.after");
            Ok(())
        }
        .boxed()
    }

    fn revoke_key(&self, id: KeyId, at: i64) -> BoxFuture<'_, Result<(), Error>> {
        let query = Query::new("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id.to_string())
            .bind(at);
        async move {
            failpoint::hit("access.revoke.before");
            self.change(query).await.map_err(failed("revoke an API key"))?;
            failpoint::hit("access.revoke.after");
            Ok(())
        }
        .boxed()
    }
}
