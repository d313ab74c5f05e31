//! What a worker's ffmpeg writes comes out as it went in, however it is cut; and nothing that it might write does harm.

use mux::{Codec, Event, Ticks, TrackId, Unit, fmp4};
use proptest::prelude::*;

use crate::media::{AOM, AV1, START, SVT, av1, demux, ffmpegs, units};

#[test]
fn av1_and_aac_have_the_times_that_they_had_in_the_encoder() {
    for (ffmpeg, encoder) in ffmpegs().into_iter().flat_map(|ffmpeg| [(ffmpeg.clone(), AOM), (ffmpeg, SVT)]) {
        let events = demux([&av1(&ffmpeg, encoder)[..]]);
        let Event::Program(program) = &events[0] else { panic!("{:?}", events[0]) };
        assert_eq!(
            program.tracks.iter().map(|track| track.codec).collect::<Vec<_>>(),
            [Codec::Av1, Codec::Aac]
        );
        let units = units(&events);
        let video: Vec<_> = units.iter().filter(|unit| unit.track == TrackId(0)).collect();
        let times: Vec<_> = video.iter().map(|unit| unit.pts).collect();
        assert_eq!(times, (0..50).map(|n| Ticks(START + n * 3600)).collect::<Vec<_>>());
        let keys: Vec<_> = video.iter().filter(|unit| unit.key).map(|unit| unit.pts.0 - START).collect();
        assert_eq!(keys, [0, 90_000]);
        // No temporal delimiter, and every key frame says what a decoder needs.
        let first = |unit: &Unit| unit.data[0] >> 3 & 0xf;
        assert!(video.iter().all(|unit| first(unit) != 2 && (!unit.key || first(unit) == 1)));
        let audio: Vec<_> = units.iter().filter(|unit| unit.track == TrackId(1)).collect();
        // One frame before, that decoders begin with.
        assert_eq!(audio[0].pts, Ticks(START - 1920));
        assert!(audio.windows(2).all(|pair| pair[1].pts - pair[0].pts == Ticks(1920) && pair[0].key));
        for unit in audio {
            let length = usize::from(unit.data[3] & 3) << 11
                | usize::from(unit.data[4]) << 3
                | usize::from(unit.data[5] >> 5);
            assert_eq!((unit.data[0], unit.data[1] & 0xf6, length), (0xff, 0xf0, unit.data.len()));
        }
    }
}

#[test]
fn what_is_no_fragmented_mp4_is_refused_for_good() {
    let mut demuxer = fmp4::Demuxer::default();
    let error = demuxer.push(&[0x47; 188], &mut Vec::new()).unwrap_err();
    assert_eq!(demuxer.push(&AV1.file, &mut Vec::new()), Err(error));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_cut_gives_the_same_units(mut cuts in prop::collection::vec(0..AV1.file.len(), 0..200)) {
        cuts.sort_unstable();
        let file = &AV1.file[..];
        let edges: Vec<_> = std::iter::once(0).chain(cuts).chain([file.len()]).collect();
        let pieces = edges.windows(2).map(|pair| &file[pair[0]..pair[1]]);
        prop_assert_eq!(units(&demux(pieces)), AV1.units.clone());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_units(
        damage in prop::collection::vec((0..4000_usize, any::<u8>()), 1..12),
        far in 0..AV1.file.len(),
    ) {
        let mut file = AV1.file.clone();
        for (at, byte) in damage {
            file[at] = byte;
        }
        file[far] ^= 0xff;
        let (mut demuxer, mut events) = (fmp4::Demuxer::default(), Vec::new());
        for piece in file.chunks(1000) {
            if demuxer.push(piece, &mut events).is_err() {
                break;
            }
        }
        prop_assert!(events.len() <= 400);
    }
}
