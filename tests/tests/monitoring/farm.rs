//! A farm that does a bit of everything, and the Prometheus that scrapes it.

use std::{fs, net::SocketAddr};

use common::{
    api::{InputRef, JobState},
    failure::FailureKind,
};
use e2e::{
    Farm, WorkerSpec,
    api::request,
    clip,
    live::{Broadcast, Recording, Viewer},
    prometheus::Prometheus,
    wait::seconds,
};
use serde_json::{Value, json};

use crate::rules;

const ADMIN: &str = "an-admin-key-of-the-monitored-farm";
/// What opens `/metrics`.
pub(crate) const TOKEN: &str = "a-token-for-whoever-scrapes";
const STREAM: &str = "channel";

/// Two workers, a job that succeeded, one that failed, one that nobody can take, and a live stream with a viewer.
pub(crate) struct Monitored {
    pub(crate) farm: Farm,
    pub(crate) prometheus: Prometheus,
    /// Where workers tell their figures.
    pub(crate) workers: Vec<SocketAddr>,
    _viewer: Viewer,
    _broadcast: Broadcast,
}

impl Monitored {
    pub(crate) async fn start() -> Self {
        let builder = Farm::builder().env("TVARR_ADMIN_KEY", ADMIN).env("TVARR_METRICS_TOKEN", TOKEN);
        let names = ["one", "two"];
        let builder = names.iter().fold(builder, |builder, name| {
            builder.worker(WorkerSpec::new(name).env("TVARR_METRICS_PORT", "0"))
        });
        let mut farm = builder.start().await;
        let mut workers = Vec::new();
        for name in names {
            let line = farm.worker(name).logged(seconds(30), "metrics and health are told").await;
            workers.push(line.rsplit("http=").next().unwrap().trim().parse().unwrap());
        }
        let folder = farm.path().join("prometheus");
        fs::create_dir(&folder).unwrap();
        let prometheus = Prometheus::start(&folder, &configuration(&farm.api.base, &workers)).await;

        let broadcast = Broadcast::of(&Recording::default());
        farm.pull(STREAM, &broadcast.url()).await;
        let path = format!("/v1/streams/{STREAM}/tokens");
        let answer = farm.api.post_json(&path, json!({"expires_in": "1h"}).to_string()).await;
        let token: Value = answer.json().await.unwrap();
        let token = token["token"].as_str().unwrap();
        let viewer = Viewer::watch(&farm.live(&format!("{STREAM}/h264-480p/stream.ts?token={token}")));
        assert_eq!(viewer.status().await, 200);

        let made = farm.submit(&clip("bikes-2s.mp4"), "h264").await;
        let upload = farm.api.upload_bytes("notes.mp4", b"not a film".to_vec()).await.unwrap();
        let broken = farm.api.submit(&request(InputRef::Upload(upload.id), "h264")).await.summary.id;
        let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
        let mut nobodys = request(InputRef::Upload(upload.id), "h264");
        nobodys.labels.insert("site".to_owned(), "nowhere".to_owned());
        farm.api.submit(&nobodys).await;
        farm.succeeded(made).await;
        let broken = farm.finished(broken).await;
        assert_eq!(broken.summary.state, JobState::Failed);
        assert_eq!(broken.summary.failure.map(|failure| failure.kind), Some(FailureKind::InvalidInput));
        Self { farm, prometheus, workers, _viewer: viewer, _broadcast: broadcast }
    }

    pub(crate) async fn stop(self) {
        let Self { farm, prometheus, _viewer: viewer, .. } = self;
        drop((viewer, prometheus));
        farm.api.remove_stream(STREAM).await.unwrap();
        farm.stop().await;
    }
}

/// As in `deploy/prometheus/prometheus.yml`, often, with the addresses of this farm.
fn configuration(coordinator: &str, workers: &[SocketAddr]) -> String {
    let rules: Vec<String> = rules::files("rules")
        .into_iter()
        .map(|file| e2e::binaries::root().join(file).display().to_string())
        .collect();
    let job = |name: &str, targets: &[String], more: Value| {
        let mut job =
            json!({"job_name": name, "static_configs": [{"targets": targets, "labels": {"farm": "test"}}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            job[key] = value.clone();
        }
        job
    };
    let workers: Vec<String> = workers.iter().map(ToString::to_string).collect();
    let configuration = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": rules,
        "scrape_configs": [
            job("tvarr-coordinator", &[coordinator.replace("http://", "")], json!({"authorization": {"credentials": TOKEN}})),
            job("tvarr-workers", &workers, Value::Null),
        ],
    });
    // JSON is YAML.
    configuration.to_string()
}
