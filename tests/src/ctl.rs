//! `ffmpegctl` as a person runs it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::{binaries, daemon::Launch, system, wait};

/// A place to run `ffmpegctl` in: home, temporary files and mark of its own.
#[derive(Debug)]
pub struct Desk {
    folder: TempDir,
    mark: String,
    pub env: Vec<(String, OsString)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("e2e-ctl-").tempdir().unwrap();
        for name in ["home", "tmp", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mark = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        Self { folder, mark, env: Vec::new() }
    }

    /// With the files for the farm at `api`.
    #[must_use]
    pub fn at(api: &str) -> Self {
        let mut desk = Self::new();
        desk.env.push(("TVARR_API_URL".into(), api.into()));
        desk
    }

    /// The working folder of its commands.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Starts `ffmpegctl` with these arguments.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(&self, args: &[S]) -> Running {
        let folder = self.folder.path();
        let mut env = self.env.clone();
        env.push((system::MARK.into(), self.mark.clone().into()));
        env.push(("HOME".into(), folder.join("home").into()));
        env.push(("TMPDIR".into(), folder.join("tmp").into()));
        let launch = Launch {
            program: binaries::workspace("ffmpegctl"),
            args: args.iter().map(|arg| arg.as_ref().to_owned()).collect(),
            env,
            cwd: self.work(),
        };
        let stdout = tempfile::NamedTempFile::new().unwrap();
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let child = launch
            .command()
            .process_group(0)
            .stdout(File::create(stdout.path()).unwrap())
            .stderr(File::create(stderr.path()).unwrap())
            .spawn()
            .unwrap();
        Running { child, status: None, stdout, stderr }
    }

    /// Runs `ffmpegctl` to its end.
    pub async fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.start(args).ended(wait::seconds(120)).await
    }

    /// Processes that it started and that still run.
    #[must_use]
    pub fn processes(&self) -> Vec<system::Process> {
        system::processes_of(&self.mark, self.folder.path())
    }

    /// Asserts that nothing is left but what was asked for: no process, nothing in home and temporary folder, and in the
    /// working folder only `expected`.
    pub async fn left_nothing_but(&self, expected: &[&str]) {
        let gone =
            wait::try_until(wait::seconds(5), || async { self.processes().is_empty().then_some(()) }).await;
        assert!(gone.is_some(), "processes are left: {:?}", self.processes());
        for name in ["home", "tmp"] {
            let left: Vec<_> = fs::read_dir(self.folder.path().join(name)).unwrap().flatten().collect();
            assert!(left.is_empty(), "left in {name}: {left:?}");
        }
        let files = system::files(&self.work());
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(files, expected, "files in the working folder");
    }

    /// A file of `bytes` in the working folder.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.work().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A command that may still run.
#[derive(Debug)]
pub struct Running {
    child: Child,
    status: Option<ExitStatus>,
    stdout: tempfile::NamedTempFile,
    stderr: tempfile::NamedTempFile,
}

impl Running {
    /// Ctrl-C: the whole foreground process group gets SIGINT.
    pub fn interrupt(&self) {
        rustix::process::kill_process_group(self.pid(), Signal::INT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.stdout.path()).unwrap()
    }

    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.stderr.path()).unwrap()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It still ran at the deadline.
    pub async fn ended(mut self, deadline: Duration) -> Outcome {
        let status = wait::try_until(deadline, || {
            let status = self.child.try_wait().unwrap();
            async move { status }
        })
        .await;
        self.status = status;
        let (stdout, stderr) = (self.stdout(), self.stderr());
        match status {
            Some(status) => Outcome { code: crate::daemon::exit_code(status), stdout, stderr },
            None => panic!("ffmpegctl still ran after {deadline:?}\nstdout:\n{stdout}\nstderr:\n{stderr}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
