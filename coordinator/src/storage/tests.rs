//! The storage on a real folder.

use std::task::Poll;

use bytes::Bytes;
use common::{
    id::{Epoch, TaskId},
    worker::OutputFile,
};
use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{write::PART, *};

type Chunk = Result<Bytes, io::Error>;

fn body(chunks: Vec<Chunk>) -> impl Stream<Item = Chunk> + Send + Unpin {
    stream::iter(chunks)
}

fn bytes(text: &'static str) -> impl Stream<Item = Chunk> + Send + Unpin {
    body(vec![Ok(Bytes::from_static(text.as_bytes()))])
}

fn storage() -> (tempfile::TempDir, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open_local(folder.path()).unwrap();
    (folder, storage)
}

async fn read(storage: &Storage, key: &Key, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let object = storage.object(key).await.unwrap();
    let range = range.unwrap_or(0..object.size());
    let chunks: Vec<Bytes> = object.read(range).await.unwrap().try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test]
async fn an_object_comes_back_whole_and_in_parts() {
    let (_folder, storage) = storage();
    let key = Key::parse("jobs/a/ä #1 [x]%.mp4").unwrap();
    let chunks = vec![Ok(Bytes::from_static(b"hello ")), Ok(Bytes::from_static(b"world"))];
    let written = storage.put(&key, Expect::AtMost(11), &mut body(chunks)).await.unwrap();
    assert_eq!(written, Written { size: 11, sha256: None });
    assert_eq!(read(&storage, &key, None).await, b"hello world");
    assert_eq!(read(&storage, &key, Some(6..9)).await, b"wor");
    assert_eq!(storage.size(&key).await.unwrap(), Some(11));
}

#[tokio::test]
async fn what_is_larger_than_a_part_comes_back_with_its_digest() {
    let (_folder, storage) = storage();
    let key = Key::parse("jobs/a/b").unwrap();
    let whole: Vec<u8> = (0..2 * PART + 7).map(|n| (n % 251) as u8).collect();
    let chunks = whole.chunks(PART - 3).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let sha256 = Some(Digest::of(&whole));
    let expect = Expect::File { size: whole.len() as u64, sha256: None };
    let written = storage.put(&key, expect, &mut body(chunks)).await.unwrap();
    assert_eq!(written, Written { size: whole.len() as u64, sha256 });
    assert!(read(&storage, &key, None).await == whole);
}

#[tokio::test]
async fn what_is_not_as_announced_leaves_nothing() {
    let (folder, storage) = storage();
    let key = Key::parse("uploads/x/a.mp4").unwrap();
    let put = async |expect, chunks| {
        let error = storage.put(&key, expect, &mut body(chunks)).await.unwrap_err();
        // Not the staged file, and not the folders that were made for it.
        assert_eq!(local::count_entries(folder.path()), 0, "{error}");
        error
    };
    let text = |text: &'static str| vec![Ok(Bytes::from_static(text.as_bytes()))];
    let broken = vec![Ok(Bytes::from(vec![0; PART + 1])), Err(io::Error::other("reset"))];
    let error = put(Expect::AtMost(u64::MAX), broken).await;
    assert!(matches!(error, Error::BrokenOff { .. }), "{error}");
    let error = put(Expect::AtMost(5), text("123456")).await;
    assert!(matches!(error, Error::TooLarge { limit: 5, .. }), "{error}");
    let error = put(Expect::Exactly(5), text("1234")).await;
    assert!(matches!(error, Error::Size { expected: 5, got: 4, .. }), "{error}");
    let expect = Expect::File { size: 4, sha256: Some(Digest::of(b"1234")) };
    let error = put(expect, text("1235")).await;
    assert!(matches!(error, Error::Digest { got, .. } if got == Digest::of(b"1235")), "{error}");
}

#[tokio::test]
async fn who_hangs_up_leaves_nothing() {
    let (folder, storage) = storage();
    let key = Key::parse("uploads/x/a.mp4").unwrap();
    let begun: Vec<Chunk> = vec![Ok(Bytes::from(vec![0; PART + 1]))];
    let mut hangs = body(begun).chain(stream::pending());
    let put = storage.put(&key, Expect::AtMost(u64::MAX), &mut hangs);
    // Far enough to have staged something.
    let staged = async {
        while local::count_entries(folder.path()) < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        written = put => panic!("{written:?}"),
        () = staged => {}
    }
    // The staged file of a dropped put is removed by a task of its own.
    for _ in 0..1000 {
        if local::count_entries(folder.path()) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("something stays");
}

struct Attempts {
    _folder: tempfile::TempDir,
    storage: Storage,
    job: JobId,
    first: AttemptId,
    second: AttemptId,
}

/// Two attempts of a task, each with the file `720p/a#1.m4s` that holds `ab`.
async fn attempts() -> Attempts {
    let (folder, storage) = storage();
    let first = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
    let second = AttemptId { epoch: Epoch(2), ..first };
    let job = JobId::new();
    for attempt in [first, second] {
        let key = Key::output(job, attempt, &RelPath::parse("720p/a#1.m4s").unwrap());
        storage.put(&key, Expect::Exactly(2), &mut bytes("ab")).await.unwrap();
    }
    Attempts { _folder: folder, storage, job, first, second }
}

fn file(path: &str, size: u64, sha256: &str) -> OutputFile {
    OutputFile { path: path.to_owned(), size, content_type: String::new(), sha256: sha256.to_owned() }
}

impl Attempts {
    async fn check(&self, attempt: AttemptId, mut file: OutputFile) -> Result<String, String> {
        let files = std::slice::from_mut(&mut file);
        match self.storage.check_outputs(self.job, attempt, files, |_| None).await.unwrap() {
            None => Ok(file.sha256),
            Some(problem) => Err(problem),
        }
    }
}

#[tokio::test]
async fn outputs_are_checked_by_name_size_and_digest() {
    let attempts = attempts().await;
    let sha256 = Digest::of(b"ab").to_string();
    let check = async |file| attempts.check(attempts.first, file).await;
    assert_eq!(check(file("720p/a#1.m4s", 2, &sha256)).await.unwrap(), sha256);
    // A worker of the first protocol says none: it is found out.
    assert_eq!(check(file("720p/a#1.m4s", 2, "")).await.unwrap(), sha256);
    let other = Digest::of(b"ac").to_string();
    assert!(check(file("720p/a#1.m4s", 2, &other)).await.unwrap_err().contains("SHA-256"));
    assert!(check(file("720p/a#1.m4s", 3, &sha256)).await.unwrap_err().contains("has 2 in the storage"));
    assert!(check(file("b.m4s", 2, "")).await.unwrap_err().contains("is not in the storage"));
    assert!(check(file("../2/720p/a#1.m4s", 2, "")).await.unwrap_err().contains("no relative path"));
    let Attempts { storage, job, first, .. } = &attempts;
    let known = |_: &Key| Some(Digest::of(b"ac"));
    let mut files = [file("720p/a#1.m4s", 2, &other)];
    assert_eq!(storage.check_outputs(*job, *first, &mut files, known).await.unwrap(), None);
    assert!(
        storage.check_outputs(*job, *first, &mut [], known).await.unwrap().unwrap().contains("not reported")
    );
}

/// Between the last byte and the file's appearance nothing is given up: who removes the file afterwards must know that it
/// does not come later.
#[tokio::test]
async fn what_is_stopped_is_there_whole_or_not_at_all() {
    let (folder, storage) = storage();
    let key = Key::upload(UploadId::new(), "a.mp4");
    let cut_off = async |after: usize| {
        let stop = CancellationToken::new();
        let mut chunks = 0;
        let told = stop.clone();
        let mut body = stream::poll_fn(move |_| {
            chunks += 1;
            if chunks > after {
                told.cancel();
            }
            let chunk: Option<Chunk> = (chunks <= 2).then(|| Ok(Bytes::from_static(b"a")));
            // Told in the middle: the next chunk does not come.
            if chunks == 2 && after < 2 { Poll::Pending } else { Poll::Ready(chunk) }
        });
        storage.put_until(&key, Expect::Exactly(2), &mut body, &stop).await
    };
    assert!(matches!(cut_off(1).await, Err(Error::BrokenOff { .. })));
    assert_eq!(local::count_entries(folder.path()), 0);
    assert_eq!(cut_off(2).await.unwrap().size, 2);
    assert_eq!(storage.size(&key).await.unwrap(), Some(2));
}

#[tokio::test]
async fn attempts_are_removed_apart_with_their_folders() {
    let attempts = attempts().await;
    let Attempts { storage, job, first, second, .. } = &attempts;
    let found = async || {
        let mut found = storage.attempts().await.unwrap();
        found.sort();
        found
    };
    assert_eq!(found().await, [(*job, *first), (*job, *second)]);
    assert_eq!(storage.delete_attempt(*job, *first).await.unwrap(), 1);
    assert_eq!(storage.delete_attempt(*job, *first).await.unwrap(), 0);
    assert_eq!(found().await, [(*job, *second)]);
    assert!(attempts.check(*second, file("720p/a#1.m4s", 2, "")).await.is_ok());
    // What a killed coordinator left: folders, and nothing in them.
    let Place { root, file: folder } = storage.place_of(&Prefix::attempt(*job, *first).location()).unwrap();
    std::fs::create_dir_all(folder.join("720p/x")).unwrap();
    assert_eq!(storage.delete_attempt(*job, *first).await.unwrap(), 0);
    assert!(!folder.exists() && root.exists());
    assert_eq!(storage.delete_attempt(*job, *second).await.unwrap(), 1);
    assert_eq!(local::count_entries(&root), 0);
}

#[tokio::test]
async fn uploads_are_found_by_id_and_leftovers_go_at_start() {
    let (folder, storage) = storage();
    let id = UploadId::new();
    let key = Key::upload(id, "my [clip] #3.mp4");
    storage.put(&key, Expect::AtMost(9), &mut bytes("ab")).await.unwrap();
    std::fs::create_dir_all(folder.path().join("uploads/half")).unwrap();
    std::fs::write(folder.path().join("uploads/half/left.mp4#1"), b"half").unwrap();
    let again = Storage::open_local(folder.path()).unwrap();
    let found = again.upload(id).await.unwrap().unwrap();
    assert_eq!((found.key, found.size), (key, 2));
    assert_eq!(again.upload(UploadId::new()).await.unwrap(), None);
    // uploads, the upload, its file.
    assert_eq!(local::count_entries(folder.path()), 3);
}

#[test]
fn a_full_disk_is_told_from_other_trouble() {
    let error = |kind: io::ErrorKind| {
        let source = Box::new(io::Error::from(kind));
        Error::store("writing a", &object_store::Error::Generic { store: "local", source })
    };
    assert!(matches!(error(io::ErrorKind::StorageFull), Error::Full { .. }));
    assert!(matches!(error(io::ErrorKind::QuotaExceeded), Error::Full { .. }));
    assert!(matches!(error(io::ErrorKind::PermissionDenied), Error::Store { .. }));
}
