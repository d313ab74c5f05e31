//! What ffmpeg makes of the arguments for live work: an attempt that begins in the middle goes on exactly where another one
//! would have, for every kind of source, with both versions of ffmpeg that are there.

// Helpers outside #[test] functions are test code too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{
    ffmpeg::{
        EncoderChoice,
        live::{Context, First, lower},
    },
    live::{Begin, Encode, SourceTracks, Work},
    media::EncoderFamily,
    profile::{Profiles, Rendition},
    worker::{Capabilities, Encoder},
};
use support::ffmpegs;

fn ffmpeg(args: &[&str]) {
    let status = Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(args).status().unwrap();
    assert!(status.success(), "ffmpeg {args:?}");
}

/// Twelve seconds of a source that begins at an odd time, as MPEG-TS.
struct Source {
    folder: tempfile::TempDir,
    tracks: SourceTracks,
}

impl Source {
    fn new(video: &[&str], audio: &[&str], frame: Option<i64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut args: Vec<&str> = Vec::new();
        args.extend(video.first().into_iter().flat_map(|graph| ["-f", "lavfi", "-i", graph]));
        args.extend(audio.first().into_iter().flat_map(|graph| ["-f", "lavfi", "-i", graph]));
        args.extend(video.iter().skip(1).chain(audio.iter().skip(1)));
        args.extend(["-muxdelay", "0", "-muxpreload", "0", "-output_ts_offset", "10.8137", "-f", "mpegts"]);
        let path = folder.path().join("source.ts");
        args.push(path.to_str().unwrap());
        ffmpeg(&args);
        let tracks = SourceTracks { video: !video.is_empty(), audio: !audio.is_empty(), frame };
        Self { folder, tracks }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("source.ts")
    }

    /// From the key frame before a time on, on the same timestamps.
    fn tail(&self, seconds: &str) -> Vec<u8> {
        let path = self.folder.path().join(format!("tail-{seconds}.ts"));
        ffmpeg(&[
            "-ss",
            seconds,
            "-copyts",
            "-i",
            self.path().to_str().unwrap(),
            "-map",
            "0",
            "-c",
            "copy",
            "-f",
            "mpegts",
            "-mpegts_copyts",
            "1",
            "-muxdelay",
            "0",
            "-muxpreload",
            "0",
            path.to_str().unwrap(),
        ]);
        fs::read(path).unwrap()
    }
}

fn rendition(name: &str) -> Rendition {
    let mut rendition = Profiles::builtin().renditions(name)[0].1.clone();
    // Small: the tests are about times.
    if let Some(video) = &mut rendition.video {
        (video.width, video.height, video.bitrate) = (320, 180, 400_000);
    }
    rendition
}

fn work(rendition: &Rendition, tracks: SourceTracks, begin: Begin) -> Work {
    Work::Encode(Box::new(Encode {
        container: rendition.container(),
        rendition: rendition.clone(),
        source: tracks,
        begin,
    }))
}

fn args(program: &Path, work: &Work, input: &[u8], encoder: Option<&str>) -> Vec<OsString> {
    let encoder = encoder.map(EncoderChoice::software);
    let version = Command::new(program).arg("-version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let libaom = Encoder {
        name: "libaom-av1".to_owned(),
        codec: "av1".to_owned(),
        family: EncoderFamily::Software,
        devices: Vec::new(),
    };
    let capabilities = Capabilities {
        ffmpeg_version: version.split(' ').nth(2).unwrap().to_owned(),
        encoders: vec![libaom],
        ..Capabilities::default()
    };
    lower(&Context {
        work,
        encoder: encoder.as_ref(),
        capabilities: &capabilities,
        first: first(work, input),
        file: None,
        text: true,
    })
    .unwrap()
}

/// As a worker finds it.
fn first(work: &Work, input: &[u8]) -> First {
    let (video, audio) = First::wanted(work);
    let found = probe(input).first;
    First { video: found.video.filter(|_| video), audio: found.audio.filter(|_| audio) }
}

/// What comes out on stdout, and what was said.
fn run(program: &Path, args: &[OsString], input: Vec<u8>) -> (Vec<u8>, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{} {args:?}\n{said}", program.display());
    (output.stdout, said)
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Result {
    first: First,
    /// Presentation time -> key frame.
    video: BTreeMap<i64, bool>,
    video_packets: usize,
    audio: Vec<i64>,
    extradata: String,
    rates: String,
}

fn probe(bytes: &[u8]) -> Result {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let show = |entries: &str| {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-show_data_hash", "md5", "-show_entries", entries, "-of", "compact=p=0"])
            .arg(file.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut result = Result::default();
    let field = |line: &str, name: &str| {
        line.split('|').find_map(|field| field.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    // Ticks of 90 kHz, whatever the container counts in.
    for line in show("packet=codec_type,pts_time,flags").lines().filter(|line| !line.is_empty()) {
        let pts = (field(line, "pts_time").unwrap().parse::<f64>().unwrap() * 90_000.0).round() as i64;
        match field(line, "codec_type").unwrap().as_str() {
            "video" => {
                result.first.video.get_or_insert(pts);
                result.video_packets += 1;
                result.video.insert(pts, field(line, "flags").unwrap().starts_with('K'));
            }
            _ => {
                result.first.audio.get_or_insert(pts);
                result.audio.push(pts);
            }
        }
    }
    result.extradata = show("stream=codec_name,extradata_hash,profile,level,width,height,r_frame_rate");
    result.rates = show("stream=codec_type,r_frame_rate");
    result
}

fn keys(result: &Result) -> Vec<i64> {
    result.video.iter().filter(|(_, key)| **key).map(|(pts, _)| *pts).collect()
}

const GRID: i64 = 180_000;

/// Key frames are the first at or after multiples of the grid, and the very first.
fn assert_on_grid(result: &Result, what: &str) {
    let all: Vec<i64> = result.video.keys().copied().collect();
    let expected: BTreeSet<i64> = all
        .iter()
        .enumerate()
        .filter(|(index, pts)| *index == 0 || all[index - 1].div_euclid(GRID) != pts.div_euclid(GRID))
        .map(|(_, pts)| *pts)
        .collect();
    assert_eq!(keys(result), expected.into_iter().collect::<Vec<_>>(), "{what}");
}

fn assert_goes_on(source: &Source, rendition: &Rendition, encoder: Option<&str>, what: &str) {
    for program in ffmpegs() {
        let what = format!("{what}, {}", program.display());
        let input = fs::read(source.path()).unwrap();
        let whole = work(rendition, source.tracks, Begin::default());
        let (bytes, said) = run(&program, &args(&program, &whole, &input, encoder), input.clone());
        assert!(said.contains("progress=end"), "{said}");
        let first = probe(&bytes);
        let times: Vec<i64> = first.video.keys().copied().collect();
        if source.tracks.video && rendition.video.is_some() {
            let expected: Vec<i64> = probe(&input).video.keys().copied().collect();
            assert_eq!(times, expected, "{what}: every frame at the time of the source");
            assert_eq!(first.video_packets, times.len(), "{what}: none twice");
            assert_on_grid(&first, &what);
        }
        assert!(first.audio.windows(2).all(|pair| pair[1] - pair[0] == 1920), "{what}: {:?}", first.audio);

        // A replacement gets the source from a key frame on, and goes on anywhere in the GOP.
        let tail = source.tail("5");
        let there = probe(&tail).first;
        let from = there.video.or(there.audio).unwrap();
        for later in [0, 7, 23] {
            let video = times.iter().copied().filter(|pts| *pts >= from).nth(later);
            let audio = first.audio.iter().copied().find(|pts| *pts >= video.unwrap_or(from) + 20_000);
            let begin = Begin { video, audio };
            let rest = work(rendition, source.tracks, begin);
            let (bytes, said) = run(&program, &args(&program, &rest, &tail, encoder), tail.clone());
            let second = probe(&bytes);
            let what = format!("{what}, {later} frames later: {said}");
            if let Some(video) = video {
                let expected: Vec<i64> = times.iter().copied().filter(|pts| *pts >= video).collect();
                assert_eq!(second.video.keys().copied().collect::<Vec<_>>(), expected, "{what}");
                assert_eq!(keys(&second)[0], video, "{what}");
                assert_on_grid(&second, &what);
                assert_eq!(second.extradata, first.extradata, "{what}");
            }
            if let Some(audio) = audio {
                let since = |result: &Result| -> Vec<i64> {
                    result.audio.iter().copied().filter(|pts| *pts >= audio).collect()
                };
                assert_eq!(since(&second), since(&first), "{what}");
                assert!(second.audio.contains(&audio), "{what}");
            }
        }
    }
}

const BARS: &str = "testsrc2=s=320x180:r=25:d=12";

#[test]
fn a_replacement_goes_on_with_aac() {
    let source = Source::new(
        &[BARS, "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "50"],
        &["sine=f=440:d=12:r=48000", "-c:a", "aac"],
        Some(3600),
    );
    assert_goes_on(&source, &rendition("h264-720p"), Some("libx264"), "h264, aac 48k");
}

#[test]
fn a_replacement_goes_on_with_low_latency_and_44100_hz() {
    let source = Source::new(
        &["testsrc2=s=320x180:r=30000/1001:d=12", "-c:v", "libx264", "-preset", "ultrafast", "-g", "60"],
        &["sine=f=440:d=12:r=44100", "-c:a", "aac"],
        Some(3003),
    );
    assert_goes_on(&source, &rendition("h264-720p-ll"), Some("libx264"), "low latency, aac 44.1k");
}

#[test]
fn a_replacement_goes_on_with_mpeg_2_and_mp2() {
    let source = Source::new(
        &["testsrc2=s=320x180:r=50:d=12", "-c:v", "mpeg2video", "-bf", "2", "-g", "50"],
        &["sine=f=440:d=12:r=48000", "-c:a", "mp2"],
        None,
    );
    assert_goes_on(&source, &rendition("h264-720p"), Some("libx264"), "mpeg2, mp2, unknown rate");
}

#[test]
fn a_replacement_goes_on_with_hevc_and_surround_sound() {
    let source = Source::new(
        &["testsrc2=s=320x180:r=60000/1001:d=12", "-c:v", "libx264", "-preset", "ultrafast", "-g", "60"],
        &["sine=f=440:d=12:r=48000", "-ac", "6", "-c:a", "ac3"],
        Some(1502),
    );
    assert_goes_on(&source, &rendition("hevc-1080p"), Some("libx265"), "hevc, ac3 5.1");
}

#[test]
fn a_replacement_goes_on_without_a_picture_or_without_sound() {
    let sound = Source::new(&[], &["sine=f=440:d=12:r=44100", "-c:a", "aac"], None);
    assert_goes_on(&sound, &rendition("audio-aac"), None, "audio only");
    assert_goes_on(&sound, &rendition("h264-720p"), Some("libx264"), "audio only of a picture's profile");
    let picture = Source::new(&[BARS, "-c:v", "libx264", "-preset", "ultrafast"], &[], Some(3600));
    assert_goes_on(&picture, &rendition("h264-720p"), Some("libx264"), "video only");
}

#[test]
fn a_replacement_goes_on_with_av1() {
    let source = Source::new(
        &[BARS, "-c:v", "libx264", "-preset", "ultrafast", "-g", "50"],
        &["sine=f=440:d=12:r=48000", "-c:a", "aac"],
        Some(3600),
    );
    assert_goes_on(&source, &rendition("av1-720p"), Some("libsvtav1"), "av1");
}

#[test]
fn the_picture_keeps_its_size_when_the_source_changes_its_own() {
    let wide = Source::new(&[BARS, "-c:v", "libx264", "-preset", "ultrafast", "-t", "2"], &[], Some(3600));
    let tall = Source::new(
        &["testsrc2=s=240x320:r=25:d=2", "-c:v", "libx264", "-preset", "ultrafast"],
        &[],
        Some(3600),
    );
    let later = tall.folder.path().join("later.ts");
    ffmpeg(&[
        "-i",
        tall.path().to_str().unwrap(),
        "-c",
        "copy",
        "-muxdelay",
        "0",
        "-output_ts_offset",
        "12.8137",
        later.to_str().unwrap(),
    ]);
    let mut input = fs::read(wide.path()).unwrap();
    input.extend(fs::read(later).unwrap());
    for program in ffmpegs() {
        let work = work(&rendition("h264-720p-ll"), wide.tracks, Begin::default());
        let (bytes, said) = run(&program, &args(&program, &work, &input, Some("libx264")), input.clone());
        let result = probe(&bytes);
        assert_eq!(result.video.len(), 100, "{said}");
        assert_on_grid(&result, &said);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let sizes = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "frame=width,height", "-of", "csv=p=0"])
            .arg(file.path())
            .output()
            .unwrap();
        let sizes = String::from_utf8(sizes.stdout).unwrap();
        let sizes: BTreeSet<&str> =
            sizes.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty()).collect();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), ["320,180"]);
    }
}
