//! Follows an input that is still on its way to the coordinator: reads what there is, waits for what is to come, and keeps the
//! newest of it in memory, so that everybody on this worker who reads the same upload has it fetched once.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use common::backoff::Backoff;
use futures::Stream;
use reqwest::Response;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};

use super::{failure::SourceFailure, source::Source, upstream::Upstream};

/// Bytes of an upload that are kept: who falls further behind fetches for itself.
const KEPT: u64 = 64 * 1024 * 1024;
/// How long the coordinator may wait for a byte before it says that there is none.
const POLL: Duration = Duration::from_secs(20);
/// Between tries.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(4) };
/// How long the coordinator may be away. The attempt's lease is usually over before.
const PATIENCE: Duration = Duration::from_secs(300);
/// Where no upload has a byte: there is only its end to be heard of.
const BEYOND: u64 = i64::MAX.cast_unsigned();

/// An upload that somebody on this worker follows.
#[derive(Debug, Default)]
pub(super) struct Following {
    window: Mutex<Window>,
    /// Of the one who fetches for all.
    newest: tokio::sync::Mutex<Head>,
}

/// The newest bytes, without a hole.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: u64,
    pieces: VecDeque<Bytes>,
    /// The upload's length, once it has ended.
    whole: Option<u64>,
}

/// What the window has at a place.
#[derive(Debug, PartialEq, Eq)]
enum At {
    Bytes(Bytes),
    /// Nothing will ever be there.
    End,
    /// What comes next.
    Next,
    /// Something that is not kept any more, or far ahead.
    Elsewhere,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes
    }

    fn at(&self, at: u64) -> At {
        if self.whole.is_some_and(|whole| at >= whole) {
            return At::End;
        }
        if at == self.end() {
            return At::Next;
        }
        let mut start = self.start;
        for piece in &self.pieces {
            let end = start + piece.len() as u64;
            if (start..end).contains(&at) {
                let skipped = usize::try_from(at - start).unwrap_or(usize::MAX);
                return At::Bytes(piece.slice(skipped..));
            }
            start = end;
        }
        At::Elsewhere
    }

    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len() as u64;
        self.pieces.push_back(piece);
        while self.bytes > KEPT
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.start += oldest.len() as u64;
            self.bytes -= oldest.len() as u64;
        }
    }
}

/// An answer that is being read.
#[derive(Debug, Default)]
struct Head {
    answer: Option<(Response, u64)>,
    /// The upload's length, once it has ended.
    whole: Option<u64>,
}

impl Head {
    /// The next bytes at `at`; `None`: nothing for now, or nothing ever. May be dropped and called again.
    async fn next(
        &mut self,
        upstream: &Upstream,
        source: &Source,
        at: u64,
    ) -> Result<Option<Bytes>, SourceFailure> {
        if self.answer.as_ref().is_none_or(|(_, position)| *position != at) {
            self.answer = None;
            let more = upstream.follow(source, at, POLL).await?;
            self.whole = more.whole.or(self.whole);
            self.answer = more.response.map(|response| (response, at));
        }
        let Some((response, position)) = &mut self.answer else { return Ok(None) };
        let stall = upstream.limits.stall;
        let came = timeout(stall, response.chunk()).await;
        if let Ok(Ok(Some(bytes))) = came {
            *position += bytes.len() as u64;
            return Ok(Some(bytes));
        }
        self.answer = None;
        match came {
            Ok(Ok(_)) => Ok(None),
            Ok(Err(_)) => Err(SourceFailure::HungUp { at, of: None }),
            Err(_) => Err(SourceFailure::Stalled { seconds: stall.as_secs(), at }),
        }
    }
}

impl Following {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes at `at`, once there are any; `None` at the end. `own`: of a reader that has fallen behind.
    async fn read(
        &self,
        upstream: &Upstream,
        source: &Source,
        own: &mut Head,
        at: u64,
    ) -> Result<Option<Bytes>, SourceFailure> {
        loop {
            let found = self.window().at(at);
            match found {
                At::Bytes(bytes) => {
                    own.answer = None;
                    return Ok(Some(bytes));
                }
                At::End => {
                    if let Some(whole) = self.window().whole {
                        source.ended(whole);
                    }
                    return Ok(None);
                }
                At::Next => {
                    let mut newest = self.newest.lock().await;
                    // Somebody else may have brought it meanwhile.
                    if self.window().end() != at {
                        continue;
                    }
                    let came = newest.next(upstream, source, at).await;
                    if let Some(whole) = newest.whole {
                        self.window().whole = Some(whole);
                        source.ended(whole);
                    }
                    if let Some(bytes) = came? {
                        self.window().push(bytes);
                    }
                }
                At::Elsewhere => {
                    let came = own.next(upstream, source, at).await?;
                    if let Some(whole) = own.whole {
                        self.window().whole = Some(whole);
                        source.ended(whole);
                    }
                    if came.is_some() {
                        return Ok(came);
                    }
                }
            }
        }
    }
}

/// Returns once the upload has ended.
///
/// # Errors
/// It will not, or the coordinator is away for too long.
pub(super) async fn until_whole(upstream: &Upstream, source: &Source) -> Result<(), SourceFailure> {
    let _waiting = source.wait();
    let mut patience = Patience::default();
    while !source.is_whole() {
        match upstream.follow(source, BEYOND, POLL).await {
            Ok(more) => {
                patience = Patience::default();
                if let Some(whole) = more.whole {
                    source.ended(whole);
                }
            }
            Err(failure) => patience.try_again(failure).await?,
        }
    }
    Ok(())
}

/// How long failures are borne.
#[derive(Debug, Default)]
struct Patience {
    since: Option<Instant>,
    tries: u32,
}

impl Patience {
    /// Waits a moment.
    ///
    /// # Errors
    /// The failure, where trying again cannot help or was tried for too long.
    async fn try_again(&mut self, failure: SourceFailure) -> Result<(), SourceFailure> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if failure.is_final() || failure == SourceFailure::Status(404) || since.elapsed() >= PATIENCE {
            return Err(failure);
        }
        sleep(BACKOFF.delay(self.tries, rand::random())).await;
        self.tries += 1;
        Ok(())
    }
}

/// Reads an upload from its beginning to its end.
pub(super) struct Follower {
    upstream: Upstream,
    source: Arc<Source>,
    following: Arc<Following>,
    own: Head,
    position: u64,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    pub(super) fn new(
        upstream: Upstream,
        source: Arc<Source>,
        following: Arc<Following>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { upstream, source, following, own: Head::default(), position: 0, _permit: permit }
    }

    /// The bytes. A failure that could not be mended ends the stream with an error, which cuts the connection to ffmpeg.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        futures::stream::try_unfold(self, |mut follower| async move {
            match follower.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, follower))),
                Err(failure) => {
                    let error = io::Error::other(format!("{failure:?}"));
                    follower.source.gave_up(failure, follower.position);
                    Err(error)
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceFailure> {
        let _waiting = self.source.wait();
        let mut patience = Patience::default();
        loop {
            let read = self.following.read(&self.upstream, &self.source, &mut self.own, self.position).await;
            match read {
                Ok(Some(bytes)) => {
                    self.position += bytes.len() as u64;
                    let most = self.upstream.limits.largest;
                    if self.position > most {
                        return Err(SourceFailure::TooLarge { most });
                    }
                    self.source.delivered(&bytes, self.position);
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(failure) => patience.try_again(failure).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_are_kept_and_no_more() {
        let mut window = Window::default();
        assert_eq!(window.at(0), At::Next);
        window.push(Bytes::from_static(b"abc"));
        window.push(Bytes::from_static(b"de"));
        assert_eq!(window.at(1), At::Bytes(Bytes::from_static(b"bc")));
        assert_eq!(window.at(3), At::Bytes(Bytes::from_static(b"de")));
        assert_eq!((window.at(5), window.at(6)), (At::Next, At::Elsewhere));
        let large = Bytes::from(vec![0; 30 * 1024 * 1024]);
        (0..3).for_each(|_| window.push(large.clone()));
        assert!(window.bytes <= KEPT && window.at(0) == At::Elsewhere);
        let end = window.end();
        assert_eq!(end, 5 + 90 * 1024 * 1024);
        assert!(matches!(window.at(end - 1), At::Bytes(last) if last.len() == 1));
        window.whole = Some(end);
        assert_eq!((window.at(end), window.at(BEYOND)), (At::End, At::End));
    }
}
