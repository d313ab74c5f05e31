//! Rows of webhooks in a real file.

use std::sync::Arc;

use common::api::{JobState, Webhook, WebhookAttempt};

use super::{super::tests::job, *};
use crate::store::{Changes, JobStore as _};

async fn open(folder: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap()
}

/// A job that is over, and what is to be heard of it.
fn ended(owner: Option<&str>, url: &str) -> (JobRecord, WebhookRecord) {
    let mut job = job(owner);
    job.state = JobState::Failed;
    job.finished_at = Some(5_000);
    let webhook = Webhook { url: url.to_owned(), events: WebhookEvent::ends() };
    Arc::make_mut(&mut job.request).webhook = Some(Box::new(webhook));
    let record = WebhookRecord::of_end(&job).unwrap();
    (job, record)
}

async fn commit(store: &SqliteStore, (job, webhook): &(JobRecord, WebhookRecord)) {
    let changes = Changes { jobs: vec![job.clone()], webhooks: vec![webhook.clone()], ..Changes::default() };
    store.commit(&changes).await.unwrap();
}

fn receiver(name: &str, due_at: i64) -> Receiver {
    Receiver { name: name.to_owned(), due_at }
}

#[tokio::test]
async fn an_end_is_written_once_with_its_job_and_settled_by_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let (one, two) = (ended(Some("ann"), "https://a.example/x?y"), ended(None, "http://b.example:81/"));
    commit(&store, &one).await;
    // A commit that failed may be written again.
    commit(&store, &one).await;
    commit(&store, &two).await;
    assert_eq!(store.receivers().await.unwrap(), [receiver("a.example:443", 0), receiver("b.example:81", 0)]);
    let due = store.due_webhooks("a.example:443", 0, &[], 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].job, due[0].owner.as_deref(), due[0].tries), (one.0.id, Some("ann"), 0));
    assert_eq!(due[0].body, one.1.body(&store.job(one.0.id).await.unwrap().unwrap()));
    let except = [due[0].id.clone()];
    assert_eq!(store.due_webhooks("a.example:443", 0, &except, 9).await.unwrap(), []);

    let at = jiff::Timestamp::from_millisecond(7_000).unwrap();
    let attempt = WebhookAttempt { at, status: Some(500), error: Some("no".to_owned()), duration_ms: 3 };
    let outcome = WebhookOutcome {
        id: one.1.id.clone(),
        state: WebhookState::Pending,
        due_at: Some(12_000),
        tries: 1,
        attempts: vec![attempt.clone()],
    };
    store.settle_webhook(&outcome).await.unwrap();
    store.close().await;
    let store = open(&folder).await;
    assert_eq!(
        store.receivers().await.unwrap(),
        [receiver("a.example:443", 12_000), receiver("b.example:81", 0)]
    );
    assert_eq!(store.due_webhooks("a.example:443", 11_999, &[], 9).await.unwrap(), []);
    assert_eq!(store.due_webhooks("a.example:443", 12_000, &[], 9).await.unwrap()[0].tries, 1);
    store.webhooks_due_by(6_000).await.unwrap();
    assert_eq!(store.receivers().await.unwrap()[0], receiver("a.example:443", 6_000));

    let outcome = WebhookOutcome { state: WebhookState::Delivered, due_at: None, ..outcome };
    store.settle_webhook(&outcome).await.unwrap();
    let kept = store.webhooks(one.0.id).await.unwrap();
    assert_eq!((kept.len(), kept[0].state, &kept[0].attempts), (1, WebhookState::Delivered, &vec![attempt]));
    // The same end again, after all: it was told.
    commit(&store, &one).await;
    assert_eq!(store.receivers().await.unwrap(), [receiver("b.example:81", 0)]);
    assert!(!store.send_webhook_again(two.0.id, &one.1.id).await.unwrap(), "another job's");
    assert!(store.send_webhook_again(one.0.id, &one.1.id).await.unwrap());
    assert_eq!(store.due_webhooks("a.example:443", 0, &[], 9).await.unwrap()[0].tries, 0);
}

#[tokio::test]
async fn what_is_over_is_forgotten_and_goes_with_its_job() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let (one, two) = (ended(None, "http://a/"), ended(None, "http://a/"));
    commit(&store, &one).await;
    commit(&store, &two).await;
    let settled = |event: &WebhookRecord| WebhookOutcome {
        id: event.id.clone(),
        state: WebhookState::GivenUp,
        due_at: None,
        tries: 1,
        attempts: Vec::new(),
    };
    store.settle_webhook(&settled(&one.1)).await.unwrap();
    store.forget_webhooks(5_000).await.unwrap();
    assert_eq!(store.webhooks(one.0.id).await.unwrap().len(), 1, "it is not that old");
    store.forget_webhooks(5_001).await.unwrap();
    assert_eq!(store.webhooks(one.0.id).await.unwrap(), []);
    assert_eq!(store.webhooks(two.0.id).await.unwrap().len(), 1, "it is to be heard still");
    let job = two.0.id.to_string();
    store.change("delete a job", sqlx::query("DELETE FROM jobs WHERE id = ?1").bind(job)).await.unwrap();
    assert_eq!(store.webhooks(two.0.id).await.unwrap(), []);
}
