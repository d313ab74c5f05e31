//! One viewer of the MPEG-TS.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Output, ReadEnd, shelf::Pieces};

/// A place in the stream.
#[derive(Debug)]
pub struct TsReader {
    at: Arc<At>,
    wake: watch::Receiver<()>,
}

/// Where a reader is, for who watches over it while nobody asks it for more.
#[derive(Debug, Clone)]
pub struct Place(Weak<At>);

#[derive(Debug)]
struct At {
    output: Arc<Output>,
    /// Number of the next piece. Only its reader changes it.
    next: AtomicU64,
    /// It was counted as dropped.
    dropped: AtomicBool,
}

impl Place {
    /// What the reader would read next is not there any more: it was too slow, and is counted as dropped. `None`: there is no
    /// reader any more.
    #[must_use]
    pub fn is_lost(&self) -> Option<bool> {
        let at = self.0.upgrade()?;
        let lost = at.output.lock().has_evicted_from(at.next.load(Ordering::Relaxed));
        if lost {
            at.count_dropped();
        }
        Some(lost)
    }
}

impl At {
    fn count_dropped(&self) {
        if !self.dropped.swap(true, Ordering::Relaxed) {
            self.output.dropped_one();
        }
    }
}

impl TsReader {
    pub(super) fn new(output: Arc<Output>, next: u64, wake: watch::Receiver<()>) -> Self {
        let at = At { output, next: AtomicU64::new(next), dropped: AtomicBool::new(false) };
        Self { at: Arc::new(at), wake }
    }

    #[must_use]
    pub fn place(&self) -> Place {
        Place(Arc::downgrade(&self.at))
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
        let at = &*self.at;
        let buffer = at.output.lock();
        match buffer.read(at.next.load(Ordering::Relaxed)) {
            Pieces::Evicted => {
                drop(buffer);
                at.count_dropped();
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
                at.next.store(next, Ordering::Relaxed);
                at.output.sent(pieces.iter().map(|piece| piece.len() as u64).sum());
                Ok(Some(pieces))
            }
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
