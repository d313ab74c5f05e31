//! Where objects are kept: a folder, or a bucket below a prefix.

use std::{fmt, io, path::PathBuf, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, local::LocalFileSystem, path::Path};

use super::{
    Error,
    address::Address,
    cloud::Cloud,
    credentials::Environment,
    local::{self, Place},
    object::Object,
};

/// Deletions at the same time.
const DELETES_IN_FLIGHT: usize = 16;

/// One of them; cheap to clone.
#[derive(Clone)]
pub(super) struct Backend {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Everything is below this.
    base: Path,
    local: Option<Arc<Local>>,
    pub(super) cloud: Option<Arc<Cloud>>,
}

/// The folder behind a store that is one.
struct Local {
    store: LocalFileSystem,
    root: PathBuf,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.store, self.base)
    }
}

impl Backend {
    /// A folder, which is created; what broken-off puts left there is removed.
    pub(super) fn open_folder(folder: &std::path::Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let removed = local::remove_staged(folder)?;
        if removed > 0 {
            tracing::info!(removed, "removed what broken-off uploads had left");
        }
        Self::folder(folder)
    }

    /// A folder that is there; nothing in it is touched.
    pub(super) fn folder(folder: &std::path::Path) -> io::Result<Self> {
        let root = folder.canonicalize()?;
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(io::Error::other)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        let local = Local { store: store.clone(), root };
        Ok(Self { store: Arc::new(store), base: Path::default(), local: Some(Arc::new(local)), cloud: None })
    }

    /// What is below `address` in a bucket. Nothing is asked of it yet.
    pub(super) fn bucket(address: &Address, environment: &Environment) -> object_store::Result<Self> {
        let cloud = Cloud::open(address, environment)?;
        Ok(Self {
            store: Arc::clone(&cloud.store),
            base: address.location(),
            local: None,
            cloud: Some(Arc::new(cloud)),
        })
    }

    /// Where in the store something of this is.
    pub(super) fn at(&self, location: &Path) -> Path {
        self.base.parts().chain(location.parts()).collect()
    }

    /// The folder, when it is one.
    pub(super) fn root(&self) -> Option<&std::path::Path> {
        self.local.as_ref().map(|local| local.root.as_path())
    }

    /// The file of an object, if on local disk.
    pub(super) fn place(&self, location: &Path) -> Option<Place> {
        let local = self.local.as_ref()?;
        let file = local.store.path_to_filesystem(&self.at(location)).ok()?;
        Some(Place { root: local.root.clone(), file })
    }

    pub(super) async fn open(&self, location: &Path, name: &str) -> Result<Object, Error> {
        let at = self.at(location);
        match self.store.get(&at).await {
            Ok(got) => Ok(Object::new(Arc::clone(&self.store), at, got)),
            Err(object_store::Error::NotFound { .. }) => Err(Error::NotFound(name.to_owned())),
            Err(error) => Err(Error::store(format!("opening {name}"), &error)),
        }
    }

    /// What is known of an object; `None` when it is not there.
    pub(super) async fn head(&self, location: &Path, name: &str) -> Result<Option<ObjectMeta>, Error> {
        match self.store.head(&self.at(location)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::store(format!("looking for {name}"), &error)),
        }
    }

    /// The objects below `prefix`, by their place below this.
    pub(super) fn list(&self, prefix: &Path, name: &str) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        let (base, doing) = (self.base.parts_count(), format!("listing {name}"));
        self.store
            .list(Some(&self.at(prefix)))
            .map(move |listed| match listed {
                Ok(meta) => Ok(ObjectMeta { location: meta.location.parts().skip(base).collect(), ..meta }),
                Err(error) => Err(Error::store(doing.clone(), &error)),
            })
            .boxed()
    }

    /// Removes an object. That it is not there is no error.
    pub(super) async fn delete(&self, location: &Path, name: &str) -> Result<(), Error> {
        match self.store.delete(&self.at(location)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::store(format!("removing {name}"), &error)),
        }
    }

    /// Removes everything below `prefix`; returns how many objects that were.
    pub(super) async fn delete_below(&self, prefix: &Path, name: &str) -> Result<usize, Error> {
        self.list(prefix, name)
            .map_ok(|meta| async move { self.delete(&meta.location, name).await.map(|()| 1) })
            .try_buffer_unordered(DELETES_IN_FLIGHT)
            .try_fold(0, |sum, one: usize| async move { Ok(sum + one) })
            .await
    }
}
