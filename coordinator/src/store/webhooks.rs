//! What receivers of webhooks are to hear.

use common::{api::WebhookState, failpoint, id::JobId};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;

use super::{
    DueWebhook, Error, JobRecord, Receiver, StoredJob, StoredWebhook, WebhookOutcome, WebhookRecord,
    WebhookStore,
    engine::{Engine, Query, failed},
    jobs::read_tasks,
    rows::{self, Reader},
};

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

const SETTLE: &str =
    "UPDATE webhook_events SET state = $2, due_at = $3, tries = $4, attempts = $5 WHERE id = $1";
const AGAIN: &str = "UPDATE webhook_events SET state = $3, due_at = 0, tries = 0 WHERE id = $1 AND job = $2";
const DUE_BY: &str = "UPDATE webhook_events SET due_at = $1 WHERE due_at > $1";
const FORGET: &str = "DELETE FROM webhook_events WHERE due_at IS NULL AND created_at < $1";

/// What is to be heard of the jobs in a commit, with what the commit made of their tasks.
pub(super) async fn rows_of<E: Engine>(
    writing: &mut E::Writing<'_>,
    events: &[WebhookRecord],
    jobs: &[JobRecord],
) -> Result<Vec<Value>, Error> {
    let ids: Vec<JobId> = events.iter().map(|event| event.job).collect();
    let mut tasks = read_tasks(writing, E::DIALECT.tasks_of, E::DIALECT.attempts_of, &ids).await?;
    let row = |event: &WebhookRecord| {
        let job = jobs.iter().find(|job| job.id == event.job)?;
        let tasks = tasks.remove(&event.job).unwrap_or(Ok(Vec::new())).unwrap_or_else(|error| {
            // What cannot be read of its past does not keep the job from ending.
            tracing::warn!(job = %event.job, %error, "a webhook goes without the job's tasks");
            Vec::new()
        });
        Some(rows::webhook(event, &event.body(&StoredJob { job: job.clone(), tasks })))
    };
    Ok(events.iter().filter_map(row).collect())
}

impl<E: Engine> WebhookStore for E {
    fn receivers(&self) -> BoxFuture<'_, Result<Vec<Receiver>, Error>> {
        async move {
            let found =
                self.read(Query::new(RECEIVERS)).await.map_err(failed("list receivers of webhooks"))?;
            let receiver = |row: &E::Row| {
                let row = Reader { table: "webhook_events", id_column: "name", row };
                Ok(Receiver { name: row.text("name")?, due_at: row.number("due_at")? })
            };
            found.iter().map(receiver).collect()
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
        let query = Query::new(E::DIALECT.due_webhooks)
            .bind(receiver)
            .bind(now)
            .bind(except.iter().map(|id| Value::from(id.as_str())).collect::<Vec<_>>())
            .bind(i64::try_from(most).unwrap_or(i64::MAX));
        async move {
            let found = self.read(query).await.map_err(failed("read what webhooks are due"))?;
            found.iter().map(|row| rows::read_due_webhook(row)).collect()
        }
        .boxed()
    }

    fn settle_webhook<'a>(&'a self, outcome: &'a WebhookOutcome) -> BoxFuture<'a, Result<(), Error>> {
        let query = Query::new(SETTLE)
            .bind(&outcome.id)
            .bind(rows::word(outcome.state))
            .bind(outcome.due_at)
            .bind(outcome.tries)
            .bind(rows::text(&outcome.attempts));
        async move {
            failpoint::hit("webhook.settle.before");
            self.change(query).await.map_err(failed("note an attempt of a webhook"))?;
            failpoint::hit("webhook.settle.after");
            Ok(())
        }
        .boxed()
    }

    fn webhooks(&self, job: JobId) -> BoxFuture<'_, Result<Vec<StoredWebhook>, Error>> {
        async move {
            let query = Query::new("SELECT * FROM webhook_events WHERE job = $1 ORDER BY created_at, id");
            let found =
                self.read(query.bind(job.to_string())).await.map_err(failed("list webhooks of a job"))?;
            found.iter().map(|row| rows::read_webhook(row)).collect()
        }
        .boxed()
    }

    fn send_webhook_again<'a>(&'a self, job: JobId, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        let query = Query::new(AGAIN).bind(id).bind(job.to_string()).bind(rows::word(WebhookState::Pending));
        async move {
            failpoint::hit("webhook.again.before");
            let found = self.change(query).await.map_err(failed("send a webhook again"))?;
            failpoint::hit("webhook.again.after");
            Ok(found > 0)
        }
        .boxed()
    }

    fn webhooks_due_by(&self, latest: i64) -> BoxFuture<'_, Result<(), Error>> {
        let query = Query::new(DUE_BY).bind(latest);
        async move { self.change(query).await.map(drop).map_err(failed("look at when webhooks are due")) }
            .boxed()
    }

    fn forget_webhooks(&self, before: i64) -> BoxFuture<'_, Result<(), Error>> {
        let query = Query::new(FORGET).bind(before);
        async move { self.change(query).await.map(drop).map_err(failed("forget old webhooks")) }.boxed()
    }
}
