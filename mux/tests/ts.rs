//! Units to MPEG-TS and back.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use mux::{
    Codec, Event, Program, Ticks, Track, TrackId, Unit,
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
            let last = [(0, 100, 1, 0, 0), (4, 100, 1, 0, 0)];
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
    #![proptest_config(ProptestConfig::with_cases(64))]

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
            prop_assert_eq!(read, units.iter().collect::<Vec<_>>());
        }
        units.sort_by_key(|unit| unit.track);
        prop_assert_eq!(by_track(events), (vec![program()], units));
        let statistics = demuxer.statistics();
        prop_assert_eq!((statistics.gaps, statistics.broken, statistics.skipped), (0, 0, garbage.len() as u64));
    }
}
