//! What of a job's end its receiver is to hear.

use common::api::{WebhookEvent, WebhookPayload};
use url::Url;

use crate::{
    queue::{stored_view, timestamp},
    store::{JobRecord, StoredJob, WebhookRecord},
};

impl WebhookRecord {
    /// Of a job that is over; `None`: nobody wants to hear of it. The id is of this end of the job: written again, it is the
    /// same, and a job that is queued again ends anew.
    pub(crate) fn of_end(job: &JobRecord) -> Option<Self> {
        let webhook = job.request.webhook.as_deref()?;
        let event = WebhookEvent::of_end(job.state)?;
        if !webhook.events.contains(&event) {
            return None;
        }
        let at = job.finished_at.unwrap_or_default();
        Some(Self {
            id: format!("evt_{}_{at}", job.id.0.simple()),
            job: job.id,
            event,
            url: webhook.url.clone(),
            receiver: receiver(&webhook.url),
            created_at: at,
        })
    }

    /// What is sent, however often.
    pub(crate) fn body(&self, job: &StoredJob) -> String {
        body(self.event, self.created_at, stored_view(job))
    }
}

pub(super) fn body(event: WebhookEvent, at: i64, data: common::api::JobView) -> String {
    let payload = WebhookPayload { r#type: event, timestamp: timestamp(at), data };
    serde_json::to_string(&payload).expect("a job has string keys only")
}

/// Host and port: what shares a limit.
pub(super) fn receiver(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(String::new, |(host, port)| format!("{host}:{port}"))
}
