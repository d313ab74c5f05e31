//! Options of each encoder family for a live stream: a bitrate that holds, key frames only where they are asked for, closed
//! GOPs, parameter sets that do not depend on when the encode began, and little held back.

use crate::{
    ffmpeg::{
        EncoderChoice,
        args::{Args, number},
        encoder,
    },
    media::{EncoderFamily, VideoCodec},
    profile::Video,
    spec::{Chroma, RateControl, Speed},
};

/// Frames per second where the source does not say: for what is counted in frames.
const USUAL_RATE: (u32, u32) = (30, 1);
/// Key frames are forced. The encoder's own distance must not come before them, not even at four times the frame rate that
/// was guessed.
const KEY_FRAME_MARGIN: f64 = 4.0;
/// Each thread of a frame-parallel encoder holds back a frame.
const MOST_THREADS: &str = "8";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Latency {
    /// The encoder may look some frames ahead.
    Normal,
    /// Every frame comes out before the next goes in.
    Low,
}

/// A video track to encode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture<'a> {
    pub(super) video: &'a Video,
    pub(super) choice: &'a EncoderChoice,
    pub(super) latency: Latency,
    /// Frames per second of the source, if known.
    pub(super) rate: Option<(u32, u32)>,
    pub(super) segment_ms: u32,
}

impl Picture<'_> {
    fn fps(&self) -> f64 {
        let (num, den) = self.rate.unwrap_or(USUAL_RATE);
        f64::from(num) / f64::from(den)
    }

    fn is_low(&self) -> bool {
        self.latency == Latency::Low
    }

    /// One of two values.
    fn pick<T>(&self, normal: T, low: T) -> T {
        match self.latency {
            Latency::Normal => normal,
            Latency::Low => low,
        }
    }

    /// As the batch side sees it, for what is the same there.
    fn with<T>(&self, ask: impl FnOnce(&encoder::Encode<'_>) -> T) -> T {
        let Video { codec, width, height, bitrate } = *self.video;
        ask(&encoder::Encode {
            codec,
            choice: self.choice,
            rate: &RateControl::Bitrate { average: bitrate, max: bitrate, buffer: bitrate },
            speed: Speed::Fastest,
            bit_depth: 8,
            chroma: Chroma::Yuv420,
            profile: None,
            size: (width, height),
            fps: self.fps(),
            keys: encoder::KeyFrames::Every(f64::from(self.segment_ms) / 1000.0),
        })
    }
}

pub(super) use crate::ffmpeg::encoder::device_args;

/// The last filters before the encoder.
pub(super) fn pixel_filters(picture: &Picture<'_>) -> String {
    picture.with(encoder::pixel_filters)
}

/// The encoder and its options.
pub(super) fn video_args(args: &mut Args, picture: &Picture<'_>) {
    args.pair("-c:v:0", picture.choice.name.as_str());
    match picture.choice.family {
        EncoderFamily::Software => software(args, picture),
        EncoderFamily::Nvenc => nvenc(args, picture),
        EncoderFamily::Qsv => qsv(args, picture),
        EncoderFamily::Vaapi => vaapi(args, picture),
        EncoderFamily::Amf => amf(args, picture),
        EncoderFamily::VideoToolbox => {
            args.all(["-allow_sw", "0", "-realtime", "1"]);
            level(args, picture);
        }
        EncoderFamily::V4l2m2m | EncoderFamily::Jetson => {}
    }
    let bitrate = picture.video.bitrate.to_string();
    args.pair("-b:v", bitrate.as_str());
    // SVT-AV1 takes a peak in its CRF mode only.
    if picture.choice.name != "libsvtav1" {
        args.pair("-maxrate", bitrate.as_str()).pair("-bufsize", bitrate.as_str());
    }
    let seconds = f64::from(picture.segment_ms) / 1000.0;
    let distance = (seconds * picture.fps() * KEY_FRAME_MARGIN).ceil().clamp(1.0, 6000.0);
    args.pair("-g", number(distance));
}

/// Profile and level, so that the parameter sets and what a playlist declares do not depend on guesses.
fn level(args: &mut Args, picture: &Picture<'_>) {
    let level = picture.video.level(picture.fps());
    match picture.video.codec {
        VideoCodec::H264 => {
            args.pair("-profile:v:0", "high").pair("-level:v:0", level.to_string());
        }
        VideoCodec::Hevc => {
            args.pair("-profile:v:0", "main");
            // NVENC names the level, the others write it times thirty.
            let level = match picture.choice.family {
                EncoderFamily::Nvenc => number(f64::from(level) / 30.0),
                _ => level.to_string(),
            };
            args.pair("-level:v:0", level);
        }
        VideoCodec::Av1 | VideoCodec::Vp9 | VideoCodec::ProRes | VideoCodec::DnxHr => {}
    }
}

fn software(args: &mut Args, picture: &Picture<'_>) {
    let (num, den) = picture.rate.unwrap_or(USUAL_RATE);
    match picture.choice.name.as_str() {
        "libx264" => {
            args.pair("-preset", "veryfast");
            if picture.is_low() {
                args.all(["-tune", "zerolatency", "-threads:v:0", "4"]);
            } else {
                args.all(["-bf", "2", "-rc-lookahead", "10", "-threads:v:0", MOST_THREADS]);
            }
            level(args, picture);
            args.all(["-sc_threshold", "0", "-forced-idr", "1"]);
            // Timestamps are in ticks, which x264 would take for the frame rate and write into the stream.
            let cfr = u8::from(picture.rate.is_some());
            args.pair("-x264-params", format!("open-gop=0:force-cfr={cfr}:fps={num}/{den}"));
        }
        "libx265" => {
            args.pair("-preset", picture.pick("superfast", "ultrafast"));
            if picture.is_low() {
                args.all(["-tune", "zerolatency"]);
            }
            args.all(["-profile:v:0", "main", "-forced-idr", "1"]);
            let level = number(f64::from(picture.video.level(picture.fps())) / 30.0);
            let ahead = picture.pick(":bframes=2:rc-lookahead=10:frame-threads=2", "");
            // As with x264, but the rate must not be there at all: it comes from the clock.
            args.pair(
                "-x265-params",
                format!(
                    "log-level=warning:open-gop=0:scenecut=0:min-keyint=1:repeat-headers=1:info=0:vui-timing-info=0:\
                     level-idc={level}:high-tier=0:fps={num}/{den}{ahead}"
                ),
            );
        }
        "libsvtav1" => {
            args.pair("-preset", picture.pick("10", "11"));
            args.pair(
                "-svtav1-params",
                format!("scd=0:rc=2:pred-struct=1:lookahead=0:fps-num={num}:fps-denom={den}"),
            );
        }
        "libaom-av1" => {
            let columns = if picture.video.width >= 1024 { "1" } else { "0" };
            args.all(["-usage", "realtime", "-cpu-used", "8", "-row-mt", "1", "-tile-columns", columns]);
            args.all(["-lag-in-frames", "0", "-threads:v:0", MOST_THREADS]);
        }
        _ => {}
    }
}

fn nvenc(args: &mut Args, picture: &Picture<'_>) {
    if let Some(device) = picture.choice.device.as_deref() {
        args.pair("-gpu", device);
    }
    let preset = picture.choice.nvenc_preset.map(|level| format!("p{}", level.clamp(1, 7)));
    args.pair("-preset", preset.unwrap_or_else(|| "p4".to_owned()));
    if picture.is_low() {
        args.all(["-tune", "ull", "-rc", "cbr", "-bf", "0", "-rc-lookahead", "0", "-delay", "0"]);
        args.all(["-zerolatency", "1"]);
    } else {
        args.all(["-tune", "hq", "-rc", "vbr", "-bf", "2", "-rc-lookahead", "8", "-no-scenecut", "1"]);
        args.all(["-spatial-aq", "1"]);
    }
    args.all(["-strict_gop", "1", "-forced-idr", "1"]);
    level(args, picture);
}

fn qsv(args: &mut Args, picture: &Picture<'_>) {
    args.pair("-preset", "veryfast");
    args.all(["-forced_idr", "1", "-adaptive_i", "0"]);
    if picture.video.codec != VideoCodec::Av1 {
        args.all(["-bf", picture.pick("2", "0")]);
    }
    if picture.is_low() {
        args.all(["-async_depth", "1", "-low_delay_brc", "1"]);
    } else {
        args.all(["-async_depth", "4"]);
    }
    level(args, picture);
}

fn vaapi(args: &mut Args, picture: &Picture<'_>) {
    // B-frames are not there on every driver, and nothing tells.
    args.all(["-rc_mode", "VBR", "-bf", "0", "-async_depth", picture.pick("2", "1")]);
    level(args, picture);
}

fn amf(args: &mut Args, picture: &Picture<'_>) {
    args.pair("-usage", picture.pick("lowlatency", "ultralowlatency"));
    args.all(["-quality", "speed", "-rc", "vbr_peak", "-forced_idr", "1"]);
    match picture.video.codec {
        VideoCodec::H264 => {
            args.all(["-bf", "0", "-header_spacing", "1"]);
        }
        VideoCodec::Hevc => {
            args.all(["-header_insertion_mode", "idr"]);
        }
        VideoCodec::Av1 | VideoCodec::Vp9 | VideoCodec::ProRes | VideoCodec::DnxHr => {}
    }
    level(args, picture);
}
