//! One viewer of the MPEG-TS.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Output, ReadEnd, shelf::Pieces};

/// A place in the stream. Counted as a viewer until it is dropped.
#[derive(Debug)]
pub struct TsReader {
    output: Arc<Output>,
    /// Number of the next piece.
    next: u64,
    wake: watch::Receiver<()>,
    dropped: bool,
}

impl TsReader {
    pub(super) fn new(output: Arc<Output>, next: u64, wake: watch::Receiver<()>) -> Self {
        output.viewers.fetch_add(1, Ordering::Relaxed);
        Self { output, next, wake, dropped: false }
    }

    /// The next bytes; several pieces at once where the reader is behind. Nothing is lost if it is dropped while it waits.
    ///
    /// # Errors
    /// It is over for this reader.
    pub async fn next(&mut self) -> Result<Vec<Bytes>, ReadEnd> {
        loop {
            self.wake.mark_unchanged();
            if let Some(pieces) = self.take()? {
                return Ok(pieces);
            }
            if self.wake.changed().await.is_err() {
                return Err(ReadEnd::Ended(String::new()));
            }
        }
    }

    /// `None`: it has everything that there is.
    fn take(&mut self) -> Result<Option<Vec<Bytes>>, ReadEnd> {
        let buffer = self.output.lock();
        match buffer.read(self.next) {
            Pieces::Evicted => {
                drop(buffer);
                if !std::mem::replace(&mut self.dropped, true) {
                    self.output.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Err(ReadEnd::TooSlow)
            }
            Pieces::There(_, pieces) if pieces.is_empty() => match buffer.ended() {
                Some(reason) => Err(ReadEnd::Ended(reason.to_owned())),
                None if buffer.carries_ts() == Some(false) => {
                    Err(ReadEnd::Ended("MPEG-TS does not carry what the source has become".to_owned()))
                }
                None => Ok(None),
            },
            Pieces::There(next, pieces) => {
                drop(buffer);
                self.next = next;
                self.output.sent(pieces.iter().map(|piece| piece.len() as u64).sum());
                Ok(Some(pieces))
            }
        }
    }
}

impl Drop for TsReader {
    fn drop(&mut self) {
        self.output.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}
