//! Looking at the file before anything may write to it.
//!
//! A file that this coordinator cannot continue is refused and stays as it is, byte for byte: it may be all that is left of
//! somebody's jobs. Nothing here writes, creates or removes anything but the index of a write-ahead log (`-shm`), which
//! SQLite makes to read the log and which is gone again afterwards.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sqlx::{Connection as _, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};

use crate::store::migrations::{APPLIED, Applied, Mismatch, compare};

/// "TVAR" in ASCII, as `migrations/0002_application_id.sql` sets it.
const APPLICATION_ID: i64 = 0x5456_4152;
/// Every SQLite file begins with it: <https://www.sqlite.org/fileformat.html#the_database_header>.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the database header.
const HEADER: usize = 100;

/// What is at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// Whole, ours, and of this version or an older one.
    Ours,
}

/// A file that is not opened.
#[derive(Debug, thiserror::Error)]
#[error("the job store {} was not opened and not changed: {reason}; {}", path.display(), reason.remedy())]
pub struct Refusal {
    pub path: PathBuf,
    pub reason: Reason,
}

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("it is not a file")]
    NotAFile,
    #[error("it cannot be read and written: {0}")]
    Inaccessible(io::Error),
    #[error("it is empty (0 bytes): what it held is lost")]
    Empty,
    #[error("it is missing, but its write-ahead log is there: accepted jobs may be in it")]
    LogWithoutDatabase,
    #[error("it is no SQLite database")]
    NotSqlite,
    #[error("it is the database of another program")]
    Foreign,
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

impl Reason {
    const fn remedy(&self) -> &'static str {
        match self {
            Self::NotAFile => "move it away, or set TVARR_DATA_DIR to another folder",
            Self::Inaccessible(_) => {
                "let the coordinator's user read and write it, or set TVARR_DATA_DIR to another folder"
            }
            Self::Empty => {
                "restore it from a backup; to begin without any job, move it away together with its -wal and -shm files"
            }
            Self::LogWithoutDatabase => {
                "put the database back beside its -wal file; to begin without any job, move that away"
            }
            Self::NotSqlite | Self::Foreign => {
                "set TVARR_DATA_DIR to the coordinator's own folder, or move the file away"
            }
            Self::Damaged(_) => {
                "restore it from a backup, or save what can be read: copy it with its -wal file, then run sqlite3 \
                 COPY .recover; to begin without any job, move it away together with its -wal and -shm files"
            }
            Self::Mismatch(mismatch) => mismatch.remedy(),
        }
    }
}

/// Looks at the file. The caller holds the data folder's lock: nobody else has the file open.
pub(super) async fn inspect(path: &Path, migrations: &Migrator) -> Result<Found, Refusal> {
    let refuse = |reason| Refusal { path: path.to_owned(), reason };
    if look(path).map_err(refuse)? == Found::Nothing {
        return Ok(Found::Nothing);
    }
    let log = has_content(&beside(path, "-wal"));
    let index = beside(path, "-shm");
    let had_index = index.exists();
    // Without a log there is nothing to read but the file, and SQLite promises to make no other. With one, what was
    // committed last is in the log, which is read and left as it is.
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(!log);
    let checked = check(&options, migrations).await;
    if log && !had_index {
        // Without it the next reader makes it again.
        let _ = std::fs::remove_file(index);
    }
    checked.map_err(refuse)?;
    Ok(Found::Ours)
}

/// What can be told without SQLite.
fn look(path: &Path) -> Result<Found, Reason> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        // A link whose target is not there (a disk that is not mounted) is no invitation to make a new file.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            let log = has_content(&beside(path, "-wal"));
            return if log { Err(Reason::LogWithoutDatabase) } else { Ok(Found::Nothing) };
        }
        Err(error) => return Err(Reason::Inaccessible(error)),
    };
    if !metadata.is_file() {
        return Err(Reason::NotAFile);
    }
    if metadata.len() == 0 {
        return Err(Reason::Empty);
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(Reason::Inaccessible)?;
    let mut header = Vec::with_capacity(HEADER);
    File::take(file, HEADER as u64).read_to_end(&mut header).map_err(Reason::Inaccessible)?;
    if !header.starts_with(MAGIC) {
        return Err(Reason::NotSqlite);
    }
    if header.len() < HEADER {
        return Err(Reason::Damaged(format!("it ends after {} bytes", header.len())));
    }
    Ok(Found::Ours)
}

async fn check(options: &SqliteConnectOptions, migrations: &Migrator) -> Result<(), Reason> {
    let mut connection = SqliteConnection::connect_with(options).await.map_err(unreadable)?;
    let checked = check_connection(&mut connection, migrations).await;
    // Nothing was written: there is nothing that closing could lose.
    let _ = connection.close().await;
    checked
}

async fn check_connection(connection: &mut SqliteConnection, migrations: &Migrator) -> Result<(), Reason> {
    let application: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(unreadable)?;
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(unreadable)?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    let applied: Vec<Applied> = if has("_sqlx_migrations") {
        sqlx::query_as(APPLIED).fetch_all(&mut *connection).await.map_err(unreadable)?
    } else {
        Vec::new()
    };
    // Files of the first version carry no id, and are known by their tables. One without any table was being made when
    // its coordinator was killed.
    let ours = match application {
        APPLICATION_ID => true,
        0 => tables.is_empty() || (has("_sqlx_migrations") && (applied.is_empty() || has("jobs"))),
        _ => false,
    };
    if !ours {
        return Err(Reason::Foreign);
    }
    compare(&applied, migrations)?;
    // Reads every page. One finding is enough.
    let found: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await.map_err(unreadable)?;
    if found == "ok" { Ok(()) } else { Err(Reason::Damaged(found.replace('\n', " "))) }
}

/// What SQLite says of a file that it cannot make sense of, and of one that the system does not give it.
fn unreadable(error: sqlx::Error) -> Reason {
    match error {
        sqlx::Error::Io(error) => Reason::Inaccessible(error),
        error => Reason::Damaged(error.to_string()),
    }
}

/// The file that SQLite keeps beside the database: `jobs.sqlite-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn has_content(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}
