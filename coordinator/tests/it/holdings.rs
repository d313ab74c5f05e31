//! The quota `bytes`: what an owner holds, what is refused above it, and what frees it.

use common::{
    api::{JobState, JobView, KeyCreated, OwnerView, Page, Scope, Upload, Used},
    id::JobId,
};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::farm::{Farm, Worker, entries, eventually, output, problem};

/// A farm with keys: an administrator's, and one of each owner.
struct Farmers {
    farm: Farm,
    admin: String,
    ann: String,
    bob: String,
}

/// What a request was refused for.
async fn refused(response: Response) -> String {
    assert_eq!(response.headers()[header::RETRY_AFTER], "60");
    let problem = problem(response).await;
    assert_eq!((problem.status, problem.kind.as_str()), (429, "/problems/byte-quota"), "{problem:?}");
    assert!(problem.remedy.unwrap().contains("DELETE /v1/jobs/ID"));
    problem.detail
}

/// Bytes whose number the request does not say.
fn unsized_body(bytes: usize) -> Body {
    let chunks = (0..bytes).map(|_| Ok::<_, std::io::Error>("x"));
    Body::wrap_stream(futures::stream::iter(chunks.collect::<Vec<_>>()))
}

impl Farmers {
    async fn new(quota: u64) -> Self {
        let farm = Farm::start().await;
        let mut keys = Vec::new();
        for (owner, scope) in [("ops", Scope::Admin), ("ann", Scope::Submit), ("bob", Scope::Submit)] {
            let body = json!({"owner": owner, "scopes": [scope, Scope::Read]});
            let request = farm.http.post(farm.url("/v1/keys")).json(&body);
            let request = keys.first().map_or(request.try_clone(), |key| Some(request.bearer_auth(key)));
            keys.push(request.unwrap().send().await.unwrap().json::<KeyCreated>().await.unwrap().key);
        }
        let [admin, ann, bob] = keys.try_into().unwrap();
        let this = Self { farm, admin, ann, bob };
        this.allow(quota).await;
        this
    }

    async fn restart(self) -> Self {
        Self { farm: self.farm.restart().await, ..self }
    }

    /// Ann's quota.
    async fn allow(&self, bytes: u64) {
        let request = self.farm.http.put(self.farm.url("/v1/owners/ann/quotas")).bearer_auth(&self.admin);
        let set: OwnerView =
            request.json(&json!({"bytes": bytes})).send().await.unwrap().json().await.unwrap();
        assert_eq!((set.quotas.bytes, set.own), (Some(bytes), true));
    }

    async fn used(&self) -> Used {
        let request = self.farm.http.get(self.farm.url("/v1/owners")).bearer_auth(&self.admin);
        let page: Page<OwnerView> = request.send().await.unwrap().json().await.unwrap();
        page.items.into_iter().find(|view| view.owner == "ann").map(|view| view.used).unwrap()
    }

    async fn uploaded(&self) -> u64 {
        self.used().await.upload_bytes
    }

    fn ann(&self, method: Method, path: &str) -> RequestBuilder {
        self.farm.http.request(method, self.farm.url(path)).bearer_auth(&self.ann)
    }

    async fn put(&self, body: impl Into<Body>) -> Response {
        self.ann(Method::PUT, "/v1/uploads/a.mp4").body(body).send().await.unwrap()
    }

    async fn submit(&self, route: &str) -> Response {
        let body = json!({"input": {"url": "http://host/a.mp4"}, "preset": "h264", "hardware": "never"});
        self.ann(Method::POST, route).json(&body).send().await.unwrap()
    }

    async fn delete(&self, path: &str) -> StatusCode {
        self.ann(Method::DELETE, path).send().await.unwrap().status()
    }

    async fn create(&self, headers: &[(&str, &str)]) -> Response {
        let post = self.ann(Method::POST, "/v1/uploads").header("tus-resumable", "1.0.0");
        headers.iter().fold(post, |post, (name, value)| post.header(*name, *value)).send().await.unwrap()
    }

    async fn created(&self, headers: &[(&str, &str)]) -> String {
        let response = self.create(headers).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        response.headers()["location"].to_str().unwrap().to_owned()
    }

    fn piece(&self, path: &str, offset: usize) -> RequestBuilder {
        let patch = self.ann(Method::PATCH, path).header("tus-resumable", "1.0.0");
        patch.header("content-type", "application/offset+octet-stream").header("upload-offset", offset)
    }

    async fn offset(&self, path: &str) -> usize {
        let head = self.ann(Method::HEAD, path).header("tus-resumable", "1.0.0").send().await.unwrap();
        head.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
    }

    /// A job of ann's that published one file.
    async fn succeed(&self, worker: &mut Worker, content: &'static str) -> JobView {
        let job: JobView = self.submit("/v1/jobs").await.json().await.unwrap();
        let assign = worker.assigned().await;
        let urls = worker.open_uploads(&assign, vec![output("a.mp4", content)]).await.unwrap();
        assert!(self.farm.bring(&urls[0], content).await.status().is_success());
        worker.succeed(&assign, vec![output("a.mp4", content)]).await;
        worker.acknowledged().await;
        job
    }

    async fn show(&self, job: JobId) -> Response {
        self.ann(Method::GET, &format!("/v1/jobs/{job}")).send().await.unwrap()
    }
}

#[tokio::test]
async fn uploads_in_one_request_are_refused_above_the_quota_and_leave_nothing() {
    let farmers = Farmers::new(100).await;
    let first: Upload = farmers.put("x".repeat(60)).await.json().await.unwrap();
    let files = entries(&farmers.farm.objects());
    let detail = refused(farmers.put("x".repeat(41)).await).await;
    assert!(detail.contains("ann holds 60 B of the 100 B") && detail.contains("41 B more"), "{detail}");
    refused(farmers.put(unsized_body(41)).await).await;
    assert_eq!((entries(&farmers.farm.objects()), farmers.uploaded().await), (files, 60));
    assert_eq!(farmers.put(unsized_body(40)).await.status(), StatusCode::CREATED);
    // To the last byte: also a job's outputs would be more.
    refused(farmers.put("x").await).await;
    refused(farmers.submit("/v1/jobs").await).await;
    refused(farmers.submit("/v1/run").await).await;
    let body = json!({"input": {"url": "http://host/a.mp4"}, "preset": "h264"});
    let bobs = farmers.farm.http.post(farmers.farm.url("/v1/jobs")).bearer_auth(&farmers.bob).json(&body);
    assert_eq!(bobs.send().await.unwrap().status(), StatusCode::CREATED, "each has its own");

    let farmers = farmers.restart().await;
    assert_eq!(farmers.uploaded().await, 100);
    refused(farmers.put("x").await).await;
    assert_eq!(farmers.delete(&format!("/v1/uploads/{}", first.id)).await, StatusCode::NO_CONTENT);
    assert_eq!(farmers.uploaded().await, 40);
    assert_eq!(farmers.submit("/v1/jobs").await.status(), StatusCode::CREATED);
    farmers.farm.stop().await;
}

#[tokio::test]
async fn uploads_at_the_same_time_share_what_is_left() {
    let farmers = Farmers::new(100).await;
    let answers = futures::future::join_all((0..10).map(|number| {
        farmers.put(if number % 2 == 0 { Body::from("x".repeat(30)) } else { unsized_body(30) })
    }))
    .await;
    let taken = answers.iter().filter(|answer| answer.status() == StatusCode::CREATED).count();
    // Of those that do not say their length, each may have taken what another lacked.
    assert!(taken <= 3, "{taken}");
    assert_eq!(farmers.uploaded().await, taken as u64 * 30);
    let others = answers.into_iter().filter(|answer| answer.status() != StatusCode::CREATED);
    futures::future::join_all(others.map(refused)).await;
    // What broke off holds nothing.
    for _ in taken..3 {
        assert_eq!(farmers.put("x".repeat(30)).await.status(), StatusCode::CREATED);
    }
    refused(farmers.put("x".repeat(30)).await).await;
    farmers.farm.stop().await;
}

#[tokio::test]
async fn an_upload_in_pieces_is_charged_with_its_length_before_a_byte_comes() {
    let farmers = Farmers::new(100).await;
    refused(farmers.create(&[("upload-length", "101")]).await).await;
    let upload = farmers.created(&[("upload-length", "60")]).await;
    assert_eq!(farmers.uploaded().await, 60);
    refused(farmers.create(&[("upload-length", "41")]).await).await;
    refused(farmers.put("x".repeat(41)).await).await;
    let farmers = farmers.restart().await;
    refused(farmers.create(&[("upload-length", "41")]).await).await;
    // It is no more when it comes.
    let grown = farmers.piece(&upload, 0).body("x".repeat(60)).send().await.unwrap();
    assert_eq!((grown.status(), farmers.uploaded().await), (StatusCode::NO_CONTENT, 60));
    assert_eq!(farmers.delete(&upload).await, StatusCode::NO_CONTENT);
    let upload = farmers.created(&[("upload-length", "100")]).await;
    assert_eq!(farmers.delete(&upload).await, StatusCode::NO_CONTENT);
    assert_eq!(farmers.created(&[("upload-length", "100")]).await.len(), upload.len());
    farmers.farm.stop().await;
}

#[tokio::test]
async fn an_upload_of_unknown_length_is_charged_as_it_grows() {
    let farmers = Farmers::new(100).await;
    let upload = farmers.created(&[("upload-defer-length", "1")]).await;
    refused(farmers.piece(&upload, 0).body("x".repeat(101)).send().await.unwrap()).await;
    assert_eq!((farmers.offset(&upload).await, farmers.uploaded().await), (0, 0));
    // What came before the quota was used up is kept and counts.
    refused(farmers.piece(&upload, 0).body(unsized_body(150)).send().await.unwrap()).await;
    let there = farmers.offset(&upload).await;
    assert!(there <= 100, "{there}");
    assert_eq!(farmers.uploaded().await, there as u64);
    let rest = farmers.piece(&upload, there).body("x".repeat(90 - there.min(90))).send().await.unwrap();
    assert_eq!(rest.status(), StatusCode::NO_CONTENT);
    let farmers = farmers.restart().await;
    let there = farmers.offset(&upload).await;
    assert_eq!(farmers.uploaded().await, there as u64);
    refused(farmers.piece(&upload, there).header("upload-length", 101).body("x").send().await.unwrap()).await;
    let last = farmers.piece(&upload, there).header("upload-length", 100).body("").send().await.unwrap();
    assert_eq!((last.status(), farmers.uploaded().await), (StatusCode::NO_CONTENT, 100));
    refused(farmers.create(&[("upload-defer-length", "1")]).await).await;
    let last = farmers.piece(&upload, there).body("x".repeat(100 - there)).send().await.unwrap();
    assert_eq!((last.status(), farmers.uploaded().await), (StatusCode::NO_CONTENT, 100));
    farmers.farm.stop().await;
}

#[tokio::test]
async fn parts_and_what_is_put_together_from_them_both_count() {
    let farmers = Farmers::new(60).await;
    let mut parts = Vec::new();
    for _ in 0..2 {
        let part = farmers.created(&[("upload-length", "30"), ("upload-concat", "partial")]).await;
        let grown = farmers.piece(&part, 0).body("x".repeat(30)).send().await.unwrap();
        assert_eq!(grown.status(), StatusCode::NO_CONTENT);
        parts.push(part);
    }
    let joined = format!("final;{} {}", parts[0], parts[1]);
    refused(farmers.create(&[("upload-concat", &joined)]).await).await;
    farmers.allow(120).await;
    farmers.created(&[("upload-concat", &joined)]).await;
    assert_eq!(farmers.uploaded().await, 120);
    for part in parts {
        assert_eq!(farmers.delete(&part).await, StatusCode::NO_CONTENT);
    }
    assert_eq!(farmers.uploaded().await, 60);
    farmers.farm.stop().await;
}

#[tokio::test]
async fn outputs_count_until_their_job_is_removed() {
    let farmers = Farmers::new(10).await;
    let mut worker = farmers.farm.worker().await;
    let empty = entries(&farmers.farm.objects());
    let job = farmers.succeed(&mut worker, "ten bytes!").await.summary.id;
    assert_eq!(farmers.used().await.output_bytes, 10);
    let detail = refused(farmers.submit("/v1/jobs").await).await;
    assert!(detail.contains("10 B in outputs") && detail.contains("nothing is left"), "{detail}");
    drop(worker);
    let farmers = farmers.restart().await;
    refused(farmers.put("x").await).await;
    let path = format!("/v1/jobs/{job}");
    let foreign = farmers.farm.http.delete(farmers.farm.url(&path)).bearer_auth(&farmers.bob);
    assert_eq!(foreign.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(farmers.delete(&path).await, StatusCode::NO_CONTENT);
    assert_eq!(farmers.delete(&path).await, StatusCode::NOT_FOUND);
    assert_eq!(farmers.show(job).await.status(), StatusCode::NOT_FOUND);
    let page: Value = farmers.ann(Method::GET, "/v1/jobs").send().await.unwrap().json().await.unwrap();
    assert_eq!(page["items"], json!([]));
    assert_eq!(entries(&farmers.farm.objects()), empty, "its files and their folders are gone");

    // One that has not ended is not removed.
    let job: JobView = farmers.submit("/v1/jobs").await.json().await.unwrap();
    let path = format!("/v1/jobs/{}", job.summary.id);
    assert_eq!(farmers.delete(&path).await, StatusCode::CONFLICT);
    let cancelled = farmers.ann(Method::POST, &format!("{path}/cancel")).send().await.unwrap();
    assert_eq!(cancelled.json::<JobView>().await.unwrap().summary.state, JobState::Cancelled);
    assert_eq!(farmers.delete(&path).await, StatusCode::NO_CONTENT);
    let again = farmers.ann(Method::POST, &format!("{path}/retry")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
    farmers.farm.stop().await;
}

#[tokio::test]
async fn what_is_on_its_way_counts_before_it_is_there() {
    let farmers = Farmers::new(100).await;
    let (send, body) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let request = farmers.ann(Method::PUT, "/v1/uploads/a.mp4").header(header::CONTENT_LENGTH, 80).body(body);
    let sending = tokio_util::task::TaskTracker::new().spawn(request.send());
    send.send(Ok("some of it")).await.unwrap();
    let detail = eventually(async || {
        let response = farmers.put("x".repeat(30)).await;
        let is_refused = response.status() != StatusCode::CREATED;
        if !is_refused {
            let upload: Upload = response.json().await.unwrap();
            farmers.delete(&format!("/v1/uploads/{}", upload.id)).await;
            return None;
        }
        Some(refused(response).await)
    })
    .await;
    assert!(detail.contains("80 B on their way"), "{detail}");
    assert_eq!(farmers.uploaded().await, 0);
    sending.abort();
    drop(send);
    // It broke off: what was set aside for it is free.
    eventually(async || (farmers.put("x".repeat(100)).await.status() == StatusCode::CREATED).then_some(()))
        .await;
    farmers.farm.stop().await;
}
