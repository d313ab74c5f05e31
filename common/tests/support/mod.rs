//! The programs that the tests run.

use std::path::PathBuf;

/// The system's ffmpeg and the one that `TVARR_TEST_FFMPEG_NEXT` names, if it names one.
pub(crate) fn ffmpegs() -> Vec<PathBuf> {
    let next = std::env::var_os("TVARR_TEST_FFMPEG_NEXT").filter(|path| !path.is_empty()).map(PathBuf::from);
    std::iter::once(PathBuf::from("ffmpeg")).chain(next).collect()
}
