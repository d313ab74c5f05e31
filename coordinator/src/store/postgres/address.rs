//! Where the database is, and how to get in.

use std::{fmt, str::FromStr, sync::Arc};

use sqlx::postgres::PgConnectOptions;
use url::Url;

/// What may stand behind `?`; the driver would ignore others, and log their values.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
];

/// Why an address is of no use. Says nothing of what stands in it: a password may be anywhere in an address that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; write postgres://USER:PASSWORD@HOST:5432/DATABASE, with %XX for characters that mean something in a URL"
)]
pub struct BadAddress(String);

/// Where a database is, as `TVARR_DATABASE_URL` has it. Whatever prints it leaves the password out.
#[derive(Clone)]
pub struct DatabaseUrl(Arc<PgConnectOptions>);

impl DatabaseUrl {
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.0
    }

    pub(super) fn user(&self) -> &str {
        self.0.get_username()
    }

    pub(super) fn database(&self) -> &str {
        self.0.get_database().unwrap_or_else(|| self.user())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on ", self.database())?;
        match self.0.get_socket() {
            Some(folder) => write!(f, "{}, port {}", folder.display(), self.0.get_port()),
            None => write!(f, "{}:{}", self.0.get_host(), self.0.get_port()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

impl FromStr for DatabaseUrl {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |what: &str| BadAddress(what.to_owned());
        let url = Url::parse(text).map_err(|error| BadAddress(format!("it is no URL ({error})")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(bad("it is no address of PostgreSQL"));
        }
        if url.fragment().is_some() {
            return Err(bad("it has a # in it"));
        }
        let mut database = !url.path().trim_matches('/').is_empty();
        let mut host = url.host_str().is_some_and(|host| !host.is_empty());
        for (key, value) in url.query_pairs() {
            if !PARAMETERS.contains(&&*key) {
                return Err(bad(&format!(
                    "one of its parameters is unknown; known are {}",
                    PARAMETERS.join(", ")
                )));
            }
            database |= key == "dbname" && !value.is_empty();
            host |= key.starts_with("host") && !value.is_empty();
        }
        if !host {
            return Err(bad("it names no host"));
        }
        if !database {
            return Err(bad("it names no database"));
        }
        text.parse()
            .map(|options| Self(Arc::new(options)))
            .map_err(|_| bad("one of its parts cannot be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_printed() {
        for text in [
            "postgres://ann:hunter2@db.example:6432/farm?sslmode=require",
            "postgresql://ann:hunter2@%2Frun%2Fpostgresql/farm",
            "postgresql:///farm?host=/run/postgresql&user=ann",
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            let printed = format!("{url} {url:?}");
            assert!(!printed.contains("hunter2") && printed.contains("farm"), "{printed}");
        }
        let url: DatabaseUrl = "postgres://ann:hunter2@db.example/farm".parse().unwrap();
        assert_eq!(url.to_string(), "farm on db.example:5432");
    }

    #[test]
    fn an_address_that_is_wrong_is_told_without_its_text() {
        for (text, what) in [
            ("hunter2", "no URL"),
            ("mysql://ann:hunter2@host/farm", "no address of PostgreSQL"),
            ("postgres://ann:hunter2@host", "names no database"),
            ("postgres://ann:hunter2@host/", "names no database"),
            ("postgres:///farm", "names no host"),
            ("postgres://ann:hun#ter2@host/farm", ""),
            ("postgres://ann:hunter2@host:port/farm", "no URL"),
            ("postgres://ann@host/farm?passwort=hunter2", "unknown"),
            ("postgres://ann@host/farm?sslmode=hunter2", "cannot be read"),
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("write postgres://"), "{text}: {error}");
            assert!(!error.contains("hunter2") && !error.contains("ter2"), "{error}");
        }
    }
}
