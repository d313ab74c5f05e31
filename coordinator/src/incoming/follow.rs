//! Reading an upload that has not ended: who reads waits for bytes that are still to come.

use std::{fs::File, io, ops::Range, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Incoming, Shared};
use crate::storage::{self, Key};

/// What there is at a place of an upload.
#[derive(Debug)]
pub(crate) enum There {
    /// These bytes of the file; and the whole's length, if that is known.
    Bytes { file: File, range: Range<u64>, total: Option<u64> },
    /// Nothing came while it was waited for.
    NothingYet,
    /// It is an object, or was never an upload in pieces.
    Whole,
    /// It was removed before it had ended.
    Gone,
}

impl Incoming {
    /// What there is of the upload that becomes the object `key`, from `from` on; waits for a byte for as long as `patience`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) async fn follow(
        &self,
        key: &Key,
        from: u64,
        patience: Duration,
    ) -> Result<There, storage::Error> {
        let deadline = Instant::now() + patience;
        let Some(entry) = key.upload_id().and_then(|id| self.0.entry(id)) else { return Ok(There::Whole) };
        let mut seen = entry.seen();
        loop {
            if *seen.borrow_and_update() {
                return Ok(There::Gone);
            }
            let record = entry.record();
            if record.placed {
                return Ok(There::Whole);
            }
            if record.received > from {
                match self.0.open(&entry.id.to_string()).await {
                    Ok(file) => {
                        return Ok(There::Bytes { file, range: from..record.received, total: record.length });
                    }
                    // It has just become an object, or was removed, and that is about to be said.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(storage::Error::io(format!("reading {key}"), &error)),
                }
            }
            let changed = tokio::select! {
                biased;
                () = self.0.stop.cancelled() => return Ok(There::NothingYet),
                changed = timeout_at(deadline, seen.changed()) => changed,
            };
            match changed {
                Ok(Ok(())) => {}
                // The sender is part of the entry.
                Ok(Err(_)) => return Ok(There::Gone),
                Err(_) => return Ok(There::NothingYet),
            }
        }
    }

    /// The same of a key as a job names it.
    pub(crate) fn has(&self, key: &str) -> bool {
        Key::parse(key).is_ok_and(|key| self.is_growing(&key))
    }

    /// Whether the object `key` is an upload that has not ended.
    pub(crate) fn is_growing(&self, key: &Key) -> bool {
        let entry = key.upload_id().and_then(|id| self.0.entry(id));
        entry.is_some_and(|entry| !entry.record().placed)
    }
}

impl Shared {
    async fn open(&self, name: &str) -> io::Result<File> {
        let path = self.folder.join(name);
        let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
        opened.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
