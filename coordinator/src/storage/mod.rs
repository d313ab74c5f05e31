//! Objects: uploaded inputs and finished outputs, on local disk under the data folder.
//!
//! Promises: an object is there whole or not at all; when a `put` returns, the object is on disk (file and folder
//! synced); what a broken-off `put` left is removed at once, or at the next start if the process died.
//!
//! | key | what |
//! |---|---|
//! | `uploads/{upload}/{name}` | an input |
//! | `jobs/{job}/{task}/{epoch}/{path}` | a file of an attempt |

mod local;
mod object;
pub mod path;
mod range;
pub mod respond;
pub mod shared;
pub mod sign;

use std::{collections::HashMap, fmt, io, path::Path, sync::Arc};

use bytes::Bytes;
use common::{
    failpoint,
    id::{AttemptId, JobId, UploadId},
    worker::OutputFile,
};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, WriteMultipart, local::LocalFileSystem};

pub use self::{
    object::Object,
    path::{BadPath, Key, Prefix, RelPath},
};

/// Bytes of a part of a streamed put. With [`PARTS_IN_FLIGHT`] it bounds the memory of an upload.
const PART: usize = 4 * 1024 * 1024;
/// Parts on their way to the store while the next one is filled.
const PARTS_IN_FLIGHT: usize = 1;
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

/// What is known about the size of a body before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    AtMost(u64),
    Exactly(u64),
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
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(io::Error::other)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store) })
    }

    /// Writes `body` to `key` and returns its size. The object appears when the whole body is on disk.
    ///
    /// # Errors
    /// The body breaks off or has another size than expected, or the store cannot write. Nothing is left then.
    pub async fn put<S, E>(&self, key: &Key, expect: Expect, body: S) -> Result<u64, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: fmt::Display,
    {
        let doing = || format!("writing {key}");
        failpoint::hit("object.write.before");
        let upload =
            self.store.put_multipart(&key.location()).await.map_err(|error| Error::store(doing(), &error))?;
        failpoint::hit("object.staged");
        // Dropped without `finish`, it removes the staged file.
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
        let limit = match expect {
            Expect::AtMost(limit) | Expect::Exactly(limit) => limit,
        };
        let mut size = 0_u64;
        let mut body = std::pin::pin!(body);
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|error| Error::BrokenOff { key: key.clone(), reason: error.to_string() })?;
            size += chunk.len() as u64;
            if size > limit {
                return Err(Error::TooLarge { key: key.clone(), limit });
            }
            writer.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(|error| Error::store(doing(), &error))?;
            writer.put(chunk);
        }
        if let Expect::Exactly(expected) = expect
            && size != expected
        {
            return Err(Error::Size { key: key.clone(), expected, got: size });
        }
        failpoint::hit("object.finish.before");
        writer.finish().await.map_err(|error| Error::store(doing(), &error))?;
        failpoint::hit("object.finish.after");
        Ok(size)
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

    /// Finds what an attempt's reported files lack: `None` when every one is there with its size, else what is wrong, in
    /// words.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn check_outputs(
        &self,
        job: JobId,
        attempt: AttemptId,
        files: &[OutputFile],
    ) -> Result<Option<String>, Error> {
        let prefix = Prefix::attempt(job, attempt);
        let stored: HashMap<_, _> = self
            .store
            .list(Some(&prefix.location()))
            .map_ok(|meta| (meta.location, meta.size))
            .try_collect()
            .await
            .map_err(|error| Error::store(format!("listing {prefix}"), &error))?;
        Ok(files.iter().find_map(|file| {
            let path = match RelPath::parse(&file.path) {
                Ok(path) => path,
                Err(error) => return Some(error.to_string()),
            };
            match stored.get(&Key::output(job, attempt, &path).location()) {
                None => Some(format!("{path} was reported and is not in the storage")),
                Some(&size) if size != file.size => Some(format!(
                    "{path} was reported with {} bytes and has {size} in the storage",
                    file.size
                )),
                Some(_) => None,
            }
        }))
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

    /// Removes what a superseded attempt wrote.
    ///
    /// # Errors
    /// As [`Storage::delete_prefix`].
    pub async fn delete_attempt(&self, job: JobId, attempt: AttemptId) -> Result<usize, Error> {
        self.delete_prefix(&Prefix::attempt(job, attempt)).await
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
mod tests {
    use common::id::{Epoch, TaskId};
    use futures::stream;

    use super::*;

    type Chunk = Result<Bytes, io::Error>;

    fn body(chunks: Vec<Chunk>) -> impl Stream<Item = Chunk> + Send {
        stream::iter(chunks)
    }

    fn storage() -> (tempfile::TempDir, Storage) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_local(folder.path()).unwrap();
        (folder, storage)
    }

    async fn files_left(folder: &Path) -> usize {
        // The staged file of a dropped upload is removed on another thread.
        for _ in 0..200 {
            if local::count_files(folder) == 0 {
                return 0;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        local::count_files(folder)
    }

    async fn read(storage: &Storage, key: &Key, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
        let object = storage.open(key).await.unwrap();
        let range = range.unwrap_or(0..object.size());
        let chunks: Vec<Bytes> = object.read(range).await.unwrap().try_collect().await.unwrap();
        chunks.concat()
    }

    #[tokio::test]
    async fn an_object_comes_back_whole_and_in_parts() {
        let (_folder, storage) = storage();
        let key = Key::parse("jobs/a/ä #1 [x]%.mp4").unwrap();
        let chunks = vec![Ok(Bytes::from_static(b"hello ")), Ok(Bytes::from_static(b"world"))];
        assert_eq!(storage.put(&key, Expect::AtMost(11), body(chunks)).await.unwrap(), 11);
        assert_eq!(read(&storage, &key, None).await, b"hello world");
        assert_eq!(read(&storage, &key, Some(6..9)).await, b"wor");
        assert_eq!(storage.size(&key).await.unwrap(), Some(11));
    }

    #[tokio::test]
    async fn what_breaks_off_or_has_the_wrong_size_leaves_nothing() {
        let (folder, storage) = storage();
        let key = Key::parse("uploads/x/a.mp4").unwrap();
        let broken = vec![Ok(Bytes::from(vec![0; PART + 1])), Err(io::Error::other("reset"))];
        let error = storage.put(&key, Expect::AtMost(u64::MAX), body(broken)).await.unwrap_err();
        assert!(matches!(error, Error::BrokenOff { .. }), "{error}");
        let long = vec![Ok(Bytes::from_static(b"123456"))];
        let error = storage.put(&key, Expect::AtMost(5), body(long)).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 5, .. }), "{error}");
        let short = vec![Ok(Bytes::from_static(b"1234"))];
        let error = storage.put(&key, Expect::Exactly(5), body(short)).await.unwrap_err();
        assert!(matches!(error, Error::Size { expected: 5, got: 4, .. }), "{error}");
        assert_eq!(storage.size(&key).await.unwrap(), None);
        assert_eq!(files_left(folder.path()).await, 0);
    }

    #[tokio::test]
    async fn outputs_are_checked_by_name_and_size_and_attempts_are_removed_apart() {
        let (_folder, storage) = storage();
        let job = JobId::new();
        let first = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
        let second = AttemptId { epoch: Epoch(2), ..first };
        for attempt in [first, second] {
            let key = Key::output(job, attempt, &RelPath::parse("720p/a#1.m4s").unwrap());
            storage.put(&key, Expect::Exactly(2), body(vec![Ok(Bytes::from_static(b"ab"))])).await.unwrap();
        }
        let file = |path: &str, size| OutputFile {
            path: path.to_owned(),
            size,
            content_type: String::new(),
            sha256: String::new(),
        };
        let check = async |path, size| storage.check_outputs(job, first, &[file(path, size)]).await.unwrap();
        assert_eq!(check("720p/a#1.m4s", 2).await, None);
        assert!(check("720p/a#1.m4s", 3).await.unwrap().contains("has 2 in the storage"));
        assert!(check("b.m4s", 2).await.unwrap().contains("is not in the storage"));
        assert!(check("../2/720p/a#1.m4s", 2).await.unwrap().contains("no relative path"));
        assert_eq!(storage.delete_attempt(job, first).await.unwrap(), 1);
        assert!(check("720p/a#1.m4s", 2).await.is_some());
        assert_eq!(storage.check_outputs(job, second, &[file("720p/a#1.m4s", 2)]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn uploads_are_found_by_id_and_leftovers_go_at_start() {
        let (folder, storage) = storage();
        let id = UploadId::new();
        let key = Key::upload(id, "my [clip] #3.mp4");
        storage.put(&key, Expect::AtMost(9), body(vec![Ok(Bytes::from_static(b"ab"))])).await.unwrap();
        std::fs::write(folder.path().join("uploads/left.mp4#1"), b"half").unwrap();
        let again = Storage::open_local(folder.path()).unwrap();
        let found = again.upload(id).await.unwrap().unwrap();
        assert_eq!((found.key, found.size), (key, 2));
        assert_eq!(again.upload(UploadId::new()).await.unwrap(), None);
        assert_eq!(local::count_files(folder.path()), 1);
    }
}
