//! One SQLite file: WAL, `synchronous=FULL`, one writer connection, readers beside it.
//!
//! A batch is at most four statements, each of which takes all its rows as one JSON list, so that the price of a commit
//! is the fsync and not the number of rows.
//!
//! A new file is made under another name and appears with all its tables or not at all, so that an empty or half-made file
//! is never one of ours. A file that is there is looked at before it is opened ([`inspect`]).

mod holdings;
mod inspect;
mod keys;
mod owners;
mod rows;
mod select;
mod streams;
mod uploads;
mod watched;
mod webhooks;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::Path,
};

use common::{
    api::{JobState, Quotas},
    failpoint,
    id::{JobId, TaskId},
};
use futures::{
    FutureExt, StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde_json::{Value, json};
use sqlx::{
    Connection, Row as _, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tokio::sync::Mutex;

use self::inspect::{Found, beside, inspect};
pub use self::inspect::{Reason, Refusal};
use super::{
    AttemptRecord, Changes, Error, IdempotencyRecord, JobRecord, JobStore, LogRecord, StoredJob, TaskRecord,
};
use crate::queue::{IDEMPOTENCY_KEPT, JobFilter};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Readers at most. Lists and single jobs are short reads; more would only queue on the two cores of a small machine.
const READERS: u32 = 4;
/// Unfinished jobs that are read at once after a start: what memory holds of them twice.
const RESTORED: u32 = 500;

pub struct SqliteStore {
    /// The one writer. Besides the queue only a change of a stream commits, which is rare: nobody waits for this lock for
    /// long.
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens or creates the file and brings its tables up to date.
    ///
    /// # Errors
    /// The folder cannot be written, or what is there is refused: no database, damaged, from a newer version. It is left
    /// as it was then.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, &MIGRATIONS).await
    }

    async fn open_with(path: &Path, migrations: &Migrator) -> Result<Self, Error> {
        if inspect(path, migrations).await? == Found::Nothing {
            create(path, migrations).await?;
        }
        let open = |source| Error::Database { doing: "open the job store", source };
        let mut writer = SqliteConnection::connect_with(&options(path)).await.map_err(open)?;
        migrate(&mut writer, path, migrations).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options(path).read_only(true))
            .await
            .map_err(open)?;
        Ok(Self { writer: Mutex::new(writer), readers })
    }

    async fn write(&self, changes: &Changes) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        let written = transact(&mut writer, changes).await;
        if written.is_err() {
            // After a full disk SQLite has rolled back already and says so; either way there is no transaction now.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *writer).await;
        }
        written
    }

    async fn read_jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, Error> {
        let found = select::jobs(filter)
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(|source| Error::Database { doing: "list jobs", source })?;
        found.iter().map(rows::read_job).collect()
    }

    async fn read_job_counts(&self, owner: Option<&str>) -> Result<BTreeMap<JobState, u64>, Error> {
        let query = match owner {
            Some(owner) => sqlx::query_as(select::COUNTS_OF).bind(owner),
            None => sqlx::query_as(select::COUNTS),
        };
        let found: Vec<(String, i64)> = query
            .fetch_all(&self.readers)
            .await
            .map_err(|source| Error::Database { doing: "count jobs", source })?;
        let count = |(state, count): (String, i64)| {
            let known = serde_json::from_value(Value::from(state.as_str()));
            let known = known.map_err(|error| Error::Corrupt {
                table: "jobs",
                row: state,
                reason: error.to_string(),
            });
            known.map(|state| (state, u64::try_from(count).unwrap_or_default()))
        };
        found.into_iter().map(count).collect()
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
        let job = rows::read_job(&row)?;
        let tasks = read_tasks(&mut snapshot, job.id).await?;
        Ok(Some(StoredJob { job, tasks }))
    }

    /// The next unfinished jobs after `after`, oldest first, all of one moment.
    async fn read_unfinished(&self, after: Option<JobId>) -> Result<Vec<StoredJob>, Error> {
        let failed = |source| Error::Database { doing: "read unfinished jobs", source };
        let mut snapshot = self.readers.begin().await.map_err(failed)?;
        let after = after.map_or_else(String::new, |id| id.to_string());
        let jobs = sqlx::query(select::UNFINISHED)
            .bind(after)
            .bind(RESTORED)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed)?;
        let ids = jobs.iter().map(|row| row.try_get::<&str, _>("id")).collect::<Result<Vec<_>, _>>();
        let ids = json!(ids.map_err(failed)?).to_string();
        let tasks =
            sqlx::query(select::TASKS_OF).bind(&ids).fetch_all(&mut *snapshot).await.map_err(failed)?;
        let attempts =
            sqlx::query(select::ATTEMPTS_OF).bind(&ids).fetch_all(&mut *snapshot).await.map_err(failed)?;
        assemble(&jobs, &tasks, &attempts)
    }

    async fn read_objects_in_use(&self) -> Result<HashSet<String>, Error> {
        let found: Vec<String> = sqlx::query_scalar(select::OBJECTS_IN_USE)
            .fetch_all(&self.readers)
            .await
            .map_err(|source| Error::Database { doing: "read the inputs of unfinished jobs", source })?;
        Ok(found.into_iter().collect())
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

/// Each with its attempts.
type Tasks = Vec<(TaskRecord, Vec<AttemptRecord>)>;

/// Those of a job.
async fn read_tasks(connection: &mut SqliteConnection, job: JobId) -> Result<Tasks, Error> {
    let failed = |source| Error::Database { doing: "read a job's tasks", source };
    let id = job.to_string();
    let tasks = sqlx::query("SELECT * FROM tasks WHERE job = ?1 ORDER BY id")
        .bind(&id)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let attempts = sqlx::query("SELECT * FROM attempts WHERE job = ?1 ORDER BY task, epoch")
        .bind(&id)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    Ok(assemble_tasks(&tasks, &attempts)?.remove(&job).unwrap_or_default())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(std::time::Duration::from_secs(5))
}

/// All of the changes or none, once this returns. In plain SQL: a transaction of sqlx counts its begins and ends, and counts
/// wrongly ever after SQLite ended one by itself, as it does on a full disk.
async fn transact(writer: &mut SqliteConnection, changes: &Changes) -> Result<(), Error> {
    let failed = |source| Error::Database { doing: "write to the job store", source };
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *writer).await.map_err(failed)?;
    failpoint::hit("store.commit.begun");
    let batches = [
        (UPSERT_JOBS, changes.jobs.iter().map(rows::job).collect::<Vec<Value>>()),
        (UPSERT_TASKS, changes.tasks.iter().map(rows::task).collect()),
        (UPSERT_ATTEMPTS, changes.attempts.iter().map(rows::attempt).collect()),
        (UPSERT_LOGS, changes.logs.iter().map(rows::log).collect()),
        (UPSERT_IDEMPOTENCY, changes.idempotency.iter().map(rows::idempotency).collect()),
    ];
    for (statement, rows) in batches {
        if !rows.is_empty() {
            let rows = json!(rows).to_string();
            sqlx::query(statement).bind(rows).execute(&mut *writer).await.map_err(failed)?;
        }
    }
    webhooks::add(writer, &changes.webhooks, &changes.jobs).await?;
    if let Some(newest) = changes.idempotency.iter().map(|record| record.submitted_at).max() {
        sqlx::query("DELETE FROM idempotency_keys WHERE submitted_at <= ?1")
            .bind(newest - IDEMPOTENCY_KEPT)
            .execute(&mut *writer)
            .await
            .map_err(failed)?;
    }
    failpoint::hit("store.commit.before");
    sqlx::raw_sql("COMMIT").execute(&mut *writer).await.map_err(failed)?;
    failpoint::hit("store.commit.after");
    Ok(())
}

/// Each migration is one transaction: should one fail, the file is as the one before left it.
async fn migrate(writer: &mut SqliteConnection, path: &Path, migrations: &Migrator) -> Result<(), Error> {
    failpoint::hit("store.migrate.before");
    migrations.run(writer).await.map_err(|source| Error::Migrate { path: path.to_owned(), source })?;
    failpoint::hit("store.migrate.after");
    Ok(())
}

/// Makes a new file under another name, then gives it its own.
async fn create(path: &Path, migrations: &Migrator) -> Result<(), Error> {
    let create = |source| Error::Database { doing: "create the job store", source };
    let unfinished = beside(path, ".new");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        // Of a coordinator that was killed here.
        remove(&beside(&unfinished, suffix)).map_err(|error| create(error.into()))?;
    }
    let mut connection = SqliteConnection::connect_with(&options(&unfinished).create_if_missing(true))
        .await
        .map_err(create)?;
    migrate(&mut connection, path, migrations).await?;
    // The last one to close folds the log in and removes it.
    connection.close().await.map_err(create)?;
    failpoint::hit("store.create.before");
    publish(&unfinished, path).map_err(|error| create(error.into()))?;
    failpoint::hit("store.create.after");
    Ok(())
}

fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Renames, and makes the name durable.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    match to.parent() {
        Some(folder) if folder != Path::new("") => std::fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

impl JobStore for SqliteStore {
    fn commit<'a>(&'a self, changes: &'a Changes) -> BoxFuture<'a, Result<(), Error>> {
        self.write(changes).boxed()
    }

    fn unfinished(&self) -> BoxStream<'_, Result<StoredJob, Error>> {
        let pages = stream::try_unfold(Some(None), move |after| async move {
            let Some(after) = after else { return Ok(None) };
            let page = self.read_unfinished(after).await?;
            let last = page.last().map(|stored| stored.job.id);
            let next = last.filter(|_| page.len() == RESTORED as usize).map(Some);
            Ok::<_, Error>(Some((stream::iter(page).map(Ok), next)))
        });
        pages.try_flatten().boxed()
    }

    fn objects_in_use(&self) -> BoxFuture<'_, Result<HashSet<String>, Error>> {
        self.read_objects_in_use().boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<StoredJob>, Error>> {
        async move { self.read_job(&id.to_string()).await }.boxed()
    }

    fn jobs<'a>(&'a self, filter: &'a JobFilter) -> BoxFuture<'a, Result<Vec<JobRecord>, Error>> {
        self.read_jobs(filter).boxed()
    }

    fn job_counts<'a>(
        &'a self,
        owner: Option<&'a str>,
    ) -> BoxFuture<'a, Result<BTreeMap<JobState, u64>, Error>> {
        self.read_job_counts(owner).boxed()
    }

    fn logs(&self, job: JobId) -> BoxFuture<'_, Result<Vec<LogRecord>, Error>> {
        self.read_logs(job).boxed()
    }

    fn idempotency_keys(&self, since: i64) -> BoxFuture<'_, Result<Vec<IdempotencyRecord>, Error>> {
        self.read_idempotency(since).boxed()
    }

    fn quotas(&self) -> BoxFuture<'_, Result<BTreeMap<String, Quotas>, Error>> {
        self.read_quotas().boxed()
    }

    fn set_quotas<'a>(&'a self, owner: &'a str, quotas: Option<Quotas>) -> BoxFuture<'a, Result<(), Error>> {
        self.write_quotas(owner, quotas).boxed()
    }

    fn remove_job(&self, id: JobId) -> BoxFuture<'_, Result<(), Error>> {
        self.delete_job(id).boxed()
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
INSERT INTO jobs (id, state, owner, submitted_at, started_at, finished_at, request, worker, failure, result, priority,
    output_bytes)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
    value->>10, value->>11
FROM json_each(?1) WHERE true
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
    worker = excluded.worker, failure = excluded.failure, result = excluded.result, priority = excluded.priority,
    output_bytes = excluded.output_bytes";

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

const UPSERT_IDEMPOTENCY: &str = "
INSERT INTO idempotency_keys (owner, key, digest, job, submitted_at)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?1) WHERE true
ON CONFLICT (owner, key) DO UPDATE SET
    digest = excluded.digest, job = excluded.job, submitted_at = excluded.submitted_at";

/// Puts tasks to their jobs.
fn assemble(
    jobs: &[SqliteRow],
    tasks: &[SqliteRow],
    attempts: &[SqliteRow],
) -> Result<Vec<StoredJob>, Error> {
    let mut tasks_of = assemble_tasks(tasks, attempts)?;
    jobs.iter()
        .map(|row| {
            let job = rows::read_job(row)?;
            let tasks = tasks_of.remove(&job.id).unwrap_or_default();
            Ok(StoredJob { job, tasks })
        })
        .collect()
}

/// Puts attempts to their tasks, each in the order of its rows, by job.
fn assemble_tasks(tasks: &[SqliteRow], attempts: &[SqliteRow]) -> Result<HashMap<JobId, Tasks>, Error> {
    let mut attempts_of: HashMap<TaskId, Vec<AttemptRecord>> = HashMap::new();
    for row in attempts {
        let attempt = rows::read_attempt(row)?;
        attempts_of.entry(attempt.id.task).or_default().push(attempt);
    }
    let mut tasks_of: HashMap<JobId, Vec<(TaskRecord, Vec<AttemptRecord>)>> = HashMap::new();
    for row in tasks {
        let task = rows::read_task(row)?;
        let own = attempts_of.remove(&task.id).unwrap_or_default();
        tasks_of.entry(task.job).or_default().push((task, own));
    }
    Ok(tasks_of)
}

#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod tests;
