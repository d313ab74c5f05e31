//! Files that workers bring to a bucket themselves.
//!
//! The same promises as for a PUT through the coordinator: a file counts once it is completed here, while its attempt is
//! current; who begins again takes over, and the end of an attempt aborts what it has begun.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use common::{
    direct::{Ask, Offer, Put},
    failpoint,
    id::AttemptId,
};
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderValue},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{
    objects::{Objects, Signed, key, over, verify},
    uploads::{Begin, Writing},
};
use crate::{
    api::problem::Error as Problem,
    storage::{
        Key, Storage,
        direct::{Plan, Presigned},
        sign::{Action, Leave},
    },
};

/// Parts that are asked for at once.
const MAX_PARTS: usize = 64;

/// What of the worker port's URLs leads to the store.
#[derive(Clone)]
pub(super) struct Direct {
    /// How long a URL of the store is good; `None`: workers get none.
    ttl: Option<Duration>,
    open: Arc<Mutex<HashMap<Key, Open>>>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// A file that is being brought.
struct Open {
    /// Tells it from others of the same name.
    number: u64,
    attempt: AttemptId,
    /// `None`: with one PUT.
    upload: Option<String>,
    writing: Writing,
    /// Ends the watch over it.
    completed: CancellationToken,
}

impl Direct {
    /// Until `stop`. What is open then is aborted by the next start.
    pub(super) fn new(ttl: Option<Duration>, stop: CancellationToken, tracker: TaskTracker) -> Self {
        Self { ttl, open: Arc::default(), stop, tracker }
    }

    /// The URL that a worker is sent on to, if it says that it follows.
    pub(super) async fn reading(
        &self,
        storage: &Storage,
        key: &Key,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let ttl = self.followed(headers)?;
        Some(redirect(&storage.read_url(key, ttl).await?, ttl))
    }

    /// How long a URL for this worker is good, if it may get one.
    pub(super) fn followed(&self, headers: &HeaderMap) -> Option<Duration> {
        headers.get(common::direct::HEADER)?;
        self.ttl
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was begun until it is completed, or aborts it when its attempt ends or somebody begins it anew.
    fn keep(&self, storage: &Storage, key: Key, open: Open) {
        let (number, stopped, completed) = (open.number, open.writing.stop().clone(), open.completed.clone());
        let (this, storage, upload) = (self.clone(), storage.clone(), open.upload.clone());
        self.lock().insert(key.clone(), open);
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = completed.cancelled() => return,
                () = this.stop.cancelled() => return,
                () = stopped.cancelled() => {}
            }
            this.take(&key, |open| open.number == number);
            if let Some(upload) = upload
                && let Err(error) = storage.abort_parts(&key, &upload).await
            {
                tracing::warn!(%key, %error, "parts of a file that nobody wants stay until the next start");
            }
        });
    }

    /// Takes out what is open under that name, if it is the one.
    fn take(&self, key: &Key, which: impl Fn(&Open) -> bool) -> Option<Open> {
        let mut open = self.lock();
        open.get(key).is_some_and(which).then(|| open.remove(key))?
    }

    fn knows(&self, key: &Key, upload: &str) -> bool {
        self.lock().get(key).is_some_and(|open| open.upload.as_deref() == Some(upload))
    }
}

/// 307 to a URL of a store.
pub(super) fn redirect(url: &Url, good_for: Duration) -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(url.as_str()) {
        headers.insert(header::LOCATION, location);
    }
    if let Ok(age) = HeaderValue::from_str(&format!("private, max-age={}", good_for.as_secs())) {
        headers.insert(header::CACHE_CONTROL, age);
    }
    response
}

/// `POST` to the signed URL of a file.
///
/// It is done by a task of its own, for the reason that [`super::objects::write`] has.
pub(super) async fn ask(
    State(objects): State<Objects>,
    Path(target): Path<String>,
    params: Signed,
    Json(ask): Json<Ask>,
) -> Result<Json<Offer>, Problem> {
    let leave = verify(&objects.signer, Action::Write, &target, params)?;
    let key = key(&target)?;
    let tracker = objects.tracker.clone();
    let answering = tracker.spawn(async move { answer(&objects, leave, key, ask).await });
    let answered = answering.await.unwrap_or_else(|error| {
        Err(Problem::Internal { problem: format!("answering for {target}: {error}") })
    });
    answered.map(Json)
}

async fn answer(objects: &Objects, leave: Leave, key: Key, ask: Ask) -> Result<Offer, Problem> {
    if !objects.current.now(leave.attempt).await? {
        return Err(over(leave.attempt));
    }
    match ask {
        Ask::Begin => begin(objects, leave, key).await,
        Ask::Parts { upload, numbers } => parts(objects, &key, &upload, &numbers).await,
        Ask::Complete { upload, tags } => complete(objects, leave, &key, upload, tags).await,
    }
}

async fn begin(objects: &Objects, leave: Leave, key: Key) -> Result<Offer, Problem> {
    let Leave { attempt, size, sha256 } = leave;
    let direct = &objects.direct;
    // Without a digest nobody would know what was brought.
    let (Some(ttl), Some(_)) = (direct.ttl, sha256) else { return Ok(Offer::Coordinator) };
    if size == 0 || !objects.storage.is_remote() {
        return Ok(Offer::Coordinator);
    }
    let writing = match objects.uploads.begin(attempt, &key, size, sha256).await {
        Begin::Write(writing) => writing,
        Begin::There => return Ok(Offer::There),
        Begin::Sealed => {
            return Err(Problem::Conflict { problem: format!("{key}: the attempt has reported its end") });
        }
    };
    failpoint::hit("direct.begin.before");
    let planned = objects.storage.plan_write(&key, size, sha256, ttl).await?;
    failpoint::hit("direct.begin.after");
    let (upload, offer) = match planned {
        None => return Ok(Offer::Coordinator),
        Some(Plan::Whole(put)) => (None, Offer::Whole(as_put(put))),
        Some(Plan::Parts { upload, part_size }) => {
            (Some(upload.clone()), Offer::InParts { upload, part_size })
        }
    };
    let number = rand::random();
    let open = Open { number, attempt, upload, writing, completed: CancellationToken::new() };
    direct.keep(&objects.storage, key, open);
    Ok(offer)
}

fn as_put(presigned: Presigned) -> Put {
    Put { url: presigned.url.into(), headers: presigned.headers }
}

async fn parts(objects: &Objects, key: &Key, upload: &str, numbers: &[u32]) -> Result<Offer, Problem> {
    let Some(ttl) = objects.direct.ttl else { return Err(unknown(key)) };
    if numbers.len() > MAX_PARTS || !objects.direct.knows(key, upload) {
        return Err(unknown(key));
    }
    let urls = objects.storage.part_urls(key, upload, numbers, ttl).await.ok_or_else(|| unknown(key))?;
    Ok(Offer::Parts(urls.into_iter().map(as_put).collect()))
}

/// What was begun before a restart, or by somebody who was taken over from.
fn unknown(key: &Key) -> Problem {
    Problem::Conflict { problem: format!("{key}: nothing was begun under that name; begin again") }
}

async fn complete(
    objects: &Objects,
    Leave { attempt, size, sha256 }: Leave,
    key: &Key,
    upload: Option<String>,
    tags: Vec<String>,
) -> Result<Offer, Problem> {
    let storage = &objects.storage;
    if matches!(objects.uploads.is_there(attempt, key), Some(stored) if stored == size) {
        // The worker did not hear the answer.
        return Ok(Offer::There);
    }
    let open = objects.direct.take(key, |open| open.attempt == attempt && open.upload == upload);
    let Some(open) = open else { return Err(unknown(key)) };
    // From here on it is completed or aborted here; who begins it anew waits for that.
    open.completed.cancel();
    failpoint::hit("direct.complete.before");
    let brought = match &upload {
        Some(upload) => storage.complete_parts(key, upload, tags).await,
        None => Ok(()),
    };
    if let (Err(_), Some(upload)) = (&brought, &upload)
        && let Err(error) = storage.abort_parts(key, upload).await
    {
        tracing::warn!(%key, %error, "parts of a file that was not completed stay until the next start");
    }
    brought?;
    failpoint::hit("direct.complete.after");
    let found = storage.size(key).await?;
    if found != Some(size) {
        storage.delete(key).await?;
        let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found} bytes"));
        return Err(Problem::Malformed {
            problem: format!("{key}: {size} bytes were announced, and the store has {found}"),
            remedy: "bring the file again".to_owned(),
        });
    }
    if !objects.current.now(attempt).await? {
        if let Err(error) = storage.delete(key).await {
            tracing::warn!(task = %attempt.task, epoch = %attempt.epoch, %key, %error, "a file of a superseded attempt stays until the next start");
        }
        return Err(over(attempt));
    }
    if let Some(sha256) = sha256 {
        open.writing.stored(size, sha256);
    }
    Ok(Offer::There)
}
