//! Starts and ends child processes such that none outlives its worker.
//!
//! Each child leads a process group of its own, which is killed as a whole. The kernel kills a child whose parent thread
//! ends (`PR_SET_PDEATHSIG`), so that not even `kill -9` of the worker leaves an ffmpeg. That signal is tied to the thread
//! that spawned, not to the process, hence one thread that does nothing else and lives as long as the worker. What a child
//! has started itself is ended by [`super::watch`] then.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    sync::oneshot,
};

use super::{
    death_signal,
    survivor::{self, Watch},
};

/// What a child may see of the worker's environment: where programs, libraries and drivers are. No token, no proxy.
const KEPT_ENV: [&str; 11] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "LIBVA_DRIVER_NAME",
    "LIBVA_DRIVERS_PATH",
    "LIBVA_MESSAGING_LEVEL",
    "ONEVPL_SEARCH_PATH",
    "XDG_RUNTIME_DIR",
];

/// A program to run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Working, home and temporary folder.
    pub(crate) folder: PathBuf,
    /// Something is written to its stdin, see [`Process::take_input`].
    pub(crate) stdin: bool,
    /// It may go to other machines.
    pub(crate) network: bool,
}

/// Spawns from its own thread, until the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Spawner(mpsc::Sender<Request>);

#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Process>>,
}

/// A running child and its group. Dropped, the group is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
    watch: Watch,
}

impl Spawner {
    /// Must be called within a tokio runtime, which reaps the children.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        thread::Builder::new().name("ffmpeg-spawner".to_owned()).spawn(move || {
            let (watch, watcher) = survivor::start();
            for mut request in inbox {
                let runtime = runtime.enter();
                let process = request.command.spawn().map(|child| Process::new(child, watch.clone()));
                drop(runtime);
                // Nobody waits any more: the child is killed with the answer.
                drop(request.reply.send(process));
            }
            drop(watch);
            watcher.join();
        })?;
        Ok(Self(requests))
    }

    /// Starts a program, with stdout and stderr to be read.
    pub(crate) async fn spawn(&self, program: &Program) -> io::Result<Process> {
        let mut command = Command::new(&program.path);
        command
            .args(&program.args)
            .current_dir(&program.folder)
            .stdin(if program.stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .env_clear()
            .envs(KEPT_ENV.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(crate::probe::FFMPEG_ENV.iter().copied())
            .env("HOME", &program.folder)
            .env("TMPDIR", &program.folder)
            .env("LC_ALL", "C.UTF-8");
        if !program.network {
            // ffmpeg goes through a proxy for whatever is not this machine, and there is none at that address: a playlist
            // that names another server leads nowhere.
            command.env("http_proxy", "http://127.0.0.1:9").env("no_proxy", "127.0.0.1");
        }
        death_signal::die_with_parent(&mut command);
        let gone = || io::Error::other("the thread that starts processes has ended");
        let (reply, answer) = oneshot::channel();
        self.0.send(Request { command, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Process {
    fn new(child: Child, watch: Watch) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            watch.add(group);
        }
        Self { child, group, watch }
    }

    /// Each can be taken once.
    pub(crate) fn take_output(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        self.child.stdout.take().zip(self.child.stderr.take())
    }

    /// Can be taken once, where there is one.
    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// For `/proc`.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the child, then kills what it may have left in its group.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.kill_group();
        Ok(status)
    }

    /// Kills the group and waits for its leader.
    pub(crate) async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.kill_group();
        self.child.wait().await
    }

    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            // Fails when the group is empty, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
            self.watch.remove(group);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::test_kill_process;
    use tokio::{io::AsyncReadExt, time::timeout};

    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: std::env::temp_dir(),
            stdin: false,
            network: false,
        }
    }

    async fn gone(pid: i32) {
        let pid = Pid::from_raw(pid).unwrap();
        timeout(Duration::from_secs(10), async {
            while test_kill_process(pid).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the process is still there");
    }

    #[tokio::test]
    async fn a_killed_child_takes_its_children_with_it() {
        let spawner = Spawner::start().unwrap();
        let mut process = spawner.spawn(&shell("sleep 600 & echo $!; wait")).await.unwrap();
        let (mut stdout, _stderr) = process.take_output().unwrap();
        let mut text = [0; 32];
        let count = stdout.read(&mut text).await.unwrap();
        let grandchild: i32 = std::str::from_utf8(&text[..count]).unwrap().trim().parse().unwrap();
        assert_eq!(Exit::from(process.kill().await.unwrap()), Exit::Signal(9));
        gone(grandchild).await;
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let spawner = Spawner::start().unwrap();
        let process = spawner.spawn(&shell("exec sleep 600")).await.unwrap();
        let pid = process.id().unwrap().cast_signed();
        drop(process);
        gone(pid).await;
    }

    #[tokio::test]
    async fn the_environment_is_clean() {
        let spawner = Spawner::start().unwrap();
        let mut process = spawner.spawn(&shell("env | cut -d= -f1 | sort | tr '\\n' ' '")).await.unwrap();
        let (mut stdout, _stderr) = process.take_output().unwrap();
        let mut names = String::new();
        stdout.read_to_string(&mut names).await.unwrap();
        assert_eq!(Exit::from(process.wait().await.unwrap()), Exit::Code(0));
        for name in names.split_whitespace() {
            assert!(
                KEPT_ENV.contains(&name)
                    || ["HOME", "TMPDIR", "LC_ALL", "http_proxy", "no_proxy", "PWD", "_", "SHLVL", "OLDPWD"]
                        .contains(&name),
                "{name} in {names}"
            );
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let spawner = Spawner::start().unwrap();
        let program = Program {
            path: "/no/such/program".into(),
            args: Vec::new(),
            folder: "/".into(),
            stdin: false,
            network: false,
        };
        assert_eq!(spawner.spawn(&program).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
