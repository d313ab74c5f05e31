//! How long a task is without a process when its worker dies (SIGKILL) or hangs (SIGSTOP), with real workers.
//!
//! The stamp program stands in for ffmpeg and ffprobe and says when each is started. An encode never ends; everything else
//! is done by the real programs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use common::{
    api::{InputRef, JobRequest, JobView, WorkerState},
    id::JobId,
};
use rustix::process::Signal;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    api::request,
    clock::{milliseconds, monotonic_ns},
    farm::{Coordinator, Site},
    process::{POLL, Running},
    stamps::{Stamp, Stamps},
    stats::Spread,
};

/// For a process to be started, and for a worker to be idle again. Far above any lease that is used here.
const LIMIT: Duration = Duration::from_secs(30);
/// What only an encode is told.
const ENCODE: &str = "-progress";

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clip: PathBuf,
    pub(crate) preset: String,
    pub(crate) kills: usize,
    pub(crate) stops: usize,
    /// Of the workers that are stopped.
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) stamp: PathBuf,
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
}

/// Milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// From `kill -9` of the worker, with a grace of 0, until the other worker has started the next attempt's first process
    /// (ffprobe on the input), and until its ffmpeg has started.
    pub(crate) kill_to_first_process: Spread,
    pub(crate) kill_to_ffmpeg: Spread,
    /// From SIGSTOP until the other worker's ffmpeg has started, with this lease; and how much of it lies beyond the lease.
    /// The lease counts from the last heartbeat, which was up to one interval before SIGSTOP, so this may be below 0.
    pub(crate) stop_to_ffmpeg: Spread,
    pub(crate) stop_beyond_lease: Spread,
    pub(crate) lease_milliseconds: f64,
    pub(crate) heartbeat_milliseconds: f64,
}

pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let kills = run(site, plan, Death::Killed, plan.kills).await?;
    let stops = run(site, plan, Death::Stopped, plan.stops).await?;
    let lease_milliseconds = plan.lease.as_secs_f64() * 1e3;
    let spread = |samples: &[Failover], figure: &dyn Fn(&Failover) -> f64| {
        Spread::of(&samples.iter().map(figure).collect::<Vec<_>>()).context("no failover was measured")
    };
    Ok(Measured {
        kill_to_first_process: spread(&kills, &|failover| failover.first_process)?,
        kill_to_ffmpeg: spread(&kills, &|failover| failover.ffmpeg)?,
        stop_to_ffmpeg: spread(&stops, &|failover| failover.ffmpeg)?,
        stop_beyond_lease: spread(&stops, &|failover| failover.ffmpeg - lease_milliseconds)?,
        lease_milliseconds,
        heartbeat_milliseconds: plan.heartbeat.as_secs_f64() * 1e3,
    })
}

/// What happens to a worker.
#[derive(Debug, Clone, Copy)]
enum Death {
    Killed,
    Stopped,
}

/// Milliseconds from the signal.
struct Failover {
    first_process: f64,
    ffmpeg: f64,
}

async fn run(site: &Site, plan: &Plan, death: Death, samples: usize) -> Result<Vec<Failover>> {
    let name = format!("{death:?}").to_lowercase();
    let folder = site.folder.join(format!("failover-{name}"));
    let stamps = stand_ins(plan, &folder)?;
    let (lease, heartbeat) = (duration(plan.lease), duration(plan.heartbeat));
    let mut env = vec![("TVARR_DISCONNECT_GRACE", Path::new("0"))];
    if let Death::Stopped = death {
        env.extend([("TVARR_LEASE", Path::new(&lease)), ("TVARR_HEARTBEAT_INTERVAL", Path::new(&heartbeat))]);
    }
    let coordinator = site.coordinator(&format!("failover-{name}-data"), &env).await?;
    let job = request(InputRef::Path(plan.clip.to_string_lossy().into_owned()), &plan.preset);
    let mut pair =
        Pair { site, coordinator, stamps, job, workers: BTreeMap::new(), started: 0, prefix: name };
    pair.start_worker().await?;
    pair.start_worker().await?;
    let mut failovers = Vec::with_capacity(samples);
    // The first is a warm-up: pages of programs that no worker has run yet.
    for sample in 0..=samples {
        let failover = pair.fail_over(death).await?;
        if sample > 0 {
            failovers.push(failover);
        }
        if sample % 10 == 0 && sample > 0 {
            eprintln!("failover: {sample} of {samples} workers {}", pair.prefix);
        }
    }
    for (_, worker) in pair.workers {
        worker.stop().await;
    }
    pair.coordinator.stop().await;
    Ok(failovers)
}

/// A coordinator with two workers, of which one runs the job.
struct Pair<'a> {
    site: &'a Site,
    coordinator: Coordinator,
    stamps: Stamps,
    job: JobRequest,
    workers: BTreeMap<String, Running>,
    /// Workers that were ever started.
    started: usize,
    prefix: String,
}

impl Pair<'_> {
    /// A worker that the coordinator does not know: one that came back with its old id too often would be held back.
    async fn start_worker(&mut self) -> Result<()> {
        let name = format!("{}-{}", self.prefix, self.started);
        self.started += 1;
        let env = [
            ("TVARR_FFMPEG", self.stamps.program("ffmpeg")),
            ("TVARR_FFPROBE", self.stamps.program("ffprobe")),
        ];
        let env: Vec<(&str, &Path)> = env.iter().map(|(name, program)| (*name, program.as_path())).collect();
        let worker = self.site.worker(&self.coordinator, &name, &env).await?;
        self.workers.insert(name, worker);
        Ok(())
    }

    async fn fail_over(&mut self, death: Death) -> Result<Failover> {
        self.stamps.clear();
        let id = self.coordinator.api.submit(&self.job).await?.summary.id;
        self.encode().await.context("waiting for the first worker's ffmpeg")?;
        let name = self.reported(id).await?;
        let victim =
            self.workers.remove(&name).with_context(|| format!("{name} is no worker of this run"))?;
        self.stamps.clear();
        let before = monotonic_ns();
        victim.signal(match death {
            Death::Killed => Signal::KILL,
            Death::Stopped => Signal::STOP,
        })?;
        let (first, encode) = self
            .encode()
            .await
            .with_context(|| format!("{name} was {death:?}, waiting for ffmpeg elsewhere"))?;
        let heir = self.reported(id).await?;
        ensure!(heir != name, "{name} runs the task again, though it was {death:?}");
        victim.kill().await;
        self.coordinator.api.cancel(id).await?;
        self.start_worker().await?;
        self.idle().await?;
        Ok(Failover {
            first_process: milliseconds(before, first.started_ns),
            ffmpeg: milliseconds(before, encode.started_ns),
        })
    }

    /// The next process that is started, and the next encode.
    async fn encode(&self) -> Result<(Stamp, Stamp)> {
        let first = self.stamps.next(LIMIT).await?;
        let mut stamp = first.clone();
        while !stamp.arguments.iter().any(|argument| argument == ENCODE) {
            stamp = self.stamps.next(LIMIT).await?;
        }
        Ok((first, stamp))
    }

    /// Waits until the coordinator knows that the newest attempt's ffmpeg runs; returns the worker.
    async fn reported(&self, id: JobId) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let job = self.coordinator.api.job(id).await?;
            if let Some(worker) = running_on(&job) {
                return Ok(worker);
            }
            ensure!(Instant::now() < deadline, "job {id} is not reported as running: {:?}", job.summary);
            sleep(POLL).await;
        }
    }

    /// Waits until every worker that is there may be given work and has none.
    async fn idle(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let workers = self.coordinator.api.workers().await?;
            let idle = workers
                .iter()
                .filter(|worker| worker.state == WorkerState::Online && worker.jobs == 0)
                .count();
            if idle == self.workers.len() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{idle} of {} workers are idle", self.workers.len());
            sleep(POLL).await;
        }
    }
}

/// The worker of a job whose newest attempt is reported as started and has not ended.
fn running_on(job: &JobView) -> Option<String> {
    let attempt = job.tasks.iter().flat_map(|task| &task.attempts).max_by_key(|attempt| attempt.epoch)?;
    (attempt.started_at.is_some() && attempt.finished_at.is_none()).then(|| attempt.worker.name.clone())
}

/// The stamp program as ffmpeg and ffprobe.
fn stand_ins(plan: &Plan, folder: &Path) -> Result<Stamps> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let endless = folder.join("endless-ffmpeg");
    let script = format!(
        "#!/bin/sh\nfor argument; do [ \"$argument\" = {ENCODE} ] && exec sleep 86400; done\nexec '{}' \"$@\"\n",
        plan.ffmpeg.display()
    );
    fs::write(&endless, script).with_context(|| format!("writing {}", endless.display()))?;
    fs::set_permissions(&endless, fs::Permissions::from_mode(0o755))?;
    Stamps::new(&plan.stamp, &[("ffmpeg", &endless), ("ffprobe", &plan.ffprobe)], &folder.join("stamp"))
}

fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
