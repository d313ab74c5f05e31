//! Ends what a killed worker left running.
//!
//! Every child has its attempt's folder as `TMPDIR`, and so have its children, whatever group or session they made for
//! themselves. Nothing else has a folder in there, so that is how they are known.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// A process that forks all the time may be missed by one look.
const LOOKS: usize = 10;
/// The kernel takes a moment to end a process; one that waits for a device may take longer, and is left to it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills every process that works in an attempt's folder below `scratch`, waits for their ends and says how many there were.
#[expect(clippy::disallowed_methods, reason = "before the worker runs anything")]
pub(super) fn end(scratch: &Path) -> usize {
    let mut ended = 0;
    for _ in 0..LOOKS {
        let found: Vec<Pid> = processes().filter(|pid| kill(*pid, scratch)).collect();
        if found.is_empty() {
            break;
        }
        ended += found.len();
        let begun = Instant::now();
        while found.iter().any(|pid| works_in(*pid, scratch)) && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
    }
    ended
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| *pid != getpid())
}

fn kill(pid: Pid, scratch: &Path) -> bool {
    // Held before the look: whoever gets the number after its process has ended is not meant.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    works_in(pid, scratch) && pidfd_send_signal(process, Signal::KILL).is_ok()
}

/// Of a process that has ended, and of somebody else's, nothing is to be read.
fn works_in(pid: Pid, scratch: &Path) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else { return false };
    environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(b"TMPDIR="))
        .any(|folder| is_below(Path::new(OsStr::from_bytes(folder)), scratch))
}

fn is_below(folder: &Path, scratch: &Path) -> bool {
    folder.strip_prefix(scratch).is_ok_and(|rest| rest.components().next().is_some())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::Command};

    use super::*;

    /// A process shows its environment a moment after it has begun.
    fn wait_for(count: usize, scratch: &Path) {
        let begun = Instant::now();
        while processes().filter(|pid| works_in(*pid, scratch)).count() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "the process does not come");
            thread::yield_now();
        }
    }

    #[test]
    fn what_works_in_the_folder_is_ended_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let sleep = |folder: &Path| Command::new("sleep").arg("600").env("TMPDIR", folder).spawn().unwrap();
        let mut left = sleep(&dir.path().join("scratch/attempt"));
        let mut other = sleep(&dir.path().join("scratch"));
        let mut another = sleep(&dir.path().join("scratch-2/attempt"));
        wait_for(1, &dir.path().join("scratch"));
        assert_eq!(end(&dir.path().join("scratch")), 1);
        assert_eq!(left.wait().unwrap().signal(), Some(9));
        for child in [&mut other, &mut another] {
            assert_eq!(child.try_wait().unwrap(), None);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn who_made_a_session_of_its_own_is_found_too() {
        let dir = tempfile::tempdir().unwrap();
        let script = "setsid sleep 600 & wait";
        let folder = dir.path().join("attempt");
        let mut parent = Command::new("sh").args(["-c", script]).env("TMPDIR", &folder).spawn().unwrap();
        wait_for(2, dir.path());
        assert!(end(dir.path()) >= 2);
        parent.wait().unwrap();
        assert_eq!(processes().filter(|pid| works_in(*pid, dir.path())).count(), 0);
    }
}
