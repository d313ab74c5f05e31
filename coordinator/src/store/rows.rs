//! Records to rows and back. Rows that are written are JSON lists; in what is read, columns have names.

use std::{str::FromStr, sync::Arc};

use common::{
    api::{WebhookEvent, WebhookState},
    id::{AttemptId, Epoch},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{
    AttemptRecord, DueWebhook, Error, Held, IdempotencyRecord, JobDetails, JobRecord, LogRecord, StoredKey,
    StoredStream, StoredWebhook, TaskRecord, UploadRecord, WatchedRecord, WebhookRecord,
};

/// JSON as text inside the batch's JSON list. Records are plain data, so this cannot fail.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records are plain data with string keys")
}

/// A unit variant as its name.
pub(super) fn word<T: Serialize>(value: T) -> String {
    match json!(value) {
        Value::String(word) => word,
        other => other.to_string(),
    }
}

/// Bytes and other counts, which the databases keep as signed numbers.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn job(job: &JobRecord) -> Vec<Value> {
    vec![
        json!(job.id),
        json!(job.state),
        json!(job.request.owner),
        json!(job.submitted_at),
        json!(job.started_at),
        json!(job.finished_at),
        json!(text(&*job.request)),
        json!(job.worker.as_ref().map(text)),
        json!(job.failure.as_ref().map(text)),
        json!(text(&job.result)),
        json!(job.priority),
        json!(count(job.result.output_bytes())),
    ]
}

pub(super) fn task(task: &TaskRecord) -> Value {
    json!([
        task.id,
        task.job,
        task.kind,
        task.state,
        count(task.epoch.0),
        task.published.map(|epoch| count(epoch.0)),
        task.queued_at,
        task.finished_at,
        text(&task.history),
    ])
}

pub(super) fn attempt(attempt: &AttemptRecord) -> Value {
    json!([
        attempt.id.task,
        count(attempt.id.epoch.0),
        attempt.job,
        attempt.state,
        text(&attempt.worker),
        attempt.assigned_at,
        attempt.started_at,
        attempt.finished_at,
        text(&attempt.details),
    ])
}

pub(super) fn idempotency(record: &IdempotencyRecord) -> Value {
    let owner = record.owner.as_deref().unwrap_or_default();
    json!([owner, record.key, record.digest.to_string(), record.job, record.submitted_at])
}

pub(super) fn log(log: &LogRecord) -> Value {
    json!([log.id.task, count(log.id.epoch.0), text(&log.lines)])
}

pub(super) fn webhook(event: &WebhookRecord, body: &str) -> Value {
    let state = word(WebhookState::Pending);
    json!([
        event.id,
        event.job,
        event.event.as_str(),
        event.url,
        event.receiver,
        body,
        event.created_at,
        state
    ])
}

/// A row of either database.
pub(super) trait Columns: Send + Sync {
    fn text(&self, column: &str) -> sqlx::Result<Option<String>>;
    fn number(&self, column: &str) -> sqlx::Result<Option<i64>>;
    fn flag(&self, column: &str) -> sqlx::Result<bool>;
}

impl<R> Columns for R
where
    R: Row + Send + Sync,
    for<'c> &'c str: ColumnIndex<R>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> bool: Decode<'r, R::Database> + Type<R::Database>,
{
    fn text(&self, column: &str) -> sqlx::Result<Option<String>> {
        self.try_get(column)
    }

    fn number(&self, column: &str) -> sqlx::Result<Option<i64>> {
        self.try_get(column)
    }

    fn flag(&self, column: &str) -> sqlx::Result<bool> {
        self.try_get(column)
    }
}

/// Reads the columns of one row and names the row when one of them is unreadable.
pub(super) struct Reader<'a> {
    pub(super) table: &'static str,
    pub(super) id_column: &'static str,
    pub(super) row: &'a dyn Columns,
}

impl Reader<'_> {
    fn corrupt(&self, column: &str, reason: &dyn std::fmt::Display) -> Error {
        let row = self.row.text(self.id_column).ok().flatten().unwrap_or_else(|| "?".to_owned());
        Error::Corrupt { table: self.table, row, reason: format!("column {column}: {reason}") }
    }

    fn there<T>(&self, column: &'static str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.corrupt(column, &"it is NULL"))
    }

    pub(super) fn optional_text(&self, column: &'static str) -> Result<Option<String>, Error> {
        self.row.text(column).map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, Error> {
        self.there(column, self.optional_text(column)?)
    }

    pub(super) fn optional_number(&self, column: &'static str) -> Result<Option<i64>, Error> {
        self.row.number(column).map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn number(&self, column: &'static str) -> Result<i64, Error> {
        self.there(column, self.optional_number(column)?)
    }

    pub(super) fn flag(&self, column: &'static str) -> Result<bool, Error> {
        self.row.flag(column).map_err(|error| self.corrupt(column, &error))
    }

    /// A number that is smaller in memory.
    pub(super) fn within<T: TryFrom<i64, Error: std::fmt::Display>>(
        &self,
        column: &'static str,
    ) -> Result<T, Error> {
        T::try_from(self.number(column)?).map_err(|error| self.corrupt(column, &error))
    }

    fn optional_within<T: TryFrom<i64, Error: std::fmt::Display>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        self.optional_number(column)?
            .map(T::try_from)
            .transpose()
            .map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&self, column: &'static str) -> Result<T, Error> {
        self.text(column)?.parse().map_err(|error| self.corrupt(column, &error))
    }

    /// A unit variant that is kept as its name.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        serde_json::from_value(Value::String(self.text(column)?))
            .map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        serde_json::from_str(&self.text(column)?).map_err(|error| self.corrupt(column, &error))
    }

    fn optional_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let text = self.optional_text(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| self.corrupt(column, &error))).transpose()
    }
}

pub(super) fn read_job(row: &dyn Columns) -> Result<JobRecord, Error> {
    let row = Reader { table: "jobs", id_column: "id", row };
    let request: JobDetails = row.json("request")?;
    Ok(JobRecord {
        id: row.parse("id")?,
        state: row.word("state")?,
        priority: row.optional_within("priority")?.unwrap_or(request.priority),
        request: Arc::new(request),
        submitted_at: row.number("submitted_at")?,
        started_at: row.optional_number("started_at")?,
        finished_at: row.optional_number("finished_at")?,
        failure: row.optional_json("failure")?,
        worker: row.optional_json("worker")?,
        result: row.json("result")?,
    })
}

pub(super) fn read_task(row: &dyn Columns) -> Result<TaskRecord, Error> {
    let row = Reader { table: "tasks", id_column: "id", row };
    Ok(TaskRecord {
        id: row.parse("id")?,
        job: row.parse("job")?,
        kind: row.word("kind")?,
        state: row.word("state")?,
        epoch: Epoch(row.within("epoch")?),
        published: row.optional_within("published")?.map(Epoch),
        queued_at: row.number("queued_at")?,
        finished_at: row.optional_number("finished_at")?,
        history: row.json("history")?,
    })
}

pub(super) fn read_attempt(row: &dyn Columns) -> Result<AttemptRecord, Error> {
    let row = Reader { table: "attempts", id_column: "task", row };
    Ok(AttemptRecord {
        id: AttemptId { task: row.parse("task")?, epoch: Epoch(row.within("epoch")?) },
        job: row.parse("job")?,
        state: row.word("state")?,
        worker: row.json("worker")?,
        assigned_at: row.number("assigned_at")?,
        started_at: row.optional_number("started_at")?,
        finished_at: row.optional_number("finished_at")?,
        details: row.json("details")?,
    })
}

pub(super) fn read_log(row: &dyn Columns) -> Result<LogRecord, Error> {
    let row = Reader { table: "attempt_logs", id_column: "task", row };
    Ok(LogRecord {
        id: AttemptId { task: row.parse("task")?, epoch: Epoch(row.within("epoch")?) },
        lines: row.json("lines")?,
    })
}

pub(super) fn read_idempotency(row: &dyn Columns) -> Result<IdempotencyRecord, Error> {
    let row = Reader { table: "idempotency_keys", id_column: "key", row };
    let owner = row.text("owner")?;
    Ok(IdempotencyRecord {
        owner: Some(owner).filter(|owner| !owner.is_empty()),
        key: row.text("key")?,
        digest: row.parse("digest")?,
        job: row.parse("job")?,
        submitted_at: row.number("submitted_at")?,
    })
}

pub(super) fn read_key(row: &dyn Columns) -> Result<StoredKey, Error> {
    let row = Reader { table: "api_keys", id_column: "id", row };
    Ok(StoredKey {
        id: row.parse("id")?,
        digest: row.parse("digest")?,
        hint: row.text("hint")?,
        owner: row.optional_text("owner")?,
        scopes: row.json("scopes")?,
        name: row.optional_text("name")?,
        created_at: row.number("created_at")?,
        expires_at: row.optional_number("expires_at")?,
        revoked_at: row.optional_number("revoked_at")?,
    })
}

pub(super) fn read_stream(row: &dyn Columns) -> Result<StoredStream, Error> {
    let row = Reader { table: "streams", id_column: "id", row };
    Ok(StoredStream { id: row.parse("id")?, spec: row.json("spec")?, created_at: row.number("created_at")? })
}

pub(super) fn read_upload(row: &dyn Columns) -> Result<UploadRecord, Error> {
    let row = Reader { table: "uploads", id_column: "id", row };
    Ok(UploadRecord {
        id: row.parse("id")?,
        details: row.json("details")?,
        length: row.optional_within("length")?,
        received: row.within("received")?,
        placed: row.flag("placed")?,
        created_at: row.number("created_at")?,
        expires_at: row.number("expires_at")?,
    })
}

pub(super) fn read_watched(row: &dyn Columns) -> Result<WatchedRecord, Error> {
    let row = Reader { table: "watched", id_column: "object", row };
    Ok(WatchedRecord {
        place: row.text("place")?,
        object: row.text("object")?,
        version: row.text("version")?,
        job: row.parse("job")?,
        submitted: row.flag("submitted")?,
        seen_at: row.number("seen_at")?,
    })
}

pub(super) fn read_held(row: &dyn Columns) -> Result<(String, Held), Error> {
    let row = Reader { table: "owner_bytes", id_column: "owner", row };
    Ok((row.text("owner")?, Held { uploads: row.within("uploads")?, outputs: row.within("outputs")? }))
}

pub(super) fn read_webhook(row: &dyn Columns) -> Result<StoredWebhook, Error> {
    let row = Reader { table: "webhook_events", id_column: "id", row };
    Ok(StoredWebhook {
        id: row.text("id")?,
        event: row.word::<WebhookEvent>("event")?,
        url: row.text("url")?,
        created_at: row.number("created_at")?,
        state: row.word("state")?,
        due_at: row.optional_number("due_at")?,
        attempts: row.json("attempts")?,
    })
}

pub(super) fn read_due_webhook(row: &dyn Columns) -> Result<DueWebhook, Error> {
    let row = Reader { table: "webhook_events", id_column: "id", row };
    Ok(DueWebhook {
        id: row.text("id")?,
        job: row.parse("job")?,
        owner: row.optional_text("owner")?,
        event: row.word("event")?,
        url: row.text("url")?,
        body: row.text("body")?,
        tries: row.within("tries")?,
        attempts: row.json("attempts")?,
    })
}
