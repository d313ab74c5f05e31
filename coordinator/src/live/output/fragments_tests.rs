//! Fragmented MP4 as players get it, by way of the buffer.

use std::time::Duration;

use mux::{Event, Ticks, Unit, hls, ts};
use proptest::prelude::*;
use tokio::time::Instant;

use super::super::{
    Format, Settings, Window,
    buffer::Buffer,
    footage::{self, FRAME, START, Step, settings, step, stream},
};
use crate::live::splice::Release;

const PART: Ticks = Ticks::from_millis(500);

fn low_latency() -> Settings {
    Settings { part: Some(PART), ..settings() }
}

fn asked(settings: Settings, releases: Vec<Release>) -> Buffer {
    let mut buffer = Buffer::new(settings);
    let now = Instant::now();
    buffer.window(Format::Fmp4, now);
    for release in releases {
        buffer.release(vec![release], now);
    }
    buffer
}

fn window(buffer: &mut Buffer) -> Window {
    buffer.window(Format::Fmp4, Instant::now())
}

/// The boxes one after another: their types and contents.
fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut boxes = Vec::new();
    while !bytes.is_empty() {
        let length = number(&bytes[..4]) as usize;
        boxes.push((bytes[4..8].try_into().expect("four bytes"), &bytes[8..length]));
        bytes = &bytes[length..];
    }
    boxes
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What can be compared of a frame: its parameter sets have gone into the init segment.
type Seen = (u8, Ticks, Ticks, bool, Vec<u8>);

/// The frames of a part, as ISO/IEC 14496-12 says to read it.
fn read(part: &[u8]) -> Vec<Seen> {
    let mut frames = Vec::new();
    for (kind, contents) in boxes(part).first().map(|(_, moof)| boxes(moof)).expect("it begins with moof") {
        if &kind != b"traf" {
            continue;
        }
        let (mut track, mut decode) = (0, 0);
        for (kind, contents) in boxes(contents) {
            match &kind {
                b"tfhd" => track = number(&contents[4..8]) - 1,
                b"tfdt" => decode = number(&contents[4..12]),
                b"trun" => {
                    let video = contents[2] & 0x0c != 0;
                    let mut at = number(&contents[8..12]) as usize;
                    for row in contents[12..].chunks(if video { 16 } else { 8 }) {
                        let size = number(&row[4..8]) as usize;
                        let key = !video || number(&row[8..12]) & 0x01_0000 == 0;
                        let later = if video { number(&row[12..16]) as u32 as i32 } else { 0 };
                        let tail = part[at + size - 8..at + size].to_vec();
                        let decoded = Ticks(decode as i64);
                        frames.push((track as u8, decoded, decoded + Ticks(i64::from(later)), key, tail));
                        at += size;
                        decode += number(&row[..4]);
                    }
                }
                _ => {}
            }
        }
    }
    frames
}

/// The frames of some segments.
fn frames(buffer: &Buffer, sequences: impl IntoIterator<Item = u64>) -> Vec<Seen> {
    let parts = sequences
        .into_iter()
        .flat_map(|sequence| buffer.segment(Format::Fmp4, sequence).expect("it is there").pieces);
    let mut frames: Vec<Seen> = parts.flat_map(|part| read(&part)).collect();
    frames.sort_by_key(|frame| frame.0);
    frames
}

fn seen(units: impl IntoIterator<Item = Unit>) -> Vec<Seen> {
    let mut seen: Vec<Seen> = (units.into_iter())
        .map(|unit| {
            let tail = unit.data[unit.data.len() - 8..].to_vec();
            (unit.track.0, unit.dts, unit.pts, unit.key, tail)
        })
        .collect();
    seen.sort_by_key(|unit| unit.0);
    seen
}

fn playlist(window: &Window) -> String {
    let uri = |sequence: u64, part: usize| format!("{sequence}.{part}.m4s");
    let last = window.segments.last();
    let hint = last.map(|last| match last.duration {
        None => uri(last.sequence, last.parts.len()),
        Some(_) => uri(last.sequence + 1, 0),
    });
    let low_latency = window.part_target.map(|part_target| hls::LowLatency { part_target, hint });
    let segments = (window.segments.iter())
        .filter(|line| line.duration.is_some() || (low_latency.is_some() && !line.parts.is_empty()))
        .map(|line| hls::Segment {
            uri: format!("{}.m4s", line.sequence),
            duration: line.duration,
            program_date_time: line.program_date_time,
            discontinuity: line.discontinuity,
            independent: line.independent,
            map: Some(format!("init{}.mp4", line.init)),
            parts: (line.parts.iter().enumerate())
                .map(|(index, part)| hls::Part {
                    uri: uri(line.sequence, index),
                    duration: part.duration,
                    independent: part.independent,
                })
                .collect(),
        });
    hls::Media {
        target_duration: window.target_duration,
        media_sequence: window.segments.first().map_or(0, |line| line.sequence),
        discontinuity_sequence: window.discontinuity_sequence,
        segments: segments.collect(),
        low_latency,
        ended: window.ended,
    }
    .text()
}

#[test]
fn the_parts_are_the_stream() {
    let releases = stream(260, 50);
    let units = footage::units(&releases);
    let mut buffer = asked(low_latency(), releases);
    buffer.end("over");
    let shown = window(&mut buffer);
    let sequences: Vec<u64> = shown.segments.iter().map(|line| line.sequence).collect();
    assert_eq!(sequences, [101, 102, 103, 104, 105, 106]);
    assert_eq!(frames(&buffer, sequences), seen(units));
}

#[test]
fn parts_are_whole_frames_and_none_waits_for_the_frame_after_it() {
    let mut buffer = asked(low_latency(), vec![]);
    let now = Instant::now();
    let mut complete = Vec::new();
    for release in stream(101, 50) {
        let frame = match &release {
            Release::Unit(unit) if unit.track.0 == 0 => Some((unit.dts.0 - START) / FRAME),
            _ => None,
        };
        let before = buffer.part(101, complete.len() as u32).is_some();
        buffer.release(vec![release], now);
        if !before && buffer.part(101, complete.len() as u32).is_some() {
            complete.push(frame.expect("a picture completes a part"));
        }
    }
    assert_eq!(complete, [11, 23, 35, 47, 50]);
    let shown = window(&mut buffer);
    assert_eq!(shown.part_target, Some(Ticks::from_millis(481)));
    let parts: Vec<_> =
        shown.segments[0].parts.iter().map(|part| (part.duration.0 / FRAME, part.independent)).collect();
    assert_eq!(parts, [(12, true), (12, false), (12, false), (12, false), (2, false)]);
}

#[test]
fn it_is_made_only_while_somebody_asks() {
    let mut releases = stream(1000, 50);
    let rest = releases.split_off(releases.len() / 2);
    let mut buffer = Buffer::new(settings());
    let begin = Instant::now();
    buffer.release(releases, begin);
    let without = buffer.figures().bytes_held;
    let shown = buffer.window(Format::Fmp4, begin);
    let sequences: Vec<_> = shown.segments.iter().map(|line| line.sequence).collect();
    assert_eq!(sequences, [107, 108, 109, 110], "as far back as frames are kept");
    assert!(buffer.figures().bytes_held > without);
    let last = buffer.segment(Format::Fmp4, 109).expect("it is there");

    let (first, second) = rest.split_at(rest.len() / 2);
    buffer.release(first.to_vec(), begin + Duration::from_secs(59));
    assert!(buffer.segment(Format::Fmp4, 111).is_some());
    buffer.release(second.to_vec(), begin + Duration::from_secs(61));
    assert!(buffer.segment(Format::Fmp4, 111).is_none());
    assert!(buffer.segment(Format::MpegTs, 111).is_some());
    let again = buffer.window(Format::Fmp4, begin + Duration::from_secs(62));
    assert!(again.segments.len() >= 3 && again.segments[0].sequence > 110);
    assert!(buffer.init(0).is_some());
    assert!(!last.pieces.is_empty());
}

#[test]
fn a_picture_of_another_size_needs_another_init_segment_and_the_first_one_again_later_a_third() {
    let mut releases = stream(60, 50);
    for (number, size) in
        [(1, footage::Picture::Large), (2, footage::Picture::Large), (3, footage::Picture::Small)]
    {
        let at = START + i64::from(number) * 60 * FRAME;
        releases.push(Release::Generation { number, program: footage::both() });
        releases.push(Release::Unit(footage::audio(1, at, 100)));
        releases.extend((0..60).map(|index| {
            let key = (index == 0).then_some(size);
            Release::Unit(footage::video(0, at + index * FRAME, 0, key, 100))
        }));
    }
    let mut buffer = asked(low_latency(), releases);
    buffer.end("over");
    let inits: Vec<_> =
        window(&mut buffer).segments.iter().map(|line| (line.init, line.discontinuity)).collect();
    assert_eq!(inits[..2], [(0, false), (0, false)]);
    let breaks: Vec<_> =
        inits.into_iter().filter(|(_, discontinuity)| *discontinuity).map(|(init, _)| init).collect();
    assert_eq!(breaks, [1, 1, 2]);
    assert_ne!(buffer.init(0), buffer.init(1));
    assert_eq!(buffer.init(0), buffer.init(2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_comes_out_of_its_fragments_as_it_went_in(
        steps in proptest::collection::vec(step(), 1..30),
        parts in any::<bool>(),
        asked_after in 0..50_usize,
    ) {
        let settings = Settings {
            part: parts.then_some(PART),
            max_length: Duration::from_secs(100_000),
            max_bytes: 1 << 30,
            ..settings()
        };
        let (releases, _) = footage::play(&steps, &settings.clock);
        let mut buffer = Buffer::new(settings);
        let now = Instant::now();
        for (index, release) in releases.into_iter().enumerate() {
            if index == asked_after {
                buffer.window(Format::Fmp4, now);
            }
            buffer.release(vec![release], now);
        }
        buffer.end("over");
        buffer.window(Format::Fmp4, now);
        // Run by run of the same init segment.
        let mut at = 0;
        while at < buffer.shelf.segments.len() {
            let init = buffer.shelf.segments[at].init;
            let run: Vec<_> = (buffer.shelf.segments.range(at..)).take_while(|one| one.init == init).collect();
            at += run.len();
            let packed: Vec<u64> = (run.iter())
                .filter(|one| one.parts.as_ref().is_some_and(|parts| !parts.is_empty()))
                .map(|one| one.sequence)
                .collect();
            let tracks: Vec<u8> = (buffer.inits.iter())
                .filter(|known| known.number == init && known.lead.is_some())
                .flat_map(|known| known.tracks.iter().map(|(track, _)| track.0))
                .collect();
            if packed.is_empty() {
                continue;
            }
            let mut packets = ts::Demuxer::new(true);
            let mut events = Vec::new();
            for sequence in &packed {
                for piece in buffer.segment(Format::MpegTs, *sequence).expect("it is there").pieces {
                    packets.push(&piece, &mut events);
                }
            }
            packets.finish(&mut events);
            let sent = (events.into_iter()).filter_map(|event| match event {
                Event::Unit(unit) if tracks.contains(&unit.track.0) => Some(unit),
                _ => None,
            });
            let sent = seen(sent);
            prop_assert_eq!(frames(&buffer, packed), sent);
        }
    }

    #[test]
    fn playlists_keep_the_rules_that_validators_look_at(
        runs in proptest::collection::vec((1..6_i64, any::<bool>(), any::<bool>()), 1..6),
        parts in any::<bool>(),
        seconds in 4..30_u64,
        reordered in any::<bool>(),
    ) {
        let settings = Settings {
            part: parts.then_some(PART),
            max_length: Duration::from_secs(seconds),
            ..settings()
        };
        // What an encoder gives that was told where key frames belong.
        let mut steps = Vec::new();
        for (gops, breaks, short) in runs {
            if breaks {
                steps.push(Step::Generation { video: true, audio: true });
            }
            for _ in 0..gops {
                steps.push(Step::Run { key: Some(false), frames: 50, distance: FRAME, reordered });
            }
            if short {
                steps.push(Step::Run { key: Some(false), frames: 17, distance: FRAME, reordered });
                steps.push(Step::Generation { video: true, audio: true });
            }
        }
        let (releases, _) = footage::play(&steps, &settings.clock);
        let mut buffer = Buffer::new(settings);
        let now = Instant::now();
        let mut checkers = [hls::Checker::default(), hls::Checker::default()];
        for release in releases {
            if !buffer.release(vec![release], now).segments {
                continue;
            }
            for (format, checker) in [Format::MpegTs, Format::Fmp4].into_iter().zip(&mut checkers) {
                let mut shown = buffer.window(format, now);
                if format == Format::MpegTs {
                    shown.part_target = None;
                }
                if shown.segments.iter().any(|line| line.duration.is_some()) {
                    let text = playlist(&shown);
                    checker.push(&text).map_err(|error| TestCaseError::fail(format!("{error} in {text}")))?;
                }
            }
        }
    }
}
