//! The soak: a farm under load, random faults, then a reconciliation.
//!
//! Three things go on at once. [`load`] submits jobs and writes down the id of every one that got a 2xx. [`faults`] breaks
//! something every few seconds, chosen by a seeded generator, and heals it again. The third is this machine's scheduler,
//! which is why a seed repeats the choices and not the outcome. After that everything is healed, dead letters are redriven,
//! and once all jobs have ended [`reconcile`] holds accepted ids, tables, objects, processes, files and logs against each
//! other.

mod client;
mod faults;
mod load;
mod reconcile;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::{
    api::{JobState, WorkerState},
    id::JobId,
};
use rand::{SeedableRng, rngs::StdRng};

pub use self::report::Report;
use self::{
    client::Client,
    faults::{Done, Saboteur},
    load::Load,
};
use crate::{
    Farm, WorkerSpec,
    wait::{self, seconds},
};

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seconds: f64,
    pub seed: u64,
    pub workers: usize,
    /// Mean seconds between two faults.
    pub pause: f64,
}

/// Between two lines of progress.
const PROGRESS: Duration = seconds(10);
/// For everything that was accepted to end, once nothing is broken any more.
const HEALED: Duration = seconds(600);
/// For daemons to come back.
const BACK: Duration = seconds(60);
/// A scratch disk that the clips' results fit on, for as many as a worker makes at once.
const SCRATCH: u64 = 192 << 20;
/// Jobs that a worker runs at once.
const SLOTS: u32 = 2;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) clip: &'static str,
    pub(crate) preset: &'static str,
}

/// What everybody writes down.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Answered with a 2xx.
    pub(crate) accepted: Mutex<BTreeMap<JobId, Wanted>>,
    /// Cancelled with a 2xx.
    pub(crate) cancelled: Mutex<BTreeSet<JobId>>,
    /// Nobody heard whether they were cancelled.
    pub(crate) maybe_cancelled: Mutex<BTreeSet<JobId>>,
    /// While faults went on.
    pub(crate) redriven: Mutex<BTreeSet<JobId>>,
    pub(crate) redriven_at_the_end: Mutex<BTreeSet<JobId>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Something that must not be.
    pub(crate) fn wrong(&self, what: String) {
        println!("soak: WRONG: {what}");
        self.wrong.lock().unwrap().push(what);
    }
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) plan: Plan,
    pub(crate) faults: Vec<Done>,
    /// From the last fault's end until every job had ended.
    pub(crate) settling: Duration,
    pub(crate) took: Duration,
}

/// Runs the plan.
///
/// # Panics
/// Something could not even be started; the farm's folder is kept then.
pub async fn run(plan: Plan) -> Report {
    println!(
        "soak: seed {}, {} workers, {:.0} s of faults; again with --seed {}",
        plan.seed, plan.workers, plan.seconds, plan.seed
    );
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut farm = start(plan).await;
    println!("soak: the farm is in {}", farm.path().display());
    let ledger = Arc::new(Ledger::default());
    let client = Client::new(&farm.api.base);
    let mut load = Load::start(client.clone(), Arc::clone(&ledger), plan, &mut rng).await;
    let mut saboteur = Saboteur::new(plan, client.clone(), Arc::clone(&ledger), rng);

    let begun = Instant::now();
    let end = Duration::from_secs_f64(plan.seconds);
    let mut told = Instant::now();
    while begun.elapsed() < end {
        saboteur.step(&mut farm).await;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            progress(&client, &ledger, &saboteur, begun.elapsed()).await;
        }
    }
    println!("soak: no more faults; everything heals");
    saboteur.heal(&mut farm).await;
    load.stop().await;
    let healed = Instant::now();
    for worker in worker_names(plan) {
        back(&client, &ledger, &worker).await;
    }
    settle(&client, &ledger).await;
    let course =
        Course { plan, faults: saboteur.into_done(), settling: healed.elapsed(), took: begun.elapsed() };
    reconcile::reconcile(farm, &ledger, course).await
}

async fn start(plan: Plan) -> Farm {
    let mut builder = Farm::builder()
        .keep_folder()
        .env("TVARR_LEASE", "5s")
        .env("TVARR_HEARTBEAT_INTERVAL", "500ms")
        .env("TVARR_DISCONNECT_GRACE", "3s")
        .env("TVARR_STALL_TIMEOUT", "30s")
        .data_disk(4 << 30);
    for name in worker_names(plan) {
        builder = builder.worker(worker(&name));
    }
    builder.start().await
}

fn worker_names(plan: Plan) -> Vec<String> {
    (1..=plan.workers).map(|number| format!("w{number}")).collect()
}

fn worker(name: &str) -> WorkerSpec {
    WorkerSpec::new(name).jobs(SLOTS).behind_proxy().scratch_disk(SCRATCH).env("TVARR_DRAIN_TIMEOUT", "3s")
}

async fn progress(client: &Client, ledger: &Ledger, saboteur: &Saboteur, elapsed: Duration) {
    let accepted = ledger.accepted.lock().unwrap().len();
    let ended = match client.jobs().await {
        Ok(jobs) => jobs.iter().filter(|job| job.state.is_final()).count().to_string(),
        Err(_) => "?".to_owned(),
    };
    println!(
        "soak: {:>4.0} s: {accepted} accepted, {ended} ended, {} faults",
        elapsed.as_secs_f64(),
        saboteur.done().len()
    );
}

/// Waits for a worker to be there again. One whose results are doubted may be kept out for a while.
async fn back(client: &Client, ledger: &Ledger, name: &str) {
    let there = wait::try_until(BACK, || async {
        let workers = client.workers().await.ok()?;
        workers.iter().any(|worker| worker.name == name && worker.state != WorkerState::Lost).then_some(())
    })
    .await;
    if there.is_none() {
        ledger.wrong(format!("worker {name} did not come back within {BACK:?} without any fault"));
    }
}

/// Redrives dead letters, each once, and waits for every job to end.
async fn settle(client: &Client, ledger: &Ledger) {
    let since = Instant::now();
    let mut told = Instant::now();
    while since.elapsed() < HEALED {
        if let Ok(jobs) = client.jobs().await {
            let open = jobs.iter().filter(|job| !job.state.is_final()).count();
            let dead: Vec<_> =
                jobs.iter().filter(|job| job.state == JobState::Dead).map(|job| job.id).collect();
            let fresh: Vec<_> = {
                let known = ledger.redriven_at_the_end.lock().unwrap();
                dead.into_iter().filter(|job| !known.contains(job)).collect()
            };
            if open == 0 && fresh.is_empty() {
                return;
            }
            for job in fresh {
                match client.redrive(job).await {
                    Ok(_) => {
                        ledger.redriven_at_the_end.lock().unwrap().insert(job);
                    }
                    Err(trouble) => ledger.wrong(format!("dead letter {job} was not redriven: {trouble:?}")),
                }
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                println!("soak: {open} jobs have not ended yet");
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    ledger.wrong(format!("not every job has ended within {HEALED:?} without any fault"));
}
