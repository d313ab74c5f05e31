//! Quotas and idempotency keys, in the same file as the jobs.

use std::collections::BTreeMap;

use common::{api::Quotas, failpoint};
use serde_json::json;

use super::{SqliteStore, rows};
use crate::store::{Error, IdempotencyRecord};

impl SqliteStore {
    pub(super) async fn read_idempotency(&self, since: i64) -> Result<Vec<IdempotencyRecord>, Error> {
        let found =
            sqlx::query("SELECT * FROM idempotency_keys WHERE submitted_at > ?1 ORDER BY submitted_at")
                .bind(since)
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "read idempotency keys", source })?;
        found.iter().map(rows::read_idempotency).collect()
    }

    pub(super) async fn read_quotas(&self) -> Result<BTreeMap<String, Quotas>, Error> {
        let found: Vec<(String, String)> = sqlx::query_as("SELECT owner, quotas FROM owner_quotas")
            .fetch_all(&self.readers)
            .await
            .map_err(|source| Error::Database { doing: "read quotas", source })?;
        let parsed = found.into_iter().map(|(owner, text)| match serde_json::from_str(&text) {
            Ok(quotas) => Ok((owner, quotas)),
            Err(error) => {
                Err(Error::Corrupt { table: "owner_quotas", row: owner, reason: error.to_string() })
            }
        });
        parsed.collect()
    }

    pub(super) async fn write_quotas(&self, owner: &str, quotas: Option<Quotas>) -> Result<(), Error> {
        let statement = match quotas {
            Some(quotas) => {
                sqlx::query("INSERT OR REPLACE INTO owner_quotas (owner, quotas) VALUES (?1, ?2)")
                    .bind(owner)
                    .bind(json!(quotas).to_string())
            }
            None => sqlx::query("DELETE FROM owner_quotas WHERE owner = ?1").bind(owner),
        };
        failpoint::hit("quota.set.before");
        self.change("store a quota", statement).await?;
        failpoint::hit("quota.set.after");
        Ok(())
    }
}
