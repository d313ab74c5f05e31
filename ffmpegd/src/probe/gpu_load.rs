//! GPU figures for heartbeats.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::worker::{Gpu, GpuLoad};
use nvml_wrapper::Nvml;

use super::nvml;

/// A driver in trouble may block for seconds; a heartbeat must not wait for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Samples the GPUs that a probe found. Cheap to clone.
///
/// A GPU that no longer answers, or never could (only NVML tells figures), counts as idle: all zeros.
#[derive(Debug, Clone)]
pub struct GpuMonitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    nvml: Option<Nvml>,
    /// Indices of the GPUs that NVML knows.
    nvidia: Vec<u32>,
    /// The last figures of all GPUs.
    last: Mutex<Vec<GpuLoad>>,
    /// A query runs, perhaps for long; at most one thread is ever lost to a driver that hangs.
    asking: AtomicBool,
}

impl GpuMonitor {
    /// `library` as in [`super::Settings::nvml_library`], `gpus` as in [`common::worker::Capabilities::gpus`].
    pub async fn open(library: Option<&Path>, gpus: &[Gpu]) -> Self {
        let nvidia: Vec<u32> = gpus
            .iter()
            .filter(|gpu| gpu.vendor == "nvidia" && !gpu.uuid.is_empty())
            .map(|gpu| gpu.index)
            .collect();
        let nvml = if nvidia.is_empty() {
            None
        } else {
            let library = library.map(Path::to_owned);
            tokio::task::spawn_blocking(move || nvml::load(library.as_deref()).ok()).await.ok().flatten()
        };
        let last = gpus.iter().map(|gpu| GpuLoad { index: gpu.index, ..GpuLoad::default() }).collect();
        Self {
            shared: Arc::new(Shared { nvml, nvidia, last: Mutex::new(last), asking: AtomicBool::new(false) }),
        }
    }

    /// One entry for each GPU. Takes half a second at most: when NVML does not answer by then, these are the figures
    /// before.
    pub async fn sample(&self) -> Vec<GpuLoad> {
        let shared = &self.shared;
        if shared.nvml.is_some() && !shared.asking.swap(true, Ordering::AcqRel) {
            let asked = Arc::clone(shared);
            let query = tokio::task::spawn_blocking(move || asked.query());
            // Its result is in `last`; being late or having crashed leaves the figures before.
            let _ = tokio::time::timeout(PATIENCE, query).await;
        }
        shared.last.lock().map(|last| last.clone()).unwrap_or_default()
    }
}

impl Shared {
    fn query(&self) {
        if let Some(nvml) = &self.nvml {
            let loads: Vec<GpuLoad> = self.nvidia.iter().map(|&index| nvml::load_of(nvml, index)).collect();
            if let Ok(mut last) = self.last.lock() {
                for load in loads {
                    if let Some(entry) = last.iter_mut().find(|entry| entry.index == load.index) {
                        *entry = load;
                    }
                }
            }
        }
        self.asking.store(false, Ordering::Release);
    }
}
