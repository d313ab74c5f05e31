//! Whether what an attempt reports is what it brought.

use std::collections::{HashMap, HashSet};

use common::{
    digest::{Digest, Hasher},
    id::{AttemptId, JobId},
    worker::OutputFile,
};
use futures::TryStreamExt as _;

use super::{Error, Key, Prefix, RelPath, Storage, local};

impl Storage {
    /// Finds what is wrong with an attempt's reported files: `None` when exactly they are there, each with its size and
    /// digest, and stay there after a power cut; else in words. Digests that were not reported are filled in.
    ///
    /// `known` is asked for the digest of an object that was hashed when it was written. What it does not know (it was
    /// written before a restart) is read and hashed again.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn check_outputs(
        &self,
        job: JobId,
        attempt: AttemptId,
        files: &mut [OutputFile],
        known: impl Fn(&Key) -> Option<Digest>,
    ) -> Result<Option<String>, Error> {
        let prefix = Prefix::attempt(job, attempt);
        let stored: HashMap<_, _> = self
            .results
            .list(&prefix.location(), &prefix.to_string())
            .map_ok(|meta| (meta.location, meta.size))
            .try_collect()
            .await?;
        let mut reported = HashSet::with_capacity(files.len());
        for file in files {
            let path = match RelPath::parse(&file.path) {
                Ok(path) => path,
                Err(error) => return Ok(Some(error.to_string())),
            };
            let key = Key::output(job, attempt, &path);
            let location = key.location();
            let Some(&size) = stored.get(&location) else {
                return Ok(Some(format!("{path} was reported and is not in the storage")));
            };
            if size != file.size {
                return Ok(Some(format!(
                    "{path} was reported with {} bytes and has {size} in the storage",
                    file.size
                )));
            }
            let digest = match known(&key) {
                Some(digest) => digest,
                None => self.digest(&key).await?,
            };
            let digest = digest.to_string();
            if file.sha256.is_empty() {
                file.sha256 = digest;
            } else if file.sha256 != digest {
                return Ok(Some(format!(
                    "{path} was reported with the SHA-256 {} and has {digest} in the storage",
                    file.sha256
                )));
            }
            reported.insert(location);
        }
        if let Some(more) = stored.keys().find(|location| !reported.contains(*location)) {
            return Ok(Some(format!("{more} is in the storage and was not reported")));
        }
        self.sync(&prefix).await?;
        Ok(None)
    }

    /// Reads an object and hashes it.
    async fn digest(&self, key: &Key) -> Result<Digest, Error> {
        let object = self.object(key).await?;
        let size = object.size();
        let failed = |error: std::io::Error| Error::Store {
            doing: format!("reading {key}"),
            reason: error.to_string(),
        };
        let mut bytes = object.read(0..size).await.map_err(failed)?;
        let mut hasher = Hasher::default();
        while let Some(chunk) = bytes.try_next().await.map_err(failed)? {
            hasher.update(&chunk);
        }
        Ok(hasher.finish())
    }

    async fn sync(&self, prefix: &Prefix) -> Result<(), Error> {
        let Some(place) = self.results.place(&prefix.location()) else { return Ok(()) };
        let doing = format!("syncing {prefix}");
        let synced = tokio::task::spawn_blocking(move || local::sync_folders(&place.root, &place.file)).await;
        synced
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| Error::Store { doing, reason: error.to_string() })
    }
}
