//! Which trial encodes there are to run on this machine, and running them side by side.

use std::path::Path;

use common::{
    media::{EncoderFamily, VideoCodec},
    worker::{Gpu, RejectedEncoder},
};
use futures::future::join_all;
use tokio::sync::Semaphore;

use super::{
    command::{Runner, SIDE_BY_SIDE},
    device::{Devices, RenderNode, Vendor},
    hwaccel::HwAccel,
    listing::Listed,
    nvml::{self, Nvidia},
    trial::{self, FFMPEG_ENV, Failure, Trial},
};

/// NVENC trials at a time where sessions are capped: the smallest cap that a driver has for the whole system.
const CAPPED_NVENC_SIDE_BY_SIDE: usize = 3;

/// The device of a family whose encoders find it themselves.
const AUTOMATIC: &str = "auto";

/// Hardware encoders of families that the farm has no arguments for. Without this they would pass for software.
const NOT_DRIVEN: &[&str] = &["omx", "vulkan", "mf", "mediacodec", "rkmpp", "d3d12va", "oh"];

/// What there is to try.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// GPUs that are there whatever the trials say.
    pub gpus: Vec<Gpu>,
    pub candidates: Vec<Candidate>,
    /// Turned down without a trial.
    pub turned_down: Vec<RejectedEncoder>,
}

/// An encoder on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub encoder: String,
    pub codec: VideoCodec,
    pub family: EncoderFamily,
    /// Of [`Plan::gpus`], or one that only a passed trial shows to exist.
    pub gpu: Gpu,
    pub path: String,
}

/// What a candidate's trials said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub candidate: Candidate,
    /// Bit depths that work.
    pub passed: Vec<u8>,
    pub failed: Option<(u8, Failure)>,
}

/// Whether a listed encoder needs no device.
pub(super) fn is_software(name: &str) -> bool {
    !EncoderFamily::of_encoder(name).is_hardware() && !is_not_driven(name)
}

fn is_not_driven(name: &str) -> bool {
    name.rsplit_once('_').is_some_and(|(_, suffix)| NOT_DRIVEN.contains(&suffix))
}

/// A device of one family.
struct Target {
    gpu: Gpu,
    path: String,
    denied: Option<String>,
}

/// Every listed hardware encoder on every device of its family. `cuda_visible` is `CUDA_VISIBLE_DEVICES`.
pub(super) fn plan(
    listed: &[Listed],
    hwaccel: &HwAccel,
    devices: &Devices,
    nvidia: &Nvidia,
    cuda_visible: Option<&str>,
) -> Plan {
    let machine = Targets::of(devices, nvidia, cuda_visible);
    let mut plan = Plan { gpus: machine.gpus.clone(), ..Plan::default() };
    for encoder in listed.iter().filter(|encoder| encoder.video && !is_software(&encoder.name)) {
        let family = EncoderFamily::of_encoder(&encoder.name);
        let codec = encoder.codec.parse::<VideoCodec>();
        let bit_depth = codec.as_ref().map_or(8, |&codec| trial::bit_depths(family, codec)[0]);
        let mut turn_down = |device: &str, reason: &str| {
            plan.turned_down.push(RejectedEncoder {
                name: encoder.name.clone(),
                device: device.to_owned(),
                bit_depth,
                reason: reason.to_owned(),
            });
        };
        if is_not_driven(&encoder.name) {
            turn_down("", "this kind of hardware encoder is not supported by ffmpegd");
            continue;
        }
        if !hwaccel.allows(family) {
            turn_down("", &format!("TVARR_HWACCEL={hwaccel} leaves {family} out"));
            continue;
        }
        let Ok(codec) = codec else {
            turn_down("", &format!("no preset and no spec asks for {}", encoder.codec));
            continue;
        };
        match machine.of_family(family) {
            Err(reason) => turn_down("", &reason),
            Ok(targets) => {
                for Target { gpu, path, denied } in targets {
                    match denied {
                        Some(reason) => turn_down(&path, &reason),
                        None => plan.candidates.push(Candidate {
                            encoder: encoder.name.clone(),
                            codec,
                            family,
                            gpu,
                            path,
                        }),
                    }
                }
            }
        }
    }
    plan
}

/// The machine's GPUs with the numbers that the farm gives them: NVML's first, in NVML's order.
struct Targets<'a> {
    devices: &'a Devices,
    /// Known to be there.
    gpus: Vec<Gpu>,
    /// (GPU, what ffmpeg is told); a GPU here need not exist when NVML is silent.
    nvenc: Result<Vec<(Gpu, String)>, String>,
    render: Vec<(Gpu, &'a RenderNode)>,
    /// For the families whose device shows itself only in a trial: the next free number.
    unseen: u32,
}

impl<'a> Targets<'a> {
    fn of(devices: &'a Devices, nvidia: &Nvidia, cuda_visible: Option<&str>) -> Self {
        let mut gpus = nvidia.gpus.clone();
        let mut next = gpus.iter().map(|gpu| gpu.index + 1).max().unwrap_or(0);
        let mut number = || {
            next += 1;
            next - 1
        };
        let mut render = Vec::new();
        // NVIDIA's own nodes encode through NVENC; nothing offers encoding over VAAPI on them.
        for node in devices.render_nodes.iter().filter(|node| node.vendor != Vendor::Nvidia) {
            let gpu = Gpu {
                index: number(),
                vendor: node.vendor.as_str().to_owned(),
                name: node.name.clone(),
                driver: node.driver.clone(),
                ..Gpu::default()
            };
            gpus.push(gpu.clone());
            render.push((gpu, node));
        }
        if let Some(board) = &devices.jetson {
            gpus.push(Gpu {
                index: number(),
                vendor: "jetson".to_owned(),
                name: board.clone(),
                ..Gpu::default()
            });
        }
        let nvenc = if nvidia.gpus.is_empty() {
            // A container may have NVENC without NVML, so one trial is run even where nothing shows a GPU.
            Ok((0..devices.nvidia_nodes.max(1))
                .map(|cuda| {
                    (unseen_gpu(number(), "nvidia", "NVIDIA GPU (not shown by NVML)"), cuda.to_string())
                })
                .collect())
        } else {
            nvenc_targets(nvidia, cuda_visible)
        };
        Self { devices, gpus, nvenc, render, unseen: next }
    }

    fn of_family(&self, family: EncoderFamily) -> Result<Vec<Target>, String> {
        let automatic = |gpu: Gpu| Ok(vec![Target { gpu, path: AUTOMATIC.to_owned(), denied: None }]);
        match family {
            EncoderFamily::Software => Ok(Vec::new()),
            EncoderFamily::Nvenc => self
                .nvenc
                .clone()
                .map(|gpus| gpus.into_iter().map(|(gpu, path)| Target { gpu, path, denied: None }).collect()),
            EncoderFamily::Vaapi => {
                self.render_nodes("no render node (/dev/dri/renderD*) of an Intel or AMD GPU", |_| true)
            }
            EncoderFamily::Qsv => self
                .render_nodes("no render node (/dev/dri/renderD*) of an Intel GPU", |vendor| {
                    vendor == Vendor::Intel
                }),
            EncoderFamily::Amf => match self.render.iter().find(|(_, node)| node.vendor == Vendor::Amd) {
                Some((gpu, _)) => automatic(gpu.clone()),
                None if cfg!(windows) => automatic(unseen_gpu(self.unseen, "amd", "AMD GPU")),
                None => Err("no AMD GPU".to_owned()),
            },
            EncoderFamily::V4l2m2m if self.devices.video_nodes.is_empty() => {
                Err("no video device (/dev/video*)".to_owned())
            }
            EncoderFamily::V4l2m2m => {
                automatic(unseen_gpu(self.unseen, "v4l2", "V4L2 memory-to-memory encoder"))
            }
            EncoderFamily::VideoToolbox if cfg!(target_os = "macos") => {
                automatic(unseen_gpu(self.unseen, "apple", "Apple VideoToolbox"))
            }
            EncoderFamily::VideoToolbox => Err("VideoToolbox is there on macOS only".to_owned()),
            EncoderFamily::Jetson => match self.gpus.iter().find(|gpu| gpu.vendor == "jetson") {
                Some(gpu) => automatic(gpu.clone()),
                None => Err("this machine is no NVIDIA Jetson".to_owned()),
            },
        }
    }

    fn render_nodes(&self, none: &str, takes: impl Fn(Vendor) -> bool) -> Result<Vec<Target>, String> {
        let targets: Vec<Target> = self
            .render
            .iter()
            .filter(|(_, node)| takes(node.vendor))
            .map(|(gpu, node)| Target {
                gpu: gpu.clone(),
                path: node.path.clone(),
                denied: node.denied.clone(),
            })
            .collect();
        if targets.is_empty() { Err(none.to_owned()) } else { Ok(targets) }
    }
}

fn nvenc_targets(nvidia: &Nvidia, cuda_visible: Option<&str>) -> Result<Vec<(Gpu, String)>, String> {
    let targets: Vec<(Gpu, String)> = nvml::cuda_indices(cuda_visible, &nvidia.gpus)
        .into_iter()
        .filter_map(|(index, cuda)| {
            let gpu = nvidia.gpus.iter().find(|gpu| gpu.index == index)?;
            Some((gpu.clone(), cuda.to_string()))
        })
        .collect();
    if targets.is_empty() {
        return Err(format!("CUDA_VISIBLE_DEVICES={} shows no GPU", cuda_visible.unwrap_or_default()));
    }
    Ok(targets)
}

fn unseen_gpu(index: u32, vendor: &str, name: &str) -> Gpu {
    Gpu { index, vendor: vendor.to_owned(), name: name.to_owned(), ..Gpu::default() }
}

/// How many NVENC trials run at a time. Without a GPU that NVML shows, sessions count as capped.
pub(super) fn nvenc_side_by_side(gpus: &[Gpu]) -> usize {
    if gpus.is_empty() || gpus.iter().any(|gpu| gpu.max_sessions.is_some()) {
        CAPPED_NVENC_SIDE_BY_SIDE
    } else {
        SIDE_BY_SIDE
    }
}

/// Runs the trials of all candidates side by side. Those that found no free encode session are tried once more, one after
/// another, for they may have been in each other's way.
pub(super) async fn run(
    runner: &Runner,
    ffmpeg: &Path,
    candidates: Vec<Candidate>,
    nvenc_side_by_side: usize,
) -> Vec<Verdict> {
    let nvenc = Semaphore::new(nvenc_side_by_side);
    let mut verdicts = join_all(candidates.into_iter().map(|candidate| async {
        let _session = match candidate.family {
            EncoderFamily::Nvenc => Some(nvenc.acquire().await.expect("the semaphore is never closed")),
            EncoderFamily::Software
            | EncoderFamily::Qsv
            | EncoderFamily::Vaapi
            | EncoderFamily::Amf
            | EncoderFamily::V4l2m2m
            | EncoderFamily::VideoToolbox
            | EncoderFamily::Jetson => None,
        };
        examine(runner, ffmpeg, candidate).await
    }))
    .await;
    for verdict in &mut verdicts {
        if verdict.met_session_limit() {
            *verdict = examine(runner, ffmpeg, verdict.candidate.clone()).await;
            if let (true, Some((_, failure))) = (verdict.met_session_limit(), &mut verdict.failed) {
                failure.reason.push_str("; other programs hold all encode sessions that the driver allows");
            }
        }
    }
    verdicts
}

impl Verdict {
    fn met_session_limit(&self) -> bool {
        self.failed.as_ref().is_some_and(|(_, failure)| failure.session_limit)
    }
}

/// Tries a candidate's bit depths, easiest first. A device that cannot do the easiest is not asked for more.
async fn examine(runner: &Runner, ffmpeg: &Path, candidate: Candidate) -> Verdict {
    let mut passed = Vec::new();
    let mut failed = None;
    for &bit_depth in trial::bit_depths(candidate.family, candidate.codec) {
        let argv = trial::argv(&Trial {
            encoder: &candidate.encoder,
            codec: candidate.codec,
            device: &candidate.path,
            bit_depth,
        });
        match trial::judge(runner.run(ffmpeg, argv, FFMPEG_ENV).await) {
            Ok(()) => passed.push(bit_depth),
            Err(failure) => {
                failed = Some((bit_depth, failure));
                break;
            }
        }
    }
    Verdict { candidate, passed, failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, codec: &str) -> Listed {
        Listed { name: name.to_owned(), codec: codec.to_owned(), video: true }
    }

    fn node(number: u32, vendor: Vendor) -> RenderNode {
        RenderNode {
            path: format!("/dev/dri/renderD{number}"),
            vendor,
            name: String::new(),
            driver: String::new(),
            denied: None,
        }
    }

    fn nvidia(count: u32) -> Nvidia {
        let gpu = |index| Gpu { index, vendor: "nvidia".to_owned(), ..Gpu::default() };
        Nvidia { gpus: (0..count).map(gpu).collect(), problem: None }
    }

    fn tried(plan: &Plan) -> Vec<(&str, u32, &str)> {
        plan.candidates
            .iter()
            .map(|candidate| (candidate.encoder.as_str(), candidate.gpu.index, candidate.path.as_str()))
            .collect()
    }

    #[test]
    fn each_encoder_is_tried_on_each_device_of_its_family() {
        let devices = Devices {
            render_nodes: vec![node(128, Vendor::Nvidia), node(129, Vendor::Intel), node(130, Vendor::Amd)],
            ..Devices::default()
        };
        let encoders = [
            listed("h264_nvenc", "h264"),
            listed("h264_vaapi", "h264"),
            listed("h264_qsv", "h264"),
            listed("h264_amf", "h264"),
        ];
        let plan = plan(&encoders, &HwAccel::Auto, &devices, &nvidia(2), None);
        assert_eq!(
            tried(&plan),
            [
                ("h264_nvenc", 0, "0"),
                ("h264_nvenc", 1, "1"),
                ("h264_vaapi", 2, "/dev/dri/renderD129"),
                ("h264_vaapi", 3, "/dev/dri/renderD130"),
                ("h264_qsv", 2, "/dev/dri/renderD129"),
                ("h264_amf", 3, "auto"),
            ]
        );
        assert_eq!(
            plan.gpus.iter().map(|gpu| gpu.vendor.as_str()).collect::<Vec<_>>(),
            ["nvidia", "nvidia", "intel", "amd"]
        );
    }

    #[test]
    fn a_machine_without_devices_says_so_and_tries_nvenc_once() {
        let encoders = [
            listed("h264_nvenc", "h264"),
            listed("h264_vaapi", "h264"),
            listed("h264_qsv", "h264"),
            listed("h264_v4l2m2m", "h264"),
            listed("h264_nvmpi", "h264"),
            listed("h264_omx", "h264"),
            listed("mjpeg_vaapi", "mjpeg"),
            listed("libx264", "h264"),
        ];
        let plan = plan(&encoders, &HwAccel::Auto, &Devices::default(), &Nvidia::default(), None);
        assert_eq!(tried(&plan), [("h264_nvenc", 0, "0")]);
        assert_eq!(plan.gpus, []);
        let reasons: Vec<&str> = plan.turned_down.iter().map(|rejected| rejected.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "no render node (/dev/dri/renderD*) of an Intel or AMD GPU",
                "no render node (/dev/dri/renderD*) of an Intel GPU",
                "no video device (/dev/video*)",
                "this machine is no NVIDIA Jetson",
                "this kind of hardware encoder is not supported by ffmpegd",
                "no preset and no spec asks for mjpeg",
            ]
        );
    }

    #[test]
    fn families_that_the_owner_left_out_are_not_tried() {
        let encoders = [listed("h264_nvenc", "h264")];
        let plan = plan(&encoders, &HwAccel::None, &Devices::default(), &nvidia(1), None);
        assert_eq!(tried(&plan), []);
        assert_eq!(plan.turned_down[0].reason, "TVARR_HWACCEL=none leaves nvenc out");
        assert_eq!(plan.gpus.len(), 1);
    }

    #[test]
    fn a_node_that_may_not_be_opened_keeps_the_reason() {
        let mut denied = node(128, Vendor::Intel);
        denied.denied = Some("no permission".to_owned());
        let devices = Devices { render_nodes: vec![denied], ..Devices::default() };
        let plan = plan(&[listed("h264_vaapi", "h264")], &HwAccel::Auto, &devices, &Nvidia::default(), None);
        assert_eq!(tried(&plan), []);
        let rejected = &plan.turned_down[0];
        assert_eq!(
            (rejected.device.as_str(), rejected.reason.as_str()),
            ("/dev/dri/renderD128", "no permission")
        );
    }

    #[test]
    fn a_jetson_needs_no_nvml() {
        let devices = Devices { jetson: Some("Jetson Orin".to_owned()), ..Devices::default() };
        let plan = plan(&[listed("h264_nvmpi", "h264")], &HwAccel::Auto, &devices, &Nvidia::default(), None);
        assert_eq!(tried(&plan), [("h264_nvmpi", 0, "auto")]);
        assert_eq!(plan.gpus[0].name, "Jetson Orin");
    }

    #[test]
    fn hidden_gpus_are_not_tried() {
        let encoders = [listed("h264_nvenc", "h264")];
        let shown = plan(&encoders, &HwAccel::Auto, &Devices::default(), &nvidia(2), Some("1"));
        assert_eq!(tried(&shown), [("h264_nvenc", 1, "0")]);
        let hidden = plan(&encoders, &HwAccel::Auto, &Devices::default(), &nvidia(2), Some("-1"));
        assert_eq!(hidden.turned_down[0].reason, "CUDA_VISIBLE_DEVICES=-1 shows no GPU");
    }
}
