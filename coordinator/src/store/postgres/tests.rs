//! The store against a real server: what every store promises, and what is PostgreSQL's own.

use std::panic::AssertUnwindSafe;

use common::api::JobState;
use futures::future::LocalBoxFuture;
use sqlx::{
    Row as _, SqlSafeStr as _,
    migrate::{Migration, MigrationType},
};

use super::*;
use crate::{
    queue::JobFilter,
    store::{
        Changes, JobStore as _, StreamStore as _,
        conformance::{self, Place, cases, commit_jobs, job, unfinished, with_task},
        select,
    },
};

/// The end-to-end tests' own.
#[allow(unreachable_pub)]
#[path = "../../../../tests/src/stores/postgres.rs"]
mod server;

use server::{PASSWORD, Postgres as Server};

fn address(server: &Server, database: &str) -> DatabaseUrl {
    server.url(database).parse().unwrap()
}

async fn open(server: &Server, database: &str) -> PostgresStore {
    PostgresStore::open(address(server, database)).await.unwrap()
}

/// A server with one empty database.
fn farm() -> Server {
    let server = Server::start();
    server.create("farm");
    server
}

/// The words of the refusal.
async fn refused(url: &str) -> String {
    let words = match PostgresStore::open(url.parse().unwrap()).await {
        Ok(_) => panic!("it was opened"),
        Err(error @ Error::Postgres(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
    };
    assert!(!words.contains(PASSWORD) && !words.contains("pass%20word"), "{words}");
    words
}

struct Database(DatabaseUrl);

impl Place for Database {
    type Store = PostgresStore;

    fn open(&self) -> LocalBoxFuture<'_, PostgresStore> {
        async { PostgresStore::open(self.0.clone()).await.unwrap() }.boxed_local()
    }
}

/// One server for all cases: one is begun quickly, but not as quickly as a file.
#[tokio::test]
async fn every_promise_of_a_store_is_kept() {
    let server = farm();
    let mut broken: Vec<&str> = Vec::new();
    macro_rules! each_on_an_empty_database {
        ($($group:ident::$case:ident),+ $(,)?) => {
            $(
                // Of the case before, which did not close its store.
                cut(&server);
                server.sql("farm", "DROP SCHEMA IF EXISTS tvarr CASCADE");
                let case = conformance::$group::$case(Database(address(&server, "farm")));
                if AssertUnwindSafe(case).catch_unwind().await.is_err() {
                    broken.push(stringify!($case));
                }
            )+
        };
    }
    cases!(each_on_an_empty_database);
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test]
async fn a_database_that_is_of_no_use_is_refused_with_what_to_do() {
    let mut server = farm();
    let words = refused(&server.url_of("farm", "wrong", "farm")).await;
    assert!(words.contains("farm on ") && words.contains("correct user and password"), "{words}");
    let words = refused(&server.url("nowhere")).await;
    assert!(words.contains("CREATE DATABASE"), "{words}");
    server.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let words = refused(&server.url("latin")).await;
    assert!(words.contains("encoding is LATIN1") && words.contains("ENCODING 'UTF8'"), "{words}");
    server.create("standby");
    server.sql("postgres", "ALTER DATABASE standby SET default_transaction_read_only = on");
    let words = refused(&server.url("standby")).await;
    assert!(words.contains("takes no changes") && words.contains("name the primary"), "{words}");
    server.create("theirs");
    server.sql("theirs", "CREATE SCHEMA tvarr CREATE TABLE bookmarks (url TEXT)");
    let words = refused(&server.url("theirs")).await;
    assert!(words.contains("another program") && words.contains("a database of its own"), "{words}");
    server.sql("postgres", "CREATE ROLE guest LOGIN PASSWORD 'guest'");
    let words = refused(&server.url_of("guest", "guest", "farm")).await;
    assert!(words.contains("CREATE SCHEMA tvarr AUTHORIZATION \"guest\""), "{words}");
    // As it says.
    server.sql("farm", "CREATE SCHEMA tvarr AUTHORIZATION guest");
    let guest = PostgresStore::open(server.url_of("guest", "guest", "farm").parse().unwrap()).await.unwrap();
    guest.close().await;
    assert_eq!(server.sql("farm", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    server.sql("postgres", "ALTER SYSTEM SET fsync = off");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let words = refused(&server.url("farm")).await;
    assert!(words.contains("fsync off") && words.contains("fsync = on"), "{words}");
    server.stop();
    let words = refused(&server.url("farm")).await;
    assert!(words.contains("cannot be reached") && words.contains("start the server"), "{words}");
}

#[tokio::test]
async fn a_newer_version_and_a_changed_migration_are_refused_and_stay() {
    let server = farm();
    open(&server, "farm").await.close().await;
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap();
    let newer = format!(
        "INSERT INTO tvarr._sqlx_migrations VALUES ({}, 'chunks', now(), true, '\\x00', 1)",
        newest + 5
    );
    server.sql("farm", &newer);
    let words = refused(&server.url("farm")).await;
    assert!(words.contains(&format!("it has migration {}", newest + 5)), "{words}");
    assert!(words.contains(&format!("knows up to {newest}; update the coordinator")), "{words}");
    server.sql("farm", &format!("DELETE FROM tvarr._sqlx_migrations WHERE version = {}", newest + 5));
    server.sql("farm", "UPDATE tvarr._sqlx_migrations SET checksum = '\\x00' WHERE version = 1");
    assert!(refused(&server.url("farm")).await.contains("migration 1 was applied to it in another form"));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_tables_as_they_were() {
    let server = farm();
    let store = open(&server, "farm").await;
    let kept = job(None);
    commit_jobs(&store, std::slice::from_ref(&kept)).await;
    store.close().await;
    let broken = Migration::new(
        1000,
        "broken".into(),
        MigrationType::Simple,
        "CREATE TABLE half (x BIGINT); SELECT 1 / 0".into_sql_str(),
        false,
    );
    let migrations = MIGRATIONS.iter().cloned().chain([broken]).collect();
    let migrations = Migrator { migrations: std::borrow::Cow::Owned(migrations), ..Migrator::DEFAULT };
    let error =
        PostgresStore::open_with(address(&server, "farm"), &migrations).await.err().unwrap().to_string();
    assert!(error.contains("cannot be brought up to date") && error.contains("as it was"), "{error}");
    let store = open(&server, "farm").await;
    assert_eq!(store.job(kept.id).await.unwrap().unwrap().job, kept);
    assert_eq!(server.sql("farm", "SELECT to_regclass('tvarr.half') IS NULL"), "t");
}

#[tokio::test]
async fn a_second_coordinator_is_refused_until_the_first_has_gone() {
    let server = farm();
    let first = open(&server, "farm").await;
    let words = refused(&server.url("farm")).await;
    assert!(words.contains("farm on ") && words.contains("another coordinator"), "{words}");
    assert!(words.contains(&first.instance) && words.contains("stop it"), "{words}");
    first.close().await;
    open(&server, "farm").await.close().await;
}

#[tokio::test]
async fn every_commit_is_synced_even_where_that_is_turned_off() {
    let server = farm();
    server.sql("postgres", "ALTER DATABASE farm SET synchronous_commit = off");
    let store = open(&server, "farm").await;
    let mut writer = store.writer.lock().await;
    let session = writer.session.as_mut().unwrap();
    let level: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(session).await.unwrap();
    assert_eq!(level, "on");
    drop(writer);
    store.close().await;
    // More than that is not taken back.
    server.sql("postgres", "ALTER DATABASE farm SET synchronous_commit = remote_apply");
    let store = open(&server, "farm").await;
    let mut writer = store.writer.lock().await;
    let session = writer.session.as_mut().unwrap();
    let level: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(session).await.unwrap();
    assert_eq!(level, "remote_apply");
}

/// Ends the sessions of coordinators, as a network does.
fn cut(server: &Server) {
    server.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tvarr%'",
    );
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again_and_nothing_committed_is_lost() {
    let mut server = farm();
    let store = open(&server, "farm").await;
    let (before, refused, after) = (job(None), job(None), job(None));
    commit_jobs(&store, std::slice::from_ref(&before)).await;
    cut(&server);
    // Nobody has to notice that.
    store.ready().await.unwrap();
    store.raise_sequence_floors(&[("s".to_owned(), 1)]).await.unwrap();
    cut(&server);
    commit_jobs(&store, std::slice::from_ref(&after)).await;
    server.stop();
    let changes = Changes { jobs: vec![refused.clone()], ..Changes::default() };
    let error = store.commit(&changes).await.unwrap_err().to_string();
    assert!(
        error.contains("cannot write to the job store") && error.contains("cannot be reached"),
        "{error}"
    );
    assert!(!error.contains(PASSWORD), "{error}");
    assert!(store.ready().await.is_err());
    let error = store.jobs(&JobFilter { limit: 1, ..JobFilter::default() }).await.unwrap_err().to_string();
    assert!(error.contains("cannot list jobs") && error.contains("cannot be reached"), "{error}");
    server.start_again();
    let back = async {
        while store.ready().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(STATEMENT, back).await.unwrap();
    let there = unfinished(&store).await;
    assert_eq!(there.iter().map(|stored| stored.job.id).collect::<Vec<_>>(), [before.id, after.id]);
}

#[tokio::test]
async fn whoever_was_replaced_while_it_was_cut_off_commits_nothing_more() {
    let server = farm();
    let first = open(&server, "farm").await;
    // It holds on to the connection that it has; the server has ended it.
    cut(&server);
    let second = open(&server, "farm").await;
    let kept = job(None);
    commit_jobs(&second, std::slice::from_ref(&kept)).await;
    let late = Changes { jobs: vec![job(None)], ..Changes::default() };
    assert!(first.commit(&late).await.is_err());
    second.close().await;
    // The lock is free, and yet.
    let superseded = async {
        loop {
            let error = first.commit(&late).await.unwrap_err().to_string();
            if error.contains("another coordinator has taken") {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(STATEMENT, superseded).await.unwrap();
    assert!(first.superseded().is_cancelled());
    let store = open(&server, "farm").await;
    let there = unfinished(&store).await;
    assert_eq!(there.iter().map(|stored| stored.job.id).collect::<Vec<_>>(), [kept.id]);
}

/// As when an answer to COMMIT is lost: the rows are there, and the queue was told that they are not.
#[tokio::test]
async fn what_was_refused_and_is_there_after_all_is_taken_back_by_the_next_commit() {
    let server = farm();
    let store = open(&server, "farm").await;
    let (withdrawn, mut running) = (job(Some("ann")), job(None));
    running.state = JobState::Running;
    let (task, attempt) = with_task(&withdrawn);
    let changes = Changes {
        jobs: vec![withdrawn.clone(), running.clone()],
        tasks: vec![task],
        attempts: vec![attempt],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    store.doubtful().lock().unwrap().insert(withdrawn.id);
    commit_jobs(&store, &[running.clone()]).await;
    assert_eq!(store.job(withdrawn.id).await.unwrap(), None);
    assert!(store.job(running.id).await.unwrap().is_some());
    assert!(store.doubtful().lock().unwrap().is_empty());
    assert_eq!(server.sql("farm", "SELECT count(*) FROM tvarr.attempts"), "0");
    // One that the queue still knows is written again instead.
    store.doubtful().lock().unwrap().insert(running.id);
    commit_jobs(&store, &[running.clone()]).await;
    assert!(store.job(running.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_commit_that_is_given_up_in_the_middle_leaves_nothing_and_the_next_one_goes_through() {
    let server = farm();
    let store = open(&server, "farm").await;
    let given_up = job(None);
    let mut writing = store.begin().await.unwrap();
    let row = vec![(PostgresStore::DIALECT.job)(&given_up)];
    writing.execute(Query::new(PostgresStore::DIALECT.upsert_jobs).bind(row)).await.unwrap();
    drop(writing);
    let kept = job(None);
    commit_jobs(&store, std::slice::from_ref(&kept)).await;
    let there = unfinished(&store).await;
    assert_eq!(there.iter().map(|stored| stored.job.id).collect::<Vec<_>>(), [kept.id]);
}

#[tokio::test]
async fn a_statement_that_fails_undoes_its_commit_and_keeps_the_session() {
    let server = farm();
    let store = open(&server, "farm").await;
    let session =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tvarr coordinator _%-%'";
    let kept = job(None);
    // As a full disk would have it: https://www.postgresql.org/docs/current/errcodes-appendix.html, class 53.
    server.sql(
        "farm",
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON tvarr.tasks FOR EACH ROW EXECUTE FUNCTION full_disk()",
    );
    let (task, _) = with_task(&kept);
    let changes = Changes { jobs: vec![kept.clone()], tasks: vec![task], ..Changes::default() };
    let error = store.commit(&changes).await.unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(store.job(kept.id).await.unwrap(), None);
    server.sql("farm", "DROP TRIGGER full_disk ON tvarr.tasks");
    assert_eq!(server.sql("farm", session), "1");
    store.commit(&changes).await.unwrap();
    assert_eq!(store.job(kept.id).await.unwrap().unwrap().tasks.len(), 1);
}

/// However many jobs there are.
#[tokio::test]
async fn lists_and_counts_come_out_of_an_index() {
    let server = farm();
    let store = open(&server, "farm").await;
    let jobs: Vec<_> = (0..3_000)
        .map(|number| {
            let mut job = job(Some(if number % 2 == 0 { "ann" } else { "bob" }));
            job.state = match number % 500 {
                0 => JobState::Failed,
                1 => JobState::Dead,
                2 => JobState::Queued,
                3 => JobState::Running,
                _ => JobState::Succeeded,
            };
            job
        })
        .collect();
    commit_jobs(&store, &jobs).await;
    server.sql("farm", "VACUUM ANALYZE tvarr.jobs");
    let two = vec![JobState::Dead, JobState::Failed];
    let by = |filter: JobFilter| select::jobs(&JobFilter { limit: 10, ..filter }, &PostgresStore::DIALECT);
    for (query, index) in [
        (by(JobFilter::default()), "jobs_pkey"),
        (by(JobFilter { states: two, ..JobFilter::default() }), "jobs_by_state"),
        (by(JobFilter { worker: Some("w".to_owned()), ..JobFilter::default() }), "jobs_by_worker"),
        (Query::new(select::COUNTS), "jobs_by_state"),
        (Query::new(select::COUNTS_OF).bind("ann"), "jobs_by_owner_state"),
        (Query::new(select::UNFINISHED).bind("").bind(500_u32), "jobs_by_state"),
    ] {
        let explain =
            Query { bound: query.bound, ..Query::composed(format!("EXPLAIN {}", query.statement.as_str())) };
        let mut snapshot = store.snapshot().await.unwrap();
        let plan: Vec<String> =
            snapshot.rows(explain).await.unwrap().iter().map(|row| row.get::<String, _>(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}
