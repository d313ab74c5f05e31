//! The clips that `scripts/footage.sh` fetches and cuts; its head says what is in each.

use std::path::PathBuf;

use crate::binaries;

/// A clip by its file name.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn clip(name: &str) -> PathBuf {
    let path = binaries::root().join(".footage").join(name);
    assert!(path.is_file(), "{} is not there: run make footage", path.display());
    path
}
