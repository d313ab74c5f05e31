//! Finds out what this machine can do: which ffmpeg, which encoders really work on which device, GPUs, CPU, memory,
//! scratch space.
//!
//! What ffmpeg lists is believed for software. A hardware encoder is offered only after a trial encode on the real
//! device, since a build lists encoders whether or not their hardware is there; whatever was turned down keeps its
//! reason. Everything that can fail here fails alone: a machine without NVML or with half a broken ffmpeg offers what
//! works. Only a machine without ffmpeg or without a working ffprobe is an [`Error`], for it could take no work.

mod cgroup;
mod command;
mod detect;
mod device;
mod error;
mod gpu_load;
mod hwaccel;
mod listing;
mod machine;
mod nvml;
mod offer;
mod sessions;
mod table;
mod trial;
mod trials;

use std::{path::PathBuf, time::Duration};

use common::worker::Capabilities;

use self::{command::Runner, listing::Listings, offer::Offer};
pub use self::{
    detect::detect,
    error::{Error, Tool},
    gpu_load::GpuMonitor,
    hwaccel::HwAccel,
    machine::MachineMonitor,
    table::render_table,
    trial::FFMPEG_ENV,
};

/// A command that did not answer for this long is killed. A cold NVIDIA driver without persistence mode takes some
/// seconds to initialise; on a warm machine a trial takes a fraction of one.
pub const DEFAULT_TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What to probe and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Path, or a name that is looked up in `PATH`.
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    /// The folder for attempts' files; it need not exist yet.
    pub scratch: PathBuf,
    /// Which hardware encoders may be offered (`TVARR_HWACCEL`).
    pub hwaccel: HwAccel,
    /// NVML library; `None`: the system's `libnvidia-ml.so.1`.
    pub nvml_library: Option<PathBuf>,
    /// Limit of each command that is run: listings and trial encodes.
    pub trial_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            scratch: std::env::temp_dir(),
            hwaccel: HwAccel::Auto,
            nvml_library: None,
            trial_timeout: DEFAULT_TRIAL_TIMEOUT,
        }
    }
}

/// Probes this machine. Commands and trial encodes run side by side; each is killed, with its process group, after
/// [`Settings::trial_timeout`] or when the future is dropped.
///
/// # Errors
/// There is no ffmpeg to run, or no ffprobe that answers. A broken ffmpeg is no error: what works is in the answer and
/// what does not is in [`Capabilities::problems`].
pub async fn probe(settings: &Settings) -> Result<Capabilities, Error> {
    probe_with(settings, None).await
}

/// Probes a machine that is at work: after a device failed, say. As [`probe`], but an encoder that `before` offered and
/// whose trial now finds all encode sessions taken is still offered: it may be this worker's own jobs that hold them.
///
/// # Errors
/// As [`probe`].
pub async fn probe_again(settings: &Settings, before: &Capabilities) -> Result<Capabilities, Error> {
    probe_with(settings, Some(before)).await
}

async fn probe_with(settings: &Settings, before: Option<&Capabilities>) -> Result<Capabilities, Error> {
    let runner = Runner::new(settings.trial_timeout);
    let (listings, ffprobe_version, nvidia, devices, machine) = tokio::join!(
        Listings::read(&runner, &settings.ffmpeg),
        listing::ffprobe_version(&runner, &settings.ffprobe),
        nvml::gpus(settings.nvml_library.as_deref()),
        device::find(),
        machine::describe(&settings.scratch),
    );
    let listings = listings?;
    let ffprobe_version = ffprobe_version?;

    let cuda_visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let plan =
        trials::plan(&listings.encoders, &settings.hwaccel, &devices, &nvidia, cuda_visible.as_deref());
    let verdicts =
        trials::run(&runner, &settings.ffmpeg, plan.candidates, trials::nvenc_side_by_side(&nvidia.gpus))
            .await;
    let Offer { encoders, rejected, gpus } =
        offer::collect(&listings.encoders, plan.gpus, plan.turned_down, verdicts, before);

    let mut problems = listings.problems;
    problems.extend(nvidia.problem);
    Ok(Capabilities {
        ffmpeg_version: listings.version,
        ffprobe_version,
        encoders,
        rejected,
        decoders: listings.decoders,
        muxers: listings.muxers,
        filters: listings.filters,
        protocols: listings.protocols,
        hwaccels: listings.hwaccels,
        gpus,
        machine,
        problems,
    })
}
