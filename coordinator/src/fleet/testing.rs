//! Workers for the tests of this folder and of the queue.

use std::collections::BTreeMap;

use common::{
    id::{AttemptId, Epoch, SessionId, TaskId, WorkerId},
    media::{EncoderFamily, HardwarePolicy, VideoCodec},
    worker::{Capabilities, Capacity, Encoder, EncoderDevice, Gpu, Need, VideoNeed},
};
use uuid::Uuid;

use super::{Class, Fleet, Held, Identity, Placement, Requirement, Standing, Worker};

pub(crate) fn worker_id(number: u128) -> WorkerId {
    WorkerId(Uuid::from_u128(number))
}

pub(crate) fn attempt(number: u128) -> AttemptId {
    AttemptId { task: TaskId(Uuid::from_u128(number)), epoch: Epoch(1) }
}

fn software(name: &str, codec: &str) -> Encoder {
    Encoder {
        name: name.to_owned(),
        codec: codec.to_owned(),
        family: EncoderFamily::Software,
        devices: Vec::new(),
    }
}

/// x264, AAC and two CPU jobs.
pub(crate) fn cpu_worker(number: u128) -> Worker {
    Worker {
        identity: Identity {
            id: worker_id(number),
            name: format!("worker-{number}"),
            version: "0.1.0".to_owned(),
            address: String::new(),
            protocol: common::proto::PROTOCOL_MAX,
            capabilities: Capabilities {
                encoders: vec![software("libx264", "h264"), software("aac", "aac")],
                ..Capabilities::default()
            },
            capacity: Capacity { max_jobs: 2, max_gpu_jobs: 0, max_cpu_jobs: 2 },
            labels: BTreeMap::new(),
            presets: Vec::new(),
            exit_when_idle: false,
            shared_roots: Vec::new(),
        },
        session: Some(SessionId(Uuid::from_u128(number))),
        ending: false,
        last_heard: std::time::Duration::ZERO,
        connected_at_ms: 0,
        shutting_down: false,
        not_taking: None,
        load: common::worker::Load::default(),
        gpu_loads: Vec::new(),
        fps: 0.0,
        changed: 0,
        foreign_sessions: BTreeMap::new(),
        held: BTreeMap::new(),
        standing: Standing::default(),
    }
}

/// A CPU worker with `gpus` NVIDIA GPUs besides, of `sessions` each, and eight GPU jobs.
pub(crate) fn gpu_worker(number: u128, gpus: u32, sessions: Option<u32>) -> Worker {
    let mut worker = cpu_worker(number);
    worker.identity.capacity = Capacity { max_jobs: 10, max_gpu_jobs: 8, max_cpu_jobs: 2 };
    worker.identity.capabilities.gpus = (0..gpus)
        .map(|index| Gpu { index, name: format!("GPU {index}"), max_sessions: sessions, ..Gpu::default() })
        .collect();
    worker.identity.capabilities.encoders.push(Encoder {
        name: "h264_nvenc".to_owned(),
        codec: "h264".to_owned(),
        family: EncoderFamily::Nvenc,
        devices: (0..gpus)
            .map(|gpu| EncoderDevice { gpu, path: gpu.to_string(), bit_depths: vec![8] })
            .collect(),
    });
    worker
}

pub(crate) fn h264(policy: HardwarePolicy) -> Requirement {
    Requirement {
        need: Need {
            video: Some(VideoNeed { codec: VideoCodec::H264, encoder: None, bit_depth: 8, sessions: 1 }),
            any_of: vec![vec!["aac".to_owned()]],
            ..Need::default()
        },
        policy,
        labels: BTreeMap::new(),
        preset: "h264".to_owned(),
        class: Class::Batch,
        avoid: std::collections::BTreeSet::new(),
    }
}

pub(crate) fn fleet(workers: impl IntoIterator<Item = Worker>) -> Fleet {
    let mut fleet = Fleet::new(super::Policy {
        stale_after: std::time::Duration::from_secs(30),
        ..super::Policy::default()
    });
    for worker in workers {
        fleet.insert(worker);
    }
    fleet
}

/// Lets `attempt` take what the placement says.
pub(crate) fn hold(fleet: &mut Fleet, attempt: AttemptId, placement: &Placement, class: Class) {
    fleet.get_mut(placement.worker).unwrap().held.insert(attempt, Held::of(placement, class));
}
