//! ffprobe: how it is asked, and how its answer is read.

use std::ffi::OsString;

use serde::Deserialize;

use super::args::{DEMUXERS, MORE_FOR_COMMANDS, guard, input_address};
use crate::{
    failure::{Failure, FailureKind},
    media::{AudioInfo, MediaInfo, StreamInfo, StreamKind, VideoInfo},
    spec::Spec,
};

const ASK: [&str; 8] = [
    "-hide_banner",
    "-loglevel",
    "error",
    "-print_format",
    "json",
    "-show_format",
    "-show_streams",
    "-show_chapters",
];

/// Which formats an input may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Sound and moving pictures.
    Media,
    /// Pictures and subtitles too.
    AnyFile,
}

impl Allowed {
    /// For an input of a job with this spec.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        match spec {
            Spec::File(_) | Spec::Hls(_) | Spec::Thumbnails(_) => Self::Media,
            Spec::Command(_) | Spec::Probe => Self::AnyFile,
        }
    }
}

/// ffprobe's arguments for an input: a path or a loopback URL. Nothing but that one file is opened.
#[must_use]
pub fn ffprobe_args(url: &str, allowed: Allowed) -> Vec<OsString> {
    ASK.iter().map(OsString::from).chain(input_args(url, allowed)).collect()
}

pub(super) fn input_args(url: &str, allowed: Allowed) -> Vec<OsString> {
    let demuxers = match allowed {
        Allowed::Media => DEMUXERS.to_owned(),
        Allowed::AnyFile => format!("{DEMUXERS},{MORE_FOR_COMMANDS}"),
    };
    let mut args: Vec<_> = guard(&demuxers).map(OsString::from).into();
    args.extend(["-i".into(), input_address(url).into()]);
    args
}

/// ffprobe's arguments for something that we made: playlists are allowed, the network is not.
#[must_use]
pub fn ffprobe_output_args(path: &std::path::Path) -> Vec<OsString> {
    ASK.iter().map(OsString::from).chain(output_args(path)).collect()
}

pub(super) fn output_args(path: &std::path::Path) -> Vec<OsString> {
    let mut address = OsString::from("file:");
    address.push(path);
    ["-protocol_whitelist", "file", "-i"].map(OsString::from).into_iter().chain([address]).collect()
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    chapters: Vec<Chapter>,
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Chapter {
    end_time: Option<String>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(default)]
    format_name: String,
    duration: Option<String>,
    start_time: Option<String>,
    size: Option<String>,
    bit_rate: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    index: u32,
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    codec_name: String,
    profile: Option<serde_json::Value>,
    level: Option<i32>,
    width: Option<u32>,
    height: Option<u32>,
    sample_aspect_ratio: Option<String>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    nb_frames: Option<String>,
    pix_fmt: Option<String>,
    bits_per_raw_sample: Option<String>,
    color_transfer: Option<String>,
    color_primaries: Option<String>,
    color_space: Option<String>,
    color_range: Option<String>,
    field_order: Option<String>,
    channels: Option<u32>,
    channel_layout: Option<String>,
    sample_rate: Option<String>,
    duration: Option<String>,
    start_time: Option<String>,
    #[serde(default)]
    disposition: std::collections::BTreeMap<String, i32>,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<serde_json::Value>,
}

/// Reads ffprobe's JSON.
///
/// # Errors
/// [`FailureKind::InvalidInput`] when it is no answer of ffprobe or names no stream.
pub fn parse_ffprobe(json: &[u8]) -> Result<MediaInfo, Failure> {
    let invalid = |message: String| Failure::new(FailureKind::InvalidInput, message);
    let answer: Answer = serde_json::from_slice(json)
        .map_err(|error| invalid(format!("ffprobe's answer about the input cannot be read: {error}")))?;
    let format =
        answer.format.ok_or_else(|| invalid("ffprobe found no media format in the input".to_owned()))?;
    if answer.streams.is_empty() {
        return Err(invalid(format!("the input looks like {} and holds no streams", format.format_name)));
    }
    Ok(MediaInfo {
        format: format.format_name,
        duration: seconds(format.duration.as_deref()).filter(|duration| *duration > 0.0),
        start_time: seconds(format.start_time.as_deref()),
        size: format.size.and_then(|size| size.parse().ok()),
        bit_rate: format.bit_rate.and_then(|rate| rate.parse().ok()),
        streams: answer.streams.iter().map(stream).collect(),
        chapters_end: answer
            .chapters
            .iter()
            .filter_map(|chapter| seconds(chapter.end_time.as_deref()))
            .max_by(f64::total_cmp),
    })
}

fn seconds(text: Option<&str>) -> Option<f64> {
    text?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Matroska keeps stream durations in a tag: `00:01:02.345000000`.
fn clock(text: &str) -> Option<f64> {
    let mut total = 0.0;
    for part in text.split(':') {
        total = total * 60.0 + part.trim().parse::<f64>().ok()?;
    }
    Some(total)
}

fn tag(stream: &Stream, name: &str) -> Option<String> {
    let found = stream.tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(found.1.trim().to_owned()).filter(|value| !value.is_empty())
}

fn flag(stream: &Stream, name: &str) -> bool {
    stream.disposition.get(name).is_some_and(|value| *value != 0)
}

fn stream(stream: &Stream) -> StreamInfo {
    let kind = match stream.codec_type.as_str() {
        "video" if flag(stream, "attached_pic") || flag(stream, "timed_thumbnails") => {
            StreamKind::AttachedPicture
        }
        "video" => StreamKind::Video(video(stream)),
        "audio" => StreamKind::Audio(AudioInfo {
            channels: stream.channels.unwrap_or(0),
            channel_layout: stream.channel_layout.clone().filter(|layout| layout != "unknown"),
            sample_rate: stream.sample_rate.as_deref().and_then(|rate| rate.parse().ok()).unwrap_or(0),
        }),
        "subtitle" => StreamKind::Subtitle {
            bitmap: matches!(
                stream.codec_name.as_str(),
                "hdmv_pgs_subtitle" | "dvd_subtitle" | "dvb_subtitle" | "xsub"
            ),
        },
        _ => StreamKind::Other,
    };
    let duration = seconds(stream.duration.as_deref())
        .or_else(|| tag(stream, "DURATION").as_deref().and_then(clock))
        .filter(|duration| *duration > 0.0);
    StreamInfo {
        index: stream.index,
        codec: if stream.codec_name == "unknown" { String::new() } else { stream.codec_name.clone() },
        language: tag(stream, "language").filter(|language| language != "und"),
        title: tag(stream, "title"),
        default: flag(stream, "default"),
        duration,
        start_time: seconds(stream.start_time.as_deref()),
        kind,
    }
}

fn video(stream: &Stream) -> VideoInfo {
    let word = |value: &Option<String>| {
        value.clone().filter(|word| !matches!(word.as_str(), "unknown" | "unspecified" | "reserved" | ""))
    };
    let pixel_format = stream.pix_fmt.clone().unwrap_or_default();
    VideoInfo {
        width: stream.width.unwrap_or(0),
        height: stream.height.unwrap_or(0),
        rotation: rotation(stream),
        sample_aspect_ratio: pair(stream.sample_aspect_ratio.as_deref(), ':')
            .filter(|(num, den)| *num > 0 && *den > 0)
            .unwrap_or((1, 1)),
        frame_rate: pair(stream.avg_frame_rate.as_deref(), '/')
            .filter(|(n, d)| *n > 0 && *d > 0)
            .unwrap_or((0, 1)),
        base_frame_rate: pair(stream.r_frame_rate.as_deref(), '/')
            .filter(|(n, d)| *n > 0 && *d > 0)
            .unwrap_or((0, 1)),
        frames: stream.nb_frames.as_deref().and_then(|frames| frames.parse().ok()),
        bit_depth: bit_depth(&pixel_format)
            .or_else(|| stream.bits_per_raw_sample.as_deref()?.parse().ok())
            .filter(|depth| *depth > 0)
            .unwrap_or(8),
        pixel_format,
        color_transfer: word(&stream.color_transfer),
        color_primaries: word(&stream.color_primaries),
        color_space: word(&stream.color_space),
        color_range: word(&stream.color_range),
        field_order: word(&stream.field_order),
        profile: match &stream.profile {
            Some(serde_json::Value::String(profile)) => Some(profile.clone()),
            _ => None,
        },
        level: stream.level.filter(|level| *level > 0),
    }
}

fn pair(text: Option<&str>, separator: char) -> Option<(u32, u32)> {
    let (num, den) = text?.split_once(separator)?;
    Some((num.parse().ok()?, den.parse().ok()?))
}

/// Clockwise degrees. The display matrix counts the other way round; the old `rotate` tag does not.
fn rotation(stream: &Stream) -> u32 {
    let matrix = stream.side_data_list.iter().find_map(|side| match side.rotation.as_ref()? {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    });
    let clockwise = match matrix {
        Some(angle) => -angle,
        None => tag(stream, "rotate").and_then(|angle| angle.parse().ok()).unwrap_or(0.0),
    };
    // To the nearest quarter turn: a player turns by nothing else.
    (((clockwise / 90.0).round() as i64).rem_euclid(4) * 90) as u32
}

/// Bits per component by the pixel format's name; `None` when the name does not say.
pub(super) fn bit_depth(pixel_format: &str) -> Option<u8> {
    if pixel_format.is_empty() {
        return None;
    }
    let name = pixel_format.trim_end_matches("le").trim_end_matches("be");
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, number) = name.split_at(name.len() - digits);
    Some(match (stem, number) {
        ("p0" | "p", "010" | "10" | "210" | "410") => 10,
        ("p", "012" | "212" | "412") => 12,
        ("p", "016" | "216" | "416") | ("rgb" | "bgr", "48") | ("rgba" | "bgra" | "ayuv", "64") => 16,
        ("x2rgb" | "x2bgr" | "v" | "y" | "xv", "10" | "210" | "30") => 10,
        (stem, "9" | "10" | "12" | "14" | "16") if stem.ends_with('p') || stem == "gray" || stem == "ya" => {
            number.parse().unwrap_or(8)
        }
        _ => 8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = r#"{
      "streams": [
        {"index":0,"codec_name":"h264","codec_type":"video","profile":"High","level":40,"width":1920,"height":1080,
         "sample_aspect_ratio":"1:1","pix_fmt":"yuv420p","avg_frame_rate":"2700000/90067","r_frame_rate":"90000/1",
         "nb_frames":"300","duration":"10.007","start_time":"0.000000","field_order":"progressive",
         "color_transfer":"bt709","disposition":{"default":1,"attached_pic":0},
         "side_data_list":[{"side_data_type":"Display Matrix","rotation":-90}]},
        {"index":1,"codec_name":"aac","codec_type":"audio","channels":2,"channel_layout":"stereo",
         "sample_rate":"48000","disposition":{"default":1},"tags":{"language":"deu"}},
        {"index":2,"codec_name":"mjpeg","codec_type":"video","width":100,"height":100,
         "disposition":{"attached_pic":1}},
        {"index":3,"codec_name":"hdmv_pgs_subtitle","codec_type":"subtitle","disposition":{}},
        {"index":4,"codec_type":"data","disposition":{}}
      ],
      "format": {"format_name":"mov,mp4,m4a,3gp,3g2,mj2","duration":"10.01","size":"12345","bit_rate":"9868"}
    }"#;

    #[test]
    fn a_phones_video_is_read_with_its_rotation_and_variable_rate() {
        let info = parse_ffprobe(PHONE.as_bytes()).unwrap();
        let (stream, video) = info.video().next().unwrap();
        assert_eq!((stream.codec.as_str(), video.rotation), ("h264", 90));
        assert_eq!(video.display_size(), (1080, 1920));
        assert_eq!(video.base_frame_rate, (90000, 1));
        assert_eq!(info.video().count(), 1, "cover art is no video");
        assert!(matches!(info.streams[2].kind, StreamKind::AttachedPicture));
        assert!(matches!(info.streams[3].kind, StreamKind::Subtitle { bitmap: true }));
        assert!(matches!(info.streams[4].kind, StreamKind::Other));
        assert_eq!(info.streams[1].language.as_deref(), Some("deu"));
    }

    #[test]
    fn bit_depths_are_read_from_pixel_formats() {
        for (format, depth) in [
            ("yuv420p", 8),
            ("yuvj422p", 8),
            ("nv12", 8),
            ("yuv420p10le", 10),
            ("p010le", 10),
            ("p016le", 16),
            ("yuv444p12be", 12),
            ("gray16le", 16),
            ("gray10le", 10),
            ("rgb24", 8),
            ("rgb48le", 16),
            ("gbrp10le", 10),
            ("x2rgb10le", 10),
            ("yuv410p", 8),
        ] {
            assert_eq!(bit_depth(format), Some(depth), "{format}");
        }
    }

    #[test]
    fn what_is_no_media_is_the_inputs_fault() {
        for json in ["", "{}", r#"{"streams":[],"format":{"format_name":"mov"}}"#] {
            assert_eq!(parse_ffprobe(json.as_bytes()).unwrap_err().kind, FailureKind::InvalidInput, "{json}");
        }
    }

    #[test]
    fn matroska_durations_come_from_tags() {
        assert_eq!(clock("00:01:02.500000000"), Some(62.5));
        assert_eq!(clock("x"), None);
    }
}
