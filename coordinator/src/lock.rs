//! One coordinator per data folder.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use common::failpoint;

/// Why the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "another coordinator{} uses the data folder {}; stop it, or set TVARR_DATA_DIR to a folder of its own",
        .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), .folder.display()
    )]
    Taken { folder: PathBuf, pid: Option<String> },
    #[error("cannot write the data folder {}: {source}; give it to the coordinator's user, or set TVARR_DATA_DIR to another", .folder.display())]
    Unwritable { folder: PathBuf, source: io::Error },
}

/// Held while this process uses the folder; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Creates the folder if need be and takes it.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written.
    pub(crate) fn acquire(folder: &Path) -> Result<Self, Error> {
        let unwritable = |source| Error::Unwritable { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("coordinator.lock"))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = Some(pid.trim().to_owned()).filter(|pid| !pid.is_empty());
                return Err(Error::Taken { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        failpoint::hit("lock.write.before");
        write_pid(&mut file).map_err(unwritable)?;
        failpoint::hit("lock.write.after");
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_until_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::acquire(folder.path()).unwrap();
        let error = DataLock::acquire(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(DataLock::acquire(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataLock::acquire(&file.path().join("below")).unwrap_err().to_string();
        assert!(error.contains("TVARR_DATA_DIR"), "{error}");
    }
}
