//! What is told to machines that watch: `/metrics`, and KEDA.

use std::collections::HashMap;

use common::{
    config::Secret,
    proto::keda::{GetMetricsRequest, ScaledObjectRef, external_scaler_client::ExternalScalerClient},
};
use reqwest::StatusCode;
use tonic::Code;

use crate::farm::{Farm, Worker, hello};

const SCRAPER: &str = "a-token-for-prometheus-alone";
const OPERATOR: &str = "the-key-of-the-operator";

async fn scrape(farm: &Farm, token: Option<&str>) -> (StatusCode, String) {
    let request = farm.http.get(farm.url("/metrics"));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// The value of a series; `None`: it is not told.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series))?;
    Some(line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[tokio::test]
async fn the_fleet_and_the_requests_are_told() {
    let farm = Farm::start().await;
    let (status, before) = scrape(&farm, None).await;
    assert_eq!(status, StatusCode::OK, "{before}");
    assert_eq!(value(&before, "tvarr_fleet_workers{state=\"online\"}"), Some(0.0));
    let mut hello = hello();
    hello.name = "a \"quoted\" \\ name".to_owned();
    let _worker = Worker::connect(farm.client().await, hello).await.unwrap();
    farm.get("/v1/jobs").await;
    farm.get("/v1/jobs/nonsense").await;
    farm.get("/no/such/page").await;

    let response = farm.get("/metrics").await;
    assert_eq!(response.headers()["content-type"], common::metrics::CONTENT_TYPE);
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"));
    let told = |series: &str| value(&text, series).unwrap_or_else(|| panic!("no {series} in {text}"));
    assert_eq!(told("tvarr_fleet_workers{state=\"online\"}"), 1.0);
    assert_eq!(told("tvarr_fleet_up{worker=\"a \\\"quoted\\\" \\\\ name\"}"), 1.0);
    assert_eq!(told("tvarr_http_requests_total{method=\"GET\",route=\"/v1/jobs\",status=\"2xx\"}"), 1.0);
    let nonsense = "tvarr_http_requests_total{method=\"GET\",route=\"/v1/jobs/{id}\",status=\"4xx\"}";
    assert_eq!(told(nonsense), 1.0);
    assert_eq!(told("tvarr_http_requests_total{method=\"GET\",route=\"other\",status=\"4xx\"}"), 1.0);
    assert!(told("tvarr_store_operation_seconds_count{operation=\"jobs\"}") >= 1.0);
    assert!(told("process_resident_memory_bytes") > 0.0);
}

#[tokio::test]
async fn a_name_is_told_once_and_a_series_once() {
    let farm = Farm::start().await;
    let _workers = [
        Worker::connect(farm.client().await, hello()).await.unwrap(),
        Worker::connect(farm.client().await, hello()).await.unwrap(),
    ];
    let (_, text) = scrape(&farm, None).await;
    let (mut families, mut series) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(family), "{family} is there twice");
        } else if !line.starts_with('#') {
            let name = line.rsplit_once(' ').unwrap().0;
            assert!(series.insert(name), "{name} is there twice");
        }
    }
    assert_eq!(series.iter().filter(|name| name.starts_with("tvarr_fleet_up{")).count(), 2);
}

#[tokio::test]
async fn with_keys_metrics_need_one_of_their_scope_or_the_token() {
    let farm = Farm::start_with(|config| {
        config.admin_key = Some(Secret::new(OPERATOR));
        config.metrics_token = Some(Secret::new(SCRAPER));
    })
    .await;
    for (token, expected) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("a-token-that-nobody-has-made"), StatusCode::UNAUTHORIZED),
        (Some(SCRAPER), StatusCode::OK),
        (Some(OPERATOR), StatusCode::OK),
    ] {
        let (status, text) = scrape(&farm, token).await;
        assert_eq!(status, expected, "{token:?}: {text}");
    }
    let make = |scope: &str| {
        let body = serde_json::json!({"owner": "prometheus", "scopes": [scope]});
        let request = farm.http.post(farm.url("/v1/keys")).bearer_auth(OPERATOR).json(&body);
        async { request.send().await.unwrap().json::<serde_json::Value>().await.unwrap() }
    };
    for (scope, expected) in [("metrics", StatusCode::OK), ("read", StatusCode::FORBIDDEN)] {
        let key = make(scope).await;
        let (status, text) = scrape(&farm, key["key"].as_str()).await;
        assert_eq!(status, expected, "{scope}: {text}");
    }
    // The token opens nothing else.
    for path in ["/v1/jobs", "/v1/workers", "/v1/summary", "/v1/keys"] {
        let response = farm.http.get(farm.url(path)).bearer_auth(SCRAPER).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_token_alone_leaves_the_api_to_this_machine() {
    let farm = Farm::start_with(|config| config.metrics_token = Some(Secret::new(SCRAPER))).await;
    assert_eq!(farm.get("/v1/jobs").await.status(), StatusCode::OK);
    assert_eq!(scrape(&farm, Some(SCRAPER)).await.0, StatusCode::OK);
    let elsewhere = farm.http.get(farm.url("/metrics")).header("host", "farm.example");
    assert_eq!(elsewhere.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let elsewhere = farm.http.get(farm.url("/metrics")).header("host", "farm.example").bearer_auth(SCRAPER);
    assert_eq!(elsewhere.send().await.unwrap().status(), StatusCode::OK, "Prometheus is another machine");
}

fn object(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ScaledObjectRef { name: "tvarr-cpu".to_owned(), namespace: "media".to_owned(), scaler_metadata: metadata }
}

#[tokio::test]
async fn keda_is_told_how_many_tasks_there_are() {
    let farm = Farm::start_with(|config| config.scaler = Some("127.0.0.1:0".parse().unwrap())).await;
    let address = farm.scaler().expect("it listens");
    let mut keda = ExternalScalerClient::connect(format!("http://{address}")).await.unwrap();
    let cpu = || object(&[("policies", "never,prefer"), ("tasksPerWorker", "4"), ("scalerAddress", "x:1")]);

    assert!(!keda.is_active(cpu()).await.unwrap().into_inner().result);
    let mut active = keda.stream_is_active(cpu()).await.unwrap().into_inner();
    assert!(!active.message().await.unwrap().unwrap().result);
    let upload = farm.upload("a.mp4", "not read by anybody").await;
    for _ in 0..3 {
        farm.submit_upload(&upload).await;
    }
    assert!(
        active.message().await.unwrap().unwrap().result,
        "it is told as soon as there is something to do"
    );
    let spec = keda.get_metric_spec(cpu()).await.unwrap().into_inner().metric_specs;
    assert_eq!((spec[0].target_size, spec[0].target_size_float), (4, 4.0));
    let of = |object| GetMetricsRequest {
        scaled_object_ref: Some(object),
        metric_name: spec[0].metric_name.clone(),
    };
    let values = keda.get_metrics(of(cpu())).await.unwrap().into_inner().metric_values;
    assert_eq!((values[0].metric_value, values[0].metric_value_float), (3, 3.0));
    let gpu = object(&[("policies", "require")]);
    assert_eq!(keda.get_metrics(of(gpu)).await.unwrap().into_inner().metric_values[0].metric_value, 0);
    let wrong = keda.get_metrics(of(object(&[("policies", "sometimes")]))).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("sometimes") && wrong.message().contains("prefer"), "{wrong}");
    farm.stop().await;
    let ended = active.message().await;
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
}
