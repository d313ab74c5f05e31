//! Every built-in preset with every odd input through the real ffmpeg: it exits with 0 and what comes out passes the
//! checks that a worker makes. `TVARR_TEST_FFMPEG_NEXT` names a second, newer ffmpeg that the same must hold for.

// Helpers outside #[test] functions are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod inputs;
mod run;
#[path = "../support/mod.rs"]
mod support;

use common::{
    failure::FailureKind,
    media::{StreamKind, VideoCodec},
    preset::Presets,
    spec::{Spec, Speed},
};
use inputs::Input;
use run::{Ffmpeg, Outcome, transcode};

/// Runs a preset over every input, with every software encoder of its codec.
fn preset(name: &str) {
    all(name, &Input::ALL);
}

fn all(name: &str, inputs: &[Input]) {
    let presets = Presets::builtin();
    let mut spec = presets.get(name).unwrap().spec.clone();
    hurry(&mut spec);
    let spec = &spec;
    let mut failures = Vec::new();
    for ffmpeg in Ffmpeg::all() {
        for &input in inputs {
            for encoder in run::encoders(spec) {
                let what = format!("{name} x {input:?} x {encoder:?} x {ffmpeg}");
                match (transcode(&ffmpeg, spec, input, encoder), may_refuse(spec, input)) {
                    (Ok(_), false) => {}
                    (Ok(_), true) => failures.push(format!("{what}: was not refused")),
                    (Err(failure), true) if failure.kind == FailureKind::InvalidSpec => {}
                    (Err(failure), _) => failures.push(format!("{what}: {failure}")),
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

/// The encoder's fastest preset; everything else stays as it is.
fn hurry(spec: &mut Spec) {
    match spec {
        Spec::File(file) => file.video.iter_mut().for_each(|video| video.speed = Speed::Fastest),
        Spec::Hls(hls) => hls.speed = Speed::Fastest,
        Spec::Thumbnails(_) | Spec::Command(_) | Spec::Probe => {}
    }
}

/// Inputs that cannot give what is asked for.
fn may_refuse(spec: &Spec, input: Input) -> bool {
    match spec {
        Spec::File(file) if file.video.is_none() => !input.has_audio(),
        Spec::File(_) | Spec::Hls(_) | Spec::Thumbnails(_) | Spec::Command(_) | Spec::Probe => {
            !input.has_video()
        }
    }
}

macro_rules! presets {
    ($($test:ident = $name:literal),+ $(,)?) => {
        $(#[test] fn $test() { preset($name); })+

        #[test]
        fn no_preset_is_left_out() {
            let named = [$($name),+];
            let all: Vec<_> = Presets::builtin().names().map(str::to_owned).collect();
            assert_eq!(named.to_vec(), all);
        }
    };
}

presets!(
    archive_dnxhr = "archive-dnxhr",
    archive_prores = "archive-prores",
    audio_only = "audio-only",
    av1 = "av1",
    compress_video = "compress-video",
    convert_to_hls = "convert-to-hls",
    h264 = "h264",
    hevc = "hevc",
    hls_ladder = "hls-ladder",
    proxy = "proxy",
    social_landscape = "social-landscape",
    social_square = "social-square",
    social_vertical = "social-vertical",
    thumbnails = "thumbnails",
    vp9 = "vp9",
);

/// A result is as long as its input, whatever the input does with time.
macro_rules! times {
    ($($test:ident = $name:literal),+ $(,)?) => {
        $(#[test] fn $test() { all($name, &Input::TIMES); })+
    };
}

times!(
    odd_times_in_a_file = "h264",
    odd_times_in_hls = "hls-ladder",
    odd_times_in_webm = "vp9",
    odd_times_in_sound = "audio-only",
);

fn outcome(name: &str, input: Input) -> Outcome {
    let presets = Presets::builtin();
    let spec = &presets.get(name).unwrap().spec;
    transcode(&Ffmpeg::debian(), spec, input, run::encoders(spec)[0]).unwrap()
}

#[test]
fn hdr_becomes_sdr_in_8_bits_and_stays_hdr_in_10() {
    let transfer = |name| {
        let outcome = outcome(name, Input::Hdr10);
        outcome.probes[0].video().next().unwrap().1.color_transfer.clone()
    };
    assert_eq!(transfer("h264").as_deref(), Some("bt709"));
    assert_eq!(transfer("av1").as_deref(), Some("smpte2084"));
}

#[test]
fn a_rotated_picture_is_turned_once() {
    let source = run::probe(&Input::Rotated.path());
    let (_, video) = source.video().next().unwrap();
    assert_eq!(video.rotation % 180, 90, "the input must be a rotated one");
    for name in ["h264", "hls-ladder"] {
        let outcome = outcome(name, Input::Rotated);
        let (_, made) = outcome.probes[0].video().next().unwrap();
        assert_eq!((made.rotation, made.width, made.height), (0, video.height, video.width), "{name}");
    }
}

#[test]
fn variable_frame_rate_keeps_its_timestamps() {
    let outcome = outcome("h264", Input::Variable);
    let times = |path: &std::path::Path| {
        let mut times = run::video_times(path);
        let first = times.iter().copied().fold(f64::MAX, f64::min);
        times.iter_mut().for_each(|time| *time -= first);
        times.sort_by(f64::total_cmp);
        times
    };
    let (before, after) = (times(&Input::Variable.path()), times(&outcome.file(0)));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert!((before - after).abs() < 0.001, "{before} became {after}");
    }
}

#[test]
fn tracks_keep_their_languages_and_cover_art_stays_art() {
    let outcome = outcome("h264", Input::Everything);
    let info = &outcome.probes[0];
    let languages: Vec<_> = info.audio().map(|(stream, _)| stream.language.as_deref()).collect();
    assert_eq!(languages, [Some("deu"), Some("eng")]);
    assert_eq!(info.streams.iter().filter(|s| matches!(s.kind, StreamKind::AttachedPicture)).count(), 1);
    assert_eq!(info.streams.iter().filter(|s| matches!(s.kind, StreamKind::Subtitle { .. })).count(), 1);
}

#[test]
fn interlaced_sources_come_out_progressive() {
    let source = run::probe(&Input::Interlaced.path());
    assert_eq!(source.video().next().unwrap().1.field_order.as_deref(), Some("tt"));
    let outcome = outcome("h264", Input::Interlaced);
    let order = outcome.probes[0].video().next().unwrap().1.field_order.clone();
    assert!(matches!(order.as_deref(), None | Some("progressive")), "{order:?}");
}

#[test]
fn renditions_cut_at_the_same_times_and_the_master_tells_the_truth() {
    for ffmpeg in Ffmpeg::all() {
        let presets = Presets::builtin();
        let Spec::Hls(mut spec) = presets.get("hls-ladder").unwrap().spec.clone() else { panic!() };
        spec.segment_seconds = 1.0;
        let heights = [160, 120, 90, 60];
        for (rendition, height) in spec.renditions.iter_mut().zip(heights) {
            rendition.height = height;
        }
        let outcome = transcode(&ffmpeg, &Spec::Hls(spec), Input::Long, "libx264").unwrap();
        let lists: Vec<_> =
            (0..5).map(|index| common::ffmpeg::verify::playlist(&outcome.file(index)).unwrap()).collect();
        let cuts =
            |index: usize| lists[index].segments.iter().map(|segment| segment.duration).collect::<Vec<_>>();
        assert_eq!(cuts(0).len(), 4, "{ffmpeg}: {:?}", cuts(0));
        assert!((1..4).all(|index| cuts(index) == cuts(0)), "{ffmpeg}: the renditions are not aligned");
        // Picture and sound begin at 0 on the wire, where players look, whatever edit lists say.
        assert_eq!(run::first_decode_and_offset(&outcome.file(0), &lists[0]), (0, 0), "{ffmpeg}");

        let master = std::fs::read_to_string(outcome.folder.path().join("master.m3u8")).unwrap();
        let variants: Vec<_> = master.lines().filter(|line| line.starts_with("#EXT-X-STREAM-INF")).collect();
        assert_eq!(variants.len(), 4, "{master}");
        assert!(
            variants[0].contains("RESOLUTION=284x160") && variants[0].contains("FRAME-RATE=29.970"),
            "{master}"
        );
        assert!(
            variants.iter().all(|line| line.contains("CODECS=\"avc1.64") && line.contains(",mp4a.40.2\"")),
            "{master}"
        );
        let measured: u64 = lists[0].segments.iter().map(|segment| segment.size * 8).sum();
        let average: u64 = run::attribute(variants[0], "AVERAGE-BANDWIDTH").parse().unwrap();
        assert!(
            average > measured / 5 && average < measured,
            "{average} for {measured} bits in 4 s\n{master}"
        );
    }
}

#[test]
fn every_software_encoder_cuts_where_it_is_told() {
    let presets = Presets::builtin();
    for ffmpeg in Ffmpeg::all() {
        for codec in [VideoCodec::Hevc, VideoCodec::Av1] {
            let Spec::Hls(mut spec) = presets.get("hls-ladder").unwrap().spec.clone() else { panic!() };
            (spec.codec, spec.segment_seconds, spec.speed) = (codec, 1.0, Speed::Fastest);
            spec.renditions.truncate(2);
            (spec.renditions[0].height, spec.renditions[1].height) = (160, 90);
            for encoder in codec.software_encoders() {
                let outcome = transcode(&ffmpeg, &Spec::Hls(spec.clone()), Input::Long, encoder).unwrap();
                let cuts = |index: usize| {
                    let list = common::ffmpeg::verify::playlist(&outcome.file(index)).unwrap();
                    list.segments.iter().map(|segment| segment.duration).collect::<Vec<_>>()
                };
                assert_eq!(cuts(0).len(), 4, "{ffmpeg} {encoder}: {:?}", cuts(0));
                assert_eq!(cuts(0), cuts(1), "{ffmpeg} {encoder}");
                let master = std::fs::read_to_string(outcome.folder.path().join("master.m3u8")).unwrap();
                let tag = if codec == VideoCodec::Hevc { "\"hvc1.1.6.L" } else { "\"av01.0." };
                assert!(master.contains(tag), "{ffmpeg} {encoder}: {master}");
            }
        }
    }
}

#[test]
fn tiles_follow_the_film_and_the_times_leave_no_trace() {
    let presets = Presets::builtin();
    let Spec::Thumbnails(mut spec) = presets.get("thumbnails").unwrap().spec.clone() else { panic!() };
    (spec.interval, spec.columns, spec.rows) = (0.5, 3, 2);
    for ffmpeg in Ffmpeg::all() {
        let outcome = transcode(&ffmpeg, &Spec::Thumbnails(spec.clone()), Input::Long, "").unwrap();
        let track = std::fs::read_to_string(outcome.folder.path().join("thumbnails.vtt")).unwrap();
        assert_eq!(track.matches(" --> ").count(), 8, "{track}");
        assert!(track.contains("sprite_002.jpg#xywh=160,0,160,90"), "{track}");
        let mut names: Vec<_> = std::fs::read_dir(outcome.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["poster.jpg", "sprite_001.jpg", "sprite_002.jpg", "thumbnails.vtt"]);
    }
}
