//! Brings a file to the object store itself, past the coordinator, with URLs that the coordinator gives.
//!
//! Each PUT is tried a few times: storage answers 5xx, resets and is slow now and then. A URL that has expired is asked for
//! again. A store that this worker cannot even connect to is left to the coordinator.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{
    backoff::Backoff,
    direct::{Ask, Offer, Put},
    worker::OutputFile,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prometheus_client::metrics::counter::Counter;
use reqwest::{
    Body, Client, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, ETAG},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_util::io::ReaderStream;

use super::{
    Tools,
    upload::{Problem, READ_BUFFER, STALL, cause, words},
};

/// Parts of one file on their way at the same time.
const PARTS: usize = 4;
/// Parts whose URLs are asked for at once: few enough to be used before they expire.
const URLS: usize = 16;
/// Tries of one PUT.
const TRIES: u32 = 6;
const BACKOFF: Backoff =
    Backoff { base: std::time::Duration::from_millis(200), cap: std::time::Duration::from_secs(5) };

/// What became of a file.
pub(super) enum Brought {
    Done,
    /// It is for the coordinator to take.
    ThroughCoordinator,
}

/// A span of a file, as it is sent.
pub(super) struct Span<'a> {
    pub(super) path: &'a Path,
    /// For people.
    pub(super) name: &'a str,
    pub(super) range: Range<u64>,
    /// Counts what goes.
    pub(super) uploaded: &'a Counter,
}

/// Sends a span of a file with `request`, for as long as it moves.
///
/// # Errors
/// In words: it cannot be read, or the other side takes nothing or hangs up.
pub(super) async fn send(request: RequestBuilder, shown: &str, span: &Span<'_>) -> Result<Response, Unsent> {
    let unread = |error: std::io::Error| Unsent::Other(format!("cannot read {}: {error}", span.name));
    let mut file = File::open(span.path).await.map_err(unread)?;
    file.seek(std::io::SeekFrom::Start(span.range.start)).await.map_err(unread)?;
    let length = span.range.end - span.range.start;
    let moved = Arc::new(AtomicU64::new(0));
    let (counter, uploaded) = (Arc::clone(&moved), span.uploaded.clone());
    let body = ReaderStream::with_capacity(file.take(length), READ_BUFFER).inspect_ok(move |bytes| {
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        uploaded.inc_by(bytes.len() as u64);
    });
    let request = request.header(CONTENT_LENGTH, length).body(Body::wrap_stream(body));
    let mut sending = std::pin::pin!(request.send());
    let mut last = 0;
    let answer = loop {
        match timeout(STALL, &mut sending).await {
            Ok(answer) => break answer,
            Err(_) => {
                let now = moved.load(Ordering::Relaxed);
                if now == last {
                    let stall = STALL.as_secs();
                    return Err(Unsent::Other(format!(
                        "{shown} took nothing of {} for {stall} s",
                        span.name
                    )));
                }
                last = now;
            }
        }
    };
    answer.map_err(|error| {
        let unreached = error.is_connect();
        let words = format!("cannot send {} to {shown}: {}", span.name, cause(error));
        if unreached { Unsent::Unreached(words) } else { Unsent::Other(words) }
    })
}

/// Why there is no answer.
pub(super) enum Unsent {
    /// No connection was made.
    Unreached(String),
    Other(String),
}

impl From<Unsent> for Problem {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Unreached(words) | Unsent::Other(words) => Self::Refused(words),
        }
    }
}

/// One file on its way.
struct Way<'a> {
    http: &'a Client,
    uploaded: &'a Counter,
    /// Of the coordinator, where things are asked.
    url: &'a Url,
    file: &'a OutputFile,
    path: PathBuf,
}

/// Brings `file` as the coordinator says at `url`.
pub(super) async fn bring(
    tools: &Tools,
    folder: &Path,
    file: &OutputFile,
    url: &Url,
) -> Result<Brought, Problem> {
    let (http, uploaded) = (&tools.http, &tools.figures.uploaded);
    let way = Way { http, uploaded, url, file, path: folder.join(&file.path) };
    let brought = match way.ask(&Ask::Begin).await? {
        Offer::Coordinator => return Ok(Brought::ThroughCoordinator),
        Offer::There => return Ok(Brought::Done),
        Offer::Whole(put) => way.whole(put).await,
        Offer::InParts { upload, part_size } => way.in_parts(upload, part_size).await,
        Offer::Parts(_) => return Err(Problem::Refused("the coordinator answered nonsense".to_owned())),
    };
    match brought {
        Ok(()) => Ok(Brought::Done),
        Err(Trouble::Unreached(words)) => {
            tracing::warn!(
                problem = words,
                "this worker does not reach the object store: the coordinator takes the results"
            );
            Ok(Brought::ThroughCoordinator)
        }
        Err(Trouble::Problem(problem)) => Err(problem),
    }
}

enum Trouble {
    /// The store cannot be connected to from here.
    Unreached(String),
    Problem(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Way<'_> {
    async fn ask(&self, ask: &Ask) -> Result<Offer, Problem> {
        let shown = crate::fetch::shown(self.url);
        let refused = |error: reqwest::Error| Problem::Refused(format!("{shown}: {}", cause(error)));
        let sending = self.http.post(self.url.clone()).json(ask).send();
        let answer = match timeout(STALL, sending).await {
            Err(_) => return Err(Problem::Refused(format!("{shown} does not answer"))),
            Ok(answer) => answer.map_err(refused)?,
        };
        match answer.status() {
            StatusCode::OK => answer.json().await.map_err(refused),
            // A coordinator that has never heard of it.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => Ok(Offer::Coordinator),
            status => {
                let said = words(answer).await;
                Err(Problem::of(status, format!("{shown} answered {status}{said}")))
            }
        }
    }

    async fn whole(&self, put: Put) -> Result<(), Trouble> {
        if self.put(put, 0..self.file.size, Renewal::Begin).await?.is_some() {
            self.ask(&Ask::Complete { upload: None, tags: Vec::new() }).await?;
        }
        Ok(())
    }

    async fn in_parts(&self, upload: String, part_size: u64) -> Result<(), Trouble> {
        let count = self.file.size.div_ceil(part_size.max(1));
        let count =
            u32::try_from(count).map_err(|_| Problem::Refused("there are too many parts".to_owned()))?;
        let urls = Urls { way: self, upload: &upload, known: Mutex::default(), count };
        let mut parts = Vec::new();
        for number in 0..count {
            parts.push(self.part(&urls, number, part_size));
        }
        // In any order: a slow part must not keep those after it from beginning.
        let tags: BTreeMap<u32, String> = stream::iter(parts).buffer_unordered(PARTS).try_collect().await?;
        let tags = tags.into_values().collect();
        self.ask(&Ask::Complete { upload: Some(upload.clone()), tags }).await?;
        Ok(())
    }

    /// What the store calls part `number`, once it is there; with its number.
    async fn part(&self, urls: &Urls<'_>, number: u32, part_size: u64) -> Result<(u32, String), Trouble> {
        let start = u64::from(number) * part_size;
        let range = start..(start + part_size).min(self.file.size);
        let put = urls.of(number).await?;
        let answer = self.put(put, range, Renewal::Part(urls, number)).await?;
        let tag = answer.as_ref().and_then(|answer| answer.headers().get(ETAG));
        Ok((number, tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned()))
    }

    async fn renew(&self, renewal: &Renewal<'_>) -> Result<Option<Put>, Problem> {
        match renewal {
            Renewal::Part(urls, number) => urls.again(*number).await.map(Some),
            Renewal::Begin => match self.ask(&Ask::Begin).await? {
                Offer::Whole(put) => Ok(Some(put)),
                Offer::There => Ok(None),
                _ => Err(Problem::Refused("the coordinator has changed its mind".to_owned())),
            },
        }
    }

    /// One PUT, until it works. `None`: it is not wanted any more, the file is there.
    async fn put(
        &self,
        mut put: Put,
        range: Range<u64>,
        renewal: Renewal<'_>,
    ) -> Result<Option<Response>, Trouble> {
        let mut tries = 0;
        let mut connected = false;
        loop {
            let url: Url = put
                .url
                .parse()
                .map_err(|error| Problem::Refused(format!("the coordinator gave no URL: {error}")))?;
            let shown = crate::fetch::shown(&url);
            let mut request = self.http.put(url);
            for (name, value) in &put.headers {
                request = request.header(name, value);
            }
            let (name, uploaded) = (self.file.path.as_str(), self.uploaded);
            let span = Span { path: &self.path, name, range: range.clone(), uploaded };
            let (problem, renew) = match send(request, &shown, &span).await {
                Ok(answer) if answer.status().is_success() => return Ok(Some(answer)),
                Ok(answer) => {
                    connected = true;
                    let status = answer.status();
                    let problem = format!("{shown} answered {status} to {}", self.file.path);
                    // Expired, or the clock says so; a 404 is for parts of what was aborted.
                    let renew = status.is_client_error()
                        && !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
                    (problem, renew)
                }
                Err(Unsent::Unreached(problem)) if !connected && tries + 1 >= TRIES / 2 => {
                    return Err(Trouble::Unreached(problem));
                }
                Err(Unsent::Unreached(problem) | Unsent::Other(problem)) => (problem, false),
            };
            tries += 1;
            if tries >= TRIES {
                return Err(Problem::Refused(problem).into());
            }
            tracing::debug!(problem, tries, "the object store did not take it, trying again");
            sleep(BACKOFF.delay(tries - 1, rand::random())).await;
            if renew {
                match self.renew(&renewal).await? {
                    Some(new) => put = new,
                    None => return Ok(None),
                }
            }
        }
    }
}

/// How a URL that has expired is asked for again.
enum Renewal<'a> {
    Begin,
    Part(&'a Urls<'a>, u32),
}

/// The URLs of a file's parts.
struct Urls<'a> {
    way: &'a Way<'a>,
    upload: &'a str,
    known: Mutex<BTreeMap<u32, Put>>,
    count: u32,
}

impl Urls<'_> {
    /// The URL of a part; those of the next ones are asked for with it.
    async fn of(&self, number: u32) -> Result<Put, Problem> {
        let mut known = self.known.lock().await;
        if let Some(put) = known.remove(&number) {
            return Ok(put);
        }
        let numbers: Vec<u32> = (number..self.count).take(URLS).collect();
        let puts = self.ask(numbers.clone()).await?;
        known.extend(numbers.into_iter().zip(puts));
        known.remove(&number).ok_or_else(too_few)
    }

    async fn again(&self, number: u32) -> Result<Put, Problem> {
        // Those that came with it have expired as well.
        self.known.lock().await.clear();
        self.ask(vec![number]).await?.pop().ok_or_else(too_few)
    }

    async fn ask(&self, numbers: Vec<u32>) -> Result<Vec<Put>, Problem> {
        let count = numbers.len();
        match self.way.ask(&Ask::Parts { upload: self.upload.to_owned(), numbers }).await? {
            Offer::Parts(puts) if puts.len() == count => Ok(puts),
            _ => Err(too_few()),
        }
    }
}

fn too_few() -> Problem {
    Problem::Refused("the coordinator named too few addresses".to_owned())
}
