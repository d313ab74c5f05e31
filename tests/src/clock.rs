//! A wall clock that jumps: `libfaketime`, which leaves the monotonic clock alone.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// The wall clock of whatever is started with [`Clock::env`]. It is right until it jumps.
#[derive(Debug, Clone)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is set through a file in `folder`.
    ///
    /// # Panics
    /// `libfaketime` is not installed, or the file cannot be written.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let clock = Self { library: library(), file: folder.join("clock") };
        clock.jump(0);
        clock
    }

    /// So many seconds ahead of the right time, or behind.
    ///
    /// # Panics
    /// The clock's file cannot be written.
    pub fn jump(&self, seconds: i64) {
        // Replaced in one step: it is read at any moment.
        let draft = self.file.with_extension("draft");
        fs::write(&draft, format!("{seconds:+}\n")).unwrap();
        fs::rename(&draft, &self.file).unwrap();
    }

    /// For a process that is to have this clock.
    #[must_use]
    pub fn env(&self) -> Vec<(String, OsString)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE".to_owned(), self.file.clone().into()),
            ("FAKETIME_NO_CACHE".to_owned(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".into()),
            ("DONT_FAKE_MONOTONIC".to_owned(), "1".into()),
        ]
    }
}

/// Where Debian and Ubuntu put it, whatever the machine.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    folders
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|file| file.is_file())
        .expect("libfaketime is not installed: run make setup")
}
