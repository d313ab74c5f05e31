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
mod follow;
mod index;
mod open;
mod state;
mod writer;

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::BodyDataStream;
use common::{failpoint, id::UploadId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{
    checksum::{ALGORITHMS, Checksum},
    follow::There,
    open::Settings,
    state::{Append, Limits, NewUpload, Refusal},
};
use self::{
    entry::{Entry, Turn},
    index::Readable,
};
use crate::{
    holdings::{self, Coming},
    queue::{self, Inflow},
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
    Quota(#[from] holdings::Error),
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
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
    /// Hears how far inputs have come.
    queue: queue::Handle,
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
    /// What is set aside for it of its owner's quota.
    pub(crate) coming: Coming,
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
        self.0.tell(&record, Readable::NotYet).await?;
        self.0.lock().insert(record.id, Arc::new(Entry::new(record.clone())));
        tracing::info!(upload = %record.id, length = record.length, name = record.details.filename, "an upload begins");
        Ok(record)
    }

    /// How long `parts` are together.
    ///
    /// # Errors
    /// As [`state::concatenate`].
    pub(crate) fn joined_length(&self, parts: &[String]) -> Result<u64, Error> {
        Ok(self.join(parts)?.1)
    }

    /// The parts, and how long they are together.
    fn join(&self, parts: &[String]) -> Result<(Vec<UploadRecord>, u64), Refusal> {
        let found: Vec<_> = parts
            .iter()
            .map(|part| {
                let entry = part.parse().ok().and_then(|id| self.0.entry(id));
                entry.map(|entry| entry.record()).ok_or_else(|| part.clone())
            })
            .collect();
        let length =
            state::concatenate(found.iter().map(|part| part.as_ref().map_err(Clone::clone)), self.0.limits)?;
        Ok((found.into_iter().flatten().collect(), length))
    }

    /// Puts `parts` together to an upload that is whole when this returns. The parts stay.
    ///
    /// # Errors
    /// As [`state::concatenate`]; or it cannot be written, and nothing of it is there.
    pub(crate) async fn concatenate(&self, new: NewUpload, parts: &[String]) -> Result<UploadRecord, Error> {
        let (found, length) = self.join(parts)?;
        let mut record =
            state::create(UploadId::new(), NewUpload { length: Some(length), ..new }, self.0.limits, now())?;
        let from: Vec<PathBuf> = found.iter().map(|part| self.0.file(part.id)).collect();
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

    /// The object that an upload is, or will be. `None`: there is no such upload here.
    ///
    /// # Errors
    /// It is a part of others.
    pub(crate) fn input(&self, id: UploadId) -> Result<Option<Key>, Error> {
        let Some(record) = self.0.entry(id).map(|entry| entry.record()) else { return Ok(None) };
        if state::is_input(&record) { Ok(Some(key(&record))) } else { Err(Refusal::Part(id).into()) }
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

    /// Whether there is such an upload here, whole or not.
    pub(crate) fn knows(&self, id: UploadId) -> bool {
        self.0.entry(id).is_some()
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
                self.0.remove(turn, "it expired, as nothing more of it came").await?;
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
        let key = key(&record);
        failpoint::hit("incoming.place.before");
        self.storage.adopt(&self.file(record.id), &key).await?;
        failpoint::hit("incoming.placed");
        record.placed = true;
        self.store.put_upload(&record).await?;
        failpoint::hit("incoming.place.after");
        tracing::info!(upload = %record.id, size = record.received, "an upload has ended");
        turn.set(record);
        Ok(self.queue.inflow(key.as_str(), Inflow::Whole).await?)
    }

    /// Looks how far an upload can be read, and has the queue know if that has changed.
    async fn inspect(&self, turn: &Turn<'_>) -> Result<(), Error> {
        let (record, path) = (turn.record(), self.file(turn.record().id));
        let mut index = turn.index();
        if !state::is_input(&record) || index.readable() != Readable::NotYet {
            return Ok(());
        }
        let (received, whole) = (record.received, state::is_whole(&record));
        let looking = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            index.look(received, whole, |at| header(&file, at, received))?;
            Ok(index)
        });
        let looked = looking.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let index =
            looked.map_err(|error| storage::Error::io(format!("looking at upload {}", record.id), &error))?;
        turn.set_index(index);
        match index.readable() {
            Readable::NotYet => Ok(()),
            readable => self.tell(&record, readable).await,
        }
    }

    /// Has the queue know how far an upload can be read.
    async fn tell(&self, record: &UploadRecord, readable: Readable) -> Result<(), Error> {
        if state::is_input(record) {
            self.queue.inflow(key(record).as_str(), inflow(readable)).await?;
        }
        Ok(())
    }

    async fn remove(&self, turn: Turn<'_>, why: &str) -> Result<(), Error> {
        let id = turn.record().id;
        failpoint::hit("incoming.remove.before");
        if state::is_input(&turn.record()) {
            let words =
                format!("its upload cannot be read: {why}; upload the file again and submit another job");
            self.queue.inflow(key(&turn.record()).as_str(), Inflow::Gone(words)).await?;
        }
        // A file without a row is removed by the next start.
        self.store.remove_upload(id).await?;
        failpoint::hit("incoming.remove.after");
        self.lock().remove(&id);
        turn.gone();
        let path = self.file(id);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(upload = %id, %error, "the file of a removed upload stays until the next start");
            }
            _ => {}
        }
        tracing::info!(upload = %id, why, "an upload was removed");
        Ok(())
    }
}

/// What the queue is told of an upload.
fn inflow(readable: Readable) -> Inflow {
    match readable {
        Readable::NotYet => Inflow::Held("its upload, of which too little has come to begin with".to_owned()),
        Readable::Forward => Inflow::Flowing,
        Readable::AtEnd => Inflow::Held(
            "the end of its upload: the index of this MP4 or QuickTime file (moov) comes last".to_owned(),
        ),
    }
}

/// The object that an upload becomes.
fn key(record: &UploadRecord) -> Key {
    Key::upload(record.id, &record.details.filename)
}

/// The bytes of a file that may be a box's header.
fn header(file: &File, at: u64, received: u64) -> io::Result<Vec<u8>> {
    let there = received.saturating_sub(at).min(index::HEADER as u64);
    let mut bytes = vec![0; usize::try_from(there).unwrap_or(index::HEADER)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Milliseconds since the Unix epoch: expiry is told to clients as a date.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
