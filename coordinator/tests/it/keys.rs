//! Who gets in: keys, what they open, and whose things their holders see.

use std::{collections::BTreeSet, net::Ipv4Addr};

use common::{
    api::{Event, JobView, KeyCreated, KeyView, Page, Scope, Upload},
    config::Secret,
    stream::TokenView,
};
use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    events::Events,
    farm::{Farm, problem},
};

const ADMIN: &str = "the-operators-own-key";

async fn closed() -> Farm {
    Farm::start_with(|config| config.admin_key = Some(Secret::new(ADMIN))).await
}

struct Holder<'a> {
    farm: &'a Farm,
    key: String,
}

impl<'a> Holder<'a> {
    fn admin(farm: &'a Farm) -> Self {
        Self { farm, key: ADMIN.to_owned() }
    }

    async fn of(farm: &'a Farm, owner: &str, scopes: &[Scope]) -> Self {
        let body = json!({"owner": owner, "scopes": scopes});
        let created = Self::admin(farm).send(Method::POST, "/v1/keys", Some(&body)).await;
        assert_eq!(created.status(), StatusCode::CREATED);
        assert_eq!(created.headers()[header::CACHE_CONTROL], "no-store");
        Self { farm, key: created.json::<KeyCreated>().await.unwrap().key }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.farm.http.request(method, self.farm.url(path)).bearer_auth(&self.key)
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, None).await
    }

    async fn upload(&self) -> Upload {
        let request = self.request(Method::POST, "/v1/uploads?filename=a.mp4").body("bytes");
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn submit(&self, input: Value) -> Response {
        let body = json!({"input": input, "preset": "h264"});
        self.send(Method::POST, "/v1/jobs", Some(&body)).await
    }

    async fn job(&self) -> JobView {
        let response = self.submit(json!({"url": "http://host/a.mp4"})).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        response.json().await.unwrap()
    }
}

#[tokio::test]
async fn the_first_key_closes_the_api_for_everybody_without_one() {
    let farm = Farm::start().await;
    assert_eq!(farm.get("/v1/jobs").await.status(), StatusCode::OK);
    let refused = problem(farm.post("/v1/keys", &json!({"owner": "ann", "scopes": ["submit"]})).await).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let created = farm.post("/v1/keys", &json!({"scopes": ["admin"], "name": "first"})).await;
    let created: KeyCreated = created.json().await.unwrap();
    let farm = farm.restart().await;
    for open in ["/", "/healthz", "/readyz"] {
        assert_eq!(farm.get(open).await.status(), StatusCode::OK, "{open}");
    }
    let nobody = farm.get("/v1/jobs").await;
    assert_eq!(nobody.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"tvarr\"");
    assert_eq!(problem(nobody).await.status, 401);
    let holder = Holder { farm: &farm, key: created.key };
    let listed = holder.get("/v1/keys").await.text().await.unwrap();
    assert!(!listed.contains(&holder.key), "{listed}");
    let listed: Page<KeyView> = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.items, std::slice::from_ref(&created.view));
    let last = holder.send(Method::DELETE, &format!("/v1/keys/{}", created.view.id), None).await;
    assert_eq!(problem(last).await.status, 409, "nobody could make another");
    farm.stop().await;
}

#[tokio::test]
async fn without_any_key_other_machines_get_nothing_unless_configured() {
    for (insecure_open, status) in [(false, 403), (true, 200)] {
        let farm = Farm::start_with(|config| {
            config.http.set_ip(Ipv4Addr::UNSPECIFIED.into());
            config.insecure_open = insecure_open;
        })
        .await;
        let port = farm.http_addr().port();
        assert_eq!(
            farm.http.get(format!("http://127.0.0.1:{port}/v1/jobs")).send().await.unwrap().status(),
            200
        );
        let ask = |path: &str| farm.http.get(format!("http://127.0.0.1:{port}{path}"));
        // As a proxy on this machine passes on, and a browser whose name for it leads here.
        let elsewhere = ask("/v1/jobs").header("x-forwarded-for", "203.0.113.9");
        assert_eq!(elsewhere.send().await.unwrap().status(), status);
        let rebound = ask("/v1/jobs").header(header::HOST, "evil.example");
        assert_eq!(rebound.send().await.unwrap().status(), status);
        let health = ask("/readyz").header(header::HOST, "10.1.2.3:8080").send().await.unwrap();
        assert_eq!(health.status(), 200, "probes of orchestrators name the address");
        farm.stop().await;
    }
}

#[tokio::test]
async fn what_is_anothers_is_not_there_in_the_same_words() {
    let farm = closed().await;
    let all = [Scope::Submit, Scope::Read, Scope::View];
    let (ann, bob) = (Holder::of(&farm, "ann", &all).await, Holder::of(&farm, "bob", &all).await);
    let (job, upload) = (ann.job().await.summary.id, ann.upload().await.id);
    let none = uuid::Uuid::now_v7();
    for (method, path) in [
        (Method::GET, "/v1/jobs/ID"),
        (Method::GET, "/v1/jobs/ID/logs"),
        (Method::GET, "/v1/jobs/ID/outputs"),
        (Method::GET, "/v1/jobs/ID/outputs/a.mp4"),
        (Method::POST, "/v1/jobs/ID/cancel"),
        (Method::POST, "/v1/jobs/ID/retry"),
    ] {
        let ask = async |id: String| {
            let found = bob.send(method.clone(), &path.replace("ID", &id), None).await;
            let problem = problem(found).await;
            (problem.status, problem.detail.replace(&id, "ID"), problem.title, problem.remedy)
        };
        let (there, not) = (ask(job.to_string()).await, ask(none.to_string()).await);
        assert_eq!(there.0, 404, "{path}");
        assert_eq!(there, not, "{path}");
        assert_ne!(
            ann.send(method.clone(), &path.replace("ID", &job.to_string()), None).await.status(),
            404,
            "{path}"
        );
    }
    let delete = async |holder: &Holder<'_>, id: String| {
        holder.send(Method::DELETE, &format!("/v1/uploads/{id}"), None).await.status()
    };
    assert_eq!(delete(&bob, upload.to_string()).await, StatusCode::NOT_FOUND);
    let claimed = problem(bob.submit(json!({"upload": upload})).await).await;
    let absent = problem(bob.submit(json!({"upload": none})).await).await;
    assert_eq!(
        claimed.detail.replace(&upload.to_string(), "ID"),
        absent.detail.replace(&none.to_string(), "ID")
    );
    assert_eq!(ann.submit(json!({"upload": upload})).await.status(), StatusCode::CREATED);

    let list = async |holder: &Holder<'_>, query: &str| -> usize {
        let page: Page<Value> = holder.get(&format!("/v1/jobs{query}")).await.json().await.unwrap();
        page.items.len()
    };
    assert_eq!((list(&ann, "").await, list(&bob, "").await), (2, 0));
    assert_eq!(list(&bob, "?owner=ann").await, 0);
    assert_eq!(list(&Holder::admin(&farm), "?owner=ann").await, 2);
    let other = problem(
        bob.send(
            Method::POST,
            "/v1/jobs",
            Some(&json!({"input": {"url": "http://h/a"}, "preset": "h264", "owner": "ann"})),
        )
        .await,
    )
    .await;
    assert_eq!(other.status, 403, "{other:?}");
    farm.stop().await;
}

#[tokio::test]
async fn events_are_of_ones_own_jobs_and_end_with_the_key() {
    let farm = closed().await;
    let ann = Holder::of(&farm, "ann", &[Scope::Submit, Scope::Read]).await;
    let bob = Holder::of(&farm, "bob", &[Scope::Submit, Scope::Read]).await;
    let listening = ann.get("/v1/events").await;
    bob.job().await;
    let own = ann.job().await.summary.id;
    let admin = Holder::admin(&farm);
    let keys: Page<KeyView> = admin.get("/v1/keys").await.json().await.unwrap();
    let key = keys.items.iter().find(|key| key.owner.as_deref() == Some("ann")).unwrap().id;
    let revoked = admin.send(Method::DELETE, &format!("/v1/keys/{key}"), None).await;
    assert!(revoked.json::<KeyView>().await.unwrap().revoked_at.is_some());
    // Without the revocation it would not end.
    let chunks: Vec<_> = listening.bytes_stream().map(Result::unwrap).collect().await;
    let text = String::from_utf8(chunks.concat()).unwrap();
    let jobs: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| match serde_json::from_str(data).unwrap() {
            Event::Job { job } => job.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(jobs, BTreeSet::from([own]));
    let over = problem(ann.get("/v1/jobs").await).await;
    assert_eq!((over.status, over.detail.as_str()), (401, "the API key was revoked"));
    farm.stop().await;
}

#[tokio::test]
async fn each_topic_of_events_needs_its_scope() {
    let farm = closed().await;
    for (scope, opened) in [
        (Scope::Submit, &["summary"][..]),
        (Scope::Read, &["summary", "jobs", "progress", "jobs,summary", ""]),
        (Scope::View, &["summary", "streams"]),
        (Scope::Admin, &["summary", "jobs", "progress", "streams", "workers", "load", "jobs,load", ""]),
    ] {
        let holder = Holder::of(&farm, "ann", &[scope]).await;
        for topics in
            ["summary", "jobs", "progress", "streams", "workers", "load", "jobs,load", "jobs,summary", ""]
        {
            let status = holder.get(&format!("/v1/events?topics={topics}")).await.status();
            let all = scope == Scope::Admin || opened.contains(&topics);
            assert_eq!(status, if all { 200 } else { 403 }, "{scope} {topics}");
        }
    }
    let ann = Holder::of(&farm, "ann", &[Scope::View]).await;
    let mut events = Events::of(ann.get("/v1/events?topics=streams").await);
    let admin = Holder::admin(&farm);
    for (name, owner) in [("bobs", "bob"), ("anns", "ann")] {
        let spec = json!({"name": name, "source": "push", "options": {"owner": owner}});
        admin.send(Method::POST, "/v1/streams", Some(&spec)).await;
    }
    let Event::Stream { stream } = events.next().await else { panic!("only streams were asked for") };
    assert_eq!(stream.spec.name, "anns");
    for name in ["bobs", "anns"] {
        admin.send(Method::DELETE, &format!("/v1/streams/{name}"), None).await;
    }
    let gone = loop {
        if let Event::StreamGone { id } = events.next().await {
            break id;
        }
    };
    assert_eq!(gone, stream.id, "another's stream goes as it came: unseen");
    farm.stop().await;
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_name_and_no_more() {
    let farm = closed().await;
    let job = json!({"input": {"url": "http://host/a.mp4"}, "preset": "h264"});
    for (scope, submits, reads, watches) in [
        (Scope::Submit, 201, 403, 403),
        (Scope::Read, 403, 200, 403),
        (Scope::View, 403, 403, 200),
        (Scope::Admin, 201, 200, 200),
    ] {
        let holder = Holder::of(&farm, "ann", &[scope]).await;
        assert_eq!(holder.send(Method::POST, "/v1/jobs", Some(&job)).await.status(), submits, "{scope}");
        assert_eq!(holder.get("/v1/jobs").await.status(), reads, "{scope}");
        assert_eq!(holder.get("/v1/streams").await.status(), watches, "{scope}");
        assert_eq!(holder.get("/v1/presets").await.status(), 200, "{scope}");
        let steers = if scope == Scope::Admin { 200 } else { 403 };
        for path in ["/v1/workers", "/v1/keys"] {
            assert_eq!(holder.get(path).await.status(), steers, "{scope} {path}");
        }
    }
    let made = async |body: Value| {
        problem(Holder::admin(&farm).send(Method::POST, "/v1/keys", Some(&body)).await).await
    };
    for (body, field) in [
        (json!({"scopes": ["read"]}), "owner"),
        (json!({"scopes": [], "owner": "ann"}), "scopes"),
        (json!({"scopes": ["all"], "owner": "ann"}), "scopes[0]"),
        (json!({"scopes": ["read"], "owner": "a\nb"}), "owner"),
        (json!({"scopes": ["read"], "owner": "ann", "expires_at": "2020-01-01T00:00:00Z"}), "expires_at"),
    ] {
        let problem = made(body).await;
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some(field)), "{problem:?}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_stream_is_watched_with_a_key_that_may_or_a_token() {
    let farm = closed().await;
    let admin = Holder::admin(&farm);
    for (name, options) in [("farms", json!({})), ("anns", json!({"owner": "ann"}))] {
        let spec = json!({"name": name, "source": "push", "options": options});
        assert_eq!(admin.send(Method::POST, "/v1/streams", Some(&spec)).await.status(), StatusCode::CREATED);
    }
    let ann = Holder::of(&farm, "ann", &[Scope::View, Scope::Submit]).await;
    let bob = Holder::of(&farm, "bob", &[Scope::View, Scope::Submit]).await;
    let reader = Holder::of(&farm, "ann", &[Scope::Read]).await;
    let master = |stream: &str| format!("/live/{stream}/master.m3u8");
    for (holder, stream, status) in [
        (&ann, "farms", 200),
        (&bob, "farms", 200),
        (&ann, "anns", 200),
        (&bob, "anns", 403),
        (&admin, "anns", 200),
        (&reader, "farms", 403),
        (&bob, "none", 404),
    ] {
        assert_eq!(holder.get(&master(stream)).await.status(), status, "{stream}");
    }
    assert_eq!(farm.get(&master("farms")).await.status(), 403);
    let shown = |holder: &Holder<'_>| holder.request(Method::GET, "/v1/streams").send();
    let names = async |response: Response| {
        let page: Value = response.json().await.unwrap();
        let names = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stream| stream["name"].as_str().unwrap().to_owned());
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(names(shown(&bob).await.unwrap()).await.len(), 1);
    assert_eq!(names(shown(&ann).await.unwrap()).await.len(), 2);
    // Bringing a stream is for whose it is.
    let brings = |holder: &Holder<'_>, stream: &str| {
        holder.request(Method::PUT, &format!("/v1/streams/{stream}/input")).body("no transport stream").send()
    };
    assert_eq!(brings(&bob, "anns").await.unwrap().status(), 404);
    assert_eq!(brings(&bob, "farms").await.unwrap().status(), 404);
    assert_eq!(brings(&ann, "anns").await.unwrap().status(), 422);
    // A token is for players, which send no key.
    let token = |holder: &Holder<'_>, stream: &str, length: &str| {
        let request = holder.request(Method::POST, &format!("/v1/streams/{stream}/tokens"));
        request.json(&json!({"expires_in": length})).send()
    };
    assert_eq!(token(&bob, "anns", "1h").await.unwrap().status(), 404);
    assert_eq!(token(&bob, "farms", "30d").await.unwrap().status(), 422, "a viewer's own is short");
    let given: TokenView = token(&ann, "anns", "30d").await.unwrap().json().await.unwrap();
    assert_eq!(farm.get(&format!("{}?token={}", master("anns"), given.token)).await.status(), 200);
    assert_eq!(farm.get(&format!("{}?token={}", master("farms"), given.token)).await.status(), 403);
    farm.stop().await;
}
