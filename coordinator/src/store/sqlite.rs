//! One SQLite file: WAL, `synchronous=FULL`, one writer connection, readers beside it.
//!
//! A new file is made under another name and appears with all its tables or not at all, so that an empty or half-made file
//! is never one of ours. A file that is there is looked at before it is opened ([`inspect`]).

mod dialect;
mod inspect;

use std::{collections::BTreeSet, io, path::Path, sync::Mutex};

use common::id::JobId;
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use sqlx::{
    Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};
use tokio::sync::MutexGuard;

use self::inspect::{Found, beside, inspect};
pub use self::inspect::{Reason, Refusal};
use super::{
    Error, Fault,
    engine::{Bound, Dialect, Engine, Query, Reads, Writes, failed},
    migrations::{created, migrated},
};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Readers at most. Lists and single jobs are short reads; more would only queue on the two cores of a small machine.
const READERS: u32 = 4;

pub struct SqliteStore {
    /// The one writer. Besides the queue only rare changes are written: nobody waits for this lock for long.
    writer: tokio::sync::Mutex<Writer>,
    readers: SqlitePool,
    doubtful: Mutex<BTreeSet<JobId>>,
}

struct Writer {
    connection: SqliteConnection,
    /// A transaction was begun and did not end: whoever wanted it has gone.
    begun: bool,
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
        let open = |source: sqlx::Error| failed("open the job store")(source.into());
        let mut connection = SqliteConnection::connect_with(&options(path)).await.map_err(open)?;
        migrate(&mut connection, path, migrations).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options(path).read_only(true))
            .await
            .map_err(open)?;
        let writer = tokio::sync::Mutex::new(Writer { connection, begun: false });
        Ok(Self { writer, readers, doubtful: Mutex::default() })
    }

    /// The writer, with no transaction under way.
    async fn writer(&self) -> Result<MutexGuard<'_, Writer>, Fault> {
        let mut writer = self.writer.lock().await;
        if writer.begun {
            writer.roll_back().await;
        }
        Ok(writer)
    }
}

impl Writer {
    async fn roll_back(&mut self) {
        // After a full disk SQLite has rolled back already and says so; either way there is no transaction now.
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        self.begun = false;
    }
}

/// In plain SQL: a transaction of sqlx counts its begins and ends, and counts wrongly ever after SQLite ended one by itself, as
/// it does on a full disk.
pub(super) struct Writing<'a>(MutexGuard<'a, Writer>);

impl Reads for Writing<'_> {
    type Row = SqliteRow;

    fn rows<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<SqliteRow>, Fault>> {
        async move { Ok(prepared(query).fetch_all(&mut self.0.connection).await?) }.boxed()
    }
}

impl Writes for Writing<'_> {
    fn execute<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<(), Fault>> {
        async move {
            prepared(query).execute(&mut self.0.connection).await?;
            Ok(())
        }
        .boxed()
    }

    fn commit<'a>(mut self) -> BoxFuture<'a, Result<(), Fault>>
    where
        Self: 'a,
    {
        async move {
            let committed = sqlx::raw_sql("COMMIT").execute(&mut self.0.connection).await;
            match committed {
                Ok(_) => self.0.begun = false,
                Err(error) => {
                    self.0.roll_back().await;
                    return Err(error.into());
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn roll_back<'a>(mut self) -> BoxFuture<'a, ()>
    where
        Self: 'a,
    {
        async move { self.0.roll_back().await }.boxed()
    }
}

/// A transaction that only reads.
pub(super) struct Snapshot(Transaction<'static, Sqlite>);

impl Reads for Snapshot {
    type Row = SqliteRow;

    fn rows<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<SqliteRow>, Fault>> {
        async move { Ok(prepared(query).fetch_all(&mut *self.0).await?) }.boxed()
    }
}

impl Engine for SqliteStore {
    type Row = SqliteRow;
    type Snapshot = Snapshot;
    type Writing<'a> = Writing<'a>;

    const DIALECT: Dialect = dialect::DIALECT;

    fn change<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<u64, Fault>> {
        async move {
            let mut writer = self.writer().await?;
            Ok(prepared(query).execute(&mut writer.connection).await?.rows_affected())
        }
        .boxed()
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<SqliteRow>, Fault>> {
        async move { Ok(prepared(query).fetch_all(&self.readers).await?) }.boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, Fault>> {
        async move { Ok(Snapshot(self.readers.begin().await?)) }.boxed()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Writing<'_>, Fault>> {
        async move {
            let mut writer = self.writer().await?;
            writer.begun = true;
            if let Err(error) = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut writer.connection).await {
                writer.roll_back().await;
                return Err(error.into());
            }
            Ok(Writing(writer))
        }
        .boxed()
    }

    /// The file is on the disk that the probe of the objects writes to.
    fn check(&self) -> BoxFuture<'_, Result<(), Fault>> {
        async { Ok(()) }.boxed()
    }

    fn shut(&self) -> BoxFuture<'_, ()> {
        async move {
            self.readers.close().await;
            let mut writer = self.writer.lock().await;
            // Everything is committed: a checkpoint only makes the next start shorter, so its failure loses nothing.
            let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut writer.connection).await;
            if let Err(error) = folded {
                tracing::warn!(%error, "the job store's log was not folded in; the next start does it");
            }
        }
        .boxed()
    }

    fn doubtful(&self) -> &Mutex<BTreeSet<JobId>> {
        &self.doubtful
    }
}

fn prepared(query: Query<'_>) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    query.bound.into_iter().fold(sqlx::query(query.statement), |prepared, bound| match bound {
        Bound::Text(text) => prepared.bind(text.map(std::borrow::Cow::into_owned)),
        Bound::Number(number) => prepared.bind(number),
        Bound::Flag(flag) => prepared.bind(flag),
        Bound::List(list) => prepared.bind(Value::from(list).to_string()),
    })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(std::time::Duration::from_secs(5))
}

/// Each migration is one transaction: should one fail, the file is as the one before left it.
async fn migrate(writer: &mut SqliteConnection, path: &Path, migrations: &Migrator) -> Result<(), Error> {
    let failed = |source| Error::Migrate { path: path.to_owned(), source };
    migrated(async { migrations.run(writer).await.map_err(failed) }).await
}

/// Makes a new file under another name, then gives it its own.
async fn create(path: &Path, migrations: &Migrator) -> Result<(), Error> {
    let create = |source: sqlx::Error| failed("create the job store")(source.into());
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
    created(async { publish(&unfinished, path).map_err(|error| create(error.into())) }).await
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

#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod tests;
