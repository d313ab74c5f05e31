//! Ties a child's life to the thread that spawns it.

use std::io;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// The child gets SIGKILL from the kernel once the thread that spawned it ends, for whatever reason.
#[allow(unsafe_code)]
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes two system calls, and
    // allocates nothing: an `io::Error` from an error code holds no memory.
    unsafe {
        command.pre_exec(move || arm(parent));
    }
}

fn arm(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the signal was armed.
    if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(3)) }
}
