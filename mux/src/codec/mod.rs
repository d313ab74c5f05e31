//! What the headers of coded frames say.

use bytes::Bytes;

use crate::{Codec, Ticks, Unit};

/// What a decoder has to be told, and people like to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameters {
    Video(Video),
    Audio(Audio),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    pub codec: Codec,
    /// Of the picture that is shown, cropped.
    pub width: u32,
    pub height: u32,
    /// RFC 6381: `avc1.64001f`, `hvc1.1.6.L93.B0`, `av01.0.05M.08`.
    pub rfc6381: String,
    /// The record that MP4 keeps: AVCDecoderConfigurationRecord, HEVCDecoderConfigurationRecord, AV1CodecConfigurationRecord.
    /// Empty for codecs that MP4 is not written for here.
    pub record: Bytes,
    /// Of a frame, where the parameter sets say it.
    pub frame: Option<Ticks>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    pub codec: Codec,
    pub sample_rate: u32,
    pub channels: u8,
    /// Samples of each frame: 1024 for AAC-LC, 1152 for MP3.
    pub frame_samples: u32,
    /// RFC 6381: `mp4a.40.2`, `ac-3`.
    pub rfc6381: String,
    /// AudioSpecificConfig for AAC, the contents of `dac3` or `dec3`; empty otherwise.
    pub record: Bytes,
}

/// What a unit of a track says about its track. `None`: nothing (a frame that is no key frame), or nothing that can be
/// understood.
#[must_use]
pub fn parameters(codec: Codec, unit: &Unit) -> Option<Parameters> {
    let _ = (codec, unit);
    unimplemented!()
}

/// The audio frames of a unit, each with its own timestamp. Video, and audio that cannot be taken apart, comes back as it is.
#[must_use]
pub fn frames(codec: Codec, unit: Unit) -> Vec<Unit> {
    let _ = codec;
    vec![unit]
}
