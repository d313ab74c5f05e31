//! Farms whose results are in a bucket.

use std::{collections::BTreeMap, time::Duration};

use common::api::{InputRef, JobView};
use e2e::{
    Farm, FarmBuilder, WorkerSpec,
    api::request,
    books, clip,
    stores::{BUCKET, Fault, S3},
    wait::{self, seconds},
};
use reqwest::{Method, StatusCode};

/// Signed by the coordinator, sent by a worker.
const PRESIGNED: &str = "X-Amz-Signature";

pub(crate) fn builder(environment: BTreeMap<String, String>) -> FarmBuilder {
    environment.into_iter().fold(Farm::builder(), |builder, (name, value)| builder.env(&name, value))
}

pub(crate) fn on(s3: &S3) -> FarmBuilder {
    builder(s3.environment()).env("TVARR_STORAGE_URL", format!("s3://{BUCKET}/farm"))
}

/// Fetches what the job published and compares it with what the job says of it.
pub(crate) async fn fetch(farm: &Farm, view: &JobView) {
    let folder = tempfile::tempdir().unwrap();
    farm.api.download(view, folder.path()).await;
    assert!(!view.outputs.is_empty());
    for output in &view.outputs {
        assert_eq!(books::sha256(&folder.path().join(&output.path)), output.sha256, "{}", output.path);
    }
}

#[tokio::test]
async fn workers_bring_results_to_the_bucket_themselves() {
    let s3 = S3::start().await;
    let farm = on(&s3).worker(WorkerSpec::new("alone")).start().await;
    // A playlist and segments, each with one PUT.
    let small = farm.succeeded(farm.submit(&clip("bikes-2s.mp4"), "hls-ladder").await).await;
    assert_eq!(s3.seen(&Method::PUT, PRESIGNED), small.outputs.len());
    fetch(&farm, &small).await;
    // Larger than a part.
    let large = farm.succeeded(farm.submit(&clip("bigbuckbunny-2s.mp4"), "archive-prores").await).await;
    assert!(large.outputs[0].size > 16 << 20, "{large:#?}");
    assert!(s3.seen(&Method::PUT, "partNumber=2") == 1);
    fetch(&farm, &large).await;

    let path = format!("/v1/jobs/{}/outputs/{}", large.summary.id, large.outputs[0].path);
    let part = farm.api.get_range(&path, "bytes=17000000-17000099").await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap().len(), 100);
    let prefix = |view: &JobView| format!("farm/jobs/{}/", view.summary.id);
    let keys = s3.keys(BUCKET);
    assert!(
        keys.iter().all(|key| key.starts_with(&prefix(&small)) || key.starts_with(&prefix(&large))),
        "{keys:?}"
    );
    assert_eq!(keys.len(), small.outputs.len() + large.outputs.len());
    assert_eq!(s3.parts(), 0);
    farm.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_now_and_then_and_urls_that_expire_cost_no_attempt() {
    let s3 = S3::start().await;
    let farm = on(&s3).env("TVARR_STORAGE_URL_TTL", "1s").worker(WorkerSpec::new("alone")).start().await;
    s3.fault(1, Method::PUT, "partNumber=1", Fault::Status(500));
    s3.fault(1, Method::PUT, "partNumber=2", Fault::Reset);
    // As S3 answers to what has expired.
    s3.fault(1, Method::PUT, "partNumber=1", Fault::Status(403));
    // Long enough for the next one to expire.
    s3.fault(1, Method::PUT, "partNumber=2", Fault::Slow(Duration::from_secs(2)));
    s3.fault(1, Method::POST, "uploadId", Fault::Status(503));
    let view = farm.succeeded(farm.submit(&clip("bigbuckbunny-2s.mp4"), "archive-prores").await).await;
    assert_eq!(view.tasks[0].attempts.len(), 1, "{view:#?}");
    fetch(&farm, &view).await;
    assert_eq!((s3.keys(BUCKET).len(), s3.parts()), (1, 0));
    farm.stop().await;
}

#[tokio::test]
async fn without_direct_urls_everything_goes_through_the_coordinator() {
    let s3 = S3::start().await;
    let farm = on(&s3).env("TVARR_STORAGE_DIRECT", "false").worker(WorkerSpec::new("alone")).start().await;
    let view = farm.succeeded(farm.submit(&clip("bigbuckbunny-2s.mp4"), "archive-prores").await).await;
    fetch(&farm, &view).await;
    assert_eq!(s3.seen(&Method::PUT, PRESIGNED), 0);
    farm.stop().await;
}

#[tokio::test]
async fn what_a_cancelled_job_has_brought_is_aborted() {
    let s3 = S3::start().await;
    let farm = on(&s3).worker(WorkerSpec::new("alone")).start().await;
    // The second part never gets through, the first one lies there.
    s3.fault(100, Method::PUT, "partNumber=2", Fault::Slow(Duration::from_secs(600)));
    let upload = farm.api.upload(&clip("bigbuckbunny-2s.mp4")).await;
    let job = farm.api.submit(&request(InputRef::Upload(upload.id), "archive-prores")).await.summary.id;
    wait::until(seconds(60), "a part in the store", || async { (s3.parts() > 0).then_some(()) }).await;
    farm.api.cancel(job).await.unwrap();
    wait::until(seconds(20), "the upload to be aborted", || async { (s3.parts() == 0).then_some(()) }).await;
    assert_eq!(s3.keys(BUCKET), Vec::<String>::new());
    s3.heal();
    farm.stop().await;
}
