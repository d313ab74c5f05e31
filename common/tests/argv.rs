//! What ffmpeg is told, for every built-in preset and every encoder family that has its codec; and that no spec and no
//! input lead to a panic, to a second input or to a path outside the output folder.

// Helpers outside #[test] functions are test code too.
#![allow(clippy::unwrap_used)]

use std::{
    ffi::OsString,
    path::{Component, Path},
};

use common::{
    ffmpeg::{Context, EncoderChoice, lower},
    media::{AudioCodec, AudioInfo, EncoderFamily, MediaInfo, StreamInfo, StreamKind, VideoCodec, VideoInfo},
    preset::Presets,
    spec::{
        AudioSpec, AudioTracks, Chroma, Container, FileSpec, HlsSpec, RateControl, Rendition, Size, SizeMode,
        Spec, Speed, ThumbnailsSpec, VideoSpec,
    },
    worker::Capabilities,
};
use proptest::prelude::*;

fn stream(index: u32, codec: &str, kind: StreamKind) -> StreamInfo {
    StreamInfo {
        index,
        codec: codec.to_owned(),
        language: Some("deu".to_owned()),
        title: None,
        default: index < 2,
        duration: Some(60.06),
        start_time: Some(0.0),
        kind,
    }
}

/// 60 s of 1080p at 29.97 fps with stereo, a subtitle track and a cover.
fn film() -> MediaInfo {
    let video = VideoInfo {
        width: 1920,
        height: 1080,
        sample_aspect_ratio: (1, 1),
        frame_rate: (30000, 1001),
        base_frame_rate: (30000, 1001),
        pixel_format: "yuv420p".to_owned(),
        bit_depth: 8,
        ..VideoInfo::default()
    };
    let audio = AudioInfo { channels: 2, channel_layout: Some("stereo".to_owned()), sample_rate: 48_000 };
    MediaInfo {
        start_time: None,
        format: "mov,mp4,m4a,3gp,3g2,mj2".to_owned(),
        duration: Some(60.06),
        size: Some(40_000_000),
        bit_rate: Some(5_000_000),
        streams: vec![
            stream(0, "h264", StreamKind::Video(video)),
            stream(1, "aac", StreamKind::Audio(audio)),
            stream(2, "mov_text", StreamKind::Subtitle { bitmap: false }),
            stream(3, "mjpeg", StreamKind::AttachedPicture),
        ],
        chapters_end: Some(60.06),
    }
}

/// The encoders that ffmpeg has for a codec, one of each family and every software one.
fn encoders(codec: VideoCodec) -> Vec<EncoderChoice> {
    let hardware: &[&str] = match codec {
        VideoCodec::H264 | VideoCodec::Hevc => {
            &["nvenc", "qsv", "vaapi", "amf", "v4l2m2m", "videotoolbox", "nvmpi"]
        }
        VideoCodec::Av1 => &["nvenc", "qsv", "vaapi", "amf"],
        VideoCodec::Vp9 => &["qsv", "vaapi"],
        VideoCodec::ProRes => &["videotoolbox"],
        VideoCodec::DnxHr => &[],
    };
    let software = codec.software_encoders().iter().map(|name| EncoderChoice::software(name));
    let hardware = hardware.iter().map(|suffix| {
        let name = format!("{codec}_{suffix}");
        let family = EncoderFamily::of_encoder(&name);
        let device = match family {
            EncoderFamily::Nvenc => Some("1".to_owned()),
            EncoderFamily::Qsv | EncoderFamily::Vaapi => Some("/dev/dri/renderD129".to_owned()),
            _ => None,
        };
        EncoderChoice { name, family, device, nvenc_preset: None }
    });
    software.chain(hardware).collect()
}

fn argv(spec: &Spec, input: &MediaInfo, encoder: Option<&EncoderChoice>) -> Vec<String> {
    let lowered = lower(&Context {
        spec,
        input,
        inputs: &["http://127.0.0.1:4000/input".to_owned()],
        stem: "film",
        encoder,
        capabilities: &Capabilities::default(),
        output_dir: "/scratch/attempt".into(),
    })
    .unwrap();
    lowered.argv.iter().map(|argument| argument.to_str().unwrap().to_owned()).collect()
}

/// One option with its value a line.
fn lines(argv: &[String]) -> String {
    let mut text = String::new();
    for (index, argument) in argv.iter().enumerate() {
        let option = argument.starts_with('-')
            && argument.len() > 1
            && !argument[1..].starts_with(|c: char| c.is_ascii_digit());
        let value = index > 0 && argv[index - 1].starts_with('-');
        text.push_str(if index == 0 {
            ""
        } else if option || !value {
            "\n"
        } else {
            " "
        });
        // The same everywhere and long.
        let known = argv.get(index.wrapping_sub(1)).is_some_and(|before| before == "-format_whitelist");
        text.push_str(if known { "<demuxers>" } else { argument });
    }
    text
}

#[test]
fn every_preset_on_every_encoder_family() {
    let film = film();
    for preset in Presets::builtin().iter() {
        let text = match preset.spec.need().video {
            None => lines(&argv(&preset.spec, &film, None)),
            Some(need) => encoders(need.codec)
                .iter()
                .map(|encoder| {
                    format!("## {}\n{}\n", encoder.name, lines(&argv(&preset.spec, &film, Some(encoder))))
                })
                .collect::<Vec<_>>()
                .join("\n"),
        };
        insta::assert_snapshot!(preset.name.as_str(), text);
    }
}

#[test]
fn chapters_of_a_longer_edit_are_left_out() {
    let presets = Presets::builtin();
    let spec = &presets.get("h264").unwrap().spec;
    let encoder = EncoderChoice::software("libx264");
    let dropped = |input: &MediaInfo| {
        argv(spec, input, Some(&encoder)).windows(2).any(|pair| pair == ["-map_chapters", "-1"])
    };
    assert!(!dropped(&film()));
    assert!(dropped(&MediaInfo { chapters_end: Some(775.0), ..film() }));
}

#[test]
fn the_owners_nvenc_preset_wins_over_the_specs_speed() {
    let presets = Presets::builtin();
    let mut encoder =
        encoders(VideoCodec::H264).into_iter().find(|e| e.family == EncoderFamily::Nvenc).unwrap();
    encoder.nvenc_preset = Some(7);
    let argv = argv(&presets.get("h264").unwrap().spec, &film(), Some(&encoder));
    let at = argv.iter().position(|argument| argument == "-preset").unwrap();
    assert_eq!(argv[at + 1], "p7");
}

// ---- any spec, any input

fn rate() -> impl Strategy<Value = RateControl> {
    prop_oneof![
        (1.0..51.0).prop_map(RateControl::Quality),
        (1.0..51.0, 10_000u64..50_000_000).prop_map(|(quality, max)| RateControl::CappedQuality {
            quality,
            max,
            buffer: max
        }),
        (10_000u64..50_000_000, 0u64..1_000_000).prop_map(|(average, more)| RateControl::Bitrate {
            average,
            max: average + more.min(average),
            buffer: average
        }),
        Just(RateControl::Profile),
    ]
}

fn pick<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    proptest::sample::select(values.to_vec())
}

fn audio_spec() -> impl Strategy<Value = AudioSpec> {
    (
        pick(AudioCodec::ALL),
        proptest::option::of(6_000u64..1_024_000),
        proptest::option::of(1u32..65),
        proptest::option::of(pick(&[8_000, 44_100, 48_000, 96_000])),
        pick(&[AudioTracks::First, AudioTracks::All]),
    )
        .prop_map(|(codec, bitrate, max_channels, sample_rate, tracks)| AudioSpec {
            codec,
            bitrate,
            max_channels,
            sample_rate,
            tracks,
        })
}

fn size() -> impl Strategy<Value = Size> {
    (16u32..16384, 16u32..16384, pick(&[SizeMode::Within, SizeMode::Crop, SizeMode::BlurPad]))
        .prop_map(|(width, height, mode)| Size { width, height, mode })
}

fn video_spec() -> impl Strategy<Value = VideoSpec> {
    let look = (pick(&[8u8, 10]), pick(&[Chroma::Yuv420, Chroma::Yuv422]), proptest::option::of(size()));
    (
        pick(VideoCodec::ALL),
        rate(),
        look,
        pick(&[Speed::Fastest, Speed::Fast, Speed::Medium, Speed::Slow]),
        proptest::option::of(1.0..240.0),
        proptest::option::of(0.1..60.0),
    )
        .prop_map(|(codec, rate, (bit_depth, chroma, size), speed, max_fps, keyframe_interval)| {
            VideoSpec {
                codec,
                encoder: None,
                rate,
                speed,
                bit_depth,
                chroma,
                profile: None,
                size,
                max_fps,
                keyframe_interval,
            }
        })
}

fn spec() -> impl Strategy<Value = Spec> {
    let file = (
        pick(&Container::ALL),
        proptest::option::of(video_spec()),
        proptest::option::of(audio_spec()),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(container, video, audio, subtitles, cover_art)| {
            Spec::File(FileSpec { container, video, audio, subtitles, cover_art })
        });
    let renditions = proptest::collection::vec((16u32..4320, rate()), 1..6).prop_map(|rungs| {
        let rung = |(index, (height, rate))| Rendition { name: format!("r{index}"), height, rate };
        rungs.into_iter().enumerate().map(rung).collect::<Vec<_>>()
    });
    let hls = (pick(VideoCodec::ALL), 0.5..60.0, renditions, audio_spec()).prop_map(
        |(codec, segment_seconds, renditions, audio)| {
            Spec::Hls(HlsSpec {
                codec,
                encoder: None,
                speed: Speed::Medium,
                segment_seconds,
                renditions,
                audio,
            })
        },
    );
    let thumbnails = (16u32..4000, 16u32..400, 1u32..20, 1u32..20, 0.1..3600.0, 1u32..10_000).prop_map(
        |(poster_width, tile_width, columns, rows, interval, max_tiles)| {
            Spec::Thumbnails(ThumbnailsSpec { poster_width, tile_width, columns, rows, interval, max_tiles })
        },
    );
    prop_oneof![4 => file, 2 => hls, 1 => thumbnails].prop_filter("valid", |spec| spec.validate().is_ok())
}

fn fraction() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![Just((0, 1)), Just((0, 0)), Just((30000, 1001)), (any::<u32>(), any::<u32>())]
}

fn seconds() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        (0.0..1e6).prop_map(Some),
        pick(&[Some(f64::NAN), Some(f64::INFINITY), Some(-5.0)])
    ]
}

fn kind() -> impl Strategy<Value = StreamKind> {
    let word = |words: &'static [&'static str]| proptest::option::of(pick(words).prop_map(str::to_owned));
    let video = (
        (prop_oneof![0u32..9000, any::<u32>()], prop_oneof![0u32..9000, any::<u32>()]),
        pick(&[0u32, 90, 180, 270]),
        fraction(),
        fraction(),
        fraction(),
        (word(&["smpte2084", "arib-std-b67", "bt709", "x;[out]"]), word(&["tt", "bb", "progressive", "zz"])),
    )
        .prop_map(|((width, height), rotation, aspect, frame_rate, base, (transfer, field_order))| {
            StreamKind::Video(VideoInfo {
                width,
                height,
                rotation,
                sample_aspect_ratio: aspect,
                frame_rate,
                base_frame_rate: base,
                pixel_format: "yuv420p10le".to_owned(),
                bit_depth: 10,
                color_primaries: transfer.clone(),
                color_space: transfer.clone(),
                color_transfer: transfer,
                field_order,
                ..VideoInfo::default()
            })
        });
    let audio = (any::<u32>(), word(&["stereo", "5.1(side)", "24 channels"]), any::<u32>()).prop_map(
        |(channels, channel_layout, sample_rate)| {
            let channels = channels % 70;
            StreamKind::Audio(AudioInfo { channels, channel_layout, sample_rate })
        },
    );
    prop_oneof![
        3 => video,
        3 => audio,
        1 => any::<bool>().prop_map(|bitmap| StreamKind::Subtitle { bitmap }),
        1 => Just(StreamKind::AttachedPicture),
        1 => Just(StreamKind::Other),
    ]
}

fn input() -> impl Strategy<Value = MediaInfo> {
    let codec = pick(&["", "h264", "aac", "subrip", "hdmv_pgs_subtitle", "mjpeg"]);
    let label = proptest::option::of(".{0,12}");
    let streams = proptest::collection::vec((codec, kind(), seconds(), label), 0..6);
    (streams, seconds()).prop_map(|(streams, duration)| MediaInfo {
        start_time: None,
        format: "matroska,webm".to_owned(),
        duration,
        size: None,
        bit_rate: None,
        chapters_end: None,
        streams: streams
            .into_iter()
            .zip(0..)
            .map(|((codec, kind, duration, label), index)| StreamInfo {
                duration,
                language: label.clone(),
                title: label,
                ..stream(index, codec, kind)
            })
            .collect(),
    })
}

/// Arguments that are files or addresses.
fn is_location(argument: &str) -> bool {
    argument.starts_with('/') || argument.contains("://") || argument.starts_with("file:")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_stays_within_its_input_and_its_folder(
        spec in spec(),
        input in input(),
        which in any::<proptest::sample::Index>(),
        name in ".{0,40}",
    ) {
        let chosen = spec.need().video.map(|need| {
            let all = encoders(need.codec);
            all[which.index(all.len())].clone()
        });
        let url = format!("/inputs/{}", name.replace('\0', ""));
        let lowered = lower(&Context {
            spec: &spec,
            input: &input,
            inputs: std::slice::from_ref(&url),
            stem: &name,
            encoder: chosen.as_ref(),
            capabilities: &Capabilities::default(),
            output_dir: "/scratch/attempt".into(),
        });
        let Ok(lowered) = lowered else { return Ok(()) };
        let argv: Vec<String> = lowered.argv.iter().map(|a| a.to_str().unwrap().to_owned()).collect();
        let address = format!("file:{url}");
        prop_assert_eq!(argv.iter().filter(|argument| **argument == address).count(), 1);
        prop_assert_eq!(argv.iter().filter(|argument| *argument == "-i").count(), 1);
        let labels = |index: usize| argv[index - 1].starts_with("-metadata");
        for (index, argument) in argv.iter().enumerate().filter(|(_, a)| **a != address) {
            prop_assert!(!argument.contains('\0'));
            if index > 0 && labels(index) {
                continue;
            }
            let inside = Path::new(argument)
                .strip_prefix("/scratch/attempt")
                .is_ok_and(|below| below.components().all(|part| matches!(part, Component::Normal(_))));
            prop_assert!(!is_location(argument) || inside || argument.starts_with("/dev/dri/"), "{argument}");
            prop_assert!(!argument.contains("movie=") && !argument.contains("x;[out]"), "{argument}");
        }
        for expected in &lowered.expected {
            let inside = Path::new(&expected.path).components().all(|part| matches!(part, Component::Normal(_)));
            prop_assert!(inside, "{}", expected.path);
        }
        prop_assert!(!lowered.argv.contains(&OsString::new()));
    }
}
