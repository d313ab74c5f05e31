//! What is wrong with a request is said by field, in one format.

use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::farm::{Farm, problem};

#[tokio::test]
async fn a_submission_that_cannot_work_names_its_field() {
    let farm = Farm::start().await;
    let url = json!({"url": "http://host/a.mp4"});
    for (body, field, words) in [
        (json!({"preset": "h264"}), "input", "missing field"),
        (json!({"input": url, "preset": "hls-lader"}), "preset", "did you mean \"hls-ladder\"?"),
        (json!({"input": url}), "preset", "none of preset, spec"),
        (json!({"input": url, "preset": "h264", "priority": 1000}), "priority", "-100 to 100"),
        (json!({"input": url, "preset": "h264", "priority": "high"}), "priority", "invalid type"),
        (json!({"input": url, "preset": "h264", "hardware": "maybe"}), "hardware", "unknown variant"),
        (json!({"input": url, "preset": "h264", "colour": 1}), "colour", "unknown field"),
        (json!({"input": {"url": "ftp://host/a"}, "preset": "h264"}), "input.url", "scheme"),
        (json!({"input": {"upload": uuid::Uuid::nil()}, "preset": "h264"}), "input.upload", "no upload"),
        (json!({"input": {"path": "/etc/passwd"}, "preset": "h264"}), "input.path", "no shared root"),
        (json!({"input": url, "preset": "h264", "labels": {"": "x"}}), "labels.", "no name"),
        (json!({"input": url, "preset": "h264", "owner": "a\nb"}), "owner", "control"),
    ] {
        let problem = problem(farm.post("/v1/jobs", &body).await).await;
        assert_eq!(problem.status, 422, "{problem:?}");
        assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
        assert!(problem.detail.contains(words), "{problem:?}");
        assert!(problem.remedy.is_some());
    }
    farm.stop().await;
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let farm = Farm::start().await;
    let nobody = uuid::Uuid::nil();
    let send = |method: Method, path: String, kind: &'static str, body: String| {
        let request = farm.http.request(method, farm.url(&path)).body(body);
        let request = if kind.is_empty() { request } else { request.header(header::CONTENT_TYPE, kind) };
        async { request.send().await.unwrap() }
    };
    let json = "application/json";
    for (method, path, kind, body, status) in [
        (Method::GET, "/v2".to_owned(), "", String::new(), 404),
        (Method::GET, format!("/v1/jobs/{nobody}"), "", String::new(), 404),
        (Method::GET, "/v1/jobs/not-an-id".to_owned(), "", String::new(), 404),
        (Method::GET, format!("/v1/jobs/{nobody}/outputs/a.mp4"), "", String::new(), 404),
        (Method::GET, format!("/v1/workers/{nobody}"), "", String::new(), 404),
        (Method::POST, format!("/v1/workers/{nobody}/drain"), "", String::new(), 404),
        (Method::GET, "/v1/presets/none".to_owned(), "", String::new(), 404),
        (Method::GET, "/v1/profiles/none".to_owned(), "", String::new(), 404),
        (Method::DELETE, "/v1/jobs".to_owned(), "", String::new(), 405),
        (Method::POST, "/v1/jobs".to_owned(), json, "{".to_owned(), 400),
        (Method::POST, "/v1/jobs".to_owned(), json, String::new(), 400),
        (Method::POST, "/v1/jobs".to_owned(), "", "{}".to_owned(), 415),
        (Method::POST, "/v1/jobs".to_owned(), "text/plain", "{}".to_owned(), 415),
        (Method::POST, "/v1/jobs".to_owned(), json, " ".repeat(2 << 20), 413),
        (Method::GET, "/v1/jobs?colour=red".to_owned(), "", String::new(), 400),
        (Method::GET, "/v1/jobs?limit=many".to_owned(), "", String::new(), 400),
        (Method::GET, "/v1/jobs?state=done".to_owned(), "", String::new(), 422),
    ] {
        let response = send(method.clone(), path.clone(), kind, body).await;
        assert_eq!(response.status(), status, "{method} {path}");
        if status == 405 {
            assert_eq!(response.headers()[header::ALLOW], "GET,HEAD,POST");
        }
        assert!(!problem(response).await.detail.is_empty(), "{method} {path}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing() {
    let farm = Farm::start().await;
    let rebound = farm.http.get(farm.url("/v1/jobs")).header(header::HOST, "evil.example").send().await;
    assert_eq!(problem(rebound.unwrap()).await.status, 403);
    let posted = farm.http.post(farm.url("/v1/uploads")).header(header::ORIGIN, "http://evil.example");
    assert_eq!(problem(posted.body("x").send().await.unwrap()).await.status, 403);
    farm.stop().await;
}

#[tokio::test]
async fn what_there_is_can_be_listed() {
    let farm = Farm::start().await;
    for path in ["/v1/jobs", "/v1/workers", "/v1/presets", "/v1/profiles"] {
        let page: serde_json::Value = farm.get(path).await.json().await.unwrap();
        assert!(page["items"].is_array(), "{path}: {page}");
    }
    for path in ["/", "/healthz", "/readyz", "/v1/presets/hls-ladder", "/v1/profiles/ladder"] {
        assert_eq!(farm.get(path).await.status(), StatusCode::OK, "{path}");
    }
    farm.stop().await;
}
