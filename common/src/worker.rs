//! What a worker is and what it can do, as the probe finds it, the wire carries it and placement reads it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::OnDamagedInput,
    media::{EncoderFamily, VideoCodec},
    proto,
};

/// What a task needs of a worker's ffmpeg.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Need {
    pub video: Option<VideoNeed>,
    /// For each entry at least one of these encoders, software.
    #[serde(default)]
    pub any_of: Vec<Vec<String>>,
    /// Filters that must be there, found out by an attempt that lacked them.
    #[serde(default)]
    pub filters: Vec<String>,
    /// Bytes of scratch, found out by an attempt that had too little. 0: not known.
    #[serde(default)]
    pub scratch_bytes: u64,
    /// Protocols that ffmpeg must be able to read from, as it names them: `rtsp`, `srt`, `rtmp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
    /// An absolute path that must be below a folder which the worker shares with the coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_path: Option<String>,
    /// The wire protocol that the worker must speak, or a newer one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wire_since: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde passes it
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct VideoNeed {
    pub codec: VideoCodec,
    /// Exactly this encoder.
    pub encoder: Option<String>,
    /// 8 or 10.
    pub bit_depth: u8,
    /// Encode sessions that the task opens on a hardware device at most: one per rendition.
    pub sessions: u32,
}

/// What the probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capabilities {
    /// Empty when ffmpeg does not run.
    pub ffmpeg_version: String,
    pub ffprobe_version: String,
    /// Encoders that work here: software as ffmpeg lists them, hardware after a trial encode.
    pub encoders: Vec<Encoder>,
    pub rejected: Vec<RejectedEncoder>,
    pub decoders: BTreeSet<String>,
    pub muxers: BTreeSet<String>,
    pub filters: BTreeSet<String>,
    pub protocols: BTreeSet<String>,
    pub hwaccels: BTreeSet<String>,
    pub gpus: Vec<Gpu>,
    pub machine: Machine,
    /// What is wrong with this machine or its ffmpeg, in words; the rest is what works nevertheless.
    #[serde(default)]
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Encoder {
    pub name: String,
    /// Codec as ffmpeg names it; any, not only the ones of [`VideoCodec`].
    pub codec: String,
    pub family: EncoderFamily,
    /// Empty for software.
    pub devices: Vec<EncoderDevice>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct EncoderDevice {
    /// [`Gpu::index`].
    pub gpu: u32,
    /// What ffmpeg is told: an NVENC index, a render node.
    pub path: String,
    pub bit_depths: Vec<u8>,
}

/// A hardware encoder that ffmpeg lists and that does not work here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RejectedEncoder {
    pub name: String,
    pub device: String,
    pub bit_depth: u8,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gpu {
    /// Unique on this machine, over all vendors.
    pub index: u32,
    pub vendor: String,
    pub name: String,
    pub uuid: String,
    pub driver: String,
    pub memory_total_bytes: u64,
    /// Concurrent encode sessions; `None`: no limit known.
    pub max_sessions: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    pub os: String,
    pub arch: String,
    pub cpu: String,
    pub cores: u32,
    pub memory_total_bytes: u64,
    pub scratch_free_bytes: u64,
    pub hostname: String,
    /// Of the file system; 0 from a worker that does not say.
    #[serde(default)]
    pub scratch_total_bytes: u64,
}

/// How much a worker takes at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    pub max_jobs: u32,
    pub max_gpu_jobs: u32,
    pub max_cpu_jobs: u32,
}

/// How busy the machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// 0 to 1 over all cores.
    pub cpu: f64,
    pub memory_used_bytes: u64,
    pub scratch_free_bytes: u64,
    /// What a new attempt could reserve of it; `None` from a worker that does not say.
    #[serde(default)]
    pub scratch_available_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuLoad {
    pub index: u32,
    /// Percent.
    pub utilisation: u32,
    pub encoder_utilisation: u32,
    pub decoder_utilisation: u32,
    pub memory_used_bytes: u64,
    /// Encode sessions, those of other programs included.
    pub sessions: u32,
    pub temperature_celsius: u32,
}

/// How far an attempt is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// 0 to 1; absent while the duration is unknown.
    pub fraction: Option<f64>,
    pub frames: u64,
    pub fps: f64,
    /// Media seconds per wall-clock second.
    pub speed: f64,
    /// Bits per second of the output so far; 0 when ffmpeg does not say.
    pub bitrate: u64,
    /// Media time written, microseconds.
    pub out_time_us: u64,
    /// `probing`, `encoding`, `checking`, `uploading`.
    pub phase: String,
}

/// One file of a finished attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputFile {
    /// Relative, with `/` between parts.
    pub path: String,
    pub size: u64,
    pub content_type: String,
    /// SHA-256, 64 lower-case hexadecimal digits; empty from a worker that does not say.
    #[serde(default)]
    pub sha256: String,
}

/// What was wrong with an input that gave a result nevertheless.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// Errors that the demuxer and the decoders reported.
    pub errors: u64,
    /// The input ends early: seconds that were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at_seconds: Option<f64>,
    /// Seconds that it claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_seconds: Option<f64>,
}

pub type Labels = BTreeMap<String, String>;

impl Capabilities {
    /// The encoder of that name, if it works here.
    #[must_use]
    pub fn encoder(&self, name: &str) -> Option<&Encoder> {
        self.encoders.iter().find(|encoder| encoder.name == name)
    }
}

// ---- wire

/// A message from the other side that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad message: {0}")]
pub struct BadMessage(pub String);

impl From<OnDamagedInput> for proto::OnDamagedInput {
    fn from(policy: OnDamagedInput) -> Self {
        match policy {
            OnDamagedInput::Warn => Self::Warn,
            OnDamagedInput::Fail => Self::Fail,
        }
    }
}

impl From<proto::OnDamagedInput> for OnDamagedInput {
    fn from(policy: proto::OnDamagedInput) -> Self {
        match policy {
            proto::OnDamagedInput::Warn => Self::Warn,
            proto::OnDamagedInput::Fail => Self::Fail,
        }
    }
}

impl From<Capabilities> for proto::Capabilities {
    fn from(caps: Capabilities) -> Self {
        Self {
            ffmpeg_version: caps.ffmpeg_version,
            ffprobe_version: caps.ffprobe_version,
            encoders: caps.encoders.into_iter().map(Into::into).collect(),
            rejected: caps.rejected.into_iter().map(Into::into).collect(),
            decoders: caps.decoders.into_iter().collect(),
            muxers: caps.muxers.into_iter().collect(),
            filters: caps.filters.into_iter().collect(),
            protocols: caps.protocols.into_iter().collect(),
            hwaccels: caps.hwaccels.into_iter().collect(),
            gpus: caps.gpus.into_iter().map(Into::into).collect(),
            machine: Some(caps.machine.into()),
            problems: caps.problems,
        }
    }
}

impl TryFrom<proto::Capabilities> for Capabilities {
    type Error = BadMessage;

    fn try_from(caps: proto::Capabilities) -> Result<Self, BadMessage> {
        Ok(Self {
            ffmpeg_version: caps.ffmpeg_version,
            ffprobe_version: caps.ffprobe_version,
            encoders: caps.encoders.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            rejected: caps.rejected.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            decoders: caps.decoders.into_iter().collect(),
            muxers: caps.muxers.into_iter().collect(),
            filters: caps.filters.into_iter().collect(),
            protocols: caps.protocols.into_iter().collect(),
            hwaccels: caps.hwaccels.into_iter().collect(),
            gpus: caps.gpus.into_iter().map(Into::into).collect(),
            machine: caps.machine.unwrap_or_default().into(),
            problems: caps.problems,
        })
    }
}

impl From<Encoder> for proto::Encoder {
    fn from(encoder: Encoder) -> Self {
        Self {
            name: encoder.name,
            codec: encoder.codec,
            family: encoder.family.as_str().to_owned(),
            devices: encoder.devices.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Encoder> for Encoder {
    type Error = BadMessage;

    fn try_from(encoder: proto::Encoder) -> Result<Self, BadMessage> {
        let family =
            encoder.family.parse().map_err(|error| BadMessage(format!("{}: {error}", encoder.name)))?;
        Ok(Self {
            name: encoder.name,
            codec: encoder.codec,
            family,
            devices: encoder.devices.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

fn bit_depth(depth: u32) -> Result<u8, BadMessage> {
    u8::try_from(depth).map_err(|_| BadMessage(format!("bit depth {depth} is over 255")))
}

impl From<EncoderDevice> for proto::EncoderDevice {
    fn from(device: EncoderDevice) -> Self {
        Self {
            gpu: device.gpu,
            path: device.path,
            bit_depths: device.bit_depths.into_iter().map(u32::from).collect(),
        }
    }
}

impl TryFrom<proto::EncoderDevice> for EncoderDevice {
    type Error = BadMessage;

    fn try_from(device: proto::EncoderDevice) -> Result<Self, BadMessage> {
        Ok(Self {
            gpu: device.gpu,
            path: device.path,
            bit_depths: device.bit_depths.into_iter().map(bit_depth).collect::<Result<_, _>>()?,
        })
    }
}

impl From<RejectedEncoder> for proto::RejectedEncoder {
    fn from(rejected: RejectedEncoder) -> Self {
        Self {
            name: rejected.name,
            device: rejected.device,
            bit_depth: rejected.bit_depth.into(),
            reason: rejected.reason,
        }
    }
}

impl TryFrom<proto::RejectedEncoder> for RejectedEncoder {
    type Error = BadMessage;

    fn try_from(rejected: proto::RejectedEncoder) -> Result<Self, BadMessage> {
        Ok(Self {
            name: rejected.name,
            device: rejected.device,
            bit_depth: bit_depth(rejected.bit_depth)?,
            reason: rejected.reason,
        })
    }
}

impl From<Gpu> for proto::Gpu {
    fn from(gpu: Gpu) -> Self {
        Self {
            index: gpu.index,
            vendor: gpu.vendor,
            name: gpu.name,
            uuid: gpu.uuid,
            driver: gpu.driver,
            memory_total_bytes: gpu.memory_total_bytes,
            max_sessions: gpu.max_sessions.unwrap_or(0),
        }
    }
}

impl From<proto::Gpu> for Gpu {
    fn from(gpu: proto::Gpu) -> Self {
        Self {
            index: gpu.index,
            vendor: gpu.vendor,
            name: gpu.name,
            uuid: gpu.uuid,
            driver: gpu.driver,
            memory_total_bytes: gpu.memory_total_bytes,
            max_sessions: (gpu.max_sessions > 0).then_some(gpu.max_sessions),
        }
    }
}

/// Conversions between structs whose fields have the same names and types on the wire and here.
macro_rules! same_on_the_wire {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl From<$name> for proto::$name {
            fn from(value: $name) -> Self {
                Self { $($field: value.$field),+ }
            }
        }

        impl From<proto::$name> for $name {
            fn from(value: proto::$name) -> Self {
                Self { $($field: value.$field),+ }
            }
        }
    };
}

same_on_the_wire!(Machine {
    os,
    arch,
    cpu,
    cores,
    memory_total_bytes,
    scratch_free_bytes,
    hostname,
    scratch_total_bytes,
});
same_on_the_wire!(Capacity { max_jobs, max_gpu_jobs, max_cpu_jobs });
same_on_the_wire!(Load { cpu, memory_used_bytes, scratch_free_bytes, scratch_available_bytes });
same_on_the_wire!(GpuLoad {
    index,
    utilisation,
    encoder_utilisation,
    decoder_utilisation,
    memory_used_bytes,
    sessions,
    temperature_celsius,
});
same_on_the_wire!(Progress { fraction, frames, fps, speed, bitrate, out_time_us, phase });
same_on_the_wire!(OutputFile { path, size, content_type, sha256 });
same_on_the_wire!(Damage { errors, ends_at_seconds, claimed_seconds });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_survive_the_wire() {
        let caps = Capabilities {
            ffmpeg_version: "5.1".to_owned(),
            encoders: vec![Encoder {
                name: "h264_nvenc".to_owned(),
                codec: "h264".to_owned(),
                family: EncoderFamily::Nvenc,
                devices: vec![EncoderDevice { gpu: 0, path: "0".to_owned(), bit_depths: vec![8] }],
            }],
            rejected: vec![RejectedEncoder {
                name: "hevc_vaapi".to_owned(),
                device: "/dev/dri/renderD128".to_owned(),
                bit_depth: 10,
                reason: "no VA display".to_owned(),
            }],
            gpus: vec![Gpu { name: "RTX".to_owned(), max_sessions: Some(8), ..Gpu::default() }],
            filters: BTreeSet::from(["scale".to_owned()]),
            problems: vec!["ffmpeg -muxers failed".to_owned()],
            ..Capabilities::default()
        };
        assert_eq!(Capabilities::try_from(proto::Capabilities::from(caps.clone())), Ok(caps));
    }

    #[test]
    fn an_encoder_of_an_unknown_family_is_refused() {
        let encoder =
            proto::Encoder { name: "h264_x".to_owned(), family: "x".to_owned(), ..Default::default() };
        assert!(Encoder::try_from(encoder).unwrap_err().0.contains("unknown encoder family"));
    }
}
