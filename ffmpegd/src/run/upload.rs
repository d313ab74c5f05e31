//! Brings finished files to where the coordinator says.
//!
//! Tried until it works, the attempt is no longer current, or a live coordinator's storage refuses again and again. While
//! no session is open nothing counts: the lease decides how long that may last. A coordinator without room is waited for.

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{
    api,
    backoff::Backoff,
    digest::{Digest, Hasher},
    failpoint,
    failure::{Failure, FailureKind},
    ffmpeg::content_type,
    id::AttemptId,
    proto,
    worker::OutputFile,
};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, Response, StatusCode, header::CONTENT_TYPE};
use tokio::{
    fs,
    time::{Instant, sleep, timeout},
};
use tonic::Code;
use url::Url;

use super::{
    Ending, Tools,
    direct::{self, Brought, Span},
};
use crate::session::Connection;

/// At once; more only share the same line.
const PARALLEL: usize = 4;
/// Files in one request for addresses, so that no message on the control connection is large.
const BATCH: usize = 256;
/// Fruitless rounds with the coordinator there.
const MAX_ROUNDS: u32 = 8;
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(10) };
/// A transfer that moves no byte for this long is given up, and so is a server that does not answer after the last one.
pub(super) const STALL: Duration = Duration::from_secs(60);
pub(super) const READ_BUFFER: usize = 256 * 1024;
/// How long a coordinator may have no room. Long enough for a person to make some, short enough for the job to be told.
const NO_ROOM_FOR: Duration = Duration::from_secs(15 * 60);
/// Files hashed at once: one core keeps up with any disk, a second hides the opening of small files.
const HASHING: usize = 2;
/// Bytes hashed between two looks at whether the digest is still wanted.
const HASH_BUFFER: usize = 1024 * 1024;

/// The files below `folder`, by path, with their digests. Dropped, it stops reading.
pub(super) async fn list(folder: &Path) -> io::Result<Vec<OutputFile>> {
    let mut files = names(folder).await?;
    let unwanted = Unwanted::default();
    let mut digests = Vec::with_capacity(files.len());
    for file in &files {
        digests.push(digest(folder.join(&file.path), file.size, Arc::clone(&unwanted.0)));
    }
    let digests: Vec<Digest> = stream::iter(digests).buffered(HASHING).try_collect().await?;
    for (file, digest) in files.iter_mut().zip(digests) {
        file.sha256 = digest.to_string();
    }
    Ok(files)
}

/// Set on drop.
#[derive(Default)]
struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Hashes a file of `size` bytes on a thread of its own.
async fn digest(path: PathBuf, size: u64, unwanted: Arc<AtomicBool>) -> io::Result<Digest> {
    let hashing = move || {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut file = std::fs::File::open(&path).map_err(about)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; HASH_BUFFER.min(usize::try_from(size).unwrap_or(HASH_BUFFER).max(1))];
        let mut read = 0;
        while !unwanted.load(Ordering::Relaxed) {
            match file.read(&mut buffer) {
                Ok(0) if read == size => return Ok(hasher.finish()),
                Ok(0) => break,
                Ok(count) => {
                    read += count as u64;
                    hasher.update(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(about(error)),
            }
        }
        Err(about(io::Error::other(format!(
            "it has {read} bytes instead of {size}: it changed while it was read"
        ))))
    };
    tokio::task::spawn_blocking(hashing).await.map_err(io::Error::other)?
}

async fn names(folder: &Path) -> io::Result<Vec<OutputFile>> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let mut entries = fs::read_dir(&folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| io::Error::other(format!("{} is no UTF-8", name.display())))?;
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let about = fs::symlink_metadata(entry.path()).await?;
            if about.is_dir() {
                folders.push((entry.path(), path));
            } else if about.is_file() {
                let content_type = content_type(&path).to_owned();
                files.push(OutputFile { path, size: about.len(), content_type, sha256: String::new() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Uploads `files` from `folder`.
pub(super) async fn upload(
    tools: &Tools,
    attempt: AttemptId,
    folder: &Path,
    files: &[OutputFile],
) -> Result<(), Ending> {
    let mut there = BTreeSet::new();
    let mut rounds = 0;
    let mut no_room: Option<(Instant, u32)> = None;
    loop {
        let before = there.len();
        let round = round(tools, attempt, folder, files, &mut there).await;
        let further = there.len() > before;
        if further {
            no_room = None;
        }
        let problem = match round {
            Ok(()) => return Ok(()),
            Err(Problem::NotCurrent) => return Err(Ending::NotCurrent),
            Err(Problem::Disconnected(problem)) => {
                tracing::debug!(problem, "upload waits for the coordinator");
                continue_later(rounds).await;
                continue;
            }
            Err(Problem::NoRoom(problem)) => {
                let (since, tries) = *no_room.get_or_insert((Instant::now(), 0));
                if since.elapsed() >= NO_ROOM_FOR {
                    let minutes = NO_ROOM_FOR.as_secs() / 60;
                    let message = format!(
                        "uploading the results: {problem}; for {minutes} minutes the coordinator had no room: free some \
                         space below its TVARR_DATA_DIR"
                    );
                    return Err(Failure::new(FailureKind::UploadFailed, message).into());
                }
                if tries == 0 {
                    tracing::warn!(problem, "the coordinator has no room for the results: they wait here");
                }
                no_room = Some((since, tries + 1));
                continue_later(tries).await;
                continue;
            }
            Err(Problem::Refused(problem)) => problem,
        };
        rounds = if further { 0 } else { rounds + 1 };
        if rounds >= MAX_ROUNDS {
            let message =
                format!("uploading the results: {problem}; {MAX_ROUNDS} tries in a row did not help");
            return Err(Failure::new(FailureKind::UploadFailed, message).into());
        }
        tracing::info!(problem, "upload failed, trying again");
        continue_later(rounds).await;
    }
}

async fn continue_later(rounds: u32) {
    sleep(BACKOFF.delay(rounds, rand::random())).await;
}

pub(super) enum Problem {
    NotCurrent,
    /// The coordinator cannot be asked now.
    Disconnected(String),
    /// The coordinator's disk is full, which is none of the attempt's fault.
    NoRoom(String),
    /// The coordinator or its storage answered that it cannot.
    Refused(String),
}

impl Problem {
    /// What an answer to a PUT means, other than that it worked.
    pub(super) fn of(status: StatusCode, problem: String) -> Self {
        match status {
            StatusCode::GONE => Self::NotCurrent,
            StatusCode::INSUFFICIENT_STORAGE => Self::NoRoom(problem),
            StatusCode::SERVICE_UNAVAILABLE => Self::Disconnected(problem),
            _ => Self::Refused(problem),
        }
    }
}

async fn round(
    tools: &Tools,
    attempt: AttemptId,
    folder: &Path,
    files: &[OutputFile],
    there: &mut BTreeSet<String>,
) -> Result<(), Problem> {
    loop {
        let batch: Vec<OutputFile> =
            files.iter().filter(|file| !there.contains(&file.path)).take(BATCH).cloned().collect();
        if batch.is_empty() {
            return Ok(());
        }
        let connection = connected(tools).await?;
        let answer = addresses(tools, connection, attempt, &batch).await?;
        let mut puts = Vec::with_capacity(batch.len());
        for (file, url) in batch.into_iter().zip(answer.urls) {
            puts.push(put(tools, folder, file, url, answer.direct));
        }
        let mut puts = stream::iter(puts).buffer_unordered(PARALLEL);
        while let Some(path) = puts.try_next().await.map_err(|problem| unless_gone(tools, problem))? {
            there.insert(path);
        }
    }
}

async fn connected(tools: &Tools) -> Result<Connection, Problem> {
    let mut connection = tools.connection.clone();
    let open = connection.wait_for(Option::is_some).await;
    let open = open.map_err(|_| Problem::Disconnected("the worker ends".to_owned()))?;
    open.clone().ok_or_else(|| Problem::Disconnected("no session".to_owned()))
}

/// A transfer that broke while the coordinator vanished says nothing about the storage.
fn unless_gone(tools: &Tools, problem: Problem) -> Problem {
    match problem {
        Problem::Refused(problem) if tools.connection.borrow().is_none() => Problem::Disconnected(problem),
        problem => problem,
    }
}

async fn addresses(
    tools: &Tools,
    mut connection: Connection,
    attempt: AttemptId,
    files: &[OutputFile],
) -> Result<proto::OpenUploadsResponse, Problem> {
    let request = proto::OpenUploadsRequest {
        worker_id: tools.worker.to_string(),
        session_id: connection.session.clone(),
        task_id: attempt.task.to_string(),
        epoch: attempt.epoch.0,
        files: files.iter().cloned().map(Into::into).collect(),
    };
    let answer = match timeout(STALL, connection.client.open_uploads(request)).await {
        Err(_) => return Err(Problem::Disconnected("the coordinator does not answer".to_owned())),
        Ok(answer) => answer,
    };
    match answer {
        Ok(answer) if answer.get_ref().urls.len() == files.len() => Ok(answer.into_inner()),
        Ok(_) => Err(Problem::Refused("the coordinator named too few addresses".to_owned())),
        // A session that was just replaced is none of the attempt's fault: with the next one it is asked again.
        Err(status) if status.code() == Code::FailedPrecondition => {
            let now = tools.connection.borrow().as_ref().map(|connection| connection.session.clone());
            if now.as_ref() == Some(&connection.session) {
                Err(Problem::NotCurrent)
            } else {
                Err(Problem::Disconnected(status.message().to_owned()))
            }
        }
        Err(status) if matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown) => {
            Err(Problem::Disconnected(status.message().to_owned()))
        }
        Err(status) => Err(Problem::Refused(format!("the coordinator refused: {}", status.message()))),
    }
}

/// Sends one file; its path when it is there.
async fn put(
    tools: &Tools,
    folder: &Path,
    file: OutputFile,
    url: String,
    direct: bool,
) -> Result<String, Problem> {
    let refused = Problem::Refused;
    failpoint::hit("upload.put.before");
    let url = tools.coordinator.resolve(&url).map_err(refused)?;
    let done = direct && matches!(direct::bring(tools, folder, &file, &url).await?, Brought::Done);
    if !done {
        put_to_coordinator(tools, folder, &file, url).await?;
    }
    failpoint::hit("upload.put.after");
    Ok(file.path)
}

async fn put_to_coordinator(
    tools: &Tools,
    folder: &Path,
    file: &OutputFile,
    url: Url,
) -> Result<(), Problem> {
    let shown = crate::fetch::shown(&url);
    let request = tools.http.put(url).header(CONTENT_TYPE, &file.content_type);
    let uploaded = &tools.figures.uploaded;
    let span = Span { path: &folder.join(&file.path), name: &file.path, range: 0..file.size, uploaded };
    let answer = direct::send(request, &shown, &span).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = words(answer).await;
    Err(Problem::of(status, format!("{shown} answered {status} to {}{said}", file.path)))
}

/// What the coordinator says to a refusal, if it does in time.
pub(super) async fn words(answer: Response) -> String {
    let said = async { answer.json::<api::Problem>().await.ok() };
    let said = timeout(Duration::from_secs(5), said).await.ok().flatten();
    said.map(|problem| format!(": {}", problem.detail)).unwrap_or_default()
}

pub(super) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// For uploads: straight to the address that the coordinator names.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("ffmpegd/", env!("CARGO_PKG_VERSION")))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_listed_by_path_and_links_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("720p")).unwrap();
        std::fs::write(dir.path().join("720p/seg_0.m4s"), "abc").unwrap();
        std::fs::write(dir.path().join("master.m3u8"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let files = list(dir.path()).await.unwrap();
        let paths: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.size)).collect();
        assert_eq!(paths, [("720p/seg_0.m4s", 3), ("master.m3u8", 1)]);
        assert_eq!(files[0].sha256, Digest::of(b"abc").to_string());
        assert_eq!(files[1].sha256, Digest::of(b"x").to_string());
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_hashed_has_no_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, vec![7; HASH_BUFFER + 1]).unwrap();
        let hash = |size| digest(path.clone(), size, Arc::default());
        let whole = hash(HASH_BUFFER as u64 + 1).await.unwrap();
        assert_eq!(whole, Digest::of(&vec![7; HASH_BUFFER + 1]));
        assert!(hash(5).await.unwrap_err().to_string().contains("it changed"));
        assert!(hash(u64::MAX).await.unwrap_err().to_string().contains("it changed"));
    }

    #[test]
    fn a_full_coordinator_and_a_lost_attempt_are_told_from_a_refusal() {
        let of = |status| Problem::of(status, String::new());
        assert!(matches!(of(StatusCode::GONE), Problem::NotCurrent));
        assert!(matches!(of(StatusCode::INSUFFICIENT_STORAGE), Problem::NoRoom(_)));
        assert!(matches!(of(StatusCode::UNPROCESSABLE_ENTITY), Problem::Refused(_)));
        assert!(matches!(of(StatusCode::SERVICE_UNAVAILABLE), Problem::Disconnected(_)));
    }
}
