//! stdout and stderr without panics: a reader that went away is an end, not a fault.

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use crate::error::Error;

/// A line of results.
///
/// # Errors
/// stdout was closed ([`Error::stdout_closed`]) or cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    print_bytes(text.as_bytes())
}

/// A path on a line of its own, byte for byte.
pub(crate) fn print_path(path: &Path) -> Result<(), Error> {
    print_bytes(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
}

/// A document for programs, for example a list.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::failed(format!("cannot write the result as JSON: {error}")))?;
    print(&text)
}

/// An object on one line.
pub(crate) fn print_json_line<T: Serialize>(value: &T) -> Result<(), Error> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::failed(format!("cannot write the result as JSON: {error}")))?;
    print(&text)
}

fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Error::stdout_closed()
        } else {
            Error::unwritable(format!("cannot write to stdout: {error}"))
        }
    })
}

/// A line for people, on stderr. Where stderr is gone nobody is left to be told.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub(crate) fn complain(text: &str) {
    say(&format!("error: {text}"));
}
