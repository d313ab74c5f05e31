//! Files that are made after ffmpeg has ended, from what it wrote: the HLS master playlist and the WebVTT track of
//! thumbnails. Reads and writes small files only.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::{
    boxes, thumbnails,
    verify::{self, Playlist},
};
use crate::failure::{Failure, FailureKind};

/// Name of the master playlist in the output folder.
pub(super) const MASTER: &str = "master.m3u8";

/// What is made after ffmpeg has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Finish {
    Nothing,
    HlsMaster(HlsMaster),
    Sprites(SpriteTrack),
}

/// What the master playlist lists. CODECS and bandwidths come from the segments.
#[derive(Debug, Clone, PartialEq)]
pub struct HlsMaster {
    /// Largest first.
    pub variants: Vec<HlsVariant>,
    pub audio: Vec<AudioGroup>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HlsVariant {
    /// Relative to the output folder.
    pub playlist: String,
    pub width: u32,
    pub height: u32,
    pub frame_rate: f64,
}

/// One track of sound that all variants share.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioGroup {
    /// Relative to the output folder.
    pub playlist: String,
    pub name: String,
    pub language: Option<String>,
    pub default: bool,
    pub channels: u32,
}

/// How the tiles of the sprite sheets lie.
#[derive(Debug, Clone, PartialEq)]
pub struct SpriteTrack {
    pub tile: (u32, u32),
    pub columns: u32,
    pub rows: u32,
    /// Seconds between tiles.
    pub interval: f64,
    /// Seconds of the whole input, when known.
    pub duration: Option<f64>,
}

/// Makes them. Blocking, but short.
///
/// # Errors
/// [`FailureKind::OutputWrong`] when what ffmpeg wrote is not whole, [`FailureKind::DiskFull`] when nothing can be
/// written.
pub fn finish(finish: &Finish, output_dir: &Path) -> Result<(), Failure> {
    match finish {
        Finish::Nothing => Ok(()),
        Finish::HlsMaster(master) => {
            let text = measure_and_write(master, output_dir)?;
            write(&output_dir.join(MASTER), &text)
        }
        Finish::Sprites(track) => {
            let times = output_dir.join(thumbnails::TIMES);
            let tiles = parse_times(&read(&times)?);
            if tiles.is_empty() {
                return Err(Failure::new(
                    FailureKind::OutputWrong,
                    "making the thumbnail track: ffmpeg wrote no tiles",
                ));
            }
            write(&output_dir.join(thumbnails::TRACK), &webvtt(track, &tiles))?;
            fs::remove_file(&times).map_err(|error| io_failure("removing", &times, &error))
        }
    }
}

fn io_failure(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => FailureKind::DiskFull,
        _ => FailureKind::OutputWrong,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Failure::new(kind, format!("{doing} {name} of the result: {error}"))
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| io_failure("reading", path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| io_failure("writing", path, &error))
}

/// What a playlist's segments say about it.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    codec: String,
    /// Bits per second.
    peak: u64,
    average: u64,
}

fn measure_and_write(master: &HlsMaster, output_dir: &Path) -> Result<String, Failure> {
    let variants: Vec<_> = master
        .variants
        .iter()
        .map(|variant| Ok((variant, measure(output_dir, &variant.playlist)?)))
        .collect::<Result<_, Failure>>()?;
    let audio: Vec<_> = master
        .audio
        .iter()
        .map(|group| Ok((group, measure(output_dir, &group.playlist)?)))
        .collect::<Result<_, Failure>>()?;
    Ok(master_playlist(&variants, &audio))
}

fn measure(output_dir: &Path, relative: &str) -> Result<Measured, Failure> {
    let path = output_dir.join(relative);
    let playlist = verify::playlist(&path)?;
    let init = path.parent().unwrap_or(output_dir).join(&playlist.init);
    let bytes = fs::read(&init).map_err(|error| io_failure("reading", &init, &error))?;
    let codec = boxes::codec(&bytes).ok_or_else(|| {
        Failure::new(
            FailureKind::OutputWrong,
            format!("making the master playlist: the codec of {relative} cannot be read from its initialisation segment"),
        )
    })?;
    let (peak, average) = bandwidth(&playlist);
    Ok(Measured { codec, peak, average })
}

/// Peak and average bits per second. The peak is that of RFC 8216, 4.1: the largest over any run of segments that lasts
/// between half and one and a half target durations, so a last segment of three frames does not count alone.
fn bandwidth(playlist: &Playlist) -> (u64, u64) {
    let rate = |bytes: u64, seconds: f64| {
        if seconds > 0.0 { (bytes as f64 * 8.0 / seconds).ceil() as u64 } else { 0 }
    };
    let segments = &playlist.segments;
    let target = segments.iter().map(|segment| segment.duration).fold(0.0, f64::max);
    let mut peak = 0;
    for start in 0..segments.len() {
        let (mut bytes, mut seconds) = (0, 0.0);
        for segment in &segments[start..] {
            bytes += segment.size;
            seconds += segment.duration;
            if seconds > target * 1.5 {
                break;
            }
            if seconds >= target * 0.5 {
                peak = peak.max(rate(bytes, seconds));
            }
        }
    }
    let total = segments.iter().map(|segment| segment.size).sum();
    let average = rate(total, segments.iter().map(|segment| segment.duration).sum());
    (peak.max(average), average)
}

/// Text that is safe inside a quoted attribute.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '"' {
                '\''
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect()
}

fn master_playlist(variants: &[(&HlsVariant, Measured)], audio: &[(&AudioGroup, Measured)]) -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    // Writing to a String cannot fail.
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(arguments);
        text.push('\n');
    };
    let mut names = std::collections::BTreeSet::new();
    for (group, _) in audio {
        // RFC 8216, 4.3.4.1.1: names differ within a group.
        let mut name = quoted(&group.name);
        while !names.insert(name.clone()) {
            name.push_str(" (2)");
        }
        let language =
            group.language.as_deref().map(|l| format!(",LANGUAGE=\"{}\"", quoted(l))).unwrap_or_default();
        let default = if group.default { "YES" } else { "NO" };
        line(format_args!(
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"{name}\"{language},DEFAULT={default},AUTOSELECT=YES,\
             CHANNELS=\"{}\",URI=\"{}\"",
            group.channels, group.playlist
        ));
    }
    // A player plays one track of the group beside a variant: the largest counts.
    let sound_peak = audio.iter().map(|(_, measured)| measured.peak).max().unwrap_or(0);
    let sound_average = audio.iter().map(|(_, measured)| measured.average).max().unwrap_or(0);
    let mut sound_codecs: Vec<&str> = audio.iter().map(|(_, measured)| measured.codec.as_str()).collect();
    sound_codecs.dedup();
    for (variant, measured) in variants {
        let codecs = std::iter::once(measured.codec.as_str())
            .chain(sound_codecs.iter().copied())
            .collect::<Vec<_>>()
            .join(",");
        let group = if audio.is_empty() { "" } else { ",AUDIO=\"audio\"" };
        line(format_args!(
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{codecs}\",RESOLUTION={}x{},\
             FRAME-RATE={:.3},VIDEO-RANGE=SDR,CLOSED-CAPTIONS=NONE{group}",
            measured.peak + sound_peak,
            measured.average + sound_average,
            variant.width,
            variant.height,
            variant.frame_rate
        ));
        line(format_args!("{}", variant.playlist));
    }
    text
}

/// Seconds of each tile from ffmpeg's framecrc output.
fn parse_times(text: &str) -> Vec<f64> {
    let mut base = (1.0, 1.0);
    let mut times = Vec::new();
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("#tb 0:") {
            if let Some((num, den)) = value.trim().split_once('/')
                && let (Ok(num), Ok(den)) = (num.parse(), den.parse())
            {
                base = (num, den);
            }
        } else if !line.starts_with('#')
            && let Some(Ok(pts)) = line.split(',').nth(2).map(|pts| pts.trim().parse::<f64>())
        {
            times.push((pts * base.0 / base.1).max(0.0));
        }
    }
    times
}

fn clock(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (hours, rest) = (millis / 3_600_000, millis % 3_600_000);
    format!("{hours:02}:{:02}:{:02}.{:03}", rest / 60_000, rest / 1000 % 60, rest % 1000)
}

/// The track that players read to show a picture over the seek bar: one cue for each tile, from the tile's time (the
/// first from 0) to the next one's.
fn webvtt(track: &SpriteTrack, times: &[f64]) -> String {
    let mut text = "WEBVTT\n".to_owned();
    let per_sheet = (track.columns * track.rows).max(1);
    let last = times.last().copied().unwrap_or(0.0);
    let end = track.duration.filter(|end| *end > last + 0.001).unwrap_or(last + track.interval.max(0.1));
    for (index, start) in times.iter().enumerate() {
        let start = if index == 0 { 0.0 } else { *start };
        let until = times.get(index + 1).copied().unwrap_or(end);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let (sheet, cell) = (index / per_sheet + 1, index % per_sheet);
        let (x, y) = (cell % track.columns * track.tile.0, cell / track.columns * track.tile.1);
        let _ = write!(
            text,
            "\n{} --> {}\nsprite_{sheet:03}.jpg#xywh={x},{y},{},{}\n",
            clock(start),
            clock(until),
            track.tile.0,
            track.tile.1
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::verify::Segment;

    fn segment(duration: f64, size: u64) -> Segment {
        Segment { uri: "s.m4s".to_owned(), duration, size }
    }

    #[test]
    fn a_short_last_segment_is_no_peak() {
        let playlist = Playlist {
            init: "init.mp4".to_owned(),
            segments: vec![segment(6.0, 6000), segment(6.0, 3000), segment(0.02, 500)],
        };
        assert_eq!(bandwidth(&playlist), (8000, 6323));
    }

    #[test]
    fn the_master_lists_every_variant_with_its_sound() {
        let variant = HlsVariant {
            playlist: "720p/index.m3u8".to_owned(),
            width: 1280,
            height: 720,
            frame_rate: 29.97,
        };
        let group = AudioGroup {
            playlist: "audio/index.m3u8".to_owned(),
            name: "deu \"5.1\"".to_owned(),
            language: Some("deu".to_owned()),
            default: true,
            channels: 2,
        };
        let measured = |codec: &str, peak, average| Measured { codec: codec.to_owned(), peak, average };
        let text = master_playlist(
            &[(&variant, measured("avc1.64001F", 3_000_000, 2_000_000))],
            &[(&group, measured("mp4a.40.2", 130_000, 128_000))],
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn tiles_point_into_their_sheet() {
        let times = parse_times(
            "#software: x\n#tb 0: 1/25\n0, 0, 0, 1, 4416, 0x1\n0, 125, 125, 1, 4416, 0x2\n0, 250, 250, 1, 1, 0x3\n",
        );
        assert_eq!(times, [0.0, 5.0, 10.0]);
        let track = SpriteTrack { tile: (160, 90), columns: 2, rows: 1, interval: 5.0, duration: Some(12.5) };
        insta::assert_snapshot!(webvtt(&track, &times));
    }
}
