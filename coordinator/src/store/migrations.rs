//! What was done to the tables of a database, beside what this coordinator knows.

use common::failpoint;
use sqlx::migrate::Migrator;

/// Why this coordinator cannot go on with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error(
        "it was written by a newer coordinator: it has migration {version}, this coordinator knows up to {known}"
    )]
    Newer { version: i64, known: i64 },
    #[error("migration {0} was applied to it in another form than this coordinator has")]
    Changed(i64),
    #[error("migration {0} was begun on it and never finished")]
    Unfinished(i64),
}

impl Mismatch {
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Newer { .. } => "update the coordinator to the version that wrote it, or a later one",
            Self::Changed(_) | Self::Unfinished(_) => {
                "run the coordinator version that wrote it, or restore a backup from before that"
            }
        }
    }
}

/// Makes the place of a new database, whichever it is.
pub(super) async fn created<E>(make: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    failpoint::hit("store.create.before");
    make.await?;
    failpoint::hit("store.create.after");
    Ok(())
}

/// Brings its tables up to date.
pub(super) async fn migrated<E>(run: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    failpoint::hit("store.migrate.before");
    run.await?;
    failpoint::hit("store.migrate.after");
    Ok(())
}

/// Reads [`Applied`].
pub(super) const APPLIED: &str = "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version";

/// Version, success and checksum of a migration that was applied.
pub(super) type Applied = (i64, bool, Vec<u8>);

pub(super) fn compare(applied: &[Applied], migrations: &Migrator) -> Result<(), Mismatch> {
    let known = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    if let Some((version, ..)) = applied.iter().find(|(version, ..)| !migrations.version_exists(*version)) {
        return Err(Mismatch::Newer { version: *version, known });
    }
    for (version, success, checksum) in applied {
        if !success {
            return Err(Mismatch::Unfinished(*version));
        }
        let same = migrations
            .iter()
            .any(|migration| migration.version == *version && *migration.checksum == checksum[..]);
        if !same {
            return Err(Mismatch::Changed(*version));
        }
    }
    Ok(())
}
