//! What each role promises, one course at a time.

use mux::{Ticks, Unit};

use super::model::{AUDIO, Encoder, Run, Source, VIDEO, attempt, unit};
use crate::live::splice::{Cut, Delivery, FeedEnd, Refusal, Role};

const PLAIN: Encoder = Encoder { b_frames: 0, pyramid: false };
const B_FRAMES: Encoder = Encoder { b_frames: 3, pyramid: true };
const ALL: Cut = Cut { video: None, expected: None, audio: None };

/// Ten seconds at 25 a second, beginning at the grid.
fn source() -> Source {
    Source::regular(900_000, 250, 3600, 1)
}

fn alone(source: &Source, encoder: Encoder, delivery: Delivery) -> Run {
    let mut run = Run::of_one(delivery, source);
    run.units(attempt(1), source.encode(encoder, ALL));
    run.end(attempt(1), FeedEnd::Finished);
    run
}

fn before(units: &[Unit], dts: i64) -> Vec<Unit> {
    units.iter().filter(|unit| unit.dts.0 < dts).cloned().collect()
}

#[test]
fn one_feed_alone_is_delivered_whole() {
    for (encoder, delivery) in
        [(PLAIN, Delivery::Frames), (B_FRAMES, Delivery::Frames), (B_FRAMES, Delivery::Gops)]
    {
        let source = source();
        let run = alone(&source, encoder, delivery);
        assert_eq!(run.shown(VIDEO), source.frames);
        assert_eq!(
            run.shown(AUDIO).first(),
            Some(&900_000),
            "not what an encoder gives before its first sample"
        );
        assert_eq!(run.shown(AUDIO).len(), 467);
        assert_eq!(run.generations(), [1]);
    }
}

#[test]
fn frames_are_delivered_as_soon_as_all_before_them_are_there() {
    let source = Source { audio: false, ..source() };
    let mut run = Run::of_one(Delivery::Frames, &source);
    let mut waiting = Vec::new();
    for unit in source.encode(B_FRAMES, ALL).into_iter().take(13) {
        run.unit(attempt(1), unit);
        waiting.push(run.of(VIDEO).count());
    }
    // I P B b b P B b b P B b b: each group as soon as its last is there. In the first it is not known yet how long a frame
    // lasts, and the next decoding time that is later is waited for.
    assert_eq!(waiting, [1, 1, 1, 1, 1, 1, 5, 5, 9, 9, 9, 9, 13]);
}

#[test]
fn a_replacement_goes_on_at_the_frame_where_the_lost_one_broke_off() {
    let source = source();
    let whole = alone(&source, B_FRAMES, Delivery::Frames);
    let units = source.encode(B_FRAMES, ALL);
    let mut run = Run::of_one(Delivery::Frames, &source);
    run.units(attempt(1), units[..200].iter().cloned());
    run.end(attempt(1), FeedEnd::Lost);
    assert_eq!(run.splicer.active(), None);
    let cut = run.splicer.cut();
    run.begin(attempt(2), Role::Replacement, &source);
    run.units(attempt(2), source.encode(PLAIN, cut));
    run.end(attempt(2), FeedEnd::Finished);
    assert_eq!(run.shown(VIDEO), whole.shown(VIDEO));
    assert_eq!(run.shown(AUDIO), whole.shown(AUDIO));
    assert_eq!(run.splicer.seams().count, 1);
    assert_eq!(run.splicer.seams().missing_video, 0);
}

#[test]
fn a_replacement_without_the_key_frame_it_was_told_goes_on_later_and_the_hole_is_counted() {
    let source = source();
    let mut run = Run::of_one(Delivery::Frames, &source);
    // Half a second into the third GOP.
    run.units(attempt(1), before(&source.encode(PLAIN, ALL), 900_000 + 2 * 90_000 + 45_000));
    run.end(attempt(1), FeedEnd::Lost);
    run.begin(attempt(2), Role::Replacement, &source);
    run.units(attempt(2), source.encode(PLAIN, ALL));
    run.end(attempt(2), FeedEnd::Finished);
    assert_eq!(run.splicer.seams().missing_video, 12);
    assert_eq!(run.shown(VIDEO).len(), 250 - 12);
    assert_eq!(run.splicer.seams().missing_audio, 0);
}

#[test]
fn a_successor_takes_over_at_a_key_frame_of_the_grid() {
    let source = source();
    let units = source.encode(PLAIN, ALL);
    let mut run = Run::of_one(Delivery::Frames, &source);
    run.units(attempt(1), before(&units, 900_000 + 100_000));
    let cut = run.splicer.cut();
    run.begin(attempt(2), Role::Successor, &source);
    let successor: Vec<Unit> = source.encode(PLAIN, Cut { video: None, expected: None, audio: cut.audio });
    // Up to date, and then always a frame later.
    run.units(attempt(2), before(&successor, 900_000 + 96_000));
    for at in (100_000..270_000).step_by(3600) {
        let between = |units: &[Unit], from: i64, to: i64| -> Vec<Unit> {
            units.iter().filter(|unit| (from..to).contains(&(unit.dts.0 - 900_000))).cloned().collect()
        };
        run.units(attempt(1), between(&units, at, at + 3600));
        run.units(attempt(2), between(&successor, at - 4000, at - 400));
        if run.splicer.active() == Some(attempt(2)) {
            assert!((180_000..190_000).contains(&at), "at the first key frame of the grid, not {at}");
            run.units(attempt(2), successor.iter().filter(|unit| unit.dts.0 - 900_000 >= at - 400).cloned());
            break;
        }
    }
    run.end(attempt(1), FeedEnd::Lost);
    run.end(attempt(2), FeedEnd::Finished);
    assert_eq!(run.shown(VIDEO), source.frames);
    assert_eq!(run.shown(AUDIO).len(), 467);
    assert_eq!(run.splicer.seams().missing_video, 0);
}

/// Frames that last as they like: the next may be due so soon that the key frame which was delivered last is near enough.
#[test]
fn a_successor_does_not_go_on_with_a_key_frame_that_was_delivered() {
    let steps = [1300, 1700].into_iter().cycle();
    let frames = steps.take(179).scan(900_000, |at, step| {
        *at += step;
        Some(*at)
    });
    let source = Source {
        frames: [900_000].into_iter().chain(frames).collect(),
        ..Source::regular(900_000, 0, 1500, 1)
    };
    let units = source.encode(PLAIN, ALL);
    let key = units.iter().filter(|unit| unit.key && unit.track == VIDEO).nth(1).unwrap().pts;
    let mut run = Run::of_one(Delivery::Frames, &source);
    run.units(attempt(1), before(&units, key.0));
    run.begin(attempt(2), Role::Successor, &source);
    run.units(attempt(2), before(&units, key.0 - 5000));
    run.end(attempt(1), FeedEnd::Lost);
    let cut = run.splicer.cut();
    run.begin(attempt(3), Role::Replacement, &source);
    run.units(
        attempt(2),
        units.iter().filter(|unit| (key.0 - 5000..key.0 + 60_000).contains(&unit.dts.0)).cloned(),
    );
    run.units(attempt(3), before(&source.encode(PLAIN, cut), key.0 + 1));
    assert_eq!(run.splicer.delivered(), Some(key));
    run.end(attempt(3), FeedEnd::Lost);
    assert_eq!(run.splicer.active(), None, "all up to its next key frame would be missing");
    let cut = run.splicer.cut();
    run.begin(attempt(4), Role::Replacement, &source);
    run.units(attempt(4), source.encode(PLAIN, cut));
    run.end(attempt(4), FeedEnd::Finished);
    assert_eq!(run.shown(VIDEO), source.frames);
}

#[test]
fn a_successor_that_is_seconds_late_holds_nobody_up() {
    let source = source();
    let units = source.encode(PLAIN, ALL);
    let mut run = Run::of_one(Delivery::Frames, &source);
    run.begin(attempt(2), Role::Successor, &source);
    run.units(attempt(2), before(&units, 900_000 + 45_000));
    run.units(attempt(1), units);
    assert_eq!(run.splicer.active(), Some(attempt(1)));
    assert_eq!(run.shown(VIDEO), source.frames);
}

#[test]
fn a_standby_takes_over_with_nothing_missing_and_without_a_new_attempt() {
    for reached in [3, 40, 77, 100, 101, 180] {
        let source = source();
        let units = source.encode(B_FRAMES, ALL);
        let mut run = Run::of_one(Delivery::Gops, &source);
        run.begin(attempt(2), Role::Standby, &source);
        run.units(attempt(1), units[..200].iter().cloned());
        run.units(attempt(2), units[..reached].iter().cloned());
        run.end(attempt(1), FeedEnd::Lost);
        run.units(attempt(2), units[reached..].iter().cloned());
        run.end(attempt(2), FeedEnd::Finished);
        assert_eq!(run.shown(VIDEO), source.frames, "the standby was at unit {reached}");
        assert_eq!(run.shown(AUDIO).len(), 467);
    }
}

#[test]
fn a_standby_takes_over_from_one_that_is_more_than_a_gop_behind() {
    let source = source();
    let units = source.encode(B_FRAMES, ALL);
    let mut run = Run::of_one(Delivery::Gops, &source);
    run.begin(attempt(2), Role::Standby, &source);
    run.units(attempt(1), units[..200].iter().cloned());
    run.units(attempt(2), units.iter().cloned());
    assert_eq!(run.splicer.active(), Some(attempt(2)));
    run.end(attempt(2), FeedEnd::Finished);
    assert_eq!(run.shown(VIDEO), source.frames);
}

#[test]
fn a_successor_goes_on_alone_only_at_a_key_frame() {
    let source = Source { audio: false, ..source() };
    let units = source.encode(PLAIN, ALL);
    for (frames, goes_on) in [(60, false), (75, true)] {
        let mut run = Run::of_one(Delivery::Frames, &source);
        run.begin(attempt(2), Role::Successor, &source);
        run.units(attempt(1), units[..frames].iter().cloned());
        run.units(attempt(2), units[..30].iter().cloned());
        run.end(attempt(1), FeedEnd::Lost);
        assert_eq!(run.splicer.active(), goes_on.then_some(attempt(2)));
    }
}

#[test]
fn the_next_generation_waits_for_the_end_of_the_one_before() {
    let first = source();
    let second = Source::regular(first.frames[249] + 3600, 50, 1800, 1);
    let mut run = Run::new(Delivery::Frames, &first);
    let units = first.encode(B_FRAMES, ALL);
    run.begin(attempt(1), Role::Generation(4), &first);
    run.units(attempt(1), units[..600].iter().cloned());
    run.begin(attempt(2), Role::Generation(5), &second);
    let delivered = run.delivered.len();
    run.units(attempt(2), second.encode(PLAIN, ALL));
    assert_eq!(run.delivered.len(), delivered);
    run.end(attempt(2), FeedEnd::Finished);
    run.units(attempt(1), units[600..].iter().cloned());
    run.end(attempt(1), FeedEnd::Finished);
    assert_eq!(run.shown(VIDEO), [first.frames, second.frames].concat());
    assert_eq!(run.generations(), [4, 5]);
    assert_eq!(run.splicer.active(), None);
}

#[test]
fn a_feed_that_ends_while_the_source_goes_on_is_replaced_without_a_hole() {
    let source = source();
    let mut run = Run::of_one(Delivery::Frames, &source);
    run.units(attempt(1), source.encode(PLAIN, ALL)[..333].iter().cloned());
    run.end(attempt(1), FeedEnd::Finished);
    assert_eq!(run.splicer.active(), None);
    let cut = run.splicer.cut();
    run.begin(attempt(2), Role::Replacement, &source);
    run.units(attempt(2), source.encode(PLAIN, cut));
    run.end(attempt(2), FeedEnd::Finished);
    assert_eq!(run.shown(VIDEO), source.frames);
    assert_eq!(run.shown(AUDIO).len(), 467);
}

#[test]
fn leading_pictures_of_the_first_key_frame_are_dropped() {
    let source = Source { audio: false, ..source() };
    let mut run = Run::of_one(Delivery::Frames, &source);
    let at = |frame: i64| 900_000 + frame * 3600;
    for (shown, decoded, key) in [(3, 0, true), (1, 1, false), (2, 2, false), (5, 3, false), (4, 4, false)] {
        run.unit(attempt(1), unit(VIDEO, at(shown), at(decoded), key));
    }
    assert_eq!(run.shown(VIDEO), [at(3), at(4), at(5)]);
}

#[test]
fn audio_alone_is_delivered_at_once() {
    let source = Source { video: false, ..source() };
    let mut run = Run::of_one(Delivery::Frames, &source);
    let units = source.encode(PLAIN, ALL);
    run.units(attempt(1), units[..100].iter().cloned());
    assert_eq!(run.of(VIDEO).count(), 100);
    run.end(attempt(1), FeedEnd::Lost);
    let cut = run.splicer.cut();
    assert_eq!(cut, Cut { video: None, expected: None, audio: Some(units[100].pts) });
}

#[test]
fn audio_does_not_wait_for_a_picture_that_never_comes() {
    let source = source();
    let mut run = Run::of_one(Delivery::Frames, &source);
    let audio = (0..1000).map(|frame| unit(AUDIO, 900_000 + frame * 1920, 900_000 + frame * 1920, true));
    run.units(attempt(1), audio);
    let ahead = 10 * 90_000 / 1920;
    assert_eq!(run.of(AUDIO).count(), 1000 - ahead as usize - 1);
    let cut = run.splicer.cut().audio.unwrap();
    assert_eq!(cut.0 % 1920, 900_000 % 1920);
}

#[test]
fn a_worker_that_lies_about_time_is_refused() {
    let source = source();
    let mut run = Run::of_one(Delivery::Frames, &source);
    run.splicer.source_at(Ticks(1_000_000));
    run.unit(attempt(1), unit(VIDEO, 900_000, 900_000, true));
    let mut out = Vec::new();
    let far = unit(VIDEO, 900_000 + 40 * 90_000, 900_000 + 40 * 90_000, true);
    assert!(matches!(run.splicer.unit(attempt(1), far, &mut out), Err(Refusal::Jump { .. })));
    let ahead = unit(VIDEO, 900_000 + 90 * 90_000, 900_000, true);
    assert!(matches!(run.splicer.unit(attempt(1), ahead, &mut out), Err(Refusal::Ahead { .. })));
    assert!(out.is_empty());
}

#[test]
fn a_feed_that_is_never_delivered_does_not_grow_for_ever() {
    let source = Source::regular(900_000, 20_000, 1800, 1);
    let mut run = Run::of_one(Delivery::Frames, &source);
    run.begin(attempt(2), Role::Generation(2), &source);
    let mut out = Vec::new();
    let refused = source
        .encode(PLAIN, ALL)
        .into_iter()
        .find_map(|unit| run.splicer.unit(attempt(2), unit, &mut out).err());
    assert!(matches!(refused, Some(Refusal::TooMuch { .. })));
}
