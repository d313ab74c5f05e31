//! Records to rows and back.

use std::{str::FromStr, sync::Arc};

use common::id::{AttemptId, Epoch};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sqlx::{Row, sqlite::SqliteRow};

use super::super::{
    AttemptRecord, Error, IdempotencyRecord, JobDetails, JobRecord, LogRecord, StoredKey, TaskRecord,
};

/// JSON as text inside the batch's JSON list. Records are plain data, so this cannot fail.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records are plain data with string keys")
}

pub(super) fn job(job: &JobRecord) -> Value {
    json!([
        job.id,
        job.state,
        job.request.owner,
        job.submitted_at,
        job.started_at,
        job.finished_at,
        text(&*job.request),
        job.worker.as_ref().map(text),
        job.failure.as_ref().map(text),
        text(&job.result),
        job.priority,
        i64::try_from(job.result.output_bytes()).unwrap_or(i64::MAX),
    ])
}

pub(super) fn task(task: &TaskRecord) -> Value {
    json!([
        task.id,
        task.job,
        task.kind,
        task.state,
        task.epoch,
        task.published,
        task.queued_at,
        task.finished_at,
        text(&task.history),
    ])
}

pub(super) fn attempt(attempt: &AttemptRecord) -> Value {
    json!([
        attempt.id.task,
        attempt.id.epoch,
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
    json!([log.id.task, log.id.epoch, text(&log.lines)])
}

/// Reads the columns of one row and names the row when one of them is unreadable.
pub(super) struct Reader<'a> {
    pub(super) table: &'static str,
    pub(super) id_column: &'static str,
    pub(super) row: &'a SqliteRow,
}

impl Reader<'_> {
    fn corrupt(&self, column: &str, reason: &dyn std::fmt::Display) -> Error {
        let row = self.row.try_get::<String, _>(self.id_column).unwrap_or_else(|_| "?".to_owned());
        Error::Corrupt { table: self.table, row, reason: format!("column {column}: {reason}") }
    }

    pub(super) fn get<'r, T>(&'r self, column: &'static str) -> Result<T, Error>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.row.try_get(column).map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&self, column: &'static str) -> Result<T, Error> {
        self.get::<String>(column)?.parse().map_err(|error| self.corrupt(column, &error))
    }

    /// A unit variant that is kept as its name.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        serde_json::from_value(Value::String(self.get(column)?)).map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| self.corrupt(column, &error))
    }

    fn optional_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| self.corrupt(column, &error))).transpose()
    }

    fn epoch(&self, column: &'static str) -> Result<Epoch, Error> {
        let number: i64 = self.get(column)?;
        u64::try_from(number).map(Epoch).map_err(|error| self.corrupt(column, &error))
    }
}

pub(super) fn read_job(row: &SqliteRow) -> Result<JobRecord, Error> {
    let row = Reader { table: "jobs", id_column: "id", row };
    let request: JobDetails = row.json("request")?;
    Ok(JobRecord {
        id: row.parse("id")?,
        state: row.word("state")?,
        priority: row.get::<Option<i32>>("priority")?.unwrap_or(request.priority),
        request: Arc::new(request),
        submitted_at: row.get("submitted_at")?,
        started_at: row.get("started_at")?,
        finished_at: row.get("finished_at")?,
        failure: row.optional_json("failure")?,
        worker: row.optional_json("worker")?,
        result: row.json("result")?,
    })
}

pub(super) fn read_task(row: &SqliteRow) -> Result<TaskRecord, Error> {
    let row = Reader { table: "tasks", id_column: "id", row };
    let published: Option<i64> = row.get("published")?;
    Ok(TaskRecord {
        id: row.parse("id")?,
        job: row.parse("job")?,
        kind: row.word("kind")?,
        state: row.word("state")?,
        epoch: row.epoch("epoch")?,
        published: published.map(|_| row.epoch("published")).transpose()?,
        queued_at: row.get("queued_at")?,
        finished_at: row.get("finished_at")?,
        history: row.json("history")?,
    })
}

pub(super) fn read_attempt(row: &SqliteRow) -> Result<AttemptRecord, Error> {
    let row = Reader { table: "attempts", id_column: "task", row };
    Ok(AttemptRecord {
        id: AttemptId { task: row.parse("task")?, epoch: row.epoch("epoch")? },
        job: row.parse("job")?,
        state: row.word("state")?,
        worker: row.json("worker")?,
        assigned_at: row.get("assigned_at")?,
        started_at: row.get("started_at")?,
        finished_at: row.get("finished_at")?,
        details: row.json("details")?,
    })
}

pub(super) fn read_log(row: &SqliteRow) -> Result<LogRecord, Error> {
    let row = Reader { table: "attempt_logs", id_column: "task", row };
    Ok(LogRecord {
        id: AttemptId { task: row.parse("task")?, epoch: row.epoch("epoch")? },
        lines: row.json("lines")?,
    })
}

pub(super) fn read_idempotency(row: &SqliteRow) -> Result<IdempotencyRecord, Error> {
    let row = Reader { table: "idempotency_keys", id_column: "key", row };
    let owner: String = row.get("owner")?;
    Ok(IdempotencyRecord {
        owner: Some(owner).filter(|owner| !owner.is_empty()),
        key: row.get("key")?,
        digest: row.parse("digest")?,
        job: row.parse("job")?,
        submitted_at: row.get("submitted_at")?,
    })
}

pub(super) fn read_key(row: &SqliteRow) -> Result<StoredKey, Error> {
    let row = Reader { table: "api_keys", id_column: "id", row };
    Ok(StoredKey {
        id: row.parse("id")?,
        digest: row.parse("digest")?,
        hint: row.get("hint")?,
        owner: row.get("owner")?,
        scopes: row.json("scopes")?,
        name: row.get("name")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
    })
}
