//! What a job makes, typed. A preset is a named [`Spec`]; a user may also submit one of their own.
//!
//! A spec says what the result is, not how ffmpeg is told: that is [`crate::ffmpeg::lower`], which also looks at the
//! input, so that nothing is upscaled and missing audio is no error.

use serde::{Deserialize, Serialize};

use crate::{
    media::{AudioCodec, VideoCodec},
    worker::{Need, VideoNeed},
};

/// A typed output description. JSON and TOML: an object with `kind` = `file`, `hls` or `thumbnails`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// One media file.
    File(FileSpec),
    /// An HLS presentation: one or more renditions, fMP4 segments, one master playlist.
    Hls(HlsSpec),
    /// A poster picture, sprite sheets and a WebVTT track that points into them.
    Thumbnails(ThumbnailsSpec),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    pub container: Container,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioSpec>,
    /// Text subtitles are carried over in the form that the container takes; pictures only where it takes pictures.
    #[serde(default)]
    pub subtitles: bool,
    /// Cover art is carried over where the container takes it.
    #[serde(default)]
    pub cover_art: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    Mp4,
    Mov,
    Mkv,
    Webm,
    M4a,
    Mp3,
    Ogg,
    Flac,
    Wav,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoSpec {
    pub codec: VideoCodec,
    /// Exactly this encoder of ffmpeg, instead of any for the codec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    pub rate: RateControl,
    #[serde(default)]
    pub speed: Speed,
    /// 8 or 10. HDR sources are tone-mapped to SDR for 8.
    #[serde(default = "eight")]
    pub bit_depth: u8,
    #[serde(default)]
    pub chroma: Chroma,
    /// Codec profile by the encoder's name for it, for ProRes and DNxHR (`hq`, `dnxhr_hq`, ...).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Frame rates above are reduced to it. Frames per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fps: Option<f64>,
    /// Seconds between key frames at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyframe_interval: Option<f64>,
}

const fn eight() -> u8 {
    8
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RateControl {
    /// Constant quality on x264's CRF scale (lower is better); lowered to each encoder's own scale.
    Quality(f64),
    /// Average bits per second, with peaks up to `max` over a buffer of `buffer` bits.
    Bitrate { average: u64, max: u64, buffer: u64 },
    /// The codec's profile decides (ProRes, DNxHR).
    Profile,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// For proxies and previews.
    Fastest,
    Fast,
    #[default]
    Medium,
    Slow,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chroma {
    #[default]
    #[serde(rename = "420")]
    Yuv420,
    #[serde(rename = "422")]
    Yuv422,
}

/// The picture's size in square pixels. Never makes a picture larger, but for `pad`, which adds bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    pub width: u32,
    pub height: u32,
    #[serde(default)]
    pub mode: SizeMode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeMode {
    /// Whole picture within the box, aspect ratio kept.
    #[default]
    Within,
    /// Exactly the box; what sticks out is cut off, centred.
    Crop,
    /// Exactly the box; the picture in front of a blurred copy of itself.
    BlurPad,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioSpec {
    pub codec: AudioCodec,
    /// Bits per second; the encoder's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u64>,
    /// More channels are mixed down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<u32>,
    /// Hz; the source's when absent and the codec takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    #[serde(default)]
    pub tracks: AudioTracks,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioTracks {
    /// The default track only.
    #[default]
    First,
    /// Every track, languages and titles kept.
    All,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HlsSpec {
    pub codec: VideoCodec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    #[serde(default)]
    pub speed: Speed,
    /// Seconds; key frames are aligned to it on every rendition.
    pub segment_seconds: f64,
    /// Largest first. Renditions larger than the source are left out; at least one remains.
    pub renditions: Vec<Rendition>,
    pub audio: AudioSpec,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rendition {
    /// Folder and name in the master playlist, for example `720p`.
    pub name: String,
    /// Pixels of the shorter side for portrait pictures, of the height for others.
    pub height: u32,
    /// Average, peak and buffer; peak at most twice the average.
    pub rate: RateControl,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThumbnailsSpec {
    /// Width of the poster in pixels, at most the source's.
    pub poster_width: u32,
    /// Width of one tile of a sprite sheet in pixels.
    pub tile_width: u32,
    /// Tiles per row and rows per sheet.
    pub columns: u32,
    pub rows: u32,
    /// Seconds between tiles, at least; longer for long inputs so that at most `max_tiles` are made.
    pub interval: f64,
    pub max_tiles: u32,
}

/// A spec that makes no sense, by field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct Error {
    /// Path of the field in the spec: `video.size.width`.
    pub field: String,
    pub problem: String,
    pub remedy: String,
}

impl Spec {
    /// What a worker needs to be able to run this, as far as the spec alone can tell.
    #[must_use]
    pub fn need(&self) -> Need {
        let audio =
            |audio: &AudioSpec| audio.codec.encoders().iter().map(|name| (*name).to_owned()).collect();
        match self {
            Self::File(file) => Need {
                video: file.video.as_ref().map(|video| VideoNeed {
                    codec: video.codec,
                    encoder: video.encoder.clone(),
                    bit_depth: video.bit_depth,
                    sessions: 1,
                }),
                any_of: file.audio.iter().map(audio).collect(),
                filters: Vec::new(),
            },
            Self::Hls(hls) => Need {
                video: Some(VideoNeed {
                    codec: hls.codec,
                    encoder: hls.encoder.clone(),
                    bit_depth: 8,
                    sessions: u32::try_from(hls.renditions.len()).unwrap_or(u32::MAX).max(1),
                }),
                any_of: vec![audio(&hls.audio)],
                filters: Vec::new(),
            },
            Self::Thumbnails(_) => {
                Need { video: None, any_of: vec![vec!["mjpeg".to_owned()]], filters: Vec::new() }
            }
        }
    }
}
