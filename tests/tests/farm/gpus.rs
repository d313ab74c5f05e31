//! GPU workers without a GPU: a fake NVML, and an ffmpeg whose NVENC is software.

use std::path::Path;

use common::{
    api::{InputRef, JobState, JobView},
    media::HardwarePolicy,
};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    clip,
    media::Media,
    wait::{self, seconds},
};
use tempfile::TempDir;

use crate::fakes::{self, Nvenc, NvencLog, Nvml, NvmlGpu};

const DRIVER: &str = "550.54.14";
const GEFORCE: &str = "NVIDIA GeForce RTX 3080";

/// A machine with NVIDIA GPUs, as a worker on it sees it.
pub(crate) struct GpuMachine {
    nvml: Nvml,
    log: NvencLog,
    pub(crate) worker: WorkerSpec,
    _folder: TempDir,
}

impl GpuMachine {
    pub(crate) fn new(name: &str, gpus: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nvml = Nvml::build(folder.path());
        let nvenc = Nvenc { gpus: Some(gpus), ..Nvenc::default() };
        let (ffmpeg, log) = fakes::ffmpeg_with_nvenc(folder.path(), &nvenc);
        let worker = WorkerSpec::new(name)
            .ffmpeg(&ffmpeg)
            .env("TVARR_FFPROBE", e2e::binaries::system("ffprobe"))
            .env("TVARR_NVML_LIBRARY", &nvml.library)
            .env("TVARR_MAX_JOBS", "4")
            .gpu_jobs(2);
        let machine = Self { nvml, log, worker, _folder: folder };
        machine.show(
            &(0..gpus).map(|index| NvmlGpu::new(GEFORCE, &format!("GPU-{name}-{index}"))).collect::<Vec<_>>(),
        );
        machine
    }

    pub(crate) fn show(&self, gpus: &[NvmlGpu]) {
        let gpus: Vec<_> = gpus.iter().cloned().map(Some).collect();
        self.nvml.show(DRIVER, &gpus);
    }

    /// The GPUs that encodes were started on, trials left out, in order.
    fn used(&self) -> Vec<String> {
        self.log.read().into_iter().filter(|encode| !encode.trial).map(|encode| encode.gpu).collect()
    }
}

async fn submit(farm: &Farm, clip: &Path, preset: &str, policy: HardwarePolicy) -> common::id::JobId {
    let upload = farm.api.upload(clip).await;
    let mut request = request(InputRef::Upload(upload.id), preset);
    request.hardware = policy;
    farm.api.submit(&request).await.summary.id
}

/// Worker, encoder and device of the job's only attempt.
fn placed(view: &JobView) -> (&str, &str, Option<&str>) {
    let all: Vec<_> = attempts(view).collect();
    let [attempt] = all.as_slice() else { panic!("not one attempt: {view:#?}") };
    (&attempt.worker.name, attempt.encoder.as_deref().unwrap_or_default(), attempt.device.as_deref())
}

#[tokio::test]
async fn a_gpu_is_registered_preferred_and_left_alone_on_request() {
    let machine = GpuMachine::new("gpu", 1);
    let farm = Farm::builder().worker(WorkerSpec::new("cpu")).worker(machine.worker.clone()).start().await;

    let worker = farm.api.worker("gpu").await;
    let [gpu] = worker.capabilities.gpus.as_slice() else { panic!("{:?}", worker.capabilities.gpus) };
    assert_eq!((gpu.index, gpu.name.as_str(), gpu.driver.as_str()), (0, GEFORCE, DRIVER));
    assert_eq!(gpu.memory_total_bytes, 10240 << 20);
    assert!(worker.capabilities.encoder("h264_nvenc").is_some(), "{:?}", worker.capabilities.rejected);
    assert!(farm.api.worker("cpu").await.capabilities.gpus.is_empty());

    for (policy, expected) in
        [(HardwarePolicy::Prefer, ("gpu", "h264_nvenc")), (HardwarePolicy::Require, ("gpu", "h264_nvenc"))]
    {
        let job = submit(&farm, &clip("bikes-2s.mp4"), "h264", policy).await;
        let view = farm.succeeded(job).await;
        assert_eq!((placed(&view).0, placed(&view).1), expected, "{policy}");
    }
    let job = submit(&farm, &clip("bikes-2s.mp4"), "h264", HardwarePolicy::Never).await;
    let view = farm.succeeded(job).await;
    assert_eq!((placed(&view).1, placed(&view).2), ("libx264", None));
    farm.stop().await;
}

#[tokio::test]
async fn required_hardware_is_waited_for_and_used_when_it_comes() {
    let machine = GpuMachine::new("gpu", 1);
    let mut farm = Farm::builder().worker(WorkerSpec::new("cpu")).start().await;
    let job = submit(&farm, &clip("bigbuckbunny-2s.mp4"), "hls-ladder", HardwarePolicy::Require).await;
    let words = wait::until(seconds(10), "the job to say what it waits for", || async {
        farm.api.job(job).await.summary.waiting_for
    })
    .await;
    assert!(words.contains("hardware"), "{words:?}");
    assert_eq!(farm.api.job(job).await.summary.state, JobState::Queued);

    farm.start_worker(machine.worker.clone()).await;
    let view = farm.succeeded(job).await;
    assert_eq!(placed(&view), ("gpu", "h264_nvenc", Some("0")));
    let folder = tempfile::tempdir().unwrap();
    farm.api.download(&view, folder.path()).await;
    assert!((Media::read(&folder.path().join("master.m3u8")).duration() - 2.0).abs() < 0.3);
    farm.stop().await;
}

#[tokio::test]
async fn jobs_share_one_gpu_and_spread_over_two() {
    for (gpus, devices) in [(1, ["0", "0"]), (2, ["0", "1"])] {
        let machine = GpuMachine::new("gpu", gpus);
        let farm = Farm::builder().worker(machine.worker.clone()).start().await;
        let mut jobs = Vec::new();
        for _ in 0..2 {
            jobs.push(submit(&farm, &clip("bikes-5min.mp4"), "h264", HardwarePolicy::Require).await);
        }
        let mut told = Vec::new();
        for job in &jobs {
            let view = farm.encoding(*job).await;
            told.push(placed(&view).2.unwrap().to_owned());
        }
        for job in jobs {
            farm.api.cancel(job).await.unwrap();
        }
        told.sort();
        let mut used = machine.used();
        used.sort();
        assert_eq!(
            (told.as_slice(), used.as_slice()),
            (devices.map(str::to_owned).as_slice(), devices.map(str::to_owned).as_slice())
        );
        farm.stop().await;
    }
}

#[tokio::test]
async fn a_gpu_whose_sessions_are_used_by_others_is_passed_over() {
    let busy = GpuMachine::new("busy", 1);
    let free = GpuMachine::new("free", 1);
    let mut gpu = NvmlGpu::new(GEFORCE, "GPU-busy-0");
    gpu.sessions = Some(8);
    busy.show(&[gpu]);
    let mut farm = Farm::builder().worker(busy.worker.clone()).start().await;
    wait::until(seconds(10), "the sessions to be told", || async {
        farm.api.worker("busy").await.gpus.iter().any(|gpu| gpu.sessions == Some(8)).then_some(())
    })
    .await;
    let job = submit(&farm, &clip("bikes-2s.mp4"), "h264", HardwarePolicy::Prefer).await;
    let view = farm.succeeded(job).await;
    assert_eq!(placed(&view), ("busy", "libx264", None));

    farm.start_worker(free.worker.clone()).await;
    let job = submit(&farm, &clip("bikes-2s.mp4"), "h264", HardwarePolicy::Prefer).await;
    let view = farm.succeeded(job).await;
    assert_eq!((placed(&view).0, placed(&view).1), ("free", "h264_nvenc"));
    farm.stop().await;
}

#[tokio::test]
async fn an_operators_rule_keeps_a_buggy_encoder_from_being_used() {
    let machine = GpuMachine::new("gpu", 1);
    let farm = Farm::builder()
        .config("[[encoder_rules]]\ncodec = \"h264\"\ngpu = \"*rtx 3080*\"\nforbid = \"h264_nvenc\"\nreason = \"green frames\"\n")
        .worker(machine.worker.clone())
        .start()
        .await;
    let job = submit(&farm, &clip("bikes-2s.mp4"), "h264", HardwarePolicy::Prefer).await;
    let view = farm.succeeded(job).await;
    assert_eq!(placed(&view).1, "libx264");
    let job = submit(&farm, &clip("bikes-2s.mp4"), "hevc", HardwarePolicy::Prefer).await;
    let view = farm.succeeded(job).await;
    assert_eq!(placed(&view).1, "hevc_nvenc");
    farm.stop().await;
}
