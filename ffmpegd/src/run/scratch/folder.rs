//! The folder of one attempt, gone with it.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use common::{failpoint, id::AttemptId};
use tokio::fs;

use crate::run::leftovers;

/// An attempt's folder. `out` in it is where results are made. Removed on drop, and better with [`Scratch::remove`].
#[derive(Debug)]
pub(in crate::run) struct Scratch {
    folder: PathBuf,
    removed: bool,
}

impl Scratch {
    pub(in crate::run) async fn create(root: &Path, attempt: AttemptId) -> io::Result<Self> {
        let scratch =
            Self { folder: root.join(format!("{}-{}", attempt.task, attempt.epoch)), removed: false };
        // In one visit to the blocking threads: an encode waits for it.
        let creating = tokio::task::spawn_blocking(move || {
            failpoint::hit("scratch.create.before");
            make_empty(&scratch.folder)?;
            std::fs::create_dir(scratch.out())?;
            failpoint::hit("scratch.create.after");
            Ok(scratch)
        });
        creating.await.map_err(io::Error::other)?
    }

    pub(in crate::run) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(in crate::run) fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// Removes what was made so far.
    pub(in crate::run) async fn clear(&self) -> io::Result<()> {
        let (folder, out) = (self.folder.clone(), self.out());
        let clearing = tokio::task::spawn_blocking(move || {
            make_empty(&folder)?;
            std::fs::create_dir(out)
        });
        clearing.await.map_err(io::Error::other)?
    }

    pub(in crate::run) async fn remove(mut self) {
        self.removed = true;
        if let Err(error) = fs::remove_dir_all(&self.folder).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot remove scratch files");
        }
    }
}

fn make_empty(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        // The worker makes the root when it starts, but folders like this one get cleaned up by others too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_dir_all(folder)?;
            std::fs::create_dir(folder)
        }
        made => made,
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.removed {
            // Only when an attempt is torn down without having ended: blocking for some files is better than leaving them.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Makes the folder for attempts, ends the processes that an earlier run left there when it was killed, and removes its
/// files.
pub(crate) fn prepare(root: &Path) -> io::Result<()> {
    std::fs::create_dir_all(root)?;
    let ended = leftovers::end(root);
    if ended > 0 {
        tracing::warn!(processes = ended, "ended processes that an earlier run of this worker had left");
    }
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if !is_attempt(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        tracing::info!(folder = %path.display(), "removing scratch files of an earlier run");
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What a folder takes of the disk, in bytes. What vanishes meanwhile does not count.
pub(super) fn used(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let entries = entries.flatten().filter_map(|entry| Some((entry.metadata().ok()?, entry.path())));
    entries.map(|(about, path)| if about.is_dir() { used(&path) } else { about.blocks() * 512 }).sum()
}

/// `{task}-{epoch}`: nothing else in the folder is ours to delete.
fn is_attempt(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(task, epoch)| {
        task.parse::<common::id::TaskId>().is_ok() && epoch.parse::<u64>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use common::id::{Epoch, TaskId};

    use super::*;

    #[tokio::test]
    async fn an_attempts_files_go_with_it() {
        let root = tempfile::tempdir().unwrap();
        let attempt = AttemptId { task: TaskId::new(), epoch: Epoch(3) };
        let scratch = Scratch::create(root.path(), attempt).await.unwrap();
        std::fs::write(scratch.out().join("a.mp4"), "x").unwrap();
        scratch.remove().await;
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);

        drop(Scratch::create(root.path(), attempt).await.unwrap());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_measured_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("720p")).unwrap();
        std::fs::write(dir.path().join("720p/0.m4s"), vec![1; 1 << 20]).unwrap();
        std::fs::write(dir.path().join("a.m3u8"), "x").unwrap();
        assert!(((1 << 20) + 1..1 << 21).contains(&used(dir.path())), "{}", used(dir.path()));
        assert_eq!(used(&dir.path().join("none")), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(format!("{}-1", TaskId::new()));
        std::fs::create_dir_all(left.join("out")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        prepare(dir.path()).unwrap();
        assert!(!left.exists() && dir.path().join("notes.txt").exists());
    }
}
