//! What every built-in preset makes of real footage, as ffprobe sees it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use common::api::{InputRef, JobView};
use e2e::{
    Farm,
    api::request,
    clip,
    media::{self, Media},
};

/// Runs `preset` over `clip` and downloads what came out.
async fn make(farm: &Farm, clip: &Path, preset: &str, folder: &Path) -> (JobView, Vec<PathBuf>) {
    let job = farm.submit(clip, preset).await;
    let view = farm.succeeded(job).await;
    farm.api.download(&view, folder).await;
    (view.clone(), view.outputs.iter().map(|output| folder.join(&output.path)).collect())
}

/// The one file that came out, which must decode without a complaint.
async fn make_file(farm: &Farm, clip: &Path, preset: &str, folder: &Path) -> (Media, PathBuf) {
    let (_, files) = make(farm, clip, preset, folder).await;
    let [file] = files.as_slice() else { panic!("{preset}: not one file: {files:?}") };
    assert_eq!(media::decode_errors(file), "", "{preset}");
    (Media::read(file), file.clone())
}

#[tokio::test]
async fn every_preset_that_is_listed_is_checked_here() {
    let farm = Farm::builder().start().await;
    let mut listed: Vec<_> = farm.api.presets().await.into_iter().map(|preset| preset.name).collect();
    listed.sort();
    let mut checked: Vec<_> = FILES.iter().map(|expected| expected.preset.to_owned()).collect();
    checked.extend(["audio-only", "convert-to-hls", "hls-ladder", "thumbnails"].map(str::to_owned));
    checked.sort();
    assert_eq!(listed, checked);
    farm.stop().await;
}

/// What a preset that makes one file with a picture must give for a 1280x720 clip with 5.1 sound.
struct Expected {
    preset: &'static str,
    extension: &'static str,
    video: &'static str,
    size: (u32, u32),
    audio: &'static str,
}

const fn file(
    preset: &'static str,
    extension: &'static str,
    video: &'static str,
    size: (u32, u32),
    audio: &'static str,
) -> Expected {
    Expected { preset, extension, video, size, audio }
}

const FILES: &[Expected] = &[
    file("compress-video", "mp4", "h264", (1280, 720), "aac"),
    file("h264", "mp4", "h264", (1280, 720), "aac"),
    file("hevc", "mp4", "hevc", (1280, 720), "aac"),
    file("av1", "mp4", "av1", (1280, 720), "opus"),
    file("vp9", "webm", "vp9", (1280, 720), "opus"),
    file("archive-prores", "mov", "prores", (1280, 720), "pcm"),
    file("archive-dnxhr", "mov", "dnxhd", (1280, 720), "pcm"),
    file("social-vertical", "mp4", "h264", (1080, 1920), "aac"),
    file("social-square", "mp4", "h264", (1080, 1080), "aac"),
    file("social-landscape", "mp4", "h264", (1920, 1080), "aac"),
    file("proxy", "mp4", "h264", (0, 0), "aac"),
];

#[tokio::test]
async fn file_presets_keep_picture_sound_and_length() {
    let farm = Farm::small().await;
    for expected in FILES {
        let preset = expected.preset;
        let folder = tempfile::tempdir().unwrap();
        let (media, file) = make_file(&farm, &clip("bigbuckbunny-2s.mp4"), preset, folder.path()).await;
        assert_eq!(file.extension().unwrap(), expected.extension, "{preset}");
        let video = media.video();
        assert_eq!(video.codec_name, expected.video, "{preset}");
        if expected.size.0 > 0 {
            assert_eq!((video.width, video.height), expected.size, "{preset}");
        } else {
            assert!(video.width < 1280 && video.width % 2 == 0, "{preset}: {video:?}");
        }
        assert!(media.audio().codec_name.starts_with(expected.audio), "{preset}: {:?}", media.audio());
        assert!((48..=52).contains(&video.packets()), "{preset}: {} frames", video.packets());
        assert!((media.duration() - 2.0).abs() < 0.15, "{preset}: {} s", media.duration());
    }
    farm.stop().await;
}

#[tokio::test]
async fn archives_keep_the_quality_they_promise() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let (prores, _) = make_file(&farm, &clip("bikes-2s.mp4"), "archive-prores", folder.path()).await;
    assert_eq!(prores.video().codec_tag_string, "apch", "422 HQ");
    assert_eq!(prores.video().pix_fmt.as_deref(), Some("yuv422p10le"));
    let folder = tempfile::tempdir().unwrap();
    let (dnxhr, _) = make_file(&farm, &clip("bikes-2s.mp4"), "archive-dnxhr", folder.path()).await;
    assert!(dnxhr.video().profile.as_deref().unwrap_or_default().starts_with("DNXHR"), "{:?}", dnxhr.video());
    assert_eq!((dnxhr.video().width, dnxhr.video().height), (640, 272));
    farm.stop().await;
}

#[tokio::test]
async fn every_preset_works_without_audio_but_the_one_that_is_only_audio() {
    let farm = Farm::small().await;
    for preset in
        FILES.iter().map(|expected| expected.preset).chain(["convert-to-hls", "hls-ladder", "thumbnails"])
    {
        let folder = tempfile::tempdir().unwrap();
        let (view, _) = make(&farm, &clip("bikes-2s.mp4"), preset, folder.path()).await;
        assert!(!view.outputs.is_empty(), "{preset}");
        for output in view.outputs.iter().filter(|output| output.path.ends_with(".mp4")) {
            if !output.path.contains("init") {
                assert_eq!(
                    Media::read(&folder.path().join(&output.path)).of_kind("audio").count(),
                    0,
                    "{preset}"
                );
            }
        }
    }
    let job = farm.submit(&clip("bikes-2s.mp4"), "audio-only").await;
    let failure = farm.finished(job).await.summary.failure.expect("there is no audio in it");
    assert!(failure.message.contains("bikes-2s.mp4") && failure.message.contains("audio"), "{failure}");
    farm.stop().await;
}

#[tokio::test]
async fn a_phones_clip_of_variable_frame_rate_keeps_its_length_and_its_way_up() {
    let farm = Farm::small().await;
    for (name, size) in [("phone.mp4", (1920, 1080)), ("rotated.mp4", (1080, 1920))] {
        let source = Media::read(&clip(name));
        for preset in ["h264", "compress-video"] {
            let folder = tempfile::tempdir().unwrap();
            let (media, file) = make_file(&farm, &clip(name), preset, folder.path()).await;
            assert_eq!((media.video().width, media.video().height), size, "{preset} of {name}");
            assert!(
                (media.duration() - source.duration()).abs() < 0.1,
                "{preset} of {name}: {}",
                media.duration()
            );
            let frames = media.video().packets();
            assert!((39..=50).contains(&frames), "{preset} of {name}: {frames} of 41 frames");
            assert!(!file.to_string_lossy().is_empty());
        }
    }
    farm.stop().await;
}

#[tokio::test]
async fn subtitles_of_every_kind_are_no_obstacle_and_text_is_kept() {
    let farm = Farm::small().await;
    for name in ["subtitles.mkv", "subtitles_pgs.mkv", "subtitles_vobsub.mkv"] {
        for preset in ["h264", "hls-ladder"] {
            let folder = tempfile::tempdir().unwrap();
            let (view, files) = make(&farm, &clip(name), preset, folder.path()).await;
            if preset == "h264" {
                let media = Media::read(&files[0]);
                assert_eq!(media.video().packets(), 150, "{name}");
                let kept = media.of_kind("subtitle").count();
                match name {
                    "subtitles.mkv" => assert_eq!(kept, 2, "{media:?}"),
                    _ => assert!(!view.warnings.is_empty() || kept > 0, "{name}: dropped without a word"),
                }
            }
        }
    }
    farm.stop().await;
}

#[tokio::test]
async fn deep_colour_hdr_and_odd_chroma_become_what_players_take() {
    let farm = Farm::small().await;
    for name in ["simple.mkv", "hdr.mkv"] {
        let folder = tempfile::tempdir().unwrap();
        let (media, _) = make_file(&farm, &clip(name), "compress-video", folder.path()).await;
        assert_eq!(media.video().pix_fmt.as_deref(), Some("yuv420p"), "{name}");
        assert_ne!(media.video().color_transfer.as_deref(), Some("smpte2084"), "{name} is still called HDR");
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_ladder_is_aligned_never_larger_than_its_source_and_told_right() {
    let farm = Farm::small().await;
    for (name, heights, audio) in [
        ("bigbuckbunny.mp4", vec![720, 480, 360], true),
        ("phone.mp4", vec![1080, 720, 480, 360], true),
        ("bikes.mp4", vec![272], false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (view, files) = make(&farm, &clip(name), "hls-ladder", folder.path()).await;
        assert!(
            files.iter().any(|file| file.extension().is_some_and(|end| end == "m4s")),
            "no fMP4: {files:?}"
        );
        let master = folder.path().join("master.m3u8");
        let text = std::fs::read_to_string(&master)
            .unwrap_or_else(|error| panic!("no master playlist ({error}): {:?}", view.outputs));
        let variants = variants(&text);
        let mut found: Vec<_> = variants.iter().map(|variant| variant.resolution().1).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found, heights, "{name}:\n{text}");

        let mut keys: Vec<Vec<f64>> = Vec::new();
        for variant in &variants {
            let playlist = folder.path().join(&variant.uri);
            let media = Media::read(&playlist);
            assert_eq!(
                (media.video().width, media.video().height),
                variant.resolution(),
                "{name} {}",
                variant.uri
            );
            let codecs = &variant.attributes["CODECS"];
            assert!(codecs.contains("avc1."), "{codecs}");
            assert_eq!(codecs.contains("mp4a.40.2"), audio, "{codecs}");
            let peak = peak_bitrate(&playlist);
            let told: f64 = variant.attributes["BANDWIDTH"].parse().unwrap();
            assert!(
                told >= peak * 0.99,
                "{name} {}: BANDWIDTH {told} below the measured {peak}",
                variant.uri
            );
            keys.push(media::key_frames(&playlist));
        }
        for other in &keys[1..] {
            assert_eq!(other.len(), keys[0].len(), "{name}: key frames differ: {keys:?}");
            for (one, two) in keys[0].iter().zip(other) {
                assert!((one - two).abs() < 0.001, "{name}: key frames are not aligned: {keys:?}");
            }
        }
        let expected = Media::read(&clip(name)).duration();
        let first = Media::read(&master);
        assert!((first.duration() - expected).abs() < 0.3, "{name}: {} of {expected} s", first.duration());
    }
    farm.stop().await;
}

/// One `EXT-X-STREAM-INF` and its URI.
struct Variant {
    attributes: BTreeMap<String, String>,
    uri: String,
}

impl Variant {
    fn resolution(&self) -> (u32, u32) {
        let (width, height) = self.attributes["RESOLUTION"].split_once('x').unwrap();
        (width.parse().unwrap(), height.parse().unwrap())
    }
}

fn variants(master: &str) -> Vec<Variant> {
    let lines: Vec<&str> = master.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let attributes = pair[0].strip_prefix("#EXT-X-STREAM-INF:")?;
            Some(Variant { attributes: parse_attributes(attributes), uri: pair[1].to_owned() })
        })
        .collect()
}

/// `A=1,B="x,y"`
fn parse_attributes(text: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let mut quoted = false;
    let parts = text.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    for part in parts {
        let (name, value) = part.split_once('=').unwrap();
        attributes.insert(name.to_owned(), value.trim_matches('"').to_owned());
    }
    attributes
}

/// Bits per second of the largest segment of a media playlist.
fn peak_bitrate(playlist: &Path) -> f64 {
    let text = std::fs::read_to_string(playlist).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let seconds: f64 = pair[0].strip_prefix("#EXTINF:")?.trim_end_matches(',').parse().ok()?;
            let size = std::fs::metadata(playlist.parent()?.join(pair[1])).ok()?.len();
            // RFC 8216: only segments of at least half the target duration count towards the peak.
            (seconds >= 1.0).then(|| size as f64 * 8.0 / seconds)
        })
        .fold(0.0, f64::max)
}

#[tokio::test]
async fn converting_to_hls_gives_one_playable_presentation() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, files) = make(&farm, &clip("ocean-2s.mp4"), "convert-to-hls", folder.path()).await;
    let master =
        files.iter().find(|file| file.ends_with("master.m3u8")).unwrap_or_else(|| panic!("{files:?}"));
    let media = Media::read(master);
    assert_eq!((media.video().width, media.video().height), (1280, 720));
    assert_eq!(media.audio().codec_name, "aac");
    assert!((media.duration() - 2.0).abs() < 0.3, "{}", media.duration());
    farm.stop().await;
}

#[tokio::test]
async fn audio_only_leaves_the_picture_out() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let (media, _) = make_file(&farm, &clip("ocean.mp4"), "audio-only", folder.path()).await;
    assert_eq!(media.of_kind("video").count(), 0);
    assert_eq!(media.audio().codec_name, "aac");
    assert!((media.duration() - 10.0).abs() < 0.3, "{}", media.duration());
    farm.stop().await;
}

#[tokio::test]
async fn thumbnails_are_a_poster_sheets_and_a_track_that_points_into_them() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let (view, files) = make(&farm, &clip("ocean.mp4"), "thumbnails", folder.path()).await;
    let names: Vec<_> = view.outputs.iter().map(|output| output.path.as_str()).collect();
    let track =
        files.iter().find(|file| file.extension().is_some_and(|end| end == "vtt")).expect("a WebVTT track");
    let poster = files.iter().find(|file| file.to_string_lossy().contains("poster")).expect("a poster");
    assert!(Media::read(poster).streams[0].width <= 1280, "{names:?}");
    let text = std::fs::read_to_string(track).unwrap();
    assert!(text.starts_with("WEBVTT"), "{text}");
    let mut cues = 0;
    for line in text.lines() {
        let Some((sheet, area)) = line.split_once("#xywh=") else { continue };
        let area: Vec<u32> = area.split(',').map(|number| number.parse().unwrap()).collect();
        let sheet = Media::read(&track.parent().unwrap().join(sheet));
        assert!(
            area[0] + area[2] <= sheet.streams[0].width && area[1] + area[3] <= sheet.streams[0].height,
            "{line}"
        );
        cues += 1;
    }
    assert!(cues >= 2, "{text}");
    farm.stop().await;
}

#[tokio::test]
async fn the_same_upload_serves_several_presets() {
    let farm = Farm::small().await;
    let upload = farm.api.upload(&clip("ocean-2s.mp4")).await;
    for preset in ["proxy", "audio-only"] {
        let job = farm.api.submit(&request(InputRef::Upload(upload.id), preset)).await.summary.id;
        farm.succeeded(job).await;
    }
    farm.stop().await;
}
