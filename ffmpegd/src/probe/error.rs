//! Why a machine can take no work at all.

use std::{fmt, io, path::PathBuf};

/// The programs that a worker cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Ffmpeg,
    Ffprobe,
}

impl Tool {
    /// The variable that names the program.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Ffmpeg => "TVARR_FFMPEG",
            Self::Ffprobe => "TVARR_FFPROBE",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ffmpeg => "ffmpeg",
            Self::Ffprobe => "ffprobe",
        })
    }
}

/// Nothing can be encoded, or nothing can be checked, on this machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot start {tool} ({}): {source}; install it (Debian, Ubuntu: apt install ffmpeg) or set {} to its path",
        path.display(), tool.variable()
    )]
    Missing { tool: Tool, path: PathBuf, source: io::Error },
    #[error(
        "{tool} ({}) does not work: {reason}; a worker without {tool} can take no work: repair it \
         (Debian, Ubuntu: apt install --reinstall ffmpeg) or set {} to another one",
        path.display(), tool.variable()
    )]
    Broken { tool: Tool, path: PathBuf, reason: String },
}
