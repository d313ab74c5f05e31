use e2e::{Farm, WorkerSpec, footage};

use crate::{
    browser::lead,
    fakes::{Nvml, NvmlGpu},
};

/// A GPU whose encoder does not work, with all its figures; the encoders that were turned down and why; the last hour as plots;
/// the command of what runs, copied; and of a job that is done the pictures and a file, downloaded.
#[tokio::test]
async fn a_person_reads_a_machine_and_takes_what_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let nvml = Nvml::build(folder.path());
    let busy = NvmlGpu {
        memory_used_mib: 5120,
        utilisation: Some(81),
        encoder: Some(42),
        decoder: Some(23),
        sessions: Some(3),
        temperature: Some(91),
        ..NvmlGpu::new("NVIDIA H200", "GPU-0")
    };
    nvml.show("550.54.14", &[Some(busy)]);
    let worker = WorkerSpec::new("box").env("TVARR_NVML_LIBRARY", &nvml.library);
    let farm = Farm::builder().worker(worker).start().await;
    let base = farm.api.base.clone();
    let (short, long) = (footage::clip("ocean-2s.mp4"), footage::clip("bikes-5min.mp4"));
    lead("machine.mjs", &[&base, short.to_str().unwrap(), long.to_str().unwrap()], async |asked| {
        panic!("{asked:?} is nothing to be done")
    })
    .await;
    farm.stop().await;
}
