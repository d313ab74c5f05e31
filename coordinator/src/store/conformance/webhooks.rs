//! What receivers of webhooks are to hear.

use std::sync::Arc;

use common::api::{JobState, Webhook, WebhookAttempt, WebhookEvent, WebhookState};

use super::{Place, job, with_task};
use crate::store::{
    Changes, JobRecord, JobStore, Receiver, WebhookOutcome, WebhookRecord, WebhookStore as _,
};

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

async fn commit(store: &impl JobStore, (job, webhook): &(JobRecord, WebhookRecord)) {
    let changes = Changes { jobs: vec![job.clone()], webhooks: vec![webhook.clone()], ..Changes::default() };
    store.commit(&changes).await.unwrap();
}

fn receiver(name: &str, due_at: i64) -> Receiver {
    Receiver { name: name.to_owned(), due_at }
}

pub(in crate::store) async fn an_end_is_written_once_with_its_job_and_settled_by_its_attempts<P: Place>(
    place: P,
) {
    let store = place.open().await;
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
    let store = place.open().await;
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

pub(in crate::store) async fn what_is_over_is_forgotten_and_goes_with_its_job<P: Place>(place: P) {
    let store = place.open().await;
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
    store.remove_job(two.0.id).await.unwrap();
    assert_eq!(store.webhooks(two.0.id).await.unwrap(), []);
}

pub(in crate::store) async fn what_is_heard_has_the_tasks_of_its_own_job<P: Place>(place: P) {
    let store = place.open().await;
    let ends = [ended(None, "http://a/"), ended(None, "http://a/"), ended(None, "http://b/")];
    let mut changes = Changes::default();
    // The task of the first is older than its end, that of the second comes with it, the third has none.
    let (task, attempt) = with_task(&ends[0].0);
    store
        .commit(&Changes { tasks: vec![task], attempts: vec![attempt], ..Changes::default() })
        .await
        .unwrap();
    let (task, attempt) = with_task(&ends[1].0);
    (changes.tasks, changes.attempts) = (vec![task], vec![attempt]);
    for (job, webhook) in &ends {
        changes.jobs.push(job.clone());
        changes.webhooks.push(webhook.clone());
    }
    store.commit(&changes).await.unwrap();
    for (receiver, heard) in [("a:80", &ends[..2]), ("b:80", &ends[2..])] {
        let mut due = store.due_webhooks(receiver, 0, &[], 9).await.unwrap();
        due.sort_by_key(|due| due.job);
        let bodies: Vec<&str> = due.iter().map(|due| due.body.as_str()).collect();
        let mut expected = Vec::new();
        for (job, webhook) in heard {
            expected.push(webhook.body(&store.job(job.id).await.unwrap().unwrap()));
        }
        assert_eq!(bodies, expected);
    }
    assert_eq!(store.job(ends[0].0.id).await.unwrap().unwrap().tasks.len(), 1);
    assert_eq!(store.due_webhooks("a:80", 0, &[], 1).await.unwrap().len(), 1);
}
