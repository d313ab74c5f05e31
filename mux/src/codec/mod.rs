//! What the headers of coded frames say.

mod ac3;
pub mod adts;
pub mod annexb;
mod av1;
mod bits;
mod framing;
mod h264;
mod hevc;
mod mpa;
mod mpeg2;

use bytes::Bytes;

use crate::{Codec, Ticks, Unit};

pub(crate) use framing::Joiner;
pub use framing::frames;

/// What a decoder has to be told, and people like to know. Equal for equal parameters of an encoder: the records hold each
/// parameter set once, in the order of their numbers.
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
    /// Of a frame, where the parameter sets say it: the nearest tick to the nominal duration. 24000/1001 frames a second are
    /// no whole number of ticks.
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
    let data = &unit.data[..];
    match codec {
        Codec::H264 => h264::parameters(data),
        Codec::Hevc => hevc::parameters(data),
        Codec::Av1 => av1::parameters(data),
        Codec::Mpeg2Video => mpeg2::parameters(data),
        Codec::Aac => adts::parameters(data).map(Parameters::Audio),
        Codec::Mp3 => mpa::parameters(data).map(Parameters::Audio),
        Codec::Ac3 | Codec::Eac3 => ac3::parameters(data).map(Parameters::Audio),
        Codec::Other(_) => None,
    }
}

/// Whether a decoder can start with this access unit: see [`Unit::key`].
#[must_use]
pub fn is_key(codec: Codec, data: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::is_key(data),
        Codec::Hevc => hevc::is_key(data),
        Codec::Av1 => av1::is_key(data),
        Codec::Mpeg2Video => mpeg2::is_key(data),
        Codec::Aac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 | Codec::Other(_) => true,
    }
}

/// Whether a NAL unit holds parameters that MP4 keeps in its record.
#[must_use]
pub fn is_parameter_set(codec: Codec, nal: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::is_parameter_set(nal),
        Codec::Hevc => hevc::is_parameter_set(nal),
        _ => false,
    }
}

/// Whether a NAL unit only marks the beginning of an access unit. MP4 does without.
#[must_use]
pub fn is_delimiter(codec: Codec, nal: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::is_delimiter(nal),
        Codec::Hevc => hevc::is_delimiter(nal),
        _ => false,
    }
}

/// What MPEG-TS wants before an access unit that has none yet (ISO/IEC 13818-1, 2.14.1 and 2.17.1).
pub(crate) fn missing_delimiter(codec: Codec, data: &[u8]) -> &'static [u8] {
    let delimiter: &[u8] = match codec {
        Codec::H264 => &h264::DELIMITER,
        Codec::Hevc => &hevc::DELIMITER,
        _ => return &[],
    };
    let first = annexb::nals(data.get(..data.len().min(8)).unwrap_or(data)).next();
    if first.is_some_and(|nal| is_delimiter(codec, nal)) { &[] } else { delimiter }
}

/// `numerator / denominator` seconds, if that can be the duration of a frame: clocks of streams with a variable frame rate
/// give a single tick or hours.
fn frame_duration(numerator: u64, denominator: u64) -> Option<Ticks> {
    const SHORTEST: i64 = Ticks::PER_SECOND / 300;
    const LONGEST: i64 = Ticks::PER_SECOND;
    let ticks = (u128::from(numerator) * Ticks::PER_SECOND as u128 + u128::from(denominator) / 2)
        .checked_div(u128::from(denominator))?;
    i64::try_from(ticks).ok().filter(|ticks| (SHORTEST..=LONGEST).contains(ticks)).map(Ticks)
}
