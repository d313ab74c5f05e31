//! Why a database is not used, and what to do about it.

use sqlx::{error::DatabaseError, migrate::MigrateError};

use super::address::DatabaseUrl;
use crate::store::{Fault, migrations::Mismatch};

/// A database that is not used.
#[derive(Debug, thiserror::Error)]
#[error("the PostgreSQL database {address} cannot be used: {reason}; {}", reason.remedy())]
pub struct Refusal {
    pub address: DatabaseUrl,
    pub reason: Reason,
}

#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("it cannot be reached: {0}")]
    Unreachable(sqlx::Error),
    #[error("there was no answer within {0} s")]
    Silent(u64),
    #[error("no secure connection can be made: {0}")]
    Tls(sqlx::Error),
    #[error("it does not let user {user} in: {said}")]
    Denied { user: String, said: String },
    #[error("the server has none of that name")]
    NoDatabase,
    #[error("the server is of version {0}")]
    TooOld(i64),
    #[error("its encoding is {0}")]
    Encoding(String),
    #[error("the server has fsync off: what it has accepted is lost with its power")]
    NoFsync,
    #[error("the server is a standby, or takes no changes for another reason")]
    ReadOnly,
    #[error("another coordinator keeps its jobs in it ({0})")]
    Taken(String),
    #[error("its schema {0} has tables of another program")]
    Foreign(&'static str),
    #[error("user {user} may not make a schema in it")]
    NoSchema { user: String },
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("its tables cannot be brought up to date: {0}")]
    Migrate(MigrateError),
    #[error("{0}")]
    Failed(sqlx::Error),
}

impl Reason {
    fn remedy(&self) -> String {
        match self {
            Self::Unreachable(_) | Self::Silent(_) => {
                "start the server, or correct host and port in TVARR_DATABASE_URL".to_owned()
            }
            Self::Tls(_) => {
                "correct sslmode and sslrootcert in TVARR_DATABASE_URL, or the server's certificate".to_owned()
            }
            Self::Denied { .. } => {
                "correct user and password in TVARR_DATABASE_URL, or the server's pg_hba.conf".to_owned()
            }
            Self::NoDatabase => {
                "make it with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0, or correct TVARR_DATABASE_URL"
                    .to_owned()
            }
            Self::TooOld(_) => format!("use PostgreSQL {} or later", super::session::OLDEST / 10_000),
            Self::Encoding(_) => {
                "make one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0, and name that".to_owned()
            }
            Self::NoFsync => "set fsync = on in postgresql.conf".to_owned(),
            Self::ReadOnly => "name the primary in TVARR_DATABASE_URL".to_owned(),
            Self::Taken(_) => {
                "stop it, or give this one a database of its own in TVARR_DATABASE_URL".to_owned()
            }
            Self::Foreign(_) => "give the coordinator a database of its own in TVARR_DATABASE_URL".to_owned(),
            Self::NoSchema { user } => {
                format!("let a superuser run in it: CREATE SCHEMA {} AUTHORIZATION \"{user}\"", super::SCHEMA)
            }
            Self::Mismatch(mismatch) => mismatch.remedy().to_owned(),
            Self::Migrate(_) | Self::Failed(_) => {
                "see the server's log; what it holds is as it was".to_owned()
            }
        }
    }

    /// What became of connecting. Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    pub(super) fn of_connecting(error: sqlx::Error, address: &DatabaseUrl) -> Self {
        match &error {
            // Of a certificate that is not trusted, too.
            sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => Self::Tls(error),
            sqlx::Error::Io(_) => Self::Unreachable(error),
            sqlx::Error::Tls(_) => Self::Tls(error),
            sqlx::Error::Database(said) => match said.code().as_deref() {
                Some("28P01" | "28000") => {
                    Self::Denied { user: address.user().to_owned(), said: said.message().to_owned() }
                }
                Some("3D000") => Self::NoDatabase,
                // Starting up, shutting down, or with too many connections.
                Some(code) if code.starts_with("57P") || code == "53300" => Self::Unreachable(error),
                _ => Self::Failed(error),
            },
            _ => Self::Failed(error),
        }
    }
}

impl Fault {
    /// Whether the connection is of no use after this, and nobody knows what became of what was under way on it.
    pub(in crate::store) fn ends_session(&self) -> bool {
        match self {
            Self::Sql(error) => is_lost(error),
            Self::Silent(_) | Self::Unreachable { .. } | Self::Refused(_) | Self::Superseded(_) => true,
        }
    }
}

fn is_lost(error: &sqlx::Error) -> bool {
    let ends_it = |said: &dyn DatabaseError| {
        // Shut down, crashed, or another connection's error; a primary that has become a standby.
        said.code().is_some_and(|code| {
            ["57P", "08"].iter().any(|class| code.starts_with(class)) || code == "25P03" || code == "25006"
        })
    };
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(said) => ends_it(said.as_ref()),
        _ => false,
    }
}
