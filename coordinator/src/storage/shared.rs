//! Shared roots: folders (NFS, a mounted disk) whose files may be inputs without being uploaded.
//!
//! A path is checked when a job names it and again whenever a worker reads it: it must be a regular file that is really
//! below a root, wherever symbolic links lead.

use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

/// Why a path is no input. The words continue "path ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("is not absolute")]
    NotAbsolute,
    #[error("names a file on the coordinator's machine, and no shared root is configured")]
    NoRoots,
    #[error("is not below a shared root ({roots})")]
    Outside { roots: String },
    #[error("does not exist")]
    Missing,
    #[error("is not a regular file")]
    NotRegular,
    #[error("is an empty file")]
    Empty,
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// The allow-listed folders.
#[derive(Debug, Clone, Default)]
pub struct SharedRoots {
    /// Canonical.
    roots: Vec<PathBuf>,
}

impl SharedRoots {
    /// # Errors
    /// A root that is no folder, with the folder.
    pub fn new(roots: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let canonical = |root: &PathBuf| {
            let path = fs::canonicalize(root).map_err(|error| (root.clone(), error))?;
            if !path.is_dir() {
                return Err((root.clone(), io::ErrorKind::NotADirectory.into()));
            }
            Ok(path)
        };
        Ok(Self { roots: roots.iter().map(canonical).collect::<Result<_, _>>()? })
    }

    /// Checks a path that a user gave and returns it canonical. Blocks on the file system.
    ///
    /// # Errors
    /// It is not a readable, non-empty regular file below a root.
    pub fn resolve(&self, path: &str) -> Result<PathBuf, Refused> {
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(Refused::NotAbsolute);
        }
        if self.roots.is_empty() {
            return Err(Refused::NoRoots);
        }
        let upwards = path.components().any(|part| matches!(part, Component::ParentDir));
        let canonical = match fs::canonicalize(path) {
            Ok(canonical) if !upwards && self.root_of(&canonical).is_some() => canonical,
            // Nothing is said about what is outside, not even that it is not there.
            Err(error) if !upwards && self.root_of(path).is_some() => return Err(unreadable(&error)),
            _ => return Err(self.outside()),
        };
        // Keys, URLs and the job store hold text, and a line feed would end a log line.
        let text = canonical.to_str().filter(|text| !text.chars().any(char::is_control));
        if text.is_none() {
            return Err(Refused::Unreadable("its name is not printable UTF-8".to_owned()));
        }
        let size = self.open(&canonical)?.metadata().map_err(|error| unreadable(&error))?.len();
        if size == 0 { Err(Refused::Empty) } else { Ok(canonical) }
    }

    /// Opens a canonical path for reading, following no symbolic link. Blocks on the file system.
    ///
    /// # Errors
    /// As [`SharedRoots::resolve`].
    pub fn open(&self, canonical: &Path) -> Result<File, Refused> {
        let root = self.root_of(canonical).ok_or_else(|| self.outside())?;
        let below = canonical.strip_prefix(root).expect("root_of returns a prefix");
        let file = beneath::open(root, below).map_err(|error| match error.raw_os_error() {
            Some(code) if beneath::is_escape(code) => self.outside(),
            _ => unreadable(&error),
        })?;
        let kind = file.metadata().map_err(|error| unreadable(&error))?.file_type();
        if kind.is_file() { Ok(file) } else { Err(Refused::NotRegular) }
    }

    fn root_of(&self, path: &Path) -> Option<&Path> {
        self.roots.iter().map(PathBuf::as_path).find(|root| path != *root && path.starts_with(root))
    }

    fn outside(&self) -> Refused {
        let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
        Refused::Outside { roots: roots.join(", ") }
    }
}

fn unreadable(error: &io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refused::Missing,
        io::ErrorKind::PermissionDenied => {
            Refused::Unreadable("permission denied for the coordinator's user".to_owned())
        }
        _ => Refused::Unreadable(error.to_string()),
    }
}

/// Opening below a folder without a moment in which a link could be put in the way.
#[cfg(target_os = "linux")]
mod beneath {
    use std::{fs::File, io, path::Path};

    use rustix::{
        fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
        io::Errno,
    };

    pub(super) fn open(root: &Path, below: &Path) -> io::Result<File> {
        let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // Without NONBLOCK, opening a FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(root, below, flags, Mode::empty(), resolve)?.into())
    }

    pub(super) fn is_escape(code: i32) -> bool {
        [Errno::XDEV, Errno::LOOP].iter().any(|errno| errno.raw_os_error() == code)
    }
}

#[cfg(not(target_os = "linux"))]
mod beneath {
    use std::{fs, fs::File, io, path::Path};

    pub(super) fn open(root: &Path, below: &Path) -> io::Result<File> {
        let path = root.join(below);
        if fs::canonicalize(&path)? != path {
            return Err(io::Error::from_raw_os_error(ESCAPE));
        }
        File::open(path)
    }

    /// ELOOP of the BSDs.
    const ESCAPE: i32 = 62;

    pub(super) fn is_escape(code: i32) -> bool {
        code == ESCAPE
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Site {
        _folder: tempfile::TempDir,
        root: PathBuf,
        roots: SharedRoots,
    }

    fn site() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        let root = base.join("media");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(base.join("media2")).unwrap();
        for file in ["media/sub/a.mp4", "media2/b.mp4", "secret"] {
            fs::write(base.join(file), b"x").unwrap();
        }
        fs::write(root.join("empty"), b"").unwrap();
        symlink(root.join("sub/a.mp4"), root.join("inside")).unwrap();
        symlink(base.join("secret"), root.join("outside")).unwrap();
        let roots = SharedRoots::new(std::slice::from_ref(&root)).unwrap();
        Site { _folder: folder, root, roots }
    }

    fn resolve(site: &Site, path: &str) -> Result<PathBuf, Refused> {
        site.roots.resolve(site.root.join(path).to_str().unwrap())
    }

    #[test]
    fn a_file_below_the_root_is_taken_and_a_link_to_it_is_resolved() {
        let site = site();
        assert_eq!(resolve(&site, "sub/a.mp4"), Ok(site.root.join("sub/a.mp4")));
        assert_eq!(resolve(&site, "inside"), Ok(site.root.join("sub/a.mp4")));
    }

    #[test]
    fn nothing_outside_is_read_or_told_about() {
        let site = site();
        for path in
            ["outside", "../secret", "../media2/b.mp4", "../nothing", "/etc/passwd", "sub/../sub/a.mp4", ""]
        {
            assert!(matches!(resolve(&site, path), Err(Refused::Outside { .. })), "{path}");
        }
        assert_eq!(site.roots.resolve("sub/a.mp4"), Err(Refused::NotAbsolute));
        assert_eq!(SharedRoots::default().resolve("/etc/passwd"), Err(Refused::NoRoots));
    }

    #[test]
    fn what_is_no_readable_file_is_told_apart() {
        let site = site();
        assert_eq!(resolve(&site, "nothing.mp4"), Err(Refused::Missing));
        assert_eq!(resolve(&site, "sub"), Err(Refused::NotRegular));
        assert_eq!(resolve(&site, "empty"), Err(Refused::Empty));
    }

    #[test]
    fn a_link_that_is_put_in_the_way_later_is_not_followed() {
        let site = site();
        let path = resolve(&site, "sub/a.mp4").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(site.root.join("../secret"), &path).unwrap();
        assert!(matches!(site.roots.open(&path), Err(Refused::Outside { .. })));
        fs::remove_dir_all(site.root.join("sub")).unwrap();
        fs::create_dir(site.root.join("../elsewhere")).unwrap();
        fs::write(site.root.join("../elsewhere/a.mp4"), b"x").unwrap();
        symlink(site.root.join("../elsewhere"), site.root.join("sub")).unwrap();
        assert!(matches!(site.roots.open(&path), Err(Refused::Outside { .. })));
    }
}
