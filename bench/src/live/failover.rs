//! What a viewer sees when the worker of its variant dies or its ffmpeg hangs: for how long nothing comes, and, by decoding
//! what came, which frames are missing or doubled.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::stream::StreamOptions;
use e2e::{live::Decoded, system};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::time::sleep;

use super::{Plan, cold::milliseconds, stage};
use crate::{farm::Site, process::Running, stats::Spread};

/// Of media, before and after.
const BEFORE: f64 = 4.0;
const AFTER: f64 = 6.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// kill -9 of the worker.
    Killed,
    /// SIGSTOP of its ffmpeg.
    Hung,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failovers {
    /// The longest time without a byte from the fault on, in milliseconds.
    pub(crate) stall: Spread,
    pub(crate) frames: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    /// Everything that the judge found wrong: seams in the sound, complaints of the decoder.
    pub(crate) faults: Vec<String>,
}

pub(super) async fn measure(site: &Site, plan: &Plan, fault: Fault) -> Result<Failovers> {
    let count = match fault {
        Fault::Killed => plan.kills,
        Fault::Hung => plan.hangs,
    };
    let recording = stage::full_hd();
    let data = format!("live-{fault:?}");
    let stage = stage::Stage::set(site, &data, &recording, StreamOptions::default(), &[]).await?;
    let mut workers: BTreeMap<String, Running> = BTreeMap::new();
    let mut stalls = Vec::new();
    let mut found = Failovers {
        stall: Spread::of(&[0.0]).context("one")?,
        frames: 0,
        lost: 0,
        doubled: 0,
        faults: Vec::new(),
    };
    for round in 0..count {
        // One that the coordinator has never seen: one that comes back too often is held back.
        while workers.len() < 2 {
            let name = format!("{fault:?}-{round}-{}", workers.len());
            workers.insert(name.clone(), site.worker(&stage.coordinator, &name, &[]).await?);
        }
        let viewer = stage.watch(&plan.profile);
        viewer.watches(BEFORE).await;
        let name = stage.encoder(&plan.profile, None).await?;
        // Anywhere in a group of pictures.
        sleep(Duration::from_millis(37 * round as u64 % 1000)).await;
        let victim = workers.remove(&name).with_context(|| format!("{name} is no worker of this run"))?;
        let since = Instant::now();
        match fault {
            Fault::Killed => victim.signal(Signal::KILL)?,
            Fault::Hung => {
                let ffmpegs = system::ffmpegs_below(u32::try_from(victim.id())?);
                ensure!(!ffmpegs.is_empty(), "{name} runs no ffmpeg");
                for process in ffmpegs {
                    let pid = Pid::from_raw(i32::try_from(process.pid)?).context("a process has a number")?;
                    kill_process(pid, Signal::STOP)?;
                }
            }
        }
        viewer.watches(AFTER).await;
        let received = viewer.stop();
        stalls.push(milliseconds(received.longest_stall_since(since)));
        victim.kill().await;
        let folder = tempfile::tempdir_in(&site.folder)?;
        let decoded = Decoded::of(&received.save(folder.path(), "received.ts"));
        let (lost, doubled) = decoded.lost_and_doubled(&recording);
        found.frames += decoded.pictures.len();
        found.lost += lost;
        found.doubled += doubled;
        found.faults.extend(decoded.faults(&recording));
    }
    for (_, worker) in workers {
        worker.stop().await;
    }
    stage.coordinator.stop().await;
    found.stall = Spread::of(&stalls).context("at least one sample")?;
    Ok(found)
}
