//! Streams for tests: frames that look like H.264 and AAC to a parser, in any arrangement.

use bytes::Bytes;
use mux::{Codec, Program, Ticks, Track, TrackId, Unit};
use proptest::prelude::*;

use super::{super::source::Clock, super::splice::Release, Settings};

pub(in crate::live) const GRID: Ticks = Ticks(180_000);
pub(in crate::live) const FRAME: i64 = 3600;
pub(in crate::live) const AUDIO_FRAME: i64 = 1920;
/// Where the tests' streams begin.
pub(in crate::live) const START: i64 = 900_000;

/// Delimiter, SPS and PPS of x264: 320x180 and 640x360, 25 frames a second.
const SMALL: &str = "000000010910000000016742c00cda05067e7c0440000003004000000c83c50aa80000000168ce0fc8";
const LARGE: &str = "000000010910000000016742c01eda0280bfe5c044000003000400000300c83c58ba800000000168ce0fc8";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum Picture {
    Small,
    Large,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// A picture of about this many bytes.
pub(in crate::live) fn video(
    track: u8,
    dts: i64,
    shown_after: i64,
    key: Option<Picture>,
    size: usize,
) -> Unit {
    let mut data = match key {
        Some(Picture::Small) => unhex(SMALL),
        Some(Picture::Large) => unhex(LARGE),
        None => vec![0, 0, 0, 1, 0x09, 0x30],
    };
    data.extend([0, 0, 0, 1, if key.is_some() { 0x65 } else { 0x41 }, 0x88]);
    let time = dts.to_be_bytes().map(|byte| byte | 0x80);
    data.extend(time);
    data.extend((0..size).map(|index| (index as u8) | 0x80));
    Unit {
        track: TrackId(track),
        pts: Ticks(dts + shown_after),
        dts: Ticks(dts),
        key: key.is_some(),
        data: data.into(),
    }
}

/// One AAC frame of 48 kHz stereo.
pub(in crate::live) fn audio(track: u8, at: i64, size: usize) -> Unit {
    let length = 7 + 8 + size;
    let mut data = vec![
        0xff,
        0xf1,
        0x4c,
        0x80 | (length >> 11) as u8,
        (length >> 3) as u8,
        ((length & 7) << 5) as u8 | 0x1f,
        0xfc,
    ];
    data.extend(at.to_be_bytes());
    data.resize(length, 0x55);
    Unit { track: TrackId(track), pts: Ticks(at), dts: Ticks(at), key: true, data: data.into() }
}

pub(in crate::live) fn program(codecs: &[Codec]) -> Program {
    Program {
        tracks: codecs.iter().map(|codec| Track { codec: *codec, descriptors: Bytes::new() }).collect(),
    }
}

pub(in crate::live) fn both() -> Program {
    program(&[Codec::H264, Codec::Aac])
}

pub(in crate::live) fn settings() -> Settings {
    let clock = Clock::default();
    clock.begin(Ticks(START), None, 1_700_000_000_000);
    Settings {
        grid: GRID,
        part: None,
        max_bytes: 64 << 20,
        max_length: std::time::Duration::from_secs(60),
        first_sequence: 100,
        first_discontinuity: 7,
        reached: super::Numbers::default(),
        clock,
    }
}

/// Video at 25 frames a second with a key frame every so many, and audio, in the order of time; from the start on.
pub(in crate::live) fn stream(frames: i64, key_every: i64) -> Vec<Release> {
    let mut units: Vec<Unit> = (0..frames)
        .map(|index| {
            let key = (index % key_every == 0).then_some(Picture::Small);
            video(0, START + index * FRAME, 0, key, 2000)
        })
        .collect();
    units.extend((0..frames * FRAME / AUDIO_FRAME).map(|index| audio(1, START + index * AUDIO_FRAME, 300)));
    units.sort_by_key(|unit| unit.dts);
    let begin = Release::Generation { number: 0, program: both() };
    std::iter::once(begin).chain(units.into_iter().map(Release::Unit)).collect()
}

pub(super) fn units(releases: &[Release]) -> Vec<Unit> {
    (releases.iter())
        .filter_map(|release| match release {
            Release::Unit(unit) => Some(unit.clone()),
            Release::Generation { .. } => None,
        })
        .collect()
}

/// What a stream is made of.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Generation {
        video: bool,
        audio: bool,
    },
    /// Frames of video at this distance, beginning with a key frame or not, and their audio.
    Run {
        key: Option<bool>,
        frames: i64,
        distance: i64,
        reordered: bool,
    },
    AudioOnly(i64),
    Hole(i64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))]
            .prop_map(|(video, audio)| Step::Generation { video, audio }),
        8 => (prop::option::weighted(0.8, prop::bool::weighted(0.1)), 1..80_i64,
              prop_oneof![Just(3600_i64), Just(3003), Just(1501), Just(3754)], any::<bool>())
            .prop_map(|(key, frames, distance, reordered)| Step::Run { key, frames, distance, reordered }),
        1 => (1..200_i64).prop_map(Step::AudioOnly),
        1 => (1..300_000_i64).prop_map(Step::Hole),
    ]
}

/// The releases of some steps, and the units that viewers must get: all but video before the first key frame of its
/// generation, and audio of generations in which nothing began.
pub(super) fn play(steps: &[Step], clock: &Clock) -> (Vec<Release>, Vec<Unit>) {
    let mut releases = vec![Release::Generation { number: 0, program: both() }];
    let (mut at, mut spoken) = (START, START);
    let (mut has_video, mut has_audio) = (true, true);
    let mut number = 0;
    let mut runs: Vec<Vec<Unit>> = vec![Vec::new()];
    for step in steps {
        let mut units = Vec::new();
        match *step {
            Step::Generation { video, audio } => {
                number += 1;
                (has_video, has_audio) = (video, audio);
                let codecs: &[Codec] = match (video, audio) {
                    (true, true) => &[Codec::H264, Codec::Aac],
                    (true, false) => &[Codec::H264],
                    _ => &[Codec::Aac],
                };
                at = at.max(spoken);
                spoken = at;
                clock.begin(Ticks(at), Some(Ticks(at - 1)), 1_700_000_000_000 + at / 90);
                releases.push(Release::Generation { number, program: program(codecs) });
                runs.push(Vec::new());
            }
            Step::Run { key, frames, distance, reordered } => {
                for index in 0..frames {
                    if has_video {
                        let key = key.filter(|_| index == 0);
                        let key = key.map(|large| if large { Picture::Large } else { Picture::Small });
                        let later = if reordered && key.is_none() && index % 2 == 1 {
                            2 * distance
                        } else {
                            distance
                        };
                        units.push(video(0, at, if reordered { later } else { 0 }, key, 50));
                    }
                    at += distance;
                    while has_audio && spoken < at {
                        units.push(audio(u8::from(has_video), spoken, 20));
                        spoken += AUDIO_FRAME;
                    }
                }
            }
            Step::AudioOnly(frames) => {
                for _ in 0..if has_audio { frames } else { 0 } {
                    units.push(audio(u8::from(has_video), spoken, 20));
                    spoken += AUDIO_FRAME;
                }
                at = at.max(spoken);
            }
            Step::Hole(length) => {
                at += length;
                spoken = spoken.max(at);
            }
        }
        runs.last_mut().expect("one is there").extend(units.iter().cloned());
        releases.extend(units.into_iter().map(Release::Unit));
    }
    (releases, runs.concat())
}

#[path = "footage_tests.rs"]
mod tests;
