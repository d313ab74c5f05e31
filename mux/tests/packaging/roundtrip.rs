//! Units to fragments, and what a decoder gets.

use std::path::Path;

use bytes::Bytes;
use mux::{
    Codec, Ticks, TrackId, Unit,
    codec::{Parameters, Video},
    fmp4,
};

use crate::media::{AV1, Media, START, ffmpegs, fragments, frames, run};

fn packed(media: &Media, length: Ticks) -> Vec<u8> {
    let fragments = fragments(media, length).concat();
    [&fmp4::init(&media.parameters)[..], &fragments].concat()
}

#[test]
fn av1_and_aac_are_the_same_frames_at_the_same_times() {
    for length in [Ticks(90_000), Ticks(45_000), Ticks(3600)] {
        let file = packed(&AV1, length);
        for ffmpeg in ffmpegs() {
            for stream in ["v", "a"] {
                let expected = frames(&ffmpeg, "-i -", stream, &AV1.file);
                assert_eq!(frames(&ffmpeg, "-i -", stream, &file), expected, "{length} {stream}");
            }
        }
    }
}

#[test]
fn one_track_by_itself_is_the_same_frames_at_the_same_times() {
    let file = packed(&AV1, Ticks(45_000));
    for (track, stream) in [(TrackId(0), "v"), (TrackId(1), "a")] {
        let alone = fmp4::select(&file, track).unwrap();
        let ffmpeg = Path::new("ffmpeg");
        assert_eq!(frames(ffmpeg, "-i -", stream, &alone), frames(ffmpeg, "-i -", stream, &file));
        let streams = run(ffmpeg, "-i - -map 0 -c copy -f framecrc -", &alone);
        assert!(!String::from_utf8(streams).unwrap().contains("#tb 1"), "there is another track");
    }
    assert_eq!(fmp4::select(&file, TrackId(7)), None);
    assert_eq!(fmp4::select(&file[..file.len() - 1], TrackId(0)), None);
}

/// Access units of a raw stream with delimiters, 25 in a second, without reordering.
fn access_units(raw: &[u8], delimiter: &[u8], is_key: impl Fn(&[u8]) -> bool) -> Vec<Unit> {
    let mut starts: Vec<_> = raw
        .windows(delimiter.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == delimiter)
        .map(|(at, _)| at)
        .collect();
    starts.push(raw.len());
    let unit = |(index, pair): (usize, &[usize])| {
        let time = Ticks(START + index as i64 * 3600);
        let data = Bytes::copy_from_slice(&raw[pair[0]..pair[1]]);
        Unit { track: TrackId(0), pts: time, dts: time, key: is_key(&data), data }
    };
    starts.windows(2).enumerate().map(unit).collect()
}

fn nal_units(data: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<_> =
        data.windows(3).enumerate().filter(|(_, three)| *three == [0, 0, 1]).map(|(at, _)| at).collect();
    starts.push(data.len());
    starts
        .windows(2)
        .map(|pair| {
            let unit = &data[pair[0] + 3..pair[1]];
            &unit[..=unit.iter().rposition(|byte| *byte != 0).unwrap()]
        })
        .collect()
}

#[test]
fn h264_with_start_codes_is_the_same_frames_at_the_same_times() {
    let ffmpeg = Path::new("ffmpeg");
    let raw = run(
        ffmpeg,
        "-f lavfi -i testsrc2=s=160x90:r=25 -t 2 -c:v libx264 -preset ultrafast -x264-params aud=1 -g 25 -bf 0 -f h264 -",
        &[],
    );
    let units =
        access_units(&raw, &[0, 0, 0, 1, 9], |data| nal_units(data).iter().any(|unit| unit[0] & 0x1f == 5));
    let of = |kind: u8| {
        let nal_units = nal_units(&units[0].data);
        nal_units.into_iter().find(|unit| unit[0] & 0x1f == kind).unwrap().to_vec()
    };
    let (sps, pps) = (of(7), of(8));
    let record = [
        &[1, sps[1], sps[2], sps[3], 0xff, 0xe1][..],
        &(sps.len() as u16).to_be_bytes(),
        &sps,
        &[1],
        &(pps.len() as u16).to_be_bytes(),
        &pps,
    ];
    let parameters = Parameters::Video(Video {
        codec: Codec::H264,
        width: 160,
        height: 90,
        rfc6381: "avc1.42c00b".to_owned(),
        record: record.concat().into(),
        frame: Some(Ticks(3600)),
    });
    assert_eq!(units.len(), 50);
    let media = Media { file: raw, units, parameters: vec![(TrackId(0), parameters)] };
    let file = packed(&media, Ticks(45_000));
    for ffmpeg in ffmpegs() {
        let decoded = frames(&ffmpeg, "-i -", "v", &file);
        let mut times: Vec<i64> =
            decoded.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        times.sort_unstable();
        assert_eq!(times, (0..49).map(|n| START + n * 3600).collect::<Vec<_>>());
        let mut hashes: Vec<_> = decoded.iter().map(|line| hash(line)).collect();
        let raw = frames(&ffmpeg, "-f h264 -i -", "v", &media.file);
        let mut expected: Vec<_> = raw.iter().map(|line| hash(line)).collect();
        hashes.sort_unstable();
        expected.sort_unstable();
        assert_eq!(hashes, expected);
    }
}

fn hash(line: &str) -> &str {
    line.split(' ').nth(1).unwrap()
}

#[test]
fn what_is_shown_at_a_time_is_shown_then_even_if_decoding_began_before_zero() {
    let mut media = Media { file: Vec::new(), units: AV1.units.clone(), parameters: AV1.parameters.clone() };
    for unit in &mut media.units {
        unit.pts -= Ticks(START);
        unit.dts = unit.pts - Ticks(7200);
    }
    media.units.retain(|unit| unit.track == TrackId(0));
    media.parameters.truncate(1);
    let decoded = frames(Path::new("ffmpeg"), "-i -", "v", &packed(&media, Ticks(90_000)));
    assert!(decoded.iter().any(|line| line.starts_with("0 ")));
    assert_eq!(decoded.len(), 49);
}
