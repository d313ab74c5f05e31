//! An HLS presentation: every rendition from one decode, sound apart, key frames on the same times everywhere.
//!
//! Each rendition is an output of its own with its own playlist, in a folder of its own. (The muxer's `var_stream_map`
//! with a single entry is what makes it create the folder.) Sound is encoded once, as a group that all renditions share:
//! Apple's authoring specification asks for it with fMP4, and a viewer who changes quality keeps his sound.
//!
//! Timestamps start at 0 in every playlist without edit lists: `avoid_negative_ts disabled` keeps the muxer from moving
//! the renditions by their B-frame delay, which sound does not have, and `negative_cts_offsets` writes that delay where
//! CMAF wants it.

use std::path::Path;

use super::{
    AudioGroup, Context, Expected, ExpectedVideo, Finish, Frames, HlsMaster, HlsVariant, Lowered,
    VideoTiming,
    args::{Args, number},
    audio, encoder,
    encoder::{Encode, KeyFrames},
    file, picture,
};
use crate::{
    failure::Failure,
    media::{StreamKind, VideoInfo},
    spec::{Chroma, HlsSpec, Rendition, Size, SizeMode},
};

/// Above, TV sets drop frames; Apple's specification ends here too.
const MAX_FPS: f64 = 60.0;

struct Rung<'a> {
    spec: &'a Rendition,
    fit: picture::Fit,
}

/// The 16:9 box of a rung, turned with the picture: 720p is 1280x720, or 720x1280 for a portrait one.
fn rung_box(height: u32, portrait: bool) -> Size {
    let long = (u64::from(height) * 16).div_ceil(9).next_multiple_of(2);
    let long = u32::try_from(long).unwrap_or(u32::MAX);
    let (width, height) = if portrait { (height, long) } else { (long, height) };
    Size { width, height, mode: SizeMode::Within }
}

/// The renditions that the source is large enough for: largest first, at least one, no size twice.
fn rungs<'a>(spec: &'a HlsSpec, info: &VideoInfo, smallest: (u32, u32)) -> Vec<Rung<'a>> {
    let source = picture::upright(info);
    let portrait = source.1 > source.0;
    // By how much the picture is larger than a rung's box; below 1 the box is larger.
    let excess = |rendition: &Rendition| {
        let size = rung_box(rendition.height, portrait);
        (f64::from(source.0) / f64::from(size.width)).max(f64::from(source.1) / f64::from(size.height))
    };
    let rung = |rendition: &'a Rendition| {
        let size = rung_box(rendition.height, portrait);
        Rung { spec: rendition, fit: picture::fit(source, Some(size), smallest) }
    };
    let mut sorted: Vec<&Rendition> = spec.renditions.iter().collect();
    sorted.sort_by_key(|rendition| std::cmp::Reverse(rendition.height));
    // Within 5 %: 1072 lines are a 1080p source that somebody cropped.
    let (fitting, larger): (Vec<_>, Vec<_>) =
        sorted.into_iter().partition(|rendition| excess(rendition) >= 0.95);
    let mut rungs: Vec<Rung<'_>> = Vec::new();
    // Well between two rungs, or below all: the next larger one at the source's size, so that no detail is thrown away.
    if fitting.first().is_none_or(|top| excess(top) > 1.2) {
        rungs.extend(larger.last().copied().map(rung));
    }
    rungs.extend(fitting.into_iter().map(rung));
    rungs.dedup_by_key(|rung| (rung.fit.width, rung.fit.height));
    rungs
}

pub(super) fn lower(context: &Context<'_>, spec: &HlsSpec) -> Result<Lowered, Failure> {
    let mut warnings = Vec::new();
    let (stream, info) = picture::main_video(context.input, "an HLS presentation")?;
    let choice = file::chosen(context, spec.codec)?;
    let rungs = rungs(spec, info, encoder::smallest(spec.codec, choice));
    let audio = audio::tracks(context, &spec.audio, &mut warnings)?;
    warn_about_subtitles(context, &mut warnings);
    let (num, den) = picture::constant_rate(info, MAX_FPS);
    let fps = f64::from(num) / f64::from(den);

    let mut args = Args::with_input(context, &encoder::device_args(choice));
    let encodes: Vec<Encode<'_>> = rungs
        .iter()
        .map(|rung| Encode {
            codec: spec.codec,
            choice,
            rate: &rung.spec.rate,
            speed: spec.speed,
            bit_depth: 8,
            chroma: Chroma::Yuv420,
            profile: None,
            size: (rung.fit.width, rung.fit.height),
            fps,
            keys: KeyFrames::Every(spec.segment_seconds),
        })
        .collect();
    args.pair("-filter_complex", graph(context, stream.index, info, (num, den), &rungs, &encodes));

    for (index, (rung, encode)) in rungs.iter().zip(&encodes).enumerate() {
        args.pair("-map", format!("[v{index}]"));
        args.all(["-fps_mode", "cfr", "-r", &format!("{num}/{den}")]);
        encoder::encoder_args(&mut args, encode);
        args.all(picture::color_args(info, 8));
        if spec.codec == crate::media::VideoCodec::Hevc {
            args.all(["-tag:v", "hvc1"]);
        }
        muxer(&mut args, spec, &format!("v:0,name:{}", rung.spec.name), &context.output_dir);
    }
    let mut groups = Vec::new();
    for (index, track) in audio.iter().enumerate() {
        let folder = audio_folder(index);
        args.pair("-map", format!("0:{}", track.stream.index));
        audio::track_args(&mut args, track, 0);
        muxer(&mut args, spec, &format!("a:0,name:{folder}"), &context.output_dir);
        groups.push(AudioGroup {
            playlist: format!("{folder}/index.m3u8"),
            name: track
                .stream
                .title
                .clone()
                .or_else(|| track.stream.language.clone())
                .unwrap_or_else(|| format!("Track {}", index + 1)),
            language: track.stream.language.clone(),
            default: index == 0,
            channels: track.channels,
        });
    }

    let duration = file::duration(context.input, Some(stream), audio.iter().map(|track| track.stream));
    // A slower source's last frame may be anywhere within its own frame.
    let frame = info.fps().filter(|source| *source > 0.0).map_or(1.0 / fps, |source| 1.0 / source.min(fps));
    let mut expected: Vec<Expected> = rungs
        .iter()
        .zip(&encodes)
        .map(|(rung, encode)| Expected {
            path: format!("{}/index.m3u8", rung.spec.name),
            video: Some(ExpectedVideo {
                codec: spec.codec.as_str().to_owned(),
                width: rung.fit.width,
                height: rung.fit.height,
                pixel_format: Some(encoder::pixel_format(encode).to_owned()),
                timing: Some(VideoTiming { source: stream.index, frames: Frames::Constant, frame }),
            }),
            audio: Vec::new(),
            subtitles: 0,
        })
        .collect();
    expected.extend(groups.iter().zip(&audio).map(|(group, track)| Expected {
        path: group.playlist.clone(),
        video: None,
        audio: vec![audio::expected(track)],
        subtitles: 0,
    }));
    let variants = rungs
        .iter()
        .map(|rung| HlsVariant {
            playlist: format!("{}/index.m3u8", rung.spec.name),
            width: rung.fit.width,
            height: rung.fit.height,
            frame_rate: fps,
        })
        .collect();
    Ok(Lowered {
        argv: args.into_vec(),
        duration,
        expected,
        produced: Vec::new(),
        finish: Finish::HlsMaster(HlsMaster { variants, audio: groups }),
        warnings,
    })
}

/// `audio`, `audio-2`, ... ; never the name of a rendition, which `Spec::validate` sees to.
fn audio_folder(index: usize) -> String {
    if index == 0 { "audio".to_owned() } else { format!("audio-{}", index + 1) }
}

fn warn_about_subtitles(context: &Context<'_>, warnings: &mut Vec<String>) {
    let count =
        context.input.streams.iter().filter(|s| matches!(s.kind, StreamKind::Subtitle { .. })).count();
    if count > 0 {
        warnings.push(format!("{count} subtitle streams were left out: this HLS output carries none"));
    }
}

/// One decode; deinterlaced, brought to a constant rate and tone-mapped once, at the size of the largest rendition.
fn graph(
    context: &Context<'_>,
    stream: u32,
    info: &VideoInfo,
    (num, den): (u32, u32),
    rungs: &[Rung<'_>],
    encodes: &[Encode<'_>],
) -> String {
    let mut head: Vec<String> = Vec::new();
    head.extend(picture::deinterlace(info, &context.capabilities.filters));
    // From time 0, where the sound starts too: a late first picture is shown from the start.
    head.push(format!("fps={num}/{den}:start_time=0"));
    let top = rungs.first().map(|rung| rung.fit).unwrap_or_else(|| picture::fit((2, 2), None, (2, 2)));
    head.push(picture::shape(info, &top, 8));
    head.push("format=yuv420p".to_owned());
    let labels: String = (0..rungs.len()).map(|index| format!("[s{index}]")).collect();
    let mut graph = format!("[0:{stream}]{},split={}{labels}", head.join(","), rungs.len());
    for (index, (rung, encode)) in rungs.iter().zip(encodes).enumerate() {
        let scale = if index == 0 {
            String::new()
        } else {
            format!("scale={}:{}:flags=bicubic,setsar=1,", rung.fit.width, rung.fit.height)
        };
        graph.push_str(&format!(";[s{index}]{scale}{}[v{index}]", encoder::pixel_filters(encode)));
    }
    graph
}

/// The HLS muxer's options and the output. `map` is the one entry of its stream map and names the folder (`%v`).
fn muxer(args: &mut Args, spec: &HlsSpec, map: &str, output_dir: &Path) {
    args.all(["-avoid_negative_ts", "disabled", "-map_metadata", "-1", "-f", "hls"]);
    args.pair("-hls_time", number(spec.segment_seconds));
    args.all(["-hls_list_size", "0", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"]);
    args.all([
        "-hls_flags",
        "independent_segments",
        "-hls_segment_options",
        "movflags=+negative_cts_offsets",
    ]);
    args.all(["-hls_fmp4_init_filename", "init.mp4", "-var_stream_map", map]);
    args.pair("-hls_segment_filename", output_dir.join("%v").join("segment_%05d.m4s"));
    args.output(output_dir.join("%v").join("index.m3u8"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Presets;
    use crate::spec::Spec;

    fn sizes(width: u32, height: u32) -> Vec<(u32, u32)> {
        let presets = Presets::builtin();
        let Spec::Hls(spec) = &presets.get("hls-ladder").unwrap().spec else {
            panic!("hls-ladder is no HLS")
        };
        let info = VideoInfo { width, height, sample_aspect_ratio: (1, 1), ..VideoInfo::default() };
        rungs(spec, &info, (2, 2)).iter().map(|rung| (rung.fit.width, rung.fit.height)).collect()
    }

    #[test]
    fn a_ladder_has_the_rungs_that_the_source_fills() {
        assert_eq!(sizes(3840, 2160), [(1920, 1080), (1280, 720), (854, 480), (640, 360)]);
        assert_eq!(sizes(1280, 720), [(1280, 720), (854, 480), (640, 360)]);
        assert_eq!(sizes(1920, 804), [(1920, 804), (1280, 536), (854, 358), (640, 268)]);
        assert_eq!(sizes(1080, 1920), [(1080, 1920), (720, 1280), (480, 854), (360, 640)]);
    }

    #[test]
    fn nothing_is_upscaled_and_one_rung_remains() {
        assert_eq!(sizes(320, 240), [(320, 240)]);
        assert_eq!(sizes(65, 47), [(64, 46)]);
        // Between 480p and 720p: the 720p rung at the source's size.
        assert_eq!(sizes(1120, 630), [(1120, 630), (854, 480), (640, 360)]);
    }
}
