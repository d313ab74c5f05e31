//! What ffmpeg has encoded, through the buffer, decoded by ffmpeg again.

use std::{path::Path, process::Command};

use mux::{Event, ts};

use super::{
    super::{Format, Output, Settings},
    *,
};

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error"])
        .args(arguments)
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The decoded frames of a kind: presentation time since the first, and what is in them.
fn decoded(file: &Path, kind: &str) -> Vec<(i64, String)> {
    let file = file.to_str().expect("it is text");
    let timebase = if kind == "v" { "1:90000" } else { "1:44100" };
    let map = format!("0:{kind}");
    let option = format!("-enc_time_base:{kind}");
    let lines = ffmpeg(&[
        "-i",
        file,
        "-map",
        &map,
        "-fps_mode",
        "passthrough",
        &option,
        timebase,
        "-f",
        "framemd5",
        "-",
    ]);
    let text = String::from_utf8(lines).expect("it is text");
    let rows: Vec<(i64, String)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().expect("a number"), fields[5].to_owned())
        })
        .collect();
    let first = rows.first().expect("it has frames").0;
    rows.into_iter().map(|(at, md5)| (at - first, md5)).collect()
}

/// With reordered frames, a frame rate and a sample rate that are no whole number of ticks, audio that begins earlier.
#[test]
fn what_ffmpeg_encoded_is_decoded_from_either_format_frame_by_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let clip = ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=24000/1001:duration=9",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=44100:duration=9",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-bf",
        "3",
        "-sc_threshold",
        "0",
        "-g",
        "1000",
        "-force_key_frames",
        "expr:gte(t,n_forced*2)",
        "-c:a",
        "aac",
        "-f",
        "mpegts",
        "-",
    ]);
    let whole = folder.path().join("clip.ts");
    std::fs::write(&whole, &clip).expect("written");
    let mut demuxer = ts::Demuxer::new(true);
    let mut events = Vec::new();
    demuxer.push(&clip, &mut events);
    demuxer.finish(&mut events);
    let first = (events.iter())
        .find_map(|event| match event {
            Event::Unit(unit) if unit.key && unit.track == TrackId(0) => Some(unit.pts),
            _ => None,
        })
        .expect("it begins with a key frame");
    let moved = Ticks(START) - first;

    for part in [None, Some(Ticks::from_millis(300))] {
        let output = Output::new(Settings { part, ..settings() });
        output.window(Format::Fmp4);
        for event in events.clone() {
            output.release(vec![match event {
                Event::Program(program) => Release::Generation { number: 0, program },
                Event::Unit(unit) => {
                    Release::Unit(Unit { pts: unit.pts + moved, dts: unit.dts + moved, ..unit })
                }
            }]);
        }
        output.end("over");
        for format in [Format::MpegTs, Format::Fmp4] {
            let shown = output.window(format);
            assert_eq!(shown.segments.len(), 5);
            assert_eq!(shown.target_duration, 2);
            let mut bytes = match format {
                Format::MpegTs => Vec::new(),
                Format::Fmp4 => output.init(0).expect("it is there").to_vec(),
            };
            for line in &shown.segments {
                let sum: i64 = line.parts.iter().map(|part| part.duration.0).sum();
                let length = line.duration.expect("it is finished").0;
                assert!(line.parts.is_empty() || (sum - length).abs() <= 180, "{sum} of {length}");
                let target = shown.part_target.unwrap_or_default();
                assert!(line.parts.iter().all(|part| part.duration <= target), "{target}: {:?}", line.parts);
                for piece in output.segment(format, line.sequence).expect("it is there").pieces {
                    bytes.extend_from_slice(&piece);
                }
            }
            let file = folder.path().join(format!("{format:?}"));
            std::fs::write(&file, bytes).expect("written");
            for kind in ["v", "a"] {
                let (was, is) = (decoded(&whole, kind), decoded(&file, kind));
                assert_eq!(was.len(), is.len(), "{format:?} {kind}");
                for (was, is) in was.iter().zip(&is) {
                    assert!((was.0 - is.0).abs() <= 2 && was.1 == is.1, "{format:?} {kind}: {was:?}, {is:?}");
                }
            }
        }
    }
}
