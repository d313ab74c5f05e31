//! Hears when the stamp program was started. See `bin/stamp.rs`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{net::UnixDatagram, time::timeout};

/// A process that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// CLOCK_MONOTONIC at the first line of its `main`, nanoseconds.
    pub(crate) started_ns: u64,
    pub(crate) arguments: Vec<String>,
}

/// The stamp program in a folder of its own, and the socket that it reports to.
#[derive(Debug)]
pub(crate) struct Stamps {
    socket: UnixDatagram,
    folder: PathBuf,
}

impl Stamps {
    /// Lays out the folder that `bench/src/bin/stamp.rs` describes, with a stand-in for each of the programs.
    pub(crate) fn new(stamp: &Path, programs: &[(&str, &Path)], folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (name, real) in programs {
            fs::copy(stamp, folder.join(name)).with_context(|| format!("copying {}", stamp.display()))?;
            symlink(real, folder.join(format!("{name}.real")))?;
        }
        let socket = UnixDatagram::bind(folder.join("stamp.sock"))
            .with_context(|| format!("binding a socket in {}", folder.display()))?;
        Ok(Self { socket, folder: folder.to_owned() })
    }

    /// What to start in place of that program.
    #[must_use]
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The next process that was started.
    pub(crate) async fn next(&self, limit: Duration) -> Result<Stamp> {
        let mut datagram = vec![0; 64 * 1024];
        let Ok(received) = timeout(limit, self.socket.recv(&mut datagram)).await else {
            bail!("the command was not started within {limit:?}");
        };
        parse(&datagram[..received?]).context("a stamp is shorter than a time")
    }

    /// Forgets what was started until now.
    pub(crate) fn clear(&self) {
        let mut datagram = [0; 8];
        while self.socket.try_recv(&mut datagram).is_ok() {}
    }
}

fn parse(datagram: &[u8]) -> Option<Stamp> {
    let (time, arguments) = datagram.split_first_chunk()?;
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
    let arguments = arguments.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    Some(Stamp { started_ns: u64::from_le_bytes(*time), arguments: arguments.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_a_time_and_the_arguments() {
        let mut datagram = 7_u64.to_le_bytes().to_vec();
        datagram.extend_from_slice(b"-v\0error\0a b.mp4\0");
        let arguments = ["-v", "error", "a b.mp4"].map(str::to_owned).to_vec();
        assert_eq!(parse(&datagram), Some(Stamp { started_ns: 7, arguments }));
        assert_eq!(parse(b"short"), None);
    }
}
