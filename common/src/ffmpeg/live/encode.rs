//! A rendition of a source.

use super::{
    Context,
    encoder::{Latency, Picture, device_args, pixel_filters, video_args},
    invalid, output,
};
use crate::{
    failure::{Failure, FailureKind},
    ffmpeg::{
        EncoderChoice,
        args::{Args, number},
    },
    live::Encode,
    profile::{Audio, Packaging, SAMPLE_RATE, Video, frame_rate},
    worker::Capabilities,
};

/// Ticks in a second.
const CLOCK: i64 = 90_000;
/// How much of the input is looked at before anything is decoded. The tracks are known and the first of the video is a key
/// frame, so this is reached only when a track keeps silent; a key frame of 4K has its place in it.
const PROBE_BYTES: &str = "4000000";
const PROBE_MICROSECONDS: &str = "1000000";
/// Samples of an AAC frame.
const AAC_FRAME: i64 = 1024;
/// Whole frames before the first one that is needed: the encoder's first frames are not like those of one that ran on.
const AAC_LEAD: i64 = 3;
/// How far before the begin a frame may be and still be meant: half of the shortest frame that is common (120 Hz). Ticks.
const SLACK: i64 = 375;
/// How far after the begin a first frame may be and is still shown at the begin: a few frames that could not be decoded.
/// Ticks.
const LATE: i64 = CLOCK / 5;
/// Resampling may lose so many samples at the beginning.
const RESAMPLED: i64 = 4;

pub(super) fn lower(args: &mut Args, context: &Context<'_>, encode: &Encode) -> Result<(), Failure> {
    encode.rendition.validate().map_err(|problem| invalid(format!("the rendition: {problem}")))?;
    let rendition = &encode.rendition;
    let video = rendition.video.as_ref().filter(|_| encode.source.video);
    let audio = rendition.audio.as_ref().filter(|_| encode.source.audio);
    if video.is_none() && audio.is_none() {
        return Err(invalid("the source has no track that the profile could encode; watch another profile"));
    }
    let encoder = context.encoder.map(|choice| forcible(choice, context)).transpose()?;
    let picture = match (video, &encoder) {
        (None, _) => None,
        (Some(video), Some(choice)) => Some(Picture {
            video,
            choice,
            latency: if rendition.packaging.low_latency { Latency::Low } else { Latency::Normal },
            rate: frame_rate(encode.source.frame),
            segment_ms: rendition.packaging.segment_ms,
        }),
        (Some(_), None) => return Err(invalid("no encoder was chosen for the video")),
    };
    if let Some(picture) = &picture {
        args.all(device_args(picture.choice));
    }
    args.all(["-f", "mpegts", "-probesize", PROBE_BYTES, "-analyzeduration", PROBE_MICROSECONDS]);
    // Otherwise some forty frames are waited for to guess the frame rate. Encoders in software are told it; those of a device
    // take it from here, where a source does not say it.
    let hardware = picture.is_some_and(|picture| picture.choice.family.is_hardware());
    args.all(["-fpsprobesize", if hardware { "5" } else { "0" }]);
    args.push("-copyts");
    if rendition.packaging.low_latency {
        // Frame threads hold back a frame each.
        args.all(["-thread_type", "slice"]);
    } else {
        args.all(["-threads", "4"]);
    }
    args.all(["-i", "pipe:0"]);
    let begin = encode.begin.video.or(context.first.video);
    if let Some(picture) = &picture {
        args.all(["-map", "0:v:0"]);
        args.pair("-filter:v:0", video_filter(picture, encode, begin));
        args.all(["-fps_mode", "vfr", "-enc_time_base:v:0", "1:90000"]);
        video_args(args, picture);
        args.pair("-force_key_frames:v:0", key_frames(rendition.packaging, begin));
    }
    if let Some(audio) = audio {
        args.all(["-map", "0:a:0"]);
        args.pair("-filter:a:0", audio_filter(audio, encode.begin.audio, context.first.audio));
        args.pair("-c:a:0", audio.codec.as_str()).pair("-b:a:0", audio.bitrate.to_string());
    }
    output(args, encode.container, true);
    Ok(())
}

/// An encoder that makes key frames where it is told. SVT-AV1 does since ffmpeg 7; before that libaom takes its place.
fn forcible(choice: &EncoderChoice, context: &Context<'_>) -> Result<EncoderChoice, Failure> {
    let Capabilities { ffmpeg_version, encoders, .. } = context.capabilities;
    let major = ffmpeg_version.trim_start_matches('n').split('.').next().and_then(|major| major.parse().ok());
    if choice.name != "libsvtav1" || major.is_none_or(|major: u32| major >= 7) {
        return Ok(choice.clone());
    }
    if !encoders.iter().any(|encoder| encoder.name == "libaom-av1") {
        return Err(Failure::new(
            FailureKind::MissingCapability,
            format!(
                "libsvtav1 of ffmpeg {ffmpeg_version} makes no key frames where a live stream needs them and libaom-av1 is not \
                 there; update ffmpeg to 7 or later"
            ),
        ));
    }
    Ok(EncoderChoice::software("libaom-av1"))
}

/// From the frames of the source to those of the encoder: none before the begin, the first exactly there, all of one size
/// whatever the source's is.
fn video_filter(picture: &Picture<'_>, encode: &Encode, begin: Option<i64>) -> String {
    let mut filters = Vec::new();
    if let Some(begin) = begin {
        // The begin may be a guess (where the next frame should be) and timestamps are rounded. What a source says of its
        // frame rate may be wrong.
        let slack = encode.source.frame.map_or(SLACK, |frame| (frame / 2).clamp(1, SLACK));
        filters.push(format!("select='gte(t,{}/{CLOCK})'", begin - slack));
        // N begins again with filters that are built anew.
        filters.push(format!(
            "setpts='if(eq(N,0)*lt(T,{late}/{CLOCK}),round({begin}/{CLOCK}/TB),PTS)'",
            late = begin + LATE
        ));
    }
    let Video { width, height, .. } = *picture.video;
    // The largest even size of the source's shape within the box; bars around it.
    filters.push(format!(
        "scale=w='max(2,2*trunc(min({width},{height}*dar)/2))':h='max(2,2*trunc(min({height},{width}/dar)/2))':out_range=tv"
    ));
    filters.push(format!("pad={width}:{height}:(ow-iw)/2:(oh-ih)/2"));
    filters.push("setsar=1".to_owned());
    filters.push(pixel_filters(picture));
    filters.join(",")
}

/// A key frame on the first frame, and on the first at or after each multiple of the grid. ffmpeg's `t` counts from the first
/// frame, which is at `begin`. The tiny addend swallows the rounding of times to floating point.
fn key_frames(packaging: Packaging, begin: Option<i64>) -> String {
    let grid = number(f64::from(packaging.segment_ms) / 1000.0);
    let interval =
        |time: &str| format!("floor(({time}+{begin}/{CLOCK}+1e-6)/{grid})", begin = begin.unwrap_or(0));
    format!("expr:if(isnan(prev_forced_t),1,gte({},{}+1))", interval("t"), interval("prev_forced_t"))
}

/// Audio at 48 kHz without holes, from the first sample that is needed on. Two steps: only at the final rate can the first
/// sample be named exactly.
///
/// `async=1` fills gaps and drops overlaps of more than two frames' length; in between, timestamps are counted in samples.
fn audio_filter(audio: &Audio, begin: Option<i64>, first: Option<i64>) -> String {
    let layout = if audio.channels == 1 { "mono" } else { "stereo" };
    let trim =
        begin.map_or_else(String::new, |begin| format!("atrim=start_pts={},", first_sample(begin, first)));
    format!(
        "aresample={rate},aformat=sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout},\
         {trim}aresample={rate}:async=1:min_hard_comp=0.04",
        rate = audio.sample_rate
    )
}

/// Where the encoder's first frame begins: some whole frames before `begin`, and, where the input begins after that, at the
/// first of the frames from there on that is there as a whole.
fn first_sample(begin: i64, first: Option<i64>) -> i64 {
    let wanted = samples(begin) - AAC_LEAD * AAC_FRAME;
    let missing = first.map_or(0, |first| samples(first) + RESAMPLED - wanted).max(0);
    // Rounded up; `missing` is not negative.
    wanted + (missing + AAC_FRAME - 1) / AAC_FRAME * AAC_FRAME
}

/// The sample that is nearest to a time.
fn samples(ticks: i64) -> i64 {
    (ticks * i64::from(SAMPLE_RATE) + CLOCK / 2).div_euclid(CLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_begins_on_a_frame_of_the_other_attempt_that_is_there() {
        let begin = 20 * CLOCK;
        let wanted = 20 * 48_000 - 3 * 1024;
        assert_eq!(first_sample(begin, None), wanted);
        assert_eq!(first_sample(begin, Some(10 * CLOCK)), wanted);
        assert_eq!(first_sample(begin, Some(begin)), 20 * 48_000 + 1024);
        let late = first_sample(begin, Some(begin + CLOCK));
        assert!(late > 21 * 48_000 && late <= 21 * 48_000 + 1028, "{late}");
        assert_eq!((late - wanted) % 1024, 0);
    }

    #[test]
    fn the_sample_of_a_rounded_time_is_found_again() {
        for sample in 480_000..485_000 {
            let ticks = (sample * CLOCK + i64::from(SAMPLE_RATE) / 2) / i64::from(SAMPLE_RATE);
            assert_eq!(samples(ticks), sample);
        }
    }
}
