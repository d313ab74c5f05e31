//! An end that is no success: what is said and which exit code follows.

use std::{io, path::Path};

use crate::exit::Exit;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub exit: Exit,
    /// What was being done, to what, what happened and what to do next. Empty: nothing is to be said.
    pub message: String,
}

impl Error {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { exit: Exit::Invalid, message: message.into() }
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, message: message.into() }
    }

    pub(crate) fn unwritable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unwritable, message: message.into() }
    }

    pub(crate) fn interrupted() -> Self {
        Self { exit: Exit::Interrupted, message: "interrupted".to_owned() }
    }

    /// Whoever read stdout has seen enough (`| head`).
    pub(crate) fn stdout_closed() -> Self {
        Self { exit: Exit::Ok, message: String::new() }
    }

    /// `doing` names what was being written: "create the output folder".
    pub(crate) fn writing(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::unwritable(format!("cannot {doing} {}: {}", path.display(), advice(error)))
    }
}

/// The reason of a failed write in words, with what to do about it.
fn advice(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "choose a folder that you may write to",
        io::ErrorKind::ReadOnlyFilesystem => "choose a folder on a file system that is not read-only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space or choose a folder on another disk"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file; choose another name",
        io::ErrorKind::NotFound => "a part of the path does not exist",
        _ => return error.to_string(),
    };
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        io::ErrorKind::StorageFull => "no space left on the device",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        io::ErrorKind::NotADirectory => "not a directory",
        _ => "no such file or directory",
    };
    format!("{reason}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_the_path_and_the_remedy() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::writing("write to", Path::new("/mnt/out"), &full);
        assert_eq!(error.exit, Exit::Unwritable);
        assert_eq!(
            error.message,
            "cannot write to /mnt/out: no space left on the device; free some space or choose a folder on another disk"
        );
    }
}
