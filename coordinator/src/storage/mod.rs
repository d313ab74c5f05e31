//! Objects: uploaded inputs and finished outputs, on local disk under the data folder.
//!
//! Promises: an object is there whole or not at all; when a `put` returns, the object is on disk (file and folder
//! synced); what a broken-off `put` left is removed at once, or at the next start if the process died.
//!
//! | key | what |
//! |---|---|
//! | `uploads/{upload}/{name}` | an input |
//! | `jobs/{job}/{task}/{epoch}/{path}` | a file of an attempt |

mod check;
mod local;
mod object;
pub mod path;
pub(crate) mod range;
pub mod respond;
pub mod shared;
pub mod sign;
mod write;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use common::{
    digest::Digest,
    id::{AttemptId, JobId, UploadId},
};
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem};

use self::local::Place;
pub use self::{
    object::Object,
    path::{BadPath, Key, Prefix, RelPath},
    write::{Expect, Written},
};

/// Deletions at the same time.
const DELETES_IN_FLIGHT: usize = 16;

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no object {0}")]
    NotFound(Key),
    #[error("{key} is larger than the {limit} bytes that are allowed")]
    TooLarge { key: Key, limit: u64 },
    #[error("{key} ended after {got} bytes, {expected} were announced")]
    Size { key: Key, expected: u64, got: u64 },
    #[error("{key} has the SHA-256 {got}, {expected} was announced: it was changed on its way")]
    Digest { key: Key, expected: Digest, got: Digest },
    #[error("the body for {key} broke off: {reason}")]
    BrokenOff { key: Key, reason: String },
    #[error("no space left in the object storage while {doing}; free some space or use a larger disk")]
    Full { doing: String },
    #[error("{doing} failed: {reason}")]
    Store { doing: String, reason: String },
}

impl Error {
    fn store(doing: impl Into<String>, source: &object_store::Error) -> Self {
        let doing = doing.into();
        if is_storage_full(source) {
            Self::Full { doing }
        } else {
            Self::Store { doing, reason: source.to_string() }
        }
    }
}

fn is_storage_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// An upload as the storage knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUpload {
    pub key: Key,
    pub size: u64,
    pub modified: jiff::Timestamp,
}

/// The object storage; cheap to clone.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    local: Option<Arc<Local>>,
    /// The last put met a full disk.
    full: Arc<AtomicBool>,
}

/// The folder behind a storage that is one.
struct Local {
    store: LocalFileSystem,
    root: PathBuf,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.store)
    }
}

impl Storage {
    /// Opens the storage in `folder`, which is created, and removes what broken-off uploads left there.
    ///
    /// # Errors
    /// The folder cannot be created, read or written.
    pub fn open_local(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let removed = local::remove_staged(folder)?;
        if removed > 0 {
            tracing::info!(removed, "removed what broken-off uploads had left");
        }
        let root = folder.canonicalize()?;
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(io::Error::other)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        let local = Local { store: store.clone(), root };
        Ok(Self { store: Arc::new(store), local: Some(Arc::new(local)), full: Arc::default() })
    }

    /// Where an object is, if on local disk.
    fn place(&self, key: &Key) -> Option<Place> {
        self.place_of(&key.location())
    }

    fn place_of(&self, location: &object_store::path::Path) -> Option<Place> {
        let local = self.local.as_ref()?;
        let file = local.store.path_to_filesystem(location).ok()?;
        Some(Place { root: local.root.clone(), file })
    }

    /// The attempts that have, or had, objects. Blocks on the file system.
    ///
    /// # Errors
    /// The folders cannot be listed.
    pub fn attempts(&self) -> io::Result<Vec<(JobId, AttemptId)>> {
        self.local.as_ref().map_or_else(|| Ok(Vec::new()), |local| local::attempts(&local.root))
    }

    /// Opens an object for reading.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn open(&self, key: &Key) -> Result<Object, Error> {
        match self.store.get(&key.location()).await {
            Ok(got) => Ok(Object::new(Arc::clone(&self.store), key.location(), got)),
            Err(object_store::Error::NotFound { .. }) => Err(Error::NotFound(key.clone())),
            Err(error) => Err(Error::store(format!("opening {key}"), &error)),
        }
    }

    /// The size of an object; `None` when it is not there.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, Error> {
        match self.store.head(&key.location()).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::store(format!("looking for {key}"), &error)),
        }
    }

    /// Whether the object that a job names as its input is still there.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn holds(&self, key: &str) -> Result<bool, Error> {
        match Key::parse(key) {
            Ok(key) => Ok(self.size(&key).await?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// Removes everything below `prefix` and returns how many objects that were.
    ///
    /// # Errors
    /// The store cannot list or delete. What was deleted stays deleted; calling again goes on.
    pub async fn delete_prefix(&self, prefix: &Prefix) -> Result<usize, Error> {
        let failed = |error: object_store::Error| Error::store(format!("removing {prefix}"), &error);
        let store = &self.store;
        self.store
            .list(Some(&prefix.location()))
            .map_err(failed)
            .map_ok(|meta| async move {
                match store.delete(&meta.location).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(1),
                    Err(error) => Err(failed(error)),
                }
            })
            .try_buffer_unordered(DELETES_IN_FLIGHT)
            .try_fold(0, |sum, one: usize| async move { Ok(sum + one) })
            .await
    }

    /// Removes one object. That it is not there is no error.
    ///
    /// # Errors
    /// The store cannot delete.
    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        match self.store.delete(&key.location()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::store(format!("removing {key}"), &error)),
        }
    }

    /// Removes what a superseded attempt wrote, and the folders that are empty then.
    ///
    /// # Errors
    /// As [`Storage::delete_prefix`].
    pub async fn delete_attempt(&self, job: JobId, attempt: AttemptId) -> Result<usize, Error> {
        let prefix = Prefix::attempt(job, attempt);
        let removed = self.delete_prefix(&prefix).await?;
        if let Some(Place { root, file }) = self.place_of(&prefix.location()) {
            let pruned = tokio::task::spawn_blocking(move || local::prune_tree(&root, &file)).await;
            pruned.map_err(|error| Error::Store {
                doing: format!("removing the folders of {prefix}"),
                reason: error.to_string(),
            })?;
        }
        Ok(removed)
    }

    /// The file of an upload; `None` when there is no such upload.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn upload(&self, id: UploadId) -> Result<Option<StoredUpload>, Error> {
        Ok(self.uploads_below(&Prefix::upload(id)).await?.pop())
    }

    /// Every upload.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn uploads(&self) -> Result<Vec<StoredUpload>, Error> {
        self.uploads_below(&Prefix::uploads()).await
    }

    async fn uploads_below(&self, prefix: &Prefix) -> Result<Vec<StoredUpload>, Error> {
        self.store
            .list(Some(&prefix.location()))
            .try_filter_map(|meta| async move {
                let parts = meta.location.parts().map(|part| object::decode_part(part.as_ref()));
                let text = parts.collect::<Vec<_>>().join("/");
                let modified = jiff::Timestamp::from_millisecond(meta.last_modified.timestamp_millis());
                Ok(Key::parse(&text).ok().map(|key| StoredUpload {
                    key,
                    size: meta.size,
                    modified: modified.unwrap_or(jiff::Timestamp::MAX),
                }))
            })
            .try_collect()
            .await
            .map_err(|error| Error::store(format!("listing {prefix}"), &error))
    }

    /// Writes and removes a small object, to see that the storage works.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), Error> {
        let failed = |error: object_store::Error| Error::store("writing a probe object", &error);
        let location = object_store::path::Path::from("probe");
        self.store.put(&location, PutPayload::from_static(b"ok")).await.map_err(failed)?;
        self.store.delete(&location).await.or_else(|error| match error {
            object_store::Error::NotFound { .. } => Ok(()),
            other => Err(failed(other)),
        })
    }
}

#[cfg(test)]
mod tests;
