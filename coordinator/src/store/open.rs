//! The one store, by the parts that others know it by.

use std::{path::Path, sync::Arc};

use super::{
    Error, HoldingStore, JobStore, KeyStore, SqliteStore, StreamStore, UploadOwners, UploadStore, WatchStore,
    WebhookStore,
};

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
}

impl Stores {
    /// Opens the database of a coordinator whose data folder this is.
    ///
    /// # Errors
    /// What cannot be opened, why, and what to do. It is as it was.
    pub async fn open(data_dir: &Path) -> Result<Self, Error> {
        Ok(Self::of(SqliteStore::open(&data_dir.join("jobs.sqlite")).await?))
    }

    fn of<S>(store: S) -> Self
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
        }
    }
}
