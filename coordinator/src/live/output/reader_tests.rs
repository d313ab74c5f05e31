//! Those who read, by way of the shell. What is ready is ready at once: no test waits.

use std::time::Duration;

use futures::FutureExt as _;
use mux::{Codec, codec::Parameters};

use super::super::{
    Format, Output, ReadEnd, Settings, TsReader,
    footage::{self, FRAME, Picture, START, settings, stream, video},
};
use crate::live::splice::Release;

async fn drain(reader: &mut TsReader) -> (usize, ReadEnd) {
    let mut bytes = 0;
    loop {
        match reader.next().await {
            Ok(pieces) => bytes += pieces.iter().map(|piece| piece.len()).sum::<usize>(),
            Err(end) => return (bytes, end),
        }
    }
}

#[tokio::test]
async fn a_viewer_begins_with_the_newest_key_frame_at_once() {
    let output = Output::new(settings());
    output.release(stream(120, 50));
    let mut reader = output.ts().await.expect("MPEG-TS carries it");
    let first = reader.next().now_or_never().expect("it is there").expect("nothing has ended");
    assert_eq!(first[0][..3], [0x47, 0x40, 0]);
    let newest = output.segment(Format::MpegTs, 102).expect("it is there");
    assert!(!newest.pieces.contains(&first[0]), "what was before the newest key frame is not sent");
    let rest = reader.next().now_or_never();
    assert!(rest.is_none(), "it has everything and waits");

    let frame = Release::Unit(video(0, START + 120 * FRAME, 0, None, 500));
    output.release(vec![frame]);
    assert!(reader.next().now_or_never().expect("it is woken").is_ok());
}

#[tokio::test]
async fn a_key_frame_within_a_segment_is_a_place_to_begin() {
    let output = Output::new(settings());
    output.release(stream(45, 20));
    let mut reader = output.ts().await.expect("MPEG-TS carries it");
    let joined =
        reader.next().await.expect("nothing has ended").iter().map(|piece| piece.len()).sum::<usize>();
    let figures = output.figures();
    assert!((joined as u64) < figures.bytes_held / 6, "five frames of 45, without the copies that are kept");
    assert_eq!(figures.bytes_sent, joined as u64);
}

#[tokio::test]
async fn viewers_wait_for_the_first_key_frame() {
    let output = Output::new(settings());
    let waiting = output.ts();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    output.release(stream(3, 50));
    waiting.now_or_never().expect("it is there").expect("MPEG-TS carries it");
}

#[tokio::test]
async fn who_does_not_read_is_dropped_alone_and_counted_once() {
    let short = Settings { max_length: Duration::from_secs(8), ..settings() };
    let output = Output::new(short);
    let mut releases = stream(1000, 50);
    let rest = releases.split_off(200);
    output.release(releases);
    let mut slow = output.ts().await.expect("MPEG-TS carries it");
    let mut quick = output.ts().await.expect("MPEG-TS carries it");
    let mut bytes = 0;
    for release in rest {
        output.release(vec![release]);
        if let Some(pieces) = quick.next().now_or_never() {
            bytes += pieces.expect("it keeps up").iter().map(|piece| piece.len()).sum::<usize>();
        }
    }
    output.end("over");
    let (more, end) = drain(&mut quick).await;
    assert_eq!(end, ReadEnd::Ended("over".to_owned()));
    let (nothing, end) = drain(&mut slow).await;
    assert_eq!((nothing, end), (0, ReadEnd::TooSlow));
    assert_eq!(slow.next().await, Err(ReadEnd::TooSlow));
    let figures = output.figures();
    assert_eq!(figures.dropped, 1);
    assert_eq!(figures.bytes_sent, (bytes + more) as u64);
}

#[tokio::test]
async fn who_is_behind_gets_much_at_once_but_not_everything() {
    let output = Output::new(settings());
    let mut releases = stream(49, 50);
    releases.push(Release::Unit(video(0, START + 49 * FRAME, 0, None, 1_000_000)));
    for index in 0..600 {
        releases.push(Release::Unit(video(0, START + (50 + index) * FRAME, 0, None, 3000)));
    }
    let mut reader = {
        output.release(releases[..10].to_vec());
        output.ts().await.expect("MPEG-TS carries it")
    };
    for release in releases.drain(10..) {
        output.release(vec![release]);
    }
    output.end("over");
    let mut calls = Vec::new();
    while let Ok(pieces) = reader.next().await {
        calls.push(pieces.iter().map(|piece| piece.len()).sum::<usize>());
    }
    assert!(calls.len() < 15, "not one by one: {calls:?}");
    let (most, others) = calls.iter().partition::<Vec<usize>, _>(|bytes| **bytes > 256 * 1024);
    assert_eq!(most.len(), 1, "a large frame goes out whole");
    assert!(!others.is_empty());
}

#[tokio::test]
async fn what_mpeg_ts_does_not_carry_is_refused_to_those_who_wait_for_it() {
    let output = Output::new(settings());
    let waiting = output.ts();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    output.release(vec![Release::Generation { number: 0, program: footage::program(&[Codec::Av1]) }]);
    assert!(waiting.now_or_never().expect("it is known").is_none());
    assert!(output.window(Format::MpegTs).segments.is_empty());
}

#[tokio::test]
async fn the_end_is_told_to_everyone() {
    let output = Output::new(settings());
    let ended = Err(ReadEnd::Ended("nobody can encode it".to_owned()));
    let (parameters, segment) = (output.parameters(), output.reached(Format::MpegTs, 0, None));
    tokio::pin!(parameters, segment);
    assert!(parameters.as_mut().now_or_never().is_none());
    assert!(segment.as_mut().now_or_never().is_none());
    output.end("nobody can encode it");
    assert_eq!(parameters.await.map(|_| ()), ended);
    assert_eq!(segment.await, ended);
    let (bytes, end) = drain(&mut output.ts().await.expect("nothing speaks against it")).await;
    assert_eq!((bytes, Err(end)), (0, ended));
}

#[tokio::test]
async fn a_playlist_can_be_waited_for() {
    let low_latency = Settings { part: Some(mux::Ticks::from_millis(500)), ..settings() };
    let output = Output::new(low_latency);
    let mut releases = stream(120, 50).into_iter();
    let mut until = |frame: i64| {
        let last = releases.by_ref().take_while(|release| match release {
            Release::Unit(unit) => unit.track.0 != 0 || unit.dts.0 < START + frame * FRAME,
            Release::Generation { .. } => true,
        });
        let releases: Vec<_> = last.collect();
        output.release(releases);
    };
    until(5);
    let window = output.window(Format::Fmp4);
    assert_eq!(window.segments.last().expect("one is open").sequence, 101);
    for (format, part) in [(Format::MpegTs, None), (Format::Fmp4, None), (Format::Fmp4, Some(0))] {
        assert!(output.reached(format, 101, part).now_or_never().is_none());
    }
    until(20);
    assert!(output.reached(Format::Fmp4, 101, Some(0)).now_or_never().is_some());
    assert!(output.reached(Format::Fmp4, 101, Some(1)).now_or_never().is_none());
    assert!(output.part(101, 0).is_some() && output.part(101, 1).is_none());
    until(90);
    for sequence in [0, 100, 101, 1_000_000] {
        let reached = output.reached(Format::Fmp4, sequence, None);
        assert_eq!(reached.now_or_never(), Some(Ok(())), "over, there, or never");
    }
    let after_the_last = output.reached(Format::Fmp4, 101, Some(50));
    assert!(after_the_last.now_or_never().is_some(), "it is the first of the next segment");
}

#[tokio::test]
async fn the_tracks_are_known_with_the_first_frames() {
    let output = Output::new(settings());
    output.release(stream(2, 50));
    let known = output.parameters().now_or_never().expect("they are there").expect("nothing has ended");
    let [Parameters::Video(picture), Parameters::Audio(sound)] = &known[..] else { panic!("{known:?}") };
    assert_eq!((picture.width, picture.height, sound.sample_rate, sound.channels), (320, 180, 48_000, 2));
}

#[tokio::test]
async fn announced_audio_that_never_comes_holds_nothing_up_for_longer_than_a_segment() {
    let output = Output::new(settings());
    let mut releases = stream(49, 50);
    releases.retain(|release| !matches!(release, Release::Unit(unit) if unit.track.0 == 1));
    output.release(releases);
    assert!(output.parameters().now_or_never().is_none());
    assert!(output.ts().await.is_some());
    output.release(vec![Release::Unit(video(0, START + 50 * FRAME, 0, Some(Picture::Small), 10))]);
    // The next one has the same tracks, and knows what was found out.
    let known = output.parameters().now_or_never().expect("they are there").expect("nothing has ended");
    assert_eq!(known.len(), 1);
    assert_eq!(output.window(Format::Fmp4).segments.len(), 2);
}
