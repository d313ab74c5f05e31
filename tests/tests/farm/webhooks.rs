//! Webhooks of real jobs: verified by the reference implementation, and heard whatever dies in between.

use std::{collections::BTreeSet, process::Stdio};

use common::{
    api::{InputRef, JobRequest, Page, Webhook, WebhookEvent, WebhookSecrets, WebhookState, WebhookView},
    id::JobId,
};
use e2e::{
    Farm, WorkerSpec,
    api::request,
    binaries, clip,
    receiver::{Heard, Receiver},
    wait::{self, seconds},
};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// An attempt and the one after it, on a busy machine.
const HEARD: std::time::Duration = seconds(60);

async fn farm() -> Farm {
    Farm::builder().worker(WorkerSpec::new("alone")).env("TVARR_WEBHOOK_ALLOW", "127.0.0.0/8").start().await
}

async fn submit(farm: &Farm, receiver: &Receiver) -> JobId {
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let webhook = Webhook { url: receiver.url(), events: WebhookEvent::ends() };
    let request = JobRequest { webhook: Some(webhook), ..request(InputRef::Upload(upload.id), "thumbnails") };
    farm.api.submit(&request).await.summary.id
}

async fn heard(receiver: &Receiver, times: usize) -> Vec<Heard> {
    wait::until(HEARD, "the receiver to hear of it", || async {
        Some(receiver.heard()).filter(|heard| heard.len() >= times)
    })
    .await
}

/// The only one of a job, once it was tried so often.
async fn tried(farm: &Farm, job: JobId, times: usize) -> WebhookView {
    let path = format!("/v1/jobs/{job}/webhooks");
    wait::until(HEARD, "an attempt to be noted", || async {
        let mut page: Page<WebhookView> = farm.api.get(&path).await.unwrap().json().await.unwrap();
        assert!(page.items.len() < 2, "{page:?}");
        page.items.pop().filter(|webhook| webhook.attempts.len() >= times)
    })
    .await
}

/// What the reference implementation makes of it.
async fn verified(secret: &str, heard: &Heard) -> String {
    let root = binaries::root();
    let mut python = Command::new("python3");
    python.arg(root.join("tests/clients/webhook.py")).arg(secret).arg(serde_json::to_string(heard).unwrap());
    python.env("PYTHONPATH", root.join(".tools/clients/python"));
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut running = python.spawn().unwrap();
    running.stdin.take().unwrap().write_all(heard.body.as_bytes()).await.unwrap();
    let output = running.wait_with_output().await.unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}; `scripts/clients.sh` installs what this needs");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_job_that_succeeded_is_told_and_verified_with_the_reference_implementation() {
    let farm = farm().await;
    let receiver = Receiver::start().await;
    let job = submit(&farm, &receiver).await;
    let done = farm.succeeded(job).await;
    let told = heard(&receiver, 1).await.remove(0);
    let secrets: WebhookSecrets = farm.api.get("/v1/webhooks/secret").await.unwrap().json().await.unwrap();
    assert_eq!(verified(&secrets.secrets[0], &told).await, "job.succeeded");
    let payload = told.payload();
    assert_eq!((payload.data.summary.id, payload.data.outputs.len()), (job, done.outputs.len()));
    assert!(!payload.data.outputs.is_empty());
    assert_eq!(payload.data.tasks[0].attempts[0].command, done.tasks[0].attempts[0].command);
    let webhook = tried(&farm, job, 1).await;
    assert_eq!((webhook.id, webhook.state), (told.id, WebhookState::Delivered));
    farm.stop().await;
}

#[tokio::test]
async fn an_end_is_heard_once_the_receiver_is_back_though_the_coordinator_was_killed_meanwhile() {
    let mut farm = farm().await;
    let mut receiver = Receiver::start().await;
    receiver.away().await;
    let job = submit(&farm, &receiver).await;
    farm.succeeded(job).await;
    let before = tried(&farm, job, 1).await;
    assert_eq!((before.state, before.attempts[0].status), (WebhookState::Pending, None));
    farm.stop_coordinator(false).await;
    receiver.back().await;
    farm.start_coordinator().await;
    let told = heard(&receiver, 1).await.remove(0);
    assert_eq!((&told.id, told.payload().r#type), (&before.id, WebhookEvent::Succeeded));
    let after = wait::until(HEARD, "the delivery to be noted", || async {
        Some(tried(&farm, job, 2).await).filter(|webhook| webhook.state == WebhookState::Delivered)
    })
    .await;
    assert_eq!((&after.id, &after.attempts[0]), (&before.id, &before.attempts[0]));

    // What was heard is not told again by another start, and what follows is told once.
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    let next = submit(&farm, &receiver).await;
    farm.succeeded(next).await;
    let all = heard(&receiver, 2).await;
    let ids: BTreeSet<_> = all.iter().map(|heard| &heard.id).collect();
    assert_eq!((all.len(), ids.len(), all[1].payload().data.summary.id), (2, 2, next));
    farm.stop().await;
}
