//! What a local disk needs besides `object_store`: it stages an upload in `NAME#N` next to its place, and a process that
//! dies leaves that file.

use std::{fs, io, path::Path};

/// Removes every staged file below `folder`; returns how many.
pub(super) fn remove_staged(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed += remove_staged(&entry.path())?;
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

#[cfg(test)]
pub(super) fn count_files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| {
        entries
            .flatten()
            .map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 })
            .sum()
    })
}
