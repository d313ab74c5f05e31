//! What the store asks of a database.
//!
//! SQLite and PostgreSQL understand the same statements for nearly everything: `$1` for what is bound, `ON CONFLICT`, `CAST`.
//! Those are written once, beside the traits that they serve; what differs is the [`Dialect`]. An engine runs them: it
//! knows connections, transactions and what a failure means for them.

use std::{borrow::Cow, collections::BTreeSet, sync::Mutex};

use common::id::JobId;
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use super::{Error, Fault, JobRecord, rows::Columns};

/// What takes the place of `$1` and the following.
#[derive(Debug, Clone)]
pub(super) enum Bound<'a> {
    Text(Option<Cow<'a, str>>),
    Number(Option<i64>),
    Flag(bool),
    /// As the text of a JSON list.
    List(Vec<Value>),
}

impl<'a> From<&'a str> for Bound<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl<'a> From<&'a String> for Bound<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Bound<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(Cow::Owned(text)))
    }
}

impl<'a> From<&'a Option<String>> for Bound<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::Text(text.as_deref().map(Cow::Borrowed))
    }
}

impl From<i64> for Bound<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<u32> for Bound<'_> {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<Option<i64>> for Bound<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Bound<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<Value>> for Bound<'_> {
    fn from(list: Vec<Value>) -> Self {
        Self::List(list)
    }
}

/// A statement and what is bound in it.
#[derive(Debug, Clone)]
pub(super) struct Query<'a> {
    pub(super) statement: SqlStr,
    pub(super) bound: Vec<Bound<'a>>,
}

impl<'a> Query<'a> {
    pub(super) fn new(statement: &'static str) -> Self {
        Self { statement: statement.into_sql_str(), bound: Vec::new() }
    }

    /// Made of our own words; what comes from elsewhere is bound.
    pub(super) fn composed(statement: String) -> Self {
        Self { statement: AssertSqlSafe(statement).into_sql_str(), bound: Vec::new() }
    }

    pub(super) fn bind(mut self, value: impl Into<Bound<'a>>) -> Self {
        self.bound.push(value.into());
        self
    }
}

/// Statements and expressions that the databases want put differently. A list is bound as JSON; its rows are lists, too.
pub(super) struct Dialect {
    /// A row of `upsert_jobs`.
    pub(super) job: fn(&JobRecord) -> Value,
    pub(super) upsert_jobs: &'static str,
    pub(super) upsert_tasks: &'static str,
    pub(super) upsert_attempts: &'static str,
    pub(super) upsert_logs: &'static str,
    pub(super) upsert_idempotency: &'static str,
    pub(super) add_webhooks: &'static str,
    pub(super) raise_floors: &'static str,
    /// Tasks of the jobs in the list $1.
    pub(super) tasks_of: &'static str,
    /// Attempts of the jobs in the list $1.
    pub(super) attempts_of: &'static str,
    /// Keys of the objects that unfinished jobs read, as `object`.
    pub(super) objects_in_use: &'static str,
    /// What receiver $1 is to hear by $2 without those in the list $3, at most $4.
    pub(super) due_webhooks: &'static str,
    /// Of a job: the kind of its failure, its preset, its worker's name.
    pub(super) failure_kind: &'static str,
    pub(super) preset: &'static str,
    pub(super) worker_name: &'static str,
    /// The id and the name that the user knows the input by, in small letters.
    pub(super) named: &'static str,
    /// The function that says where in a text another one is.
    pub(super) position: &'static str,
}

/// One look at the tables, at one moment.
pub(super) trait Reads: Send {
    type Row: Columns;

    fn rows<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<Self::Row>, Fault>>;
}

/// A transaction. Dropped, it is rolled back.
pub(super) trait Writes: Reads {
    fn execute<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<(), Fault>>;
    /// Durable once it returns.
    fn commit<'a>(self) -> BoxFuture<'a, Result<(), Fault>>
    where
        Self: 'a;
    fn roll_back<'a>(self) -> BoxFuture<'a, ()>
    where
        Self: 'a;
}

pub(super) trait Engine: Send + Sync + 'static {
    type Row: Columns;
    type Snapshot: Reads<Row = Self::Row>;
    type Writing<'a>: Writes<Row = Self::Row>;

    const DIALECT: Dialect;

    /// One statement that is a transaction, durable once it returns. Says how many rows it found to change.
    fn change<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<u64, Fault>>;
    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<Self::Row>, Fault>>;
    fn snapshot(&self) -> BoxFuture<'_, Result<Self::Snapshot, Fault>>;
    /// There is one writer: others wait until this one has ended.
    fn begin(&self) -> BoxFuture<'_, Result<Self::Writing<'_>, Fault>>;
    /// Whether what is written now would be durable, as far as that can be told without writing.
    fn check(&self) -> BoxFuture<'_, Result<(), Fault>>;
    fn shut(&self) -> BoxFuture<'_, ()>;
    /// New jobs of commits of which it is not known whether they happened.
    fn doubtful(&self) -> &Mutex<BTreeSet<JobId>>;
}

/// What was being done, for the error.
pub(super) fn failed(doing: &'static str) -> impl Fn(Fault) -> Error + Copy {
    move |source| Error::Database { doing, source }
}
