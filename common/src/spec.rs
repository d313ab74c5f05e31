//! What a job makes, typed. A preset is a named [`Spec`]; a user may also submit one of their own.
//!
//! A spec says what the result is, not how ffmpeg is told: that is [`crate::ffmpeg::lower`], which also looks at the
//! input, so that nothing is upscaled and missing audio is no error.

mod validate;

use command::Command;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    media::{AudioCodec, EncoderFamily, VideoCodec},
    proto::COMMANDS_SINCE,
    worker::{Need, VideoNeed},
};

/// A typed output description. JSON and TOML: an object with `kind` = `file`, `hls`, `thumbnails`, `command` or `probe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// One media file.
    File(FileSpec),
    /// An HLS presentation: one or more renditions, fMP4 segments, one master playlist.
    Hls(HlsSpec),
    /// A poster picture, sprite sheets and a WebVTT track that points into them.
    Thumbnails(ThumbnailsSpec),
    /// What a user's own ffmpeg command makes.
    Command(CommandSpec),
    /// What ffprobe says about the input, as [`PROBE_ANSWER`].
    Probe,
}

/// The file that a [`Spec::Probe`] makes: JSON as `ffprobe -show_format -show_streams -show_chapters` prints it.
pub const PROBE_ANSWER: &str = "probe.json";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RateControl {
    /// Constant quality on x264's CRF scale (lower is better); lowered to each encoder's own scale.
    Quality(f64),
    /// The same quality, with peaks up to `max` bits per second over a buffer of `buffer` bits ("capped CRF").
    CappedQuality { quality: f64, max: u64, buffer: u64 },
    /// Average bits per second, with peaks up to `max` over a buffer of `buffer` bits.
    Bitrate { average: u64, max: u64, buffer: u64 },
    /// The codec's profile decides (ProRes, DNxHR).
    Profile,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// For proxies and previews.
    Fastest,
    Fast,
    #[default]
    Medium,
    Slow,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Chroma {
    #[default]
    #[serde(rename = "420")]
    Yuv420,
    #[serde(rename = "422")]
    Yuv422,
}

/// The picture's size in square pixels. `within` never makes a picture larger and turns with it (1920x1080 allows
/// 1080x1920 for a portrait picture); the other modes give exactly this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    pub width: u32,
    pub height: u32,
    #[serde(default)]
    pub mode: SizeMode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AudioSpec {
    pub codec: AudioCodec,
    /// Bits per second for stereo; half for mono, more in proportion for more channels. The encoder's default when absent.
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AudioTracks {
    /// The default track only.
    #[default]
    First,
    /// Every track, languages and titles kept.
    All,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rendition {
    /// Folder and name in the master playlist, for example `720p`.
    pub name: String,
    /// Height of the rung's 16:9 box in pixels: 720 stands for 1280x720, and for 720x1280 when the picture is portrait.
    pub height: u32,
    /// Average, peak and buffer; peak at most twice the average.
    pub rate: RateControl,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// A command that was read through the allow-list of the crate `command`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    #[schemars(with = "CommandArguments")]
    pub command: Command,
}

/// How a command is written: its arguments, with placeholders.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CommandArguments {
    #[allow(dead_code)] // for the schema
    args: Vec<String>,
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
    /// The same in another format: for a file the extension of one of [`Container::ALL`], for HLS `hls` or `m3u8`.
    ///
    /// # Errors
    /// It does not come in that format, or its codecs do not.
    pub fn in_format(self, format: &str) -> Result<Self, Error> {
        let wrong = |problem: String, remedy: &str| {
            Err(Error { field: "output_format".to_owned(), problem, remedy: remedy.to_owned() })
        };
        match self {
            Self::File(file) => {
                let known = || Container::ALL.into_iter();
                let Some(container) = known().find(|known| known.extension() == format) else {
                    let known: Vec<_> = known().map(Container::extension).collect();
                    let remedy = format!("use one of {}", known.join(", "));
                    return wrong(format!("{format:?} is not known"), &remedy);
                };
                let spec = Self::File(FileSpec { container, ..file });
                match spec.validate() {
                    Ok(()) => Ok(spec),
                    Err(error) => wrong(error.to_string(), "leave it out for the preset's own"),
                }
            }
            Self::Hls(_) if matches!(format, "hls" | "m3u8") => Ok(self),
            _ => wrong(format!("the preset does not make {format:?}"), "leave it out"),
        }
    }
}

impl Container {
    /// Every container.
    pub const ALL: [Self; 9] =
        [Self::Mp4, Self::Mov, Self::Mkv, Self::Webm, Self::M4a, Self::Mp3, Self::Ogg, Self::Flac, Self::Wav];

    /// Of the file's name, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Mkv => "mkv",
            Self::Webm => "webm",
            Self::M4a => "m4a",
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
            Self::Flac => "flac",
            Self::Wav => "wav",
        }
    }

    /// ffmpeg's muxer.
    #[must_use]
    pub const fn muxer(self) -> &'static str {
        match self {
            Self::Mkv => "matroska",
            Self::M4a => "ipod",
            _ => self.extension(),
        }
    }

    /// Video codecs that it takes and players find there.
    #[must_use]
    pub const fn video_codecs(self) -> &'static [VideoCodec] {
        use VideoCodec::{Av1, DnxHr, H264, Hevc, ProRes, Vp9};
        match self {
            Self::Mp4 => &[H264, Hevc, Av1, Vp9],
            Self::Mov => &[H264, Hevc, ProRes, DnxHr],
            Self::Mkv => &[H264, Hevc, Av1, Vp9, ProRes, DnxHr],
            Self::Webm => &[Vp9, Av1],
            Self::M4a | Self::Mp3 | Self::Ogg | Self::Flac | Self::Wav => &[],
        }
    }

    /// Audio codecs that it takes and players find there.
    #[must_use]
    pub const fn audio_codecs(self) -> &'static [AudioCodec] {
        use AudioCodec::{Aac, Flac, Mp3, Opus, Pcm16, Pcm24};
        match self {
            Self::Mp4 => &[Aac, Opus, Mp3, Flac],
            Self::Mov => &[Aac, Mp3, Pcm16, Pcm24],
            Self::Mkv => &[Aac, Opus, Mp3, Flac, Pcm16, Pcm24],
            Self::Webm => &[Opus],
            Self::M4a => &[Aac],
            Self::Mp3 => &[Mp3],
            Self::Ogg => &[Opus, Flac],
            Self::Flac => &[Flac],
            Self::Wav => &[Pcm16, Pcm24],
        }
    }
}

impl VideoSpec {
    /// Chroma subsampling that really comes out: the mezzanine codecs are always 4:2:2.
    #[must_use]
    pub const fn effective_chroma(&self) -> Chroma {
        match self.codec {
            VideoCodec::ProRes | VideoCodec::DnxHr => Chroma::Yuv422,
            _ => self.chroma,
        }
    }

    /// Bits per component that really come out: ProRes has ten, DNxHR what its profile says.
    #[must_use]
    pub fn effective_bit_depth(&self) -> u8 {
        match self.codec {
            VideoCodec::ProRes => 10,
            VideoCodec::DnxHr => match self.profile.as_deref() {
                Some("dnxhr_hqx" | "dnxhr_444") => 10,
                _ => 8,
            },
            _ => self.bit_depth,
        }
    }

    /// The encoder that it must be, if not any will do: what hardware cannot do is asked of the software encoder.
    fn exact_encoder(&self) -> Option<String> {
        let four_two_two = self.chroma == Chroma::Yuv422
            && matches!(self.codec, VideoCodec::H264 | VideoCodec::Hevc)
            && self.encoder.is_none();
        if four_two_two {
            return self.codec.software_encoders().first().map(|name| (*name).to_owned());
        }
        self.encoder.clone()
    }
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
                    encoder: video.exact_encoder(),
                    bit_depth: video.effective_bit_depth(),
                    sessions: 1,
                }),
                any_of: file.audio.iter().map(audio).collect(),
                ..Need::default()
            },
            Self::Hls(hls) => Need {
                video: Some(VideoNeed {
                    codec: hls.codec,
                    encoder: hls.encoder.clone(),
                    bit_depth: 8,
                    sessions: u32::try_from(hls.renditions.len()).unwrap_or(u32::MAX).max(1),
                }),
                any_of: vec![audio(&hls.audio)],
                ..Need::default()
            },
            Self::Thumbnails(_) => Need { any_of: vec![vec!["mjpeg".to_owned()]], ..Need::default() },
            Self::Command(spec) => spec.need(),
            Self::Probe => Need { wire_since: COMMANDS_SINCE, ..Need::default() },
        }
    }

    /// How many inputs it takes.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match self {
            Self::File(_) | Self::Hls(_) | Self::Thumbnails(_) | Self::Probe => 1,
            Self::Command(spec) => spec.command.inputs(),
        }
    }

    /// Checks that it makes sense; whether an input fits it is for [`crate::ffmpeg::lower`] to say.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn validate(&self) -> Result<(), Error> {
        validate::spec(self)
    }
}

impl CommandSpec {
    /// The hardware encoders that the command names, each with how many streams it encodes.
    pub(crate) fn hardware(&self) -> Vec<(&'static str, usize)> {
        let encoders = self.command.needs().encoders.into_iter();
        encoders.filter(|(name, _)| EncoderFamily::of_encoder(name).is_hardware()).collect()
    }

    /// The encoders are those that the command names, in hardware or not: another gives another file.
    fn need(&self) -> Need {
        let needs = self.command.needs();
        let video = self.hardware().into_iter().find_map(|(name, streams)| {
            Some(VideoNeed {
                codec: VideoCodec::of_hardware_encoder(name)?,
                encoder: Some(name.to_owned()),
                bit_depth: 8,
                sessions: u32::try_from(streams).unwrap_or(u32::MAX),
            })
        });
        let software = needs.encoders.keys().filter(|name| !EncoderFamily::of_encoder(name).is_hardware());
        Need {
            video,
            any_of: software.map(|name| vec![(*name).to_owned()]).collect(),
            filters: needs.filters.into_iter().map(str::to_owned).collect(),
            wire_since: COMMANDS_SINCE,
            ..Need::default()
        }
    }
}
