//! Uploads: whole or not at all, never larger than allowed.

use std::{fs, path::Path};

use common::api::Upload;
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::farm::{Farm, eventually, problem};

fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test]
async fn a_file_is_taken_by_post_and_by_put() {
    let farm = Farm::start().await;
    let posted = farm.upload("../a b.mp4", "hello").await;
    assert_eq!((posted.filename.as_str(), posted.size), ("a b.mp4", 5));
    let put = farm.http.put(farm.url("/v1/uploads/clip.mov")).body("hello!").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    let put: Upload = put.json().await.unwrap();
    assert_eq!((put.filename.as_str(), put.size), ("clip.mov", 6));
    let gone = farm.http.delete(farm.url(&format!("/v1/uploads/{}", put.id))).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    let again = farm.http.delete(farm.url(&format!("/v1/uploads/{}", put.id))).send().await.unwrap();
    assert_eq!(problem(again).await.status, 404);
    farm.stop().await;
}

#[tokio::test]
async fn what_is_empty_or_too_large_is_refused_and_leaves_nothing() {
    let farm = Farm::start_with(|config| config.max_upload_bytes = 10).await;
    let send = |body: reqwest::Body| farm.http.post(farm.url("/v1/uploads?filename=a")).body(body).send();
    assert_eq!(problem(send("".into()).await.unwrap()).await.status, 422);
    let empty = futures::stream::iter([Ok::<_, std::io::Error>("")]);
    assert_eq!(problem(send(reqwest::Body::wrap_stream(empty)).await.unwrap()).await.status, 422);
    let announced = problem(send("12345678901".into()).await.unwrap()).await;
    assert_eq!(announced.status, 413);
    assert!(announced.remedy.unwrap().contains("TVARR_MAX_UPLOAD_BYTES"));
    let unannounced = futures::stream::iter([Ok::<_, std::io::Error>("123456"), Ok("123456")]);
    assert_eq!(problem(send(reqwest::Body::wrap_stream(unannounced)).await.unwrap()).await.status, 413);
    let objects = farm.data_dir().join("objects");
    eventually(async || (files(&objects) == 0).then_some(())).await;
    farm.stop().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let farm = Farm::start().await;
    let objects = farm.data_dir().join("objects");
    let mut stream = TcpStream::connect(farm.http_addr()).await.unwrap();
    let head =
        "POST /v1/uploads?filename=a.mp4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[0; 1000]).await.unwrap();
    // It has begun: its staged file is there.
    eventually(async || (files(&objects) == 1).then_some(())).await;
    drop(stream);
    eventually(async || (files(&objects) == 0).then_some(())).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_body_that_is_shorter_than_announced_is_no_upload() {
    let farm = Farm::start().await;
    let mut stream = TcpStream::connect(farm.http_addr()).await.unwrap();
    let head = "PUT /v1/uploads/a.mp4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    // The coordinator may answer or just hang up; it must not say that it has the file.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    let objects = farm.data_dir().join("objects");
    eventually(async || (files(&objects) == 0).then_some(())).await;
    farm.stop().await;
}

#[tokio::test]
async fn the_input_of_a_waiting_job_stays() {
    let farm = Farm::start().await;
    let upload = farm.upload("a.mp4", "hello").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let path = format!("/v1/uploads/{}", upload.id);
    let refused = farm.http.delete(farm.url(&path)).send().await.unwrap();
    assert_eq!(problem(refused).await.status, 409);
    let cancelled = farm.post(&format!("/v1/jobs/{job}/cancel"), &serde_json::Value::Null).await;
    assert_eq!(cancelled.status(), StatusCode::OK);
    let gone = farm.http.delete(farm.url(&path)).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    farm.stop().await;
}

#[tokio::test]
async fn an_old_upload_that_no_job_uses_goes() {
    let farm = Farm::start_with(|config| config.upload_ttl = std::time::Duration::from_millis(50)).await;
    farm.upload("a.mp4", "hello").await;
    let objects = farm.data_dir().join("objects");
    eventually(async || (files(&objects) == 0).then_some(())).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_job_whose_upload_is_gone_is_not_queued_again() {
    let farm = Farm::start().await;
    let upload = farm.upload("clip.mp4", "hello").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let again = async || farm.post(&format!("/v1/jobs/{job}/retry"), &().into()).await;
    let cancelled = async || farm.post(&format!("/v1/jobs/{job}/cancel"), &().into()).await.status();
    assert!(cancelled().await.is_success());
    assert!(again().await.status().is_success());
    assert!(cancelled().await.is_success());
    let gone = farm.http.delete(farm.url(&format!("/v1/uploads/{}", upload.id))).send().await.unwrap();
    assert!(gone.status().is_success());
    let refused = problem(again().await).await;
    assert_eq!(refused.status, 409);
    assert!(
        refused.detail.contains("clip.mp4") && refused.detail.contains("was removed"),
        "{}",
        refused.detail
    );
    assert_eq!(farm.job(job).await.summary.state, common::api::JobState::Cancelled);
    farm.stop().await;
}
