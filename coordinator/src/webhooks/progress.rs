//! Tells receivers how far their jobs are: the latest only, now and then, once. Nothing of it is durable, and nothing of it
//! comes after the job's end or keeps that waiting.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{
    api::{Event, JobState, Webhook, WebhookEvent},
    id::JobId,
};
use jiff::Timestamp;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    event::{body, receiver},
    post::{Message, Poster},
    sign::Secrets,
};
use crate::queue::Handle;

/// Between reports of one job.
const EVERY: Duration = Duration::from_secs(5);
/// Reports on their way at once, and to one receiver: what there is no room for is left out, and the next one tells more.
const AT_ONCE: usize = 32;
const TO_ONE: usize = 2;

/// Reports that are on their way, by job.
#[derive(Debug, Clone, Default)]
pub(super) struct Sending(Arc<Mutex<HashMap<JobId, Report>>>);

#[derive(Debug)]
struct Report {
    receiver: String,
    task: JoinHandle<()>,
}

impl Sending {
    /// When this returns, nothing of the job is on its way, and nothing will be unless it is queued again: a report that is
    /// begun from here on finds that the job is over.
    pub(super) async fn end(&self, job: JobId) {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
        if let Some(Report { task, .. }) = report {
            task.abort();
            // An error says that it was aborted.
            let _ = task.await;
        }
    }

    /// Begins one, if there is room.
    fn begin(&self, job: JobId, receiver: String, spawn: impl FnOnce() -> JoinHandle<()>) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.retain(|_, report| !report.task.is_finished());
        let to_one = reports.values().filter(|report| report.receiver == receiver).count();
        if reports.contains_key(&job) || reports.len() >= AT_ONCE || to_one >= TO_ONE {
            return;
        }
        // Under the lock: `end` finds it, or it finds that the job is over.
        let task = spawn();
        reports.insert(job, Report { receiver, task });
    }
}

/// What is known of a running job.
struct Known {
    /// If it wants reports.
    webhook: Option<Arc<Webhook>>,
    /// When the next report may go out.
    next: Instant,
    /// There is something to tell then.
    waits: bool,
}

pub(super) struct Reporter {
    pub(super) queue: Handle,
    pub(super) secrets: Secrets,
    pub(super) poster: Arc<Poster>,
    pub(super) sending: Sending,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Reporter {
    /// Until it is stopped.
    pub(super) async fn run(self, mut events: broadcast::Receiver<Event>) {
        // Jobs that run and have told something.
        let mut jobs: HashMap<JobId, Known> = HashMap::new();
        let mut due: BTreeSet<(Instant, JobId)> = BTreeSet::new();
        loop {
            let timer = async {
                match due.first() {
                    Some((at, _)) => sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                event = events.recv() => match event {
                    Ok(Event::Progress { job, .. }) => {
                        let known = match jobs.entry(job) {
                            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                            std::collections::hash_map::Entry::Vacant(vacant) => {
                                let webhook = self.wanted(job).await;
                                vacant.insert(Known { webhook, next: Instant::now(), waits: false })
                            }
                        };
                        if known.webhook.is_some() && !known.waits {
                            known.waits = true;
                            due.insert((known.next, job));
                        }
                    }
                    Ok(Event::Job { job }) if job.state.is_final() => {
                        if let Some(known) = jobs.remove(&job.id) {
                            due.remove(&(known.next, job.id));
                        }
                    }
                    Ok(_) => {}
                    // Ends may be among what was missed.
                    Err(RecvError::Lagged(_)) => {
                        jobs.clear();
                        due.clear();
                    }
                    Err(RecvError::Closed) => return,
                },
                () = timer => {
                    let Some((_, job)) = due.pop_first() else { continue };
                    if let Some(known) = jobs.get_mut(&job) {
                        known.waits = false;
                        known.next = Instant::now() + EVERY;
                        self.report(job, known.webhook.clone());
                    }
                }
            }
        }
    }

    /// The webhook of a job that wants to tell its progress.
    async fn wanted(&self, job: JobId) -> Option<Arc<Webhook>> {
        // A job that cannot be read has no reports.
        let webhook = self.queue.webhook(job).await.ok().flatten()?;
        webhook.events.contains(&WebhookEvent::Progress).then(|| Arc::from(webhook))
    }

    fn report(&self, job: JobId, webhook: Option<Arc<Webhook>>) {
        let Some(webhook) = webhook else { return };
        let (queue, secrets, poster) = (self.queue.clone(), self.secrets.clone(), Arc::clone(&self.poster));
        let stop = self.stop.clone();
        let to = receiver(&webhook.url);
        self.sending.begin(job, to, || {
            let send = async move { send(&queue, &secrets, &poster, job, &webhook.url).await };
            self.tracker.spawn(async move {
                let _ = stop.run_until_cancelled(send).await;
            })
        });
    }
}

async fn send(queue: &Handle, secrets: &Secrets, poster: &Poster, job: JobId, url: &str) {
    // As it is now: it may be over.
    let Ok(view) = queue.job(job).await else { return };
    if view.summary.state != JobState::Running {
        return;
    }
    let now = Timestamp::now();
    let id = format!("evt_{}_p{}", job.0.simple(), now.as_millisecond());
    let owner = view.summary.owner.clone();
    let body = body(WebhookEvent::Progress, now.as_millisecond(), view);
    let signature = secrets.of(owner.as_deref()).signature(&id, now.as_second(), &body);
    let message = Message { url, id: &id, timestamp: now.as_second(), signature: &signature, body: &body };
    if let Some(reason) = poster.post(message).await.error {
        tracing::debug!(%job, reason, "a receiver did not hear of a job's progress");
    }
}
