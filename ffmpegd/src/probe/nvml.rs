//! NVIDIA GPUs, as the driver's management library (NVML) shows them.

use std::path::{Path, PathBuf};

use common::worker::{Gpu, GpuLoad};
use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};

use super::sessions;

/// What NVML says; without NVML, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Nvidia {
    /// [`Gpu::index`] is NVML's.
    pub gpus: Vec<Gpu>,
    pub problem: Option<String>,
}

/// The library that a machine with an NVIDIA driver has. The name without the number, which nvml-wrapper would take, is
/// only there with the development files.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Loads NVML. Blocks.
pub(super) fn load(library: Option<&Path>) -> Result<Nvml, NvmlError> {
    let path = library.unwrap_or(Path::new(LIBRARY));
    Nvml::builder().lib_path(path.as_os_str()).init()
}

/// Asks NVML for the GPUs of this machine.
pub(super) async fn gpus(library: Option<&Path>) -> Nvidia {
    let library: Option<PathBuf> = library.map(Path::to_owned);
    let asked = tokio::task::spawn_blocking(move || match load(library.as_deref()) {
        Ok(nvml) => list(&nvml),
        Err(error) => Nvidia { gpus: Vec::new(), problem: why_none(&error, library.as_deref()) },
    });
    asked.await.unwrap_or_else(|_| Nvidia {
        gpus: Vec::new(),
        problem: Some("NVML: the library crashed while its GPUs were listed".to_owned()),
    })
}

/// A machine without the library has no NVIDIA driver, and nothing is wrong with it. A library that is there (or was
/// named) and does not work is worth telling.
fn why_none(error: &NvmlError, library: Option<&Path>) -> Option<String> {
    match (error, library) {
        (NvmlError::LibloadingError(_), None) => None,
        (NvmlError::LibloadingError(error), Some(path)) => {
            Some(format!("NVML: cannot load {}: {error}", path.display()))
        }
        (error, _) => Some(format!(
            "NVML: {error}; GPU figures are missing until the driver works (nvidia-smi tells more; in a container, \
             is it started with the NVIDIA runtime?)"
        )),
    }
}

fn list(nvml: &Nvml) -> Nvidia {
    let driver = nvml.sys_driver_version().unwrap_or_default();
    let count = match nvml.device_count() {
        Ok(count) => count,
        Err(error) => {
            return Nvidia {
                gpus: Vec::new(),
                problem: Some(format!("NVML: counting the GPUs failed: {error}")),
            };
        }
    };
    let mut problems = Vec::new();
    let mut gpus = Vec::new();
    for index in 0..count {
        match nvml.device_by_index(index) {
            Ok(device) => gpus.push(describe(&device, index, &driver)),
            Err(error) => problems.push(format!("GPU {index}: {error}")),
        }
    }
    sessions::set_max_sessions(&mut gpus);
    Nvidia { gpus, problem: (!problems.is_empty()).then(|| format!("NVML: {}", problems.join("; "))) }
}

fn describe(device: &Device<'_>, index: u32, driver: &str) -> Gpu {
    Gpu {
        index,
        vendor: "nvidia".to_owned(),
        name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
        uuid: device.uuid().unwrap_or_default(),
        driver: driver.to_owned(),
        memory_total_bytes: device.memory_info().map(|memory| memory.total).unwrap_or_default(),
        max_sessions: None,
    }
}

/// Present figures of one GPU. What a GPU does not tell (a data-centre one has no encoder, one that fell off the bus has
/// nothing) is 0. Blocks.
pub(super) fn load_of(nvml: &Nvml, index: u32) -> GpuLoad {
    let Ok(device) = nvml.device_by_index(index) else {
        return GpuLoad { index, ..GpuLoad::default() };
    };
    GpuLoad {
        index,
        utilisation: device.utilization_rates().map(|rates| rates.gpu).unwrap_or_default(),
        encoder_utilisation: device.encoder_utilization().map(|info| info.utilization).unwrap_or_default(),
        decoder_utilisation: device.decoder_utilization().map(|info| info.utilization).unwrap_or_default(),
        memory_used_bytes: device.memory_info().map(|memory| memory.used).unwrap_or_default(),
        sessions: device.encoder_stats().map(|stats| stats.session_count).unwrap_or_default(),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).unwrap_or_default(),
    }
}

/// The index that CUDA, and so ffmpeg's `-gpu`, gives each GPU when devices are in PCI order ([`super::FFMPEG_ENV`]).
/// NVML ignores `CUDA_VISIBLE_DEVICES`; CUDA numbers only what that lists, in its order, up to the first entry that names
/// nothing (CUDA C programming guide, "CUDA environment variables"). Pairs of ([`Gpu::index`], CUDA index).
pub(super) fn cuda_indices(visible: Option<&str>, gpus: &[Gpu]) -> Vec<(u32, u32)> {
    let named: Vec<u32> = match visible {
        None => gpus.iter().map(|gpu| gpu.index).collect(),
        Some(list) => list
            .split(',')
            .map(str::trim)
            .map_while(|entry| {
                let gpu = match entry.parse::<u32>() {
                    Ok(index) => gpus.iter().find(|gpu| gpu.index == index),
                    Err(_) if entry.starts_with("GPU-") => {
                        gpus.iter().find(|gpu| gpu.uuid.starts_with(entry))
                    }
                    Err(_) => None,
                };
                gpu.map(|gpu| gpu.index)
            })
            .collect(),
    };
    named.into_iter().zip(0..).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus() -> Vec<Gpu> {
        (0..3).map(|index| Gpu { index, uuid: format!("GPU-{index}aaaa-bbbb"), ..Gpu::default() }).collect()
    }

    #[test]
    fn cuda_numbers_what_it_is_shown() {
        assert_eq!(cuda_indices(None, &gpus()), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(cuda_indices(Some("2,0"), &gpus()), [(2, 0), (0, 1)]);
        assert_eq!(cuda_indices(Some("GPU-1a"), &gpus()), [(1, 0)]);
        assert_eq!(cuda_indices(Some("1,-1,0"), &gpus()), [(1, 0)]);
        assert_eq!(cuda_indices(Some(""), &gpus()), []);
    }

    #[test]
    fn a_machine_without_nvml_has_no_problem_and_a_wrong_library_has() {
        let missing = load(Some(Path::new("/nonexistent/libnvidia-ml.so"))).map(|_| ()).unwrap_err();
        assert_eq!(why_none(&missing, None), None);
        let problem = why_none(&missing, Some(Path::new("/nonexistent/libnvidia-ml.so"))).unwrap();
        assert!(problem.contains("/nonexistent/libnvidia-ml.so"), "{problem}");
        assert!(why_none(&NvmlError::DriverNotLoaded, None).unwrap().contains("nvidia-smi"));
    }
}
