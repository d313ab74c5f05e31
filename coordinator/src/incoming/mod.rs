//! Uploads that come in pieces: from their creation until they are whole, and objects like any other.
//!
//! Promises: what a request was answered for is on disk, and its row in the store; what was received and not answered for is
//! kept where it could be, and never mixed with anything else. Who sends an upload that another request is sending takes over
//! from it. Readers see what is durable, and nothing else.
//!
//! | where | what |
//! |---|---|
//! | `uploads/{upload}` in the data folder | the bytes of an upload that is not whole, or is a part |
//! | table `uploads` | how many of them count |
//! | object `uploads/{upload}/{name}` | an upload that is whole |

mod checksum;
mod entry;
mod open;
mod state;
mod writer;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::BodyDataStream;
use common::{failpoint, id::UploadId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::entry::{Entry, Turn};
pub(crate) use self::{
    checksum::{ALGORITHMS, Checksum},
    open::Settings,
    state::{Append, Limits, NewUpload, Refusal},
};
use crate::{
    storage::{self, Key, Storage},
    store::{self, UploadRecord, UploadStore},
};

/// Uploads that have not ended, at most: each has a file and a place in memory.
const MAX_OPEN: usize = 10_000;

/// Why an upload could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the bytes do not have the checksum that was sent with them; nothing of them was kept")]
    Checksum,
    #[error("the body broke off after {received} bytes of the upload: {reason}")]
    BrokenOff { received: u64, reason: String },
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the coordinator is shutting down")]
    ShuttingDown,
}

/// The uploads; cheap to clone.
#[derive(Clone)]
pub(crate) struct Incoming(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    store: Arc<dyn UploadStore>,
    storage: Storage,
    limits: Limits,
    entries: Mutex<HashMap<UploadId, Arc<Entry>>>,
    /// Ends writers.
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// More bytes, and what they must hash to.
pub(crate) struct Piece {
    pub(crate) append: Append,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) body: BodyDataStream,
}

impl Incoming {
    /// Makes a new upload. It is durable when this returns.
    ///
    /// # Errors
    /// It would be empty or too large, there are too many, or the store cannot be written.
    pub(crate) async fn create(&self, new: NewUpload) -> Result<UploadRecord, Error> {
        let record = state::create(UploadId::new(), new, self.0.limits, now())?;
        if self.0.lock().values().filter(|entry| !entry.record().placed).count() >= MAX_OPEN {
            return Err(Refusal::TooMany.into());
        }
        failpoint::hit("incoming.create.before");
        self.0.store.put_upload(&record).await?;
        failpoint::hit("incoming.create.after");
        self.0.lock().insert(record.id, Arc::new(Entry::new(record.clone())));
        tracing::info!(upload = %record.id, length = record.length, name = record.details.filename, "an upload begins");
        Ok(record)
    }

    /// Puts `parts` together to an upload that is whole when this returns. The parts stay.
    ///
    /// # Errors
    /// As [`state::concatenate`]; or it cannot be written, and nothing of it is there.
    pub(crate) async fn concatenate(&self, new: NewUpload, parts: &[String]) -> Result<UploadRecord, Error> {
        let found: Vec<_> = parts
            .iter()
            .map(|part| {
                let entry = part.parse().ok().and_then(|id| self.0.entry(id));
                entry.map(|entry| entry.record()).ok_or_else(|| part.clone())
            })
            .collect();
        let length =
            state::concatenate(found.iter().map(|part| part.as_ref().map_err(Clone::clone)), self.0.limits)?;
        let mut record =
            state::create(UploadId::new(), NewUpload { length: Some(length), ..new }, self.0.limits, now())?;
        let from: Vec<PathBuf> = found.iter().flatten().map(|part| self.0.file(part.id)).collect();
        open::join(from, self.0.file(record.id)).await?;
        record.received = length;
        failpoint::hit("incoming.join.before");
        self.0.store.put_upload(&record).await?;
        failpoint::hit("incoming.join.after");
        let entry = Arc::new(Entry::new(record));
        self.0.lock().insert(entry.id, Arc::clone(&entry));
        let turn = entry.take().await?;
        self.0.place(&turn).await?;
        Ok(entry.record())
    }

    /// What there is of an upload, with everything that came so far made durable. `None`: there is none.
    pub(crate) async fn look(&self, id: UploadId) -> Option<UploadRecord> {
        let entry = self.0.entry(id)?;
        entry.flush().await;
        Some(entry.record())
    }

    /// Adds a piece. Who was sending the same upload gives up. Goes on, and keeps what came, when this is dropped.
    ///
    /// # Errors
    /// The piece does not fit, breaks off, or cannot be written. What of it was kept is seen by [`Incoming::look`].
    pub(crate) async fn append(&self, id: UploadId, piece: Piece) -> Result<UploadRecord, Error> {
        let entry = self.0.entry(id).ok_or_else(|| Refusal::NoSuchUpload(id.to_string()))?;
        let shared = Arc::clone(&self.0);
        let writing = self.0.tracker.spawn(async move {
            let turn = entry.take().await?;
            writer::append(&shared, &turn, piece).await?;
            Ok(entry.record())
        });
        writing.await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// Removes an upload that is not an object. `false`: there is none such.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) async fn terminate(&self, id: UploadId, why: &str) -> Result<bool, Error> {
        let Some(entry) = self.0.entry(id) else { return Ok(false) };
        let turn = entry.take().await?;
        if entry.record().placed {
            return Ok(false);
        }
        self.0.remove(turn, why).await?;
        Ok(true)
    }

    /// The object of an upload was removed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(crate) async fn forget(&self, id: UploadId) -> Result<(), Error> {
        if self.0.entry(id).is_some_and(|entry| entry.record().placed) {
            self.0.store.remove_upload(id).await?;
            self.0.lock().remove(&id);
        }
        Ok(())
    }

    /// Removes what waited too long for the rest of it; returns how many.
    ///
    /// # Errors
    /// One cannot be removed.
    pub(crate) async fn expire(&self) -> Result<usize, Error> {
        let expired = |entry: &Arc<Entry>| state::is_expired(&entry.record(), now());
        let old: Vec<_> = self.0.lock().values().filter(|entry| expired(entry)).cloned().collect();
        let mut removed = 0;
        for entry in old {
            // Nobody who is sending it is disturbed.
            let Some(turn) = entry.take_if_free() else { continue };
            if expired(&entry) {
                self.0.remove(turn, "it expired before it had ended").await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: UploadId) -> Option<Arc<Entry>> {
        self.lock().get(&id).cloned()
    }

    /// Where the bytes are while it is not an object.
    fn file(&self, id: UploadId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Makes an object of an upload that is whole.
    async fn place(&self, turn: &Turn<'_>) -> Result<(), Error> {
        let mut record = turn.record();
        let key = Key::upload(record.id, &record.details.filename);
        failpoint::hit("incoming.place.before");
        self.storage.adopt(&self.file(record.id), &key).await?;
        failpoint::hit("incoming.placed");
        record.placed = true;
        self.store.put_upload(&record).await?;
        failpoint::hit("incoming.place.after");
        tracing::info!(upload = %record.id, size = record.received, "an upload has ended");
        turn.set(record);
        Ok(())
    }

    async fn remove(&self, turn: Turn<'_>, why: &str) -> Result<(), Error> {
        let id = turn.record().id;
        failpoint::hit("incoming.remove.before");
        // A file without a row is removed by the next start.
        self.store.remove_upload(id).await?;
        failpoint::hit("incoming.remove.after");
        self.lock().remove(&id);
        turn.gone();
        let path = self.file(id);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(upload = %id, %error, "the file of a removed upload stays until the next start");
            }
            _ => {}
        }
        tracing::info!(upload = %id, why, "an upload was removed");
        Ok(())
    }
}

/// Milliseconds since the Unix epoch: expiry is told to clients as a date.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
