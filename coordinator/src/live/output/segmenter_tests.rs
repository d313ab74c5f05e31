use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const GRID: Ticks = Ticks(180_000);
const LIMIT: Ticks = Ticks(2 * 90_000 + 44_999);
const FRAME: i64 = 3600;
const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);

fn unit(track: TrackId, at: i64, key: bool) -> Unit {
    Unit { track, pts: Ticks(at), dts: Ticks(at), key, data: Bytes::new() }
}

fn with_video() -> Segmenter {
    let mut segmenter = Segmenter::new(GRID);
    segmenter.generation(Some(VIDEO));
    segmenter
}

/// Where segments begin when these frames of video come, and whether with a key frame.
fn boundaries(segmenter: &mut Segmenter, frames: impl IntoIterator<Item = (i64, bool)>) -> Vec<(i64, bool)> {
    frames
        .into_iter()
        .filter_map(|(at, key)| match segmenter.place(&unit(VIDEO, at, key), false, LIMIT, false) {
            Place::Begins(boundary) => Some((boundary.start.0, boundary.independent)),
            Place::Open | Place::Held | Place::Dropped => None,
        })
        .collect()
}

#[test]
fn a_segment_begins_with_the_first_key_frame_of_each_interval() {
    let frames = (260..420).map(|index| (index * FRAME, index % 25 == 0 || index == 260));
    assert_eq!(
        boundaries(&mut with_video(), frames),
        [(260 * FRAME, true), (300 * FRAME, true), (350 * FRAME, true), (400 * FRAME, true)]
    );
}

#[test]
fn without_a_key_frame_a_segment_goes_on_up_to_the_target_duration() {
    let late = (250..420).map(|index| (index * FRAME, [250, 310, 350].contains(&index)));
    assert_eq!(
        boundaries(&mut with_video(), late)[..3],
        [(250 * FRAME, true), (310 * FRAME, true), (350 * FRAME, true)]
    );

    let none = (250..400).map(|index| (index * FRAME, index == 250 || index == 330));
    let begun = boundaries(&mut with_video(), none);
    assert_eq!(begun, [(250 * FRAME, true), (310 * FRAME, false), (330 * FRAME, true), (390 * FRAME, false)]);
}

#[test]
fn audio_waits_for_the_key_frame_of_its_generation() {
    let mut segmenter = with_video();
    assert_eq!(segmenter.place(&unit(AUDIO, 898_000, true), false, LIMIT, false), Place::Held);
    assert_eq!(segmenter.place(&unit(VIDEO, 899_000, false), false, LIMIT, false), Place::Dropped);
    let Place::Begins(first) = segmenter.place(&unit(VIDEO, 900_000, true), false, LIMIT, false) else {
        panic!("a key frame begins a segment")
    };
    assert!(!first.discontinuity && first.independent);
    assert_eq!(segmenter.place(&unit(AUDIO, 899_920, true), false, LIMIT, false), Place::Open);
    segmenter.generation(Some(VIDEO));
    let Place::Begins(second) = segmenter.place(&unit(VIDEO, 910_000, true), false, LIMIT, false) else {
        panic!("a generation begins a segment")
    };
    assert!(second.discontinuity);
}

#[test]
fn other_parameters_begin_a_segment_off_the_grid() {
    let mut segmenter = with_video();
    segmenter.place(&unit(VIDEO, 900_000, true), false, LIMIT, false);
    assert_eq!(segmenter.place(&unit(VIDEO, 903_600, true), false, LIMIT, false), Place::Open);
    let Place::Begins(changed) = segmenter.place(&unit(VIDEO, 907_200, true), true, LIMIT, false) else {
        panic!("a decoder has to begin anew")
    };
    assert!(changed.discontinuity);
}

#[test]
fn audio_alone_is_cut_at_the_grid() {
    let mut segmenter = Segmenter::new(GRID);
    segmenter.generation(Some(AUDIO));
    let begun: Vec<i64> = (500..700)
        .filter(|index| {
            matches!(segmenter.place(&unit(AUDIO, index * 1920, true), false, LIMIT, false), Place::Begins(_))
        })
        .collect();
    assert_eq!(begun, [500, 563, 657]);
}

proptest! {
    #[test]
    fn no_segment_is_longer_than_the_limit_and_no_key_frame_of_a_new_interval_is_passed_over(
        frames in proptest::collection::vec((1..20_000_i64, prop::bool::weighted(0.02)), 1..600),
        reordered in any::<bool>(),
    ) {
        let mut segmenter = with_video();
        let mut at = 900_000;
        let mut open: Option<(Ticks, i64)> = None;
        for (index, (step, key)) in frames.into_iter().enumerate() {
            at += step;
            // In decoding order, each second frame is shown after the next one.
            let shown = if reordered && !key && index % 2 == 0 { at + 2 * step } else { at };
            let frame = Unit { dts: Ticks(at), ..unit(VIDEO, shown, key) };
            match segmenter.place(&frame, false, LIMIT, false) {
                Place::Begins(boundary) => {
                    if let Some((start, last)) = open {
                        prop_assert!(boundary.start > start);
                        // One frame may come later than the frames before made expect.
                        prop_assert!(boundary.start - start <= LIMIT + Ticks(at - last));
                    }
                    prop_assert_eq!(boundary.independent, key);
                    open = Some((boundary.start, at));
                }
                Place::Open => {
                    let (start, _) = open.expect("one is open");
                    prop_assert!(!key || frame.pts.interval(GRID) == start.interval(GRID));
                    open = Some((start, at));
                }
                Place::Dropped => prop_assert!(open.is_none() && !key),
                Place::Held => prop_assert!(false, "video is not held"),
            }
        }
    }
}
