//! Coordinator and worker inside this process, for one run.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use common::{api::WorkerState, config::Secret, reach::Reach};
use coordinator::Coordinator;
use ffmpegd::{Shutdown, Worker};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use uuid::Uuid;

use super::inputs::Input;
use crate::{cli::TranscodeArgs, client::Client, console, error::Error, text};

/// Progress and cancellations travel with heartbeats: often enough for a bar that moves.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Less room than this for jobs, logs and intermediate files is not worth a start.
const ROOM: u64 = 32 * 1024 * 1024;
/// How long the worker may take to leave once its jobs are cancelled.
const LEAVE: Duration = Duration::from_secs(10);
/// How long the worker may take to connect to the same process.
const CONNECT: Duration = Duration::from_secs(20);
const SHORTLY: Duration = Duration::from_millis(20);

/// A farm of one worker, in a private folder that goes with it.
pub(super) struct Embedded {
    coordinator: Option<Coordinator>,
    /// Nobody else on this machine gets in.
    key: Secret,
    http: SocketAddr,
    shutdown: Shutdown,
    /// The worker; dropped, it kills its ffmpegs.
    worker: JoinSet<()>,
    /// Why the worker ended, once it did.
    ended: watch::Receiver<Option<Error>>,
    folder: TempDir,
}

/// What of a worker's settings the environment may say here: which ffmpeg, which hardware, which time limits.
#[derive(Debug, Parser)]
#[command(name = "ffmpegctl transcode")]
struct Machine {
    #[command(flatten)]
    options: ffmpegd::Options,
}

impl Embedded {
    pub(super) async fn start(
        args: &TranscodeArgs,
        inputs: impl Iterator<Item = &Input>,
        jobs: u32,
    ) -> Result<Self, Error> {
        let inputs: Vec<_> = inputs.collect();
        let folder = folder(args.temp_dir.as_deref(), &inputs)?;
        let roots = roots(&inputs);
        let token = Secret::new(Uuid::new_v4().simple().to_string());

        let mut config = coordinator::Config::embedded(folder.path().join("coordinator"), token.clone());
        let key = Secret::new(Uuid::new_v4().simple().to_string());
        config.admin_key = Some(key.clone());
        config.shared_roots.clone_from(&roots);
        config.presets_dir.clone_from(&args.presets_dir);
        config.heartbeat_interval = HEARTBEAT;
        let coordinator = Coordinator::start(config).await.map_err(cannot_start)?;
        let http = coordinator.http_addr();
        let Some(port) = coordinator.worker_addr() else {
            return Err(Error::failed("the coordinator in this process listens for no worker"));
        };

        let mut machine = Machine::try_parse_from(["ffmpegctl transcode"]).map_err(cannot_start)?;
        machine.options.coordinator_url = format!("http://{port}").parse().map_err(cannot_start)?;
        machine.options.auth_token = Some(token.expose().to_owned());
        machine.options.auth_token_file = None;
        machine.options.max_jobs = Some(jobs);
        machine.options.max_cpu_jobs = Some(jobs);
        machine.options.presets.clear();
        machine.options.labels.clear();
        machine.options.exit_when_idle = false;
        machine.options.state_dir = Some(folder.path().join("worker"));
        machine.options.scratch_dir = None;
        // Nobody else is kept out: this is one run of the person whose disk it is.
        machine.options.scratch_keep_free.get_or_insert(0);
        machine.options.shared_roots = roots;
        // Nor from any address: whoever typed it could as well open it.
        machine.options.source_allow.get_or_insert_with(Reach::anywhere);
        let mut config = ffmpegd::Config::try_from(machine.options).map_err(cannot_start)?;
        // Whoever wants it done here wants it done by this machine, whatever else is asked of workers.
        config.labels = args.labels.iter().cloned().collect();
        let worker = Worker::prepare(config).await.map_err(cannot_start)?;

        let shutdown = Shutdown::default();
        let (end, ended) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let leave = shutdown.clone();
        tasks.spawn(async move {
            let error = match worker.run(leave).await {
                Ok(_) => Error::failed("the worker in this process left before its work was done"),
                Err(error) => cannot_start(error),
            };
            end.send_replace(Some(error));
        });
        Ok(Self { coordinator: Some(coordinator), key, http, shutdown, worker: tasks, ended, folder })
    }

    pub(super) fn client(&self) -> Result<Client, Error> {
        Client::local(self.http, &self.key)
    }

    /// Until the worker is connected, so that no job is seen waiting for it.
    pub(super) async fn connected(&self, client: &Client) -> Result<(), Error> {
        let connecting = async {
            while !client.workers().await?.iter().any(|worker| worker.state == WorkerState::Online) {
                tokio::time::sleep(SHORTLY).await;
            }
            Ok(())
        };
        tokio::select! {
            error = self.died() => Err(error),
            result = timeout(CONNECT, connecting) => result.unwrap_or_else(|_| {
                Err(Error::failed("the worker in this process did not connect; --verbose tells more"))
            }),
        }
    }

    /// Why the worker ended by itself. Does not return while it works.
    pub(super) async fn died(&self) -> Error {
        match self.ended.clone().wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or_else(|| Error::failed("the worker in this process left")),
            Err(_) => Error::failed("the worker in this process broke; this is a bug, please report it"),
        }
    }

    /// Ends worker and coordinator in order. May be dropped in the middle.
    pub(super) async fn stop(&mut self) {
        self.shutdown.stop.cancel();
        // What does not leave is ended by `remove`.
        let _ = timeout(LEAVE, self.worker.join_next()).await;
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.shutdown().await;
        }
    }

    /// Ends at once what still runs, and removes the folder.
    pub(super) async fn remove(mut self) {
        let _ = timeout(LEAVE, self.worker.shutdown()).await;
        drop(self.coordinator);
        let path = self.folder.path().to_owned();
        if let Err(error) = self.folder.close() {
            console::say(&format!("warning: cannot remove {}: {error}; remove it by hand", path.display()));
        }
    }
}

fn cannot_start(error: impl std::fmt::Display) -> Error {
    Error::failed(format!("cannot transcode on this machine: {}", error.to_string().trim_end()))
}

/// Files are read where they are: the worker may open what lies in these folders.
fn roots(inputs: &[&Input]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = inputs
        .iter()
        .filter_map(|input| match input {
            Input::File(file) => file.canonical.parent().map(Path::to_owned),
            Input::Url(_) | Input::Upload(_) => None,
        })
        .collect();
    roots.sort();
    roots.dedup();
    roots
}

/// A folder that only this user may look into.
fn folder(base: Option<&Path>, inputs: &[&Input]) -> Result<TempDir, Error> {
    let base = base.map_or_else(std::env::temp_dir, Path::to_owned);
    let base =
        base.canonicalize().map_err(|error| Error::writing("use the temporary folder", &base, &error))?;
    if let Ok(stat) = rustix::fs::statvfs(&base) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks > 0 && free < ROOM {
            return Err(no_room(&base, free, inputs));
        }
    }
    tempfile::Builder::new()
        .prefix("ffmpegctl-")
        .tempdir_in(&base)
        .map_err(|error| Error::writing("write to the temporary folder", &base, &error))
}

fn no_room(base: &Path, free: u64, inputs: &[&Input]) -> Error {
    let names: Vec<_> = inputs.iter().take(3).map(|input| input.name()).collect();
    Error::unwritable(format!(
        "no space left in {} for the intermediate files of {}: {} are free and {} is the least; free some space or \
         name a folder on another disk with --temp-dir",
        base.display(),
        names.join(", "),
        text::bytes(free),
        text::bytes(ROOM),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcode::inputs::LocalFile;

    fn file(path: &str) -> Input {
        Input::File(LocalFile { given: path.into(), canonical: path.into(), size: 1 })
    }

    #[test]
    fn the_worker_may_open_the_folders_of_the_inputs_and_no_others() {
        let inputs =
            [file("/b/2.mp4"), file("/a/1.mp4"), file("/b/3.mp4"), Input::Url("http://x/y".to_owned())];
        let inputs: Vec<_> = inputs.iter().collect();
        assert_eq!(roots(&inputs), [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn a_full_temporary_disk_is_told_before_anything_starts() {
        let input = file("/a/clip.mp4");
        let error = no_room(Path::new("/tmp"), 1024, &[&input]);
        assert_eq!(error.exit, crate::Exit::Unwritable);
        assert!(error.message.contains("/tmp for the intermediate files of /a/clip.mp4"), "{error}");
    }
}
