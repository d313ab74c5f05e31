//! Brings inputs to ffmpeg.
//!
//! ffmpeg opens no network address but this worker's own proxy on loopback, and no file but the one that it was given. The
//! proxy reads http and https with time limits and resumes what breaks, and it remembers why a source could not be read:
//! ffmpeg itself only says `Input/output error`.

mod cache;
mod failure;
mod follow;
mod pace;
mod path;
mod policy;
mod proxy;
mod range;
mod reader;
mod source;
mod upstream;

use std::time::Duration;

#[cfg(test)]
pub(crate) use self::failure::SourceFailure;
pub(crate) use self::{
    path::open_below,
    policy::Origin,
    proxy::{Mount, Proxy},
    source::{Observed, Source, shown},
};

/// How patient the proxy is with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To a connection.
    pub connect: Duration,
    /// Without a byte.
    pub stall: Duration,
    /// Tries to go on after a read broke, without enough bytes between them to call it progress.
    pub resumes: u32,
    /// Bytes of one source.
    pub largest: u64,
    /// That one read of a source may wait for its server, all together.
    pub longest: Duration,
    /// Bytes per second while it is waited for, at least.
    pub slowest: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            resumes: 3,
            largest: 1 << 40,
            longest: Duration::from_secs(24 * 3600),
            slowest: 1024,
        }
    }
}

#[cfg(test)]
mod tests;
