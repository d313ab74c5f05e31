//! One object, opened for reading.

use std::{fs::File, io, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectStore, path::Path};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

/// Bytes read from a local file at once. `object_store` itself reads 8 KiB at a time, each on another thread.
const READ: usize = 256 * 1024;

/// A stream of a file's bytes.
pub(super) type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// An object that exists and is open: on local disk it stays readable even when it is deleted meanwhile.
pub struct Object {
    store: Arc<dyn ObjectStore>,
    location: Path,
    got: GetResult,
}

impl Object {
    pub(super) fn new(store: Arc<dyn ObjectStore>, location: Path, got: GetResult) -> Self {
        Self { store, location, got }
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.got.meta.size
    }

    /// As in the `ETag` header, with quotes.
    #[must_use]
    pub fn etag(&self) -> String {
        let tag = self.got.meta.e_tag.as_deref().unwrap_or_default();
        if tag.contains('"') { tag.to_owned() } else { format!("\"{tag}\"") }
    }

    #[must_use]
    pub fn modified(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.got.meta.last_modified.timestamp()).ok()
    }

    /// The bytes of `range`, which lies inside the object.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(self, range: Range<u64>) -> io::Result<ByteStream> {
        match self.got.payload {
            GetResultPayload::File(file, _) => read_file(file, range).await,
            GetResultPayload::Stream(stream) if range == (0..self.got.meta.size) => {
                Ok(stream.map_err(io::Error::other).boxed())
            }
            GetResultPayload::Stream(_) => {
                let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
                let got = self.store.get_opts(&self.location, options).await.map_err(io::Error::other)?;
                Ok(got.into_stream().map_err(io::Error::other).boxed())
            }
        }
    }
}

/// The bytes of `range` of an open file.
pub(super) async fn read_file(file: File, range: Range<u64>) -> io::Result<ByteStream> {
    let mut file = tokio::fs::File::from_std(file);
    if range.start > 0 {
        file.seek(io::SeekFrom::Start(range.start)).await?;
    }
    let part = file.take(range.end.saturating_sub(range.start));
    Ok(ReaderStream::with_capacity(part, READ).boxed())
}

/// The name that the store wrote as `part`: it percent-encodes what some stores do not take.
pub(super) fn decode_part(part: &str) -> String {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = (byte == b'%').then(|| tail.get(..2)).flatten();
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                decoded.push(value);
                rest = &tail[2..];
            }
            None => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
