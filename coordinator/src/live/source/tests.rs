//! Real streams, made by ffmpeg, as they come and as they break.

use std::process::Command;

use futures::FutureExt as _;
use mux::{Codec, Kind, Unit, ts::PACKET};
use proptest::prelude::*;

use super::*;

const FRAME: Ticks = Ticks(3600);
const ORIGIN: Ticks = Ticks(900_000);
/// As ffmpeg numbers them.
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;

/// MPEG-TS of 25 frames a second with a GOP of a second.
fn clip(arguments: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin"])
        .args(arguments.split_whitespace())
        .args(["-g", "25", "-muxdelay", "0", "-muxpreload", "0", "-f", "mpegts", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn picture(size: &str, seconds: u32) -> String {
    format!("-f lavfi -i testsrc2=s={size}:r=25:d={seconds}")
}

fn sound(seconds: u32) -> String {
    format!("-f lavfi -i sine=r=48000:d={seconds}")
}

const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -c:a aac";

fn both(seconds: u32, more: &str) -> Vec<u8> {
    clip(&format!("{} {} {H264} {more}", picture("160x90", seconds), sound(seconds)))
}

fn without(stream: &[u8], pid: u16) -> Vec<u8> {
    let of = |packet: &[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    stream.chunks(PACKET).filter(|packet| of(packet) != pid).flatten().copied().collect()
}

/// One after the other, without a packet missing in between.
fn joined(streams: &[&[u8]]) -> Vec<u8> {
    let mut counters = [0_u8; 1 << 13];
    let mut joined = streams.concat();
    for packet in joined.chunks_mut(PACKET) {
        let counter = &mut counters[usize::from(u16::from_be_bytes([packet[1] & 0x1f, packet[2]]))];
        packet[3] = packet[3] & 0xf0 | *counter;
        // Only packets with payload are counted.
        *counter = (*counter + (packet[3] >> 4 & 1)) & 0xf;
    }
    joined
}

fn source() -> Source {
    Source::new(Limits { max_bytes: 64 << 20, max_length: Duration::from_secs(60) })
}

/// What a source becomes that brings these bytes in one connection.
fn taken(streams: &[&[u8]]) -> Source {
    let source = source();
    let mut feed = source.connect();
    for chunk in joined(streams).chunks(1316) {
        assert!(feed.push(chunk));
    }
    drop(feed);
    source
}

/// Everything of a generation, with its tracks.
fn generation(source: &Source, number: u32) -> (Program, Vec<Unit>) {
    let all = From::Covering { video: Some(Ticks(0)), audio: Some(Ticks(0)) };
    let mut reader = source.read(number, all).unwrap();
    let (mut program, mut units) = (None, Vec::new());
    while let Some(Ok(events)) = reader.next().now_or_never() {
        for event in events {
            match event {
                Event::Program(found) => assert_eq!(program.replace(found), None),
                Event::Unit(unit) => units.push(unit),
            }
        }
    }
    (program.unwrap(), units)
}

fn times(source: &Source, kind: Kind) -> Vec<Ticks> {
    let generations = source.generation().map_or(0, |newest| newest.number);
    let mut times = Vec::new();
    for number in 1..=generations {
        let (program, units) = generation(source, number);
        let track = program.first(kind);
        let mut of: Vec<_> =
            units.iter().filter(|unit| Some(unit.track) == track).map(|unit| unit.pts).collect();
        of.sort_unstable();
        times.extend(of);
    }
    times
}

/// Every frame once, one after the other, from the beginning of the timeline on.
fn assert_whole_video(source: &Source, frames: usize) {
    let times = times(source, Kind::Video);
    let wanted: Vec<_> = (0..frames).map(|index| ORIGIN + Ticks(FRAME.0 * index as i64)).collect();
    assert_eq!(times, wanted);
}

fn assert_audio_goes_on(source: &Source) {
    let times = times(source, Kind::Audio);
    assert!(times.len() > 40, "{}", times.len());
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Ticks(1919), "{} is followed by {}", pair[0], pair[1]);
        assert!(pair[1] - pair[0] <= Ticks(1920 * 4), "{} is followed by {}", pair[0], pair[1]);
    }
}

#[test]
fn a_stream_is_one_generation_from_its_first_key_frame_on() {
    let source = taken(&[&both(3, "")]);
    let newest = source.generation().unwrap();
    assert_eq!((newest.number, newest.start), (1, ORIGIN));
    assert_eq!(
        newest.program.tracks.iter().map(|track| track.codec).collect::<Vec<_>>(),
        [Codec::H264, Codec::Aac]
    );
    assert!(newest.parameters.iter().all(Option::is_some));
    assert_whole_video(&source, 75);
    assert_audio_goes_on(&source);
    assert!(source.is_over());
}

#[test]
fn a_jump_in_either_direction_leaves_no_hole_and_doubles_nothing() {
    for second in [both(3, ""), both(3, "-output_ts_offset 5000"), both(3, "-output_ts_offset 4.5")] {
        let source = taken(&[&both(3, ""), &second]);
        assert_eq!(source.generation().unwrap().number, 2);
        assert_whole_video(&source, 150);
        assert_audio_goes_on(&source);
    }
}

#[test]
fn the_wrap_of_33_bits_is_no_break() {
    let source = taken(&[&both(4, "-output_ts_offset 95441")]);
    assert_eq!(source.generation().unwrap().number, 1);
    assert_whole_video(&source, 100);
    assert_audio_goes_on(&source);
}

#[test]
fn another_resolution_is_no_break_and_is_told() {
    let large = clip(&format!("{} {} {H264} -output_ts_offset 2", picture("320x180", 2), sound(2)));
    let source = taken(&[&both(2, ""), &large]);
    assert_eq!(source.generation().unwrap().number, 1);
    let Some(Parameters::Video(video)) = source.parameters().first().cloned() else { panic!("no video") };
    assert_eq!((video.width, video.height), (320, 180));
}

#[test]
fn another_codec_is_another_generation() {
    let hevc =
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=0 -c:a aac -output_ts_offset 2";
    let hevc = clip(&format!("{} {} {hevc}", picture("160x90", 2), sound(2)));
    let source = taken(&[&both(2, ""), &hevc]);
    assert_eq!(source.generation().unwrap().number, 2);
    assert_eq!(source.generation().unwrap().program.tracks[0].codec, Codec::Hevc);
    assert_whole_video(&source, 100);
}

#[test]
fn audio_that_ends_ends_nothing() {
    let source = taken(&[&clip(&format!("{} {} {H264}", picture("160x90", 6), sound(1)))]);
    assert_eq!(source.generation().unwrap().number, 1);
    assert_whole_video(&source, 150);
}

#[test]
fn audio_only_and_video_only_work() {
    let source = taken(&[&clip(&format!("{} -c:a aac", sound(3)))]);
    assert_eq!(source.generation().unwrap().start, ORIGIN);
    assert_eq!(times(&source, Kind::Audio)[0], ORIGIN);
    assert_audio_goes_on(&source);
    let source = taken(&[&clip(&format!("{} {H264}", picture("160x90", 3)))]);
    assert_whole_video(&source, 75);
}

#[test]
fn audio_that_is_promised_and_does_not_come_is_waited_for_a_while_and_may_come_later() {
    let stream = both(4, "");
    let source = taken(&[&without(&stream, AUDIO_PID)]);
    assert_eq!(source.generation().unwrap().program.tracks.len(), 1);
    assert_whole_video(&source, 100);

    let later = both(4, "-output_ts_offset 4.08");
    let source = taken(&[&without(&stream, AUDIO_PID), &later]);
    let newest = source.generation().unwrap();
    assert_eq!((newest.number, newest.program.tracks.len()), (2, 2));
    assert_whole_video(&source, 200);
}

#[test]
fn video_that_is_promised_and_does_not_come_leaves_the_audio_until_it_does() {
    let stream = both(5, "");
    let source = taken(&[&without(&stream, VIDEO_PID)]);
    assert_eq!(source.generation().unwrap().program.tracks[0].codec, Codec::Aac);
    let source = taken(&[&without(&stream, VIDEO_PID), &both(2, "-output_ts_offset 5")]);
    let newest = source.generation().unwrap();
    assert_eq!((newest.number, newest.program.tracks.len()), (2, 2));
    assert_audio_goes_on(&source);
}

#[test]
fn what_comes_before_the_first_key_frame_is_left_out() {
    let stream = both(3, "");
    // Somewhere in the first GOP; the tables come again with the next key frame.
    let source = taken(&[&stream[PACKET * 12..]]);
    let (program, units) = generation(&source, 1);
    assert!(units[0].key && Some(units[0].track) == program.first(Kind::Video));
    assert_eq!(units[0].pts, ORIGIN);
    assert_whole_video(&source, 50);
    assert!(times(&source, Kind::Audio)[0] >= ORIGIN);
}

#[test]
fn a_new_connection_goes_on_where_the_last_one_stopped() {
    let (source, stream) = (source(), both(3, ""));
    for number in 1..=3 {
        let mut feed = source.connect();
        assert!(feed.push(&stream));
        assert!(source.figures().connected);
        drop(feed);
        assert!(!source.figures().connected && source.is_over());
        assert_eq!(source.generation().unwrap().number, number);
    }
    assert_whole_video(&source, 225);
    assert_audio_goes_on(&source);
    assert!(source.figures().statistics.packets > 0);
}

#[test]
fn a_connection_takes_over_only_once_it_has_something_to_begin_with() {
    let (source, stream) = (source(), both(3, ""));
    let (half, rest) = stream.split_at(stream.len() / PACKET / 2 * PACKET);
    let mut old = source.connect();
    let mut new = source.connect();
    assert!(old.push(half));
    assert!(new.push(b"no stream at all"));
    assert!(old.push(rest));
    assert!(new.push(&stream));
    assert!(!old.push(&stream));
    drop(old);
    assert!(!source.is_over());
    assert_eq!(source.generation().unwrap().number, 2);
    source.close();
    assert!(!new.push(&stream));
}

#[test]
fn the_first_generation_is_told_with_the_first_frames() {
    let (source, stream) = (source(), both(3, ""));
    let mut feed = source.connect();
    let mut pushed = 0;
    for packet in stream.chunks(PACKET) {
        assert!(feed.push(packet));
        pushed += PACKET;
        if source.generation().is_some() {
            break;
        }
    }
    // Audio comes in packets of 0.35 s at most, however little it is.
    assert!(pushed < stream.len() / 4, "{pushed} of {}", stream.len());
}

#[tokio::test]
async fn the_clock_says_when_generations_began_and_readers_wait() {
    let (source, stream) = (source(), both(3, ""));
    let before = jiff::Timestamp::now().as_millisecond();
    let mut feed = source.connect();
    let told = source.generations();
    assert!(feed.push(&stream));
    assert!(told.has_changed().unwrap());
    let wall = source.clock().wall(ORIGIN);
    assert!((before..before + 60_000).contains(&wall), "{wall}");
    assert!(feed.ahead() > Duration::from_secs(2), "it gave three seconds at once");
    let mut reader = source.read(1, From::Newest).unwrap();
    assert!(matches!(reader.next().await.unwrap()[0], Event::Program(_)));
    assert!(reader.next().now_or_never().is_none());
    drop(feed);
    assert!(matches!(reader.next().await, Ok(_) | Err(ReadEnd::Generation)));
    source.close();
    assert_eq!(reader.next().await, Err(ReadEnd::Closed));
}

#[test]
fn slow_frames_and_holes_that_the_clock_explains_are_no_jumps() {
    let slow = clip("-f lavfi -i testsrc2=s=160x90:r=2:d=8 -c:v libx264 -preset ultrafast");
    assert_eq!(taken(&[&slow]).generation().unwrap().number, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_anywhere_breaks_nothing_but_what_it_hit(
        at in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..200),
        cut in any::<prop::sample::Index>(),
        piece in 1..5000_usize,
    ) {
        use std::sync::OnceLock;
        static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
        let mut stream = STREAM.get_or_init(|| both(3, "")).clone();
        for (index, byte) in at {
            let at = index.index(stream.len());
            stream[at] = byte;
        }
        let from = cut.index(stream.len());
        let source = source();
        let mut feed = source.connect();
        for chunk in stream[from..].chunks(piece).chain(stream.chunks(piece)) {
            prop_assert!(feed.push(chunk));
        }
        drop(feed);
        // However it is damaged: a generation begins with a key frame, and the timeline does not go back.
        let mut last = Ticks::ZERO;
        for number in 1..=source.generation().map_or(0, |newest| newest.number) {
            let (program, units) = generation(&source, number);
            prop_assert!(units[0].key && units[0].pts >= last.max(ORIGIN), "{:?} at {} after {last}", units[0].track, units[0].pts);
            last = units[0].pts;
            prop_assert!(units.iter().all(|unit| unit.pts >= last && program.codec(unit.track).is_some()));
        }
    }

    #[test]
    fn garbage_is_no_stream(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        let source = source();
        prop_assert!(source.connect().push(&bytes));
        prop_assert_eq!(source.generation(), None);
    }
}
