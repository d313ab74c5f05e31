//! A PostgreSQL database: its own schema in it, one session that writes, readers beside it.
//!
//! Durable is what the server has synced: `synchronous_commit` is turned on for the session where it is off. A connection
//! that is lost is an error for what was under way, as a full disk is for SQLite; the next one that writes connects again.
//! Whether a commit has happened whose answer was lost nobody knows: it is written again, and may be.

mod address;
mod dialect;
mod refusal;
mod session;
mod text;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::id::JobId;
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use sqlx::{
    PgConnection, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgArguments, PgPoolOptions, PgRow},
};
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::address::{BadAddress, DatabaseUrl};
pub(super) use self::refusal::Refusal;
use self::{
    refusal::Reason,
    text::{storable, storable_list},
};
use super::{
    Error, Fault,
    engine::{Bound, Dialect, Engine, Query, Reads, Writes},
    migrations::{APPLIED, Applied, compare, created, migrated},
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations-postgres");

/// Where all tables are, so that a database may be shared with other programs.
const SCHEMA: &str = "tvarr";
/// Readers at most: as many as of a file.
const READERS: u32 = 4;
/// For a connection to read with.
const ACQUIRE: Duration = Duration::from_secs(5);
/// For one statement. A server that takes longer is as good as gone.
const STATEMENT: Duration = Duration::from_secs(30);
/// After connecting has failed it is not tried again for so long: whoever waits for the writer is not to wait for each try.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

pub struct PostgresStore {
    address: DatabaseUrl,
    /// Of this start of this coordinator.
    instance: String,
    writer: tokio::sync::Mutex<Writer>,
    readers: PgPool,
    doubtful: Mutex<BTreeSet<JobId>>,
    superseded: CancellationToken,
}

struct Writer {
    /// Taken out while something is under way on it, so that what was dropped in the middle is not gone on with.
    session: Option<PgConnection>,
    /// When connecting failed last, and why.
    failed: Option<(Instant, Arc<Refusal>)>,
}

impl PostgresStore {
    /// Takes the database and brings its tables up to date.
    ///
    /// # Errors
    /// It cannot be reached, another coordinator has it, or it is of no use: it is left as it was then.
    pub async fn open(address: DatabaseUrl) -> Result<Self, Error> {
        Self::open_with(address, &MIGRATIONS).await
    }

    async fn open_with(address: DatabaseUrl, migrations: &Migrator) -> Result<Self, Error> {
        let instance = Uuid::new_v4().to_string();
        let mut session = session::establish(&address, &instance).await?;
        let refuse = |reason| Refusal { address: address.clone(), reason };
        prepare(&mut session, migrations, address.user()).await.map_err(refuse)?;
        session::hold(&mut session, &instance).await.map_err(|error| refuse(Reason::Failed(error)))?;
        let readers = PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .after_connect(|connection, _| {
                async move { sqlx::raw_sql(session::SEARCH_PATH).execute(connection).await.map(drop) }.boxed()
            })
            .connect_lazy_with(address.options().clone().application_name("tvarr coordinator, reading"));
        let writer = tokio::sync::Mutex::new(Writer { session: Some(session), failed: None });
        let (doubtful, superseded) = (Mutex::default(), CancellationToken::new());
        Ok(Self { address, instance, writer, readers, doubtful, superseded })
    }

    /// Cancelled when another coordinator has taken the database: nothing can be written any more.
    pub(super) fn superseded(&self) -> CancellationToken {
        self.superseded.clone()
    }

    /// The session that writes, out of its place; a new one if there is none.
    async fn session(&self, writer: &mut Writer) -> Result<PgConnection, Fault> {
        if let Some(session) = writer.session.take() {
            return Ok(session);
        }
        if self.superseded.is_cancelled() {
            return Err(Fault::Superseded(self.address.to_string()));
        }
        if let Some((at, refusal)) = &writer.failed
            && at.elapsed() < CONNECT_PAUSE
        {
            return Err(Fault::Refused(Arc::clone(refusal)));
        }
        let again = self.connect_again().await;
        match &again {
            Err(Fault::Refused(refusal)) => writer.failed = Some((Instant::now(), Arc::clone(refusal))),
            Err(_) => {}
            Ok(_) => {
                writer.failed = None;
                tracing::info!(database = %self.address, "connected to PostgreSQL again");
            }
        }
        again
    }

    async fn connect_again(&self) -> Result<PgConnection, Fault> {
        let mut session = match session::establish(&self.address, &self.instance).await {
            Ok(session) => session,
            Err(refusal) => {
                if matches!(refusal.reason, Reason::Taken(_)) {
                    self.look_for_successor().await;
                }
                return Err(Fault::Refused(Arc::new(refusal)));
            }
        };
        if limited(session::holds(&mut session, &self.instance)).await? {
            return Ok(session);
        }
        self.superseded.cancel();
        session::end(session).await;
        Err(Fault::Superseded(self.address.to_string()))
    }

    /// Whoever has the lock now may have made the database its own.
    async fn look_for_successor(&self) {
        let looked = async {
            let mut reader = self.readers.acquire().await?;
            session::holds(&mut reader, &self.instance).await
        };
        if let Ok(false) = limited(looked).await {
            self.superseded.cancel();
        }
    }

    /// With the database's name where that is what is wrong. A pool that cannot connect says only that it has waited.
    async fn reading<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> Result<T, Fault> {
        let unreachable = |reason: String| Fault::Unreachable { database: self.address.to_string(), reason };
        limited(work).await.map_err(|fault| match fault {
            Fault::Sql(sqlx::Error::Io(error)) => unreachable(error.to_string()),
            Fault::Sql(sqlx::Error::PoolTimedOut) => {
                unreachable(format!("no connection within {} s", ACQUIRE.as_secs()))
            }
            fault => fault,
        })
    }

    fn lost(&self, fault: &Fault) {
        tracing::warn!(database = %self.address, error = %fault, "lost the connection to PostgreSQL");
    }
}

/// Makes the schema and its tables, or brings them up to date.
async fn prepare(session: &mut PgConnection, migrations: &Migrator, user: &str) -> Result<(), Reason> {
    let (there, tables) = session::schema(session).await.map_err(Reason::Failed)?;
    if !there {
        let refused =
            |error: sqlx::Error| match error.as_database_error().and_then(|said| said.code()).as_deref() {
                Some("42501") => Reason::NoSchema { user: user.to_owned() },
                _ => Reason::Failed(error),
            };
        let make = async { sqlx::raw_sql("CREATE SCHEMA tvarr").execute(&mut *session).await };
        created(async { make.await.map(drop).map_err(refused) }).await?;
    }
    if tables.iter().any(|table| table == "_sqlx_migrations") {
        let applied: Vec<Applied> =
            sqlx::query_as(APPLIED).fetch_all(&mut *session).await.map_err(Reason::Failed)?;
        compare(&applied, migrations)?;
    } else if !tables.is_empty() {
        return Err(Reason::Foreign(SCHEMA));
    }
    migrated(async { migrations.run(session).await.map_err(Reason::Migrate) }).await
}

async fn limited<T>(work: impl Future<Output = sqlx::Result<T>>) -> Result<T, Fault> {
    match timeout(STATEMENT, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Fault::Silent(STATEMENT.as_secs())),
    }
}

/// A transaction of the writer.
pub(super) struct Writing<'a> {
    store: &'a PostgresStore,
    writer: MutexGuard<'a, Writer>,
    /// `None`: it was lost.
    session: Option<PgConnection>,
}

impl Writing<'_> {
    /// Runs something, and drops the session if that is its end: the server rolls back then.
    async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Fault> {
        let session = self.session.as_mut().expect("nothing follows what failed");
        let done = limited(work(session)).await;
        if let Err(fault) = &done
            && fault.ends_session()
        {
            self.store.lost(fault);
            self.session = None;
        }
        done
    }
}

impl Reads for Writing<'_> {
    type Row = PgRow;

    fn rows<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<PgRow>, Fault>> {
        self.run(async |session| prepared(query).fetch_all(session).await).boxed()
    }
}

impl Writes for Writing<'_> {
    fn execute<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<(), Fault>> {
        self.run(async |session| prepared(query).execute(session).await.map(drop)).boxed()
    }

    fn commit<'a>(mut self) -> BoxFuture<'a, Result<(), Fault>>
    where
        Self: 'a,
    {
        async move {
            let committed = self.run(async |session| sqlx::raw_sql("COMMIT").execute(session).await).await;
            self.writer.session = self.session.take();
            committed.map(drop)
        }
        .boxed()
    }

    fn roll_back<'a>(mut self) -> BoxFuture<'a, ()>
    where
        Self: 'a,
    {
        async move {
            if self.session.is_some() {
                let back = self.run(async |session| sqlx::raw_sql("ROLLBACK").execute(session).await).await;
                self.writer.session = self.session.take().filter(|_| back.is_ok());
            }
        }
        .boxed()
    }
}

/// A transaction that only reads, and sees one moment.
pub(super) struct Snapshot(Transaction<'static, Postgres>);

impl Reads for Snapshot {
    type Row = PgRow;

    fn rows<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<PgRow>, Fault>> {
        limited(async { prepared(query).fetch_all(&mut *self.0).await }).boxed()
    }
}

impl Engine for PostgresStore {
    type Row = PgRow;
    type Snapshot = Snapshot;
    type Writing<'a> = Writing<'a>;

    const DIALECT: Dialect = dialect::DIALECT;

    /// Once more on a new connection if the old one turns out to be gone: every statement of ours may be run again.
    fn change<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<u64, Fault>> {
        async move {
            let mut writer = self.writer.lock().await;
            let had = writer.session.is_some();
            let mut session = self.session(&mut writer).await?;
            let mut done = limited(prepared(query.clone()).execute(&mut session)).await;
            if let Err(fault) = &done
                && fault.ends_session()
            {
                self.lost(fault);
                if !had {
                    return done.map(|done| done.rows_affected());
                }
                session = self.session(&mut writer).await?;
                done = limited(prepared(query).execute(&mut session)).await;
            }
            if !done.as_ref().is_err_and(Fault::ends_session) {
                writer.session = Some(session);
            }
            Ok(done?.rows_affected())
        }
        .boxed()
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<PgRow>, Fault>> {
        self.reading(async { prepared(query).fetch_all(&self.readers).await }).boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, Fault>> {
        let begin = self.readers.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        async move { Ok(Snapshot(self.reading(begin).await?)) }.boxed()
    }

    /// A connection that is gone is found out here, where nothing is lost by trying another one.
    fn begin(&self) -> BoxFuture<'_, Result<Writing<'_>, Fault>> {
        async move {
            let mut writer = self.writer.lock().await;
            loop {
                let had = writer.session.is_some();
                let mut session = self.session(&mut writer).await?;
                match limited(sqlx::raw_sql("BEGIN").execute(&mut session)).await {
                    Ok(_) => return Ok(Writing { store: self, writer, session: Some(session) }),
                    Err(fault) => {
                        self.lost(&fault);
                        if !had {
                            return Err(fault);
                        }
                    }
                }
            }
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Fault>> {
        async move { self.change(Query::new("SELECT 1")).await.map(drop) }.boxed()
    }

    fn shut(&self) -> BoxFuture<'_, ()> {
        async move {
            self.readers.close().await;
            if let Some(session) = self.writer.lock().await.session.take() {
                session::end(session).await;
            }
        }
        .boxed()
    }

    fn doubtful(&self) -> &Mutex<BTreeSet<JobId>> {
        &self.doubtful
    }
}

fn prepared(query: Query<'_>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    query.bound.into_iter().fold(sqlx::query(query.statement), |prepared, bound| match bound {
        Bound::Text(text) => prepared.bind(text.map(|text| storable(text).into_owned())),
        Bound::Number(number) => prepared.bind(number),
        Bound::Flag(flag) => prepared.bind(flag),
        Bound::List(list) => prepared.bind(Value::from(storable_list(list)).to_string()),
    })
}

#[cfg(test)]
mod tests;
