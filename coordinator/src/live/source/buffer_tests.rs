//! Any frames in any order, and any of them gone.

use bytes::Bytes;
use mux::{Codec, Track};
use proptest::prelude::*;

use super::*;

const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);

fn program(codecs: &[Codec]) -> Program {
    let tracks = codecs.iter().map(|codec| Track { codec: *codec, descriptors: Bytes::new() });
    Program { tracks: tracks.collect() }
}

fn unit(track: TrackId, at: i64, key: bool, size: usize) -> Unit {
    Unit { track, pts: Ticks(at), dts: Ticks(at), key, data: Bytes::from(vec![0; size]) }
}

fn limits(max_bytes: usize, seconds: u64) -> Limits {
    Limits { max_bytes, max_length: Duration::from_secs(seconds) }
}

/// All that is there now.
fn read(buffer: &Buffer, cursor: &mut Cursor) -> Result<Vec<Unit>, ReadEnd> {
    let mut units = Vec::new();
    loop {
        let first = !cursor.program_given;
        let events = match buffer.read(cursor) {
            Ok(events) if events.is_empty() => return Ok(units),
            Ok(events) => events,
            Err(ReadEnd::Generation) if !units.is_empty() => return Ok(units),
            Err(end) => return Err(end),
        };
        assert_eq!(first, matches!(events[0], Event::Program(_)));
        units.extend(events.into_iter().filter_map(|event| match event {
            Event::Unit(unit) => Some(unit),
            Event::Program(_) => None,
        }));
    }
}

/// Video with a key frame every `gop` frames, audio up to a second behind or before it.
fn stream(frames: i64, gop: i64, lag: i64, size: usize) -> Vec<Unit> {
    let mut units: Vec<(i64, Unit)> = (0..frames)
        .map(|index| (index * 3600, unit(VIDEO, 900_000 + index * 3600, index % gop == 0, size)))
        .collect();
    let audio = frames * 3600 / 1920;
    units
        .extend((0..audio).map(|index| (index * 1920 + lag, unit(AUDIO, 900_000 + index * 1920, true, 100))));
    units.sort_by_key(|(arrival, _)| *arrival);
    let first = units.iter().position(|(_, unit)| unit.track == VIDEO).unwrap();
    units.drain(first..).map(|(_, unit)| unit).collect()
}

proptest! {
    #[test]
    fn a_reader_sees_exactly_what_came_from_its_key_frame_on(
        frames in 10..300_i64,
        gop in 1..60_i64,
        lag in -90_000..90_000_i64,
        size in 1..5_000_usize,
        max_bytes in 2_000..400_000_usize,
        seconds in 1..8_u64,
        joins in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..6),
    ) {
        let units = stream(frames, gop, lag, size);
        let mut buffer = Buffer::new(limits(max_bytes, seconds));
        buffer.begin(1, program(&[Codec::H264, Codec::Aac]));
        let joins: Vec<_> = joins.iter().map(|(at, eager)| (at.index(units.len()), *eager)).collect();
        let mut readers: Vec<(Cursor, usize, Vec<Unit>, bool)> = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            buffer.push(unit.clone());
            prop_assert!(buffer.bytes() <= max_bytes);
            for (_, eager) in joins.iter().filter(|(at, _)| *at == index) {
                if let Ok((cursor, start)) = buffer.seek(1, From::Newest) {
                    let from = units[..=index].iter().rposition(|unit| unit.track == VIDEO && unit.key).unwrap();
                    prop_assert_eq!(start, units[from].pts);
                    readers.push((cursor, from, Vec::new(), *eager));
                }
            }
            for (cursor, _, seen, eager) in &mut readers {
                if *eager {
                    match read(&buffer, cursor) {
                        Ok(new) => seen.extend(new),
                        Err(end) => prop_assert_eq!(end, ReadEnd::TooSlow),
                    }
                }
            }
        }
        buffer.end();
        for (mut cursor, from, mut seen, _) in readers {
            match read(&buffer, &mut cursor) {
                Ok(new) => {
                    seen.extend(new);
                    prop_assert_eq!(&seen[..], &units[from..]);
                }
                Err(ReadEnd::Generation) => prop_assert_eq!(&seen[..], &units[from..]),
                // What it saw is the beginning of it.
                Err(end) => {
                    prop_assert_eq!(end, ReadEnd::TooSlow);
                    prop_assert_eq!(&seen[..], &units[from..from + seen.len()]);
                }
            }
        }
    }

    #[test]
    fn a_replacement_gets_all_that_was_not_delivered_or_hears_that_it_is_gone(
        frames in 10..300_i64,
        gop in 1..60_i64,
        lag in -90_000..90_000_i64,
        max_bytes in 20_000..400_000_usize,
        video in 0..300_i64,
        audio in 0..500_i64,
    ) {
        let units = stream(frames, gop, lag, 800);
        let mut buffer = Buffer::new(limits(max_bytes, 60));
        buffer.begin(1, program(&[Codec::H264, Codec::Aac]));
        units.iter().for_each(|unit| buffer.push(unit.clone()));
        let (video, audio) = (Ticks(900_000 + video * 3600), Ticks(900_000 + audio * 1920));
        match buffer.seek(1, From::Covering { video: Some(video), audio: Some(audio) }) {
            Ok((mut cursor, start)) => {
                let seen = read(&buffer, &mut cursor).unwrap();
                prop_assert!(seen[0].key && seen[0].track == VIDEO && seen[0].pts == start);
                prop_assert!(start <= video);
                for wanted in units.iter().filter(|unit| match unit.track {
                    VIDEO => unit.pts >= video,
                    _ => unit.pts >= audio && unit.pts >= units[0].pts,
                }) {
                    prop_assert!(seen.contains(wanted), "{:?} at {}", wanted.track, wanted.pts);
                }
            }
            Err(gone) => {
                prop_assert_eq!(gone, Gone::TooOld);
                prop_assert!(buffer.logs[0].gone > 0, "nothing was taken away");
            }
        }
    }
}

#[test]
fn two_key_frames_are_kept_however_old_they_are() {
    let mut buffer = Buffer::new(limits(1 << 20, 1));
    buffer.begin(1, program(&[Codec::H264]));
    for index in 0..1000 {
        buffer.push(unit(VIDEO, index * 3600, index % 250 == 0, 10));
    }
    let (_, newest) = buffer.seek(1, From::Newest).unwrap();
    assert_eq!(newest, Ticks(750 * 3600));
    let before = From::Covering { video: Some(Ticks(700 * 3600)), audio: None };
    assert_eq!(buffer.seek(1, before).unwrap().1, Ticks(500 * 3600));
    let older = From::Covering { video: Some(Ticks(400 * 3600)), audio: None };
    assert_eq!(buffer.seek(1, older).unwrap_err(), Gone::TooOld);
}

#[test]
fn a_cut_before_the_generation_is_answered_with_all_of_it() {
    let mut buffer = Buffer::new(limits(1 << 20, 60));
    buffer.begin(1, program(&[Codec::H264, Codec::Aac]));
    stream(50, 25, 9000, 10).into_iter().for_each(|unit| buffer.push(unit));
    let before = From::Covering { video: Some(Ticks(1)), audio: Some(Ticks(1)) };
    assert_eq!(buffer.seek(1, before).unwrap().1, Ticks(900_000));
}

#[test]
fn without_video_one_begins_at_the_newest_sound() {
    let mut buffer = Buffer::new(limits(1 << 20, 2));
    buffer.begin(3, program(&[Codec::Aac]));
    (0..500).for_each(|index| buffer.push(unit(TrackId(0), index * 1920, true, 10)));
    assert_eq!(buffer.seek(3, From::Newest).unwrap().1, Ticks(499 * 1920));
    let covering = From::Covering { video: None, audio: Some(Ticks(480 * 1920)) };
    let (_, start) = buffer.seek(3, covering).unwrap();
    assert!(start < Ticks(480 * 1920) && start > Ticks(470 * 1920), "{start}");
    assert!(buffer.length() <= Duration::from_secs(2));
}

#[test]
fn generations_end_and_are_forgotten() {
    let mut buffer = Buffer::new(limits(10_000, 60));
    buffer.begin(1, program(&[Codec::H264]));
    buffer.push(unit(VIDEO, 0, true, 10));
    let (mut cursor, _) = buffer.seek(1, From::Newest).unwrap();
    assert_eq!(buffer.seek(2, From::Newest).unwrap_err(), Gone::Nothing);
    assert_eq!(read(&buffer, &mut cursor).unwrap().len(), 1);
    buffer.begin(2, program(&[Codec::H264]));
    assert_eq!(read(&buffer, &mut cursor), Err(ReadEnd::Generation));
    for number in 3..500 {
        buffer.begin(number, program(&[Codec::H264]));
        buffer.push(unit(VIDEO, i64::from(number), true, 10));
    }
    assert_eq!(read(&buffer, &mut cursor), Err(ReadEnd::TooSlow));
    assert_eq!(buffer.seek(1, From::Newest).unwrap_err(), Gone::TooOld);
    assert!(buffer.logs.len() <= GENERATIONS);
    let weighed: usize =
        buffer.logs.iter().flat_map(|log| &log.entries).map(|entry| weight(&entry.unit)).sum();
    assert_eq!(buffer.bytes(), weighed);
}
