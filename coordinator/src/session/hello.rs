//! Checking what a worker says of itself. A worker holds the token, but its words are not believed further than they make
//! sense: sizes are bounded and numbers are finite before anything else sees them.

use std::{collections::HashSet, net::SocketAddr};

use common::{
    id::{AttemptId, Epoch, WorkerId},
    proto,
    worker::{Capabilities, Capacity, GpuLoad, Labels, Load, Progress},
};
use tonic::Status;

use crate::{fleet::Identity, queue::Registration, text::prefix};

const MAX_NAME: usize = 128;
const MAX_VERSION: usize = 64;
const MAX_WORD: usize = 256;
const MAX_REASON: usize = 2048;
const MAX_LABELS: usize = 64;
const MAX_PRESETS: usize = 256;
const MAX_LIST: usize = 4096;
const MAX_GPUS: usize = 64;
const MAX_JOBS: u32 = 1024;
/// Attempts that a worker may name at once: as many as it may run, and what ended while it was away.
pub(super) const MAX_ATTEMPTS: usize = 4 * MAX_JOBS as usize;

/// `Hello`, checked, and what only the session needs of it.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) registration: Registration,
    pub(super) protocol: u32,
    /// Folders that this worker sees under the same path.
    pub(super) shared_roots: Vec<String>,
}

/// # Errors
/// The status that ends the stream.
pub(super) fn accept(hello: proto::Hello, peer: Option<SocketAddr>) -> Result<Accepted, Status> {
    let (min, max) = (hello.protocol_min, hello.protocol_max);
    let protocol = proto::negotiate(min..=max).ok_or_else(|| {
        let side = if min > proto::PROTOCOL_MAX { "coordinator" } else { "ffmpegd" };
        Status::failed_precondition(format!(
            "this coordinator speaks worker protocol {} to {}, ffmpegd {:?} speaks {min} to {max}: update the {side}",
            proto::PROTOCOL_MIN,
            proto::PROTOCOL_MAX,
            shorten(&hello.version, MAX_VERSION),
        ))
    })?;
    let worker: WorkerId = hello.worker_id.parse().map_err(|error| bad(format!("worker_id: {error}")))?;
    let capacity = capacity(hello.capacity.unwrap_or_default())?;
    let running = hello.running.iter().map(|running| attempt(&running.task_id, running.epoch));
    at_most("running attempts", hello.running.len(), MAX_ATTEMPTS)?;
    at_most("presets", hello.presets.len(), MAX_PRESETS)?;
    at_most("shared roots", hello.shared_roots.len(), MAX_PRESETS)?;
    for text in hello.presets.iter().chain(&hello.shared_roots) {
        word("a preset or shared root", text)?;
    }
    let identity = Identity {
        id: worker,
        name: name(&hello.name, worker),
        version: shorten(&hello.version, MAX_VERSION),
        address: peer.map(|peer| peer.to_string()).unwrap_or_default(),
        protocol,
        capabilities: capabilities(hello.capabilities.unwrap_or_default())?,
        capacity,
        labels: labels(hello.labels.into_iter().collect())?,
        presets: hello.presets,
        exit_when_idle: hello.exit_when_idle,
        shared_roots: hello.shared_roots.clone(),
    };
    let registration = Registration {
        identity,
        running: running.collect::<Result<_, _>>()?,
        draining: hello.draining,
        not_taking: reason(&hello.not_taking),
    };
    Ok(Accepted { registration, protocol, shared_roots: hello.shared_roots })
}

fn bad(problem: String) -> Status {
    Status::invalid_argument(problem)
}

fn at_most(what: &str, count: usize, max: usize) -> Result<(), Status> {
    if count > max {
        Err(bad(format!("{count} {what} are more than the {max} that are taken")))
    } else {
        Ok(())
    }
}

fn word(what: &str, text: &str) -> Result<(), Status> {
    if text.len() > MAX_WORD || text.chars().any(char::is_control) {
        return Err(bad(format!("{what} is longer than {MAX_WORD} bytes or holds control characters")));
    }
    Ok(())
}

fn name(text: &str, worker: WorkerId) -> String {
    let name = shorten(text, MAX_NAME);
    let name = name.trim();
    if name.is_empty() { worker.to_string() } else { name.to_owned() }
}

/// Words that mean something if there are any.
pub(super) fn reason(text: &str) -> Option<String> {
    Some(shorten(text.trim(), MAX_WORD)).filter(|text| !text.is_empty())
}

/// Printable and at most `max` bytes.
pub(super) fn shorten(text: &str, max: usize) -> String {
    prefix(text, max).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn labels(labels: Labels) -> Result<Labels, Status> {
    at_most("labels", labels.len(), MAX_LABELS)?;
    for (key, value) in &labels {
        word("a label", key)?;
        word("a label's value", value)?;
    }
    Ok(labels)
}

fn capacity(capacity: proto::Capacity) -> Result<Capacity, Status> {
    let Capacity { max_jobs, max_gpu_jobs, max_cpu_jobs } = capacity.into();
    if max_jobs == 0 || (max_gpu_jobs == 0 && max_cpu_jobs == 0) {
        return Err(bad(
            "the worker takes no jobs at all: raise TVARR_MAX_JOBS or its GPU or CPU share".to_owned()
        ));
    }
    for (name, value) in
        [("max_jobs", max_jobs), ("max_gpu_jobs", max_gpu_jobs), ("max_cpu_jobs", max_cpu_jobs)]
    {
        if value > MAX_JOBS {
            return Err(bad(format!("{name} is {value}, more than the {MAX_JOBS} that are taken")));
        }
    }
    Ok(Capacity { max_jobs, max_gpu_jobs, max_cpu_jobs })
}

pub(super) fn capabilities(wire: proto::Capabilities) -> Result<Capabilities, Status> {
    for (what, count, max) in [
        ("encoders", wire.encoders.len(), MAX_LIST),
        ("rejected encoders", wire.rejected.len(), MAX_LIST),
        ("decoders", wire.decoders.len(), MAX_LIST),
        ("muxers", wire.muxers.len(), MAX_LIST),
        ("filters", wire.filters.len(), MAX_LIST),
        ("protocols", wire.protocols.len(), MAX_LIST),
        ("hwaccels", wire.hwaccels.len(), MAX_LIST),
        ("GPUs", wire.gpus.len(), MAX_GPUS),
    ] {
        at_most(what, count, max)?;
    }
    let lists = [&wire.decoders, &wire.muxers, &wire.filters, &wire.protocols, &wire.hwaccels];
    for text in lists.into_iter().flatten() {
        word("a capability", text)?;
    }
    for encoder in &wire.encoders {
        word("an encoder", &encoder.name)?;
        word("a codec", &encoder.codec)?;
        at_most("devices of an encoder", encoder.devices.len(), MAX_GPUS)?;
        for device in &encoder.devices {
            word("a device", &device.path)?;
            at_most("bit depths", device.bit_depths.len(), 8)?;
            if !wire.gpus.iter().any(|gpu| gpu.index == device.gpu) {
                return Err(bad(format!("{} names GPU {}, which is not listed", encoder.name, device.gpu)));
            }
        }
    }
    let mut indices = HashSet::new();
    for gpu in &wire.gpus {
        for text in [&gpu.vendor, &gpu.name, &gpu.uuid, &gpu.driver] {
            word("a GPU's description", text)?;
        }
        if !indices.insert(gpu.index) {
            return Err(bad(format!("two GPUs have the index {}", gpu.index)));
        }
    }
    let mut caps = Capabilities::try_from(wire).map_err(|error| bad(error.to_string()))?;
    caps.ffmpeg_version = shorten(&caps.ffmpeg_version, MAX_WORD);
    caps.ffprobe_version = shorten(&caps.ffprobe_version, MAX_WORD);
    let machine = &mut caps.machine;
    for text in [&mut machine.os, &mut machine.arch, &mut machine.cpu, &mut machine.hostname] {
        *text = shorten(text, MAX_WORD);
    }
    for rejected in &mut caps.rejected {
        rejected.name = shorten(&rejected.name, MAX_WORD);
        rejected.device = shorten(&rejected.device, MAX_WORD);
        rejected.reason = shorten(&rejected.reason, MAX_REASON);
    }
    Ok(caps)
}

pub(super) fn attempt(task: &str, epoch: u64) -> Result<AttemptId, Status> {
    let task = task.parse().map_err(|error| bad(format!("task_id: {error}")))?;
    Ok(AttemptId { task, epoch: Epoch(epoch) })
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

pub(super) fn load(load: proto::Load) -> Load {
    let load = Load::from(load);
    Load { cpu: finite(load.cpu).min(1.0), ..load }
}

pub(super) fn gpu_loads(loads: Vec<proto::GpuLoad>) -> Vec<GpuLoad> {
    let sane = |load: proto::GpuLoad| {
        let load = GpuLoad::from(load);
        GpuLoad {
            utilisation: load.utilisation.min(100),
            encoder_utilisation: load.encoder_utilisation.min(100),
            decoder_utilisation: load.decoder_utilisation.min(100),
            ..load
        }
    };
    loads.into_iter().take(MAX_GPUS).map(sane).collect()
}

pub(super) fn progress(progress: proto::Progress) -> Progress {
    let progress = Progress::from(progress);
    Progress {
        fraction: progress
            .fraction
            .filter(|fraction| fraction.is_finite())
            .map(|fraction| fraction.clamp(0.0, 1.0)),
        fps: finite(progress.fps),
        speed: finite(progress.speed),
        phase: shorten(&progress.phase, 32),
        ..progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> proto::Hello {
        proto::Hello {
            protocol_min: 1,
            protocol_max: 1,
            worker_id: WorkerId::new().to_string(),
            name: "box\n1".to_owned(),
            capacity: Some(proto::Capacity { max_jobs: 2, max_gpu_jobs: 0, max_cpu_jobs: 2 }),
            ..proto::Hello::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut proto::Hello)) -> Status {
        let mut hello = hello();
        change(&mut hello);
        accept(hello, None).unwrap_err()
    }

    #[test]
    fn a_sensible_hello_is_taken() {
        let accepted = accept(hello(), Some("10.0.0.1:5".parse().unwrap())).unwrap();
        assert_eq!(accepted.registration.identity.name, "box 1");
        assert_eq!(accepted.registration.identity.address, "10.0.0.1:5");
        assert_eq!(accepted.protocol, 1);
    }

    #[test]
    fn without_a_common_protocol_the_older_side_is_named() {
        let status = refusal(|hello| (hello.protocol_min, hello.protocol_max) = (7, 9));
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains("update the coordinator"), "{status}");
        let status = refusal(|hello| (hello.protocol_min, hello.protocol_max) = (0, 0));
        assert!(status.message().contains("update the ffmpegd"), "{status}");
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let gpu = |index| proto::Gpu { index, ..proto::Gpu::default() };
        let caps = |caps| move |hello: &mut proto::Hello| hello.capabilities = Some(caps);
        let device = proto::EncoderDevice { gpu: 3, ..proto::EncoderDevice::default() };
        let encoder =
            proto::Encoder { family: "nvenc".to_owned(), devices: vec![device], ..Default::default() };
        for (status, words) in [
            (refusal(|hello| hello.worker_id = "me".to_owned()), "not a worker id"),
            (refusal(|hello| hello.capacity = None), "takes no jobs"),
            (refusal(|hello| hello.capacity.as_mut().unwrap().max_jobs = 5000), "max_jobs is 5000"),
            (refusal(|hello| hello.presets = vec!["x".repeat(300)]), "longer than"),
            (refusal(|hello| hello.presets = vec![String::new(); 300]), "300 presets"),
            (
                refusal(caps(proto::Capabilities { gpus: vec![gpu(1), gpu(1)], ..Default::default() })),
                "two GPUs",
            ),
            (
                refusal(caps(proto::Capabilities { encoders: vec![encoder], ..Default::default() })),
                "not listed",
            ),
        ] {
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(words), "{status}");
        }
    }

    #[test]
    fn numbers_are_finite_and_in_range() {
        let load = load(proto::Load { cpu: f64::NAN, ..Default::default() });
        assert!(load.cpu.abs() < f64::EPSILON);
        let progress = progress(proto::Progress {
            fraction: Some(f64::INFINITY),
            fps: -1.0,
            speed: f64::NAN,
            ..Default::default()
        });
        assert_eq!(progress, Progress::default());
    }
}
