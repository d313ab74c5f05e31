//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A binary of this workspace: beside the running executable (`target/debug`), or beside a test executable's folder
/// (`target/debug/deps/..`).
///
/// # Panics
/// It was not built.
#[must_use]
pub fn workspace(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    let folder = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not there: these tests run what `cargo build --workspace --bins` builds (make test does it)",
        path.display()
    );
    path
}

/// The first `name` in `.tools/bin` and on the `PATH`.
///
/// # Panics
/// There is none.
#[must_use]
pub fn system(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(root().join(".tools/bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("there is no {name} on the PATH: run make setup"))
}

/// The second, newer ffmpeg; `None` where its package has none for this machine.
#[must_use]
pub fn ffmpeg_n9() -> Option<PathBuf> {
    let path = root().join(".tools/ffmpeg-n9");
    if cfg!(not(target_arch = "x86_64")) {
        return None;
    }
    assert!(path.is_file(), "{} is not there: run make footage", path.display());
    Some(path)
}
