//! Processes that end with the benchmark: each in a group of its own, and the group is killed when its owner goes.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How often a condition is looked at that nothing tells about.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// Time for a process to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A process with its group. Its stderr, and its stdout unless piped, go to a log file.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    log: PathBuf,
    child: Child,
    group: Pid,
}

/// Starts `command`; its output goes to `NAME.log` in `folder`.
///
/// # Errors
/// The program or the log cannot be opened.
pub(crate) fn start(name: &str, folder: &Path, mut command: Command) -> Result<Running> {
    command.stdin(Stdio::null()).stdout(log(name, folder)?);
    start_piped(name, folder, command)
}

/// Like [`start`], with stdin and stdout as the command says.
///
/// # Errors
/// The program or the log cannot be opened.
pub(crate) fn start_piped(name: &str, folder: &Path, mut command: Command) -> Result<Running> {
    command.stderr(log(name, folder)?).process_group(0).kill_on_drop(true);
    let program = command.as_std().get_program().to_owned();
    let child =
        command.spawn().with_context(|| format!("starting {name} ({})", program.to_string_lossy()))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let group = id.with_context(|| format!("{name} ended before it was looked at"))?;
    Ok(Running { name: name.to_owned(), log: log_path(name, folder), child, group })
}

fn log_path(name: &str, folder: &Path) -> PathBuf {
    folder.join(format!("{name}.log"))
}

fn log(name: &str, folder: &Path) -> Result<File> {
    let path = log_path(name, folder);
    File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))
}

impl Running {
    /// Its process id, which is its group's too.
    #[must_use]
    pub(crate) fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// The process ends before, or `limit` passes; the error has the end of its log.
    pub(crate) async fn wait_until(
        &mut self,
        limit: Duration,
        mut condition: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if condition().await {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was ready:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} was not ready within {limit:?}:\n{}", self.name, self.log_tail());
            }
            sleep(POLL).await;
        }
    }

    /// Waits until a line of the log is `line`.
    ///
    /// # Errors
    /// As for [`Self::wait_until`].
    pub(crate) async fn wait_for_line(&mut self, limit: Duration, line: &str) -> Result<()> {
        let log = self.log.clone();
        self.wait_until(limit, async || {
            let text = std::fs::read(&log).unwrap_or_default();
            String::from_utf8_lossy(&text).lines().any(|logged| logged == line)
        })
        .await
    }

    /// The last lines that the process wrote.
    #[must_use]
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Sends the process a signal; what it has started gets none.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.group, signal).with_context(|| format!("sending a signal to {}", self.name))
    }

    /// Ends the process in order: SIGTERM, then the group is killed.
    pub(crate) async fn stop(mut self) {
        let _ = kill_process(self.group, Signal::TERM);
        let _ = timeout(GRACE, self.child.wait()).await;
    }

    /// Ends the process at once, with SIGKILL.
    pub(crate) async fn kill(mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Children of a process that has ended by itself may still be there; with none left this does nothing.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let mut running = start("peer", folder.path(), command).unwrap();
        let error = running.wait_for_line(Duration::from_secs(5), "ready").await.unwrap_err().to_string();
        assert!(error.contains("no such thing") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_process_is_ready_once_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo ready; exec sleep 60"]);
        let mut running = start("peer", folder.path(), command).unwrap();
        running.wait_for_line(Duration::from_secs(5), "ready").await.unwrap();
        running.kill().await;
    }
}
