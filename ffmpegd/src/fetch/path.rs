//! Inputs below a shared root are opened in place.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use common::failure::{Failure, FailureKind};

use super::source::HEAD;

/// A file that may be read.
#[derive(Debug)]
pub(crate) struct SharedFile {
    /// Canonical.
    pub(crate) path: PathBuf,
    /// Its first bytes; none when it cannot be read.
    pub(crate) head: Vec<u8>,
}

/// Finds a file below one of `roots` after every link was followed. One visit to the blocking threads: each costs about as
/// much as the system calls themselves, and an encode waits for them.
pub(crate) async fn open_below(roots: &[PathBuf], path: &Path) -> Result<SharedFile, Failure> {
    let (roots, path) = (roots.to_vec(), path.to_owned());
    let opening = tokio::task::spawn_blocking(move || {
        let path = find_below(&roots, &path)?;
        let head = head(&path);
        Ok(SharedFile { path, head })
    });
    opening.await.unwrap_or_else(|error| {
        Err(Failure::new(FailureKind::Crashed, format!("opening the input was broken off: {error}")))
    })
}

fn find_below(roots: &[PathBuf], path: &Path) -> Result<PathBuf, Failure> {
    let unreachable = |message: String| Failure::new(FailureKind::SourceUnreachable, message);
    let invalid = |message: String| Failure::new(FailureKind::InvalidInput, message);
    let shown = path.display();
    if roots.is_empty() {
        return Err(unreachable(format!(
            "cannot open {shown}: this worker shares no folders; set TVARR_SHARED_ROOTS on it"
        )));
    }
    if !path.is_absolute() {
        return Err(invalid(format!("cannot open {shown}: the path is not absolute")));
    }
    let canonical = match fs::canonicalize(path) {
        Ok(canonical) => canonical,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && below(roots, path) => {
            return Err(invalid(format!("cannot open {shown}: there is no such file")));
        }
        Err(error) => {
            return Err(unreachable(format!(
                "cannot open {shown}: {error}; check that this worker has the folder mounted"
            )));
        }
    };
    if !below(roots, &canonical) {
        return Err(invalid(format!(
            "cannot open {shown}: it leads outside of the shared folders ({})",
            roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ")
        )));
    }
    let about =
        fs::metadata(&canonical).map_err(|error| unreachable(format!("cannot open {shown}: {error}")))?;
    if about.is_dir() {
        return Err(invalid(format!("cannot open {shown}: it is a folder; name a file")));
    }
    if !about.is_file() {
        return Err(invalid(format!("cannot open {shown}: it is no regular file")));
    }
    if about.len() == 0 {
        return Err(invalid(format!("{shown} is empty (zero bytes)")));
    }
    Ok(canonical)
}

fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    if let Ok(file) = fs::File::open(path) {
        // Whatever came before an error is what there is.
        let _ = file.take(HEAD as u64).read_to_end(&mut head);
    }
    head
}

fn below(roots: &[PathBuf], path: &Path) -> bool {
    roots.iter().any(|root| path.starts_with(root) && path != root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_files_below_a_root_are_opened() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        fs::write(&secret, "x").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/a.mp4"), "x").unwrap();
        fs::write(root.join("empty.mp4"), "").unwrap();
        std::os::unix::fs::symlink(&secret, root.join("link")).unwrap();
        let roots = [root.clone()];

        let opened = open_below(&roots, &root.join("sub/../sub/a.mp4")).await.unwrap();
        assert_eq!((opened.path, opened.head), (root.join("sub/a.mp4"), b"x".to_vec()));
        for (path, kind, reason) in [
            (root.join("link"), FailureKind::InvalidInput, "outside"),
            (secret, FailureKind::InvalidInput, "outside"),
            (root.join("../../etc/passwd"), FailureKind::InvalidInput, "cannot open"),
            (root.join("sub"), FailureKind::InvalidInput, "folder"),
            (root.join("gone.mp4"), FailureKind::InvalidInput, "no such file"),
            (root.join("empty.mp4"), FailureKind::InvalidInput, "zero bytes"),
            (PathBuf::from("a.mp4"), FailureKind::InvalidInput, "not absolute"),
            (PathBuf::from("/not/mounted/a.mp4"), FailureKind::SourceUnreachable, "mounted"),
        ] {
            let failure = open_below(&roots, &path).await.unwrap_err();
            assert!(
                failure.kind == kind && failure.message.contains(reason),
                "{}: {failure}",
                path.display()
            );
        }
        let failure = open_below(&[], &root.join("sub/a.mp4")).await.unwrap_err();
        assert!(failure.message.contains("TVARR_SHARED_ROOTS"), "{failure}");
    }
}
