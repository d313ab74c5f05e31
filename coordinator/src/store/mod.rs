//! What is kept of jobs, tasks and attempts, and of live streams, and how.
//!
//! The queue decides in memory and hands over whole rows. A [`JobStore`] makes a batch of them durable in one commit:
//! when `commit` returns, everything in it survives a power cut; when it fails, nothing of it is there, or, of a database that
//! went away in that moment, nothing that the next commit does not put right.
//!
//! There are two databases, SQLite in a file and PostgreSQL ([`engine`]). What they promise is in `conformance`, which both pass.

mod batch;
#[cfg(test)]
mod conformance;
mod engine;
mod jobs;
mod keys;
mod migrations;
mod open;
mod owners;
mod postgres;
mod record;
mod rows;
mod select;
mod sqlite;
mod streams;
mod uploads;
mod watched;
mod webhook;
mod webhooks;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use common::{
    api::{JobState, Quotas},
    id::{JobId, KeyId, StreamId, UploadId},
};
use futures::{future::BoxFuture, stream::BoxStream};

pub use migrations::Mismatch;
pub use open::Stores;
pub use postgres::{BadAddress, DatabaseUrl, PostgresStore};
pub use record::{
    AttemptDetails, AttemptRecord, Concat, Held, IdempotencyRecord, JobDetails, JobRecord, JobResult,
    LogRecord, Mishap, StoredKey, StoredStream, TaskHistory, TaskRecord, UploadDetails, UploadRecord,
    WatchedRecord,
};
pub use sqlite::{Reason, Refusal, SqliteStore};
pub use webhook::{DueWebhook, Receiver, StoredWebhook, WebhookOutcome, WebhookRecord, WebhookStore};

use crate::queue::JobFilter;

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing}: {source}")]
    Database { doing: &'static str, source: Fault },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Postgres(#[from] postgres::Refusal),
    #[error(
        "TVARR_DATABASE_URL is set, but the jobs of this data folder are in {}: leave TVARR_DATABASE_URL out, or, to begin without \
         any job, move that file away together with its -wal and -shm files", path.display()
    )]
    InFile { path: PathBuf },
    #[error(
        "the jobs of this data folder are in the PostgreSQL database {database}: set TVARR_DATABASE_URL, or, to begin without any \
         job, remove {}", path.display()
    )]
    InPostgres { database: String, path: PathBuf },
    #[error("cannot {doing} {}: {source}; let the coordinator's user read and write it", path.display())]
    Mark { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "cannot bring the job store {} up to date: {source}; what it holds is as it was: if the disk is full, free some \
         space, then start again", path.display()
    )]
    Migrate { path: PathBuf, source: sqlx::migrate::MigrateError },
    #[error("row {row} of {table} cannot be read: {reason}")]
    Corrupt { table: &'static str, row: String, reason: String },
}

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("the database did not answer within {0} s")]
    Silent(u64),
    #[error("the PostgreSQL database {database} cannot be reached: {reason}")]
    Unreachable { database: String, reason: String },
    #[error(transparent)]
    Refused(Arc<postgres::Refusal>),
    #[error(
        "another coordinator has taken the PostgreSQL database {0} while the connection to it was lost; this one can keep \
         nothing any more: stop one of the two"
    )]
    Superseded(String),
}

/// Rows that changed, whole.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub jobs: Vec<JobRecord>,
    pub tasks: Vec<TaskRecord>,
    pub attempts: Vec<AttemptRecord>,
    /// Log lines of attempts, replacing what was there.
    pub logs: Vec<LogRecord>,
    pub idempotency: Vec<IdempotencyRecord>,
    /// Of jobs among these that are over.
    pub webhooks: Vec<WebhookRecord>,
}

impl Changes {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.tasks.is_empty()
            && self.attempts.is_empty()
            && self.logs.is_empty()
            && self.idempotency.is_empty()
            && self.webhooks.is_empty()
    }
}

/// A job with all that belongs to it, oldest attempt first.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    pub job: JobRecord,
    pub tasks: Vec<(TaskRecord, Vec<AttemptRecord>)>,
}

/// Durable jobs, tasks and attempts.
pub trait JobStore: Send + Sync + 'static {
    /// Writes all of it or nothing, durably.
    fn commit<'a>(&'a self, changes: &'a Changes) -> BoxFuture<'a, Result<(), Error>>;
    /// Every job that has not reached a final state, oldest first. For the start: what is committed meanwhile may be in it
    /// or not.
    fn unfinished(&self) -> BoxStream<'_, Result<StoredJob, Error>>;
    /// Keys of the objects that are inputs of unfinished jobs.
    fn objects_in_use(&self) -> BoxFuture<'_, Result<HashSet<String>, Error>>;
    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<StoredJob>, Error>>;
    /// Newest first.
    fn jobs<'a>(&'a self, filter: &'a JobFilter) -> BoxFuture<'a, Result<Vec<JobRecord>, Error>>;
    /// How many there are in each state, of an owner or of everybody.
    fn job_counts<'a>(
        &'a self,
        owner: Option<&'a str>,
    ) -> BoxFuture<'a, Result<BTreeMap<JobState, u64>, Error>>;
    /// By task and epoch.
    fn logs(&self, job: JobId) -> BoxFuture<'_, Result<Vec<LogRecord>, Error>>;
    /// Keys that jobs were asked for under since then, oldest first.
    fn idempotency_keys(&self, since: i64) -> BoxFuture<'_, Result<Vec<IdempotencyRecord>, Error>>;
    /// Of owners that have some of their own.
    fn quotas(&self) -> BoxFuture<'_, Result<BTreeMap<String, Quotas>, Error>>;
    /// Durable once it returns. `None`: what is usual.
    fn set_quotas<'a>(&'a self, owner: &'a str, quotas: Option<Quotas>) -> BoxFuture<'a, Result<(), Error>>;
    /// Forgets a job that is over, with its tasks, attempts and logs, durably. That there is none is no error.
    fn remove_job(&self, id: JobId) -> BoxFuture<'_, Result<(), Error>>;
    /// Whether a commit would be durable now, as far as that can be told without one.
    fn ready(&self) -> BoxFuture<'_, Result<(), Error>>;
    /// Waits for what is under way and closes.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Durable definitions of live streams.
pub trait StreamStore: Send + Sync + 'static {
    /// Oldest first.
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StoredStream>, Error>>;
    /// Durable once it returns. A name that is taken is an error.
    fn add_stream<'a>(&'a self, stream: &'a StoredStream) -> BoxFuture<'a, Result<(), Error>>;
    /// Its sequence floor stays.
    fn remove_stream(&self, id: StreamId) -> BoxFuture<'_, Result<(), Error>>;
    /// By name of the stream: no media sequence from there on was ever given away.
    fn sequence_floors(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, Error>>;
    /// Durable once it returns. Those that are higher already stay.
    fn raise_sequence_floors<'a>(&'a self, floors: &'a [(String, u64)]) -> BoxFuture<'a, Result<(), Error>>;
}

/// Durable state of uploads that come in pieces.
pub trait UploadStore: Send + Sync + 'static {
    /// Oldest first.
    fn uploads(&self) -> BoxFuture<'_, Result<Vec<UploadRecord>, Error>>;
    /// Durable once it returns: the whole row, or what of it may change.
    fn put_upload<'a>(&'a self, upload: &'a UploadRecord) -> BoxFuture<'a, Result<(), Error>>;
    /// That there is none is no error.
    fn remove_upload(&self, id: UploadId) -> BoxFuture<'_, Result<(), Error>>;
}

/// Durable memory of what was found in watched places.
pub trait WatchStore: Send + Sync + 'static {
    /// In one of them.
    fn watched<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Vec<WatchedRecord>, Error>>;
    /// Durable once it returns. Of what is known only `submitted` changes.
    fn put_watched<'a>(&'a self, record: &'a WatchedRecord) -> BoxFuture<'a, Result<(), Error>>;
}

/// Durable keys of the HTTP API.
pub trait KeyStore: Send + Sync + 'static {
    /// Revoked ones too, oldest first.
    fn keys(&self) -> BoxFuture<'_, Result<Vec<StoredKey>, Error>>;
    /// Durable once it returns.
    fn add_key<'a>(&'a self, key: &'a StoredKey) -> BoxFuture<'a, Result<(), Error>>;
    /// Durable once it returns.
    fn revoke_key(&self, id: KeyId, at: i64) -> BoxFuture<'_, Result<(), Error>>;
}

/// What owners hold in the farm's storage.
pub trait HoldingStore: Send + Sync + 'static {
    /// Of one owner. One look, however many jobs it has had.
    fn held<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Held, Error>>;
    /// Of everybody who holds something.
    fn holders(&self) -> BoxFuture<'_, Result<BTreeMap<String, Held>, Error>>;
}

/// Whose uploads there are.
pub trait UploadOwners: Send + Sync + 'static {
    /// `None`: nobody's.
    fn upload_owner(&self, id: UploadId) -> BoxFuture<'_, Result<Option<String>, Error>>;
    /// With the bytes that its owner is charged for. Durable once it returns.
    fn own_upload<'a>(&'a self, id: UploadId, owner: &'a str, bytes: u64)
    -> BoxFuture<'a, Result<(), Error>>;
    /// Those that are somebody's, and the bytes that they are charged with.
    fn charged_uploads(&self) -> BoxFuture<'_, Result<Vec<(UploadId, u64)>, Error>>;
    /// Durable once it returns. That it is nobody's is no error.
    fn charge_upload(&self, id: UploadId, bytes: u64) -> BoxFuture<'_, Result<(), Error>>;
    fn forget_upload(&self, id: UploadId) -> BoxFuture<'_, Result<(), Error>>;
}
