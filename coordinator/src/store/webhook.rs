//! Rows of webhooks. Times are milliseconds since the Unix epoch.

use common::{
    api::{WebhookAttempt, WebhookEvent, WebhookState},
    id::JobId,
};
use futures::future::BoxFuture;

use super::Error;

/// What a receiver is to hear; of the commit that has it happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRecord {
    pub id: String,
    pub job: JobId,
    pub event: WebhookEvent,
    pub url: String,
    /// Host and port.
    pub receiver: String,
    pub created_at: i64,
}

/// The same with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWebhook {
    pub id: String,
    pub event: WebhookEvent,
    pub url: String,
    pub created_at: i64,
    pub state: WebhookState,
    /// Of the next attempt; 0: at once.
    pub due_at: Option<i64>,
    /// Oldest first.
    pub attempts: Vec<WebhookAttempt>,
}

/// Who is to hear something, and when the first of it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    pub name: String,
    pub due_at: i64,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueWebhook {
    pub id: String,
    pub job: JobId,
    /// Of the job.
    pub owner: Option<String>,
    pub event: WebhookEvent,
    pub url: String,
    pub body: String,
    /// Since it happened, or since somebody wanted it sent again.
    pub tries: u32,
    pub attempts: Vec<WebhookAttempt>,
}

/// What an attempt leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOutcome {
    pub id: String,
    pub state: WebhookState,
    /// Of the next attempt.
    pub due_at: Option<i64>,
    pub tries: u32,
    /// All that are kept.
    pub attempts: Vec<WebhookAttempt>,
}

/// What receivers of webhooks are to hear. It comes with the commits of [`super::JobStore`].
pub trait WebhookStore: Send + Sync + 'static {
    /// All who are to hear something.
    fn receivers(&self) -> BoxFuture<'_, Result<Vec<Receiver>, Error>>;
    /// What one of them is to hear by `now`, the longest due first, at most `most`, without those of `except`.
    fn due_webhooks<'a>(
        &'a self,
        receiver: &'a str,
        now: i64,
        except: &'a [String],
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<DueWebhook>, Error>>;
    /// Durable once it returns.
    fn settle_webhook<'a>(&'a self, outcome: &'a WebhookOutcome) -> BoxFuture<'a, Result<(), Error>>;
    /// Of a job, oldest first.
    fn webhooks(&self, job: JobId) -> BoxFuture<'_, Result<Vec<StoredWebhook>, Error>>;
    /// One is due at once, as if it were new. `false`: the job has none of that id. Durable once it returns.
    fn send_webhook_again<'a>(&'a self, job: JobId, id: &'a str) -> BoxFuture<'a, Result<bool, Error>>;
    /// What is due later than `latest` is due then: no clock that was wrong once holds anything up for ever.
    fn webhooks_due_by(&self, latest: i64) -> BoxFuture<'_, Result<(), Error>>;
    /// Removes what is over and happened before then.
    fn forget_webhooks(&self, before: i64) -> BoxFuture<'_, Result<(), Error>>;
}
