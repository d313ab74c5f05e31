//! Ends the children's children when the worker is killed.
//!
//! The kernel ends a worker's children with it ([`super::death_signal`]), but not what they started: `ffmpeg` may be a script
//! around the real one. A shell that does nothing else is told of every process group that runs. However the worker ends, the
//! pipe to the shell closes, and the shell kills what is left. Without a shell the next start of the worker finds it
//! ([`super::leftovers`]).

use std::{
    io::{self, Write},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::Pid;

/// Reads `+ GROUP` and `- GROUP` to the end. Signals that stop the worker do not stop it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=' '
while read -r what group; do
    case $what in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*) groups="${groups%% "$group" *} ${groups#* "$group" }" ;; esac ;;
    esac
done
for group in $groups; do kill -9 "-$group"; done
"#;

/// Tells the shell. It ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Mutex<Option<ChildStdin>>>);

/// The shell, to be waited for.
#[derive(Debug)]
pub(super) struct Watcher(Option<Child>);

/// Starts the shell. A machine without one has no watch.
pub(super) fn start() -> (Watch, Watcher) {
    let (stdin, shell) = match shell() {
        Ok(mut shell) => (shell.stdin.take(), Some(shell)),
        Err(error) => {
            tracing::info!(%error, "no /bin/sh: nobody ends what ffmpeg may leave when this worker is killed");
            (None, None)
        }
    };
    (Watch(Arc::new(Mutex::new(stdin))), Watcher(shell))
}

fn shell() -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "ffmpegd-watch"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

impl Watch {
    /// A group was started.
    pub(super) fn add(&self, group: Pid) {
        self.tell('+', group);
    }

    /// A group was ended, and its leader reaped or about to be.
    pub(super) fn remove(&self, group: Pid) {
        self.tell('-', group);
    }

    fn tell(&self, what: char, group: Pid) {
        let mut stdin = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{what} {}\n", group.as_raw_nonzero());
        if let Some(pipe) = stdin.as_mut()
            && pipe.write_all(line.as_bytes()).is_err()
        {
            tracing::warn!("somebody ended the shell that watches this worker's processes");
            *stdin = None;
        }
    }
}

impl Watcher {
    /// Waits for the end of the shell, which comes when every [`Watch`] is dropped.
    pub(super) fn join(self) {
        if let Some(mut shell) = self.0 {
            let _ = shell.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn group() -> (Child, Pid) {
        let child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        (child, pid)
    }

    #[test]
    fn groups_that_are_left_end_with_the_watch() {
        let (watch, watcher) = start();
        let mut groups: Vec<_> = (0..4).map(|_| group()).collect();
        for (_, group) in &groups {
            watch.add(*group);
        }
        watch.remove(groups[0].1);
        watch.remove(groups[2].1);
        watch.remove(groups[2].1);
        drop(watch);
        watcher.join();
        for (index, (child, _)) in groups.iter_mut().enumerate() {
            if index % 2 == 0 {
                assert_eq!(child.try_wait().unwrap(), None, "{index} was taken off the list");
                child.kill().unwrap();
                child.wait().unwrap();
            } else {
                assert_eq!(child.wait().unwrap().signal(), Some(9), "{index}");
            }
        }
    }
}
