//! One SQLite file: WAL, `synchronous=FULL`, one writer connection, readers beside it.
//!
//! A batch is at most four statements, each of which takes all its rows as one JSON list, so that the price of a commit
//! is the fsync and not the number of rows.

mod rows;

use std::path::Path;

use common::{failpoint, id::JobId};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use super::{Changes, Error, JobRecord, JobStore, LogRecord, StoredJob};
use crate::queue::JobFilter;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Readers at most. Lists and single jobs are short reads; more would only queue on the two cores of a small machine.
const READERS: u32 = 4;

pub struct SqliteStore {
    /// The one writer. Only the queue commits, so nobody waits for this lock.
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens or creates the file and brings its tables up to date.
    ///
    /// # Errors
    /// The folder cannot be written, the file is no SQLite database or comes from a newer version.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::from_secs(5));
        let open = |source| Error::Database { doing: "open the job store", source };
        let mut writer = SqliteConnection::connect_with(&options).await.map_err(open)?;
        failpoint::hit("store.migrate.before");
        MIGRATIONS.run(&mut writer).await?;
        failpoint::hit("store.migrate.after");
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(open)?;
        Ok(Self { writer: Mutex::new(writer), readers })
    }

    async fn write(&self, changes: &Changes) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        let failed = |source| Error::Database { doing: "write to the job store", source };
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        failpoint::hit("store.commit.begun");
        let batches = [
            (UPSERT_JOBS, changes.jobs.iter().map(rows::job).collect::<Vec<Value>>()),
            (UPSERT_TASKS, changes.tasks.iter().map(rows::task).collect()),
            (UPSERT_ATTEMPTS, changes.attempts.iter().map(rows::attempt).collect()),
            (UPSERT_LOGS, changes.logs.iter().map(rows::log).collect()),
        ];
        for (statement, rows) in batches {
            if !rows.is_empty() {
                sqlx::query(statement)
                    .bind(json!(rows).to_string())
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
            }
        }
        failpoint::hit("store.commit.before");
        transaction.commit().await.map_err(failed)?;
        failpoint::hit("store.commit.after");
        Ok(())
    }

    async fn read_jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, Error> {
        // One fixed statement: an absent condition is a NULL parameter.
        let states = (!filter.states.is_empty()).then(|| json!(filter.states).to_string());
        let found = sqlx::query(SELECT_JOBS)
            .bind(states)
            .bind(filter.owner.as_deref())
            .bind(filter.before.map(|id| id.to_string()))
            .bind(filter.limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|source| Error::Database { doing: "list jobs", source })?;
        found.iter().map(rows::read_job).collect()
    }

    async fn read_job(&self, id: &str) -> Result<Option<StoredJob>, Error> {
        let failed = |source| Error::Database { doing: "read a job", source };
        // One transaction, so that the three reads see one moment.
        let mut snapshot = self.readers.begin().await.map_err(failed)?;
        let Some(row) = sqlx::query("SELECT * FROM jobs WHERE id = ?1")
            .bind(id)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(failed)?
        else {
            return Ok(None);
        };
        let tasks = sqlx::query("SELECT * FROM tasks WHERE job = ?1 ORDER BY id")
            .bind(id)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed)?;
        let attempts = sqlx::query("SELECT * FROM attempts WHERE job = ?1 ORDER BY task, epoch")
            .bind(id)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed)?;
        let attempts = attempts.iter().map(rows::read_attempt).collect::<Result<Vec<_>, _>>()?;
        let tasks = tasks
            .iter()
            .map(|row| {
                let task = rows::read_task(row)?;
                let own = attempts.iter().filter(|attempt| attempt.id.task == task.id).cloned().collect();
                Ok((task, own))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Some(StoredJob { job: rows::read_job(&row)?, tasks }))
    }

    async fn read_unfinished(&self) -> Result<Vec<StoredJob>, Error> {
        let ids: Vec<String> =
            sqlx::query_scalar("SELECT id FROM jobs WHERE state IN ('queued', 'running') ORDER BY id")
                .fetch_all(&self.readers)
                .await
                .map_err(|source| Error::Database { doing: "read unfinished jobs", source })?;
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            jobs.extend(self.read_job(&id).await?);
        }
        Ok(jobs)
    }

    async fn read_logs(&self, job: JobId) -> Result<Vec<LogRecord>, Error> {
        let found = sqlx::query(
            "SELECT l.* FROM attempt_logs l JOIN attempts a ON a.task = l.task AND a.epoch = l.epoch \
             WHERE a.job = ?1 ORDER BY l.task, l.epoch",
        )
        .bind(job.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|source| Error::Database { doing: "read logs", source })?;
        found.iter().map(rows::read_log).collect()
    }
}

impl JobStore for SqliteStore {
    fn commit<'a>(&'a self, changes: &'a Changes) -> BoxFuture<'a, Result<(), Error>> {
        self.write(changes).boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<StoredJob>, Error>> {
        self.read_unfinished().boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<StoredJob>, Error>> {
        async move { self.read_job(&id.to_string()).await }.boxed()
    }

    fn jobs<'a>(&'a self, filter: &'a JobFilter) -> BoxFuture<'a, Result<Vec<JobRecord>, Error>> {
        self.read_jobs(filter).boxed()
    }

    fn logs(&self, job: JobId) -> BoxFuture<'_, Result<Vec<LogRecord>, Error>> {
        self.read_logs(job).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.readers.close().await;
            // Everything is committed: a checkpoint only makes the next start shorter, so its failure loses nothing.
            let mut writer = self.writer.lock().await;
            failpoint::hit("store.close.before");
            if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *writer).await {
                tracing::warn!(%error, "the job store's log was not folded in; the next start does it");
            }
            failpoint::hit("store.close.after");
        }
        .boxed()
    }
}

const UPSERT_JOBS: &str = "
INSERT INTO jobs (id, state, owner, submitted_at, started_at, finished_at, request, worker, failure, result)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9
FROM json_each(?1) WHERE true
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
    worker = excluded.worker, failure = excluded.failure, result = excluded.result";

const UPSERT_TASKS: &str = "
INSERT INTO tasks (id, job, kind, state, epoch, published, queued_at, finished_at, history)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
FROM json_each(?1) WHERE true
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, epoch = excluded.epoch, published = excluded.published,
    queued_at = excluded.queued_at, finished_at = excluded.finished_at, history = excluded.history";

const UPSERT_ATTEMPTS: &str = "
INSERT INTO attempts (task, epoch, job, state, worker, assigned_at, started_at, finished_at, details)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
FROM json_each(?1) WHERE true
ON CONFLICT (task, epoch) DO UPDATE SET
    state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
    details = excluded.details";

const UPSERT_LOGS: &str = "
INSERT INTO attempt_logs (task, epoch, lines)
SELECT value->>0, value->>1, value->>2 FROM json_each(?1) WHERE true
ON CONFLICT (task, epoch) DO UPDATE SET lines = excluded.lines";

const SELECT_JOBS: &str = "
SELECT * FROM jobs
WHERE (?1 IS NULL OR state IN (SELECT value FROM json_each(?1)))
  AND (?2 IS NULL OR owner = ?2)
  AND (?3 IS NULL OR id < ?3)
ORDER BY id DESC LIMIT ?4";

#[cfg(test)]
mod tests;
