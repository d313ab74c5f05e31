//! Webhooks: receivers that jobs name hear of their ends, signed as Standard Webhooks 1.0 says, and tried again until they
//! answer.
//!
//! That a receiver is to hear of a job's end is durable with the end itself: the row is in the same commit
//! ([`store::WebhookRecord`](crate::store::WebhookRecord)), and has the body. From there on `courier` brings it, and notes
//! each attempt; who answers with a 2xx has it. It is delivered at least once, always under the same id.
//!
//! `progress` is told along the way, if it is wanted; nothing of it is kept.

mod courier;
mod event;
mod policy;
mod post;
mod progress;
mod sign;

use std::{fmt, sync::Arc};

use common::{api::WebhookView, id::JobId, reach::Reach, stream::without_secrets};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::post::words;
pub use self::sign::{NoSecret, Secret, Secrets};
use self::{
    courier::Courier,
    post::Poster,
    progress::{Reporter, Sending},
};
use crate::{
    queue::{Handle, timestamp},
    store::{self, StoredWebhook, WebhookStore},
};

/// As configured.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `None`: one is made, and kept with the data.
    pub secrets: Option<Secrets>,
    /// Where receivers may be.
    pub reach: Reach,
}

/// What the API asks of webhooks; cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhooks {
    pub(crate) reach: Reach,
    pub(crate) secrets: Secrets,
    pub(crate) store: Arc<dyn WebhookStore>,
    /// There may be something due that was not.
    pub(crate) woken: Arc<Notify>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Delivers until `stop`.
    pub(crate) fn start(&self, queue: &Handle, tracker: &TaskTracker, stop: CancellationToken) {
        let poster = Arc::new(Poster::new(self.reach.clone()));
        let sending = Sending::default();
        let (secrets, store) = (self.secrets.clone(), Arc::clone(&self.store));
        let reporter = Reporter {
            queue: queue.clone(),
            secrets: secrets.clone(),
            poster: Arc::clone(&poster),
            sending: sending.clone(),
            tracker: tracker.clone(),
            stop: stop.clone(),
        };
        tracker.spawn(reporter.run(queue.events()));
        tracker.spawn(Courier::new(store, secrets, poster, sending).run(Arc::clone(&self.woken), stop));
    }

    /// What a job's receiver is to hear, or has heard; oldest first.
    pub(crate) async fn of(&self, job: JobId) -> Result<Vec<WebhookView>, store::Error> {
        Ok(self.store.webhooks(job).await?.into_iter().map(view).collect())
    }

    /// Sends one again, from the beginning of its tries. `None`: the job has none of that id.
    pub(crate) async fn again(&self, job: JobId, id: &str) -> Result<Option<WebhookView>, store::Error> {
        if !self.store.send_webhook_again(job, id).await? {
            return Ok(None);
        }
        self.woken.notify_one();
        Ok(self.of(job).await?.into_iter().find(|view| view.id == id))
    }
}

fn view(stored: StoredWebhook) -> WebhookView {
    let next = stored.due_at.map(|at| timestamp(at).max(timestamp(stored.created_at)));
    WebhookView {
        id: stored.id,
        r#type: stored.event,
        url: without_secrets(&stored.url).into_owned(),
        state: stored.state,
        created_at: timestamp(stored.created_at),
        next_attempt_at: next,
        attempts: stored.attempts,
    }
}
