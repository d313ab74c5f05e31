//! The worker's own folder: who it is, and that nobody else is it.
//!
//! Durable: `worker-id`, a UUID that is made once and names this worker over all its restarts. `lock` is held for as long
//! as the worker runs, so two workers never share an id or clean up each other's scratch files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use common::{failpoint, id::WorkerId};
use rustix::fs::{FlockOperation, flock};

/// The folder, held until this is dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) worker: WorkerId,
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {} for the worker's state: {source}; make it writable or set TVARR_STATE_DIR", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "another ffmpegd on this machine uses the state folder {}; give each its own TVARR_STATE_DIR",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("{} does not hold a worker id: {reason}; delete it and the worker gets a new one", path.display())]
    BadId { path: PathBuf, reason: String },
}

impl StateDir {
    /// Makes the folder if need be, locks it and reads or makes the worker's id.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse { path: path.to_owned() }),
            Err(errno) => return Err(failed(errno.into())),
        }
        Ok(Self { worker: worker_id(path)?, _lock: lock })
    }
}

fn worker_id(dir: &Path) -> Result<WorkerId, Error> {
    let path = dir.join("worker-id");
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|error: common::id::Error| Error::BadId { path, reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = WorkerId::new();
            failpoint::hit("worker.id.before");
            write_whole(dir, &path, &format!("{id}\n")).map_err(|source| Error::Io { path, source })?;
            failpoint::hit("worker.id.after");
            Ok(id)
        }
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// Either the whole text is there after a power cut, or no file.
fn write_whole(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    failpoint::hit("worker.id.staged");
    fs::rename(&fresh, path)?;
    failpoint::hit("worker.id.renamed");
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stays_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/state");
        let first = StateDir::open(&path).unwrap().worker;
        assert_eq!(StateDir::open(&path).unwrap().worker, first);
    }

    #[test]
    fn two_workers_do_not_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("another ffmpegd") && error.contains("TVARR_STATE_DIR"), "{error}");
        drop(held);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_broken_id_is_not_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("worker-id"), "garbage").unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("worker-id") && error.contains("delete it"), "{error}");
    }
}
