//! What is opened, and what is refused and stays as it was.

use std::{borrow::Cow, collections::BTreeMap, fs, os::unix::fs::FileExt as _, time::SystemTime};

use sqlx::{
    SqlSafeStr as _,
    migrate::{Migration, MigrationType},
};

use super::*;
use crate::store::JobStore as _;

const NAME: &str = "jobs.sqlite";

/// A folder with a job store in it, closed.
async fn stored() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join(NAME)).await.unwrap();
    store.close().await;
    folder
}

/// A folder with what a killed coordinator leaves: rows that are in the log only, and the index if `index`.
async fn killed(rows: u32, index: bool) -> tempfile::TempDir {
    let (running, folder) = (stored().await, tempfile::tempdir().unwrap());
    let store = SqliteStore::open(&running.path().join(NAME)).await.unwrap();
    execute(&mut store.writer.lock().await.connection, "PRAGMA wal_autocheckpoint = 0").await;
    fill(&mut store.writer.lock().await.connection, rows).await;
    for suffix in ["", "-wal", "-shm"].iter().take(if index { 3 } else { 2 }) {
        let name = format!("{NAME}{suffix}");
        fs::copy(running.path().join(&name), folder.path().join(&name)).unwrap();
    }
    folder
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

/// Logs, as the table that takes anything.
async fn fill(connection: &mut SqliteConnection, rows: u32) {
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO attempt_logs SELECT 'task ' || i, 1, json_array(hex(zeroblob(500))) FROM n",
    )
    .bind(rows)
    .execute(connection)
    .await
    .unwrap();
}

async fn rows(store: &SqliteStore) -> u32 {
    sqlx::query_scalar("SELECT count(*) FROM attempt_logs").fetch_one(&store.readers).await.unwrap()
}

async fn raw(folder: &tempfile::TempDir) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.path().join(NAME)).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Names, bytes and times of everything in the folder. The index of a log is made anew by every reader: of it only the
/// name counts.
fn contents(folder: &tempfile::TempDir) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = fs::read_dir(folder.path()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with("-shm") || entry.path().is_dir() {
            return (name, (Vec::new(), SystemTime::UNIX_EPOCH));
        }
        (name, (fs::read(entry.path()).unwrap(), entry.metadata().unwrap().modified().unwrap()))
    });
    entries.collect()
}

/// The words of the refusal, after making sure that it changed nothing.
async fn refused(folder: &tempfile::TempDir) -> String {
    let before = contents(folder);
    let path = folder.path().join(NAME);
    let error = SqliteStore::open(&path).await.err().expect("it was opened");
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(contents(folder) == before, "something changed: {:?}", contents(folder).keys());
    let words = error.to_string();
    assert!(words.contains(path.to_str().unwrap()), "{words}");
    words
}

#[tokio::test]
async fn a_new_file_appears_whole_and_carries_our_mark() {
    let folder = tempfile::tempdir().unwrap();
    // Of a coordinator that was killed while it made one.
    fs::write(folder.path().join(format!("{NAME}.new")), "half a file").unwrap();
    let store = SqliteStore::open(&folder.path().join(NAME)).await.unwrap();
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&store.readers).await.unwrap();
    assert_eq!(id.to_be_bytes()[4..], *b"TVAR");
    store.close().await;
    drop(store);
    assert!(!folder.path().join(format!("{NAME}.new")).exists());
    assert_eq!(inspect(&folder.path().join(NAME), &MIGRATIONS).await.unwrap(), Found::Ours);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), "this is text, and enough of it to be looked at\n".repeat(50))
        .unwrap();
    let words = refused(&folder).await;
    assert!(words.contains("no SQLite database; set TVARR_DATA_DIR"), "{words}");
}

#[tokio::test]
async fn an_empty_file_is_refused_because_none_of_ours_is_ever_empty() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), "").unwrap();
    let words = refused(&folder).await;
    assert!(words.contains("0 bytes") && words.contains("backup"), "{words}");
}

#[tokio::test]
async fn a_folder_in_its_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(NAME)).unwrap();
    assert!(refused(&folder).await.contains("it is not a file; move it away"));
}

#[tokio::test]
async fn a_link_to_a_disk_that_is_not_mounted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(folder.path().join("not-mounted/jobs.sqlite"), folder.path().join(NAME))
        .unwrap();
    let error = SqliteStore::open(&folder.path().join(NAME)).await.err().unwrap().to_string();
    assert!(error.contains("No such file"), "{error}");
    assert!(folder.path().join(NAME).is_symlink());
}

#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let folder = killed(10, false).await;
    fs::remove_file(folder.path().join(NAME)).unwrap();
    assert!(refused(&folder).await.contains("put the database back beside its -wal file"));
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut theirs = raw(&folder).await;
    execute(&mut theirs, "CREATE TABLE bookmarks (url TEXT)").await;
    theirs.close().await.unwrap();
    assert!(refused(&folder).await.contains("another program; set TVARR_DATA_DIR"));

    let folder = stored().await;
    let mut theirs = raw(&folder).await;
    execute(&mut theirs, "PRAGMA application_id = 7").await;
    theirs.close().await.unwrap();
    assert!(refused(&folder).await.contains("another program"));
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let folder = stored().await;
    let mut connection = raw(&folder).await;
    fill(&mut connection, 100).await;
    connection.close().await.unwrap();
    let path = folder.path().join(NAME);
    let whole = fs::metadata(&path).unwrap().len();
    for length in [whole - 4096, whole / 2, 4096, 512, 50] {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
        let words = refused(&folder).await;
        assert!(words.contains("damaged") && words.contains(".recover"), "{length}: {words}");
    }
}

#[tokio::test]
async fn flipped_bytes_in_the_middle_are_found() {
    let pristine = stored().await;
    let mut connection = raw(&pristine).await;
    fill(&mut connection, 100).await;
    connection.close().await.unwrap();
    let bytes = fs::read(pristine.path().join(NAME)).unwrap();
    for page in 1..bytes.len() / 4096 {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), &bytes).unwrap();
        let file = fs::OpenOptions::new().write(true).open(folder.path().join(NAME)).unwrap();
        let at = page * 4096;
        let flipped: Vec<u8> = bytes[at..at + 64].iter().map(|byte| !byte).collect();
        file.write_at(&flipped, at as u64).unwrap();
        let words = refused(&folder).await;
        assert!(words.contains("damaged"), "page {page}: {words}");
    }
}

#[tokio::test]
async fn what_a_killed_coordinator_left_in_its_log_is_there_again() {
    for index in [true, false] {
        let folder = killed(100, index).await;
        let store = SqliteStore::open(&folder.path().join(NAME)).await.unwrap();
        assert_eq!(rows(&store).await, 100);
        store.close().await;
    }
}

#[tokio::test]
async fn a_damaged_file_with_a_log_is_refused_and_both_stay() {
    for index in [true, false] {
        let folder = killed(10, index).await;
        let path = folder.path().join(NAME);
        let bytes = fs::read(&path).unwrap();
        // The root of the jobs, which the log does not hold.
        let root: u32 = {
            let whole = stored().await;
            let mut connection = raw(&whole).await;
            sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'")
                .fetch_one(&mut connection)
                .await
                .unwrap()
        };
        let at = (root as usize - 1) * 4096;
        let flipped: Vec<u8> = bytes[at..at + 64].iter().map(|byte| !byte).collect();
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_at(&flipped, at as u64).unwrap();
        assert!(refused(&folder).await.contains("damaged"));
    }
}

#[tokio::test]
async fn a_newer_version_is_refused_by_name_even_when_its_mark_is_in_the_log() {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap();
    for in_log in [false, true] {
        let folder = if in_log { killed(1, false).await } else { stored().await };
        let mut connection = raw(&folder).await;
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (?1, 'chunks', '2027-01-01', true, x'00', 1)")
            .bind(newest + 5)
            .execute(&mut connection)
            .await
            .unwrap();
        let refuse = if in_log {
            // Still open, as if its coordinator was killed now: the log holds the row.
            let copy = tempfile::tempdir().unwrap();
            for suffix in ["", "-wal"] {
                let name = format!("{NAME}{suffix}");
                fs::copy(folder.path().join(&name), copy.path().join(&name)).unwrap();
            }
            copy
        } else {
            connection.close().await.unwrap();
            folder
        };
        let words = refused(&refuse).await;
        assert!(words.contains(&format!("migration {}", newest + 5)), "{words}");
        assert!(words.contains(&format!("knows up to {newest}; update the coordinator")), "{words}");
    }
}

#[tokio::test]
async fn a_migration_that_was_applied_in_another_form_is_named() {
    let folder = stored().await;
    let mut connection = raw(&folder).await;
    execute(&mut connection, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    connection.close().await.unwrap();
    assert!(refused(&folder).await.contains("migration 1 was applied to it in another form"));
}

/// Ours and one more, which needs room.
fn with_a_large_migration() -> Migrator {
    let large = Migration::new(
        1000,
        "room".into(),
        MigrationType::Simple,
        "CREATE TABLE room (x); INSERT INTO room VALUES (zeroblob(4000000))".into_sql_str(),
        false,
    );
    let migrations = MIGRATIONS.iter().cloned().chain([large]).collect();
    Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT }
}

#[tokio::test]
async fn a_disk_that_is_full_during_a_migration_leaves_the_file_as_it_was() {
    let folder = stored().await;
    let path = folder.path().join(NAME);
    let mut writer = SqliteConnection::connect_with(&options(&path)).await.unwrap();
    fill(&mut writer, 10).await;
    // What SQLite says then is what it says when the disk is full.
    execute(&mut writer, "PRAGMA max_page_count = 100").await;
    let migrations = with_a_large_migration();
    let error = migrate(&mut writer, &path, &migrations).await.unwrap_err().to_string();
    assert!(error.contains("disk is full") && error.contains("free some space"), "{error}");
    writer.close().await.unwrap();

    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(rows(&store).await, 10, "the version before goes on with it");
    store.close().await;
    drop(store);
    let store = SqliteStore::open_with(&path, &migrations).await.unwrap();
    assert_eq!(rows(&store).await, 10, "and the new one does once there is room");
}
