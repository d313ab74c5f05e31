//! Signing in with a key, and what the cookie opens.

use common::{
    api::{KeyCreated, Scope, SessionView},
    config::Secret,
};
use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::json;
use url::Url;

use crate::farm::{Farm, problem};

const ADMIN: &str = "the-operators-own-key";

async fn closed() -> Farm {
    Farm::start_with(|config| config.admin_key = Some(Secret::new(ADMIN))).await
}

async fn key(farm: &Farm, owner: &str, scopes: &[Scope]) -> KeyCreated {
    let request = farm.http.post(farm.url("/v1/keys")).bearer_auth(ADMIN);
    let made = request.json(&json!({"owner": owner, "scopes": scopes})).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    made.json().await.unwrap()
}

async fn sign_in(farm: &Farm, key: &str) -> Response {
    farm.post("/v1/session", &json!({"key": key})).await
}

/// `NAME=VALUE` of the only cookie that is set, and what it says of itself.
fn cookie(response: &Response) -> (String, String) {
    let set: Vec<_> = response.headers().get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(set.len(), 1);
    let (cookie, attributes) = set[0].to_str().unwrap().split_once("; ").unwrap();
    (cookie.to_owned(), attributes.to_owned())
}

fn with(farm: &Farm, cookie: &str, method: Method, path: &str) -> RequestBuilder {
    farm.http.request(method, farm.url(path)).header(header::COOKIE, cookie)
}

async fn session(request: RequestBuilder) -> SessionView {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_cookie_opens_what_its_key_opens_and_no_more() {
    let farm = closed().await;
    let ann = key(&farm, "ann", &[Scope::Read, Scope::Submit]).await;
    let response = sign_in(&farm, &ann.key).await;
    let (cookie, attributes) = cookie(&response);
    assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    assert!(cookie.starts_with(&format!("tvarr_session={}.", ann.view.id)), "{cookie}");
    assert!(!cookie.contains(&ann.key[6..]));
    let said: SessionView = response.json().await.unwrap();
    let shown = session(with(&farm, &cookie, Method::GET, "/v1/session")).await;
    assert_eq!(shown, said);
    let who = shown.who.unwrap();
    assert_eq!((who.key, who.owner.as_deref()), (Some(ann.view.id), Some("ann")));
    assert_eq!(who.scopes, [Scope::Submit, Scope::Read]);
    assert!(shown.keys && shown.expires_at.is_some());

    let status = async |request: RequestBuilder| request.send().await.unwrap().status();
    let get = |path: &str| with(&farm, &cookie, Method::GET, path);
    assert_eq!(status(get("/v1/jobs")).await, 200);
    assert_eq!(status(get("/v1/workers")).await, 403);
    let mut events = get("/v1/events").send().await.unwrap();
    assert_eq!(events.status(), 200);
    assert!(events.chunk().await.unwrap().unwrap().starts_with(b": connected"));

    // Beside a header, the header alone counts.
    assert_eq!(status(get("/v1/jobs").bearer_auth("tvarr_wrong")).await, 401);
    assert_eq!(status(get("/v1/session").bearer_auth("tvarr_wrong")).await, 401);
    assert_eq!(status(get("/v1/jobs").header(header::AUTHORIZATION, "Basic YTpi")).await, 401);
    assert_eq!(status(get("/v1/workers").bearer_auth(ADMIN)).await, 200);
    farm.stop().await;
}

#[tokio::test]
async fn another_sites_page_changes_nothing_with_it() {
    let farm = closed().await;
    let (cookie, _) = cookie(&sign_in(&farm, ADMIN).await);
    let own = format!("http://{}", farm.http_addr());
    let job = json!({"input": "http://host/a.mp4", "preset": "h264"});
    let post = || with(&farm, &cookie, Method::POST, "/v1/jobs").json(&job);
    let refused = problem(post().send().await.unwrap()).await;
    assert_eq!(refused.status, 403);
    assert!(refused.remedy.unwrap().contains("X-Tvarr-Page"));
    let page = || post().header("x-tvarr-page", "1");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "http://127.0.0.1:1"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(page().header(name, value).send().await.unwrap().status(), 403, "{name}: {value}");
    }
    let asked = page().header("origin", &own).header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::CREATED);
    // No page of another origin is told that it may send the header.
    let preflight = farm
        .http
        .request(Method::OPTIONS, farm.url("/v1/jobs"))
        .header("origin", "http://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-tvarr-page")
        .send()
        .await
        .unwrap();
    assert!(!preflight.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    assert!(!preflight.headers().contains_key(header::ACCESS_CONTROL_ALLOW_HEADERS));
    // Nor does a form sign anybody in.
    let form = farm
        .http
        .post(farm.url("/v1/session"))
        .body(format!("{{\"key\": \"{ADMIN}\"}}"))
        .send()
        .await
        .unwrap();
    assert_eq!(form.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    farm.stop().await;
}

#[tokio::test]
async fn a_cookie_ends_with_its_key_or_when_it_is_changed() {
    let farm = closed().await;
    let ann = key(&farm, "ann", &[Scope::Read]).await;
    let (cookie, _) = cookie(&sign_in(&farm, &ann.key).await);
    let get = |cookie: &str, path: &str| with(&farm, cookie, Method::GET, path);
    let admins = cookie.replace(&ann.view.id.to_string(), "operator");
    let longer = cookie.split('.').collect::<Vec<_>>();
    let longer = format!("{}.{}.{}", longer[0], longer[1].parse::<i64>().unwrap() + 1, longer[2]);
    for wrong in [admins.as_str(), &longer, &cookie[..cookie.len() - 2], "tvarr_session=", "tvarr_session"] {
        assert_eq!(get(wrong, "/v1/jobs").send().await.unwrap().status(), 401, "{wrong}");
        let shown = session(get(wrong, "/v1/session")).await;
        assert!(shown.keys && shown.who.is_none() && shown.reason.is_some());
    }
    assert_eq!(get(&format!("{cookie}; {cookie}"), "/v1/jobs").send().await.unwrap().status(), 401);

    let followed = get(&cookie, "/v1/events").send().await.unwrap();
    assert_eq!(followed.status(), 200);
    let revoked = farm.http.delete(farm.url(&format!("/v1/keys/{}", ann.view.id))).bearer_auth(ADMIN).send();
    assert_eq!(revoked.await.unwrap().status(), 200);
    // It ends: the key was revoked.
    let _: Vec<_> = followed.bytes_stream().collect().await;
    assert_eq!(problem(get(&cookie, "/v1/jobs").send().await.unwrap()).await.status, 401);
    assert_eq!(problem(sign_in(&farm, &ann.key).await).await.status, 401);
    assert_eq!(problem(sign_in(&farm, "a guess").await).await.status, 401);

    let (cookie, _) = self::cookie(&sign_in(&farm, &format!(" {ADMIN}\n")).await);
    let out =
        with(&farm, &cookie, Method::DELETE, "/v1/session").header("x-tvarr-page", "1").send().await.unwrap();
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    let (empty, attributes) = self::cookie(&out);
    assert_eq!(empty, "tvarr_session=");
    assert!(attributes.contains("Max-Age=0"));
    farm.stop().await;
}

#[tokio::test]
async fn over_https_the_cookie_is_of_https_alone() {
    let farm = Farm::start_with(|config| {
        config.admin_key = Some(Secret::new(ADMIN));
        config.public_url = Some(Url::parse("https://farm.example/").unwrap());
    })
    .await;
    let public = farm.http.post(farm.url("/v1/session")).header(header::HOST, "farm.example");
    let (cookie, attributes) = cookie(&public.json(&json!({"key": ADMIN})).send().await.unwrap());
    assert!(cookie.starts_with("__Host-tvarr_session="));
    assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure");
    let jobs = || with(&farm, &cookie, Method::GET, "/v1/jobs");
    assert_eq!(jobs().header(header::HOST, "farm.example").send().await.unwrap().status(), 200);
    // A cookie of the other name, which a neighbour of the domain could set, is not looked at there.
    let plain = cookie.replace("__Host-", "");
    let planted = with(&farm, &plain, Method::GET, "/v1/jobs").header(header::HOST, "farm.example");
    assert_eq!(planted.send().await.unwrap().status(), 401);
    farm.stop().await;
}

#[tokio::test]
async fn while_there_is_no_key_nobody_signs_in() {
    let farm = Farm::start().await;
    let shown = session(farm.http.get(farm.url("/v1/session"))).await;
    assert!(!shown.keys);
    assert_eq!(shown.who.unwrap().scopes, Scope::ALL);
    assert_eq!(problem(sign_in(&farm, "any").await).await.status, 409);
    let elsewhere = farm.http.get(farm.url("/v1/session")).header("x-forwarded-for", "203.0.113.9");
    let shown = session(elsewhere).await;
    assert!(!shown.keys && shown.who.is_none() && shown.reason.is_some());
    farm.stop().await;
}
