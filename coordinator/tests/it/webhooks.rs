//! Receivers of webhooks, over real sockets: what they hear, how often, and who is never asked.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{
    api::{
        JobState, JobView, KeyCreated, Page, WebhookEvent, WebhookPayload, WebhookSecrets, WebhookState,
        WebhookView,
    },
    config::Secret,
    id::JobId,
    proto::{self, worker_message::Message as Said},
};
use coordinator::Config;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::farm::{Farm, Worker, eventually, problem};

/// What came.
#[derive(Debug, Clone)]
struct Heard {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
}

impl Heard {
    fn payload(&self) -> WebhookPayload {
        serde_json::from_str(&self.body).unwrap()
    }

    /// By hand, after the text of Standard Webhooks.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        self.signature == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// What it answers, and which header with it; 0: it never answers.
type Answer = (u16, Option<(&'static str, String)>);

#[derive(Default)]
struct Behaviour {
    heard: Mutex<Vec<Heard>>,
    /// In turn, then 204.
    answers: Mutex<VecDeque<Answer>>,
}

struct Receiver {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let behaviour = Arc::new(Behaviour {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Behaviour::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(hear).with_state(Arc::clone(&behaviour));
        let serve = async move { axum::serve(listener, router).await.unwrap() };
        let serving = AbortOnDropHandle::new(TaskTracker::new().spawn(serve));
        Self { address, behaviour, _serving: serving }
    }

    fn url(&self) -> String {
        format!("http://{}/hook?token=secret", self.address)
    }

    fn heard(&self) -> Vec<Heard> {
        self.behaviour.heard.lock().unwrap().clone()
    }

    async fn hears(&self, times: usize) -> Vec<Heard> {
        eventually(async || {
            let heard = self.heard();
            (heard.len() >= times).then_some(heard)
        })
        .await
    }
}

async fn hear(State(behaviour): State<Arc<Behaviour>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("content-type"), "application/json");
    behaviour.heard.lock().unwrap().push(Heard {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp").parse().unwrap(),
        signature: text("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let next = behaviour.answers.lock().unwrap().pop_front();
    let (status, header) = next.unwrap_or((204, None));
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let status = StatusCode::from_u16(status).unwrap();
    let headers: Vec<_> = header.into_iter().collect();
    (status, axum::response::AppendHeaders(headers), "x".repeat(100_000))
}

/// What tests tell is on this machine.
fn allowed(config: &mut Config) {
    config.webhooks.reach = "127.0.0.0/8".parse().unwrap();
}

fn request(webhook: &Value) -> Value {
    json!({"input": {"url": "http://host/a.mp4"}, "preset": "h264", "webhook": webhook})
}

async fn submit(farm: &Farm, url: &str) -> JobId {
    let response = farm.post("/v1/jobs", &request(&json!({"url": url}))).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    response.json::<JobView>().await.unwrap().summary.id
}

async fn cancel(farm: &Farm, job: JobId) {
    let response = farm.post(&format!("/v1/jobs/{job}/cancel"), &Value::Null).await;
    assert_eq!(response.status(), StatusCode::OK);
}

/// A job that ends at once.
async fn cancelled(farm: &Farm, url: &str) -> JobId {
    let job = submit(farm, url).await;
    cancel(farm, job).await;
    job
}

async fn webhooks(farm: &Farm, job: JobId) -> Vec<WebhookView> {
    farm.get(&format!("/v1/jobs/{job}/webhooks")).await.json::<Page<WebhookView>>().await.unwrap().items
}

/// The only one of a job, once it was tried so often.
async fn tried(farm: &Farm, job: JobId, times: usize) -> WebhookView {
    eventually(async || {
        let mut all = webhooks(farm, job).await;
        assert!(all.len() < 2, "{all:?}");
        all.pop().filter(|webhook| webhook.attempts.len() >= times)
    })
    .await
}

#[tokio::test]
async fn an_end_is_told_until_it_is_heard_signed_and_under_one_id() {
    let receiver = Receiver::start([(500, None)]).await;
    let farm = Farm::start_with(allowed).await;
    let job = submit(&farm, &receiver.url()).await;
    assert!(webhooks(&farm, job).await.is_empty());
    cancel(&farm, job).await;
    let heard = receiver.hears(2).await;
    let secrets: WebhookSecrets = farm.get("/v1/webhooks/secret").await.json().await.unwrap();
    for one in &heard {
        assert!(one.is_signed_with(&secrets.secrets[0]), "{one:?}");
        assert_eq!((&one.id, &one.body), (&heard[0].id, &heard[0].body));
    }
    assert!(heard[1].timestamp >= heard[0].timestamp + 5, "{heard:?}");
    let payload = heard[0].payload();
    assert_eq!(payload.r#type, WebhookEvent::Cancelled);
    assert_eq!((payload.data.summary.id, payload.data.summary.state), (job, JobState::Cancelled));
    let shown: Value = farm.get(&format!("/v1/jobs/{job}")).await.json().await.unwrap();
    let told: Value = serde_json::from_str(&heard[0].body).unwrap();
    assert_eq!(told["data"], shown, "the job as it is shown");
    assert!(!heard[0].body.contains("token=secret"), "{shown}");
    assert_eq!(payload.data.webhook.unwrap().events, WebhookEvent::ends());

    let webhook = tried(&farm, job, 2).await;
    assert_eq!((webhook.id.as_str(), webhook.state), (heard[0].id.as_str(), WebhookState::Delivered));
    assert_eq!(
        webhook.attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(),
        [Some(500), Some(204)]
    );
    assert!(webhook.attempts[0].error.as_deref().unwrap().contains("500"), "{webhook:?}");
    assert_eq!((webhook.attempts[1].error.as_deref(), webhook.next_attempt_at), (None, None));
    assert!(!webhook.url.contains("secret"), "{}", webhook.url);
    farm.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_410_is_the_end_until_it_is_sent_again() {
    let elsewhere = Receiver::start([]).await;
    let moved = Receiver::start([(307, Some(("location", elsewhere.url())))]).await;
    let farm = Farm::start_with(allowed).await;
    let job = cancelled(&farm, &moved.url()).await;
    let webhook = tried(&farm, job, 1).await;
    assert_eq!((webhook.state, webhook.attempts[0].status), (WebhookState::Pending, Some(307)));
    assert!(webhook.attempts[0].error.as_deref().unwrap().contains("redirects"), "{webhook:?}");
    assert!(webhook.next_attempt_at.is_some());

    let gone = Receiver::start([(410, None)]).await;
    let job = cancelled(&farm, &gone.url()).await;
    let webhook = tried(&farm, job, 1).await;
    assert_eq!((webhook.state, webhook.next_attempt_at), (WebhookState::GivenUp, None));
    let again = format!("/v1/jobs/{job}/webhooks/{}/redeliver", webhook.id);
    assert_eq!(farm.post(&again, &Value::Null).await.status(), StatusCode::OK);
    let heard = gone.hears(2).await;
    assert_eq!((&heard[0].id, &heard[0].body), (&heard[1].id, &heard[1].body));
    eventually(async || (webhooks(&farm, job).await[0].state == WebhookState::Delivered).then_some(())).await;
    let other = format!("/v1/jobs/{}/webhooks/{}/redeliver", JobId::new(), webhook.id);
    assert_eq!(problem(farm.post(&other, &Value::Null).await).await.status, 404);
    assert_eq!(
        farm.get(&format!("/v1/jobs/{}/webhooks", JobId::new())).await.status(),
        StatusCode::NOT_FOUND
    );
    assert!(elsewhere.heard().is_empty());
    farm.stop().await;
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_holds_up_nobody_else() {
    let slow = Receiver::start((0..100).map(|_| (0, None))).await;
    let quick = Receiver::start([]).await;
    let farm = Farm::start_with(allowed).await;
    for _ in 0..10 {
        cancelled(&farm, &slow.url()).await;
    }
    slow.hears(4).await;
    let began = Instant::now();
    for _ in 0..10 {
        cancelled(&farm, &quick.url()).await;
    }
    let heard = quick.hears(10).await;
    assert_eq!(heard.iter().map(|one| &one.id).collect::<BTreeSet<_>>().len(), 10);
    // The slow one still has its time.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(slow.heard().len(), 4, "its limit");
    farm.stop().await;
}

#[tokio::test]
async fn what_inputs_may_not_reach_webhooks_may_not() {
    let receiver = Receiver::start([]).await;
    let farm = Farm::start().await;
    for (webhook, field) in [
        (json!({"url": receiver.url()}), "webhook.url"),
        (json!({"url": "http://169.254.169.254/latest"}), "webhook.url"),
        (json!({"url": "http://2130706433/"}), "webhook.url"),
        (json!({"url": "https://[::ffff:10.0.0.1]/"}), "webhook.url"),
        (json!({"url": "ftp://example.com/"}), "webhook.url"),
        (json!({"url": "http://me:pass@example.com/"}), "webhook.url"),
        (json!({"url": "hook"}), "webhook.url"),
        (json!({"url": "http://example.com/", "events": []}), "webhook.events"),
        (json!({"url": "http://example.com/", "events": ["job.done"]}), "webhook.events[0]"),
        (json!({"url": "http://example.com/", "secret": "x"}), "webhook.secret"),
    ] {
        for path in ["/v1/jobs", "/v1/run"] {
            let refused = problem(farm.post(path, &request(&webhook)).await).await;
            assert_eq!(
                (refused.status, refused.field.as_deref()),
                (422, Some(field)),
                "{webhook}: {refused:?}"
            );
            if field == "webhook.events[0]" {
                assert!(refused.detail.contains("job.done"), "{refused:?}");
            }
        }
    }
    // A name is looked at when it is connected to.
    let url = format!("http://localhost:{}/hook", receiver.address.port());
    let job = cancelled(&farm, &url).await;
    let webhook = tried(&farm, job, 1).await;
    let error = webhook.attempts[0].error.as_deref().unwrap();
    assert!(error.contains("loopback") && error.contains("TVARR_WEBHOOK_ALLOW"), "{error}");
    assert_eq!(webhook.attempts[0].status, None);
    assert!(receiver.heard().is_empty());

    // What was taken before is refused where the rules have changed since.
    let folder = farm.stop().await;
    let farm = Farm::start_on(folder, allowed).await;
    let job = submit(&farm, &receiver.url()).await;
    let farm = Farm::start_on(farm.stop().await, |_| {}).await;
    cancel(&farm, job).await;
    let error = tried(&farm, job, 1).await.attempts[0].error.clone().unwrap();
    assert!(error.starts_with("127.0.0.1 is a loopback address"), "{error}");
    farm.stop().await;
}

#[tokio::test]
async fn what_was_not_heard_before_a_stop_is_heard_after_the_start_under_the_same_id() {
    let receiver = Receiver::start([(503, None)]).await;
    let farm = Farm::start_with(allowed).await;
    let job = cancelled(&farm, &receiver.url()).await;
    let before = tried(&farm, job, 1).await;
    let farm = Farm::start_on(farm.stop().await, allowed).await;
    let heard = receiver.hears(2).await;
    assert_eq!((&heard[0].id, &heard[0].body), (&heard[1].id, &heard[1].body));
    let after = tried(&farm, job, 2).await;
    assert_eq!((&after.id, &after.attempts[0]), (&before.id, &before.attempts[0]));
    let secrets: WebhookSecrets = farm.get("/v1/webhooks/secret").await.json().await.unwrap();
    assert!(heard.iter().all(|one| one.is_signed_with(&secrets.secrets[0])), "the secret was kept");
    farm.stop().await;
}

#[tokio::test]
async fn progress_is_told_now_and_then_and_never_after_the_end() {
    let receiver = Receiver::start([]).await;
    let farm = Farm::start_with(allowed).await;
    let mut worker = farm.worker().await;
    let upload = farm.upload("a.mp4", "input").await;
    let events = ["job.progress", "job.cancelled"];
    let body = json!({
        "input": {"upload": upload.id}, "preset": "h264", "hardware": "never",
        "webhook": {"url": receiver.url(), "events": events},
    });
    let job = farm.post("/v1/jobs", &body).await.json::<JobView>().await.unwrap().summary.id;
    let assign = worker.assigned().await;
    // The beats of a second or more, each with more.
    for frames in 1..=100 {
        beat(&worker, &assign, frames).await;
        if receiver.heard().len() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cancel(&farm, job).await;
    beat(&worker, &assign, 1000).await;
    let heard = eventually(async || {
        let heard = receiver.heard();
        heard.iter().any(|one| one.payload().r#type == WebhookEvent::Cancelled).then_some(heard)
    })
    .await;
    let types: Vec<_> = heard.iter().map(|one| one.payload().r#type).collect();
    assert_eq!(types, [WebhookEvent::Progress, WebhookEvent::Progress, WebhookEvent::Cancelled]);
    assert!(heard[1].timestamp >= heard[0].timestamp + 4, "{heard:?}");
    assert_ne!(heard[0].id, heard[1].id);
    let frames = |one: &Heard| one.payload().data.summary.progress.unwrap().progress.frames;
    assert!(frames(&heard[1]) > frames(&heard[0]) + 10, "the latest");
    assert_eq!(webhooks(&farm, job).await.len(), 1, "only the end is kept");
    farm.stop().await;
    assert_eq!(receiver.heard().len(), 3);
}

async fn beat(worker: &Worker, assign: &proto::Assign, frames: u64) {
    let progress = proto::Progress { frames, phase: "encoding".to_owned(), ..Default::default() };
    let attempt = proto::AttemptProgress {
        task_id: assign.task_id.clone(),
        epoch: assign.epoch,
        progress: Some(progress),
        log: Vec::new(),
    };
    worker.say(Said::Heartbeat(proto::Heartbeat { attempts: vec![attempt], ..Default::default() })).await;
}

#[tokio::test]
async fn each_owner_has_its_own_secret_and_sees_its_own_webhooks() {
    const ADMIN: &str = "the-operators-own-key";
    let receiver = Receiver::start([]).await;
    let farm = Farm::start_with(|config| {
        allowed(config);
        config.admin_key = Some(Secret::new(ADMIN));
    })
    .await;
    let get =
        async |key: &str, path: &str| farm.http.get(farm.url(path)).bearer_auth(key).send().await.unwrap();
    let post = async |key: &str, path: &str, body: Value| {
        farm.http.post(farm.url(path)).bearer_auth(key).json(&body).send().await.unwrap()
    };
    let key = async |owner: Option<&str>| {
        let body = json!({"owner": owner, "scopes": ["submit", "read"]});
        post(ADMIN, "/v1/keys", body).await.json::<KeyCreated>().await.unwrap().key
    };
    let (ann, bob) = (key(Some("ann")).await, key(Some("bob")).await);
    let secret = async |key: &str, query: &str| {
        let response = get(key, &format!("/v1/webhooks/secret{query}")).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.json::<WebhookSecrets>().await.unwrap().secrets.remove(0)
    };
    let (of_ann, of_bob, of_nobody) =
        (secret(&ann, "").await, secret(&bob, "").await, secret(ADMIN, "").await);
    assert_eq!(BTreeSet::from([&of_ann, &of_bob, &of_nobody]).len(), 3);
    assert_eq!(secret(ADMIN, "?owner=ann").await, of_ann);
    assert_eq!(problem(get(&ann, "/v1/webhooks/secret?owner=bob").await).await.status, 403);

    let job = post(&ann, "/v1/jobs", request(&json!({"url": receiver.url()}))).await;
    let job = job.json::<JobView>().await.unwrap().summary.id;
    assert_eq!(post(&ann, &format!("/v1/jobs/{job}/cancel"), Value::Null).await.status(), StatusCode::OK);
    let heard = receiver.hears(1).await;
    assert!(heard[0].is_signed_with(&of_ann) && !heard[0].is_signed_with(&of_nobody));
    let path = format!("/v1/jobs/{job}/webhooks");
    assert_eq!(get(&ann, &path).await.json::<Page<WebhookView>>().await.unwrap().items.len(), 1);
    assert_eq!(get(&bob, &path).await.status(), StatusCode::NOT_FOUND);
    let again = format!("{path}/{}/redeliver", heard[0].id);
    assert_eq!(post(&bob, &again, Value::Null).await.status(), StatusCode::NOT_FOUND);
    farm.stop().await;
}
