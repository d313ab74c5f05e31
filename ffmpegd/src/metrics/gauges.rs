//! What is, read when somebody asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, atomic::Ordering},
};

use common::{
    media::EncoderFamily,
    metrics::gauges,
    worker::{Capabilities, Capacity, Gpu, GpuLoad, Load},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use tokio::sync::watch;

use super::{Figures, Seen, class};
use crate::{
    run::{Slot, Space},
    session::Connection,
};

/// Software encoders that presets and profiles can ask for. Of the hundreds that ffmpeg has no other is told.
const SOFTWARE: [&str; 8] =
    ["libx264", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9", "prores_ks", "dnxhd", "mjpeg"];

/// Everything that can be looked at.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) figures: Figures,
    pub(crate) connection: watch::Receiver<Option<Connection>>,
    pub(crate) load: watch::Receiver<(Load, Vec<GpuLoad>)>,
    pub(crate) capabilities: watch::Receiver<Arc<Capabilities>>,
    pub(crate) capacity: Capacity,
    pub(crate) space: Space,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let running: Vec<Seen> = self.figures.running().values().cloned().collect();
        let capabilities = Arc::clone(&self.capabilities.borrow());
        let (load, gpus) = self.load.borrow().clone();
        self.session(&mut encoder)?;
        self.slots(&mut encoder, &running)?;
        speed(&mut encoder, &running)?;
        self.machine(&mut encoder, load, &capabilities)?;
        devices(&mut encoder, &capabilities.gpus, &gpus)?;
        encoders(&mut encoder, &capabilities)?;
        let probed = self.figures.probed.load(Ordering::Relaxed);
        let help = "When the machine was probed last, since the Unix epoch";
        one(&mut encoder, ("probe_time", help, Some(Unit::Seconds)), probed as f64)
    }
}

impl Gauges {
    fn session(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connected = u32::from(self.connection.borrow().is_some());
        one(
            encoder,
            ("connected", "1 while there is a session with a coordinator", None),
            f64::from(connected),
        )
    }

    fn slots(&self, encoder: &mut DescriptorEncoder<'_>, running: &[Seen]) -> fmt::Result {
        let count =
            |wanted: &dyn Fn(&Seen) -> bool| running.iter().filter(|seen| wanted(seen)).count() as u64;
        let attempts = [false, true].map(|live| ([("class", class(live))], count(&|seen| seen.live == live)));
        gauges(encoder, ("attempts", "Attempts that run", None), attempts)?;
        let Capacity { max_jobs, max_gpu_jobs, max_cpu_jobs } = self.capacity;
        let slots = [("jobs", max_jobs), ("gpu", max_gpu_jobs), ("cpu", max_cpu_jobs)];
        let rows = slots.map(|(kind, most)| ([("kind", kind)], most));
        gauges(encoder, ("slots", "Attempts that this worker takes at once", None), rows)?;
        let used = [
            ("jobs", count(&|_| true)),
            ("gpu", count(&|seen| seen.slot == Slot::Gpu)),
            ("cpu", count(&|seen| seen.slot == Slot::Cpu)),
        ];
        let rows = used.map(|(kind, used)| ([("kind", kind)], used));
        gauges(encoder, ("slots_used", "Slots that are taken", None), rows)
    }

    fn machine(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        load: Load,
        capabilities: &Capabilities,
    ) -> fmt::Result {
        let scratch = self.space.figures();
        let ratio = Some(Unit::Other("ratio".to_owned()));
        one(encoder, ("cpu", "Processors in use, 0 to 1", ratio), load.cpu)?;
        for (name, help, bytes) in [
            ("memory_used", "Memory in use", load.memory_used_bytes),
            ("memory", "Memory that there is", capabilities.machine.memory_total_bytes),
            ("scratch_free", "Free on the file system of the scratch folder", load.scratch_free_bytes),
            ("scratch_available", "What another attempt could reserve for its files", scratch.available),
            ("scratch_reserved", "Reserved by attempts that run", scratch.reserved),
            ("scratch_limit", "What all attempts may reserve together", scratch.limit),
        ] {
            one(encoder, (name, help, Some(Unit::Bytes)), bytes as f64)?;
        }
        Ok(())
    }
}

/// A gauge without labels.
fn one(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    value: f64,
) -> fmt::Result {
    let about = encoder.encode_descriptor(name, &format!("{help}."), unit.as_ref(), MetricType::Gauge)?;
    ConstGauge::new(value).encode(about)
}

/// Of what runs now, by encoder.
fn speed(encoder: &mut DescriptorEncoder<'_>, running: &[Seen]) -> fmt::Result {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for seen in running {
        let progress = seen.vitals.upgrade().map(|vitals| vitals.progress()).unwrap_or_default();
        let (fps, speed) = sums.entry(&seen.encoder).or_default();
        *fps += progress.fps;
        *speed += progress.speed;
    }
    let rows = |value: fn(&(f64, f64)) -> f64| {
        sums.iter().map(move |(name, sum)| ([("encoder", *name)], value(sum))).collect::<Vec<_>>()
    };
    gauges(encoder, ("encode_fps", "Frames per second of what runs", None), rows(|sum| sum.0))?;
    let ratio = Some(Unit::Other("ratio".to_owned()));
    gauges(encoder, ("encode_speed", "Media seconds per second of what runs", ratio), rows(|sum| sum.1))
}

fn devices(encoder: &mut DescriptorEncoder<'_>, gpus: &[Gpu], loads: &[GpuLoad]) -> fmt::Result {
    let about = |gpu: &Gpu| {
        let labels = [
            ("gpu", gpu.index.to_string()),
            ("uuid", gpu.uuid.clone()),
            ("name", gpu.name.clone()),
            ("driver", gpu.driver.clone()),
        ];
        (labels, 1_u32)
    };
    gauges(encoder, ("gpu_info", "1 for each GPU", None), gpus.iter().map(about))?;
    // Only NVML tells figures.
    let told: Vec<(&Gpu, &GpuLoad)> = gpus
        .iter()
        .filter(|gpu| gpu.vendor == "nvidia")
        .filter_map(|gpu| Some((gpu, loads.iter().find(|load| load.index == gpu.index)?)))
        .collect();
    let rows = |value: fn(&Gpu, &GpuLoad) -> f64| {
        told.iter().map(move |(gpu, load)| (of(gpu), value(gpu, load))).collect::<Vec<_>>()
    };
    let ratio = || Some(Unit::Other("ratio".to_owned()));
    let of_gpu = ("gpu_utilization", "Load of the GPU, 0 to 1", ratio());
    gauges(encoder, of_gpu, rows(|_, load| f64::from(load.utilisation) / 100.0))?;
    let of_encoder = ("gpu_encoder_utilization", "Load of its encoder, 0 to 1", ratio());
    gauges(encoder, of_encoder, rows(|_, load| f64::from(load.encoder_utilisation) / 100.0))?;
    let of_decoder = ("gpu_decoder_utilization", "Load of its decoder, 0 to 1", ratio());
    gauges(encoder, of_decoder, rows(|_, load| f64::from(load.decoder_utilisation) / 100.0))?;
    let used = ("gpu_memory_used", "Memory of the GPU in use", Some(Unit::Bytes));
    gauges(encoder, used, rows(|_, load| load.memory_used_bytes as f64))?;
    let total = ("gpu_memory", "Memory of the GPU", Some(Unit::Bytes));
    gauges(encoder, total, rows(|gpu, _| gpu.memory_total_bytes as f64))?;
    let heat = ("gpu_temperature", "Temperature of the GPU", Some(Unit::Celsius));
    gauges(encoder, heat, rows(|_, load| f64::from(load.temperature_celsius)))?;
    let sessions = ("gpu_sessions", "Encode sessions, those of other programs included", None);
    gauges(encoder, sessions, rows(|_, load| f64::from(load.sessions)))?;
    let possible = gpus.iter().filter_map(|gpu| Some((of(gpu), gpu.max_sessions?)));
    gauges(encoder, ("gpu_sessions_possible", "Encode sessions that the driver allows", None), possible)
}

fn of(gpu: &Gpu) -> [(&'static str, String); 1] {
    [("gpu", gpu.index.to_string())]
}

/// Which encoders passed their trial, and which were turned down; software has no device.
fn encoders(encoder: &mut DescriptorEncoder<'_>, capabilities: &Capabilities) -> fmt::Result {
    let mut works: BTreeSet<(&str, &str)> = BTreeSet::new();
    for known in &capabilities.encoders {
        if known.family == EncoderFamily::Software {
            works.extend(SOFTWARE.contains(&known.name.as_str()).then_some((known.name.as_str(), "")));
        }
        works.extend(known.devices.iter().map(|device| (known.name.as_str(), device.path.as_str())));
    }
    // One that takes 8 bits and not 10 works.
    let turned_down: BTreeSet<(&str, &str)> = capabilities
        .rejected
        .iter()
        .map(|rejected| (rejected.name.as_str(), rejected.device.as_str()))
        .filter(|known| !works.contains(known))
        .collect();
    let row = |value: u32| {
        move |(name, device): &(&str, &str)| {
            ([("encoder", (*name).to_owned()), ("device", (*device).to_owned())], value)
        }
    };
    let rows: Vec<_> = works.iter().map(row(1)).chain(turned_down.iter().map(row(0))).collect();
    let help =
        "1 for an encoder that works on a device, 0 for one that ffmpeg lists and that was turned down";
    gauges(encoder, ("encoder_available", help, None), rows)
}
