//! What is broken, for how long, and how it is healed.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{api::JobState, id::WorkerId};
use jiff::Timestamp;
use rand::{
    RngExt,
    rngs::StdRng,
    seq::{IndexedRandom, IteratorRandom},
};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    Ledger, Plan,
    client::{Client, Trouble},
    worker, worker_names,
};
use crate::{
    Farm,
    proxy::{Flow, Weather},
};

/// How often pending heals are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A worker that was asked to leave has left by then: its drain timeout, and some.
const LEFT: Duration = Duration::from_secs(30);
const COORDINATOR: &str = "coordinator";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillWorker,
    FreezeWorker,
    TermWorker,
    KillCoordinator,
    FreezeCoordinator,
    RestartCoordinator,
    KillFfmpeg,
    FreezeFfmpeg,
    CutLine,
    HoldLine,
    SwallowLine,
    DeafenWorker,
    SlowLine,
    FillScratch,
    FillData,
    Cancel,
    Drain,
    Redrive,
}

/// How often each, relative to the others.
const MIX: [(Fault, u32); 18] = [
    (Fault::KillWorker, 10),
    (Fault::FreezeWorker, 8),
    (Fault::TermWorker, 6),
    (Fault::KillCoordinator, 5),
    (Fault::FreezeCoordinator, 2),
    (Fault::RestartCoordinator, 2),
    (Fault::KillFfmpeg, 12),
    (Fault::FreezeFfmpeg, 3),
    (Fault::CutLine, 10),
    (Fault::HoldLine, 5),
    (Fault::SwallowLine, 5),
    (Fault::DeafenWorker, 4),
    (Fault::SlowLine, 4),
    (Fault::FillScratch, 4),
    (Fault::FillData, 3),
    (Fault::Cancel, 8),
    (Fault::Drain, 4),
    (Fault::Redrive, 3),
];

/// A fault that happened.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) fault: Fault,
    /// The worker that it hit, if it was one.
    pub(crate) worker: Option<String>,
    pub(crate) at: Timestamp,
}

#[derive(Debug)]
enum Heal {
    StartWorker(String),
    /// It was asked to leave.
    StartWorkerOnceLeft(String),
    WakeWorker(String),
    StartCoordinator,
    WakeCoordinator,
    Line(String),
    Scratch(String),
    Data,
    Resume(String),
}

/// Breaks things and heals them.
pub(crate) struct Saboteur {
    plan: Plan,
    client: Client,
    ledger: Arc<Ledger>,
    rng: StdRng,
    heals: Vec<(Instant, Heal)>,
    /// Broken at the moment: one fault at a time for each.
    broken: BTreeSet<String>,
    done: Vec<Done>,
}

impl Saboteur {
    pub(crate) fn new(plan: Plan, client: Client, ledger: Arc<Ledger>, rng: StdRng) -> Self {
        Self { plan, client, ledger, rng, heals: Vec::new(), broken: BTreeSet::new(), done: Vec::new() }
    }

    pub(crate) fn done(&self) -> &[Done] {
        &self.done
    }

    pub(crate) fn into_done(self) -> Vec<Done> {
        self.done
    }

    /// Heals what is due for a while, then breaks something.
    pub(crate) async fn step(&mut self, farm: &mut Farm) {
        let pause = self.plan.pause * -(1.0 - self.rng.random::<f64>()).ln();
        let until = Instant::now() + Duration::from_secs_f64(pause.min(4.0 * self.plan.pause));
        while Instant::now() < until {
            self.heal_due(farm, Instant::now()).await;
            tokio::time::sleep(LOOK).await;
        }
        let (fault, _) = *MIX.choose_weighted(&mut self.rng, |(_, weight)| *weight).unwrap();
        self.inflict(fault, farm).await;
    }

    /// Heals everything.
    pub(crate) async fn heal(&mut self, farm: &mut Farm) {
        // The coordinator first, since workers are resumed by asking it.
        self.heals.sort_by_key(|(at, heal)| {
            (!matches!(heal, Heal::StartCoordinator | Heal::WakeCoordinator | Heal::Data), *at)
        });
        let far = Instant::now() + Duration::from_secs(24 * 3600);
        self.heal_due(farm, far).await;
    }

    async fn heal_due(&mut self, farm: &mut Farm, now: Instant) {
        while let Some(index) = self.heals.iter().position(|(at, _)| *at <= now) {
            let (_, heal) = self.heals.remove(index);
            self.undo(heal, farm).await;
        }
    }

    async fn undo(&mut self, heal: Heal, farm: &mut Farm) {
        let target = match heal {
            Heal::StartWorker(name) => {
                farm.start_worker(worker(&name).not_awaited()).await;
                name
            }
            Heal::StartWorkerOnceLeft(name) => {
                let end = Instant::now() + LEFT;
                while farm.worker(&name).exit_status().is_none() && Instant::now() < end {
                    tokio::time::sleep(LOOK).await;
                }
                if farm.worker(&name).exit_status().is_none() {
                    self.ledger.wrong(format!("worker {name} did not leave within {LEFT:?} after SIGTERM"));
                }
                farm.start_worker(worker(&name).not_awaited()).await;
                name
            }
            Heal::WakeWorker(name) => {
                farm.worker(&name).signal(Signal::CONT);
                name
            }
            Heal::StartCoordinator => {
                farm.start_coordinator().await;
                COORDINATOR.to_owned()
            }
            Heal::WakeCoordinator => {
                farm.coordinator().signal(Signal::CONT);
                COORDINATOR.to_owned()
            }
            Heal::Line(name) => {
                farm.line(&name).heal();
                name
            }
            Heal::Scratch(name) => {
                if let Some(disk) = farm.disk(&name) {
                    disk.free();
                }
                name
            }
            Heal::Data => {
                if let Some(disk) = farm.disk("data") {
                    disk.free();
                }
                COORDINATOR.to_owned()
            }
            Heal::Resume(name) => {
                // It may have been restarted, or the coordinator: then there is nothing to resume.
                if let Some(id) = self.worker_id(&name).await {
                    let _ = self.client.drain(id, false).await;
                }
                name
            }
        };
        self.broken.remove(&target);
    }

    async fn worker_id(&self, name: &str) -> Option<WorkerId> {
        let workers = self.client.workers().await.ok()?;
        workers.into_iter().find(|worker| worker.name == name).map(|worker| worker.id)
    }

    /// Some worker that is not broken.
    fn sound_worker(&mut self) -> Option<String> {
        let names = worker_names(self.plan).into_iter().filter(|name| !self.broken.contains(name));
        names.choose(&mut self.rng)
    }

    fn seconds(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(self.rng.random_range(from..to))
    }

    async fn inflict(&mut self, fault: Fault, farm: &mut Farm) {
        let hit = match fault {
            Fault::KillWorker
            | Fault::FreezeWorker
            | Fault::TermWorker
            | Fault::CutLine
            | Fault::HoldLine
            | Fault::SwallowLine
            | Fault::DeafenWorker
            | Fault::SlowLine
            | Fault::FillScratch
            | Fault::Drain => {
                let Some(name) = self.sound_worker() else { return };
                if !self.hit_worker(fault, &name, farm).await {
                    return;
                }
                Some(name)
            }
            Fault::KillCoordinator
            | Fault::RestartCoordinator
            | Fault::FreezeCoordinator
            | Fault::FillData => {
                if self.broken.contains(COORDINATOR) || !self.hit_coordinator(fault, farm).await {
                    return;
                }
                None
            }
            Fault::KillFfmpeg | Fault::FreezeFfmpeg => {
                let ffmpegs = farm.ffmpegs();
                let Some(ffmpeg) = ffmpegs.choose(&mut self.rng) else { return };
                let signal = if fault == Fault::KillFfmpeg { Signal::KILL } else { Signal::STOP };
                // It may have ended meanwhile.
                let pid = Pid::from_raw(i32::try_from(ffmpeg.pid).unwrap()).unwrap();
                if kill_process(pid, signal).is_err() {
                    return;
                }
                None
            }
            Fault::Cancel => {
                self.cancel().await;
                None
            }
            Fault::Redrive => {
                self.redrive().await;
                None
            }
        };
        self.done.push(Done { fault, worker: hit, at: Timestamp::now() });
    }

    /// `false`: there was nothing to break.
    async fn hit_worker(&mut self, fault: Fault, name: &str, farm: &mut Farm) -> bool {
        let to = || name.to_owned();
        let (wait, heal) = match fault {
            Fault::KillWorker => {
                farm.kill_worker(name);
                (self.seconds(0.0, 8.0), Heal::StartWorker(to()))
            }
            Fault::TermWorker => {
                farm.worker(name).signal(Signal::TERM);
                (self.seconds(0.5, 8.0), Heal::StartWorkerOnceLeft(to()))
            }
            Fault::FreezeWorker => {
                farm.worker(name).signal(Signal::STOP);
                (self.seconds(0.5, 15.0), Heal::WakeWorker(to()))
            }
            Fault::FillScratch => {
                let Some(disk) = farm.disk(name) else { return false };
                disk.fill();
                (self.seconds(2.0, 12.0), Heal::Scratch(to()))
            }
            Fault::Drain => {
                let Some(id) = self.worker_id(name).await else { return false };
                if self.client.drain(id, true).await.is_err() {
                    return false;
                }
                (self.seconds(1.0, 8.0), Heal::Resume(to()))
            }
            _ => {
                let weather = match fault {
                    Fault::HoldLine => Weather::both(Flow::Held),
                    Fault::SwallowLine => Weather::both(Flow::Swallowed),
                    Fault::DeafenWorker => Weather { down: Flow::Swallowed, ..Weather::FAIR },
                    Fault::SlowLine => Weather::both(Flow::Slow {
                        bytes_per_second: 50_000,
                        latency: Duration::from_millis(20),
                    }),
                    _ => Weather { cut: true, ..Weather::FAIR },
                };
                farm.line(name).set(weather);
                (self.seconds(0.1, 12.0), Heal::Line(to()))
            }
        };
        self.broken.insert(to());
        self.heals.push((Instant::now() + wait, heal));
        true
    }

    async fn hit_coordinator(&mut self, fault: Fault, farm: &mut Farm) -> bool {
        let (wait, heal) = match fault {
            Fault::FillData => {
                let Some(disk) = farm.disk("data") else { return false };
                disk.fill();
                (self.seconds(1.0, 8.0), Heal::Data)
            }
            Fault::FreezeCoordinator => {
                farm.coordinator().signal(Signal::STOP);
                (self.seconds(0.5, 10.0), Heal::WakeCoordinator)
            }
            _ => {
                farm.stop_coordinator(fault == Fault::RestartCoordinator).await;
                (self.seconds(0.0, 6.0), Heal::StartCoordinator)
            }
        };
        self.broken.insert(COORDINATOR.to_owned());
        self.heals.push((Instant::now() + wait, heal));
        true
    }

    async fn cancel(&mut self) {
        let state = if self.rng.random() { JobState::Running } else { JobState::Queued };
        let Ok(jobs) = self.client.jobs_that_are(state).await else { return };
        let Some(job) = jobs.choose(&mut self.rng).map(|job| job.id) else { return };
        match self.client.cancel(job).await {
            Ok(_) => {
                self.ledger.cancelled.lock().unwrap().insert(job);
            }
            Err(Trouble::Silence) => {
                self.ledger.maybe_cancelled.lock().unwrap().insert(job);
            }
            // It ended first, or nothing can be written.
            Err(Trouble::Refused(..)) => {}
        }
    }

    async fn redrive(&mut self) {
        if let Ok(redriven) = self.client.redrive_all().await {
            self.ledger.redriven.lock().unwrap().extend(redriven.jobs);
        }
    }
}
