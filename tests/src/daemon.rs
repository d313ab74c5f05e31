//! One long-running process under test.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};

use crate::{binaries, wait};

/// A child in a process group of its own, with stderr in a file. Killed with its group when dropped; the kernel kills it
/// when the thread that started it ends, so it must be started from the test's own thread.
#[derive(Debug)]
pub struct Daemon {
    pub name: String,
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

/// What a child starts with; nothing is inherited but the `PATH`.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, OsString)>,
    pub cwd: PathBuf,
}

impl Launch {
    /// The command, in a new process group and bound to the life of this thread.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(binaries::system("setpriv"));
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_BACKTRACE", "1")
            .envs(self.env.iter().cloned())
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }
}

impl Daemon {
    /// Starts `launch`, its stderr and stdout appended to `log`.
    #[must_use]
    pub fn start(name: &str, launch: &Launch, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = launch
            .command()
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", launch.program.display()));
        Self { name: name.to_owned(), child, log: log.to_owned(), status: None }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn process(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Sends a signal to the process alone, as an operator would.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            rustix::process::kill_process(self.process(), signal).unwrap();
        }
    }

    /// `Some` once it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It still ran at the deadline.
    pub async fn exited(&mut self, deadline: Duration) -> ExitStatus {
        let status = wait::try_until(deadline, || {
            let status = self.exit_status();
            async move { status }
        })
        .await;
        match status {
            Some(status) => status,
            None => panic!("{} still ran after {deadline:?}; its log:\n{}", self.name, self.log()),
        }
    }

    /// `kill -9`, and waits for the kernel to be done with it. Only the process itself: what it started must not outlive
    /// it by its own means.
    pub fn kill(&mut self) {
        if self.exit_status().is_none() {
            self.child.kill().unwrap();
            self.status = Some(self.child.wait().unwrap());
        }
    }

    /// Everything that it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until a line of its log contains `text`, and gives the line.
    pub async fn logged(&self, deadline: Duration, text: &str) -> String {
        let what = format!("{} to log {text:?}", self.name);
        wait::until(deadline, &what, || async {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(self.process(), Signal::KILL);
        if self.status.is_none() {
            let _ = self.child.wait();
        }
    }
}

/// Did it end by itself with this code?
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
