//! Writing an object: staged, in parts, hashed on its way; there whole or not at all. On a disk it is staged beside its place,
//! in a bucket where nobody sees it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use common::{
    digest::{Digest, Hasher},
    failpoint,
};
use futures::{Stream, StreamExt as _};
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload,
    path::Path,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Error, Key, Storage,
    backend::Backend,
    cloud::{attributes, part_size},
    local::Place,
    respond::content_type_of,
};

/// Bytes of a part on a disk. With [`PARTS_IN_FLIGHT`] it bounds the memory of a put.
pub(super) const PART: usize = 4 * 1024 * 1024;
/// Parts on their way to the store while the next one is filled: a disk is near, a bucket is not.
const PARTS_IN_FLIGHT: usize = 1;
const PARTS_IN_FLIGHT_FAR: usize = 3;

/// What is known about a body before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    AtMost(u64),
    Exactly(u64),
    /// A file of an attempt: it is hashed while it is written, and compared if the digest is known.
    File {
        size: u64,
        sha256: Option<Digest>,
    },
}

impl Expect {
    const fn limit(self) -> u64 {
        match self {
            Self::AtMost(size) | Self::Exactly(size) | Self::File { size, .. } => size,
        }
    }
}

/// An object that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub size: u64,
    /// With [`Expect::File`].
    pub sha256: Option<Digest>,
}

impl Storage {
    /// Writes `body` to `key`. The object appears when the whole body is on disk: file, folder and the folders above it.
    ///
    /// # Errors
    /// The body breaks off or is another than expected, or the store cannot write. Nothing is left then, also when this is
    /// dropped.
    pub async fn put<S, E>(&self, key: &Key, expect: Expect, body: &mut S) -> Result<Written, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: fmt::Display,
    {
        self.put_until(key, expect, body, &CancellationToken::new()).await
    }

    /// As [`Storage::put`], until `stop`: it breaks off the reading of the body. What is whole by then is finished, so that
    /// who hears of an error knows that nothing appears afterwards; dropping this says no such thing.
    ///
    /// # Errors
    /// As [`Storage::put`], and [`Error::BrokenOff`] when it was stopped.
    pub async fn put_until<S, E>(
        &self,
        key: &Key,
        expect: Expect,
        body: &mut S,
        stop: &CancellationToken,
    ) -> Result<Written, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: fmt::Display,
    {
        let location = key.location();
        let write = self.backend(key).write(&location, key.as_str(), expect, body, stop);
        let written = self.operations.time("put", write).await;
        match &written {
            Ok(_) if self.full.swap(false, Ordering::Relaxed) => {
                tracing::info!("the object storage has room again");
            }
            Err(error @ Error::Full { .. }) if !self.full.swap(true, Ordering::Relaxed) => {
                tracing::error!(%error, "uploads and results wait until there is room");
            }
            _ => {}
        }
        written
    }
}

impl Backend {
    /// As [`Storage::put_until`]. `name` is for people.
    pub(super) async fn write<S, E>(
        &self,
        location: &Path,
        name: &str,
        expect: Expect,
        body: &mut S,
        stop: &CancellationToken,
    ) -> Result<Written, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: fmt::Display,
    {
        failpoint::hit("object.write.before");
        let at = self.at(location);
        let mut staged = match self.place(location) {
            Some(place) => match self.store.put_multipart(&at).await {
                Ok(upload) => Staged::near(Arc::clone(&self.store), at, upload, place),
                Err(error) => {
                    place.prune().await;
                    return Err(Error::store(format!("writing {name}"), &error));
                }
            },
            None => Staged::far(Arc::clone(&self.store), at, expect),
        };
        failpoint::hit("object.staged");
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Error::BrokenOff {
                key: name.to_owned(),
                reason: "it was stopped".to_owned(),
            }),
            taken = staged.take(name, expect, body) => taken,
        };
        let written = match taken {
            Ok(written) => staged.finish(name).await.map(|()| written),
            Err(error) => Err(error),
        };
        if written.is_err() {
            staged.abort().await;
        }
        written
    }
}

/// A put that is under way. What it wrote so far is removed when it is dropped, unless it was finished.
struct Staged {
    store: Arc<dyn ObjectStore>,
    at: Path,
    content_type: &'static str,
    /// `None` once it is finished or aborted, and in a bucket until there is more than one part.
    upload: Option<Box<dyn MultipartUpload>>,
    place: Option<Place>,
    part: usize,
    parts_in_flight: usize,
    buffered: Vec<Bytes>,
    length: usize,
    in_flight: JoinSet<object_store::Result<()>>,
}

impl Staged {
    fn near(store: Arc<dyn ObjectStore>, at: Path, upload: Box<dyn MultipartUpload>, place: Place) -> Self {
        Self {
            store,
            at,
            content_type: "",
            upload: Some(upload),
            place: Some(place),
            part: PART,
            parts_in_flight: PARTS_IN_FLIGHT,
            buffered: Vec::new(),
            length: 0,
            in_flight: JoinSet::new(),
        }
    }

    fn far(store: Arc<dyn ObjectStore>, at: Path, expect: Expect) -> Self {
        let content_type = content_type_of(at.filename().unwrap_or_default());
        let part = match expect {
            // An upload of unknown length: as large as it may become, within reason.
            Expect::AtMost(size) => part_size(size.min(1 << 40)),
            Expect::Exactly(size) | Expect::File { size, .. } => part_size(size),
        };
        Self {
            store,
            at,
            content_type,
            upload: None,
            place: None,
            part: usize::try_from(part).unwrap_or(usize::MAX),
            parts_in_flight: PARTS_IN_FLIGHT_FAR,
            buffered: Vec::new(),
            length: 0,
            in_flight: JoinSet::new(),
        }
    }

    /// Reads the body to its end and hands it to the store.
    async fn take<S, E>(&mut self, key: &str, expect: Expect, body: &mut S) -> Result<Written, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: fmt::Display,
    {
        let failed = |error: object_store::Error| Error::store(format!("writing {key}"), &error);
        let limit = expect.limit();
        let mut hasher = matches!(expect, Expect::File { .. }).then(Hasher::default);
        let mut size = 0_u64;
        while let Some(chunk) = body.next().await {
            let mut chunk =
                chunk.map_err(|error| Error::BrokenOff { key: key.to_owned(), reason: error.to_string() })?;
            size += chunk.len() as u64;
            if size > limit {
                return Err(Error::TooLarge { key: key.to_owned(), limit });
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk);
            }
            while self.length + chunk.len() >= self.part {
                let head = chunk.split_to(self.part - self.length);
                self.buffer(head);
                self.send().await.map_err(failed)?;
            }
            self.buffer(chunk);
        }
        if self.length > 0 && self.upload.is_some() {
            self.send().await.map_err(failed)?;
        }
        let (expected, wanted) = match expect {
            Expect::AtMost(_) => (size, None),
            Expect::Exactly(expected) => (expected, None),
            Expect::File { size, sha256 } => (size, sha256),
        };
        if size != expected {
            return Err(Error::Size { key: key.to_owned(), expected, got: size });
        }
        let sha256 = hasher.map(Hasher::finish);
        match (wanted, sha256) {
            (Some(expected), Some(got)) if expected != got => {
                Err(Error::Digest { key: key.to_owned(), expected, got })
            }
            _ => Ok(Written { size, sha256 }),
        }
    }

    fn buffer(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.length += bytes.len();
            self.buffered.push(bytes);
        }
    }

    /// Sends what is buffered on its way, once there is room for a part.
    async fn send(&mut self) -> object_store::Result<()> {
        self.landed(self.parts_in_flight - 1).await?;
        if self.upload.is_none() {
            let attributes = attributes(self.content_type);
            let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
            self.upload = Some(self.store.put_multipart_opts(&self.at, options).await?);
        }
        let part = self.payload();
        if let Some(upload) = &mut self.upload {
            self.in_flight.spawn(upload.put_part(part));
        }
        Ok(())
    }

    fn payload(&mut self) -> PutPayload {
        self.length = 0;
        PutPayload::from_iter(self.buffered.drain(..))
    }

    /// Waits until at most `left` parts are on their way.
    async fn landed(&mut self, left: usize) -> object_store::Result<()> {
        while self.in_flight.len() > left {
            if let Some(part) = self.in_flight.join_next().await {
                part.map_err(|error| object_store::Error::JoinError { source: error })??;
            }
        }
        Ok(())
    }

    async fn finish(&mut self, key: &str) -> Result<(), Error> {
        let failed = |error: object_store::Error| Error::store(format!("writing {key}"), &error);
        self.landed(0).await.map_err(failed)?;
        failpoint::hit("object.finish.before");
        let payload = self.payload();
        match &mut self.upload {
            Some(upload) => {
                if let Err(error) = upload.complete().await {
                    // On a disk the store has let go of the staged file by then, wherever it failed.
                    if let Some(place) = &self.place {
                        place.remove_staged().await;
                    }
                    return Err(failed(error));
                }
            }
            // A bucket takes what is small at once.
            None => {
                let attributes = attributes(self.content_type);
                let options = PutOptions { attributes, ..PutOptions::default() };
                self.store.put_opts(&self.at, payload, options).await.map_err(failed)?;
            }
        }
        self.upload = None;
        failpoint::hit("object.finish.after");
        Ok(())
    }

    async fn abort(mut self) {
        self.in_flight.shutdown().await;
        if let Some(upload) = self.upload.take() {
            remove(upload, self.place.take()).await;
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // The sender hung up. Should the process end before this has, the next start removes it.
            runtime.spawn(remove(upload, self.place.take()));
        }
    }
}

async fn remove(mut upload: Box<dyn MultipartUpload>, place: Option<Place>) {
    if let Err(error) = upload.abort().await {
        tracing::debug!(%error, "a broken-off put was aborted already");
    }
    if let Some(place) = place {
        place.prune().await;
    }
}
