//! What a worker does with a task: probe, lower, run, finish, check.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use common::{
    failure::{Failure, FailureKind},
    ffmpeg::{
        Allowed, Context, EncoderChoice, Lowered, Survey, ffprobe_args, ffprobe_output_args, finish, lower,
        parse_ffprobe, survey_args, survey_output_args,
        timing::{self, Extents},
        verify::{self, Playlist},
    },
    media::MediaInfo,
    spec::Spec,
    worker::Capabilities,
};

use crate::{inputs::Input, support::ffmpegs};

pub(crate) struct Ffmpeg(PathBuf);

impl Ffmpeg {
    pub(crate) fn debian() -> Self {
        Self("ffmpeg".into())
    }

    pub(crate) fn all() -> Vec<Self> {
        ffmpegs().into_iter().map(Self).collect()
    }
}

impl fmt::Display for Ffmpeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.file_name().unwrap_or_default().to_string_lossy().fmt(f)
    }
}

pub(crate) struct Outcome {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) lowered: Lowered,
    /// Of each expected file.
    pub(crate) probes: Vec<MediaInfo>,
}

impl Outcome {
    pub(crate) fn file(&self, index: usize) -> PathBuf {
        self.folder.path().join(&self.lowered.expected[index].path)
    }
}

/// The software encoders to try; one empty name where there is no video to encode.
pub(crate) fn encoders(spec: &Spec) -> &'static [&'static str] {
    match spec.need().video {
        Some(need) => need.codec.software_encoders(),
        None => &[""],
    }
}

pub(crate) fn transcode(
    ffmpeg: &Ffmpeg,
    spec: &Spec,
    input: Input,
    encoder: &str,
) -> Result<Outcome, Failure> {
    let source = input.path();
    let info = probe_once(&source);
    let folder = tempfile::tempdir().unwrap();
    let choice = EncoderChoice::software(encoder);
    let lowered = lower(&Context {
        spec,
        input: &info,
        inputs: &[source.to_str().unwrap().to_owned()],
        stem: "a result",
        encoder: (!encoder.is_empty()).then_some(&choice),
        capabilities: &Capabilities::default(),
        output_dir: folder.path().to_owned(),
    })?;
    let output = Command::new(&ffmpeg.0).args(&lowered.argv).output().unwrap();
    let failed = |what: String| {
        let argv: Vec<_> = lowered.argv.iter().map(|argument| argument.to_string_lossy()).collect();
        Failure::new(FailureKind::Crashed, format!("{what}\n    {}", argv.join(" ")))
    };
    if !output.status.success() {
        return Err(failed(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))));
    }
    finish(&lowered.finish, folder.path())?;
    let lists = verify::files(&lowered, folder.path())?.lists;
    let mut probes = Vec::new();
    let last = |key: &str| -> Option<u64> {
        let progress = String::from_utf8_lossy(&output.stdout).into_owned();
        progress.lines().rev().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    };
    let frames = last("frame=");
    let unseen =
        last("drop_frames=").unwrap_or(0).cast_signed() - last("dup_frames=").unwrap_or(0).cast_signed();
    for (expected, list) in lowered.expected.iter().zip(&lists) {
        let path = folder.path().join(&expected.path);
        let found = ask(&ffprobe_output_args(&path));
        verify::check(expected, &found).map_err(|failure| failed(failure.message))?;
        let made = survey(&survey_output_args(&path));
        timing::written(expected, &found, &made, frames).map_err(|failure| failed(failure.message))?;
        if let Some(list) = list {
            timing::listed(expected, list, &made).map_err(|failure| failed(failure.message))?;
        }
        if let Err(deviation) = timing::complete(expected, &found, &made, &Extents::claimed(&info), unseen) {
            eprintln!("not as claimed: {input:?} {ffmpeg} {}", deviation.failure.message);
        }
        let there = Extents::surveyed(&info, &survey_once(&source));
        timing::complete(expected, &found, &made, &there, unseen)
            .map_err(|deviation| failed(deviation.failure.message))?;
        probes.push(found);
    }
    Ok(Outcome { folder, lowered, probes })
}

/// Asks ffprobe once for each input and process.
fn probe_once(path: &Path) -> MediaInfo {
    static KNOWN: Mutex<BTreeMap<PathBuf, MediaInfo>> = Mutex::new(BTreeMap::new());
    KNOWN.lock().unwrap().entry(path.to_owned()).or_insert_with(|| probe(path)).clone()
}

/// Looks at the packets of each input once.
fn survey_once(path: &Path) -> Survey {
    static KNOWN: Mutex<BTreeMap<PathBuf, Survey>> = Mutex::new(BTreeMap::new());
    let args = survey_args(path.to_str().unwrap(), Allowed::Media);
    KNOWN.lock().unwrap().entry(path.to_owned()).or_insert_with(|| survey(&args)).clone()
}

fn survey(arguments: &[std::ffi::OsString]) -> Survey {
    let output = Command::new("ffprobe").args(arguments).output().expect("ffprobe is installed");
    let mut survey = Survey::default();
    String::from_utf8_lossy(&output.stdout).lines().for_each(|line| survey.line(line));
    survey
}

pub(crate) fn probe(path: &Path) -> MediaInfo {
    ask(&ffprobe_args(path.to_str().unwrap(), Allowed::Media))
}

fn ask(arguments: &[std::ffi::OsString]) -> MediaInfo {
    let output = Command::new("ffprobe").args(arguments).output().expect("ffprobe is installed");
    parse_ffprobe(&output.stdout).unwrap_or_else(|failure| {
        panic!("{arguments:?}: {failure}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// Presentation times of the video's packets, in file order.
pub(crate) fn video_times(path: &Path) -> Vec<f64> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.trim_end_matches(',').parse().ok())
        .collect()
}

/// The first segment's decode time (`tfdt`) and the first sample's composition offset (`trun`), as they are written.
pub(crate) fn first_decode_and_offset(playlist: &Path, list: &Playlist) -> (u64, u32) {
    let bytes = std::fs::read(playlist.with_file_name(&list.segments[0].uri)).unwrap();
    let find = |kind: &[u8]| bytes.windows(4).position(|window| window == kind).unwrap() + 4;
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let tfdt = find(b"tfdt");
    assert_eq!(bytes[tfdt], 1, "a 64-bit tfdt");
    let decode = u64::from(word(tfdt + 4)) << 32 | u64::from(word(tfdt + 8));
    let trun = find(b"trun");
    let flags = word(trun) & 0x00ff_ffff;
    // Sample count and data offset, then the first sample's fields in this order.
    let mut at = trun + 8 + if flags & 1 != 0 { 4 } else { 0 } + if flags & 4 != 0 { 4 } else { 0 };
    for field in [0x100, 0x200, 0x400] {
        at += if flags & field != 0 { 4 } else { 0 };
    }
    (decode, if flags & 0x800 != 0 { word(at) } else { 0 })
}

/// The value of an attribute of an HLS tag.
pub(crate) fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("{name}=")).unwrap();
    rest.split(',').next().unwrap()
}
