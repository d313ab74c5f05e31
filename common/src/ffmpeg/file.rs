//! One media file.

use super::{
    Context, Expected, ExpectedVideo, Finish, Frames, Lowered, VideoTiming,
    args::Args,
    audio,
    encoder::{self, Encode, KeyFrames},
    name::safe_stem,
    picture, subtitles,
};
use crate::{
    failure::{Failure, FailureKind},
    media::{EncoderFamily, MediaInfo, StreamInfo, StreamKind, VideoCodec, VideoInfo},
    spec::{Container, FileSpec, RateControl, VideoSpec},
};

/// Seconds between key frames at most, unless the spec says otherwise: what seeking in a file wants.
const KEYFRAME_INTERVAL: f64 = 5.0;

/// The video that goes out.
struct Video<'a> {
    stream: &'a StreamInfo,
    info: &'a VideoInfo,
    spec: &'a VideoSpec,
    fit: picture::Fit,
    filter: String,
    encode: Encode<'a>,
}

pub(super) fn lower(context: &Context<'_>, spec: &FileSpec) -> Result<Lowered, Failure> {
    let mut warnings = Vec::new();
    let video = spec.video.as_ref().map(|video| plan_video(context, video, &mut warnings)).transpose()?;
    let audio = match &spec.audio {
        Some(audio) => audio::tracks(context, audio, &mut warnings)?,
        None => Vec::new(),
    };
    if video.is_none() && audio.is_empty() {
        return Err(Failure::new(
            FailureKind::InvalidSpec,
            "the input has no audio and nothing else is asked for; choose a preset with video, or another input",
        ));
    }
    let subtitles = if spec.subtitles && video.is_some() {
        subtitles::tracks(context, spec.container, &mut warnings)
    } else {
        Vec::new()
    };
    let cover = if spec.cover_art { cover_art(context.input, spec.container) } else { None };

    let device = video.as_ref().map(|video| encoder::device_args(video.encode.choice)).unwrap_or_default();
    let mut args = Args::with_input(context, &device);
    if let Some(video) = &video {
        args.pair("-map", format!("0:{}", video.stream.index));
    }
    for track in &audio {
        args.pair("-map", format!("0:{}", track.stream.index));
    }
    subtitles::map(&mut args, &subtitles);
    if let Some(cover) = cover {
        args.pair("-map", format!("0:{}", cover.index));
    }
    if let Some(video) = &video {
        video_args(&mut args, video, spec.container);
    }
    for (index, track) in audio.iter().enumerate() {
        audio::track_args(&mut args, track, index);
    }
    if !audio.is_empty() {
        args.pair("-disposition:a:0", "default");
    }
    subtitles::track_args(&mut args, &subtitles);
    if cover.is_some() {
        let index = usize::from(video.is_some());
        args.pair(&format!("-c:v:{index}"), "copy").pair(&format!("-disposition:v:{index}"), "attached_pic");
    }
    if chapters_run_past_the_end(context.input) {
        args.pair("-map_chapters", "-1");
        warnings.push("the chapters were left out: they go on after the media has ended".to_owned());
    }
    container_args(&mut args, spec.container);
    let path = format!("{}.{}", safe_stem(context.stem), spec.container.extension());
    args.output(context.output_dir.join(&path));

    let duration =
        duration(context.input, video.as_ref().map(|video| video.stream), audio.iter().map(|t| t.stream));
    Ok(Lowered {
        argv: args.into_vec(),
        duration,
        expected: vec![Expected {
            path,
            video: video.as_ref().map(|video| ExpectedVideo {
                codec: video.spec.codec.as_str().to_owned(),
                width: video.fit.width,
                height: video.fit.height,
                pixel_format: Some(encoder::pixel_format(&video.encode).to_owned()),
                timing: Some(timing(video)),
            }),
            audio: audio.iter().map(audio::expected).collect(),
            subtitles: subtitles.len(),
        }],
        produced: Vec::new(),
        finish: Finish::Nothing,
        warnings,
    })
}

/// Chapters of another, longer edit. Written to MP4 they are a track, and stretch the file to their own end.
fn chapters_run_past_the_end(input: &MediaInfo) -> bool {
    const ROUNDING: f64 = 1.0;
    matches!((input.chapters_end, input.duration), (Some(end), Some(duration)) if end > duration + ROUNDING)
}

/// The encoder that placement chose, checked against the spec.
pub(super) fn chosen<'a>(
    context: &Context<'a>,
    codec: VideoCodec,
) -> Result<&'a super::EncoderChoice, Failure> {
    context.encoder.ok_or_else(|| {
        Failure::new(
            FailureKind::MissingCapability,
            format!("no encoder was chosen for {codec}; the task goes back to be placed again"),
        )
    })
}

fn plan_video<'a>(
    context: &Context<'a>,
    spec: &'a VideoSpec,
    warnings: &mut Vec<String>,
) -> Result<Video<'a>, Failure> {
    let (stream, info) = picture::main_video(context.input, "this output")?;
    let choice = chosen(context, spec.codec)?;
    let smallest = encoder::smallest(spec.codec, choice);
    let fit = picture::fit(picture::upright(info), spec.size, smallest);
    if fit.enlarged {
        warnings.push(format!(
            "the picture was enlarged to {}x{}: {} takes nothing smaller than {}x{}",
            fit.width, fit.height, choice.name, smallest.0, smallest.1
        ));
    }
    if context.input.video().count() > 1 {
        warnings.push(format!("only video stream {} was taken; the others were left out", stream.index));
    }
    let fps = effective_fps(info, spec.max_fps);
    let encode = Encode {
        codec: spec.codec,
        choice,
        rate: &spec.rate,
        speed: spec.speed,
        bit_depth: spec.effective_bit_depth(),
        chroma: spec.effective_chroma(),
        profile: spec.profile.as_deref(),
        size: (fit.width, fit.height),
        fps,
        keys: match spec.codec {
            VideoCodec::ProRes | VideoCodec::DnxHr => KeyFrames::All,
            _ => KeyFrames::AtMost(spec.keyframe_interval.unwrap_or(KEYFRAME_INTERVAL)),
        },
    };
    let depth = encode.bit_depth;
    let mut filters: Vec<String> = Vec::new();
    filters.extend(picture::deinterlace(info, &context.capabilities.filters));
    filters.extend(picture::limit_rate(info, spec.max_fps));
    filters.push(picture::shape(info, &fit, depth));
    filters.push(encoder::pixel_filters(&encode));
    Ok(Video { stream, info, spec, fit, filter: filters.join(","), encode })
}

/// Frames per second for decisions about key frames and bitrates.
pub(super) fn effective_fps(info: &VideoInfo, max: Option<f64>) -> f64 {
    let fps = info.fps().filter(|fps| (1.0..=480.0).contains(fps)).unwrap_or(30.0);
    max.map_or(fps, |max| fps.min(max))
}

fn timing(video: &Video<'_>) -> VideoTiming {
    let reduced = picture::limit_rate(video.info, video.spec.max_fps).is_some();
    VideoTiming {
        source: video.stream.index,
        frames: if reduced { Frames::Times } else { Frames::Each },
        frame: 1.0 / video.encode.fps,
    }
}

fn video_args(args: &mut Args, video: &Video<'_>, container: Container) {
    args.pair("-filter:v:0", video.filter.as_str());
    args.pair("-fps_mode:v:0", "vfr");
    if picture::is_variable(video.info) && picture::limit_rate(video.info, video.spec.max_fps).is_none() {
        // Variable rates stay variable: ffmpeg 5.1 would round every timestamp to the nominal rate.
        args.pair("-enc_time_base:v:0", "1:90000");
    }
    encoder::encoder_args(args, &video.encode);
    args.all(picture::color_args(video.info, video.encode.bit_depth));
    if video.spec.codec == VideoCodec::Hevc && matches!(container, Container::Mp4 | Container::Mov) {
        // Apple's players open HEVC under this tag only.
        args.pair("-tag:v:0", "hvc1");
    }
    if matches!(video.spec.rate, RateControl::Profile)
        && video.encode.choice.family == EncoderFamily::Software
    {
        // All-intra encoders gain from slices, not from more frames in flight.
        args.pair("-threads:v:0", "0");
    }
}

fn container_args(args: &mut Args, container: Container) {
    // Sparse subtitles must not stop the muxer while it waits for their first packet.
    args.pair("-max_muxing_queue_size", "4096");
    match container {
        Container::Mp4 | Container::Mov | Container::M4a => {
            args.pair("-movflags", "+faststart");
        }
        Container::Wav => {
            args.pair("-rf64", "auto");
        }
        Container::Mkv | Container::Webm | Container::Mp3 | Container::Ogg | Container::Flac => {}
    }
    args.pair("-f", container.muxer());
}

/// A cover that the container takes as it is.
fn cover_art(input: &MediaInfo, container: Container) -> Option<&StreamInfo> {
    let takes = matches!(container, Container::Mp4 | Container::M4a | Container::Mp3 | Container::Flac);
    input.streams.iter().find(|stream| {
        takes
            && matches!(stream.kind, StreamKind::AttachedPicture)
            && matches!(stream.codec.as_str(), "mjpeg" | "png")
    })
}

/// Media seconds that come out: the longest of the streams that are taken, or what the container says.
pub(super) fn duration<'a>(
    input: &MediaInfo,
    video: Option<&'a StreamInfo>,
    audio: impl Iterator<Item = &'a StreamInfo>,
) -> Option<f64> {
    let mut longest: Option<f64> = None;
    for stream in video.into_iter().chain(audio) {
        // One stream without a duration: only the container can know.
        let Some(duration) = stream.duration.filter(|d| d.is_finite() && *d > 0.0) else {
            return input.duration.filter(|d| d.is_finite() && *d > 0.0);
        };
        longest = Some(longest.unwrap_or(0.0).max(duration));
    }
    longest
}
