//! What a local disk needs besides `object_store`: it stages an upload in `NAME#N` next to its place, and a process that
//! dies leaves that file; it makes folders, and those stay when nothing is in them any more.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use common::id::{AttemptId, Epoch, JobId};

/// Where an object is, or will be.
pub(super) struct Place {
    pub(super) root: PathBuf,
    pub(super) file: PathBuf,
}

impl Place {
    /// Removes the folders that have become empty.
    pub(super) async fn prune(self) {
        blocking(move || {
            if let Some(folder) = self.file.parent() {
                prune(&self.root, folder);
            }
        })
        .await;
    }

    /// Removes what was staged for this object.
    pub(super) async fn remove_staged(&self) {
        let file = self.file.clone();
        blocking(move || {
            let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { return };
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let found = entry.file_name();
                let found = found.to_string_lossy();
                let own = found.strip_prefix(name.to_string_lossy().as_ref());
                if own.is_some_and(|rest| rest.starts_with('#') && is_staged(&found)) {
                    // It may be gone by itself; otherwise the next start tries again.
                    let _ = fs::remove_file(entry.path());
                }
            }
        })
        .await;
    }
}

async fn blocking(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::warn!(%error, "cleaning up after a put failed; the next start does it");
    }
}

/// Removes every staged file below `folder`, and every folder below it that is empty then; returns how many files.
pub(super) fn remove_staged(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed += remove_staged(&entry.path())?;
            // Only works on an empty one.
            let _ = fs::remove_dir(entry.path());
        } else if is_staged(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Objects themselves never have a `#` in their file name: the store writes it as `%23`.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, suffix)| !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes `folder` and those above it, below `root`, for as long as they are empty.
pub(super) fn prune(root: &Path, folder: &Path) {
    let mut next = Some(folder);
    while let Some(folder) = next
        && folder != root
        && folder.starts_with(root)
        && fs::remove_dir(folder).is_ok()
    {
        next = folder.parent();
    }
}

/// Removes the empty folders in `folder`, itself, and those above it.
pub(super) fn prune_tree(root: &Path, folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            prune_tree(folder, &entry.path());
        }
    }
    prune(root, folder);
}

/// Syncs every folder from `folder`, those in it included, up to `root`: what is in them is there after a power cut, also
/// where a process died between making a folder and syncing the one above it.
pub(super) fn sync_folders(root: &Path, folder: &Path) -> io::Result<()> {
    let mut below = vec![folder.to_owned()];
    while let Some(folder) = below.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                below.push(entry.path());
            }
        }
        File::open(&folder)?.sync_all()?;
    }
    let mut above = folder.ancestors().skip(1).take_while(|above| above.starts_with(root));
    above.try_for_each(|above| File::open(above)?.sync_all())
}

/// The attempts that have a folder: `jobs/{job}/{task}/{epoch}`. What has another name is nothing that was made here.
pub(super) fn attempts(root: &Path) -> io::Result<Vec<(JobId, AttemptId)>> {
    let mut found = Vec::new();
    for (job, folder) in named::<JobId>(&root.join("jobs"))? {
        for (task, folder) in named(&folder)? {
            let epochs = named::<u64>(&folder)?;
            found.extend(epochs.into_iter().map(|(epoch, _)| (job, AttemptId { task, epoch: Epoch(epoch) })));
        }
    }
    Ok(found)
}

fn named<T: std::str::FromStr>(folder: &Path) -> io::Result<Vec<(T, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && entry.file_type()?.is_dir()
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(super) fn count_entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| {
        entries
            .flatten()
            .map(|entry| 1 + if entry.path().is_dir() { count_entries(&entry.path()) } else { 0 })
            .sum()
    })
}
