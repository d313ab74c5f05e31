//! Writing a piece of an upload: to the file, and now and then to the store how much of it counts.

use std::{io, time::Duration};

use bytes::Bytes;
use common::failpoint;
use futures::StreamExt as _;
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    Error, Piece, Shared,
    checksum::{Checksum, Hasher},
    entry::Turn,
    now, state,
};
use crate::{holdings::Coming, storage};

/// Bytes after which what came is made durable, so that those who follow the upload get it.
const COMMIT_BYTES: u64 = 4 * 1024 * 1024;
/// The same by time.
const COMMIT_AFTER: Duration = Duration::from_millis(500);
/// Without a byte for so long, a sender is taken to be gone.
const IDLE: Duration = Duration::from_secs(300);

/// Takes a piece to its end. What came without a checksum is kept, however this ends.
pub(super) async fn append(shared: &Shared, turn: &Turn<'_>, piece: Piece) -> Result<(), Error> {
    let Piece { append, checksum, mut body, mut coming } = piece;
    let mut record = turn.record();
    let (length, room) = append.admit(&record, shared.limits)?;
    if record.placed {
        // Whoever asks did not hear that it was whole.
        return Ok(());
    }
    // One whose length was said is charged with it.
    match (record.length, length) {
        (None, Some(length)) => coming.reserve(length.saturating_sub(record.received)).await?,
        (None, None) => coming.reserve(append.bytes.unwrap_or_default()).await?,
        (Some(_), _) => {}
    }
    let mut pen = Pen::open(shared, turn, record.received, checksum).await?;
    if length != record.length {
        record.length = length;
        shared.store.put_upload(&record).await?;
        turn.set(record);
    }
    pen.coming = length.is_none().then_some(coming);
    let ended = pen.take(&mut body, room, turn.flushes()).await;
    let kept = match &ended {
        Ok(()) => pen.finish().await,
        Err(_) => pen.give_up().await,
    };
    ended.and(kept)?;
    let record = turn.record();
    if state::is_whole(&record) && state::is_input(&record) && !record.placed {
        shared.place(turn).await?;
    }
    Ok(())
}

struct Pen<'a> {
    shared: &'a Shared,
    turn: &'a Turn<'a>,
    file: File,
    /// Written, not durable.
    pending: u64,
    committed: Instant,
    checksum: Option<(Checksum, Hasher)>,
    /// With a length that is not known, each byte is charged as it comes.
    coming: Option<Coming>,
}

impl<'a> Pen<'a> {
    /// What a writer before this one left behind the bytes that count is cut off.
    async fn open(
        shared: &'a Shared,
        turn: &'a Turn<'a>,
        at: u64,
        checksum: Option<Checksum>,
    ) -> Result<Self, Error> {
        let id = turn.record().id;
        let path = shared.file(id);
        let doing = |error: io::Error| storage::Error::io(format!("writing upload {id}"), &error);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).await.map_err(doing)?;
        file.set_len(at).await.map_err(doing)?;
        file.seek(io::SeekFrom::Start(at)).await.map_err(doing)?;
        if at == 0 {
            let folder = File::open(&shared.folder).await.map_err(doing)?;
            folder.sync_all().await.map_err(doing)?;
        }
        let checksum = checksum.map(|checksum| {
            let hasher = checksum.hasher();
            (checksum, hasher)
        });
        Ok(Self { shared, turn, file, pending: 0, committed: Instant::now(), checksum, coming: None })
    }

    /// Reads the body to its end.
    async fn take(
        &mut self,
        body: &mut axum::body::BodyDataStream,
        mut room: u64,
        flushes: Option<mpsc::Receiver<oneshot::Sender<()>>>,
    ) -> Result<(), Error> {
        let (_keep, none) = mpsc::channel(1);
        let mut flushes = flushes.unwrap_or(none);
        let mut heard = Instant::now();
        loop {
            let due = self.committed + COMMIT_AFTER;
            let commits = self.checksum.is_none() && self.pending > 0;
            tokio::select! {
                biased;
                () = self.turn.stop.cancelled() => return Err(state::Refusal::TakenOver.into()),
                () = self.shared.stop.cancelled() => return Err(Error::ShuttingDown),
                Some(done) = flushes.recv() => {
                    self.commit_early().await?;
                    // Who asked may have gone.
                    let _ = done.send(());
                }
                () = sleep_until(due), if commits => self.commit().await?,
                () = sleep_until(heard + IDLE) => {
                    return Err(self.broken(format!("nothing came for {} s", IDLE.as_secs())));
                }
                chunk = body.next() => match chunk {
                    None => return Ok(()),
                    Some(Err(error)) => return Err(self.broken(error.to_string())),
                    Some(Ok(chunk)) => {
                        heard = Instant::now();
                        room = self.write(chunk, room).await?;
                    }
                }
            }
        }
    }

    /// Returns the room that is left.
    async fn write(&mut self, chunk: Bytes, room: u64) -> Result<u64, Error> {
        let size = chunk.len() as u64;
        let Some(left) = room.checked_sub(size) else {
            let record = self.turn.record();
            let offset = record.received + self.pending;
            return Err(match record.length {
                Some(length) => state::Refusal::Overrun { offset, bytes: size, length },
                None => {
                    state::Refusal::TooLarge { length: offset + size, limit: self.shared.limits.max_bytes }
                }
            }
            .into());
        };
        if let Some(coming) = &mut self.coming {
            coming.take(size).await?;
        }
        self.file.write_all(&chunk).await.map_err(|error| self.failed(&error))?;
        if let Some((_, hasher)) = &mut self.checksum {
            hasher.update(&chunk);
        }
        self.pending += size;
        if self.pending >= COMMIT_BYTES {
            self.commit_early().await?;
        }
        Ok(left)
    }

    /// Commits what may count before the piece has ended: nothing of one with a checksum.
    async fn commit_early(&mut self) -> Result<(), Error> {
        if self.checksum.is_none() { self.commit().await } else { Ok(()) }
    }

    /// Makes what was written count, durably.
    async fn commit(&mut self) -> Result<(), Error> {
        if self.pending == 0 {
            return Ok(());
        }
        self.file.flush().await.map_err(|error| self.failed(&error))?;
        failpoint::hit("incoming.write.before");
        self.file.sync_data().await.map_err(|error| self.failed(&error))?;
        failpoint::hit("incoming.write.after");
        let mut record = self.turn.record();
        state::advance(&mut record, self.pending, self.shared.limits, now());
        self.shared.store.put_upload(&record).await?;
        failpoint::hit("incoming.count.after");
        self.turn.set(record);
        if let Some(coming) = &mut self.coming {
            coming.landed(self.pending);
        }
        self.pending = 0;
        self.committed = Instant::now();
        self.shared.inspect(self.turn).await
    }

    /// The whole piece came.
    async fn finish(&mut self) -> Result<(), Error> {
        if let Some((checksum, hasher)) = self.checksum.take()
            && !checksum.fits(hasher)
        {
            return Err(Error::Checksum);
        }
        self.commit().await
    }

    /// It did not: what can be told to be right is kept.
    async fn give_up(&mut self) -> Result<(), Error> {
        self.commit_early().await
    }

    fn failed(&self, error: &io::Error) -> storage::Error {
        storage::Error::io(format!("writing upload {}", self.turn.record().id), error)
    }

    fn broken(&self, reason: String) -> Error {
        Error::BrokenOff { received: self.turn.record().received + self.pending, reason }
    }
}
