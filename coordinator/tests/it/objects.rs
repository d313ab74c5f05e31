//! Signed URLs: what a worker may read and write, and nothing more.

use common::api::{AttemptState, JobState};
use reqwest::{StatusCode, header};
use serde_json::json;

use crate::farm::{Farm, Worker, eventually, hello, input_url, output, problem};

#[tokio::test]
async fn an_input_is_read_whole_and_in_parts_by_its_signed_url_only() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let upload = farm.upload("my clip.mp4", "0123456789").await;
    farm.submit_upload(&upload).await;
    let assign = worker.assigned().await;
    let url = farm.worker_url(input_url(&assign));
    let get = |range: &'static str| farm.http.get(&url).header(header::RANGE, range).send();

    let whole = farm.http.get(&url).send().await.unwrap();
    assert_eq!(whole.headers()[header::ACCEPT_RANGES], "bytes");
    assert_eq!(whole.headers()[header::CONTENT_TYPE], "video/mp4");
    let etag = whole.headers()[header::ETAG].clone();
    assert_eq!(whole.text().await.unwrap(), "0123456789");
    let part = get("bytes=2-4").await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()[header::CONTENT_RANGE], "bytes 2-4/10");
    assert_eq!(part.text().await.unwrap(), "234");
    assert_eq!(get("bytes=-3").await.unwrap().text().await.unwrap(), "789");
    let beyond = get("bytes=10-").await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()[header::CONTENT_RANGE], "bytes */10");
    let head = farm.http.head(&url).send().await.unwrap();
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "10");
    assert_eq!(head.headers()[header::ETAG], etag);
    let unchanged = farm.http.get(&url).header(header::IF_NONE_MATCH, etag).send().await.unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);

    let (path, query) = url.split_once('?').unwrap();
    let later = query.replacen("epoch=1", "epoch=2", 1);
    assert_ne!(later, query);
    let (rest, signature) = query.split_once("signature=").unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    for tampered in [
        path.to_owned(),
        format!("{path}?{later}"),
        format!("{path}x?{query}"),
        format!("{path}?{rest}signature={other}{}", &signature[1..]),
        format!("{}/..%2f..%2fjobs.sqlite?{query}", path.rsplit_once('/').unwrap().0),
    ] {
        let response = farm.http.get(&tampered).send().await.unwrap();
        assert_eq!(problem(response).await.status, 403, "{tampered}");
    }
    let put = farm.http.put(&url).body("x").send().await.unwrap();
    assert_eq!(problem(put).await.status, 403);
    // The port for users does not know these URLs.
    assert_eq!(farm.get(input_url(&assign)).await.status(), StatusCode::NOT_FOUND);
    farm.stop().await;
}

#[tokio::test]
async fn outputs_are_published_once_they_are_there_and_served_with_ranges() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let upload = farm.upload("a.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let assign = worker.assigned().await;
    assert_eq!(farm.get(&format!("/v1/jobs/{job}/outputs")).await.status(), StatusCode::CONFLICT);

    let files = vec![output("a.mp4", "output"), output("sub/poster #1.jpg", "jpg")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    assert_eq!(problem(farm.bring(&urls[0], "1234567").await).await.status, 400);
    assert_eq!(farm.bring(&urls[0], "output").await.status(), StatusCode::CREATED);
    // The answer was lost and the worker tries again: nothing changes.
    assert_eq!(farm.bring(&urls[0], "OUTPUT").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(farm.bring(&urls[1], "jpg").await.status(), StatusCode::CREATED);
    worker.succeed(&assign, files).await;
    assert!(worker.acknowledged().await.accepted);

    let view = farm.job(job).await;
    assert_eq!(view.summary.state, JobState::Succeeded);
    assert_eq!(view.outputs.len(), 2);
    assert_eq!(view.outputs[0].sha256, output("a.mp4", "output").sha256);
    let response = farm.get(&format!("/v1/jobs/{job}/outputs/a.mp4")).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "video/mp4");
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(response.text().await.unwrap(), "output");
    let poster = farm.url(&format!("/v1/jobs/{job}/outputs/sub/poster%20%231.jpg?download"));
    let part = farm.http.get(poster).header(header::RANGE, "bytes=1-").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    let disposition = part.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().to_owned();
    assert!(disposition.starts_with("attachment; filename=\"poster #1.jpg\""), "{disposition}");
    assert_eq!(part.text().await.unwrap(), "pg");
    for wrong in ["b.mp4", "../a.mp4", "..%2f..%2f..%2fjobs.sqlite", "%2Fetc%2Fpasswd", "sub"] {
        let response = farm.get(&format!("/v1/jobs/{job}/outputs/{wrong}")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{wrong}");
    }
    let logs = farm.http.get(farm.url(&format!("/v1/jobs/{job}/logs"))).header(header::ACCEPT, "text/plain");
    assert!(logs.send().await.unwrap().text().await.unwrap().contains("the last line"));
    farm.stop().await;
}

#[tokio::test]
async fn a_success_without_its_files_is_a_failure() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let upload = farm.upload("a.mp4", "input").await;
    let job = farm.submit_upload(&upload).await.summary.id;
    let assign = worker.assigned().await;
    worker.succeed(&assign, vec![output("a.mp4", "output")]).await;
    worker.acknowledged().await;
    let view = farm.job(job).await;
    let attempt = &view.tasks[0].attempts[0];
    assert_eq!(attempt.state, AttemptState::Failed);
    let failure = attempt.failure.as_ref().unwrap();
    assert_eq!(failure.kind, common::failure::FailureKind::UploadFailed);
    assert!(failure.message.contains("a.mp4 was reported"), "{failure}");
    farm.stop().await;
}

#[tokio::test]
async fn nobody_writes_for_another_attempt() {
    let farm = Farm::start().await;
    let mut worker = farm.worker().await;
    let upload = farm.upload("a.mp4", "input").await;
    farm.submit_upload(&upload).await;
    let assign = worker.assigned().await;
    let mut other = farm.worker().await;
    let status = other.open_uploads(&assign, vec![output("a.mp4", "x")]).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    let mut older = assign.clone();
    older.epoch += 1;
    let status = worker.open_uploads(&older, vec![output("a.mp4", "x")]).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    for path in ["../a.mp4", "/a.mp4", "a\\b"] {
        let status = worker.open_uploads(&assign, vec![output(path, "x")]).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{path}: {status}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_shared_file_is_read_by_url_or_by_path() {
    let shared = tempfile::tempdir().unwrap();
    let root = shared.path().canonicalize().unwrap();
    let file = root.join("ä clip.mp4");
    std::fs::write(&file, "0123456789").unwrap();
    let farm = Farm::start_with(|config| config.shared_roots = vec![root.clone()]).await;
    let submit = || async {
        let body = json!({"input": {"path": file}, "preset": "h264", "hardware": "never"});
        assert_eq!(farm.post("/v1/jobs", &body).await.status(), StatusCode::CREATED);
    };
    let mut remote = farm.worker().await;
    submit().await;
    let assign = remote.assigned().await;
    let url = farm.worker_url(input_url(&assign));
    let part = farm.http.get(&url).header(header::RANGE, "bytes=3-5").send().await.unwrap();
    assert_eq!(part.text().await.unwrap(), "345");
    let elsewhere = url.replace("clip.mp4", "..%2f..%2fsecret");
    assert_eq!(problem(farm.http.get(elsewhere).send().await.unwrap()).await.status, 403);
    // The file is replaced by a link that leads out of the root.
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
    assert_eq!(problem(farm.http.get(&url).send().await.unwrap()).await.status, 404);
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "0123456789").unwrap();
    drop(remote);
    eventually(async || {
        let workers: serde_json::Value = farm.get("/v1/workers").await.json().await.unwrap();
        workers["items"].as_array()?.iter().all(|worker| worker["state"] == "lost").then_some(())
    })
    .await;

    let mut hello = hello();
    hello.shared_roots = vec![root.to_str().unwrap().to_owned()];
    let mut local = Worker::connect(farm.client().await, hello).await.unwrap();
    submit().await;
    let assign = local.assigned().await;
    let location = assign.input.unwrap().location.unwrap();
    let common::proto::input::Location::Path(path) = location else { panic!("{location:?}") };
    assert_eq!(path, file.to_str().unwrap());
    farm.stop().await;
}
