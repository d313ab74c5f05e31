//! Units to MPEG-TS and back.

#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use mux::{
    Codec, Event, Program, Ticks, Track, TrackId, Unit, codec,
    ts::{Demuxer, Muxer, PACKET},
};
use proptest::prelude::*;

fn program() -> Program {
    let track = |codec| Track { codec, descriptors: Bytes::new() };
    Program {
        tracks: [Codec::H264, Codec::Aac, Codec::Ac3, Codec::Other(0x06), Codec::Mpeg2Video]
            .map(track)
            .to_vec(),
    }
}

/// Of any size, with timestamps that may wrap, for each track growing.
fn units() -> impl Strategy<Value = Vec<Unit>> {
    let unit = (0u8..5, prop_oneof![1usize..600, 60_000usize..70_000], any::<u8>(), 0i64..10_000, 0i64..9000);
    (prop_oneof![Just(0), (1i64 << 33) - 50_000..(1 << 33) - 10_000], prop::collection::vec(unit, 1..30))
        .prop_map(|(start, units)| {
            let mut dts = start;
            let unit = |(track, size, filler, step, ahead): (u8, usize, u8, i64, i64)| {
                dts += step;
                let (data, key): (Vec<u8>, bool) = match track {
                    // Delimiter and a slice, an IDR one or not.
                    0 => {
                        let key = filler & 1 == 1;
                        let head = [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, if key { 0x65 } else { 0x41 }];
                        (head.into_iter().chain(std::iter::repeat_n(filler, size)).collect(), key)
                    }
                    4 => (vec![filler; size], false),
                    _ => (vec![filler; size], true),
                };
                let pts = if track == 0 { dts + ahead } else { dts };
                Unit { track: TrackId(track), pts: Ticks(pts), dts: Ticks(dts), key, data: data.into() }
            };
            // The last of a track has a length: that of a long one ends where the next one begins.
            let last = (0..5).map(|track| (track, 100, 1, 0, 0));
            units.into_iter().chain(last).map(unit).collect()
        })
}

fn written(units: &[Unit], tables_every: usize) -> BytesMut {
    let (mut muxer, mut out) = (Muxer::new(&program()), BytesMut::new());
    for (index, unit) in units.iter().enumerate() {
        if index % tables_every == 0 {
            muxer.tables(&mut out);
        }
        muxer.unit(unit, false, &mut out);
    }
    out
}

fn read(demuxer: &mut Demuxer, bytes: &[u8], cuts: &[usize]) -> Vec<Event> {
    let (mut events, mut rest) = (Vec::new(), bytes);
    for cut in cuts.iter().cycle() {
        let (piece, next) = rest.split_at((*cut).min(rest.len()));
        demuxer.push(piece, &mut events);
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    demuxer.finish(&mut events);
    events
}

/// By tracks: units of different tracks may become complete in another order.
fn by_track(events: Vec<Event>) -> (Vec<Program>, Vec<Unit>) {
    let (mut programs, mut units) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Program(program) => programs.push(program),
            Event::Unit(unit) => units.push(unit),
        }
    }
    units.sort_by_key(|unit| unit.track);
    (programs, units)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_written_is_read_however_it_is_cut(
        mut units in units(),
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(1usize..5000, 1..10),
        contiguous: bool,
        tables_every in 1usize..5,
    ) {
        // What looks like one more packet is taken for one.
        prop_assume!(garbage.rchunks(PACKET).all(|chunk| chunk.len() < PACKET || chunk[0] != 0x47));
        let stream = written(&units, tables_every);
        prop_assert_eq!(stream.len() % PACKET, 0);
        let bytes = [&garbage[..], &stream].concat();
        let mut demuxer = Demuxer::new(contiguous);
        let events = read(&mut demuxer, &bytes, &cuts);
        if contiguous {
            // Then even the order is the same.
            let read: Vec<_> = events.iter().filter_map(|event| match event {
                Event::Unit(unit) => Some(unit),
                Event::Program(_) => None,
            }).collect();
            prop_assert!(read.iter().map(|unit| (unit.track, &unit.data)).eq(units.iter().map(|unit| (unit.track, &unit.data))));
        }
        units.sort_by_key(|unit| unit.track);
        let (programs, mut read) = by_track(events);
        // If the first that is complete is one behind the wrap, all are a cycle earlier.
        let cycle = units[0].dts - read[0].dts;
        prop_assert_eq!(cycle.wire(), 0);
        for unit in &mut read {
            unit.pts += cycle;
            unit.dts += cycle;
        }
        prop_assert_eq!((programs, read), (vec![program()], units));
        let statistics = demuxer.statistics();
        prop_assert_eq!((statistics.gaps, statistics.broken, statistics.skipped), (0, 0, garbage.len() as u64));
    }
}

/// Continuity counters of all packets with a payload follow each other.
fn assert_continuous(stream: &[u8]) {
    let mut last = HashMap::new();
    for packet in stream.as_chunks::<PACKET>().0 {
        assert_eq!((packet[0], packet[3] & 0x10), (0x47, 0x10));
        let (pid, counter) = ([packet[1] & 0x1f, packet[2]], packet[3] & 15);
        if let Some(before) = last.insert(pid, counter) {
            assert_eq!(counter, (before + 1) & 15, "{pid:?}");
        }
    }
}

/// Packets of the stream without those that `lost` says, by their number.
fn without(stream: &[u8], lost: impl Fn(usize) -> bool) -> Vec<u8> {
    let packets = stream.as_chunks::<PACKET>().0.iter().enumerate();
    packets.filter(|(index, _)| !lost(*index)).flat_map(|(_, packet)| *packet).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn counters_go_on_whatever_is_written(units in units(), changes in prop::collection::vec(any::<bool>(), 1..8)) {
        let (mut muxer, mut out) = (Muxer::new(&program()), BytesMut::new());
        for (unit, change) in units.iter().zip(changes.iter().cycle()) {
            if *change {
                let mut other = program();
                other.tracks.truncate(usize::from(unit.track.0) + 1);
                muxer.set_program(&other);
                muxer.tables(&mut out);
            }
            muxer.unit(unit, *change, &mut out);
        }
        assert_continuous(&out);
    }

    #[test]
    fn units_that_packets_were_lost_of_are_dropped_and_no_others(
        units in units(),
        lost in prop::collection::btree_set(10usize..2000, 1..20),
    ) {
        let stream = written(&units, 3);
        let mut demuxer = Demuxer::new(false);
        let (_, read) = by_track(read(&mut demuxer, &without(&stream, |index| lost.contains(&index)), &[5000]));
        let cycle = |unit: &Unit| (unit.track, unit.dts.wire(), unit.pts.wire(), unit.data.clone());
        let all: HashSet<_> = units.iter().map(cycle).collect();
        for unit in &read {
            prop_assert!(all.contains(&cycle(unit)));
        }
        // One packet costs one unit; in the middle of one its gap says so.
        prop_assert!(units.len() - read.len() <= lost.len(), "{} of {}", read.len(), units.len());
    }

    #[test]
    fn duplicates_change_nothing(units in units(), every in 1usize..5) {
        let stream = written(&units, 3);
        let doubled: Vec<u8> = stream
            .as_chunks::<PACKET>()
            .0
            .iter()
            .enumerate()
            .flat_map(|(index, packet)| std::iter::repeat_n(*packet, if index % every == 0 { 2 } else { 1 }).flatten())
            .collect();
        let [plain, doubled] = [&stream[..], &doubled].map(|stream| read(&mut Demuxer::new(true), stream, &[5000]));
        prop_assert_eq!(plain, doubled);
    }

    #[test]
    fn damaged_bytes_make_nothing_worse_than_missing_units(
        units in units(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cuts in prop::collection::vec(1usize..5000, 1..5),
        contiguous: bool,
    ) {
        let mut stream = written(&units, 3);
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        for event in read(&mut Demuxer::new(contiguous), &stream, &cuts) {
            if let Event::Unit(unit) = event {
                for codec in [Codec::H264, Codec::Hevc, Codec::Av1, Codec::Mpeg2Video, Codec::Aac, Codec::Mp3, Codec::Ac3] {
                    let _ = (codec::parameters(codec, &unit), codec::is_key(codec, &unit.data));
                    let _ = codec::frames(codec, unit.clone());
                }
            }
        }
    }

    #[test]
    fn any_packets_at_all_are_survived(
        packets in prop::collection::vec(
            (0u8..2, 0u8..3, any::<u8>(), prop::collection::vec(any::<u8>(), PACKET - 4)),
            0..50,
        ),
        contiguous: bool,
    ) {
        let mut bytes = written(&[], 1).to_vec();
        let (mut muxer, mut out) = (Muxer::new(&program()), BytesMut::new());
        muxer.tables(&mut out);
        bytes.extend_from_slice(&out);
        for (high, low, control, rest) in packets {
            bytes.extend([0x47, (0x40 * (control & 1)) | high, low, control]);
            bytes.extend(rest);
        }
        read(&mut Demuxer::new(contiguous), &bytes, &[4000]);
    }
}

fn unit(track: u8, dts: i64, data: &[u8]) -> Unit {
    let key = track != 4;
    Unit { track: TrackId(track), pts: Ticks(dts), dts: Ticks(dts), key, data: Bytes::copy_from_slice(data) }
}

fn only(codecs: &[Codec]) -> Program {
    Program { tracks: codecs.iter().map(|&codec| Track { codec, descriptors: Bytes::new() }).collect() }
}

#[test]
fn new_tracks_are_announced_before_their_units() {
    let (first, second) = (only(&[Codec::Aac]), only(&[Codec::Mpeg2Video, Codec::Aac]));
    let (mut muxer, mut out) = (Muxer::new(&first), BytesMut::new());
    muxer.tables(&mut out);
    muxer.unit(&unit(0, 0, &[1; 300]), false, &mut out);
    muxer.set_program(&second);
    muxer.tables(&mut out);
    let video = Unit { key: false, ..unit(0, 10, &[2; 300]) };
    muxer.unit(&video, true, &mut out);
    muxer.unit(&unit(1, 10, &[3; 300]), true, &mut out);
    let events = read(&mut Demuxer::new(false), &out, &[1000]);
    let expected = [
        Event::Program(first),
        Event::Unit(unit(0, 0, &[1; 300])),
        Event::Program(second),
        Event::Unit(video),
        Event::Unit(unit(1, 10, &[3; 300])),
    ];
    assert_eq!(events, expected);
}

#[test]
fn sections_are_carried_as_they_are() {
    const SPLICE: u8 = 0x86;
    let program = only(&[Codec::Mpeg2Video, Codec::Other(SPLICE)]);
    let section: Vec<u8> = [0xfc, 0x31, 0x2c].into_iter().chain([7; 0x12c]).collect();
    let video = Unit { key: false, ..unit(0, 9000, &[2; 300]) };
    let splice = unit(1, 9000, &section);
    let (mut muxer, mut out) = (Muxer::new(&program), BytesMut::new());
    muxer.tables(&mut out);
    for unit in [&video, &splice, &video, &splice] {
        muxer.unit(unit, false, &mut out);
    }
    let events = read(&mut Demuxer::new(false), &out, &[1000]);
    let units = [&video, &splice, &video, &splice].map(|unit| Event::Unit(unit.clone()));
    assert_eq!(events[1..], units);
}

#[test]
fn scrambled_packets_are_counted_and_skipped() {
    let (mut muxer, mut out) = (Muxer::new(&only(&[Codec::Aac])), BytesMut::new());
    muxer.tables(&mut out);
    let clear = out.len();
    muxer.unit(&unit(0, 0, &[1; 1000]), false, &mut out);
    out[clear..].as_chunks_mut::<PACKET>().0.iter_mut().for_each(|packet| packet[3] |= 0x80);
    muxer.unit(&unit(0, 1920, &[2; 1000]), false, &mut out);
    let mut demuxer = Demuxer::new(false);
    let events = read(&mut demuxer, &out, &[1000]);
    assert_eq!(events[1..], [Event::Unit(unit(0, 1920, &[2; 1000]))]);
    assert_eq!(demuxer.statistics().scrambled, 6);
}

/// The clock references of a stream, in ticks, with the number of their packet.
fn clocks(stream: &[u8]) -> Vec<(usize, i64)> {
    let packets = stream.as_chunks::<PACKET>().0.iter().enumerate();
    let has_clock = |packet: &[u8; PACKET]| packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0;
    packets
        .filter(|(_, packet)| has_clock(packet))
        .map(|(index, packet)| {
            let base = packet[6..10].iter().fold(0, |base, &byte| base << 8 | i64::from(byte));
            (index, base << 1 | i64::from(packet[10] >> 7))
        })
        .collect()
}

#[test]
fn the_clock_comes_every_40_ms_and_stays_before_the_decoding_times() {
    for (codecs, step) in [(&[Codec::Mpeg2Video, Codec::Aac][..], 1500), (&[Codec::Aac, Codec::Aac], 1920)] {
        let (mut muxer, mut out) = (Muxer::new(&only(codecs)), BytesMut::new());
        let start = 900_000;
        for frame in 0..100 {
            muxer.unit(&unit(0, start + frame * step, &[0; 500]), false, &mut out);
            muxer.unit(&unit(1, start + frame * step, &[0; 500]), false, &mut out);
        }
        let clocks = clocks(&out);
        assert!(clocks.windows(2).all(|two| (1..=3600).contains(&(two[1].1 - two[0].1))), "{clocks:?}");
        assert_eq!(clocks[0], (0, start - 18_000));
    }
}

#[test]
fn a_jump_of_the_timeline_is_marked_where_it_is() {
    let (mut muxer, mut out) = (Muxer::new(&only(&[Codec::Mpeg2Video])), BytesMut::new());
    muxer.unit(&unit(0, 900_000, &[0; 500]), false, &mut out);
    let jump = out.len();
    muxer.unit(&unit(0, 900_100, &[0; 500]), true, &mut out);
    const DISCONTINUITY: u8 = 0x80;
    assert_eq!(out[5] & DISCONTINUITY, 0);
    assert_eq!(out[jump + 5] & DISCONTINUITY, DISCONTINUITY);
    assert_eq!(clocks(&out).last(), Some(&(jump / PACKET, 900_100 - 18_000)));
}
