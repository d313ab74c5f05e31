//! Output folders: made and tried before anything is started, removed again when nothing came into them.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use super::outputs::Target;
use crate::error::Error;

/// Names of what is not finished yet begin like this.
const UNFINISHED: &str = ".ffmpegctl-";
/// Written to try a folder: more than file systems keep inside their directory entries.
static TRIAL: [u8; 64 * 1024] = [0; 64 * 1024];

/// Folders that were made for the results. Those that are still empty are removed when this is dropped.
#[derive(Debug, Default)]
pub(super) struct MadeFolders(Vec<PathBuf>);

impl Drop for MadeFolders {
    fn drop(&mut self) {
        // The innermost was made last. What is not empty stays, and that is right.
        for folder in self.0.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl MadeFolders {
    /// Makes the folder and those above it.
    fn make(&mut self, folder: &Path) -> Result<(), Error> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make(parent)?;
        }
        match fs::create_dir(folder) {
            Ok(()) => self.0.push(folder.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::invalid(format!(
                    "{} is a file and results should go below it; choose another folder",
                    folder.display()
                )));
            }
            Err(error) => return Err(Error::writing("create the output folder", folder, &error)),
        }
        Ok(())
    }
}

/// Makes sure that the results can be written where they should go.
///
/// # Errors
/// A folder cannot be made or written; something is there already and may not be overwritten.
pub(super) fn prepare(targets: &[Target], force: bool) -> Result<MadeFolders, Error> {
    for target in targets {
        refuse_existing(target, force)?;
    }
    let mut made = MadeFolders::default();
    let mut tried: Vec<&Path> = Vec::new();
    for target in targets {
        let folder = target.folder();
        if tried.contains(&folder) {
            continue;
        }
        made.make(folder)?;
        try_write(folder)?;
        tried.push(folder);
    }
    Ok(made)
}

fn refuse_existing(target: &Target, force: bool) -> Result<(), Error> {
    match target {
        Target::File(file) => match fs::symlink_metadata(file) {
            Ok(metadata) if metadata.is_dir() => Err(Error::invalid(format!(
                "{} is a folder and a file of that name should be written; choose another name",
                file.display()
            ))),
            Ok(_) if !force => Err(Error::invalid(format!(
                "{} is there already; choose another name, or overwrite it with --force",
                file.display()
            ))),
            Ok(_) | Err(_) => Ok(()),
        },
        Target::Folder(folder) => {
            let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
            if occupied && !force {
                return Err(Error::invalid(format!(
                    "the folder {} is not empty, and several files will be written to it; choose another one, or \
                     overwrite what is there with --force",
                    folder.display()
                )));
            }
            Ok(())
        }
    }
}

fn try_write(folder: &Path) -> Result<(), Error> {
    let trial = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
        file.write_all(&TRIAL)?;
        file.close()
    };
    trial().map_err(|error| Error::writing("write to the output folder", folder, &error))
}

/// A folder beside the results, on the same file system, for what is not complete. Removed with everything in it when
/// dropped.
pub(super) fn staging(target: &Target) -> Result<tempfile::TempDir, Error> {
    let folder = target.folder();
    tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(folder)
        .map_err(|error| Error::writing("write to the output folder", folder, &error))
}

/// Gives a complete file its name.
pub(super) fn publish(from: &Path, to: &Path, force: bool) -> Result<(), Error> {
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|error| Error::writing("create the output folder", parent, &error))?;
    }
    if !force && fs::symlink_metadata(to).is_ok() {
        return Err(Error::invalid(format!(
            "{} appeared while the job ran and was not overwritten; run it again with another name or --force",
            to.display()
        )));
    }
    fs::rename(from, to).map_err(|error| Error::writing("write", to, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_there_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("a.mp4");
        fs::write(&there, "x").unwrap();
        let error = prepare(&[Target::File(there.clone())], false).unwrap_err();
        assert_eq!(error.exit, crate::Exit::Invalid);
        assert!(error.message.contains("a.mp4 is there already"), "{error}");
        assert!(prepare(&[Target::Folder(folder.path().to_owned())], false).is_err());
        prepare(&[Target::File(there)], true).unwrap();
    }

    #[test]
    fn folders_that_stay_empty_are_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        let made = prepare(&[Target::Folder(deep.clone())], false).unwrap();
        assert!(deep.is_dir());
        fs::write(folder.path().join("a/kept"), "x").unwrap();
        drop(made);
        assert!(!deep.exists() && folder.path().join("a").is_dir());
    }

    #[test]
    fn a_file_in_the_way_of_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "x").unwrap();
        let error = prepare(&[Target::File(folder.path().join("a/b.mp4"))], false).unwrap_err();
        assert!(error.message.contains("/a is a file"), "{error}");
    }

    #[test]
    fn what_is_not_complete_disappears() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::File(folder.path().join("a.mp4"));
        let staging = staging(&target).unwrap();
        fs::write(staging.path().join("a.mp4"), "half").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
