//! Jobs, tasks and attempts, and what is committed with them.
//!
//! A commit is at most a few statements, each of which takes all its rows as one JSON list.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::PoisonError,
};

use common::{
    api::{JobState, Quotas},
    failpoint,
    id::{JobId, TaskId},
};
use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde_json::{Value, json};

use super::{
    AttemptRecord, Changes, Error, Fault, IdempotencyRecord, JobRecord, JobStore, LogRecord, StoredJob,
    TaskRecord,
    engine::{Engine, Query, Reads, Writes, failed},
    rows::{self, Columns, Reader},
    select, webhooks,
};
use crate::queue::{IDEMPOTENCY_KEPT, JobFilter};

/// Unfinished jobs that are read at once after a start: what memory holds of them twice.
pub(super) const RESTORED: u32 = 500;

const WRITE: &str = "write to the job store";

impl<E: Engine> JobStore for E {
    fn commit<'a>(&'a self, changes: &'a Changes) -> BoxFuture<'a, Result<(), Error>> {
        write(self, changes).boxed()
    }

    fn unfinished(&self) -> BoxStream<'_, Result<StoredJob, Error>> {
        let pages = stream::try_unfold(Some(None), move |after| async move {
            let Some(after) = after else { return Ok(None) };
            let page = read_unfinished(self, after).await?;
            let last = page.last().map(|stored| stored.job.id);
            let next = last.filter(|_| page.len() == RESTORED as usize).map(Some);
            Ok::<_, Error>(Some((stream::iter(page).map(Ok), next)))
        });
        pages.try_flatten().boxed()
    }

    fn objects_in_use(&self) -> BoxFuture<'_, Result<HashSet<String>, Error>> {
        async move {
            let found = self.read(Query::new(E::DIALECT.objects_in_use)).await;
            let found = found.map_err(failed("read the inputs of unfinished jobs"))?;
            let object = |row: &E::Row| Reader { table: "jobs", id_column: "object", row }.text("object");
            found.iter().map(object).collect()
        }
        .boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<StoredJob>, Error>> {
        async move {
            let failed = failed("read a job");
            // So that the reads see one moment.
            let mut snapshot = self.snapshot().await.map_err(failed)?;
            let query = Query::new("SELECT * FROM jobs WHERE id = $1").bind(id.to_string());
            let found = snapshot.rows(query).await.map_err(failed)?;
            let Some(row) = found.first() else { return Ok(None) };
            let job = rows::read_job(row)?;
            let tasks = read_tasks(&mut snapshot, E::DIALECT.tasks_of, E::DIALECT.attempts_of, &[id]).await?;
            let tasks = tasks.into_values().next().transpose()?.unwrap_or_default();
            Ok(Some(StoredJob { job, tasks }))
        }
        .boxed()
    }

    fn jobs<'a>(&'a self, filter: &'a JobFilter) -> BoxFuture<'a, Result<Vec<JobRecord>, Error>> {
        async move {
            let found = self.read(select::jobs(filter, &E::DIALECT)).await.map_err(failed("list jobs"))?;
            found.iter().map(|row| rows::read_job(row)).collect()
        }
        .boxed()
    }

    fn job_counts<'a>(
        &'a self,
        owner: Option<&'a str>,
    ) -> BoxFuture<'a, Result<BTreeMap<JobState, u64>, Error>> {
        async move {
            let query = match owner {
                Some(owner) => Query::new(select::COUNTS_OF).bind(owner),
                None => Query::new(select::COUNTS),
            };
            let found = self.read(query).await.map_err(failed("count jobs"))?;
            let count = |row: &E::Row| {
                let row = Reader { table: "jobs", id_column: "state", row };
                Ok((row.word("state")?, row.within("count")?))
            };
            found.iter().map(count).collect()
        }
        .boxed()
    }

    fn logs(&self, job: JobId) -> BoxFuture<'_, Result<Vec<LogRecord>, Error>> {
        async move {
            let query = Query::new(
                "SELECT l.* FROM attempt_logs l JOIN attempts a ON a.task = l.task AND a.epoch = l.epoch \
                 WHERE a.job = $1 ORDER BY l.task, l.epoch",
            );
            let found = self.read(query.bind(job.to_string())).await.map_err(failed("read logs"))?;
            found.iter().map(|row| rows::read_log(row)).collect()
        }
        .boxed()
    }

    fn idempotency_keys(&self, since: i64) -> BoxFuture<'_, Result<Vec<IdempotencyRecord>, Error>> {
        async move {
            let query = Query::new(
                "SELECT * FROM idempotency_keys WHERE submitted_at > $1 ORDER BY submitted_at, owner, key",
            );
            let found = self.read(query.bind(since)).await.map_err(failed("read idempotency keys"))?;
            found.iter().map(|row| rows::read_idempotency(row)).collect()
        }
        .boxed()
    }

    fn quotas(&self) -> BoxFuture<'_, Result<BTreeMap<String, Quotas>, Error>> {
        async move {
            let found = self.read(Query::new("SELECT owner, quotas FROM owner_quotas")).await;
            let quota = |row: &E::Row| {
                let row = Reader { table: "owner_quotas", id_column: "owner", row };
                Ok((row.text("owner")?, row.json("quotas")?))
            };
            found.map_err(failed("read quotas"))?.iter().map(quota).collect()
        }
        .boxed()
    }

    fn set_quotas<'a>(&'a self, owner: &'a str, quotas: Option<Quotas>) -> BoxFuture<'a, Result<(), Error>> {
        let query = match quotas {
            Some(quotas) => Query::new(
                "INSERT INTO owner_quotas (owner, quotas) VALUES ($1, $2)
                 ON CONFLICT (owner) DO UPDATE SET quotas = excluded.quotas",
            )
            .bind(owner)
            .bind(rows::text(&quotas)),
            None => Query::new("DELETE FROM owner_quotas WHERE owner = $1").bind(owner),
        };
        async move {
            failpoint::hit("quota.set.before");
            self.change(query).await.map_err(failed("store a quota"))?;
            failpoint::hit("quota.set.after");
            Ok(())
        }
        .boxed()
    }

    /// The idempotency key stays: the same request is told that its job is gone, as long as any other is told of its own.
    fn remove_job(&self, id: JobId) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let failed = failed("remove a job");
            let mut writing = self.begin().await.map_err(failed)?;
            if let Err(fault) = delete(&mut writing, id).await {
                writing.roll_back().await;
                return Err(failed(fault));
            }
            failpoint::hit("job.remove.before");
            writing.commit().await.map_err(failed)?;
            failpoint::hit("job.remove.after");
            Ok(())
        }
        .boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.check().await.map_err(failed("look whether the job store can be written")) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            failpoint::hit("store.close.before");
            self.shut().await;
            failpoint::hit("store.close.after");
        }
        .boxed()
    }
}

async fn write<E: Engine>(engine: &E, changes: &Changes) -> Result<(), Error> {
    let failed = failed(WRITE);
    let mut writing = engine.begin().await.map_err(failed)?;
    failpoint::hit("store.commit.begun");
    let doubtful = || engine.doubtful().lock().unwrap_or_else(PoisonError::into_inner);
    let withdrawn = withdrawn(&doubtful(), changes);
    if let Err(error) = transact::<E>(&mut writing, changes, &withdrawn).await {
        writing.roll_back().await;
        return Err(error);
    }
    failpoint::hit("store.commit.before");
    if let Err(fault) = writing.commit().await {
        if fault.ends_session() {
            let new = changes.jobs.iter().filter(|job| job.state == JobState::Queued);
            doubtful().extend(new.map(|job| job.id));
        }
        return Err(failed(fault));
    }
    doubtful().clear();
    failpoint::hit("store.commit.after");
    Ok(())
}

/// Jobs that may be in the store although whoever submitted them was told that they were not accepted. The queue writes again
/// what it still knows, so what was in a commit that failed and is not in the next one was withdrawn.
fn withdrawn(doubtful: &BTreeSet<JobId>, changes: &Changes) -> Vec<JobId> {
    let known: BTreeSet<JobId> = changes.jobs.iter().map(|job| job.id).collect();
    doubtful.difference(&known).copied().collect()
}

async fn transact<E: Engine>(
    writing: &mut E::Writing<'_>,
    changes: &Changes,
    withdrawn: &[JobId],
) -> Result<(), Error> {
    let failed = failed(WRITE);
    let dialect = &E::DIALECT;
    for job in withdrawn {
        delete(writing, *job).await.map_err(failed)?;
        let forget = Query::new("DELETE FROM idempotency_keys WHERE job = $1").bind(job.to_string());
        writing.execute(forget).await.map_err(failed)?;
    }
    let batches = [
        (dialect.upsert_jobs, changes.jobs.iter().map(dialect.job).collect::<Vec<Value>>()),
        (dialect.upsert_tasks, changes.tasks.iter().map(rows::task).collect()),
        (dialect.upsert_attempts, changes.attempts.iter().map(rows::attempt).collect()),
        (dialect.upsert_logs, changes.logs.iter().map(rows::log).collect()),
        (dialect.upsert_idempotency, changes.idempotency.iter().map(rows::idempotency).collect()),
    ];
    for (statement, rows) in batches {
        if !rows.is_empty() {
            writing.execute(Query::new(statement).bind(rows)).await.map_err(failed)?;
        }
    }
    if !changes.webhooks.is_empty() {
        let rows = webhooks::rows_of::<E>(writing, &changes.webhooks, &changes.jobs).await?;
        writing.execute(Query::new(dialect.add_webhooks).bind(rows)).await.map_err(failed)?;
    }
    if let Some(newest) = changes.idempotency.iter().map(|record| record.submitted_at).max() {
        let forget = Query::new("DELETE FROM idempotency_keys WHERE submitted_at <= $1");
        writing.execute(forget.bind(newest - IDEMPOTENCY_KEPT)).await.map_err(failed)?;
    }
    Ok(())
}

async fn delete(writing: &mut impl Writes, job: JobId) -> Result<(), Fault> {
    for statement in [
        "DELETE FROM attempt_logs WHERE task IN (SELECT id FROM tasks WHERE job = $1)",
        "DELETE FROM attempts WHERE job = $1",
        "DELETE FROM tasks WHERE job = $1",
        "DELETE FROM jobs WHERE id = $1",
    ] {
        writing.execute(Query::new(statement).bind(job.to_string())).await?;
    }
    Ok(())
}

/// The next unfinished jobs after `after`, oldest first, all of one moment.
async fn read_unfinished<E: Engine>(engine: &E, after: Option<JobId>) -> Result<Vec<StoredJob>, Error> {
    let failed = failed("read unfinished jobs");
    let mut snapshot = engine.snapshot().await.map_err(failed)?;
    let after = after.map_or_else(String::new, |id| id.to_string());
    let found = snapshot.rows(Query::new(select::UNFINISHED).bind(after).bind(RESTORED)).await;
    let jobs: Vec<JobRecord> =
        found.map_err(failed)?.iter().map(|row| rows::read_job(row)).collect::<Result<_, _>>()?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let mut tasks = read_tasks(&mut snapshot, E::DIALECT.tasks_of, E::DIALECT.attempts_of, &ids).await?;
    jobs.into_iter()
        .map(|job| {
            let tasks = tasks.remove(&job.id).transpose()?.unwrap_or_default();
            Ok(StoredJob { job, tasks })
        })
        .collect()
}

/// Each with its attempts.
pub(super) type Tasks = Vec<(TaskRecord, Vec<AttemptRecord>)>;

/// Those of some jobs. What cannot be read is the trouble of its job alone.
pub(super) async fn read_tasks<R: Reads>(
    reads: &mut R,
    tasks_of: &'static str,
    attempts_of: &'static str,
    jobs: &[JobId],
) -> Result<HashMap<JobId, Result<Tasks, Error>>, Error> {
    let failed = failed("read the tasks of jobs");
    let ids: Vec<Value> = jobs.iter().map(|id| json!(id)).collect();
    let tasks = reads.rows(Query::new(tasks_of).bind(ids.clone())).await.map_err(failed)?;
    let attempts = reads.rows(Query::new(attempts_of).bind(ids)).await.map_err(failed)?;
    let (mut tasks, mut attempts) = (by_job("tasks", "id", tasks)?, by_job("attempts", "task", attempts)?);
    let of_job = |id: &JobId| {
        let tasks = tasks.remove(id).unwrap_or_default();
        let attempts = attempts.remove(id).unwrap_or_default();
        (*id, assemble(&tasks, &attempts))
    };
    Ok(jobs.iter().map(of_job).collect())
}

fn by_job<R: Columns>(
    table: &'static str,
    id_column: &'static str,
    rows: Vec<R>,
) -> Result<HashMap<JobId, Vec<R>>, Error> {
    let mut found: HashMap<JobId, Vec<R>> = HashMap::new();
    for row in rows {
        let job = Reader { table, id_column, row: &row }.parse("job")?;
        found.entry(job).or_default().push(row);
    }
    Ok(found)
}

/// Puts attempts to their tasks, each in the order of its rows.
fn assemble<R: Columns>(tasks: &[R], attempts: &[R]) -> Result<Tasks, Error> {
    let mut attempts_of: HashMap<TaskId, Vec<AttemptRecord>> = HashMap::new();
    for row in attempts {
        let attempt = rows::read_attempt(row)?;
        attempts_of.entry(attempt.id.task).or_default().push(attempt);
    }
    let with_attempts = |row: &R| {
        let task = rows::read_task(row)?;
        let own = attempts_of.remove(&task.id).unwrap_or_default();
        Ok((task, own))
    };
    tasks.iter().map(with_attempts).collect()
}
