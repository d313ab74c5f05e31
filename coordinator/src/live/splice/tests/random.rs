//! Any course of attempts gives what one attempt that never fails gives.

use std::collections::VecDeque;

use common::id::AttemptId;
use mux::{Ticks, Unit};
use proptest::prelude::*;

use super::model::{AUDIO, Encoder, GRID, Run, Source, VIDEO, attempt};
use crate::live::splice::{Cut, Delivery, FeedEnd, Role};

/// What happens next. Attempts are picked among those that there are.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// One gives so many frames.
    Give { who: usize, count: usize },
    /// Its worker dies.
    Lose { who: usize },
    /// One is begun beside the active one.
    Spare,
    /// One says that it is done, in the middle.
    Finish { who: usize },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => (0_usize..3, 1_usize..60).prop_map(|(who, count)| Event::Give { who, count }),
        4 => (0_usize..3, 1_usize..4).prop_map(|(who, count)| Event::Give { who, count }),
        2 => (0_usize..3).prop_map(|who| Event::Lose { who }),
        2 => Just(Event::Spare),
        1 => (0_usize..3).prop_map(|who| Event::Finish { who }),
    ];
    proptest::collection::vec(event, 0..120)
}

fn encoder() -> impl Strategy<Value = Encoder> {
    (0_usize..8, any::<bool>()).prop_map(|(b_frames, pyramid)| Encoder { b_frames, pyramid })
}

/// Rates with whole and with broken ticks, beginning at any time.
fn regular() -> impl Strategy<Value = Source> {
    let rates = prop_oneof![
        Just((3600, 1)),
        Just((1500, 1)),
        Just((15_015, 4)),
        Just((3003, 1)),
        Just((1_501_501, 1000))
    ];
    (rates, 0_i64..200_000, 1_i64..400, any::<bool>()).prop_map(
        |((numerator, denominator), start, count, audio)| {
            let source = Source::regular(900_000 + start, count, numerator, denominator);
            Source { audio, ..source }
        },
    )
}

/// As from a container that counts milliseconds, or a camera whose clock is not steady.
fn jittering() -> impl Strategy<Value = Source> {
    (regular(), proptest::collection::vec(-200_i64..200, 400)).prop_map(|(mut source, jitter)| {
        for (frame, jitter) in source.frames.iter_mut().zip(jitter) {
            *frame += jitter;
        }
        source.start = source.frames[0];
        source
    })
}

/// Frames that last as they like, but not so that they seem regular for a while.
fn irregular() -> impl Strategy<Value = Source> {
    (regular(), proptest::collection::vec(prop_oneof![Just(2300), Just(3000), Just(3700)], 400)).prop_map(
        |(mut source, steps)| {
            let mut at = source.start;
            // So that it is seen early that they do.
            let steps = [3000, 2300].into_iter().chain(steps);
            for (frame, step) in source.frames.iter_mut().zip(steps) {
                *frame = at;
                at += step;
            }
            source
        },
    )
}

struct Course<'a> {
    run: Run,
    source: &'a Source,
    encoders: &'a [Encoder],
    spare: Role,
    feeds: Vec<(AttemptId, VecDeque<Unit>)>,
    begun: u64,
}

impl<'a> Course<'a> {
    fn new(source: &'a Source, encoders: &'a [Encoder], delivery: Delivery, spare: Role) -> Self {
        Self { run: Run::new(delivery, source), source, encoders, spare, feeds: Vec::new(), begun: 0 }
    }

    fn begin(&mut self, role: Role, begin: Cut) -> usize {
        self.begun += 1;
        let id = attempt(self.begun);
        let encoder = self.encoders[self.begun as usize % self.encoders.len()];
        self.run.begin(id, role, self.source);
        self.feeds.push((id, self.source.encode(encoder, begin).into()));
        self.feeds.len() - 1
    }

    /// What the control does: there is always an attempt that delivers, until the source is over.
    fn control(&mut self) {
        if self.run.splicer.active().is_some() || self.is_over() {
            return;
        }
        let cut = self.run.splicer.cut();
        let role = if self.begun == 0 { Role::Generation(1) } else { Role::Replacement };
        self.begin(role, cut);
    }

    /// One more, from the key frame before what is delivered; its audio frames are those of the others.
    fn spare(&mut self) {
        if self.feeds.len() >= 3 {
            return;
        }
        let cut = self.run.splicer.cut();
        let newest = self.run.splicer.delivered();
        let key = newest.and_then(|newest| {
            let at = self.source.frames.iter().rposition(|pts| *pts <= newest.0)?;
            let begins = |index: &usize| {
                *index > 0
                    && Ticks(self.source.frames[*index]).interval(GRID)
                        > Ticks(self.source.frames[*index - 1]).interval(GRID)
            };
            (0..=at).rev().find(begins).map(|index| Ticks(self.source.frames[index]))
        });
        self.begin(self.spare, Cut { video: key, expected: None, audio: cut.audio });
    }

    fn is_over(&self) -> bool {
        let end = *self.source.frames.last().unwrap();
        let audio = self.run.of(AUDIO).last().map(|unit| unit.pts.0);
        let samples = i64::from(self.source.samples.0);
        let last = end - Ticks::from_samples(samples, self.source.samples.1).0;
        self.run.splicer.delivered().is_some_and(|at| at.0 >= end)
            && (!self.source.audio || audio.is_some_and(|audio| audio > last))
    }

    fn give(&mut self, who: usize, count: usize) {
        let Some((id, units)) = self.feeds.get_mut(who) else { return };
        let id = *id;
        let given: Vec<Unit> = units.drain(..count.min(units.len())).collect();
        self.run.units(id, given);
        if self.feeds[who].1.is_empty() {
            self.end(who, FeedEnd::Finished);
        }
    }

    /// Its encoder empties itself: everything is there before the last that is shown.
    fn finish(&mut self, who: usize) {
        while let Some((id, units)) = self.feeds.get(who) {
            let newest = self.run.splicer.newest(*id);
            if units.iter().all(|unit| unit.track != VIDEO || newest.is_none_or(|newest| unit.pts > newest)) {
                break;
            }
            self.give(who, 1);
        }
        self.end(who, FeedEnd::Finished);
    }

    fn end(&mut self, who: usize, how: FeedEnd) {
        if who < self.feeds.len() {
            let (id, _) = self.feeds.remove(who);
            self.run.end(id, how);
        }
    }

    fn play(mut self, events: &[Event]) -> Run {
        for event in events {
            self.control();
            match *event {
                Event::Give { who, count } => self.give(who, count),
                Event::Lose { who } => self.end(who, FeedEnd::Lost),
                Event::Spare => self.spare(),
                Event::Finish { who } => self.finish(who),
            }
        }
        // What follows goes well.
        for _ in 0..20 {
            self.control();
            while !self.feeds.is_empty() {
                self.give(0, 7);
            }
        }
        self.run
    }
}

/// The same frames at the same times; an encoder that begins elsewhere may round them otherwise.
fn same(shown: &[i64], wanted: &[i64], tolerance: i64) -> Result<(), TestCaseError> {
    let beyond = |times: &[i64], others: &[i64]| -> Vec<i64> {
        let has = |time: &i64| others.iter().any(|other| (other - time).abs() <= tolerance);
        times.iter().copied().filter(|time| !has(time)).collect()
    };
    let (missing, added) = (beyond(wanted, shown), beyond(shown, wanted));
    prop_assert!(missing.is_empty() && added.is_empty(), "{missing:?} are missing, {added:?} too many");
    prop_assert_eq!(shown.len(), wanted.len(), "something is doubled in {:?}", shown);
    Ok(())
}

fn audio_of(source: &Source) -> Vec<i64> {
    let mut run = Run::of_one(Delivery::Frames, source);
    run.units(attempt(1), source.encode(Encoder { b_frames: 0, pyramid: false }, Cut::default()));
    run.end(attempt(1), FeedEnd::Finished);
    run.shown(AUDIO)
}

fn holds(
    source: &Source,
    encoders: &[Encoder],
    delivery: Delivery,
    spare: Role,
    events: &[Event],
) -> Result<(), TestCaseError> {
    let run = Course::new(source, encoders, delivery, spare).play(events);
    same(&run.shown(VIDEO), &source.frames, 0)?;
    if source.audio {
        same(&run.shown(AUDIO), &audio_of(source), 1)?;
    }
    prop_assert_eq!(run.generations(), [1]);
    // Frames that last as they like cannot be counted in a hole.
    prop_assert!(source.is_irregular() || run.splicer.seams().missing_video == 0);
    prop_assert_eq!(run.splicer.seams().missing_audio, 0);
    Ok(())
}

/// Its first steps are longer than those that follow, and the B-frames of the first group fill the time as if one were too many.
#[test]
fn a_pace_that_is_hardly_known_counts_no_frames() {
    for jitter in [-200, -150, 150, 200] {
        let mut source = Source::regular(900_000, 90, 1500, 1);
        for frame in source.frames.iter_mut().skip(1).take(2) {
            *frame += jitter;
        }
        for b_frames in 0..8 {
            for given in 1..40 {
                let encoders = [Encoder { b_frames, pyramid: false }, Encoder { b_frames, pyramid: true }];
                let events = [Event::Give { who: 0, count: given }, Event::Lose { who: 0 }];
                let held = holds(&source, &encoders, Delivery::Frames, Role::Successor, &events);
                assert!(held.is_ok(), "{jitter} {b_frames} {given}: {held:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn frame_by_frame_nothing_is_missing_or_doubled(
        source in regular(),
        encoders in proptest::collection::vec(encoder(), 1..4),
        events in events(),
    ) {
        holds(&source, &encoders, Delivery::Frames, Role::Successor, &events)?;
    }

    #[test]
    fn by_gops_nothing_is_missing_or_doubled(
        source in regular(),
        encoders in proptest::collection::vec(encoder(), 1..4),
        standby in any::<bool>(),
        events in events(),
    ) {
        let spare = if standby { Role::Standby } else { Role::Successor };
        holds(&source, &encoders, Delivery::Gops, spare, &events)?;
    }

    #[test]
    fn timestamps_may_jitter(
        source in jittering(),
        encoders in proptest::collection::vec(encoder(), 1..4),
        events in events(),
    ) {
        holds(&source, &encoders, Delivery::Frames, Role::Successor, &events)?;
    }

    #[test]
    fn frames_may_last_as_they_like(source in irregular(), events in events()) {
        let encoders = [Encoder { b_frames: 0, pyramid: false }];
        holds(&source, &encoders, Delivery::Frames, Role::Successor, &events)?;
    }

    #[test]
    fn audio_of_any_rate_stays_whole(
        source in regular(),
        samples in prop_oneof![Just((1024, 44_100)), Just((1152, 44_100)), Just((1536, 48_000)), Just((2048, 22_050))],
        video in any::<bool>(),
        events in events(),
    ) {
        let source = Source { audio: true, video, samples, ..source };
        let encoders = [Encoder { b_frames: 2, pyramid: false }];
        if video {
            holds(&source, &encoders, Delivery::Frames, Role::Successor, &events)?;
        }
    }
}
