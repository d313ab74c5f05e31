//! Is what came out what was asked for? ffmpeg exits with 0 on a truncated input and on a full disk, so nothing is
//! published before it was looked at.
//!
//! Three looks, from cheap to dear: which files there are ([`files`]), what ffprobe says of each ([`check`]), and what the
//! packets in it say ([`super::timing`]).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use super::playlist::{Playlist, Segment, playlist};
use super::{
    Expected, Finish, Lowered,
    finish::MASTER,
    playlist::{aligned, master},
    produced,
};
use crate::{
    failure::{Failure, FailureKind},
    media::{MediaInfo, StreamKind, VideoInfo},
};

/// Checks what ffprobe says about a result against what was expected of it.
///
/// # Errors
/// [`FailureKind::OutputWrong`], saying what differs.
pub fn check(expected: &Expected, found: &MediaInfo) -> Result<(), Failure> {
    video(expected, found)
        .and_then(|()| audio(expected, found))
        .and_then(|()| subtitles(expected, found))
        .map_err(|what| about(expected, what))
}

/// A result that is not what was asked for.
pub(super) fn about(expected: &Expected, what: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::OutputWrong, format!("checking the result {}: {what}", expected.path))
}

fn video(expected: &Expected, found: &MediaInfo) -> Result<(), String> {
    let (wanted, (stream, video)) = match (&expected.video, found.video().next()) {
        (None, None) => return Ok(()),
        (None, Some((stream, _))) => {
            return Err(format!("it holds {} video and should hold none", stream.codec));
        }
        (Some(wanted), None) => return Err(format!("the {} video is missing", wanted.codec)),
        (Some(wanted), Some(found)) => (wanted, found),
    };
    let extra = found.video().count() - 1;
    if extra > 0 {
        return Err(format!("it holds {extra} more video streams than the one that it should"));
    }
    if stream.codec != wanted.codec {
        return Err(format!("the video is {} instead of {}", stream.codec, wanted.codec));
    }
    if video.rotation != 0 {
        return Err(format!(
            "players would turn the picture by {} degrees, and it was turned already",
            video.rotation
        ));
    }
    let (width, height) = video.display_size();
    if (width, height) != (wanted.width, wanted.height) {
        return Err(format!("the picture is {width}x{height} instead of {}x{}", wanted.width, wanted.height));
    }
    match &wanted.pixel_format {
        Some(pixel_format) => pixels(pixel_format, video),
        None => Ok(()),
    }
}

/// Depth and chroma; the same pixels have several names (`nv12`, `yuv420p`, `yuvj420p`).
fn pixels(wanted: &str, found: &VideoInfo) -> Result<(), String> {
    let told = |format: &str| super::probe::bit_depth(format).zip(chroma(format));
    let (Some(wanted_pixels), Some(found_pixels)) = (told(wanted), told(&found.pixel_format)) else {
        return Ok(());
    };
    if wanted_pixels == found_pixels {
        return Ok(());
    }
    Err(format!("the pixels are {} instead of {wanted}", found.pixel_format))
}

/// Chroma subsampling by the pixel format's name; `None` when the name does not say.
fn chroma(pixel_format: &str) -> Option<u16> {
    let digits = [("420", 420), ("422", 422), ("444", 444), ("nv12", 420), ("p010", 420), ("p210", 422)];
    digits.into_iter().find(|(name, _)| pixel_format.contains(name)).map(|(_, chroma)| chroma)
}

fn audio(expected: &Expected, found: &MediaInfo) -> Result<(), String> {
    let codecs: Vec<&str> = found.audio().map(|(stream, _)| stream.codec.as_str()).collect();
    let wanted: Vec<&str> = expected.audio.iter().map(|track| track.codec.as_str()).collect();
    if codecs != wanted {
        return Err(format!(
            "the audio tracks are [{}] instead of [{}]",
            codecs.join(", "),
            wanted.join(", ")
        ));
    }
    for (index, ((_, audio), wanted)) in found.audio().zip(&expected.audio).enumerate() {
        if audio.channels != wanted.channels {
            return Err(format!(
                "audio track {index} has {} channels instead of {}",
                audio.channels, wanted.channels
            ));
        }
        if audio.sample_rate != wanted.sample_rate {
            return Err(format!(
                "audio track {index} has {} Hz instead of {} Hz",
                audio.sample_rate, wanted.sample_rate
            ));
        }
    }
    Ok(())
}

fn subtitles(expected: &Expected, found: &MediaInfo) -> Result<(), String> {
    let count = found.streams.iter().filter(|s| matches!(s.kind, StreamKind::Subtitle { .. })).count();
    if count == expected.subtitles {
        return Ok(());
    }
    Err(format!("it holds {count} subtitle tracks instead of {}", expected.subtitles))
}

/// Checks that every expected file is there and not empty, that playlists are whole and list what is there, that all
/// renditions are cut at the same times, and that nothing is left over.
///
/// # Errors
/// [`FailureKind::OutputWrong`], naming the file.
pub fn files(lowered: &Lowered, output_dir: &Path) -> Result<Files, Failure> {
    if !lowered.produced.is_empty() {
        let produced = produced::files(&lowered.produced, output_dir)?;
        return Ok(Files { lists: Vec::new(), produced });
    }
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    let mut lists = Vec::with_capacity(lowered.expected.len());
    for expected in &lowered.expected {
        let path = output_dir.join(&expected.path);
        if has_extension(&path, "m3u8") {
            let list = playlist(&path)?;
            known.extend(list.files().map(|name| path.with_file_name(name)));
            lists.push(Some(list));
        } else {
            not_empty(&path)?;
            lists.push(None);
        }
        known.insert(path);
    }
    match &lowered.finish {
        Finish::Nothing => {}
        Finish::HlsMaster(_) => {
            let path = output_dir.join(MASTER);
            master(&path, &lowered.expected.iter().map(|expected| expected.path.as_str()).collect())?;
            known.insert(path);
            let renditions: Vec<_> = lowered
                .expected
                .iter()
                .zip(&lists)
                .filter(|(expected, _)| expected.video.is_some())
                .filter_map(|(expected, list)| Some((expected.path.as_str(), list.as_ref()?)))
                .collect();
            aligned(&renditions).map_err(|what| {
                Failure::new(FailureKind::OutputWrong, format!("checking the renditions: {what}"))
            })?;
        }
        Finish::Sprites(_) => {
            let track = output_dir.join(super::thumbnails::TRACK);
            for sheet in sheets(&track)? {
                not_empty(&sheet)?;
                known.insert(sheet);
            }
        }
    }
    nothing_else(output_dir, &known)?;
    Ok(Files { lists, produced: Vec::new() })
}

/// What is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    /// The playlist of each expected file that is one.
    pub lists: Vec<Option<Playlist>>,
    /// Files of a user's command in which ffprobe must find streams.
    pub produced: Vec<PathBuf>,
}

/// The sprite sheets that a WebVTT track points into.
fn sheets(track: &Path) -> Result<BTreeSet<PathBuf>, Failure> {
    let text = std::fs::read_to_string(track)
        .map_err(|error| wrong(track, format_args!("the thumbnail track cannot be read ({error})")))?;
    let names = text.lines().filter_map(|line| line.split_once("#xywh=")).map(|(name, _)| name);
    Ok(names.map(|name| track.with_file_name(name)).collect())
}

/// A file that nothing refers to would be uploaded and published with the rest.
fn nothing_else(folder: &Path, known: &BTreeSet<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| wrong(folder, format_args!("it cannot be listed ({error})"));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if entry.file_type().map_err(unreadable)?.is_dir() {
            nothing_else(&path, known)?;
        } else if !known.contains(&path) {
            return Err(wrong(&path, "it is left over: nothing refers to it"));
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

pub(super) fn wrong(path: &Path, what: impl std::fmt::Display) -> Failure {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    Failure::new(FailureKind::OutputWrong, format!("checking the result {folder}/{name}: {what}"))
}

pub(super) fn not_empty(path: &Path) -> Result<u64, Failure> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 => Ok(metadata.len()),
        Ok(_) => Err(wrong(path, "the file is empty")),
        Err(error) => Err(wrong(path, format_args!("ffmpeg did not write it ({error})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ffmpeg::{ExpectedAudio, ExpectedVideo},
        media::{AudioInfo, StreamInfo},
    };

    fn stream(index: u32, codec: &str, kind: StreamKind) -> StreamInfo {
        StreamInfo {
            index,
            codec: codec.to_owned(),
            language: None,
            title: None,
            default: true,
            duration: None,
            start_time: None,
            kind,
        }
    }

    fn film() -> (Expected, MediaInfo) {
        let video = VideoInfo {
            width: 64,
            height: 46,
            sample_aspect_ratio: (1, 1),
            pixel_format: "yuvj420p".to_owned(),
            ..VideoInfo::default()
        };
        let audio = AudioInfo { channels: 2, channel_layout: None, sample_rate: 48_000 };
        let found = MediaInfo {
            streams: vec![
                stream(0, "h264", StreamKind::Video(video)),
                stream(1, "aac", StreamKind::Audio(audio)),
            ],
            ..MediaInfo::default()
        };
        let expected = Expected {
            path: "a.mp4".to_owned(),
            video: Some(ExpectedVideo {
                codec: "h264".to_owned(),
                width: 64,
                height: 46,
                pixel_format: Some("yuv420p".to_owned()),
                timing: None,
            }),
            audio: vec![ExpectedAudio {
                codec: "aac".to_owned(),
                channels: 2,
                sample_rate: 48_000,
                source: 1,
            }],
            subtitles: 0,
        };
        (expected, found)
    }

    #[test]
    fn a_result_that_differs_is_named() {
        let (expected, found) = film();
        assert_eq!(check(&expected, &found), Ok(()));
        let objection = |change: fn(&mut Expected, &mut MediaInfo)| {
            let (mut expected, mut found) = film();
            change(&mut expected, &mut found);
            check(&expected, &found).unwrap_err().message
        };
        let with_video = |found: &mut MediaInfo, change: fn(&mut VideoInfo)| {
            if let StreamKind::Video(video) = &mut found.streams[0].kind {
                change(video);
            }
        };
        assert!(objection(|expected, _| expected.audio.clear()).contains("[aac] instead of []"));
        assert!(objection(|expected, _| expected.subtitles = 1).contains("subtitle"));
        assert!(objection(|expected, _| expected.audio[0].channels = 6).contains("2 channels instead of 6"));
        assert!(objection(|expected, _| expected.audio[0].sample_rate = 44_100).contains("48000 Hz"));
        assert!(objection(|expected, _| expected.video = None).contains("should hold none"));
        let turned = {
            let (expected, mut found) = film();
            with_video(&mut found, |video| video.rotation = 180);
            check(&expected, &found).unwrap_err().message
        };
        assert!(turned.contains("turn the picture by 180"), "{turned}");
        let deep = {
            let (expected, mut found) = film();
            with_video(&mut found, |video| video.pixel_format = "yuv420p10le".to_owned());
            check(&expected, &found).unwrap_err().message
        };
        assert!(deep.contains("yuv420p10le instead of yuv420p"), "{deep}");
    }

    #[test]
    fn what_nothing_refers_to_is_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let lowered = Lowered {
            argv: Vec::new(),
            duration: None,
            expected: vec![film().0],
            produced: Vec::new(),
            finish: Finish::Nothing,
            warnings: Vec::new(),
        };
        assert!(files(&lowered, folder.path()).unwrap_err().message.contains("did not write it"));
        std::fs::write(folder.path().join("a.mp4"), "").unwrap();
        assert!(files(&lowered, folder.path()).unwrap_err().message.contains("empty"));
        std::fs::write(folder.path().join("a.mp4"), "x").unwrap();
        assert_eq!(files(&lowered, folder.path()).unwrap().lists, vec![None]);
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/b.tmp"), "x").unwrap();
        let left = files(&lowered, folder.path()).unwrap_err().message;
        assert!(left.contains("sub/b.tmp") && left.contains("left over"), "{left}");
    }
}
