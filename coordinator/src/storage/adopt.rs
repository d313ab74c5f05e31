//! Making an object of a file that is on the same disk already.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use super::{
    Error, Key, Storage,
    local::{Place, sync_folders},
};

impl Storage {
    /// Moves `file` to `key`. When this returns, the object is on disk: file, folder and the folders above it.
    ///
    /// # Errors
    /// It cannot be moved, or the storage is no local disk. The file is where it was, or it is the object.
    pub async fn adopt(&self, file: &Path, key: &Key) -> Result<(), Error> {
        let doing = format!("moving an upload to {key}");
        let failed = |error: &io::Error| Error::io(doing.clone(), error);
        let place = self
            .spool
            .place(&key.location())
            .ok_or_else(|| failed(&io::Error::other("uploads are kept on local disk")))?;
        let from = file.to_owned();
        let moved = tokio::task::spawn_blocking(move || adopt(&from, &place)).await;
        moved.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| failed(&error))
    }
}

fn adopt(from: &Path, Place { root, file }: &Place) -> io::Result<()> {
    let folder = file.parent().ok_or_else(|| io::Error::other("an object has a folder"))?;
    File::open(from)?.sync_all()?;
    fs::create_dir_all(folder)?;
    fs::rename(from, file)?;
    sync_folders(root, folder)
}
