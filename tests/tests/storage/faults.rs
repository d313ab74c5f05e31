//! A store that fails now and then.

use std::time::Duration;

use common::digest::Digest;
use coordinator::storage::{Error, Expect};
use e2e::stores::{BUCKET, Fault, S3};
use futures::TryStreamExt as _;
use reqwest::Method;

use crate::conformance::{Attempt, body, open};

#[tokio::test]
async fn errors_that_pass_are_not_seen_and_those_that_stay_leave_nothing() {
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3::start().await);
    let storage = open(folder.path(), &format!("s3://{BUCKET}/"), s3.environment());
    let attempt = Attempt::new();
    let key = attempt.key("a.mp4");
    let bytes: bytes::Bytes = vec![7; 20 << 20].into();
    let expect = Expect::File { size: 20 << 20, sha256: Some(Digest::of(&bytes)) };
    s3.fault(1, Method::POST, "uploads", Fault::Status(503));
    s3.fault(2, Method::PUT, "partNumber=1", Fault::Status(500));
    s3.fault(1, Method::PUT, "partNumber=2", Fault::Reset);
    s3.fault(1, Method::POST, "uploadId", Fault::Status(503));
    storage.put(&key, expect, &mut body(&bytes)).await.unwrap();
    s3.fault(1, Method::GET, "a.mp4", Fault::Status(500));
    s3.fault(1, Method::GET, "a.mp4", Fault::Slow(Duration::from_millis(200)));
    let object = storage.object(&key).await.unwrap();
    let read: Vec<_> = object.read(0..20 << 20).await.unwrap().try_collect().await.unwrap();
    assert!(read.concat() == bytes);
    storage.delete(&key).await.unwrap();

    s3.fault(1000, Method::PUT, "partNumber=2", Fault::Status(500));
    let failed = storage.put(&key, expect, &mut body(&bytes)).await;
    assert!(matches!(failed, Err(Error::Store { .. })), "{failed:?}");
    assert_eq!(storage.size(&key).await.unwrap(), None);
    assert_eq!((s3.keys(BUCKET), s3.parts()), (Vec::new(), 0));
}
