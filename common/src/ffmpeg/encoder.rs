//! Options of each encoder family: device, pixel format, rate control, speed, key frames.
//!
//! A spec's quality is on x264's CRF scale. Other encoders get the value at which they look about the same: x265 four
//! higher, AV1 and VP9 1.4 times (their scale ends at 63), NVENC three higher (it has no psychovisual tuning). Encoders
//! without a dependable quality mode (V4L2, VideoToolbox on Intel, Jetson) get a bitrate from the picture's size.

use super::{
    EncoderChoice,
    args::{Args, number},
};
use crate::{
    media::{EncoderFamily, VideoCodec},
    spec::{Chroma, RateControl, Speed},
};

/// What one video output asks of its encoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encode<'a> {
    pub(super) codec: VideoCodec,
    pub(super) choice: &'a EncoderChoice,
    pub(super) rate: &'a RateControl,
    pub(super) speed: Speed,
    pub(super) bit_depth: u8,
    pub(super) chroma: Chroma,
    pub(super) profile: Option<&'a str>,
    pub(super) size: (u32, u32),
    /// Frames per second, for key frame distances and bitrates; a guess when the source does not say.
    pub(super) fps: f64,
    pub(super) keys: KeyFrames,
}

/// Where key frames are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum KeyFrames {
    /// Where the encoder likes, at most this many seconds apart.
    AtMost(f64),
    /// On the first frame at or after each multiple of so many seconds, and nowhere else: segments start there.
    Every(f64),
    /// Every frame is one (ProRes, DNxHR).
    All,
}

/// Options before the input: the device that frames are uploaded to.
pub(super) fn device_args(choice: &EncoderChoice) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match (choice.family, choice.device.as_deref()) {
        (EncoderFamily::Vaapi, device) => {
            let device = format!("vaapi=hw:{}", device.unwrap_or("/dev/dri/renderD128"));
            words(&["-init_hw_device", &device, "-filter_hw_device", "hw"])
        }
        (EncoderFamily::Qsv, Some(device)) => {
            words(&["-init_hw_device", &format!("qsv=hw,child_device={device}"), "-filter_hw_device", "hw"])
        }
        (EncoderFamily::Qsv, None) => words(&["-init_hw_device", "qsv=hw", "-filter_hw_device", "hw"]),
        _ => Vec::new(),
    }
}

/// The last filters before the encoder: the pixel format that it takes, and the way to its memory.
pub(super) fn pixel_filters(encode: &Encode<'_>) -> String {
    let format = pixel_format(encode);
    match encode.choice.family {
        EncoderFamily::Vaapi => format!("format={format},hwupload"),
        // The encoder and the filter hold frames at the same time: without extra ones long GOPs run dry.
        EncoderFamily::Qsv => format!("format={format},hwupload=extra_hw_frames=64"),
        EncoderFamily::Software
        | EncoderFamily::Nvenc
        | EncoderFamily::Jetson
        | EncoderFamily::VideoToolbox
        | EncoderFamily::Amf
        | EncoderFamily::V4l2m2m => format!("format={format}"),
    }
}

/// The pixels that an encoder gets.
pub(super) fn pixel_format(encode: &Encode<'_>) -> &'static str {
    let ten = encode.bit_depth > 8;
    let surface = if ten { "p010le" } else { "nv12" };
    match encode.choice.family {
        EncoderFamily::Software => software_pixels(encode),
        EncoderFamily::Nvenc if !ten => "yuv420p",
        EncoderFamily::Jetson => "yuv420p",
        EncoderFamily::VideoToolbox if matches!(encode.codec, VideoCodec::ProRes) => "p210le",
        EncoderFamily::Nvenc
        | EncoderFamily::Amf
        | EncoderFamily::V4l2m2m
        | EncoderFamily::VideoToolbox
        | EncoderFamily::Vaapi
        | EncoderFamily::Qsv => surface,
    }
}

fn software_pixels(encode: &Encode<'_>) -> &'static str {
    match (encode.codec, encode.chroma, encode.bit_depth > 8) {
        (VideoCodec::ProRes, _, _) => "yuv422p10le",
        (VideoCodec::DnxHr, _, _) => match encode.profile {
            Some("dnxhr_hqx") => "yuv422p10le",
            Some("dnxhr_444") => "yuv444p10le",
            _ => "yuv422p",
        },
        (_, Chroma::Yuv420, false) => "yuv420p",
        (_, Chroma::Yuv420, true) => "yuv420p10le",
        (_, Chroma::Yuv422, false) => "yuv422p",
        (_, Chroma::Yuv422, true) => "yuv422p10le",
    }
}

/// The smallest picture that an encoder takes.
pub(super) fn smallest(codec: VideoCodec, choice: &EncoderChoice) -> (u32, u32) {
    match (choice.family, choice.name.as_str(), codec) {
        (EncoderFamily::Software, "dnxhd", _) => (256, 120),
        (EncoderFamily::Software, "libsvtav1", _) => (64, 64),
        (EncoderFamily::Software, "libx265", _) => (16, 16),
        (EncoderFamily::Software, _, _) => (2, 2),
        // NV_ENC_CAPS_WIDTH_MIN is 145 for H.264, 129 for HEVC, 160 for AV1; others are near it.
        _ => (160, 128),
    }
}

/// The encoder and its options. Written for the first video stream of an output: a cover beside it is copied.
pub(super) fn encoder_args(args: &mut Args, encode: &Encode<'_>) {
    let name = encode.choice.name.as_str();
    args.pair("-c:v:0", name);
    match encode.choice.family {
        EncoderFamily::Software => software(args, encode),
        EncoderFamily::Nvenc => nvenc(args, encode),
        EncoderFamily::Qsv => qsv(args, encode),
        EncoderFamily::Vaapi => vaapi(args, encode),
        EncoderFamily::Amf => amf(args, encode),
        EncoderFamily::V4l2m2m => by_bitrate(args, encode),
        EncoderFamily::VideoToolbox => {
            by_bitrate(args, encode);
            args.all(["-allow_sw", "0", "-realtime", "0"]);
        }
        EncoderFamily::Jetson => {
            by_bitrate(args, encode);
            args.pair("-preset", pick(encode.speed, ["ultrafast", "fast", "medium", "slow"]));
        }
    }
    if let Some(profile) = profile(encode) {
        args.pair("-profile:v:0", profile);
    }
    keyframes(args, encode);
}

const fn pick(speed: Speed, [fastest, fast, medium, slow]: [&str; 4]) -> &str {
    match speed {
        Speed::Fastest => fastest,
        Speed::Fast => fast,
        Speed::Medium => medium,
        Speed::Slow => slow,
    }
}

fn profile<'a>(encode: &Encode<'a>) -> Option<&'a str> {
    let ten = encode.bit_depth > 8;
    if encode.profile.is_some() {
        return encode.profile;
    }
    match (encode.codec, encode.choice.family) {
        (VideoCodec::ProRes, _) => Some("hq"),
        (VideoCodec::DnxHr, _) => Some("dnxhr_hq"),
        (VideoCodec::H264, EncoderFamily::V4l2m2m | EncoderFamily::Software) => None,
        (VideoCodec::H264, _) => (!ten).then_some("high"),
        (VideoCodec::Hevc, EncoderFamily::V4l2m2m | EncoderFamily::Software | EncoderFamily::Jetson) => None,
        // AMF takes it from the pixel format; older ones do not know the name.
        (VideoCodec::Hevc, EncoderFamily::Amf) => None,
        (VideoCodec::Hevc, _) => Some(if ten { "main10" } else { "main" }),
        (VideoCodec::Av1 | VideoCodec::Vp9, _) => None,
    }
}

/// `-maxrate` and `-bufsize`.
fn peak(args: &mut Args, max: u64, buffer: u64) {
    args.pair("-maxrate", max.to_string()).pair("-bufsize", buffer.to_string());
}

fn software(args: &mut Args, encode: &Encode<'_>) {
    let av1_quality = |quality: f64| number((quality * 1.4).round().clamp(1.0, 63.0));
    match encode.choice.name.as_str() {
        "libx264" => {
            args.pair("-preset", pick(encode.speed, ["veryfast", "faster", "medium", "slow"]));
            crf_or_bitrate(args, encode.rate, number);
        }
        "libx265" => {
            args.pair("-preset", pick(encode.speed, ["superfast", "fast", "medium", "slow"]));
            crf_or_bitrate(args, encode.rate, |quality| number((quality + 4.0).min(51.0)));
            let scenecut = if matches!(encode.keys, KeyFrames::Every(_)) { ":scenecut=0" } else { "" };
            // The frame rate is named because ffmpeg 5.1 takes it from the time base, which is fine for variable rates.
            args.pair(
                "-x265-params",
                format!("log-level=warning:open-gop=0:fps={}{scenecut}", number(encode.fps)),
            );
        }
        "libsvtav1" => {
            args.pair("-preset", pick(encode.speed, ["10", "9", "8", "5"]));
            match encode.rate {
                RateControl::Quality(quality) => {
                    args.pair("-crf", av1_quality(*quality));
                }
                RateControl::CappedQuality { quality, max, buffer } => {
                    args.pair("-crf", av1_quality(*quality));
                    peak(args, *max, *buffer);
                }
                // SVT-AV1 takes a peak in its CRF mode only.
                RateControl::Bitrate { average, .. } => {
                    args.pair("-b:v", average.to_string());
                }
                RateControl::Profile => {}
            }
            args.pair("-svtav1-params", "scd=0");
        }
        "libaom-av1" | "libvpx-vp9" => {
            if encode.choice.name == "libaom-av1" {
                args.pair("-cpu-used", pick(encode.speed, ["8", "6", "5", "3"]));
            } else {
                args.pair("-deadline", "good").pair("-cpu-used", pick(encode.speed, ["5", "4", "2", "1"]));
            }
            // libaom wants tiles of 256 pixels at least; wider ones cost less.
            let tile_columns = match encode.size.0 {
                2048.. => "2",
                1024.. => "1",
                _ => "0",
            };
            args.all(["-row-mt", "1", "-tile-columns", tile_columns]);
            match encode.rate {
                RateControl::Quality(quality) => {
                    args.pair("-crf", av1_quality(*quality)).pair("-b:v", "0");
                }
                // Constrained quality: the bitrate is the cap.
                RateControl::CappedQuality { quality, max, .. } => {
                    args.pair("-crf", av1_quality(*quality)).pair("-b:v", max.to_string());
                }
                RateControl::Bitrate { average, max, buffer } => {
                    args.pair("-b:v", average.to_string());
                    peak(args, *max, *buffer);
                }
                RateControl::Profile => {}
            }
        }
        "prores_ks" => {
            args.pair("-vendor", "apl0");
        }
        _ => {
            if encode.codec != VideoCodec::DnxHr {
                by_bitrate(args, encode);
            }
        }
    }
}

fn crf_or_bitrate(args: &mut Args, rate: &RateControl, scale: impl Fn(f64) -> String) {
    match rate {
        RateControl::Quality(quality) => {
            args.pair("-crf", scale(*quality));
        }
        RateControl::CappedQuality { quality, max, buffer } => {
            args.pair("-crf", scale(*quality));
            peak(args, *max, *buffer);
        }
        RateControl::Bitrate { average, max, buffer } => {
            args.pair("-b:v", average.to_string());
            peak(args, *max, *buffer);
        }
        RateControl::Profile => {}
    }
}

fn nvenc(args: &mut Args, encode: &Encode<'_>) {
    if let Some(device) = encode.choice.device.as_deref() {
        args.pair("-gpu", device);
    }
    let preset = match encode.choice.nvenc_preset {
        Some(level) => format!("p{}", level.clamp(1, 7)),
        None => pick(encode.speed, ["p1", "p3", "p5", "p6"]).to_owned(),
    };
    args.pair("-preset", preset).all(["-tune", "hq", "-rc", "vbr"]);
    let cq = |quality: f64| match encode.codec {
        VideoCodec::Av1 => number((quality * 1.4).round().min(51.0)),
        _ => number((quality + 3.0).min(51.0)),
    };
    match encode.rate {
        RateControl::Quality(quality) => {
            args.pair("-cq", cq(*quality)).pair("-b:v", "0");
        }
        RateControl::CappedQuality { quality, max, buffer } => {
            args.pair("-cq", cq(*quality)).pair("-b:v", "0");
            peak(args, *max, *buffer);
        }
        RateControl::Bitrate { average, max, buffer } => {
            args.pair("-b:v", average.to_string());
            peak(args, *max, *buffer);
        }
        RateControl::Profile => {}
    }
    args.all(["-spatial-aq", "1", "-rc-lookahead", "20"]);
    if matches!(encode.keys, KeyFrames::Every(_)) {
        args.all(["-forced-idr", "1", "-no-scenecut", "1"]);
    }
}

fn qsv(args: &mut Args, encode: &Encode<'_>) {
    args.pair("-preset", pick(encode.speed, ["veryfast", "fast", "medium", "slow"]));
    match encode.rate {
        // ICQ: intelligent constant quality.
        RateControl::Quality(quality) | RateControl::CappedQuality { quality, .. } => {
            args.pair("-global_quality", number((quality + 2.0).round().clamp(1.0, 51.0)));
        }
        RateControl::Bitrate { average, max, buffer } => {
            args.pair("-b:v", average.to_string());
            peak(args, *max, *buffer);
        }
        RateControl::Profile => {}
    }
    if matches!(encode.keys, KeyFrames::Every(_)) {
        args.all(["-forced_idr", "1", "-adaptive_i", "0"]);
    }
}

/// The 0 to 255 quantiser index of AV1 and VP9 for an x264 CRF.
fn quantiser_index(quality: f64) -> String {
    number((quality * 5.0).round().clamp(1.0, 255.0))
}

fn vaapi(args: &mut Args, encode: &Encode<'_>) {
    match encode.rate {
        // Constant QP is the one quality mode that every VAAPI driver has; it knows no peak.
        RateControl::Quality(quality) | RateControl::CappedQuality { quality, .. } => {
            args.pair("-rc_mode", "CQP");
            match encode.codec {
                VideoCodec::Av1 | VideoCodec::Vp9 => args.pair("-global_quality", quantiser_index(*quality)),
                _ => args.pair("-qp", number(quality.round().clamp(1.0, 51.0))),
            };
        }
        RateControl::Bitrate { average, max, buffer } => {
            args.pair("-rc_mode", "VBR").pair("-b:v", average.to_string());
            peak(args, *max, *buffer);
        }
        RateControl::Profile => {}
    }
}

fn amf(args: &mut Args, encode: &Encode<'_>) {
    args.all(["-usage", "transcoding"]);
    args.pair("-quality", pick(encode.speed, ["speed", "speed", "balanced", "quality"]));
    match encode.rate {
        RateControl::Quality(quality) | RateControl::CappedQuality { quality, .. } => {
            let qp = match encode.codec {
                VideoCodec::Av1 => quantiser_index(*quality),
                _ => number(quality.round().clamp(1.0, 51.0)),
            };
            args.all(["-rc", "cqp", "-qp_i", &qp, "-qp_p", &qp]);
        }
        RateControl::Bitrate { average, max, buffer } => {
            args.all(["-rc", "vbr_peak"]).pair("-b:v", average.to_string());
            peak(args, *max, *buffer);
        }
        RateControl::Profile => {}
    }
    if matches!(encode.keys, KeyFrames::Every(_)) {
        args.all(["-forced_idr", "1"]);
    }
}

/// For encoders that know nothing but a bitrate.
fn by_bitrate(args: &mut Args, encode: &Encode<'_>) {
    let estimate = |quality: f64| estimated_bitrate(encode.codec, encode.size, encode.fps, quality);
    let (average, max, buffer) = match encode.rate {
        RateControl::Quality(quality) => {
            let average = estimate(*quality);
            (average, average * 2, average * 2)
        }
        RateControl::CappedQuality { quality, max, buffer } => (estimate(*quality).min(*max), *max, *buffer),
        RateControl::Bitrate { average, max, buffer } => (*average, *max, *buffer),
        RateControl::Profile => return,
    };
    args.pair("-b:v", average.to_string());
    peak(args, max, buffer);
}

/// Bits per second at which a codec looks about like x264 at this CRF: a tenth of a bit per pixel for CRF 23, half of
/// it for every 6 more, and two thirds for the newer codecs.
pub(super) fn estimated_bitrate(
    codec: VideoCodec,
    (width, height): (u32, u32),
    fps: f64,
    quality: f64,
) -> u64 {
    let codec_factor = match codec {
        VideoCodec::H264 => 1.0,
        VideoCodec::Hevc | VideoCodec::Vp9 => 0.67,
        VideoCodec::Av1 => 0.55,
        VideoCodec::ProRes | VideoCodec::DnxHr => 20.0,
    };
    let pixels = f64::from(width) * f64::from(height) * fps.clamp(1.0, 240.0);
    let bits = pixels * 0.1 * codec_factor * 2f64.powf((23.0 - quality) / 6.0);
    (bits as u64).clamp(64_000, 400_000_000)
}

/// A key frame on the first frame at or after each multiple of `seconds`. It looks at the time of the last forced frame,
/// not at how many there were, so an encode that starts in the middle cuts at the same times. The tiny addend swallows
/// the rounding of times to floating point.
fn forced_keyframes(seconds: f64) -> String {
    let s = number(seconds);
    format!("expr:if(isnan(prev_forced_t),1,gte(floor((t+1e-6)/{s}),floor((prev_forced_t+1e-6)/{s})+1))")
}

fn keyframes(args: &mut Args, encode: &Encode<'_>) {
    let frames = |seconds: f64| ((seconds * encode.fps).ceil().clamp(1.0, 6000.0) as u32).to_string();
    match encode.keys {
        KeyFrames::All => {}
        KeyFrames::AtMost(seconds) => {
            args.pair("-g", frames(seconds));
        }
        KeyFrames::Every(seconds) => {
            args.pair("-g", frames(seconds));
            if encode.choice.name == "libx264" {
                args.all(["-sc_threshold", "0"]);
            }
            args.pair("-force_key_frames", forced_keyframes(seconds));
        }
    }
}

/// A trial encode with the same device, pixel format and encoder options as a real one: a short test picture of 320x256
/// to nowhere. For the probe, so that what it proves is what jobs use.
#[must_use]
pub fn trial_args(choice: &EncoderChoice, codec: VideoCodec, bit_depth: u8) -> Vec<String> {
    let rate = match codec {
        VideoCodec::ProRes | VideoCodec::DnxHr => RateControl::Profile,
        _ => RateControl::Bitrate { average: 1_000_000, max: 2_000_000, buffer: 2_000_000 },
    };
    let encode = Encode {
        codec,
        choice,
        rate: &rate,
        speed: Speed::Fastest,
        bit_depth,
        chroma: Chroma::Yuv420,
        profile: None,
        size: (320, 256),
        fps: 25.0,
        keys: if rate == RateControl::Profile { KeyFrames::All } else { KeyFrames::AtMost(1.0) },
    };
    let mut args = Args::default();
    args.all(["-hide_banner", "-nostdin", "-loglevel", "error"]);
    args.all(device_args(choice));
    args.all(["-f", "lavfi", "-i", "testsrc2=size=320x256:rate=25:duration=0.4"]);
    args.pair("-vf", pixel_filters(&encode));
    encoder_args(&mut args, &encode);
    args.all(["-f", "null", "-"]);
    args.into_vec().into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitrate_stands_in_where_there_is_no_quality_mode() {
        let bits = estimated_bitrate(VideoCodec::H264, (1920, 1080), 30.0, 23.0);
        assert!((5_000_000..8_000_000).contains(&bits), "{bits}");
        assert_eq!(estimated_bitrate(VideoCodec::H264, (1920, 1080), 30.0, 29.0), bits / 2);
    }

    #[test]
    fn a_trial_uses_the_device_and_the_format_of_real_encodes() {
        let choice = EncoderChoice {
            name: "hevc_vaapi".to_owned(),
            family: EncoderFamily::Vaapi,
            device: Some("/dev/dri/renderD129".to_owned()),
            nvenc_preset: None,
        };
        let args = trial_args(&choice, VideoCodec::Hevc, 10).join(" ");
        assert!(args.contains("-init_hw_device vaapi=hw:/dev/dri/renderD129"), "{args}");
        assert!(args.contains("format=p010le,hwupload"), "{args}");
        assert!(args.contains("-profile:v:0 main10"), "{args}");
    }
}
