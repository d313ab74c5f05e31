//! Brings what is due to its receivers.
//!
//! What is due is in the store, not here: this knows only the requests that are under way. A stop or a crash in the middle of
//! one has it made again after the next start, under the same id.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use common::{
    api::{WebhookAttempt, WebhookState},
    backoff::Backoff,
    stream::without_secrets,
};
use jiff::Timestamp;
use tokio::{
    sync::Notify,
    task::{Id, JoinSet},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    policy::{self, LONGEST, Next, Outcome},
    post::{Ended, Message, Poster},
    progress::Sending,
    sign::Secrets,
};
use crate::store::{self, DueWebhook, WebhookOutcome, WebhookStore};

/// After the store could not be read or written.
const STORE_AGAIN: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
/// How long requests that are under way at a stop may take.
const FINISH: Duration = Duration::from_secs(2);
/// Attempts that are kept of an event.
const ATTEMPTS: usize = 20;
/// How long an event is kept that is over.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often is looked for those that are older.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Milliseconds since the Unix epoch, which go on evenly from the start whatever becomes of the machine's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    started: Instant,
    wall: i64,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), wall: Timestamp::now().as_millisecond() }
    }

    fn now(self) -> i64 {
        self.wall.saturating_add(milliseconds(self.started.elapsed()))
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What all requests share.
pub(super) struct Courier {
    store: Arc<dyn WebhookStore>,
    secrets: Secrets,
    poster: Arc<Poster>,
    sending: Sending,
    clock: Clock,
}

/// A request that is under way.
struct UnderWay {
    receiver: String,
    event: String,
}

impl Courier {
    pub(super) fn new(
        store: Arc<dyn WebhookStore>,
        secrets: Secrets,
        poster: Arc<Poster>,
        sending: Sending,
    ) -> Self {
        Self { store, secrets, poster, sending, clock: Clock::start() }
    }

    /// Until `stop`. `woken`: there may be something due that was not.
    pub(super) async fn run(self, woken: Arc<Notify>, stop: CancellationToken) {
        let this = Arc::new(self);
        if let Err(error) = this.store.webhooks_due_by(this.clock.now() + milliseconds(LONGEST)).await {
            tracing::warn!(%error, "what webhooks are due could not be looked at");
        }
        let mut requests = JoinSet::new();
        let mut under_way: HashMap<Id, UnderWay> = HashMap::new();
        let mut failures = 0;
        let mut forget_at = Instant::now();
        loop {
            let next_look = match this.begin(&mut requests, &mut under_way).await {
                Ok(next) => {
                    failures = 0;
                    next
                }
                Err(error) => {
                    tracing::warn!(%error, "webhooks wait: what is due cannot be read");
                    failures += 1;
                    Some(Instant::now() + STORE_AGAIN.delay(failures - 1, rand::random()))
                }
            };
            if forget_at <= Instant::now() {
                forget_at = Instant::now() + FORGET_EVERY;
                if let Err(error) = this.store.forget_webhooks(this.clock.now() - milliseconds(KEPT)).await {
                    tracing::warn!(%error, "old webhooks could not be removed");
                }
            }
            let look = next_look.map_or(forget_at, |next| next.min(forget_at));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = requests.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    under_way.remove(&id);
                }
                () = woken.notified() => {}
                () = sleep_until(look) => {}
            }
        }
        // What is not over by then is dropped, and made again after the next start.
        let finish = async { while requests.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FINISH, finish).await;
    }

    /// Begins the requests that are due and for which there is room; says when to look again.
    async fn begin(
        self: &Arc<Self>,
        requests: &mut JoinSet<()>,
        under_way: &mut HashMap<Id, UnderWay>,
    ) -> Result<Option<Instant>, store::Error> {
        let now = self.clock.now();
        let receivers = self.store.receivers().await?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for request in under_way.values() {
            *counts.entry(request.receiver.clone()).or_default() += 1;
        }
        let (turns, later) = policy::turns(&receivers, &counts, now);
        for (receiver, room) in turns {
            let own = under_way.values().filter(|request| request.receiver == receiver);
            let except: Vec<String> = own.map(|request| request.event.clone()).collect();
            for due in self.store.due_webhooks(&receiver, now, &except, room).await? {
                let event = due.id.clone();
                let handle = requests.spawn(Arc::clone(self).bring(due));
                under_way.insert(handle.id(), UnderWay { receiver: receiver.clone(), event });
            }
        }
        let wait = |at: i64| Duration::from_millis(u64::try_from(at - now).unwrap_or(0));
        Ok(later.map(|at| Instant::now() + wait(at)))
    }

    /// One attempt, until what came of it is durable.
    async fn bring(self: Arc<Self>, due: DueWebhook) {
        // The end is heard after everything before it.
        self.sending.end(due.job).await;
        let at = Timestamp::now();
        let started = Instant::now();
        let signature = self.secrets.of(due.owner.as_deref()).signature(&due.id, at.as_second(), &due.body);
        let message = Message {
            url: &due.url,
            id: &due.id,
            timestamp: at.as_second(),
            signature: &signature,
            body: &due.body,
        };
        let Ended { outcome, error } = self.poster.post(message).await;
        let next = policy::next(outcome, due.tries, rand::random());
        let status = match outcome {
            Outcome::Answer(status, _) => Some(status),
            Outcome::Nothing => None,
        };
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (state, due_at) = match next {
            Next::Delivered => (WebhookState::Delivered, None),
            Next::Again(wait) => (WebhookState::Pending, Some(self.clock.now() + milliseconds(wait))),
            Next::GiveUp => (WebhookState::GivenUp, None),
        };
        let (job, event, url) = (due.job, due.event.as_str(), without_secrets(&due.url));
        let reason = error.as_deref().unwrap_or_default();
        match next {
            Next::Delivered => tracing::debug!(%job, event, %url, "a webhook was delivered"),
            Next::Again(wait) => tracing::info!(%job, event, %url, reason, ?wait, "a webhook is tried again"),
            Next::GiveUp => tracing::warn!(%job, event, %url, reason, "a webhook is given up"),
        }
        let mut attempts = due.attempts;
        attempts.push(WebhookAttempt { at, status, error, duration_ms });
        attempts.drain(..attempts.len().saturating_sub(ATTEMPTS));
        let outcome = WebhookOutcome { id: due.id, state, due_at, tries: due.tries + 1, attempts };
        self.settle(&outcome).await;
    }

    /// Until it is written: should it not be, the receiver would be told again at once, and again.
    async fn settle(&self, outcome: &WebhookOutcome) {
        let mut failures = 0;
        while let Err(error) = self.store.settle_webhook(outcome).await {
            tracing::warn!(webhook = outcome.id, %error, "what became of a webhook could not be noted");
            sleep(STORE_AGAIN.delay(failures, rand::random())).await;
            failures += 1;
        }
    }
}
