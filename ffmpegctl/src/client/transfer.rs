//! Media between here and the coordinator.

use std::{
    io::SeekFrom,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{
    backoff::Backoff,
    digest::{Digest, Hasher},
    id::JobId,
    worker::OutputFile,
};
use futures::TryStreamExt;
use reqwest::{Body, StatusCode, header};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncSeekExt, AsyncWriteExt},
};
use tokio_util::io::ReaderStream;

use super::{Client, Error, Upload, UploadParameters};

/// Bytes read from the file at once; larger reads were not faster on a local disk.
const CHUNK: usize = 256 * 1024;
/// A transfer in which nothing moves for this long is broken.
const STALL: Duration = Duration::from_secs(60);
/// Times that a broken transfer is tried again without having got any further.
const RETRIES: u32 = 5;
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(15) };

/// Bytes that went through, for the progress.
pub(crate) type Counter = Arc<AtomicU64>;

impl Client {
    /// Streams the file to the farm. A broken connection starts it again from the beginning; `retrying` is told why.
    pub(crate) async fn upload(
        &self,
        file: &Path,
        name: &str,
        sent: &Counter,
        retrying: impl Fn(&Error),
    ) -> Result<Upload, crate::Error> {
        let mut retry = 0;
        loop {
            sent.store(0, Ordering::Relaxed);
            match self.upload_once(file, name, sent).await? {
                Ok(upload) => return Ok(upload),
                Err(error) if error.is_transient() && retry < RETRIES => {
                    retrying(&error);
                    tokio::time::sleep(BACKOFF.delay(retry, rand::random())).await;
                    retry += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn upload_once(
        &self,
        path: &Path,
        name: &str,
        sent: &Counter,
    ) -> Result<Result<Upload, Error>, crate::Error> {
        let reading = |error| crate::Error::invalid(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).await.map_err(reading)?;
        let size = file.metadata().await.map_err(reading)?.len();
        let counter = sent.clone();
        let stream = ReaderStream::with_capacity(file, CHUNK).inspect_ok(move |bytes| {
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        });
        let request = self
            .post(&["v1", "uploads"])
            .query(&UploadParameters { filename: name })
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, size)
            .body(Body::wrap_stream(stream));
        let sending = async {
            let response = self.send(request).await?;
            self.body(response).await
        };
        Ok(unless_stalled(self, sent, sending).await)
    }

    /// Streams an output into `file`, which is there and empty, and compares it with what was published. A broken
    /// connection goes on where it broke.
    pub(crate) async fn download(
        &self,
        job: JobId,
        output: &OutputFile,
        file: &Path,
        received: &Counter,
        retrying: impl Fn(&Error),
    ) -> Result<(), crate::Error> {
        let mut have = Have::default();
        let mut retry = 0;
        loop {
            let before = have.bytes;
            match self.download_rest(job, &output.path, file, &mut have, received).await? {
                Ok(()) => {
                    let (bytes, digest) = (have.bytes, have.hasher.finish());
                    let Some(wrong) = differs(output, bytes, digest) else { return Ok(()) };
                    return Err(crate::Error::failed(format!(
                        "{} of job {job} {wrong}; it was not kept. Fetch it again, or transcode again",
                        output.path
                    )));
                }
                Err(error) if error.is_transient() => {
                    retry = if have.bytes > before { 0 } else { retry + 1 };
                    if retry > RETRIES {
                        return Err(error.into());
                    }
                    retrying(&error);
                    tokio::time::sleep(BACKOFF.delay(retry, rand::random())).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn download_rest(
        &self,
        job: JobId,
        output: &str,
        path: &Path,
        have: &mut Have,
        received: &Counter,
    ) -> Result<Result<(), Error>, crate::Error> {
        let job = job.to_string();
        let mut segments = vec!["v1", "jobs", &job, "outputs"];
        segments.extend(output.split('/'));
        let mut request = self.get(&segments);
        if have.bytes > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", have.bytes));
        }
        let mut response = match self.send(request).await {
            Ok(response) => response,
            Err(error) => return Ok(Err(error)),
        };
        let writing = |error| crate::Error::writing("write to", path, &error);
        let mut file = OpenOptions::new().write(true).open(path).await.map_err(writing)?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            received.fetch_sub(have.bytes, Ordering::Relaxed);
            *have = Have::default();
            file.set_len(0).await.map_err(writing)?;
        }
        file.seek(SeekFrom::Start(have.bytes)).await.map_err(writing)?;
        loop {
            let bytes = match tokio::time::timeout(STALL, response.chunk()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    file.flush().await.map_err(writing)?;
                    return Ok(Err(self.transport(&error)));
                }
                Err(_) => {
                    file.flush().await.map_err(writing)?;
                    return Ok(Err(stalled(self)));
                }
            };
            file.write_all(&bytes).await.map_err(writing)?;
            have.bytes += bytes.len() as u64;
            have.hasher.update(&bytes);
            received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        file.flush().await.map_err(writing)?;
        Ok(Ok(()))
    }
}

/// What a download has written.
#[derive(Default)]
struct Have {
    bytes: u64,
    hasher: Hasher,
}

/// What of a file is not as it was published, in words.
fn differs(output: &OutputFile, bytes: u64, digest: Digest) -> Option<String> {
    if bytes != output.size {
        return Some(format!("has {bytes} bytes and should have {}", output.size));
    }
    // Published by a farm that kept no digests: the size has to do.
    let compared = output.sha256.is_empty() || output.sha256 == digest.to_string();
    (!compared).then(|| format!("came with the SHA-256 {digest} and was published with {}", output.sha256))
}

/// Runs a transfer until it ends or nothing moved for [`STALL`].
async fn unless_stalled<T>(
    client: &Client,
    moved: &Counter,
    transfer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let watchdog = async {
        let mut last = None;
        loop {
            let now = moved.load(Ordering::Relaxed);
            if last == Some(now) {
                return;
            }
            last = Some(now);
            tokio::time::sleep(STALL).await;
        }
    };
    tokio::select! {
        result = transfer => result,
        () = watchdog => Err(stalled(client)),
    }
}

fn stalled(client: &Client) -> Error {
    Error::Unreachable {
        address: client.address().to_owned(),
        reason: format!("nothing moved for {} s", STALL.as_secs()),
        unsent: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_compared_with_what_was_published() {
        let output = |sha256: &str| OutputFile {
            path: "a.mp4".to_owned(),
            size: 3,
            content_type: String::new(),
            sha256: sha256.to_owned(),
        };
        let digest = Digest::of(b"abc");
        assert_eq!(differs(&output(&digest.to_string()), 3, digest), None);
        assert_eq!(differs(&output(""), 3, digest), None);
        assert!(differs(&output(""), 2, digest).unwrap().contains("should have 3"));
        let other = Digest::of(b"abd").to_string();
        assert!(differs(&output(&other), 3, digest).unwrap().contains(&other));
    }
}
