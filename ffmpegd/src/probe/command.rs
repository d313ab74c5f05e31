//! Runs one short command: in its own process group, with a deadline, with bounded output.

use std::{ffi::OsStr, io, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    sync::Semaphore,
    time::timeout,
};

/// Commands at a time. A trial mostly waits for a driver, so more than there are cores pays; far more would only make
/// them time out together.
pub(super) const SIDE_BY_SIDE: usize = 8;

/// ffmpeg's longest listing has 60 KiB; whoever prints this much prints no listing.
const OUTPUT_LIMIT: u64 = 1024 * 1024;

pub(super) struct Runner {
    timeout: Duration,
    permits: Semaphore,
}

/// What a command that ended left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Output {
    /// `None`: exit status 0. Otherwise how it ended, in words.
    pub failure: Option<String>,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot be started: {0}")]
    Start(io::Error),
    #[error("did not end within {} s and was killed", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error("printed more than {} KiB and was killed", OUTPUT_LIMIT / 1024)]
    TooMuchOutput,
    #[error("reading what it printed failed: {0}")]
    Read(#[from] io::Error),
}

impl Runner {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, permits: Semaphore::new(SIDE_BY_SIDE) }
    }

    /// Runs a command to its end. It is killed, with all it started, when it overstays or when the future is dropped.
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        env: &[(&str, &str)],
    ) -> Result<Output, Error> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let mut command = Command::new(program);
        command
            .args(args)
            .envs(env.iter().copied())
            .env("LC_ALL", "C")
            // Colours and log files are for people.
            .env("AV_LOG_FORCE_NOCOLOR", "1")
            .env_remove("FFREPORT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(Error::Start)?;
        // Declared after the child, so it is dropped first: while the child is not reaped its id is nobody else's.
        let mut group = Group::of(&child);
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let ended = timeout(self.timeout, async {
            let (stdout, stderr) = tokio::try_join!(read(stdout), read(stderr))?;
            Ok((stdout, stderr, child.wait().await?))
        })
        .await
        .unwrap_or(Err(Error::TimedOut(self.timeout)));
        match ended {
            Ok((stdout, stderr, status)) => {
                group.disarm();
                let failure = (!status.success()).then(|| status.to_string());
                Ok(Output { failure, stdout, stderr })
            }
            Err(error) => {
                drop(group);
                // Killed a moment ago; waiting keeps it from staying a zombie.
                let _ = timeout(self.timeout, child.wait()).await;
                Err(error)
            }
        }
    }
}

async fn read(stream: impl AsyncRead + Unpin) -> Result<String, Error> {
    let mut bytes = Vec::new();
    stream.take(OUTPUT_LIMIT + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > OUTPUT_LIMIT {
        return Err(Error::TooMuchOutput);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Kills a process group when dropped.
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    #[cfg(unix)]
    fn of(child: &tokio::process::Child) -> Self {
        let leader =
            child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Self { leader }
    }

    #[cfg(not(unix))]
    fn of(_child: &tokio::process::Child) -> Self {
        Self {}
    }

    fn disarm(&mut self) {
        #[cfg(unix)]
        {
            self.leader = None;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader {
            // An error means that the group is gone already.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    async fn sh(script: &str, limit: Duration) -> Result<Output, Error> {
        Runner::new(limit).run(Path::new("/bin/sh"), ["-c", script], &[]).await
    }

    #[tokio::test]
    async fn output_and_exit_status_are_kept() {
        let output = sh("echo out; echo err >&2; exit 3", Duration::from_secs(10)).await.unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        assert!(output.failure.unwrap().contains('3'));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pids.display());
        let error = sh(&script, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        let pid = std::fs::read_to_string(pids).unwrap();
        // Gone, or a zombie that its new parent has not reaped yet. The kernel may take a moment after the kill.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let killed = async {
            while !gone() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), killed).await.expect("the child outlived its parent");
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let error = sh("yes", Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(error, Error::TooMuchOutput), "{error}");
    }
}
