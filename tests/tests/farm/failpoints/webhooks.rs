//! Killed before and after each durable write for a webhook: an end is to be heard exactly if the job has ended, it is heard
//! under one id, and what was noted as heard is not told again.

use std::collections::BTreeSet;

use common::{
    api::{InputRef, JobRequest, JobState, Page, Webhook, WebhookEvent, WebhookState, WebhookView},
    id::JobId,
};
use e2e::{Farm, api::request, receiver::Receiver, wait};
use reqwest::Client;

use super::{REACHED, VARIABLE, was_killed};

/// How often the receiver hears of the end afterwards. The request was over at both.
const SETTLING: [(&str, usize); 2] = [("webhook.settle.before", 2), ("webhook.settle.after", 1)];
/// The same of one that was heard, and is wanted again.
const AGAIN: [(&str, usize); 2] = [("webhook.again.before", 1), ("webhook.again.after", 2)];
/// The second commit ends the job. Whether it is over afterwards though nobody was answered.
const ENDING: [(&str, bool); 2] = [("store.commit.before:2", false), ("store.commit.after:2", true)];

pub(super) fn points() -> impl Iterator<Item = &'static str> {
    SETTLING.into_iter().chain(AGAIN).map(|(point, _)| point)
}

#[tokio::test]
async fn a_coordinator_killed_while_it_tells_receivers() {
    let mut post = Post::new().await;
    for (point, over) in ENDING {
        let receiver = Receiver::start().await;
        let job = post
            .dies_at(point, async |post| {
                let job = post.submit(&receiver).await;
                assert!(!post.posted(&format!("/v1/jobs/{job}/cancel")).await, "{point}");
                job
            })
            .await;
        let state = post.farm.api.job(job).await.summary.state;
        assert_eq!(state, if over { JobState::Cancelled } else { JobState::Queued }, "{point}");
        if !over {
            assert!(post.webhooks(job).await.is_empty(), "{point}");
            assert!(post.posted(&format!("/v1/jobs/{job}/cancel")).await, "{point}");
        }
        post.delivered(job).await;
        // Heard before it was killed, perhaps, and not noted.
        let heard = receiver.heard();
        assert!((1..=2).contains(&heard.len()), "{point}: {heard:?}");
        let ids: BTreeSet<_> = heard.into_iter().map(|heard| heard.id).collect();
        assert_eq!(ids, BTreeSet::from([post.webhooks(job).await.remove(0).id]), "{point}");
    }
    for (point, times) in SETTLING {
        let receiver = Receiver::start().await;
        let job = post
            .dies_at(point, async |post| {
                let job = post.submit(&receiver).await;
                post.posted(&format!("/v1/jobs/{job}/cancel")).await;
                job
            })
            .await;
        post.told(job, &receiver, times, point).await;
    }
    for (point, times) in AGAIN {
        let receiver = Receiver::start().await;
        let job = post.submit(&receiver).await;
        assert!(post.posted(&format!("/v1/jobs/{job}/cancel")).await);
        post.delivered(job).await;
        let id = post.webhooks(job).await.remove(0).id;
        let again = format!("/v1/jobs/{job}/webhooks/{id}/redeliver");
        post.dies_at(point, async |post| assert!(!post.posted(&again).await, "{point}")).await;
        post.told(job, &receiver, times, point).await;
    }
    post.farm.stop().await;
}

struct Post {
    farm: Farm,
    client: Client,
}

impl Post {
    /// Without a worker: jobs end when they are cancelled.
    async fn new() -> Self {
        let farm = Farm::builder().env("TVARR_WEBHOOK_ALLOW", "127.0.0.0/8").start().await;
        Self { farm, client: Client::new() }
    }

    /// Starts the coordinator so that it dies at `point`, provokes it, and starts it again.
    async fn dies_at<T>(&mut self, point: &str, provoke: impl AsyncFnOnce(&mut Self) -> T) -> T {
        self.farm.stop_coordinator(false).await;
        self.farm.try_start_coordinator(&[(VARIABLE, point)]).await.unwrap();
        let provoked = provoke(self).await;
        was_killed(point, self.farm.coordinator_ended(REACHED).await);
        self.farm.start_coordinator().await;
        provoked
    }

    async fn submit(&self, receiver: &Receiver) -> JobId {
        let webhook = Webhook { url: receiver.url(), events: WebhookEvent::ends() };
        let input = InputRef::Url("http://host/a.mp4".to_owned());
        let request = JobRequest { webhook: Some(webhook), ..request(input, "h264") };
        self.farm.api.submit(&request).await.summary.id
    }

    /// Whether it was answered, and well.
    async fn posted(&self, path: &str) -> bool {
        let answer = self.client.post(format!("{}{path}", self.farm.api.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn webhooks(&self, job: JobId) -> Vec<WebhookView> {
        let answer = self.farm.api.get(&format!("/v1/jobs/{job}/webhooks")).await.unwrap();
        answer.json::<Page<WebhookView>>().await.unwrap().items
    }

    /// The one end of the job was heard, and that is noted.
    async fn delivered(&self, job: JobId) {
        wait::until(REACHED, "the receiver to hear of the job's end", || async {
            let webhooks = self.webhooks(job).await;
            assert!(webhooks.len() < 2, "{webhooks:?}");
            let is_heard = |webhook: &WebhookView| webhook.state == WebhookState::Delivered;
            webhooks.first().is_some_and(is_heard).then_some(())
        })
        .await;
    }

    /// It was heard so often, always under the same id.
    async fn told(&self, job: JobId, receiver: &Receiver, times: usize, point: &str) {
        self.delivered(job).await;
        let heard = receiver.heard();
        let ids: BTreeSet<_> = heard.iter().map(|heard| heard.id.clone()).collect();
        assert_eq!(heard.len(), times, "{point}: {heard:?}");
        assert_eq!(ids, BTreeSet::from([self.webhooks(job).await.remove(0).id]), "{point}");
    }
}
