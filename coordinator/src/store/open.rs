//! The one store, by the parts that others know it by.

use std::{fs, io, path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    DatabaseUrl, Error, HoldingStore, JobStore, KeyStore, PostgresStore, SqliteStore, StreamStore,
    UploadOwners, UploadStore, WatchStore, WebhookStore,
};
use crate::ready;

/// The database, if it is a file.
const FILE: &str = "jobs.sqlite";
/// Says which database it is, if it is no file: an empty file would take its place otherwise once the URL is forgotten.
const MARK: &str = "jobs.postgres";

/// What a coordinator keeps, in one database.
#[derive(Clone)]
pub struct Stores {
    pub jobs: Arc<dyn JobStore>,
    pub streams: Arc<dyn StreamStore>,
    pub uploads: Arc<dyn UploadStore>,
    pub watched: Arc<dyn WatchStore>,
    pub keys: Arc<dyn KeyStore>,
    pub holdings: Arc<dyn HoldingStore>,
    pub upload_owners: Arc<dyn UploadOwners>,
    pub webhooks: Arc<dyn WebhookStore>,
    /// Cancelled when another coordinator has taken the database: nothing can be kept any more.
    pub superseded: CancellationToken,
}

impl Stores {
    /// Opens the database of a coordinator whose data folder this is: a file in it, or the one that `url` names.
    ///
    /// # Errors
    /// What cannot be opened, why, and what to do. It is as it was.
    pub async fn open(data_dir: &Path, url: Option<&DatabaseUrl>) -> Result<Self, Error> {
        let (file, mark) = (data_dir.join(FILE), data_dir.join(MARK));
        let Some(url) = url else {
            return match fs::read_to_string(&mark) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Ok(Self::of(SqliteStore::open(&file).await?, CancellationToken::new()))
                }
                Err(source) => Err(Error::Mark { doing: "read", path: mark, source }),
                Ok(name) => Err(Error::InPostgres { database: name.trim_end().to_owned(), path: mark }),
            };
        };
        if file.symlink_metadata().is_ok() {
            return Err(Error::InFile { path: file });
        }
        let store = PostgresStore::open(url.clone()).await?;
        let superseded = store.superseded();
        ready::replace(&mark, format!("{url}\n").as_bytes()).map_err(|source| Error::Mark {
            doing: "write",
            path: mark,
            source,
        })?;
        Ok(Self::of(store, superseded))
    }

    fn of<S>(store: S, superseded: CancellationToken) -> Self
    where
        S: JobStore
            + StreamStore
            + UploadStore
            + WatchStore
            + KeyStore
            + HoldingStore
            + UploadOwners
            + WebhookStore,
    {
        let store = Arc::new(store);
        Self {
            jobs: store.clone(),
            streams: store.clone(),
            uploads: store.clone(),
            watched: store.clone(),
            keys: store.clone(),
            holdings: store.clone(),
            upload_owners: store.clone(),
            webhooks: store,
            superseded,
        }
    }
}
