//! Playlists and manifests, as ffmpeg reads them.

use std::{fs, path::Path};

use mux::{
    Ticks, TrackId,
    codec::Parameters,
    dash::{self, Manifest, Period},
    fmp4,
    hls::{Checker, Master, Media, Segment, Variant},
};

use crate::media::{AV1, START, ffmpegs, fragments, frames};

const SEGMENT: Ticks = Ticks(45_000);

/// Init and segments as files; how many segments.
fn write_segments(folder: &Path, name: &str, track: Option<TrackId>) -> Vec<(Ticks, Ticks)> {
    let picked = |bytes: &[u8]| match track {
        Some(track) => fmp4::select(bytes, track).unwrap().to_vec(),
        None => bytes.to_vec(),
    };
    fs::write(folder.join(format!("{name}-init.mp4")), picked(&fmp4::init(&AV1.parameters))).unwrap();
    // The first frame of audio lies before the first segment: it goes with it.
    let all = fragments(&AV1, SEGMENT);
    let first = AV1.units.iter().map(|unit| unit.dts.interval(SEGMENT)).min().unwrap();
    let mut timeline = Vec::new();
    for (index, fragment) in all.iter().enumerate() {
        let start = Ticks((first + index as i64) * SEGMENT.0);
        let has_track = track.is_none_or(|track| fmp4::select(fragment, track).is_some());
        let picked = if has_track { picked(fragment) } else { Vec::new() };
        if start.0 < START {
            fs::write(folder.join("early"), picked).unwrap();
            continue;
        }
        let early = if timeline.is_empty() { fs::read(folder.join("early")).unwrap() } else { Vec::new() };
        fs::write(folder.join(format!("{name}-{}.m4s", timeline.len() + 7)), [early, picked].concat())
            .unwrap();
        timeline.push((start, SEGMENT));
    }
    timeline
}

#[test]
fn hls_of_fragmented_mp4_plays_every_frame_at_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = write_segments(folder.path(), "seg", None);
    let media = Media {
        target_duration: 1,
        media_sequence: 7,
        discontinuity_sequence: 0,
        segments: (7..)
            .zip(&timeline)
            .map(|(number, (start, duration))| Segment {
                uri: format!("seg-{number}.m4s"),
                duration: Some(*duration),
                program_date_time: 1_795_000_000_000 + start.millis(),
                discontinuity: false,
                independent: true,
                map: Some("seg-init.mp4".to_owned()),
                parts: Vec::new(),
            })
            .collect(),
        low_latency: None,
        ended: true,
    };
    Checker::default().push(&media.text()).unwrap();
    fs::write(folder.path().join("index.m3u8"), media.text()).unwrap();
    let master = Master {
        variants: vec![Variant {
            uri: "index.m3u8".to_owned(),
            bandwidth: 1_000_000,
            average_bandwidth: Some(900_000),
            codecs: vec!["av01.0.00M.08".to_owned(), "mp4a.40.2".to_owned()],
            resolution: Some((160, 90)),
            frame_rate: Some(25.0),
        }],
        independent: true,
    };
    fs::write(folder.path().join("master.m3u8"), master.text()).unwrap();
    for ffmpeg in ffmpegs() {
        for playlist in ["index.m3u8", "master.m3u8"] {
            let input = format!("-i {}", folder.path().join(playlist).display());
            for stream in ["v", "a"] {
                assert_eq!(
                    frames(&ffmpeg, &input, stream, &[]),
                    frames(&ffmpeg, "-i -", stream, &AV1.file),
                    "{} {playlist} {stream}",
                    ffmpeg.display()
                );
            }
        }
    }
}

#[test]
fn dash_plays_every_frame_once() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["video", "audio"];
    let tracks = AV1.parameters.iter().zip(names).map(|((track, parameters), name)| {
        let timeline = write_segments(folder.path(), name, Some(*track));
        for (number, (start, _)) in (7..).zip(&timeline) {
            let file = |place: i64| folder.path().join(format!("{name}-{place}.m4s"));
            fs::rename(file(number), file(start.0)).unwrap();
        }
        let (media, codecs) = match parameters {
            Parameters::Video(video) => (
                dash::Media::Video { width: video.width, height: video.height, frame: video.frame },
                &video.rfc6381,
            ),
            Parameters::Audio(audio) => (
                dash::Media::Audio { sample_rate: audio.sample_rate, channels: audio.channels },
                &audio.rfc6381,
            ),
        };
        dash::Track {
            id: name.to_owned(),
            media,
            codecs: codecs.clone(),
            bandwidth: 500_000,
            init: format!("{name}-init.mp4"),
            segments: format!("{name}-$Time$.m4s"),
            timeline,
        }
    });
    let manifest = Manifest {
        publish_time: 1_795_000_020_000,
        segment: SEGMENT,
        depth: Ticks(180_000),
        now: 1_795_000_021_000,
        periods: vec![Period {
            id: "0".to_owned(),
            start_wall: 1_795_000_000_000,
            start: Ticks(START),
            tracks: tracks.collect(),
        }],
        ended: true,
    };
    let text = manifest.text();
    assert!(text.contains("value=\"2026-11-18T11:07:01.000Z\""), "{text}");
    assert!(text.contains("<S t=\"990000\" d=\"45000\" r=\"3\"/>"), "{text}");
    // A player that reads a manifest each five seconds has a segment in hand then.
    let live = Manifest { ended: false, ..manifest }.text();
    assert!(live.contains(" suggestedPresentationDelay=\"PT8.500S\""), "{live}");
    // As it is when it has ended, ffmpeg reads it without waiting for more.
    let text =
        text.replace("type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\"", "type=\"static\"");
    fs::write(folder.path().join("manifest.mpd"), text).unwrap();
    for ffmpeg in ffmpegs() {
        for stream in ["v", "a"] {
            let input = format!("-i {}", folder.path().join("manifest.mpd").display());
            let hashes = |frames: std::collections::BTreeSet<String>| {
                frames.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
            };
            let mut decoded = hashes(frames(&ffmpeg, &input, stream, &[]));
            let mut expected = hashes(frames(&ffmpeg, "-i -", stream, &AV1.file));
            decoded.sort_unstable();
            expected.sort_unstable();
            assert_eq!(decoded, expected, "{} {stream}", ffmpeg.display());
        }
    }
}
