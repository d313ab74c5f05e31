//! What ran out or broke on this machine, from ffmpeg's words and its end.

use common::failure::{Failure, FailureKind};

use super::{
    classify::{Evidence, Words},
    spawn::Exit,
};

const SIGKILL: i32 = 9;
/// A file grew past `RLIMIT_FSIZE`.
const SIGXFSZ: i32 = 25;

/// How often the kernel has killed for memory: in this worker's own cgroup, and on the whole machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct OomKills([Option<u64>; 2]);

impl OomKills {
    pub(super) fn read() -> Self {
        let count = |path: &str| {
            let text = std::fs::read_to_string(path).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        };
        Self([count("/sys/fs/cgroup/memory.events"), count("/proc/vmstat")])
    }

    /// Whether there was one since; `None` where the kernel does not say.
    pub(super) fn since(self, before: Self) -> Option<bool> {
        let rises = self.0.into_iter().zip(before.0).filter_map(|(now, before)| Some(now? > before?));
        rises.reduce(|one, other| one || other)
    }
}

pub(super) fn machine(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    session(evidence, words)
        .or_else(|| disk(evidence, words))
        .or_else(|| memory(evidence, words))
        .or_else(|| limits(evidence, words))
        .or_else(|| device(evidence, words))
}

fn fail(evidence: &Evidence<'_>, kind: FailureKind, what: impl std::fmt::Display) -> Failure {
    Failure::new(kind, format!("{} {}: {what}", evidence.doing, evidence.input))
}

fn session(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    let line = words.find_any(&[
        "OpenEncodeSessionEx failed: out of memory (10)",
        "OpenEncodeSessionEx failed: incompatible client key (21)",
        // A V4L2 encoder has as many contexts as the chip.
        "v4l2m2m @.*Device or resource busy",
    ])?;
    Some(fail(
        evidence,
        FailureKind::SessionLimit,
        format_args!("the GPU has no free encode session ({line})"),
    ))
}

/// A disk that is full, now or in the middle of an encode that "succeeded".
pub(super) fn disk(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    let what = if words.find("No space left on device").is_some() {
        "no space left in this worker's scratch folder; make room or set TVARR_SCRATCH_DIR"
    } else if words.find("Disk quota exceeded").is_some() {
        "the quota of this worker's scratch folder is used up; raise it or set TVARR_SCRATCH_DIR"
    } else if evidence.exit == Exit::Signal(SIGXFSZ) || words.find("File too large").is_some() {
        "a result grew larger than a file may be on this worker (ulimit -f, or its scratch folder's file system)"
    } else {
        return None;
    };
    Some(fail(evidence, FailureKind::DiskFull, what))
}

fn memory(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    let ran_out = |what: String| Some(fail(evidence, FailureKind::OutOfMemory, what));
    let gpu = words.find_any(&[
        "CUDA_ERROR_OUT_OF_MEMORY",
        "failed: out of memory (10)",
        "VK_ERROR_OUT_OF_DEVICE_MEMORY",
        "resource allocation failed",
    ]);
    if let Some(line) = gpu {
        return ran_out(format!(
            "the GPU's memory ran out ({line}); give it fewer jobs (TVARR_MAX_GPU_JOBS)"
        ));
    }
    let host =
        words.find_any(&["Cannot allocate memory", "std::bad_alloc", "malloc of size", "Out of memory"]);
    if let Some(line) = host {
        return ran_out(format!("memory ran out ({line})"));
    }
    if evidence.exit != Exit::Signal(SIGKILL) {
        return None;
    }
    let program = evidence.program;
    match evidence.oom_killed {
        Some(true) => ran_out(format!(
            "{program} was killed by the system because memory ran out; give the worker more memory or fewer jobs"
        )),
        None => ran_out(format!(
            "{program} was killed by the system, most likely because memory ran out; give the worker more memory or \
             fewer jobs"
        )),
        Some(false) => Some(fail(
            evidence,
            FailureKind::Crashed,
            format_args!(
                "{program} was killed from outside (SIGKILL); memory did not run out, so somebody or something on this \
                 machine did it"
            ),
        )),
    }
}

fn limits(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    let what = if let Some(line) = words.find("Too many open files") {
        format!("this worker may open no more files ({line}); raise its limit (ulimit -n)")
    } else {
        // Of a thread or process that could not be started; of an encoder it would be a passing state.
        let line = words.find_any(&[
            "thread.*Resource temporarily unavailable",
            "fork.*Resource temporarily unavailable",
        ])?;
        format!(
            "this worker may start no more threads ({line}); raise its limit of processes (ulimit -u, pids.max)"
        )
    };
    Some(fail(evidence, FailureKind::Crashed, what))
}

/// A device that went away or never answered. The same spec works on another one.
fn device(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    let line = words.find_any(&[
        "CUDA_ERROR_",
        "Cannot load libcuda",
        "Cannot load libnvidia-encode",
        "Cannot load nvcuda",
        "No capable devices found",
        "Driver does not support the required nvenc API version",
        "unsupported device (2)",
        "no encode device (1)",
        "device not exist",
        "No VA display found",
        "Failed to initialise VAAPI connection",
        "hardware busy",
        "VK_ERROR_DEVICE_LOST",
        "device lost",
        "device failed",
        "Could not find a valid device",
        "Device creation failed",
        "No such device",
        "Device or resource busy",
    ])?;
    Some(fail(
        evidence,
        FailureKind::Crashed,
        format_args!(
            "the encoder's device on this worker does not work ({line}); see `ffmpegd detect` there"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oom_kill_is_known_where_the_kernel_counts() {
        let counted = |cgroup, host| OomKills([cgroup, host]);
        assert_eq!(counted(Some(1), Some(7)).since(counted(Some(0), Some(7))), Some(true));
        assert_eq!(counted(None, Some(7)).since(counted(None, Some(7))), Some(false));
        assert_eq!(counted(None, None).since(counted(None, None)), None);
        assert_eq!(counted(Some(3), None).since(counted(None, Some(1))), None);
    }
}
