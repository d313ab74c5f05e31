//! Profiles: named live output specs, built in or read from a folder of TOML files.

use serde::{Deserialize, Serialize};

use crate::media::{HardwarePolicy, VideoCodec};

/// A named live output spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: String,
    /// One line for people.
    pub description: String,
    #[serde(flatten)]
    pub output: Output,
}

/// What a profile gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Output {
    /// One encode.
    Rendition(Rendition),
    /// Several profiles as one master playlist, the best first; those taller than the source are left out, but never all.
    Ladder { renditions: Vec<String> },
    /// The source as it is, repackaged without an encoder.
    Copy(Packaging),
}

/// One encode of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// `None`: audio only.
    #[serde(default)]
    pub video: Option<Video>,
    /// `None`: video only.
    #[serde(default)]
    pub audio: Option<Audio>,
    #[serde(flatten)]
    pub packaging: Packaging,
    #[serde(default)]
    pub hardware: HardwarePolicy,
}

/// How a stream is cut and packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packaging {
    /// Length of a segment and of a GOP: key frames are at its multiples. 1000 to 10000.
    #[serde(default = "default_segment_ms")]
    pub segment_ms: u32,
    /// HLS has parts (LL-HLS, fMP4), and the encoder is told to hold nothing back.
    #[serde(default)]
    pub low_latency: bool,
    /// Length of a part.
    #[serde(default = "default_part_ms")]
    pub part_ms: u32,
}

const fn default_segment_ms() -> u32 {
    2000
}

const fn default_part_ms() -> u32 {
    500
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Video {
    pub codec: VideoCodec,
    /// The picture is fitted into this and padded, so that the size never changes.
    pub width: u32,
    pub height: u32,
    /// Bits per second; also the most over a second.
    pub bitrate: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    pub codec: AudioCodec,
    pub bitrate: u64,
    /// 1 or 2.
    pub channels: u8,
    pub sample_rate: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioCodec {
    Aac,
}
