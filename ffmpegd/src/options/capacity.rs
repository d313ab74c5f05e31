//! How much a worker takes at once.

use std::collections::BTreeSet;

use common::worker::{Capabilities, Capacity};

/// Jobs at once for each GPU with an encoder that works: one that encodes while the other reads, uploads or checks.
const JOBS_PER_GPU: u32 = 2;
/// An encode of x264 or x265 keeps about four cores busy.
const CORES_PER_JOB: u32 = 4;

/// What the worker's owner set; what is absent follows from the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub jobs: Option<u32>,
    pub gpu_jobs: Option<u32>,
    pub cpu_jobs: Option<u32>,
}

impl Limits {
    /// The capacity that a machine with these capabilities declares. Never more GPU or CPU jobs than jobs.
    #[must_use]
    pub fn capacity(&self, capabilities: &Capabilities) -> Capacity {
        let gpus: BTreeSet<u32> = capabilities
            .encoders
            .iter()
            .filter(|encoder| encoder.family.is_hardware())
            .flat_map(|encoder| encoder.devices.iter().map(|device| device.gpu))
            .collect();
        let gpus = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
        let gpu_jobs = if gpus == 0 { 0 } else { self.gpu_jobs.unwrap_or(gpus.saturating_mul(JOBS_PER_GPU)) };
        let cpu_jobs = self.cpu_jobs.unwrap_or((capabilities.machine.cores / CORES_PER_JOB).max(1));
        let max_jobs = self.jobs.unwrap_or(gpu_jobs.saturating_add(cpu_jobs));
        Capacity { max_jobs, max_gpu_jobs: gpu_jobs.min(max_jobs), max_cpu_jobs: cpu_jobs.min(max_jobs) }
    }
}

#[cfg(test)]
mod tests {
    use common::{
        media::EncoderFamily,
        worker::{Encoder, EncoderDevice, Machine},
    };

    use super::*;

    fn machine(cores: u32, gpus: &[u32]) -> Capabilities {
        let device = |gpu: &u32| EncoderDevice { gpu: *gpu, path: gpu.to_string(), bit_depths: vec![8] };
        let encoder = |name: &str| Encoder {
            name: name.to_owned(),
            codec: "h264".to_owned(),
            family: EncoderFamily::of_encoder(name),
            devices: gpus.iter().map(device).collect(),
        };
        Capabilities {
            encoders: if gpus.is_empty() {
                vec![encoder("libx264")]
            } else {
                vec![encoder("h264_nvenc"), encoder("hevc_nvenc")]
            },
            machine: Machine { cores, ..Machine::default() },
            ..Capabilities::default()
        }
    }

    #[test]
    fn the_machine_decides_unless_its_owner_does() {
        let default = Limits::default();
        assert_eq!(
            default.capacity(&machine(2, &[])),
            Capacity { max_jobs: 1, max_gpu_jobs: 0, max_cpu_jobs: 1 }
        );
        assert_eq!(
            default.capacity(&machine(32, &[0, 1])),
            Capacity { max_jobs: 12, max_gpu_jobs: 4, max_cpu_jobs: 8 }
        );
        let set = Limits { jobs: Some(3), gpu_jobs: Some(5), cpu_jobs: Some(0) };
        assert_eq!(
            set.capacity(&machine(32, &[0])),
            Capacity { max_jobs: 3, max_gpu_jobs: 3, max_cpu_jobs: 0 }
        );
    }

    #[test]
    fn without_a_working_gpu_there_are_no_gpu_jobs() {
        let set = Limits { gpu_jobs: Some(4), ..Limits::default() };
        assert_eq!(set.capacity(&machine(8, &[])).max_gpu_jobs, 0);
    }
}
