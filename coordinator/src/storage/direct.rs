//! What workers may be given to reach a bucket themselves: signed URLs that expire.
//!
//! A URL that writes belongs to one attempt's own prefix. What is brought in parts is seen only when the coordinator completes
//! it, and can no longer be once it was aborted. A whole PUT names the digest where the store checks it, so that it can only
//! write the bytes that were announced.

use std::time::Duration;

use common::digest::Digest;
use url::Url;

pub use super::cloud::Presigned;
use super::{
    Error, Key, Storage,
    cloud::{self, Cloud},
    respond::content_type_of,
};

/// How an object is brought to a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// With one PUT.
    Whole(Presigned),
    /// In parts of `part_size` bytes, the last one with the rest.
    Parts { upload: String, part_size: u64 },
}

/// Largest object that is brought with one PUT: a PUT that breaks is begun again.
const WHOLE: u64 = 16 << 20;

impl Storage {
    fn cloud(&self, key: &Key) -> Option<(&Cloud, object_store::path::Path)> {
        let backend = self.backend(key);
        backend.cloud.as_deref().map(|cloud| (cloud, backend.at(&key.location())))
    }

    /// A URL for a worker to read an object; `None` where the store cannot give one.
    pub async fn read_url(&self, key: &Key, expires: Duration) -> Option<Url> {
        let (cloud, at) = self.cloud(key)?;
        signed(key, cloud.get_url(&at, expires).await)
    }

    /// How a worker can bring an object itself; `None`: only through the coordinator.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn plan_write(
        &self,
        key: &Key,
        size: u64,
        sha256: Option<Digest>,
        expires: Duration,
    ) -> Result<Option<Plan>, Error> {
        let Some((cloud, at)) = self.cloud(key) else { return Ok(None) };
        let content_type = content_type_of(key.name());
        if size > WHOLE && cloud.part_url(&at, &String::new(), 0, expires).await.is_err() {
            return Ok(None);
        }
        if size <= WHOLE {
            let whole = cloud.put_url(&at, content_type, sha256, expires).await;
            return Ok(signed(key, whole).map(Plan::Whole));
        }
        let upload = cloud.begin(&at, content_type).await;
        let upload = upload.map_err(|error| Error::store(format!("beginning {key}"), &error))?;
        Ok(Some(Plan::Parts { upload, part_size: cloud::part_size(size) }))
    }

    /// The PUTs of some parts, counted from 0; `None` where the store cannot give them.
    pub async fn part_urls(
        &self,
        key: &Key,
        upload: &str,
        numbers: &[u32],
        expires: Duration,
    ) -> Option<Vec<Presigned>> {
        let (cloud, at) = self.cloud(key)?;
        let upload = upload.to_owned();
        let mut urls = Vec::with_capacity(numbers.len());
        for number in numbers {
            urls.push(signed(key, cloud.part_url(&at, &upload, *number, expires).await)?);
        }
        Some(urls)
    }

    /// Makes an object of its parts, by what the store answered to each as `ETag`. It appears now.
    ///
    /// # Errors
    /// The store does not take them: a part is missing, or it was aborted.
    pub async fn complete_parts(&self, key: &Key, upload: &str, tags: Vec<String>) -> Result<(), Error> {
        let Some((cloud, at)) = self.cloud(key) else { return Ok(()) };
        let completed = cloud.complete(&at, &upload.to_owned(), tags).await;
        completed.map_err(|error| Error::store(format!("completing {key}"), &error))
    }

    /// Drops what was brought of an object in parts.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn abort_parts(&self, key: &Key, upload: &str) -> Result<(), Error> {
        let Some((cloud, at)) = self.cloud(key) else { return Ok(()) };
        let aborted = cloud.abort(&at, &upload.to_owned()).await;
        aborted.map_err(|error| Error::store(format!("aborting {key}"), &error))
    }
}

/// What was signed. A store whose credentials cannot sign is reached through the coordinator.
fn signed<T>(key: &Key, result: object_store::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| match error {
            object_store::Error::NotSupported { .. } => {
                tracing::debug!(%key, %error, "no URL can be signed; the bytes go through the coordinator");
            }
            _ => tracing::warn!(%key, %error, "no URL can be signed; the bytes go through the coordinator"),
        })
        .ok()
}
