//! Is what came out what was asked for? ffmpeg exits with 0 on a truncated input and on a full disk, so nothing is
//! published before it was looked at.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use super::{Expected, boxes};
use crate::{
    failure::{Failure, FailureKind},
    media::{MediaInfo, StreamKind},
};

/// Checks what ffprobe says about a result against what was expected of it.
///
/// # Errors
/// [`FailureKind::OutputWrong`], saying what differs.
pub fn check(expected: &Expected, found: &MediaInfo) -> Result<(), Failure> {
    let path = &expected.path;
    let wrong = |what: String| {
        Err(Failure::new(FailureKind::OutputWrong, format!("checking the result {path}: {what}")))
    };
    match (&expected.video, found.video().next()) {
        (None, None) => {}
        (None, Some((stream, _))) => {
            return wrong(format!("it holds {} video and should hold none", stream.codec));
        }
        (Some(wanted), None) => return wrong(format!("the {} video is missing", wanted.codec)),
        (Some(wanted), Some((stream, video))) => {
            if stream.codec != wanted.codec {
                return wrong(format!("the video is {} instead of {}", stream.codec, wanted.codec));
            }
            let (width, height) = video.display_size();
            if (width, height) != (wanted.width, wanted.height) {
                return wrong(format!(
                    "the picture is {width}x{height} instead of {}x{}",
                    wanted.width, wanted.height
                ));
            }
        }
    }
    let audio: Vec<&str> = found.audio().map(|(stream, _)| stream.codec.as_str()).collect();
    if audio != expected.audio {
        return wrong(format!(
            "the audio tracks are [{}] instead of [{}]",
            audio.join(", "),
            expected.audio.join(", ")
        ));
    }
    let subtitles = found.streams.iter().filter(|s| matches!(s.kind, StreamKind::Subtitle { .. })).count();
    if subtitles != expected.subtitles {
        return wrong(format!("it holds {subtitles} subtitle tracks instead of {}", expected.subtitles));
    }
    if let (Some(wanted), Some(length)) = (expected.duration, found.duration) {
        let allowed = tolerance(wanted);
        if (length - wanted).abs() > allowed {
            return wrong(format!(
                "it lasts {length:.2} s instead of {wanted:.2} s; the input is cut off or damaged, or the disk was full"
            ));
        }
    }
    Ok(())
}

/// Seconds by which a result may be longer or shorter than its input claims: durations in containers are rounded, and
/// sound ends a frame early or late.
#[must_use]
pub fn tolerance(duration: f64) -> f64 {
    (duration * 0.02).clamp(0.5, 5.0)
}

/// Checks that every expected file is there and not empty, and that playlists are whole.
///
/// # Errors
/// [`FailureKind::OutputWrong`], naming the file.
pub fn files(expected: &[Expected], output_dir: &Path) -> Result<(), Failure> {
    for file in expected {
        let path = output_dir.join(&file.path);
        if has_extension(&path, "m3u8") {
            playlist(&path)?;
        } else {
            not_empty(&path)?;
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> Failure {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    Failure::new(FailureKind::OutputWrong, format!("checking the result {folder}/{name}: {what}"))
}

fn not_empty(path: &Path) -> Result<u64, Failure> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 => Ok(metadata.len()),
        Ok(_) => Err(wrong(path, "the file is empty")),
        Err(error) => Err(wrong(path, format_args!("ffmpeg did not write it ({error})"))),
    }
}

/// A media playlist that is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Playlist {
    /// File name of the initialisation segment.
    pub init: String,
    pub segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Relative to the playlist.
    pub uri: String,
    /// Seconds.
    pub duration: f64,
    /// Bytes.
    pub size: u64,
}

/// Reads a media playlist and checks that it ends and that every segment that it lists is there and whole.
///
/// # Errors
/// [`FailureKind::OutputWrong`], naming the playlist or the segment.
pub fn playlist(path: &Path) -> Result<Playlist, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(path, format_args!("the playlist cannot be read ({error})")))?;
    let (init, listed) = parse_playlist(&text).map_err(|problem| wrong(path, problem))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    not_empty(&folder.join(&init))?;
    let mut segments = Vec::with_capacity(listed.len());
    for (uri, duration) in listed {
        let file = folder.join(&uri);
        let size = not_empty(&file)?;
        whole_segment(&file, size).map_err(|problem| wrong(&file, problem))?;
        segments.push(Segment { uri, duration, size });
    }
    Ok(Playlist { init, segments })
}

/// The initialisation segment, and each segment's URI with its seconds.
fn parse_playlist(text: &str) -> Result<(String, Vec<(String, f64)>), String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.next() != Some("#EXTM3U") {
        return Err("it is no playlist: #EXTM3U is missing".to_owned());
    }
    let (mut init, mut target, mut ended, mut segments) = (None, None, false, Vec::new());
    let mut pending = None;
    for line in lines {
        if let Some(value) = line.strip_prefix("#EXTINF:") {
            pending = value.split(',').next().and_then(|seconds| seconds.parse::<f64>().ok());
        } else if let Some(value) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
            target = value.parse::<f64>().ok();
        } else if let Some(value) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            init = value.split('"').next().map(str::to_owned);
        } else if line == "#EXT-X-ENDLIST" {
            ended = true;
        } else if !line.starts_with('#') {
            let duration = pending.take().ok_or_else(|| format!("{line} has no #EXTINF"))?;
            if line.contains('/') || line.contains("..") {
                return Err(format!("{line} is outside the playlist's folder"));
            }
            segments.push((line.to_owned(), duration));
        }
    }
    if !ended {
        return Err("#EXT-X-ENDLIST is missing: the encode did not come to its end".to_owned());
    }
    if segments.is_empty() {
        return Err("it lists no segments".to_owned());
    }
    let target = target.ok_or("#EXT-X-TARGETDURATION is missing")?;
    // RFC 8216, 4.3.3.1: rounded, no segment is longer than the target duration.
    if let Some((uri, duration)) = segments.iter().find(|(_, duration)| duration.round() > target) {
        return Err(format!("{uri} lasts {duration} s, longer than the target duration of {target} s"));
    }
    Ok((init.ok_or("#EXT-X-MAP is missing: there is no initialisation segment")?, segments))
}

/// An fMP4 segment is whole when its boxes fill the file exactly and one of them is `mdat`.
fn whole_segment(path: &Path, size: u64) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| format!("it cannot be read ({error})"))?;
    let (mut at, mut media) = (0u64, false);
    while at < size {
        let mut head = Vec::with_capacity(16);
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.by_ref().take(16).read_to_end(&mut head))
            .map_err(|error| format!("it cannot be read ({error})"))?;
        let (kind, length) = boxes::header(&head).ok_or("it ends in the middle of a box")?;
        media |= &kind == b"mdat";
        if length < 8 || at + length > size {
            return Err(
                "it is cut off: its last box is larger than the file; the disk may have been full".to_owned()
            );
        }
        at += length;
    }
    if media { Ok(()) } else { Err("it holds no media".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ffmpeg::ExpectedVideo,
        media::{AudioInfo, StreamInfo, VideoInfo},
    };

    const LIST: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6\n#EXT-X-MAP:URI=\"init.mp4\"\n\
                        #EXTINF:6.006000,\nsegment_00000.m4s\n#EXT-X-ENDLIST\n";

    #[test]
    fn a_playlist_must_end_and_keep_to_its_target() {
        assert_eq!(
            parse_playlist(LIST),
            Ok(("init.mp4".to_owned(), vec![("segment_00000.m4s".to_owned(), 6.006)]))
        );
        assert!(parse_playlist(&LIST.replace("#EXT-X-ENDLIST", "")).unwrap_err().contains("ENDLIST"));
        assert!(parse_playlist(&LIST.replace("6.006", "7.5")).unwrap_err().contains("longer"));
        assert!(parse_playlist("hello").unwrap_err().contains("#EXTM3U"));
    }

    #[test]
    fn a_cut_off_segment_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment_00000.m4s");
        let whole = [&[0, 0, 0, 8][..], b"moof", &[0, 0, 0, 12], b"mdat", &[1, 2, 3, 4]].concat();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(whole_segment(&path, whole.len() as u64), Ok(()));
        std::fs::write(&path, &whole[..18]).unwrap();
        assert!(whole_segment(&path, 18).unwrap_err().contains("cut off"));
    }

    #[test]
    fn a_result_that_differs_is_named() {
        let stream = |index, codec: &str, kind| StreamInfo {
            index,
            codec: codec.to_owned(),
            language: None,
            title: None,
            default: true,
            duration: None,
            start_time: None,
            kind,
        };
        let found = MediaInfo {
            duration: Some(10.0),
            streams: vec![
                stream(
                    0,
                    "h264",
                    StreamKind::Video(VideoInfo {
                        width: 64,
                        height: 46,
                        sample_aspect_ratio: (1, 1),
                        ..VideoInfo::default()
                    }),
                ),
                stream(1, "aac", StreamKind::Audio(AudioInfo::default())),
            ],
            ..MediaInfo::default()
        };
        let expected = Expected {
            path: "a.mp4".to_owned(),
            video: Some(ExpectedVideo { codec: "h264".to_owned(), width: 64, height: 46 }),
            audio: vec!["aac".to_owned()],
            subtitles: 0,
            duration: Some(10.3),
        };
        assert_eq!(check(&expected, &found), Ok(()));
        let message = |expected: &Expected| check(expected, &found).unwrap_err().message;
        assert!(
            message(&Expected { duration: Some(20.0), ..expected.clone() })
                .contains("10.00 s instead of 20.00 s")
        );
        assert!(message(&Expected { audio: Vec::new(), ..expected.clone() }).contains("audio"));
        assert!(message(&Expected { subtitles: 1, ..expected }).contains("subtitle"));
    }
}
