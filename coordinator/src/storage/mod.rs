//! Objects: uploaded inputs and finished outputs.
//!
//! Promises: an object is there whole or not at all; when a `put` returns, the object is durable (on a disk: file and folder
//! synced); what a broken-off `put` left is removed at once, or at the next start if the process died.
//!
//! | key | what | where |
//! |---|---|---|
//! | `uploads/{upload}/{name}` | an input | the coordinator's own disk, always |
//! | `jobs/{job}/{task}/{epoch}/{path}` | a file of an attempt | `TVARR_STORAGE_URL`: a folder or a bucket |

pub mod address;
mod adopt;
mod backend;
pub mod buckets;
mod check;
mod cloud;
pub mod credentials;
pub mod direct;
mod local;
mod object;
pub mod path;
pub(crate) mod range;
pub mod respond;
pub mod shared;
pub mod sign;
mod write;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use crate::metrics::Operations;
use common::{
    digest::Digest,
    id::{AttemptId, JobId, UploadId},
};
use futures::TryStreamExt as _;
use object_store::{ObjectStoreExt as _, PutPayload};

use self::{
    address::{Address, Scheme},
    backend::Backend,
    credentials::Environment,
    local::Place,
};
pub use self::{
    object::Object,
    path::{BadPath, Key, Prefix, RelPath},
    write::{Expect, Written},
};

/// How long a start waits for a bucket to say what a crash left in it.
const TIDY: Duration = Duration::from_secs(30);

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no object {0}")]
    NotFound(String),
    #[error("{key} is larger than the {limit} bytes that are allowed")]
    TooLarge { key: String, limit: u64 },
    #[error("{key} ended after {got} bytes, {expected} were announced")]
    Size { key: String, expected: u64, got: u64 },
    #[error("{key} has the SHA-256 {got}, {expected} was announced: it was changed on its way")]
    Digest { key: String, expected: Digest, got: Digest },
    #[error("the body for {key} broke off: {reason}")]
    BrokenOff { key: String, reason: String },
    #[error("no space left in the object storage while {doing}; free some space or use a larger disk")]
    Full { doing: String },
    #[error("{doing} was denied: {reason}; check what the coordinator's keys may do")]
    Denied { doing: String, reason: String },
    #[error("{doing} failed: {reason}")]
    Store { doing: String, reason: String },
}

impl Error {
    fn store(doing: impl Into<String>, source: &object_store::Error) -> Self {
        let doing = doing.into();
        let reason = source.to_string();
        match source {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Denied { doing, reason }
            }
            _ if is_storage_full(source) => Self::Full { doing },
            _ => Self::Store { doing, reason },
        }
    }
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>, source: &io::Error) -> Self {
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

impl StoredUpload {
    /// The upload that it is the file of.
    #[must_use]
    pub fn id(&self) -> Option<UploadId> {
        self.key.upload_id()
    }
}

/// The object storage; cheap to clone.
#[derive(Clone)]
pub struct Storage {
    /// Uploads.
    spool: Backend,
    /// Everything else.
    results: Backend,
    /// Where those are, if not in the folder of the uploads.
    url: Option<Address>,
    /// The last put met a full disk.
    full: Arc<AtomicBool>,
    operations: Operations,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({:?})", self.results)
    }
}

impl Storage {
    /// Opens the storage in `folder`, which is created, and removes what broken-off uploads left there. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// The folder cannot be created, read or written.
    pub fn open_local(folder: &Path) -> io::Result<Self> {
        let both = Backend::open_folder(folder)?;
        let (full, operations) = (Arc::default(), Operations::default());
        Ok(Self { spool: both.clone(), results: both, url: None, full, operations })
    }

    /// Opens a storage that keeps uploads in `folder` and everything else at `url`. Blocks on the file system.
    ///
    /// # Errors
    /// As [`Storage::open_local`], or `url` cannot be used: in words.
    pub fn open(folder: &Path, url: &Address, environment: &Environment) -> io::Result<Self> {
        let spool = Backend::open_folder(folder)?;
        let results = match (url.scheme, url.file()) {
            (Scheme::File, Some(folder)) => Backend::open_folder(&folder)?,
            _ => Backend::bucket(url, environment).map_err(io::Error::other)?,
        };
        let (full, operations) = (Arc::default(), Operations::default());
        Ok(Self { spool, results, url: Some(url.clone()), full, operations })
    }

    /// Aborts the uploads in parts that a crash left in a bucket: for the start, when nothing is under way.
    pub async fn tidy(&self) {
        let Some(cloud) = &self.results.cloud else { return };
        let jobs = self.results.at(&Prefix::jobs().location());
        let problem = match tokio::time::timeout(TIDY, cloud.abort_all(&jobs)).await {
            Ok(Ok(0)) => return,
            Ok(Ok(aborted)) => {
                tracing::info!(aborted, "aborted uploads in parts that an earlier run had left");
                return;
            }
            Ok(Err(problem)) => problem,
            Err(_) => "it took too long".to_owned(),
        };
        tracing::warn!(
            problem,
            "cannot tell which uploads in parts an earlier run left in the bucket; a lifecycle rule of the bucket can abort them"
        );
    }

    fn backend(&self, key: &Key) -> &Backend {
        if key.is_upload() { &self.spool } else { &self.results }
    }

    /// Where an object is, if on local disk.
    #[cfg(test)]
    fn place_of(&self, location: &object_store::path::Path) -> Option<Place> {
        self.results.place(location)
    }

    /// Whether attempts' objects are in a bucket, which takes its time to list them.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.results.cloud.is_some()
    }

    /// Whether an address is in the bucket where results are.
    fn is_in(&self, address: &Address) -> bool {
        self.url.as_ref().is_some_and(|url| url.root() == address.root())
    }

    /// The attempts that have, or had, objects.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn attempts(&self) -> Result<Vec<(JobId, AttemptId)>, Error> {
        let prefix = Prefix::jobs();
        if let Some(root) = self.results.root() {
            let root = root.to_owned();
            let listed = tokio::task::spawn_blocking(move || local::attempts(&root)).await;
            return listed.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| {
                Error::Store { doing: format!("listing {prefix}"), reason: error.to_string() }
            });
        }
        let found = self
            .results
            .list(&prefix.location(), "the attempts")
            .try_fold(BTreeSet::new(), |mut found, meta| async move {
                found.extend(path::attempt_of(&cloud::plain(&meta.location)));
                Ok(found)
            })
            .await?;
        Ok(found.into_iter().collect())
    }

    /// What is counted here.
    pub(crate) fn operations(&self) -> Operations {
        self.operations.clone()
    }

    /// Opens an object for reading.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn object(&self, key: &Key) -> Result<Object, Error> {
        let location = key.location();
        let open = self.backend(key).open(&location, key.as_str());
        self.operations.time("open", open).await
    }

    /// The size of an object; `None` when it is not there.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, Error> {
        let location = key.location();
        let head = self.backend(key).head(&location, key.as_str());
        Ok(self.operations.time("head", head).await?.map(|meta| meta.size))
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
        let backend = if prefix.is_upload() { &self.spool } else { &self.results };
        let (location, name) = (prefix.location(), prefix.to_string());
        self.operations.time("delete_prefix", backend.delete_below(&location, &name)).await
    }

    /// Removes one object. That it is not there is no error.
    ///
    /// # Errors
    /// The store cannot delete.
    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        let location = key.location();
        let delete = self.backend(key).delete(&location, key.as_str());
        self.operations.time("delete", delete).await
    }

    /// Removes what a superseded attempt wrote, and the folders that are empty then.
    ///
    /// # Errors
    /// As [`Storage::delete_prefix`].
    pub async fn delete_attempt(&self, job: JobId, attempt: AttemptId) -> Result<usize, Error> {
        self.delete_tree(Prefix::attempt(job, attempt)).await
    }

    /// The same of everything of a job.
    ///
    /// # Errors
    /// As [`Storage::delete_prefix`].
    pub async fn delete_job(&self, job: JobId) -> Result<usize, Error> {
        self.delete_tree(Prefix::job(job)).await
    }

    async fn delete_tree(&self, prefix: Prefix) -> Result<usize, Error> {
        let removed = self.delete_prefix(&prefix).await?;
        if let Some(Place { root, file }) = self.results.place(&prefix.location()) {
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
        self.operations.time("list", self.uploads_below(&Prefix::uploads())).await
    }

    async fn uploads_below(&self, prefix: &Prefix) -> Result<Vec<StoredUpload>, Error> {
        self.spool
            .list(&prefix.location(), &prefix.to_string())
            .try_filter_map(|meta| async move {
                let modified = jiff::Timestamp::from_millisecond(meta.last_modified.timestamp_millis());
                Ok(Key::parse(&cloud::plain(&meta.location)).ok().map(|key| StoredUpload {
                    key,
                    size: meta.size,
                    modified: modified.unwrap_or(jiff::Timestamp::MAX),
                }))
            })
            .try_collect()
            .await
    }

    /// Writes and removes a small object, to see that the storage works.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), Error> {
        let failed = |error: object_store::Error| Error::store("writing a probe object", &error);
        for backend in [&self.spool, &self.results] {
            let location = backend.at(&object_store::path::Path::from("probe"));
            backend.store.put(&location, PutPayload::from_static(b"ok")).await.map_err(failed)?;
            backend.store.delete(&location).await.or_else(|error| match error {
                object_store::Error::NotFound { .. } => Ok(()),
                other => Err(failed(other)),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
