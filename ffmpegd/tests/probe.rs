//! The probe on this machine, and on machines that this one is not.

#![cfg(target_os = "linux")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use common::{
    media::EncoderFamily,
    worker::{Capabilities, GpuLoad},
};
use ffmpegd::probe::{Error, GpuMonitor, HwAccel, Settings, probe, render_table};

#[path = "../../tests/fakes/mod.rs"]
mod fakes;

use fakes::{Nvenc, Nvml, NvmlGpu, ffmpeg_with_nvenc, stand_in};

fn settings(scratch: &Path) -> Settings {
    Settings { scratch: scratch.to_owned(), trial_timeout: Duration::from_secs(20), ..Settings::default() }
}

fn offers(capabilities: &Capabilities, name: &str) -> bool {
    capabilities.encoder(name).is_some()
}

fn reasons<'a>(capabilities: &'a Capabilities, name: &str) -> Vec<&'a str> {
    capabilities
        .rejected
        .iter()
        .filter(|rejected| rejected.name == name)
        .map(|rejected| rejected.reason.as_str())
        .collect()
}

/// (GPU, what ffmpeg is told, bit depths) of an encoder's devices.
fn devices<'a>(capabilities: &'a Capabilities, name: &str) -> Vec<(u32, &'a str, &'a [u8])> {
    capabilities.encoder(name).map_or_else(Vec::new, |encoder| {
        encoder
            .devices
            .iter()
            .map(|device| (device.gpu, device.path.as_str(), device.bit_depths.as_slice()))
            .collect()
    })
}

/// Skips tests of what the GPU-less machine says when there is a GPU.
fn has_a_gpu() -> bool {
    Path::new("/dev/dri").exists() || Path::new("/dev/nvidia0").exists()
}

#[tokio::test]
async fn a_machine_without_a_gpu_offers_software_and_keeps_why_nothing_else() {
    if has_a_gpu() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let capabilities = probe(&settings(folder.path())).await.unwrap();

    assert!(offers(&capabilities, "libx264") && offers(&capabilities, "aac"));
    assert!(capabilities.encoders.iter().all(|encoder| encoder.family == EncoderFamily::Software));
    for name in ["h264_nvenc", "hevc_nvenc", "h264_vaapi", "h264_qsv", "h264_v4l2m2m", "h264_omx"] {
        assert!(!offers(&capabilities, name), "{name}");
        assert_eq!(reasons(&capabilities, name).len(), 1, "{name}");
    }
    assert_eq!(reasons(&capabilities, "h264_nvenc"), ["Cannot load libcuda.so.1"]);
    assert!(capabilities.muxers.contains("hls") && capabilities.filters.contains("scale"));
    assert!(capabilities.protocols.contains("http") && capabilities.decoders.contains("h264"));
    assert!(!capabilities.ffmpeg_version.is_empty() && !capabilities.ffprobe_version.is_empty());
    assert_eq!((capabilities.gpus.len(), capabilities.problems.len()), (0, 0));
    assert!(render_table(&capabilities).contains("Cannot load libcuda.so.1"));
}

/// A machine with these GPUs and an ffmpeg with NVENC.
struct GpuMachine {
    folder: tempfile::TempDir,
    nvml: Nvml,
    ffmpeg: PathBuf,
    log: fakes::NvencLog,
}

impl GpuMachine {
    fn new(names: &[&str], nvenc: &Nvenc) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let nvml = Nvml::build(folder.path());
        let gpus: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(index, name)| Some(NvmlGpu::new(name, &format!("GPU-{index:08}"))))
            .collect();
        nvml.show("550.54.14", &gpus);
        let (ffmpeg, log) = ffmpeg_with_nvenc(folder.path(), nvenc);
        Self { folder, nvml, ffmpeg, log }
    }

    fn settings(&self) -> Settings {
        Settings {
            ffmpeg: self.ffmpeg.clone(),
            nvml_library: Some(self.nvml.library.clone()),
            ..settings(self.folder.path())
        }
    }
}

#[tokio::test]
async fn nvenc_is_offered_on_every_gpu_that_nvml_shows() {
    let machine = GpuMachine::new(&["NVIDIA GeForce RTX 3080", "NVIDIA L4"], &Nvenc::default());
    let capabilities = probe(&machine.settings()).await.unwrap();
    assert_eq!(devices(&capabilities, "h264_nvenc"), [(0, "0", &[8][..]), (1, "1", &[8])]);
    assert_eq!(devices(&capabilities, "hevc_nvenc"), [(0, "0", &[8, 10][..]), (1, "1", &[8, 10])]);
    assert!(offers(&capabilities, "libx264"));
    let gpus: Vec<_> = capabilities
        .gpus
        .iter()
        .map(|gpu| {
            (
                gpu.index,
                gpu.name.as_str(),
                gpu.driver.as_str(),
                gpu.memory_total_bytes >> 30,
                gpu.max_sessions,
            )
        })
        .collect();
    assert_eq!(
        gpus,
        [(0, "NVIDIA GeForce RTX 3080", "550.54.14", 10, Some(8)), (1, "NVIDIA L4", "550.54.14", 10, None)]
    );
    let mut tried: Vec<_> =
        machine.log.read().into_iter().filter(|encode| encode.trial).map(|encode| encode.gpu).collect();
    tried.sort();
    // H.264 once, HEVC twice, on each.
    assert_eq!(tried, ["0", "0", "0", "1", "1", "1"]);
}

#[tokio::test]
async fn a_gpu_on_which_the_trial_fails_is_left_out() {
    let nvenc = Nvenc { gpus: Some(1), ..Nvenc::default() };
    let machine = GpuMachine::new(&["NVIDIA L4", "NVIDIA H200"], &nvenc);
    let capabilities = probe(&machine.settings()).await.unwrap();
    assert_eq!(devices(&capabilities, "h264_nvenc"), [(0, "0", &[8][..])]);
    let rejected: Vec<_> =
        capabilities.rejected.iter().filter(|rejected| rejected.name == "h264_nvenc").collect();
    assert_eq!((rejected.len(), rejected[0].device.as_str()), (1, "1"));
    assert!(rejected[0].reason.contains("CUDA_ERROR_INVALID_DEVICE"), "{}", rejected[0].reason);
    assert_eq!(capabilities.gpus.len(), 2);
}

#[tokio::test]
async fn trials_that_are_in_each_others_way_are_tried_again_alone() {
    let nvenc = Nvenc { sessions: Some(1), ..Nvenc::default() };
    let machine = GpuMachine::new(&["NVIDIA GeForce GTX 1650"], &nvenc);
    let capabilities = probe(&machine.settings()).await.unwrap();
    assert_eq!(devices(&capabilities, "h264_nvenc"), [(0, "0", &[8][..])]);
    assert_eq!(devices(&capabilities, "hevc_nvenc"), [(0, "0", &[8, 10][..])]);
}

#[tokio::test]
async fn an_encoder_whose_sessions_others_hold_is_turned_down_with_that_reason() {
    let nvenc = Nvenc { sessions: Some(0), ..Nvenc::default() };
    let machine = GpuMachine::new(&["NVIDIA GeForce GTX 1650"], &nvenc);
    let capabilities = probe(&machine.settings()).await.unwrap();
    assert!(!offers(&capabilities, "h264_nvenc"));
    let reason = reasons(&capabilities, "h264_nvenc")[0];
    assert!(reason.contains("out of memory (10)") && reason.contains("other programs"), "{reason}");
}

#[tokio::test]
async fn nvenc_without_nvml_is_tried_and_offered() {
    if has_a_gpu() {
        return;
    }
    let machine = GpuMachine::new(&[], &Nvenc::default());
    let settings = Settings { nvml_library: None, ..machine.settings() };
    let capabilities = probe(&settings).await.unwrap();
    assert_eq!(devices(&capabilities, "h264_nvenc"), [(0, "0", &[8][..])]);
    assert_eq!(capabilities.gpus[0].name, "NVIDIA GPU (not shown by NVML)");
    assert!(capabilities.problems.is_empty(), "{:?}", capabilities.problems);
}

#[tokio::test]
async fn hwaccel_none_leaves_the_gpu_alone() {
    let machine = GpuMachine::new(&["NVIDIA L4"], &Nvenc::default());
    let settings = Settings { hwaccel: HwAccel::None, ..machine.settings() };
    let capabilities = probe(&settings).await.unwrap();
    assert!(!offers(&capabilities, "h264_nvenc"));
    assert_eq!(reasons(&capabilities, "h264_nvenc"), ["TVARR_HWACCEL=none leaves nvenc out"]);
    assert_eq!(machine.log.read(), []);
}

#[tokio::test]
async fn gpu_figures_are_sampled_and_a_lost_gpu_is_zero() {
    let machine = GpuMachine::new(&["NVIDIA L4", "NVIDIA H200"], &Nvenc::default());
    let capabilities = probe(&machine.settings()).await.unwrap();
    let monitor = GpuMonitor::open(Some(&machine.nvml.library), &capabilities.gpus).await;
    let busy = NvmlGpu {
        memory_used_mib: 2048,
        utilisation: Some(37),
        encoder: Some(91),
        decoder: Some(12),
        sessions: Some(3),
        temperature: Some(66),
        ..NvmlGpu::new("NVIDIA L4", "GPU-00000000")
    };
    // An H200 has no encoder to tell of.
    let without_encoder =
        NvmlGpu { encoder: None, sessions: None, ..NvmlGpu::new("NVIDIA H200", "GPU-00000001") };
    machine.nvml.show("550.54.14", &[Some(busy.clone()), Some(without_encoder)]);
    let expected = GpuLoad {
        index: 0,
        utilisation: 37,
        encoder_utilisation: 91,
        decoder_utilisation: 12,
        memory_used_bytes: 2 << 30,
        sessions: 3,
        temperature_celsius: 66,
    };
    let loads = monitor.sample().await;
    assert_eq!(loads[0], expected);
    assert_eq!((loads[1].index, loads[1].sessions, loads[1].temperature_celsius), (1, 0, 40));

    machine.nvml.show("550.54.14", &[Some(busy), None]);
    let loads = monitor.sample().await;
    assert_eq!(loads[0], expected);
    assert_eq!(loads[1], GpuLoad { index: 1, ..GpuLoad::default() });
}

#[tokio::test]
async fn a_broken_nvml_is_told_and_everything_else_works() {
    let folder = tempfile::tempdir().unwrap();
    // Never told of a driver.
    let nvml = Nvml::build(folder.path());
    let settings = Settings { nvml_library: Some(nvml.library), ..settings(folder.path()) };
    let capabilities = probe(&settings).await.unwrap();
    assert!(offers(&capabilities, "libx264"));
    assert_eq!(capabilities.problems.len(), 1);
    assert!(capabilities.problems[0].starts_with("NVML: "), "{:?}", capabilities.problems);
}

#[tokio::test]
async fn a_machine_without_ffmpeg_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let no_ffmpeg = Settings { ffmpeg: nowhere.clone(), ..settings(folder.path()) };
    let error = probe(&no_ffmpeg).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }));
    for part in ["cannot start ffmpeg", "nowhere", "apt install ffmpeg", "TVARR_FFMPEG"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let no_ffprobe = Settings { ffprobe: nowhere, ..settings(folder.path()) };
    let error = probe(&no_ffprobe).await.unwrap_err().to_string();
    assert!(error.contains("cannot start ffprobe") && error.contains("TVARR_FFPROBE"), "{error}");
    let broken = Settings { ffprobe: stand_in("ffmpeg-that-prints-garbage"), ..settings(folder.path()) };
    let error = probe(&broken).await.unwrap_err().to_string();
    assert!(error.contains("ffprobe -version printed no version"), "{error}");
    assert!(error.contains("can take no work"), "{error}");
}

#[tokio::test]
async fn an_ffmpeg_that_hangs_is_cut_off_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        ffmpeg: stand_in("ffmpeg-that-hangs"),
        trial_timeout: Duration::from_secs(1),
        ..settings(folder.path())
    };
    let capabilities = probe(&settings).await.unwrap();
    assert_eq!((capabilities.encoders.len(), capabilities.ffmpeg_version.as_str()), (0, ""));
    assert_eq!(capabilities.problems.len(), 7);
    assert!(capabilities.problems[0].contains("did not end within 1 s"), "{:?}", capabilities.problems);
    assert!(capabilities.machine.cores > 0);
}

#[tokio::test]
async fn an_ffmpeg_that_prints_garbage_offers_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { ffmpeg: stand_in("ffmpeg-that-prints-garbage"), ..settings(folder.path()) };
    let capabilities = probe(&settings).await.unwrap();
    assert_eq!(capabilities.encoders, []);
    assert_eq!(capabilities.problems.len(), 7);
    assert!(capabilities.problems[1].contains("ffmpeg -encoders printed nothing that can be read"));
}

#[tokio::test]
async fn an_ffmpeg_with_broken_listings_offers_what_it_lists() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { ffmpeg: stand_in("ffmpeg-without-listings"), ..settings(folder.path()) };
    let capabilities = probe(&settings).await.unwrap();
    assert!(offers(&capabilities, "libx264") && capabilities.muxers.is_empty());
    assert_eq!(capabilities.problems.len(), 6);
    assert!(
        capabilities.problems.iter().any(|problem| problem.contains("undefined symbol: av_muxer_iterate"))
    );
    assert!(render_table(&capabilities).contains("av_muxer_iterate"));
}
