//! Words of video: codecs, encoder families, and what a file turned out to contain.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A word that is not one of the values that are known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?}; known: {known}")]
pub struct UnknownWord {
    pub what: &'static str,
    pub text: String,
    pub known: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| UnknownWord {
                    what: $what,
                    text: text.to_owned(),
                    known: Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

words!(
    /// Video codecs that presets and specs ask for, as ffmpeg names them.
    VideoCodec, "video codec", {
        H264 = "h264",
        Hevc = "hevc",
        Av1 = "av1",
        Vp9 = "vp9",
        ProRes = "prores",
        DnxHr = "dnxhd",
    }
);

words!(
    /// Audio codecs that presets and specs ask for, as ffmpeg names them.
    AudioCodec, "audio codec", {
        Aac = "aac",
        Opus = "opus",
        Mp3 = "mp3",
        Flac = "flac",
        /// 16-bit PCM.
        Pcm16 = "pcm_s16le",
        /// 24-bit PCM.
        Pcm24 = "pcm_s24le",
    }
);

words!(
    /// Who does the encoding.
    EncoderFamily, "encoder family", {
        Software = "software",
        Nvenc = "nvenc",
        Qsv = "qsv",
        Vaapi = "vaapi",
        Amf = "amf",
        V4l2m2m = "v4l2m2m",
        VideoToolbox = "videotoolbox",
        /// NVIDIA Jetson's own encoders (`h264_nvmpi`), which NVML does not see.
        Jetson = "jetson",
    }
);

impl EncoderFamily {
    /// The family of an encoder by its name, by ffmpeg's naming convention (`<codec>_<family>`).
    #[must_use]
    pub fn of_encoder(name: &str) -> Self {
        match name.rsplit_once('_').map(|(_, suffix)| suffix) {
            Some("nvenc") => Self::Nvenc,
            Some("qsv") => Self::Qsv,
            Some("vaapi") => Self::Vaapi,
            Some("amf") => Self::Amf,
            Some("v4l2m2m") => Self::V4l2m2m,
            Some("videotoolbox") => Self::VideoToolbox,
            Some("nvmpi" | "nvv4l2enc") => Self::Jetson,
            _ => Self::Software,
        }
    }

    #[must_use]
    pub const fn is_hardware(self) -> bool {
        !matches!(self, Self::Software)
    }
}

words!(
    /// Whether a task may, should or must be encoded by hardware.
    HardwarePolicy, "hardware policy", {
        /// Hardware if a worker with it has room, software otherwise.
        Prefer = "prefer",
        /// Hardware or wait.
        Require = "require",
        /// Software only.
        Never = "never",
    }
);

#[allow(clippy::derivable_impls)]
impl Default for HardwarePolicy {
    fn default() -> Self {
        Self::Prefer
    }
}

impl VideoCodec {
    /// The software encoders for this codec, best first.
    #[must_use]
    pub const fn software_encoders(self) -> &'static [&'static str] {
        match self {
            Self::H264 => &["libx264"],
            Self::Hevc => &["libx265"],
            Self::Av1 => &["libsvtav1", "libaom-av1"],
            Self::Vp9 => &["libvpx-vp9"],
            Self::ProRes => &["prores_ks"],
            Self::DnxHr => &["dnxhd"],
        }
    }

    /// The codec of a hardware encoder, by ffmpeg's naming convention (`<codec>_<family>`); `None` when it is none of these.
    #[must_use]
    pub fn of_hardware_encoder(name: &str) -> Option<Self> {
        name.rsplit_once('_').and_then(|(codec, _)| codec.parse().ok())
    }
}

impl AudioCodec {
    /// The encoders for this codec, best first.
    #[must_use]
    pub const fn encoders(self) -> &'static [&'static str] {
        match self {
            Self::Aac => &["aac"],
            Self::Opus => &["libopus"],
            Self::Mp3 => &["libmp3lame"],
            Self::Flac => &["flac"],
            Self::Pcm16 => &["pcm_s16le"],
            Self::Pcm24 => &["pcm_s24le"],
        }
    }
}

/// What ffprobe says about a file, reduced to what decisions are made from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MediaInfo {
    /// ffprobe's `format_name`, for example `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// Seconds; absent when the container does not say.
    pub duration: Option<f64>,
    /// Seconds at which the first stream starts: what ffmpeg takes for time 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<f64>,
    /// Bytes; absent when the source does not say.
    pub size: Option<u64>,
    /// Bits per second over the whole file.
    pub bit_rate: Option<u64>,
    pub streams: Vec<StreamInfo>,
    /// Seconds at which the last chapter ends; absent without chapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chapters_end: Option<f64>,
}

/// One stream of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamInfo {
    /// Index in the file, as in ffmpeg's `0:INDEX`.
    pub index: u32,
    /// Codec as ffmpeg names it; empty when it is unknown.
    pub codec: String,
    pub language: Option<String>,
    pub title: Option<String>,
    /// The container's `default` flag.
    pub default: bool,
    /// Seconds, when the stream says so itself.
    pub duration: Option<f64>,
    /// Seconds at which the stream starts.
    pub start_time: Option<f64>,
    #[serde(flatten)]
    pub kind: StreamKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamKind {
    Video(VideoInfo),
    Audio(AudioInfo),
    Subtitle {
        /// Pictures (PGS, VobSub) instead of text.
        bitmap: bool,
    },
    /// Cover art: a picture that travels in a video stream.
    AttachedPicture,
    /// Data, attachments and what is unknown.
    Other,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VideoInfo {
    /// Coded size in pixels, before rotation and sample aspect ratio.
    pub width: u32,
    pub height: u32,
    /// Clockwise turn that a player applies, in degrees: 0, 90, 180 or 270.
    pub rotation: u32,
    /// Sample aspect ratio as (numerator, denominator); (1, 1) when unknown.
    pub sample_aspect_ratio: (u32, u32),
    /// Average frames per second as (numerator, denominator); (0, 1) when unknown.
    pub frame_rate: (u32, u32),
    /// ffprobe's `r_frame_rate`: the lowest rate that holds all timestamps. Differs from `frame_rate` for VFR.
    pub base_frame_rate: (u32, u32),
    /// Frame count, when the container says so.
    pub frames: Option<u64>,
    pub pixel_format: String,
    /// 8, 10, 12.
    pub bit_depth: u8,
    pub color_transfer: Option<String>,
    pub color_primaries: Option<String>,
    pub color_space: Option<String>,
    pub color_range: Option<String>,
    /// `progressive`, `tt`, `bb`, `tb`, `bt`.
    pub field_order: Option<String>,
    pub profile: Option<String>,
    pub level: Option<i32>,
}

impl VideoInfo {
    /// Size in square pixels as a viewer sees it: sample aspect ratio and rotation applied, at least 1x1.
    #[must_use]
    pub fn display_size(&self) -> (u32, u32) {
        let (num, den) = self.sample_aspect_ratio;
        let width = if num > 0 && den > 0 {
            (f64::from(self.width) * f64::from(num) / f64::from(den)).round() as u32
        } else {
            self.width
        };
        let (width, height) = (width.max(1), self.height.max(1));
        if matches!(self.rotation, 90 | 270) { (height, width) } else { (width, height) }
    }

    /// PQ (SMPTE ST 2084) or HLG (ARIB STD-B67) transfer.
    #[must_use]
    pub fn is_hdr(&self) -> bool {
        matches!(self.color_transfer.as_deref(), Some("smpte2084" | "arib-std-b67"))
    }

    /// Frames per second, when known.
    #[must_use]
    pub fn fps(&self) -> Option<f64> {
        let (num, den) = self.frame_rate;
        (num > 0 && den > 0).then(|| f64::from(num) / f64::from(den))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudioInfo {
    pub channels: u32,
    pub channel_layout: Option<String>,
    /// Hz.
    pub sample_rate: u32,
}

impl MediaInfo {
    /// The video streams, cover art left out.
    pub fn video(&self) -> impl Iterator<Item = (&StreamInfo, &VideoInfo)> {
        self.streams.iter().filter_map(|stream| match &stream.kind {
            StreamKind::Video(video) => Some((stream, video)),
            StreamKind::Audio(_)
            | StreamKind::Subtitle { .. }
            | StreamKind::AttachedPicture
            | StreamKind::Other => None,
        })
    }

    pub fn audio(&self) -> impl Iterator<Item = (&StreamInfo, &AudioInfo)> {
        self.streams.iter().filter_map(|stream| match &stream.kind {
            StreamKind::Audio(audio) => Some((stream, audio)),
            StreamKind::Video(_)
            | StreamKind::Subtitle { .. }
            | StreamKind::AttachedPicture
            | StreamKind::Other => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_and_sample_aspect_ratio_give_the_display_size() {
        let video = VideoInfo {
            width: 1440,
            height: 1080,
            rotation: 90,
            sample_aspect_ratio: (4, 3),
            ..VideoInfo::default()
        };
        assert_eq!(video.display_size(), (1080, 1920));
    }

    #[test]
    fn encoder_names_tell_the_family() {
        assert_eq!(EncoderFamily::of_encoder("hevc_nvenc"), EncoderFamily::Nvenc);
        assert_eq!(EncoderFamily::of_encoder("libx264"), EncoderFamily::Software);
        assert_eq!(EncoderFamily::of_encoder("prores_ks"), EncoderFamily::Software);
        assert_eq!(EncoderFamily::of_encoder("h264_nvmpi"), EncoderFamily::Jetson);
    }

    #[test]
    fn an_unknown_word_lists_the_known_ones() {
        let error = "h265".parse::<VideoCodec>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown video codec \"h265\"; known: h264, hevc, av1, vp9, prores, dnxhd"
        );
    }
}
