//! The machine itself: CPU, memory, scratch space; once for the registration and again for every heartbeat.
//!
//! Read from `/proc` and `/sys` on Linux. What another system does not show there stays 0 or empty.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use common::worker::{Load, Machine};

use super::cgroup;

pub(super) async fn describe(scratch: &Path) -> Machine {
    let scratch = scratch.to_owned();
    tokio::task::spawn_blocking(move || Machine {
        os: os(),
        arch: std::env::consts::ARCH.to_owned(),
        cpu: cpu_model(),
        cores: u32::try_from(cores()).unwrap_or(u32::MAX),
        memory_total_bytes: memory(cgroup::own_folder().as_deref()).0,
        scratch_free_bytes: free_bytes(&scratch),
        hostname: hostname(),
        scratch_total_bytes: total_bytes(&scratch),
    })
    .await
    .unwrap_or_default()
}

/// Samples how busy the machine is. Cheap to clone; clones share the last sample.
///
/// CPU use is over the time since the sample before, and 0 in the first one. In a container with a CPU quota it is the
/// share of the quota; other programs on the same machine are not seen then.
#[derive(Debug, Clone)]
pub struct MachineMonitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    scratch: PathBuf,
    cgroup: Option<PathBuf>,
    /// The group's own CPU time counts, not the machine's.
    quota: bool,
    start: Instant,
    last: Mutex<Option<CpuTimes>>,
}

impl MachineMonitor {
    #[must_use]
    pub fn new(scratch: &Path) -> Self {
        let cgroup = cgroup::own_folder();
        let quota = cgroup.as_deref().is_some_and(cgroup::has_cpu_quota);
        Self {
            shared: Arc::new(Shared {
                scratch: scratch.to_owned(),
                cgroup,
                quota,
                start: Instant::now(),
                last: Mutex::new(None),
            }),
        }
    }

    pub async fn sample(&self) -> Load {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.sample()).await.unwrap_or_default()
    }
}

impl Shared {
    fn sample(&self) -> Load {
        let now = self.cpu_times();
        let before = match self.last.lock() {
            Ok(mut last) => std::mem::replace(&mut *last, now),
            Err(_) => None,
        };
        Load {
            cpu: before.zip(now).map(|(before, now)| now.use_since(before)).unwrap_or_default(),
            memory_used_bytes: memory(self.cgroup.as_deref()).1,
            scratch_free_bytes: free_bytes(&self.scratch),
            scratch_available_bytes: None,
        }
    }

    fn cpu_times(&self) -> Option<CpuTimes> {
        match &self.cgroup {
            Some(folder) if self.quota => {
                let elapsed = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
                let cores = u64::try_from(cores()).unwrap_or(u64::MAX);
                Some(CpuTimes { busy: cgroup::cpu_used_us(folder)?, total: elapsed.saturating_mul(cores) })
            }
            Some(_) | None => parse_cpu_times(&fs::read_to_string("/proc/stat").ok()?),
        }
    }
}

/// CPU time so far, over all cores, in any one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

impl CpuTimes {
    /// 0 to 1.
    fn use_since(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total);
        if total == 0 {
            return 0.0;
        }
        (self.busy.saturating_sub(before.busy) as f64 / total as f64).min(1.0)
    }
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal guest guest_nice`, in ticks. Guest
/// time is part of user time already (proc_stat(5)).
fn parse_cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let total = times.iter().sum();
    let idle = times.get(3)? + times.get(4).unwrap_or(&0);
    Some(CpuTimes { busy: total - idle, total })
}

/// Cores that this process may use: affinity and CPU quota count.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// (total, used) in bytes: the container's where it has a limit below the machine's.
fn memory(cgroup: Option<&Path>) -> (u64, u64) {
    let (total, available) =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_memory(&text)).unwrap_or_default();
    let limited = cgroup.and_then(|folder| {
        let limit = cgroup::memory_limit(folder).filter(|&limit| limit < total)?;
        Some((limit, cgroup::memory_used(folder)?))
    });
    limited.unwrap_or((total, total.saturating_sub(available)))
}

/// (total, available) in bytes from `/proc/meminfo`.
fn parse_memory(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some((field("MemTotal")?, field("MemAvailable").or_else(|| field("MemFree"))?))
}

/// Bytes that this process may still write below `folder`, or below the nearest folder above it that exists; 0 when that
/// cannot be found out.
fn free_bytes(folder: &Path) -> u64 {
    bytes_of(folder).map(|(free, _)| free).unwrap_or_default()
}

fn total_bytes(folder: &Path) -> u64 {
    bytes_of(folder).map(|(_, total)| total).unwrap_or_default()
}

/// Free and all bytes of the file system that holds a folder, or will hold it.
fn bytes_of(folder: &Path) -> Option<(u64, u64)> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().find(|folder| folder.exists()).and_then(bytes_at)
}

#[cfg(unix)]
fn bytes_at(folder: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

#[cfg(not(unix))]
fn bytes_at(_folder: &Path) -> Option<(u64, u64)> {
    None
}

fn cpu_model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| parse_cpu_model(&text))
        .or_else(|| {
            let board = fs::read_to_string("/proc/device-tree/model").ok()?;
            Some(board.trim_matches(['\0', '\n', ' ']).to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// x86 has `model name`; Arm boards may have `Model` or `Hardware`.
fn parse_cpu_model(cpuinfo: &str) -> Option<String> {
    ["model name", "Model", "Hardware"].into_iter().find_map(|name| {
        let value = cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.split_whitespace().collect::<Vec<_>>().join(" "))
        })?;
        (!value.is_empty()).then_some(value)
    })
}

/// `Debian GNU/Linux 12 (bookworm)`, or the kind of system.
fn os() -> String {
    fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|text| {
            let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            Some(value.trim().trim_matches('"').to_owned())
        })
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| std::env::consts::OS.to_owned())
}

#[cfg(unix)]
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn hostname() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_use_is_what_was_not_idle_between_two_samples() {
        let before = parse_cpu_times("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(before, CpuTimes { busy: 200, total: 1000 });
        let now = CpuTimes { busy: 275, total: 1100 };
        assert!((now.use_since(before) - 0.75).abs() < 1e-9);
        assert!(now.use_since(now).abs() < 1e-9);
        assert_eq!(parse_cpu_times("garbage"), None);
    }

    #[test]
    fn memory_and_cpu_model_are_read() {
        let meminfo = "MemTotal:        2048 kB\nMemFree:          100 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(parse_memory(meminfo), Some((2048 * 1024, 1024 * 1024)));
        assert_eq!(parse_memory(""), None);
        let x86 = "processor : 0\nmodel name\t: AMD EPYC   7R13 Processor\n";
        assert_eq!(parse_cpu_model(x86).as_deref(), Some("AMD EPYC 7R13 Processor"));
        let pi = "processor : 0\nHardware : BCM2835\nModel : Raspberry Pi 4\n";
        assert_eq!(parse_cpu_model(pi).as_deref(), Some("Raspberry Pi 4"));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn this_machine_is_described_and_sampled() {
        let scratch = tempfile::tempdir().unwrap();
        let machine = describe(&scratch.path().join("not/yet/there")).await;
        assert!(machine.cores > 0 && machine.memory_total_bytes > 0 && machine.scratch_free_bytes > 0);
        assert!(machine.scratch_total_bytes >= machine.scratch_free_bytes);
        assert!(!machine.cpu.is_empty() && !machine.hostname.is_empty() && !machine.os.is_empty());
        let monitor = MachineMonitor::new(scratch.path());
        assert!(monitor.sample().await.cpu.abs() < f64::EPSILON);
        let load = monitor.sample().await;
        assert!((0.0..=1.0).contains(&load.cpu));
        assert!(load.memory_used_bytes > 0 && load.memory_used_bytes <= machine.memory_total_bytes);
        assert!(load.scratch_free_bytes > 0);
    }
}
