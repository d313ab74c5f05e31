//! Starting, stopping and coming back.

use common::api::{JobState, JobSummary, Page};
use coordinator::Coordinator;
use futures::StreamExt as _;
use tonic::Code;

use crate::farm::{Farm, eventually};

#[tokio::test]
async fn a_second_coordinator_on_the_same_folder_is_refused() {
    let farm = Farm::start().await;
    let error = Coordinator::start(Farm::config(farm.data_dir())).await.err().unwrap().to_string();
    assert!(error.contains("another coordinator"), "{error}");
    assert!(error.contains("TVARR_DATA_DIR"), "{error}");
    farm.stop().await;
}

#[tokio::test]
async fn jobs_and_uploads_outlive_a_restart() {
    let farm = Farm::start().await;
    let upload = farm.upload("a.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let folder = farm.stop().await;
    let coordinator = Coordinator::start(Farm::config(folder.path().join("data"))).await.unwrap();
    let url = format!("http://{}/v1/jobs?state=queued", coordinator.http_addr());
    let page: Page<JobSummary> = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(page.items.iter().map(|job| job.id).collect::<Vec<_>>(), [job]);
    coordinator.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_sessions_and_event_streams() {
    let ready = tempfile::tempdir().unwrap();
    let path = ready.path().join("ready.json");
    let farm = Farm::start_with(|config| config.ready_file = Some(path.clone())).await;
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(told["http"], farm.http_addr().to_string());
    let mut worker = farm.worker().await;
    let events = farm.get("/v1/events").await;
    farm.stop().await;
    let end = loop {
        if let Err(status) = worker.told().await {
            break status;
        }
    };
    assert_eq!(end.code(), Code::Unavailable);
    let mut events = events.bytes_stream();
    while let Some(chunk) = events.next().await {
        chunk.unwrap();
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let farm = Farm::start().await;
    let upload = farm.upload("a.mp4", "input").await;
    let mut submitted = Vec::new();
    for _ in 0..5 {
        submitted.push(farm.submit_upload(&upload).await.summary.id);
    }
    submitted.reverse();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Page<JobSummary> =
            farm.get(&format!("/v1/jobs?limit=2&cursor={cursor}")).await.json().await.unwrap();
        listed.extend(page.items.iter().map(|job| job.id));
        match page.next_cursor {
            Some(next) => cursor = next,
            None => break,
        }
    }
    assert_eq!(listed, submitted);
    farm.stop().await;
}

#[tokio::test]
async fn events_have_ids_and_are_replayed_from_one() {
    let farm = Farm::start().await;
    let mut live = farm.get("/v1/events").await.bytes_stream();
    let upload = farm.upload("a.mp4", "input").await;
    let job = farm.submit_upload(&upload).await;
    assert_eq!(job.summary.state, JobState::Queued);
    let mut text = String::new();
    while !text.contains(&job.summary.id.to_string()) {
        text.push_str(std::str::from_utf8(&live.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.starts_with(": connected"), "{text}");
    assert!(text.contains("event: job"), "{text}");
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let (run, number) = id.split_once('-').unwrap();
    let before = format!("{run}-{}", number.parse::<u64>().unwrap() - 1);
    let again = farm.http.get(farm.url("/v1/events")).header("Last-Event-ID", before).send().await.unwrap();
    let mut again = again.bytes_stream();
    let mut text = String::new();
    eventually(async || {
        text.push_str(std::str::from_utf8(&again.next().await.unwrap().unwrap()).unwrap());
        text.contains(&format!("id: {id}")).then_some(())
    })
    .await;
    farm.stop().await;
}
