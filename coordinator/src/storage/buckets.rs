//! Folders and buckets that jobs may name: for their input, and for where their results are delivered to.
//!
//! Jobs come from strangers and the coordinator has the keys, so a job may name only what is configured
//! (`TVARR_STORAGE_BUCKETS`), and what is below that.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{digest::Digest, worker::OutputFile};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{ObjectMeta, ObjectStoreExt as _, path::Path};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Error, Expect, Key, Object, Storage,
    address::{Address, Scheme},
    backend::Backend,
    credentials::Environment,
};

/// Largest object that stores copy with one request.
const COPY: u64 = 5 << 30;

/// Why a job may not name an address. The words continue "s3://...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("is in no folder or bucket that jobs may name")]
    NotAllowed,
    #[error("cannot be opened: {0}")]
    Unusable(String),
}

/// The allow-listed places; cheap to clone.
#[derive(Clone, Default)]
pub struct Buckets {
    allowed: Arc<[Address]>,
    environment: Environment,
    open: Arc<Mutex<HashMap<Address, Backend>>>,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Buckets").field(&self.allowed).finish()
    }
}

/// An object in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub address: Address,
    pub size: u64,
    /// Milliseconds since the Unix epoch.
    pub modified: i64,
    /// What the store calls this version of it, if it does.
    pub tag: Option<String>,
}

impl Buckets {
    #[must_use]
    pub fn new(allowed: Vec<Address>, environment: Environment) -> Self {
        Self { allowed: allowed.into(), environment, open: Arc::default() }
    }

    /// Whether a job may name it.
    #[must_use]
    pub fn allows(&self, address: &Address) -> bool {
        self.allowed.iter().any(|allowed| allowed.holds(address))
    }

    /// What holds an address, and its place in there.
    fn backend(&self, address: &Address) -> Result<(Backend, Path), Refused> {
        let allowed = self.allowed.iter().find(|allowed| allowed.holds(address));
        let allowed = allowed.ok_or(Refused::NotAllowed)?;
        let root = match address.scheme {
            // Nothing above an allowed folder is opened.
            Scheme::File => allowed.clone(),
            Scheme::S3 | Scheme::Gcs | Scheme::Azure => address.root(),
        };
        let below = address.path[root.path.len()..].trim_start_matches('/');
        let at = Path::parse(below).map_err(|error| Refused::Unusable(error.to_string()))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = open.get(&root) {
            return Ok((backend.clone(), at));
        }
        let unusable = |error: &dyn fmt::Display| Refused::Unusable(error.to_string());
        let backend = match root.file() {
            Some(folder) => Backend::folder(&folder).map_err(|error| unusable(&error))?,
            None => Backend::bucket(&root, &self.environment).map_err(|error| unusable(&error))?,
        };
        open.insert(root, backend.clone());
        Ok((backend, at))
    }

    fn usable(&self, address: &Address) -> Result<(Backend, Path), Error> {
        self.backend(address).map_err(|refused| Error::Store {
            doing: format!("opening {address}"),
            reason: refused.to_string(),
        })
    }

    /// Checks that it can be used, without asking it anything.
    ///
    /// # Errors
    /// It is not allowed, or its keys are missing.
    pub fn check(&self, address: &Address) -> Result<(), Refused> {
        self.backend(address).map(drop)
    }

    /// The size of an object; `None` when it is not there.
    ///
    /// # Errors
    /// It is not allowed, or the store does not answer.
    pub async fn size(&self, address: &Address) -> Result<Option<u64>, Error> {
        let (backend, at) = self.usable(address)?;
        Ok(backend.head(&at, &address.to_string()).await?.map(|meta| meta.size))
    }

    /// Opens an object for reading.
    ///
    /// # Errors
    /// It is not there, not allowed, or cannot be read.
    pub async fn object(&self, address: &Address) -> Result<Object, Error> {
        let (backend, at) = self.usable(address)?;
        backend.open(&at, &address.to_string()).await
    }

    /// A URL for a worker to read an object; `None` where the store cannot give one.
    pub async fn read_url(&self, address: &Address, expires: Duration) -> Option<Url> {
        let (backend, at) = self.backend(address).ok()?;
        let url = backend.cloud.as_deref()?.get_url(&backend.at(&at), expires).await;
        url.inspect_err(|error| tracing::debug!(%address, %error, "no URL can be signed")).ok()
    }

    /// The objects below an address.
    ///
    /// # Errors
    /// It is not allowed. What comes while listing comes in the stream.
    pub fn list(&self, folder: &Address) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
        let (backend, at) = self.usable(folder)?;
        let (folder, skip) = (folder.clone(), at.parts_count());
        let found = move |meta: ObjectMeta| {
            let rest: Vec<_> =
                meta.location.parts().skip(skip).map(|part| part.as_ref().to_owned()).collect();
            Found {
                address: folder.join(&rest.join("/")),
                size: meta.size,
                modified: meta.last_modified.timestamp_millis(),
                tag: meta.version.or(meta.e_tag),
            }
        };
        Ok(backend.list(&at, "a watched place").map_ok(found).boxed())
    }

    /// Copies a published file to `to`: within the store where that is one, else through here, hashed on its way. It is
    /// there whole or not at all.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub async fn deliver(
        &self,
        storage: &Storage,
        key: &Key,
        file: &OutputFile,
        to: &Address,
    ) -> Result<(), Error> {
        let (target, at) = self.usable(to)?;
        if file.size <= COPY && target.cloud.is_some() && storage.is_in(to) {
            let from = storage.results.at(&key.location());
            return target
                .store
                .copy(&from, &target.at(&at))
                .await
                .map_err(|error| Error::store(format!("copying {key} to {to}"), &error));
        }
        let object = storage.object(key).await?;
        let size = object.size();
        let mut body = object
            .read(0..size)
            .await
            .map_err(|error| Error::Store { doing: format!("reading {key}"), reason: error.to_string() })?;
        let sha256: Option<Digest> = file.sha256.parse().ok();
        let expect = Expect::File { size: file.size, sha256 };
        target.write(&at, &to.to_string(), expect, &mut body, &CancellationToken::new()).await.map(drop)
    }
}

/// The order in which files are delivered: what playlists name before the playlists, and the one on top last.
#[must_use]
pub fn delivery_rank(path: &str) -> (bool, std::cmp::Reverse<usize>) {
    let playlist = [".m3u8", ".mpd"].iter().any(|end| path.to_ascii_lowercase().ends_with(end));
    (playlist, std::cmp::Reverse(path.matches('/').count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(allowed: &[&str]) -> Buckets {
        let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
        let environment = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Buckets::new(allowed, environment.collect())
    }

    #[test]
    fn only_what_is_configured_may_be_named() {
        common::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let own = format!("file://{}", folder.path().display());
        let buckets = buckets(&["s3://open", "s3://shared/in/", &own]);
        let check = |text: &str| buckets.check(&text.parse().unwrap());
        for allowed in ["s3://open/a", "s3://shared/in/a/b", &format!("{own}/x/y")] {
            assert_eq!(check(allowed), Ok(()), "{allowed}");
        }
        for refused in ["s3://shared/a", "s3://shared/inside", "gs://open/a", "s3://other/a", "file:///etc/x"]
        {
            assert_eq!(check(refused), Err(Refused::NotAllowed), "{refused}");
        }
        assert_eq!(Buckets::default().check(&"s3://open/a".parse().unwrap()), Err(Refused::NotAllowed));
    }

    #[test]
    fn playlists_come_after_what_they_name() {
        let mut paths = ["master.m3u8", "720p/a.m4s", "720p/index.m3u8", "a.mpd", "a.mp4"];
        paths.sort_by_key(|path| delivery_rank(path));
        assert_eq!(paths[2], "720p/index.m3u8");
        assert!(paths[..2].contains(&"a.mp4"));
    }
}
