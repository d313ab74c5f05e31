//! The one session that writes, and that nobody else has one beside it.
//!
//! An advisory lock of the database belongs to this session and ends with it, whichever way that ends. Everything is committed
//! in the session that has the lock, so nothing can be committed by a coordinator that has lost it. Who connects again first
//! ends what the server may still have of its own old session (which may be in the middle of a commit), then takes the lock
//! again, then looks into `holder` whether another coordinator has had the database in between.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::time::{Instant, sleep, timeout};

use super::{
    SCHEMA,
    address::DatabaseUrl,
    refusal::{Reason, Refusal},
};

/// PostgreSQL 14, as `server_version_num` has it: the oldest that is maintained.
pub(super) const OLDEST: i64 = 140_000;
/// For connecting, and for each step until the session can write.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the lock may still be held by a session whose end the server has not noticed yet.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_EVERY: Duration = Duration::from_millis(100);
/// "TVAR" in ASCII, and which of our locks.
const LOCK: (i32, i32) = (0x5456_4152, 1);

/// Keepalives: a server that is cut off from us is to give the lock away within half a minute. The times are the server's.
const PREPARE: &str = "
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SET idle_session_timeout = 0;
SET statement_timeout = 0;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Every session's.
pub(super) const SEARCH_PATH: &str = "SET search_path = tvarr";

/// What is asked of the server before anything is done in it.
const EXAMINE: &str = "
SELECT current_setting('server_version_num')::bigint AS version, current_setting('server_encoding') AS encoding,
    current_setting('fsync') = 'off' AS unsynced,
    pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS read_only";

const HOLDERS: &str = "
SELECT a.application_name AS name, host(a.client_addr) AS address
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.objsubid = 2
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Sessions of this very coordinator that the server has not given up yet.
const END_OWN: &str = "
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = $1 AND pid <> pg_backend_pid() AND datname = current_database() AND usename = current_user";

/// A session with the lock.
pub(super) async fn establish(address: &DatabaseUrl, instance: &str) -> Result<PgConnection, Refusal> {
    let refuse = |reason| Refusal { address: address.clone(), reason };
    let name = name(instance);
    let options = address.options().clone().application_name(&name);
    let connected = within(options.connect()).await.map_err(refuse)?;
    let mut connection = connected.map_err(|error| refuse(Reason::of_connecting(error, address)))?;
    within(examine(&mut connection)).await.flatten().map_err(refuse)?;
    lock(&mut connection, &name).await.map_err(refuse)?;
    Ok(connection)
}

/// How people see it in `pg_stat_activity`.
fn name(instance: &str) -> String {
    format!("tvarr coordinator {instance}")
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, Reason> {
    timeout(PATIENCE, work).await.map_err(|_| Reason::Silent(PATIENCE.as_secs()))
}

async fn examine(connection: &mut PgConnection) -> Result<(), Reason> {
    let found = sqlx::query(EXAMINE).fetch_one(&mut *connection).await.map_err(Reason::Failed)?;
    let version: i64 = found.try_get("version").map_err(Reason::Failed)?;
    if version < OLDEST {
        return Err(Reason::TooOld(version));
    }
    let encoding: String = found.try_get("encoding").map_err(Reason::Failed)?;
    if encoding != "UTF8" {
        return Err(Reason::Encoding(encoding));
    }
    if found.try_get("unsynced").map_err(Reason::Failed)? {
        return Err(Reason::NoFsync);
    }
    if found.try_get("read_only").map_err(Reason::Failed)? {
        return Err(Reason::ReadOnly);
    }
    sqlx::raw_sql(PREPARE).execute(&mut *connection).await.map_err(Reason::Failed)?;
    sqlx::raw_sql(SEARCH_PATH).execute(connection).await.map_err(Reason::Failed)?;
    Ok(())
}

async fn lock(connection: &mut PgConnection, name: &str) -> Result<(), Reason> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    let own = sqlx::query(END_OWN).bind(name).execute(&mut *connection);
    within(own).await?.map_err(Reason::Failed)?;
    loop {
        let taking = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)").bind(LOCK.0).bind(LOCK.1);
        if within(taking.fetch_one(&mut *connection)).await?.map_err(Reason::Failed)? {
            return Ok(());
        }
        if Instant::now() > deadline {
            let holder = within(holder(connection)).await?.map_err(Reason::Failed)?;
            return Err(Reason::Taken(holder));
        }
        sleep(LOCK_EVERY).await;
    }
}

/// Who has the lock, as far as the server tells us.
async fn holder(connection: &mut PgConnection) -> sqlx::Result<String> {
    let asking = sqlx::query_as(HOLDERS).bind(i64::from(LOCK.0)).bind(i64::from(LOCK.1));
    let found: Option<(Option<String>, Option<String>)> = asking.fetch_optional(connection).await?;
    let (name, address) = found.unwrap_or_default();
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "of another user".to_owned());
    Ok(address.map_or_else(|| name.clone(), |address| format!("{name}, from {address}")))
}

/// Notes that the database is this coordinator's now.
pub(super) async fn hold(connection: &mut PgConnection, instance: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO holder (instance) VALUES ($1) ON CONFLICT (one) DO UPDATE SET instance = excluded.instance")
        .bind(instance)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether no other coordinator has had it since.
pub(super) async fn holds(connection: &mut PgConnection, instance: &str) -> sqlx::Result<bool> {
    let found: Option<String> =
        sqlx::query_scalar("SELECT instance FROM holder").fetch_optional(connection).await?;
    Ok(found.as_deref() == Some(instance))
}

/// Whether the schema is there, and with tables in it.
pub(super) async fn schema(connection: &mut PgConnection) -> sqlx::Result<(bool, Vec<String>)> {
    let there = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL").bind(SCHEMA);
    let there = there.fetch_one(&mut *connection).await?;
    let tables =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = $1").bind(SCHEMA);
    Ok((there, tables.fetch_all(connection).await?))
}

/// Ends it, so that the lock is free when this returns.
pub(super) async fn end(connection: PgConnection) {
    // Cut off, the server ends it by itself.
    let _ = timeout(PATIENCE, connection.close()).await;
}
