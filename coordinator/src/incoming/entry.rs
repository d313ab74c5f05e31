//! One upload in memory, and whose turn it is to change it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use common::id::UploadId;
use tokio::sync::{MutexGuard, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{index::Index, state::Refusal};
use crate::store::UploadRecord;

/// How long who looks waits for what is on its way to the disk.
const FLUSH: Duration = Duration::from_secs(5);

pub(super) struct Entry {
    pub(super) id: UploadId,
    /// As it is in the store.
    record: Mutex<UploadRecord>,
    /// As far as it was looked at.
    index: Mutex<Index>,
    /// Changes with the record; `true` once it was removed.
    seen: watch::Sender<bool>,
    /// Held by who changes it; `false` inside once it was removed.
    turn: tokio::sync::Mutex<bool>,
    /// Who came last.
    writer: Mutex<Option<Writer>>,
}

#[derive(Clone)]
struct Writer {
    stop: CancellationToken,
    flush: mpsc::Sender<oneshot::Sender<()>>,
}

/// The right to change an upload, until dropped.
pub(super) struct Turn<'e> {
    entry: &'e Entry,
    there: MutexGuard<'e, bool>,
    /// Somebody else wants it.
    pub(super) stop: CancellationToken,
    flushes: Mutex<Option<mpsc::Receiver<oneshot::Sender<()>>>>,
}

impl Entry {
    pub(super) fn new(record: UploadRecord) -> Self {
        Self {
            id: record.id,
            record: Mutex::new(record),
            index: Mutex::default(),
            seen: watch::Sender::new(false),
            turn: tokio::sync::Mutex::new(true),
            writer: Mutex::default(),
        }
    }

    pub(super) fn record(&self) -> UploadRecord {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hears of every change.
    pub(super) fn seen(&self) -> watch::Receiver<bool> {
        self.seen.subscribe()
    }

    /// Asks who is changing it to stop, and waits until that is done.
    ///
    /// # Errors
    /// Somebody else came meanwhile, or it was removed.
    pub(super) async fn take(&self) -> Result<Turn<'_>, Refusal> {
        let (writer, flushes) = Writer::new();
        let stop = writer.stop.clone();
        let before = self.writer.lock().unwrap_or_else(PoisonError::into_inner).replace(writer);
        if let Some(before) = before {
            before.stop.cancel();
        }
        let there = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Refusal::TakenOver),
            there = self.turn.lock() => there,
        };
        self.begin(there, stop, flushes).ok_or_else(|| Refusal::NoSuchUpload(self.id.to_string()))
    }

    /// If nobody is changing it and it is there.
    pub(super) fn take_if_free(&self) -> Option<Turn<'_>> {
        let there = self.turn.try_lock().ok()?;
        let (writer, flushes) = Writer::new();
        let stop = writer.stop.clone();
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        self.begin(there, stop, flushes)
    }

    fn begin<'e>(
        &'e self,
        there: MutexGuard<'e, bool>,
        stop: CancellationToken,
        flushes: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Option<Turn<'e>> {
        there.then_some(())?;
        Some(Turn { entry: self, there, stop, flushes: Mutex::new(Some(flushes)) })
    }

    /// Has whoever is writing make durable what came so far.
    pub(super) async fn flush(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(writer) = writer else { return };
        let (done, flushed) = oneshot::channel();
        // An error means that nobody is writing.
        if writer.flush.try_send(done).is_ok() {
            let _ = tokio::time::timeout(FLUSH, flushed).await;
        }
    }
}

impl Writer {
    fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (flush, flushes) = mpsc::channel(8);
        (Self { stop: CancellationToken::new(), flush }, flushes)
    }
}

impl Turn<'_> {
    pub(super) fn record(&self) -> UploadRecord {
        self.entry.record()
    }

    /// It is so in the store.
    pub(super) fn set(&self, record: UploadRecord) {
        *self.entry.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
        self.entry.seen.send_replace(false);
    }

    pub(super) fn index(&self) -> Index {
        *self.entry.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_index(&self, index: Index) {
        *self.entry.index.lock().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// Who asks for a flush; can be taken once.
    pub(super) fn flushes(&self) -> Option<mpsc::Receiver<oneshot::Sender<()>>> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// It was removed: nobody gets a turn any more.
    pub(super) fn gone(mut self) {
        *self.there = false;
        self.entry.seen.send_replace(true);
    }
}
