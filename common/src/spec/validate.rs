//! What makes a spec wrong by itself, field by field.

use super::{
    AudioSpec, Chroma, CommandSpec, Error, FileSpec, HlsSpec, RateControl, Rendition, Size, Spec,
    ThumbnailsSpec, VideoSpec,
};
use crate::media::{AudioCodec, EncoderFamily, VideoCodec};

/// Largest edge of a picture in pixels.
const MAX_EDGE: u32 = 16384;
/// Bits per second of video: below, no picture is left; above, somebody wrote kilobits or a typing error.
const VIDEO_BITRATES: std::ops::RangeInclusive<u64> = 10_000..=2_000_000_000;
const AUDIO_BITRATES: std::ops::RangeInclusive<u64> = 6_000..=1_024_000;
/// Renditions of a ladder: one encode session each.
const MAX_RENDITIONS: usize = 12;

fn wrong(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error { field: field.into(), problem: problem.into(), remedy: remedy.into() }
}

fn ensure(
    fine: bool,
    field: &str,
    problem: impl FnOnce() -> String,
    remedy: impl FnOnce() -> String,
) -> Result<(), Error> {
    if fine { Ok(()) } else { Err(wrong(field, problem(), remedy())) }
}

fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn spec(spec: &Spec) -> Result<(), Error> {
    match spec {
        Spec::File(spec) => file(spec),
        Spec::Hls(spec) => hls(spec),
        Spec::Thumbnails(spec) => thumbnails(spec),
        Spec::Command(spec) => command(spec),
        Spec::Probe => Ok(()),
    }
}

/// Everything else about a command was checked when it was read.
fn command(spec: &CommandSpec) -> Result<(), Error> {
    let hardware = spec.hardware();
    ensure(
        hardware.len() < 2,
        "command",
        || {
            let names: Vec<_> = hardware.iter().map(|(name, _)| *name).collect();
            format!("it names several hardware encoders: {}", list(&names))
        },
        || {
            "use one hardware encoder in a command, or several jobs: a task is placed on one device"
                .to_owned()
        },
    )
}

fn file(spec: &FileSpec) -> Result<(), Error> {
    let container = spec.container.extension();
    if let Some(video) = &spec.video {
        let takes = spec.container.video_codecs();
        ensure(
            takes.contains(&video.codec),
            "video.codec",
            || format!("{container} takes no {} video", video.codec),
            || match takes {
                [] => format!("leave video out, or choose a container for video instead of {container}"),
                takes => format!("use {}, or another container", list(takes)),
            },
        )?;
        self::video(video)?;
    }
    if let Some(audio) = &spec.audio {
        let takes = spec.container.audio_codecs();
        ensure(
            takes.contains(&audio.codec),
            "audio.codec",
            || format!("{container} takes no {} audio", audio.codec),
            || format!("use {}, or another container", list(takes)),
        )?;
        self::audio("audio", audio)?;
    }
    ensure(
        spec.video.is_some() || spec.audio.is_some(),
        "video",
        || "the output has neither video nor audio".to_owned(),
        || "add video, audio or both".to_owned(),
    )
}

fn video(spec: &VideoSpec) -> Result<(), Error> {
    encoder("video.encoder", spec.codec, spec.encoder.as_deref())?;
    let mezzanine = matches!(spec.codec, VideoCodec::ProRes | VideoCodec::DnxHr);
    ensure(
        mezzanine == (spec.rate == RateControl::Profile),
        "video.rate",
        || format!("this rate control does not fit {}", spec.codec),
        || {
            if mezzanine {
                "use rate = \"profile\": the profile decides".to_owned()
            } else {
                "use quality, capped_quality or bitrate".to_owned()
            }
        },
    )?;
    rate("video.rate", &spec.rate)?;
    ensure(
        matches!(spec.bit_depth, 8 | 10),
        "video.bit_depth",
        || format!("{} bits are not possible", spec.bit_depth),
        || "use 8 or 10".to_owned(),
    )?;
    ensure(
        mezzanine
            || spec.chroma == Chroma::Yuv420
            || matches!(spec.codec, VideoCodec::H264 | VideoCodec::Hevc),
        "video.chroma",
        || format!("{} is made with 4:2:0 only", spec.codec),
        || "use \"420\", or h264 or hevc".to_owned(),
    )?;
    profile(spec)?;
    if let Some(size) = &spec.size {
        self::size("video.size", size)?;
    }
    if let Some(fps) = spec.max_fps {
        number("video.max_fps", fps, 1.0, 240.0)?;
    }
    if let Some(seconds) = spec.keyframe_interval {
        number("video.keyframe_interval", seconds, 0.1, 60.0)?;
    }
    Ok(())
}

fn profile(spec: &VideoSpec) -> Result<(), Error> {
    let known: &[&str] = match spec.codec {
        VideoCodec::ProRes => &["proxy", "lt", "standard", "hq"],
        VideoCodec::DnxHr => &["dnxhr_lb", "dnxhr_sq", "dnxhr_hq", "dnxhr_hqx", "dnxhr_444"],
        VideoCodec::H264 => &["baseline", "main", "high", "high10", "high422"],
        VideoCodec::Hevc => &["main", "main10"],
        VideoCodec::Av1 | VideoCodec::Vp9 => &[],
    };
    let Some(profile) = spec.profile.as_deref() else { return Ok(()) };
    ensure(
        known.contains(&profile),
        "video.profile",
        || format!("{} has no profile {profile:?}", spec.codec),
        || match known {
            [] => "leave it out".to_owned(),
            known => format!("use {}, or leave it out", known.join(", ")),
        },
    )?;
    // The profile names a pixel format, and the encoder refuses any other.
    let (deep, wide) = (spec.bit_depth > 8, spec.chroma == Chroma::Yuv422);
    let fits = match (spec.codec, profile) {
        (VideoCodec::H264, "baseline" | "main" | "high") | (VideoCodec::Hevc, "main") => !deep && !wide,
        (VideoCodec::H264, "high10") | (VideoCodec::Hevc, "main10") => !wide,
        _ => true,
    };
    ensure(
        fits,
        "video.profile",
        || format!("profile {profile:?} does not hold this bit depth and chroma"),
        || "leave it out: the encoder takes the one that fits".to_owned(),
    )
}

/// An encoder's name must be one word, and of the codec.
fn encoder(field: &str, codec: VideoCodec, name: Option<&str>) -> Result<(), Error> {
    let Some(name) = name else { return Ok(()) };
    let of_codec = codec.software_encoders().contains(&name)
        || (EncoderFamily::of_encoder(name).is_hardware()
            && name.split('_').next() == Some(codec.as_str())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    ensure(
        of_codec,
        field,
        || format!("{name:?} is no encoder for {codec}"),
        || {
            format!(
                "use {}, a hardware encoder such as {codec}_nvenc, or leave it out",
                codec.software_encoders().join(", ")
            )
        },
    )
}

fn rate(field: &str, rate: &RateControl) -> Result<(), Error> {
    let bits = |name: &str, value: u64| {
        ensure(
            VIDEO_BITRATES.contains(&value),
            &format!("{field}.{name}"),
            || format!("{value} bits per second make no sense"),
            || format!("use {} to {}", VIDEO_BITRATES.start(), VIDEO_BITRATES.end()),
        )
    };
    match rate {
        RateControl::Quality(quality) => number(&format!("{field}.quality"), *quality, 1.0, 51.0),
        RateControl::CappedQuality { quality, max, buffer } => {
            number(&format!("{field}.capped_quality.quality"), *quality, 1.0, 51.0)?;
            bits("capped_quality.max", *max)?;
            bits("capped_quality.buffer", *buffer)
        }
        RateControl::Bitrate { average, max, buffer } => {
            bits("bitrate.average", *average)?;
            bits("bitrate.max", *max)?;
            bits("bitrate.buffer", *buffer)?;
            ensure(
                max >= average,
                &format!("{field}.bitrate.max"),
                || format!("the peak of {max} is below the average of {average}"),
                || "use at least the average".to_owned(),
            )
        }
        RateControl::Profile => Ok(()),
    }
}

fn number(field: &str, value: f64, min: f64, max: f64) -> Result<(), Error> {
    ensure(
        value.is_finite() && (min..=max).contains(&value),
        field,
        || format!("{value} is out of range"),
        || format!("use {min} to {max}"),
    )
}

fn edge(field: &str, value: u32, min: u32) -> Result<(), Error> {
    ensure(
        (min..=MAX_EDGE).contains(&value),
        field,
        || format!("{value} pixels are not possible"),
        || format!("use {min} to {MAX_EDGE}"),
    )
}

fn size(field: &str, size: &Size) -> Result<(), Error> {
    edge(&format!("{field}.width"), size.width, 16)?;
    edge(&format!("{field}.height"), size.height, 16)
}

fn audio(field: &str, spec: &AudioSpec) -> Result<(), Error> {
    if let Some(bitrate) = spec.bitrate {
        ensure(
            AUDIO_BITRATES.contains(&bitrate),
            &format!("{field}.bitrate"),
            || format!("{bitrate} bits per second make no sense"),
            || format!("use {} to {}", AUDIO_BITRATES.start(), AUDIO_BITRATES.end()),
        )?;
        ensure(
            !matches!(spec.codec, AudioCodec::Flac | AudioCodec::Pcm16 | AudioCodec::Pcm24),
            &format!("{field}.bitrate"),
            || format!("{} is lossless and has no bitrate", spec.codec),
            || "leave it out".to_owned(),
        )?;
    }
    if let Some(channels) = spec.max_channels {
        ensure(
            (1..=64).contains(&channels),
            &format!("{field}.max_channels"),
            || format!("{channels} channels are not possible"),
            || "use 1 to 64".to_owned(),
        )?;
    }
    if let Some(rate) = spec.sample_rate {
        let common =
            [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000];
        ensure(
            common.contains(&rate),
            &format!("{field}.sample_rate"),
            || format!("{rate} Hz is not a common rate"),
            || "use 48000, 44100 or another common rate".to_owned(),
        )?;
    }
    Ok(())
}

fn hls(spec: &HlsSpec) -> Result<(), Error> {
    ensure(
        matches!(spec.codec, VideoCodec::H264 | VideoCodec::Hevc | VideoCodec::Av1),
        "codec",
        || format!("HLS carries no {}", spec.codec),
        || "use h264, hevc or av1".to_owned(),
    )?;
    encoder("encoder", spec.codec, spec.encoder.as_deref())?;
    number("segment_seconds", spec.segment_seconds, 0.5, 60.0)?;
    ensure(
        (1..=MAX_RENDITIONS).contains(&spec.renditions.len()),
        "renditions",
        || format!("{} renditions make no ladder", spec.renditions.len()),
        || format!("name 1 to {MAX_RENDITIONS}"),
    )?;
    let mut names = std::collections::BTreeSet::new();
    for (index, rendition) in spec.renditions.iter().enumerate() {
        let field = format!("renditions[{index}]");
        self::rendition(&field, rendition)?;
        ensure(
            names.insert(rendition.name.to_ascii_lowercase()),
            &format!("{field}.name"),
            || format!("{:?} is there twice", rendition.name),
            || "give each rendition a name of its own".to_owned(),
        )?;
    }
    ensure(
        spec.audio.codec != AudioCodec::Pcm16 && spec.audio.codec != AudioCodec::Pcm24,
        "audio.codec",
        || format!("HLS carries no {}", spec.audio.codec),
        || "use aac, opus, mp3 or flac".to_owned(),
    )?;
    audio("audio", &spec.audio)
}

fn rendition(field: &str, rendition: &Rendition) -> Result<(), Error> {
    let name = rendition.name.as_str();
    let plain = !name.is_empty()
        && name.len() <= 32
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !name.starts_with(['-', '_']);
    ensure(
        plain,
        &format!("{field}.name"),
        || format!("{name:?} becomes a folder and part of URLs"),
        || "use 1 to 32 letters, digits, '-' and '_', a letter or digit first".to_owned(),
    )?;
    ensure(
        !name.to_ascii_lowercase().starts_with("audio"),
        &format!("{field}.name"),
        || format!("{name:?} is where the sound goes"),
        || "use a name that does not start with audio".to_owned(),
    )?;
    edge(&format!("{field}.height"), rendition.height, 16)?;
    rate(&format!("{field}.rate"), &rendition.rate)?;
    match rendition.rate {
        RateControl::Bitrate { average, max, .. } => ensure(
            max <= average.saturating_mul(2),
            &format!("{field}.rate.bitrate.max"),
            || {
                "the peak is more than twice the average, which Apple's authoring specification forbids"
                    .to_owned()
            },
            || format!("use at most {}", average.saturating_mul(2)),
        ),
        RateControl::CappedQuality { .. } => Ok(()),
        RateControl::Quality(_) | RateControl::Profile => Err(wrong(
            format!("{field}.rate"),
            "a rendition without a peak bitrate cannot be chosen by a player",
            "use bitrate or capped_quality",
        )),
    }
}

fn thumbnails(spec: &ThumbnailsSpec) -> Result<(), Error> {
    edge("poster_width", spec.poster_width, 16)?;
    edge("tile_width", spec.tile_width, 16)?;
    for (field, value) in [("columns", spec.columns), ("rows", spec.rows)] {
        ensure(
            (1..=50).contains(&value),
            field,
            || format!("{value} tiles are not possible"),
            || "use 1 to 50".to_owned(),
        )?;
    }
    // JPEG ends at 65535 pixels; tall pictures have tiles twice as high as wide, and more.
    ensure(
        spec.tile_width.saturating_mul(spec.columns) <= MAX_EDGE
            && spec.tile_width.saturating_mul(spec.rows) <= MAX_EDGE,
        "tile_width",
        || "a sprite sheet would be too large for players".to_owned(),
        || format!("keep tile_width x columns and tile_width x rows below {MAX_EDGE}"),
    )?;
    number("interval", spec.interval, 0.1, 3600.0)?;
    ensure(
        (1..=10_000).contains(&spec.max_tiles),
        "max_tiles",
        || format!("{} tiles are not possible", spec.max_tiles),
        || "use 1 to 10000".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Presets;

    fn preset(name: &str) -> Spec {
        Presets::builtin().get(name).unwrap().spec.clone()
    }

    fn field(spec: &Spec) -> String {
        spec.validate().unwrap_err().field
    }

    #[test]
    fn a_codec_must_fit_its_container() {
        let Spec::File(mut file) = preset("vp9") else { panic!() };
        file.container = super::super::Container::Mov;
        let error = Spec::File(file.clone()).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "video.codec: mov takes no vp9 video; use h264, hevc, prores, dnxhd, or another container"
        );
        file.video = None;
        assert_eq!(field(&Spec::File(file.clone())), "audio.codec");
        file.audio = None;
        assert_eq!(field(&Spec::File(file)), "video");
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let with = |change: fn(&mut VideoSpec)| {
            let Spec::File(mut file) = preset("h264") else { panic!() };
            change(file.video.as_mut().unwrap());
            field(&Spec::File(file))
        };
        assert_eq!(with(|v| v.bit_depth = 12), "video.bit_depth");
        assert_eq!(
            with(|v| v.size = Some(Size { width: 0, height: 5, mode: super::super::SizeMode::Crop })),
            "video.size.width"
        );
        assert_eq!(with(|v| v.rate = RateControl::Quality(f64::NAN)), "video.rate.quality");
        assert_eq!(
            with(|v| v.rate = RateControl::Bitrate { average: 5, max: 5, buffer: 5 }),
            "video.rate.bitrate.average"
        );
        assert_eq!(with(|v| v.encoder = Some("libx265".to_owned())), "video.encoder");
        assert_eq!(with(|v| v.max_fps = Some(0.0)), "video.max_fps");
        assert_eq!(with(|v| v.profile = Some("dnxhr_hq".to_owned())), "video.profile");
    }

    #[test]
    fn names_of_renditions_are_folders_and_must_be_plain() {
        let with = |name: &str| {
            let Spec::Hls(mut hls) = preset("hls-ladder") else { panic!() };
            hls.renditions[1].name = name.to_owned();
            Spec::Hls(hls).validate().map_err(|error| error.field)
        };
        for bad in ["", "../up", "a/b", "a b", "a,b", "audio-2", "-x", "%v", "1080p"] {
            assert_eq!(with(bad), Err("renditions[1].name".to_owned()), "{bad}");
        }
        assert_eq!(with("hd_720"), Ok(()));
        let Spec::Hls(mut hls) = preset("hls-ladder") else { panic!() };
        hls.renditions.clear();
        assert_eq!(field(&Spec::Hls(hls)), "renditions");
    }
}
