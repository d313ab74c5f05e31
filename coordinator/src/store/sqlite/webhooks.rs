//! What receivers of webhooks are to hear, in the same file as the jobs.

use common::{
    api::{WebhookEvent, WebhookState},
    failpoint,
    id::JobId,
};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, read_tasks, rows::Reader};
use crate::store::{
    DueWebhook, Error, JobRecord, Receiver, StoredJob, StoredWebhook, WebhookOutcome, WebhookRecord,
    WebhookStore,
};

const ADD: &str = "
INSERT INTO webhook_events (id, job, event, url, receiver, body, created_at, state, due_at, tries, attempts)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, '[]')
ON CONFLICT (id) DO NOTHING";

/// From one to the next in the index: as many looks as there are receivers, however much there is for each.
const RECEIVERS: &str = "
WITH RECURSIVE known (name) AS (
    SELECT min(receiver) FROM webhook_events WHERE due_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(receiver) FROM webhook_events WHERE due_at IS NOT NULL AND receiver > known.name)
    FROM known WHERE known.name IS NOT NULL
)
SELECT name, (SELECT min(due_at) FROM webhook_events WHERE due_at IS NOT NULL AND receiver = known.name) AS due_at
FROM known WHERE name IS NOT NULL";

const DUE: &str = "
SELECT w.*, j.owner FROM webhook_events w JOIN jobs j ON j.id = w.job
WHERE w.due_at IS NOT NULL AND w.receiver = ?1 AND w.due_at <= ?2
    AND w.id NOT IN (SELECT value FROM json_each(?3))
ORDER BY w.due_at LIMIT ?4";

const SETTLE: &str =
    "UPDATE webhook_events SET state = ?2, due_at = ?3, tries = ?4, attempts = ?5 WHERE id = ?1";
const AGAIN: &str =
    "UPDATE webhook_events SET state = ?3, due_at = 0, tries = 0 WHERE id = ?1 AND job = ?2 RETURNING id";
const DUE_BY: &str = "UPDATE webhook_events SET due_at = ?1 WHERE due_at > ?1";
const FORGET: &str = "DELETE FROM webhook_events WHERE due_at IS NULL AND created_at < ?1";

/// Adds to a commit what is to be heard of the jobs in it, after their rows.
pub(super) async fn add(
    writer: &mut SqliteConnection,
    events: &[WebhookRecord],
    jobs: &[JobRecord],
) -> Result<(), Error> {
    for event in events {
        let Some(job) = jobs.iter().find(|job| job.id == event.job) else { continue };
        let tasks = match read_tasks(writer, event.job).await {
            // What cannot be read of its past does not keep the job from ending.
            Err(error @ Error::Corrupt { .. }) => {
                tracing::warn!(job = %event.job, %error, "a webhook goes without the job's tasks");
                Vec::new()
            }
            tasks => tasks?,
        };
        let body = event.body(&StoredJob { job: job.clone(), tasks });
        sqlx::query(ADD)
            .bind(&event.id)
            .bind(event.job.to_string())
            .bind(event.event.as_str())
            .bind(&event.url)
            .bind(&event.receiver)
            .bind(body)
            .bind(event.created_at)
            .bind(word(WebhookState::Pending))
            .execute(&mut *writer)
            .await
            .map_err(|source| Error::Database { doing: "write to the job store", source })?;
    }
    Ok(())
}

/// A unit variant as its name.
fn word(state: WebhookState) -> String {
    match json!(state) {
        Value::String(word) => word,
        other => other.to_string(),
    }
}

impl WebhookStore for SqliteStore {
    fn receivers(&self) -> BoxFuture<'_, Result<Vec<Receiver>, Error>> {
        async move {
            let found: Vec<(String, i64)> = sqlx::query_as(RECEIVERS)
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "list receivers of webhooks", source })?;
            Ok(found.into_iter().map(|(name, due_at)| Receiver { name, due_at }).collect())
        }
        .boxed()
    }

    fn due_webhooks<'a>(
        &'a self,
        receiver: &'a str,
        now: i64,
        except: &'a [String],
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<DueWebhook>, Error>> {
        async move {
            let found = sqlx::query(DUE)
                .bind(receiver)
                .bind(now)
                .bind(json!(except).to_string())
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "read what webhooks are due", source })?;
            found.iter().map(read_due).collect()
        }
        .boxed()
    }

    fn settle_webhook<'a>(&'a self, outcome: &'a WebhookOutcome) -> BoxFuture<'a, Result<(), Error>> {
        let statement = sqlx::query(SETTLE)
            .bind(&outcome.id)
            .bind(word(outcome.state))
            .bind(outcome.due_at)
            .bind(outcome.tries)
            .bind(json!(outcome.attempts).to_string());
        async move {
            failpoint::hit("webhook.settle.before");
            self.change("note an attempt of a webhook", statement).await?;
            failpoint::hit("webhook.settle.after");
            Ok(())
        }
        .boxed()
    }

    fn webhooks(&self, job: JobId) -> BoxFuture<'_, Result<Vec<StoredWebhook>, Error>> {
        async move {
            let found = sqlx::query("SELECT * FROM webhook_events WHERE job = ?1 ORDER BY created_at, id")
                .bind(job.to_string())
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "list webhooks of a job", source })?;
            found.iter().map(read).collect()
        }
        .boxed()
    }

    fn send_webhook_again<'a>(&'a self, job: JobId, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            let statement =
                sqlx::query(AGAIN).bind(id).bind(job.to_string()).bind(word(WebhookState::Pending));
            failpoint::hit("webhook.again.before");
            let mut writer = self.writer.lock().await;
            let found = statement.fetch_optional(&mut *writer).await;
            let found = found.map_err(|source| Error::Database { doing: "send a webhook again", source })?;
            failpoint::hit("webhook.again.after");
            Ok(found.is_some())
        }
        .boxed()
    }

    fn webhooks_due_by(&self, latest: i64) -> BoxFuture<'_, Result<(), Error>> {
        self.change("look at when webhooks are due", sqlx::query(DUE_BY).bind(latest)).boxed()
    }

    fn forget_webhooks(&self, before: i64) -> BoxFuture<'_, Result<(), Error>> {
        self.change("forget old webhooks", sqlx::query(FORGET).bind(before)).boxed()
    }
}

fn reader(row: &SqliteRow) -> Reader<'_> {
    Reader { table: "webhook_events", id_column: "id", row }
}

fn read(row: &SqliteRow) -> Result<StoredWebhook, Error> {
    let row = reader(row);
    Ok(StoredWebhook {
        id: row.get("id")?,
        event: row.word::<WebhookEvent>("event")?,
        url: row.get("url")?,
        created_at: row.get("created_at")?,
        state: row.word("state")?,
        due_at: row.get("due_at")?,
        attempts: row.json("attempts")?,
    })
}

fn read_due(row: &SqliteRow) -> Result<DueWebhook, Error> {
    let row = reader(row);
    Ok(DueWebhook {
        id: row.get("id")?,
        job: row.parse("job")?,
        owner: row.get("owner")?,
        event: row.word("event")?,
        url: row.get("url")?,
        body: row.get("body")?,
        tries: row.get("tries")?,
        attempts: row.json("attempts")?,
    })
}

#[cfg(test)]
#[path = "webhooks_tests.rs"]
mod tests;
