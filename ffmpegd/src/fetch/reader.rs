//! Reads a source from one place to the end, over as many connections as it takes.

use std::{io, time::Duration};

use bytes::Bytes;
use common::backoff::Backoff;
use futures::Stream;
use reqwest::Response;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};

use std::sync::Arc;

use super::{
    failure::SourceFailure,
    pace::Pace,
    range::Wanted,
    source::Source,
    upstream::{Answer, Upstream, strong_tag},
};

/// Between tries to go on.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(4) };
/// A connection that brought this much counts as progress: the tries are counted anew.
const PROGRESS: u64 = 64 * 1024;

pub(super) struct Reader {
    upstream: Upstream,
    source: Arc<Source>,
    /// `None` while what is held of the source is enough.
    response: Option<Response>,
    /// Where that began.
    opened: u64,
    tag: Option<String>,
    position: u64,
    /// Where the body ends, if that is known.
    end: Option<u64>,
    /// The server honours ranges: a break can be mended.
    resumable: bool,
    pace: Pace,
    tries: u32,
    since_resume: u64,
    _permit: OwnedSemaphorePermit,
}

/// An opened source.
pub(super) enum Opened {
    Body { reader: Box<Reader>, length: Option<u64>, total: Option<u64>, ranges: bool },
    Beyond { total: u64 },
}

impl Reader {
    /// Opens the source; asks again a few times where that can help.
    pub(super) async fn open(
        upstream: Upstream,
        source: Arc<Source>,
        wanted: Wanted,
        permit: OwnedSemaphorePermit,
    ) -> Result<Opened, SourceFailure> {
        if let Some(total) = source.seekable()
            && source.cache().get(wanted.start).is_some()
        {
            return Ok(Self::held(upstream, source, wanted, total, permit));
        }
        let mut tries = 0;
        let answer = loop {
            match upstream.open(&source, wanted, None).await {
                Ok(answer) => break answer,
                Err(failure) if failure.is_final() || spent(&failure, tries, upstream.limits.resumes) => {
                    source.gave_up(failure.clone(), wanted.start);
                    return Err(failure);
                }
                Err(_) => sleep(BACKOFF.delay(tries, rand::random())).await,
            }
            tries += 1;
        };
        let (response, position, end, total, ranges) = match answer {
            Answer::Beyond { total } => return Ok(Opened::Beyond { total }),
            Answer::Part { response, end, total } => (response, wanted.start, Some(end), total, true),
            Answer::Whole { response, length } => (response, 0, length, length, false),
        };
        let length = end.map(|end| end.saturating_sub(position));
        let tag = strong_tag(&response);
        let reader = Self {
            upstream,
            source,
            response: Some(response),
            opened: position,
            tag,
            position,
            end,
            resumable: ranges,
            pace: Pace::default(),
            tries: 0,
            since_resume: 0,
            _permit: permit,
        };
        Ok(Opened::Body { reader: Box::new(reader), length, total, ranges })
    }

    /// Begins with what is held; the source is asked only where that ends.
    fn held(
        upstream: Upstream,
        source: Arc<Source>,
        wanted: Wanted,
        total: u64,
        permit: OwnedSemaphorePermit,
    ) -> Opened {
        let end = wanted.end.map_or(total, |end| end.min(total));
        let tag = source.cache().tag().map(str::to_owned);
        let reader = Self {
            upstream,
            source,
            response: None,
            opened: wanted.start,
            tag,
            position: wanted.start,
            end: Some(end),
            resumable: true,
            pace: Pace::default(),
            tries: 0,
            since_resume: 0,
            _permit: permit,
        };
        let length = Some(end.saturating_sub(wanted.start));
        Opened::Body { reader: Box::new(reader), length, total: Some(total), ranges: true }
    }

    /// The bytes. A failure that could not be mended ends the stream with an error, which cuts the connection to ffmpeg.
    pub(super) fn stream(self: Box<Self>) -> impl Stream<Item = io::Result<Bytes>> {
        futures::stream::try_unfold(self, |mut reader| async move {
            match reader.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, reader))),
                Err(failure) => {
                    let error = io::Error::other(format!("{failure:?}"));
                    reader.source.gave_up(failure, reader.position);
                    Err(error)
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceFailure> {
        loop {
            if self.end.is_some_and(|end| self.position >= end) {
                return Ok(None);
            }
            let Some(response) = &mut self.response else {
                let held = self.source.cache().get(self.position);
                match held {
                    Some(bytes) => return Ok(Some(self.took(self.before_the_end(bytes)))),
                    None => self.go_on().await?,
                }
                continue;
            };
            let limits = self.upstream.limits;
            let (stall, asked) = (limits.stall, Instant::now());
            let came = timeout(stall, response.chunk()).await;
            let count = match &came {
                Ok(Ok(Some(bytes))) => bytes.len() as u64,
                _ => 0,
            };
            self.pace.took(asked.elapsed(), count, &limits)?;
            if self.position + count > limits.largest {
                return Err(SourceFailure::TooLarge { most: limits.largest });
            }
            let broke = match came {
                Ok(Ok(Some(bytes))) if bytes.is_empty() => continue,
                Ok(Ok(Some(bytes))) => {
                    if self.resumable && self.source.seekable().is_some() {
                        self.source.cache().keep(self.opened, self.position, &bytes, self.tag.as_deref());
                    }
                    return Ok(Some(self.took(bytes)));
                }
                Ok(Ok(None)) if self.end.is_none() => return Ok(None),
                Ok(Ok(None) | Err(_)) => SourceFailure::HungUp { at: self.position, of: self.end },
                Err(_) => SourceFailure::Stalled { seconds: stall.as_secs(), at: self.position },
            };
            self.resume(broke).await?;
        }
    }

    /// As much of it as was asked for.
    fn before_the_end(&self, mut bytes: Bytes) -> Bytes {
        let left = self.end.map_or(u64::MAX, |end| end - self.position);
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        bytes
    }

    /// Opens the source where what was held ends.
    async fn go_on(&mut self) -> Result<(), SourceFailure> {
        match self.ask().await {
            Ok(Asked::There) => Ok(()),
            Ok(Asked::Changed) => Err(changed()),
            Err(failure) if failure.is_final() => Err(failure),
            Err(failure) => self.resume(failure).await,
        }
    }

    /// One try to open the source at the position, in the version that was read until there.
    async fn ask(&mut self) -> Result<Asked, SourceFailure> {
        let wanted = Wanted { start: self.position, end: self.end, ranged: true };
        match self.upstream.open(&self.source, wanted, self.tag.as_deref()).await? {
            Answer::Part { response, .. } => {
                self.response = Some(response);
                self.opened = self.position;
                self.since_resume = 0;
                Ok(Asked::There)
            }
            Answer::Whole { .. } | Answer::Beyond { .. } => Ok(Asked::Changed),
        }
    }

    fn took(&mut self, bytes: Bytes) -> Bytes {
        let count = bytes.len() as u64;
        self.position += count;
        self.since_resume += count;
        if self.since_resume >= PROGRESS {
            self.tries = 0;
        }
        self.source.delivered(&bytes, self.position);
        bytes
    }

    /// Opens the source again where the read broke.
    async fn resume(&mut self, mut broke: SourceFailure) -> Result<(), SourceFailure> {
        loop {
            if !self.resumable || spent(&broke, self.tries, self.upstream.limits.resumes) {
                return Err(broke);
            }
            sleep(BACKOFF.delay(self.tries, rand::random())).await;
            self.tries += 1;
            match self.ask().await {
                Ok(Asked::There) => return Ok(()),
                Ok(Asked::Changed) => return Err(changed()),
                Err(failure) if failure.is_final() => return Err(failure),
                Err(failure) => broke = failure,
            }
        }
    }
}

/// What a server says to a read that goes on.
enum Asked {
    There,
    /// It has another version.
    Changed,
}

fn changed() -> SourceFailure {
    SourceFailure::Nonsense("the file changed while it was read".to_owned())
}

/// Whether enough was tried. A server that stalls takes the whole stall timeout each time, so it gets one more chance.
fn spent(failure: &SourceFailure, tries: u32, resumes: u32) -> bool {
    let allowed = if matches!(failure, SourceFailure::Stalled { .. }) { resumes.min(1) } else { resumes };
    tries >= allowed
}
