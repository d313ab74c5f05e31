//! Memory of a process, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

/// What `/proc/PID/smaps_rollup` says, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Resident {
    /// Everything that is in memory, program and mapped files included.
    pub(crate) rss: u64,
    /// Heap and stacks only.
    pub(crate) anonymous: u64,
}

/// Looks at the process.
///
/// # Errors
/// It is gone, or not ours to look at.
pub(crate) fn of(process: i32) -> Result<Resident> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse(&text).with_context(|| format!("{path} has no Rss and Anonymous"))
}

fn parse(rollup: &str) -> Option<Resident> {
    let bytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Some(Resident { rss: bytes("Rss")?, anonymous: bytes("Anonymous")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rollup_is_in_kibibytes() {
        let text = "55d0-7ffe ---p 00000000 00:00 0  [rollup]\nRss:      2048 kB\nPss:  1000 kB\nAnonymous:   1024 kB\n";
        assert_eq!(parse(text), Some(Resident { rss: 2 << 20, anonymous: 1 << 20 }));
        assert_eq!(parse("Rss: much"), None);
    }

    #[test]
    fn a_process_knows_its_own_size() {
        let own = of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.rss > own.anonymous && own.anonymous > 0, "{own:?}");
    }
}
