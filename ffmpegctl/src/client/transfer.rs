//! Media between here and the coordinator.

use std::{
    io::{Cursor, SeekFrom},
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
    id::{JobId, UploadId},
    worker::OutputFile,
};
use futures::TryStreamExt;
use reqwest::{Body, Method, StatusCode, header};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};
use tokio_util::io::ReaderStream;

use super::{CALL_TIMEOUT, Client, Error, UploadParameters};

/// Bytes of an upload in one request: what is lost at most when a connection breaks.
const PIECE: u64 = 4 * 1024 * 1024;
/// Of those, bytes that are handed over at once.
const CHUNK: usize = 256 * 1024;
/// Who sends this speaks tus.
const TUS: &str = "tus-resumable";
const TUS_VERSION: &str = "1.0.0";
/// A transfer in which nothing moves for this long is broken.
const STALL: Duration = Duration::from_secs(60);
/// Times that a broken transfer is tried again without having got any further.
const RETRIES: u32 = 5;
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(15) };

/// Bytes that went through, for the progress.
pub(crate) type Counter = Arc<AtomicU64>;

impl Client {
    /// Makes an upload known to the farm, of which nothing has been sent.
    pub(crate) async fn create_upload(&self, name: &str, size: u64) -> Result<UploadId, Error> {
        let request = self
            .post(&["v1", "uploads"])
            .query(&UploadParameters { filename: name })
            .header(TUS, TUS_VERSION)
            .header("upload-length", size);
        let response = self.send(request.timeout(CALL_TIMEOUT)).await?;
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        location.and_then(|url| url.rsplit('/').next()?.parse().ok()).ok_or_else(|| Error::NotTheApi {
            address: self.address().to_owned(),
            reason: "it takes no uploads in pieces (tus)".to_owned(),
        })
    }

    /// Sends a file in pieces. A broken connection goes on where it broke; `retrying` is told why. `sent`: bytes of the file
    /// that are on their way or there.
    pub(crate) async fn send_upload(
        &self,
        upload: UploadId,
        path: &Path,
        size: u64,
        sent: &Counter,
        retrying: impl Fn(&Error),
    ) -> Result<(), crate::Error> {
        let reading = |error| crate::Error::invalid(format!("cannot read {}: {error}", path.display()));
        let mut file = File::open(path).await.map_err(reading)?;
        let (mut offset, mut retry) = (0, 0);
        while offset < size {
            let wanted = (size - offset).min(PIECE);
            let mut piece = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
            file.seek(SeekFrom::Start(offset)).await.map_err(reading)?;
            (&mut file).take(wanted).read_to_end(&mut piece).await.map_err(reading)?;
            if piece.len() as u64 != wanted {
                return Err(crate::Error::invalid(format!(
                    "{} became shorter while it was uploaded; wait until it is finished, then try again",
                    path.display()
                )));
            }
            sent.store(offset, Ordering::Relaxed);
            let error = match unless_stalled(self, sent, self.send_piece(upload, offset, piece, sent)).await {
                Ok(()) => {
                    (offset, retry) = (offset + wanted, 0);
                    continue;
                }
                Err(error) => error,
            };
            // 409: what was sent before came further than was heard of.
            if !error.is_transient() && error.status() != Some(409) || retry >= RETRIES {
                return Err(error.into());
            }
            retrying(&error);
            tokio::time::sleep(BACKOFF.delay(retry, rand::random())).await;
            retry += 1;
            match self.upload_offset(upload).await {
                Ok(there) => {
                    if there > offset {
                        retry = 0;
                    }
                    offset = there;
                }
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
        sent.store(size, Ordering::Relaxed);
        Ok(())
    }

    async fn send_piece(
        &self,
        upload: UploadId,
        offset: u64,
        piece: Vec<u8>,
        sent: &Counter,
    ) -> Result<(), Error> {
        let (length, counter) = (piece.len(), sent.clone());
        let parts = ReaderStream::with_capacity(Cursor::new(piece), CHUNK).inspect_ok(move |bytes| {
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        });
        let request = self
            .request(Method::PATCH, &["v1", "uploads", &upload.to_string()])
            .header(TUS, TUS_VERSION)
            .header("upload-offset", offset)
            .header(header::CONTENT_TYPE, "application/offset+octet-stream")
            .header(header::CONTENT_LENGTH, length)
            .body(Body::wrap_stream(parts));
        self.send(request).await.map(drop)
    }

    /// How much of an upload the farm has.
    async fn upload_offset(&self, upload: UploadId) -> Result<u64, Error> {
        let request = self.request(Method::HEAD, &["v1", "uploads", &upload.to_string()]);
        let response = self.send(request.header(TUS, TUS_VERSION).timeout(CALL_TIMEOUT)).await?;
        let offset = response.headers().get("upload-offset").and_then(|value| value.to_str().ok());
        offset.and_then(|text| text.parse().ok()).ok_or_else(|| Error::NotTheApi {
            address: self.address().to_owned(),
            reason: "it does not say how much of the upload it has".to_owned(),
        })
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
