//! Many viewers of one variant: the coordinator's CPU time and memory for them.
//!
//! The source has 4 Mbit/s and is repackaged without an encoder. The viewers are connections of this program, which reads
//! what comes and throws it away; its own CPU time is not counted.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use common::stream::StreamOptions;
use e2e::live::Recording;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Plan, course::Drift, stage};
use crate::{farm::Site, resident};

const PROFILE: &str = "copy";
const BITRATE: u32 = 3_900_000;
const MEASURED: Duration = Duration::from_secs(15);
/// Viewers while memory is looked at.
const FEW: usize = 10;
/// Once all are there.
const SETTLED: Duration = Duration::from_secs(5);
/// Ticks of the kernel's clock for CPU time, in a second (`USER_HZ`, 100 on every Linux).
const USER_HZ: f64 = 100.0;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Crowd {
    pub(crate) viewers: usize,
    /// That each got, over the measured time.
    pub(crate) megabits_per_second: f64,
    /// Of the coordinator, 1 is one core all the time.
    pub(crate) cores: f64,
    pub(crate) cores_for_a_thousand_at_4_megabits: f64,
    pub(crate) dropped: u64,
    /// Bytes, with one viewer and with all of them.
    pub(crate) resident_with_one: u64,
    pub(crate) resident_with_all: u64,
    /// Minutes since all viewers but [`FEW`] left, and bytes.
    pub(crate) course: Vec<(f64, u64)>,
    /// Of the course; none where it is too short.
    pub(crate) drift: Option<Drift>,
}

pub(super) async fn measure(site: &Site, plan: &Plan) -> Result<Crowd> {
    let recording = Recording { bitrate: BITRATE, ..Recording::default() };
    let stage = stage::Stage::set(site, "live-crowd", &recording, StreamOptions::default(), &[]).await?;
    let process = stage.coordinator.process();
    let first = stage.watch(PROFILE);
    // The buffer is full: what it holds is not counted as the viewers'.
    first.watches(35.0).await;
    let resident_with_one = resident::of(process)?.rss;

    let mut viewers = JoinSet::new();
    let counted = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let address = stage.coordinator.api.address().to_owned();
    for _ in 0..plan.viewers {
        let (address, counted) = (address.clone(), std::sync::Arc::clone(&counted));
        viewers.spawn(async move { view(&address, &counted).await });
    }
    let deadline = Instant::now() + stage::LIMIT;
    while stage.variant(PROFILE).await?.is_none_or(|variant| (variant.viewers as usize) < plan.viewers + 1) {
        ensure!(Instant::now() < deadline, "the viewers do not get in: {:?}", stage.variant(PROFILE).await?);
        sleep(Duration::from_millis(100)).await;
    }
    sleep(SETTLED).await;
    let count = || counted.load(std::sync::atomic::Ordering::Relaxed);
    let (begun, cpu, bytes) = (Instant::now(), cpu_seconds(process)?, count());
    sleep(MEASURED).await;
    let seconds = begun.elapsed().as_secs_f64();
    let cores = (cpu_seconds(process)? - cpu) / seconds;
    let megabits = (count() - bytes) as f64 * 8.0 / 1e6 / seconds / plan.viewers as f64;
    let resident_with_all = resident::of(process)?.rss;
    let dropped = stage.variant(PROFILE).await?.context("the variant goes on")?.dropped_viewers;
    viewers.shutdown().await;

    // What these read is thrown away too: the first would keep it all.
    drop(first);
    let mut few = JoinSet::new();
    for _ in 0..FEW {
        let (address, counted) = (address.clone(), std::sync::Arc::clone(&counted));
        few.spawn(async move { view(&address, &counted).await });
    }
    let (begun, mut course) = (Instant::now(), Vec::new());
    while begun.elapsed().as_secs_f64() < plan.minutes * 60.0 {
        sleep(Duration::from_secs(10)).await;
        course.push((begun.elapsed().as_secs_f64() / 60.0, resident::of(process)?.rss));
    }
    few.shutdown().await;
    stage.coordinator.stop().await;
    Ok(Crowd {
        viewers: plan.viewers,
        megabits_per_second: megabits,
        cores,
        cores_for_a_thousand_at_4_megabits: cores / plan.viewers as f64 * 1000.0 * 4.0 / megabits,
        dropped,
        resident_with_one,
        resident_with_all,
        drift: Drift::of(&course),
        course,
    })
}

async fn view(address: &str, counted: &std::sync::atomic::AtomicU64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /live/{}/{PROFILE}/stream.ts HTTP/1.1\r\nhost: {address}\r\n\r\n", stage::STREAM);
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => counted.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed),
        };
    }
}

/// User and system time that a process has used.
fn cpu_seconds(process: i32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // After the name: the twelfth and thirteenth (proc(5), utime and stime).
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).with_context(|| format!("{path} has no times"))?;
    Ok((user + system) / USER_HZ)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_used_some_time() {
        let before = super::cpu_seconds(std::process::id() as i32).unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 100 {}
        assert!(super::cpu_seconds(std::process::id() as i32).unwrap() > before);
    }
}
