//! HLS playlists that were written here: whole, and telling the truth about what is beside them.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use super::{
    boxes,
    verify::{not_empty, wrong},
};
use crate::failure::Failure;

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

impl Playlist {
    /// Seconds of all segments.
    #[must_use]
    pub fn duration(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    /// Names of everything that it refers to.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.init.as_str()).chain(self.segments.iter().map(|segment| segment.uri.as_str()))
    }
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
            if !(duration.is_finite() && duration >= 0.0) {
                return Err(format!("{line} lasts {duration} s"));
            }
            if segments.iter().any(|(listed, _)| listed == line) {
                return Err(format!("{line} is listed twice"));
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

/// Checks that a master playlist lists exactly these media playlists.
///
/// # Errors
/// [`crate::failure::FailureKind::OutputWrong`], naming what is missing or too many.
pub(super) fn master(path: &Path, playlists: &BTreeSet<&str>) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(path, format_args!("the master playlist cannot be read ({error})")))?;
    if !text.starts_with("#EXTM3U") {
        return Err(wrong(path, "it is no playlist: #EXTM3U is missing"));
    }
    let listed: BTreeSet<&str> = text.lines().filter_map(listed_playlist).collect();
    if let Some(missing) = playlists.difference(&listed).next() {
        return Err(wrong(path, format_args!("it does not list {missing}")));
    }
    if let Some(unknown) = listed.difference(playlists).next() {
        return Err(wrong(path, format_args!("it lists {unknown}, which was not made")));
    }
    Ok(())
}

fn listed_playlist(line: &str) -> Option<&str> {
    match line.strip_prefix("#EXT-X-MEDIA:") {
        Some(attributes) => attributes.split_once("URI=\"")?.1.split('"').next(),
        None => Some(line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')),
    }
}

/// Checks that all renditions are cut at the same times. `lists`: each with its name.
///
/// # Errors
/// In words, which rendition is cut elsewhere and where.
pub(super) fn aligned(lists: &[(&str, &Playlist)]) -> Result<(), String> {
    // Playlists are written with microseconds; each rendition rounds on its own.
    const ROUNDING: f64 = 0.001;
    let Some(((name, first), others)) = lists.split_first() else { return Ok(()) };
    for (other_name, other) in others {
        if other.segments.len() != first.segments.len() {
            return Err(format!(
                "{other_name} has {} segments and {name} has {}: players could not change between them",
                other.segments.len(),
                first.segments.len()
            ));
        }
        let differs = first
            .segments
            .iter()
            .zip(&other.segments)
            .position(|(a, b)| (a.duration - b.duration).abs() > ROUNDING);
        if let Some(at) = differs {
            return Err(format!(
                "segment {at} of {other_name} lasts {} s and that of {name} {} s: players could not change between them",
                other.segments[at].duration, first.segments[at].duration
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6\n#EXT-X-MAP:URI=\"init.mp4\"\n\
                        #EXTINF:6.006000,\nsegment_00000.m4s\n#EXT-X-ENDLIST\n";

    #[test]
    fn a_playlist_must_end_and_keep_to_its_target() {
        assert_eq!(
            parse_playlist(LIST),
            Ok(("init.mp4".to_owned(), vec![("segment_00000.m4s".to_owned(), 6.006)]))
        );
        let problem = |from: &str, to: &str| parse_playlist(&LIST.replace(from, to)).unwrap_err();
        assert!(problem("#EXT-X-ENDLIST", "").contains("ENDLIST"));
        assert!(problem("6.006", "7.5").contains("longer"));
        assert!(problem("6.006000", "NaN").contains("lasts NaN"));
        assert!(problem("#EXT-X-ENDLIST", "#EXTINF:1,\nsegment_00000.m4s\n#EXT-X-ENDLIST").contains("twice"));
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
    fn a_master_lists_what_was_made_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.m3u8");
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"audio/index.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\
                    720p/index.m3u8\n";
        std::fs::write(&path, text).unwrap();
        let check = |names: &[&'static str]| master(&path, &names.iter().copied().collect());
        assert_eq!(check(&["audio/index.m3u8", "720p/index.m3u8"]), Ok(()));
        let missing = check(&["audio/index.m3u8", "720p/index.m3u8", "360p/index.m3u8"]).unwrap_err();
        assert!(missing.message.contains("does not list 360p"), "{missing}");
        assert!(check(&["720p/index.m3u8"]).unwrap_err().message.contains("audio/index.m3u8"));
    }

    #[test]
    fn renditions_that_are_cut_elsewhere_are_named() {
        let list = |durations: &[f64]| Playlist {
            init: "init.mp4".to_owned(),
            segments: durations
                .iter()
                .map(|duration| Segment { uri: String::new(), duration: *duration, size: 1 })
                .collect(),
        };
        let (a, b, c) = (list(&[6.0, 2.0]), list(&[6.0, 2.0]), list(&[5.96, 2.04]));
        assert_eq!(aligned(&[("1080p", &a), ("720p", &b)]), Ok(()));
        assert!(
            aligned(&[("1080p", &a), ("720p", &c)]).unwrap_err().contains("segment 0 of 720p lasts 5.96 s")
        );
        assert!(aligned(&[("1080p", &a), ("720p", &list(&[8.0]))]).unwrap_err().contains("1 segments"));
    }
}
