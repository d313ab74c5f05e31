//! What every store has to do, whoever keeps the objects.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use common::{
    digest::Digest,
    id::{AttemptId, Epoch, JobId, TaskId, UploadId},
    worker::OutputFile,
};
use coordinator::storage::{
    Error, Expect, Key, Prefix, RelPath, Storage,
    address::Address,
    credentials::Environment,
    direct::{Plan, Presigned},
};
use e2e::stores::{Azurite, BUCKET, S3, Seaweed};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, Response, StatusCode};

/// Larger than one part.
const LARGE: usize = 37 << 20;
const MINUTE: Duration = Duration::from_secs(60);

/// A storage, and what it needs to stay.
pub(crate) fn open(folder: &Path, url: &str, environment: BTreeMap<String, String>) -> Storage {
    common::tls::install_provider();
    let environment: Environment = environment.into_iter().collect();
    let url: Address = url.parse().unwrap();
    Storage::open(&folder.join("spool"), &url, &environment).unwrap()
}

fn film(size: usize) -> Bytes {
    (0..size).map(|at| (at % 251) as u8 ^ (at >> 16) as u8).collect()
}

/// What reads like a body that comes in pieces.
pub(crate) fn body(bytes: &Bytes) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + Unpin {
    let bytes = bytes.clone();
    let pieces = (0..bytes.len()).step_by(1_000_003).map(move |at| {
        let end = (at + 1_000_003).min(bytes.len());
        Ok(bytes.slice(at..end))
    });
    stream::iter(pieces.collect::<Vec<_>>())
}

pub(crate) struct Attempt {
    pub(crate) job: JobId,
    pub(crate) id: AttemptId,
}

impl Attempt {
    pub(crate) fn new() -> Self {
        Self { job: JobId::new(), id: AttemptId { task: TaskId::new(), epoch: Epoch(1) } }
    }

    pub(crate) fn key(&self, path: &str) -> Key {
        Key::output(self.job, self.id, &RelPath::parse(path).unwrap())
    }
}

async fn read(storage: &Storage, key: &Key, range: std::ops::Range<u64>) -> Bytes {
    let object = storage.object(key).await.unwrap();
    let chunks: Vec<Bytes> = object.read(range).await.unwrap().try_collect().await.unwrap();
    chunks.concat().into()
}

fn output(path: &str, bytes: &Bytes) -> OutputFile {
    let sha256 = Digest::of(bytes).to_string();
    OutputFile { path: path.to_owned(), size: bytes.len() as u64, content_type: String::new(), sha256 }
}

async fn objects_come_back_and_go(storage: &Storage) {
    let attempt = Attempt::new();
    for (path, bytes) in
        [("a.mp4", film(LARGE)), ("720p/ä #1 [x]+&%.m4s", film(1000)), ("empty", Bytes::new())]
    {
        let key = attempt.key(path);
        let expect = Expect::File { size: bytes.len() as u64, sha256: Some(Digest::of(&bytes)) };
        let written = storage.put(&key, expect, &mut body(&bytes)).await.unwrap();
        assert_eq!(written.size, bytes.len() as u64);
        assert_eq!(storage.size(&key).await.unwrap(), Some(bytes.len() as u64), "{path}");
        assert!(read(storage, &key, 0..bytes.len() as u64).await == bytes, "{path}");
    }
    let key = attempt.key("a.mp4");
    let part = read(storage, &key, 17_000_000..17_000_500).await;
    assert_eq!(part, film(LARGE).slice(17_000_000..17_000_500));
    assert!(storage.attempts().await.unwrap().contains(&(attempt.job, attempt.id)));
    let mut files = [
        output("a.mp4", &film(LARGE)),
        output("720p/ä #1 [x]+&%.m4s", &film(1000)),
        output("empty", &Bytes::new()),
    ];
    assert_eq!(storage.check_outputs(attempt.job, attempt.id, &mut files, |_| None).await.unwrap(), None);
    let wrong = storage.check_outputs(attempt.job, attempt.id, &mut files[..1], |_| None).await.unwrap();
    assert!(wrong.unwrap().contains("not reported"));
    storage.delete(&attempt.key("empty")).await.unwrap();
    storage.delete(&attempt.key("empty")).await.unwrap();
    assert!(matches!(storage.object(&attempt.key("empty")).await, Err(Error::NotFound(_))));
    assert_eq!(storage.delete_attempt(attempt.job, attempt.id).await.unwrap(), 2);
    assert!(storage.attempts().await.unwrap().is_empty());
    storage.probe().await.unwrap();
}

async fn a_body_that_breaks_off_leaves_nothing(storage: &Storage) {
    let attempt = Attempt::new();
    let (key, bytes) = (attempt.key("broken.mp4"), film(LARGE));
    let broken = stream::iter([Err(std::io::Error::other("reset"))]);
    let error = storage.put(&key, Expect::Exactly(LARGE as u64 + 1), &mut body(&bytes).chain(broken)).await;
    assert!(matches!(error, Err(Error::BrokenOff { .. })), "{error:?}");
    let other = Expect::File { size: LARGE as u64, sha256: Some(Digest::of(b"other")) };
    let error = storage.put(&key, other, &mut body(&bytes)).await;
    assert!(matches!(error, Err(Error::Digest { .. })), "{error:?}");
    assert_eq!(storage.size(&key).await.unwrap(), None);
    assert!(storage.attempts().await.unwrap().is_empty());
}

async fn uploads_stay_on_the_coordinators_disk(storage: &Storage, folder: &Path) {
    let id = UploadId::new();
    let key = Key::upload(id, "clip.mp4");
    storage.put(&key, Expect::AtMost(9), &mut body(&film(9))).await.unwrap();
    assert!(folder.join("spool").join(key.as_str()).is_file());
    assert_eq!(storage.upload(id).await.unwrap().unwrap().size, 9);
    assert_eq!(storage.read_url(&key, MINUTE).await, None);
    storage.delete_prefix(&Prefix::upload(id)).await.unwrap();
}

pub(crate) fn http() -> Client {
    common::tls::install_provider();
    Client::builder().no_proxy().build().unwrap()
}

async fn send(presigned: &Presigned, bytes: Bytes) -> Response {
    let mut request = http().put(presigned.url.clone()).body(bytes);
    for (name, value) in &presigned.headers {
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

/// What differs between the stores.
#[derive(Clone, Copy)]
struct Traits {
    /// It compares what comes with the digest in the URL.
    checks_digests: bool,
    /// A name that can be signed.
    name: &'static str,
}

async fn signed_urls_read(storage: &Storage, traits: Traits) {
    let attempt = Attempt::new();
    let (key, bytes) = (attempt.key(traits.name), film(100_000));
    storage.put(&key, Expect::Exactly(100_000), &mut body(&bytes)).await.unwrap();
    let url = storage.read_url(&key, MINUTE).await.unwrap();
    let whole = http().get(url.clone()).send().await.unwrap();
    let status = whole.status();
    let got = whole.bytes().await.unwrap();
    assert!(got == bytes, "{status}: {}", String::from_utf8_lossy(&got[..got.len().min(500)]));
    let part = http().get(url.clone()).header("range", "bytes=500-999").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), bytes.slice(500..1000));
    // A second is the shortest life.
    let short = storage.read_url(&key, Duration::from_secs(1)).await.unwrap();
    let expired = e2e::wait::try_until(e2e::wait::seconds(20), || async {
        let answer = http().get(short.clone()).send().await.unwrap();
        (answer.status() == StatusCode::FORBIDDEN || answer.status() == StatusCode::BAD_REQUEST).then_some(())
    })
    .await;
    assert!(expired.is_some(), "the URL is good after its time");
    let mut other = url.clone();
    other.set_path(&url.path().replace("720p", "480p"));
    assert!(http().get(other).send().await.unwrap().status().is_client_error(), "it opens another object");
    storage.delete_attempt(attempt.job, attempt.id).await.unwrap();
}

async fn signed_urls_write(storage: &Storage, traits: Traits) {
    let attempt = Attempt::new();
    let (key, bytes) = (attempt.key(traits.name), film(100_000));
    let digest = Some(Digest::of(&bytes));
    let plan = storage.plan_write(&key, 100_000, digest, MINUTE).await.unwrap();
    let Some(Plan::Whole(put)) = plan else { panic!("{plan:?}") };
    if traits.checks_digests {
        let answer = send(&put, film(99_999)).await;
        assert!(answer.status().is_client_error(), "{}", answer.status());
    }
    let answer = send(&put, bytes.clone()).await;
    assert!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await.unwrap());
    assert!(read(storage, &key, 0..100_000).await == bytes);
    storage.delete_attempt(attempt.job, attempt.id).await.unwrap();
}

/// Brings parts by their URLs; what the store answered to each.
async fn bring(storage: &Storage, key: &Key, upload: &str, bytes: &Bytes, part_size: usize) -> Vec<String> {
    let count = bytes.len().div_ceil(part_size);
    let numbers: Vec<u32> = (0..u32::try_from(count).unwrap()).collect();
    let urls = storage.part_urls(key, upload, &numbers, MINUTE).await.unwrap();
    let mut tags = Vec::new();
    for (number, url) in urls.iter().enumerate() {
        let end = ((number + 1) * part_size).min(bytes.len());
        let answer = send(url, bytes.slice(number * part_size..end)).await;
        assert!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await.unwrap());
        let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        tags.push(tag.unwrap_or_default());
    }
    tags
}

async fn signed_urls_write_parts(storage: &Storage) {
    let attempt = Attempt::new();
    let (key, bytes) = (attempt.key("large.mp4"), film(LARGE));
    let plan = storage.plan_write(&key, LARGE as u64, None, MINUTE).await.unwrap();
    let Some(Plan::Parts { upload, part_size }) = plan else { panic!("{plan:?}") };
    let part_size = usize::try_from(part_size).unwrap();
    let tags = bring(storage, &key, &upload, &bytes, part_size).await;
    assert_eq!(storage.size(&key).await.unwrap(), None, "a part is seen before all are there");
    storage.complete_parts(&key, &upload, tags).await.unwrap();
    assert!(read(storage, &key, 0..LARGE as u64).await == bytes);
    let object = storage.object(&key).await.unwrap();
    assert_eq!(object.size(), LARGE as u64);
    storage.delete_attempt(attempt.job, attempt.id).await.unwrap();

    let plan = storage.plan_write(&key, LARGE as u64, None, MINUTE).await.unwrap();
    let Some(Plan::Parts { upload, .. }) = plan else { panic!("{plan:?}") };
    let tags = bring(storage, &key, &upload, &bytes, part_size).await;
    storage.abort_parts(&key, &upload).await.unwrap();
    if storage.complete_parts(&key, &upload, tags).await.is_ok() {
        // Azure has no abort: whoever does not complete has aborted.
        storage.delete(&key).await.unwrap();
    }
    assert_eq!(storage.size(&key).await.unwrap(), None);
}

async fn every_promise(storage: &Storage, folder: &Path, traits: Traits) {
    objects_come_back_and_go(storage).await;
    a_body_that_breaks_off_leaves_nothing(storage).await;
    uploads_stay_on_the_coordinators_disk(storage, folder).await;
    signed_urls_read(storage, traits).await;
    signed_urls_write(storage, traits).await;
    signed_urls_write_parts(storage).await;
}

#[tokio::test]
async fn a_folder_keeps_every_promise_but_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let url = format!("file://{}", results.display());
    let storage = open(folder.path(), &url, BTreeMap::new());
    objects_come_back_and_go(&storage).await;
    a_body_that_breaks_off_leaves_nothing(&storage).await;
    uploads_stay_on_the_coordinators_disk(&storage, folder.path()).await;
    let key = Attempt::new().key("a.mp4");
    assert_eq!(storage.read_url(&key, MINUTE).await, None);
    assert_eq!(storage.plan_write(&key, 9, None, MINUTE).await.unwrap(), None);
    assert_eq!(e2e::system::files(&results), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn s3_keeps_every_promise() {
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3::start().await);
    let storage = open(folder.path(), &format!("s3://{BUCKET}/tvarr/one/"), s3.environment());
    let traits = Traits { checks_digests: true, name: "720p/a b&ä+%.mp4" };
    every_promise(&storage, folder.path(), traits).await;
    assert_eq!(s3.keys(BUCKET), Vec::<String>::new());
    assert_eq!(s3.parts(), 0);
}

#[tokio::test]
async fn seaweedfs_keeps_every_promise_and_is_tidied_at_start() {
    let Some(seaweed) = Seaweed::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("s3://{BUCKET}/tvarr");
    let storage = open(folder.path(), &url, seaweed.environment());
    let traits = Traits { checks_digests: false, name: "720p/a b&ä+%.mp4" };
    every_promise(&storage, folder.path(), traits).await;

    // What a coordinator that was killed leaves: parts, and nobody who knows of them.
    let attempt = Attempt::new();
    let key = attempt.key("large.mp4");
    let plan = storage.plan_write(&key, LARGE as u64, None, MINUTE).await.unwrap();
    let Some(Plan::Parts { upload, part_size }) = plan else { panic!("{plan:?}") };
    let tags = bring(&storage, &key, &upload, &film(LARGE), usize::try_from(part_size).unwrap()).await;
    let again = open(folder.path(), &url, seaweed.environment());
    again.tidy().await;
    let error = storage.complete_parts(&key, &upload, tags).await;
    assert!(error.is_err(), "an aborted upload was completed");
    assert_eq!(storage.size(&key).await.unwrap(), None);
}

#[tokio::test]
async fn azure_keeps_every_promise() {
    let (folder, azurite) = (tempfile::tempdir().unwrap(), Azurite::start().await);
    let storage = open(folder.path(), &format!("az://{BUCKET}/tvarr"), azurite.environment());
    let traits = Traits { checks_digests: false, name: "720p/a-b_c.mp4" };
    every_promise(&storage, folder.path(), traits).await;
    let other = Attempt::new().key("a b.mp4");
    assert_eq!(storage.read_url(&other, MINUTE).await, None, "it would not open anything");
    assert_eq!(storage.plan_write(&other, LARGE as u64, None, MINUTE).await.unwrap(), None);
}
