//! One input that ffmpeg reads through the proxy, and what was seen of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use reqwest::Url;
use tokio::{sync::Semaphore, time::Instant};

use super::{cache::Cache, failure::SourceFailure, follow::Following, policy::Origin};

/// Reads of one source at once. ffmpeg has one open, and opens the next before it has closed the last.
const MAX_READS: usize = 8;

#[derive(Debug)]
pub(crate) struct Source {
    pub(super) url: Url,
    pub(crate) origin: Origin,
    /// The URL for people and logs.
    pub(crate) shown: String,
    /// Where the coordinator sent this worker on to.
    pub(super) onward: Mutex<Onward>,
    pub(super) reads: Arc<Semaphore>,
    /// With an input that was still on its way when the attempt began.
    pub(super) following: Option<Arc<Following>>,
    /// Of the attempt that reads it.
    pub(super) span: tracing::Span,
    waits: Mutex<Waits>,
    bytes: AtomicU64,
    /// The same of all sources together.
    pub(super) fetched: Counter,
    observed: Mutex<Observed>,
    cache: Mutex<Cache>,
}

/// Where a source of the coordinator is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Onward {
    /// It is asked.
    #[default]
    Unknown,
    /// At a URL of its object store, which is good until then.
    Store(Url, Instant),
    /// At the coordinator: this worker does not reach the store.
    Coordinator,
}

/// What the proxy knows of a source by now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Why the last read was given up, unless a later one got further.
    pub(crate) failure: Option<SourceFailure>,
    /// Where that was.
    pub(crate) failed_at: u64,
    /// Whether the server serves ranges.
    pub(crate) ranges: Option<bool>,
    /// Bytes of the whole file.
    pub(crate) size: Option<u64>,
    /// An input that was on its way has come.
    pub(crate) whole: bool,
    /// The first bytes, once they were read; too few to be split by a network.
    pub(crate) head: Vec<u8>,
}

/// Reads that wait for what is still to come.
#[derive(Debug, Default)]
struct Waits {
    now: u32,
    since: Option<Instant>,
    total: Duration,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Waiting<'s>(&'s Source);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.0.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.now -= 1;
        if waits.now == 0
            && let Some(since) = waits.since.take()
        {
            waits.total += since.elapsed();
        }
    }
}

/// Enough to tell a container by.
pub(super) const HEAD: usize = 12;

impl Source {
    pub(super) fn new(url: Url, origin: Origin) -> Self {
        Self {
            shown: shown(&url),
            url,
            origin,
            onward: Mutex::default(),
            reads: Arc::new(Semaphore::new(MAX_READS)),
            following: None,
            span: tracing::Span::current(),
            waits: Mutex::default(),
            bytes: AtomicU64::new(0),
            fetched: Counter::default(),
            observed: Mutex::default(),
            cache: Mutex::default(),
        }
    }

    /// The same, of an input that is still on its way to the coordinator.
    pub(super) fn growing(url: Url, following: Arc<Following>) -> Self {
        Self { following: Some(following), ..Self::new(url, Origin::Coordinator) }
    }

    /// Whether the input is still on its way, as far as it is known.
    pub(crate) fn grows(&self) -> bool {
        self.following.is_some() && !self.is_whole()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.lock().whole
    }

    /// The input has that many bytes, and all of them are at the coordinator.
    pub(super) fn ended(&self, total: u64) {
        let mut observed = self.lock();
        observed.whole = true;
        observed.size = Some(total);
    }

    /// Waits for bytes that are still to come, until the answer is dropped.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.now += 1;
        waits.since.get_or_insert_with(Instant::now);
        Waiting(self)
    }

    /// How long an input that is still on its way was waited for, and whether that is so at the moment.
    pub(crate) fn waited(&self) -> (Duration, bool) {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let current = waits.since.map_or(Duration::ZERO, |since| since.elapsed());
        (waits.total + current, waits.now > 0)
    }

    /// Bytes that were read so far, those read twice included: it grows for as long as the source delivers.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn observed(&self) -> Observed {
        self.lock().clone()
    }

    /// Whether the coordinator said that the attempt which reads this is not current any more.
    pub(crate) fn taken_away(&self) -> bool {
        self.origin == Origin::Coordinator && self.lock().failure == Some(SourceFailure::Status(410))
    }

    pub(super) fn answered(&self, ranges: bool, size: Option<u64>) {
        let mut observed = self.lock();
        observed.ranges = Some(ranges);
        observed.size = size.or(observed.size);
    }

    /// `bytes` came, up to position `at`.
    pub(super) fn delivered(&self, bytes: &[u8], at: u64) {
        let count = bytes.len() as u64;
        self.bytes.fetch_add(count, Ordering::Relaxed);
        self.fetched.inc_by(count);
        let mut observed = self.lock();
        if at == count && observed.head.is_empty() {
            observed.head = bytes[..bytes.len().min(HEAD)].to_vec();
        }
        if observed.failure.is_some() && at > observed.failed_at {
            observed.failure = None;
        }
    }

    pub(super) fn gave_up(&self, failure: SourceFailure, at: u64) {
        let mut observed = self.lock();
        observed.failure = Some(failure);
        observed.failed_at = at;
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the whole file, if it is known and any part of it can be asked for.
    pub(super) fn seekable(&self) -> Option<u64> {
        let observed = self.lock();
        observed.size.filter(|_| observed.ranges == Some(true))
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A URL as it may be logged: no user name, no password, no query (signatures live there), no fragment.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot hold a user name.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_coordinator_takes_a_source_away() {
        let seen = |origin, status| {
            let source = Source::new("http://a/b".parse().unwrap(), origin);
            source.gave_up(SourceFailure::Status(status), 0);
            source.taken_away()
        };
        assert!(seen(Origin::Coordinator, 410));
        assert!(!seen(Origin::Coordinator, 403));
        assert!(!seen(Origin::User, 410));
    }

    #[test]
    fn credentials_are_not_shown() {
        let url: Url = "https://user:pw@host:8443/a/b.mp4?X-Sig=secret#t".parse().unwrap();
        assert_eq!(shown(&url), "https://host:8443/a/b.mp4");
    }

    #[test]
    fn a_failure_is_forgotten_once_a_later_read_gets_further() {
        let source = Source::new("http://a/b".parse().unwrap(), Origin::User);
        source.gave_up(SourceFailure::HungUp { at: 100, of: None }, 100);
        source.delivered(&[7; 50], 50);
        assert!(source.observed().failure.is_some());
        source.delivered(&[8; 60], 110);
        assert_eq!(source.observed().failure, None);
        assert_eq!((source.bytes(), source.observed().head), (110, vec![7; HEAD]));
    }
}
