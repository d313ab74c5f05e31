//! Where times of the timeline are on the wall clock, and how many segment boundaries there are up to them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mux::Ticks;

/// Generations whose beginnings are kept one by one: those of older ones are only counted. Far more than fit into any
/// buffer.
const ANCHORS: usize = 1024;

/// Where times of the timeline are on the wall clock; one entry for each generation. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    inner: Arc<Mutex<Anchors>>,
}

#[derive(Debug, Default)]
struct Anchors {
    /// Oldest first, by both of their times.
    kept: VecDeque<Anchor>,
    /// Where the stream began.
    origin: Option<Ticks>,
    /// By grid: the boundaries that anchors which are not kept any more added. Has every grid that was ever asked for.
    folded: BTreeMap<Ticks, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    start: Ticks,
    /// The last frame before it.
    after: Ticks,
    wall: i64,
}

impl Anchor {
    /// Whether its beginning is a boundary besides those of the grid. It is not if there is one between the last frame
    /// before and its first: that one is where it begins.
    const fn adds(&self, grid: Ticks) -> bool {
        self.start.interval(grid) == self.after.interval(grid)
    }
}

impl Clock {
    /// A generation begins. `after`: when the last video frame before it is shown; `wall`: milliseconds since the Unix epoch.
    /// A time that would go back (the source had run ahead of the clock) is put where the generation before got to.
    pub fn begin(&self, start: Ticks, after: Option<Ticks>, wall: i64) {
        let mut anchors = self.anchors();
        let wall = anchors.wall(start).map_or(wall, |before| before.max(wall));
        anchors.origin.get_or_insert(start);
        let after = after.unwrap_or(start - Ticks(1)).min(start - Ticks(1));
        anchors.kept.push_back(Anchor { start, after, wall });
        if anchors.kept.len() > ANCHORS
            && let Some(old) = anchors.kept.pop_front()
        {
            for (&grid, folded) in &mut anchors.folded {
                *folded += u64::from(old.adds(grid));
            }
        }
    }

    /// Milliseconds since the Unix epoch. 0 while nothing has begun.
    #[must_use]
    pub fn wall(&self, at: Ticks) -> i64 {
        self.anchors().wall(at).unwrap_or(0)
    }

    /// How many segment boundaries there are up to `at` (inclusive) since the stream began: those of the grid and those where
    /// a generation began off the grid. The same for every variant, so that their segments have the same numbers.
    ///
    /// 1 where the stream begins, 0 before. What was answered stays true, whatever begins later than `at`. Where the grid has
    /// a boundary between the last video frame of a generation and the first of the next, the two are one boundary, so that
    /// no number is left without a frame.
    #[must_use]
    pub fn boundaries(&self, at: Ticks, grid: Ticks) -> u64 {
        if grid.0 <= 0 {
            return 0;
        }
        let mut anchors = self.anchors();
        let Some(origin) = anchors.origin.filter(|origin| *origin <= at) else { return 0 };
        let of_grid = at.interval(grid) - (origin - Ticks(1)).interval(grid);
        let folded = *anchors.folded.entry(grid).or_default();
        let begun = anchors.kept.iter().filter(|anchor| anchor.start <= at && anchor.adds(grid)).count();
        u64::try_from(of_grid).unwrap_or(0) + folded + begun as u64
    }

    fn anchors(&self) -> MutexGuard<'_, Anchors> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Anchors {
    fn wall(&self, at: Ticks) -> Option<i64> {
        let anchor =
            self.kept.iter().rev().find(|anchor| anchor.start <= at).or_else(|| self.kept.front())?;
        Some(anchor.wall + (at - anchor.start).millis())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRID: Ticks = Ticks(180_000);
    const FRAME: i64 = 3600;

    fn starting_at(start: i64) -> Clock {
        let clock = Clock::default();
        clock.begin(Ticks(start), None, 1_000);
        clock
    }

    #[test]
    fn the_grid_and_the_beginnings_off_it_are_counted() {
        let clock = starting_at(900_000);
        let count = |at| clock.boundaries(Ticks(at), GRID);
        assert_eq!((count(899_999), count(900_000), count(1_079_999), count(1_080_000)), (0, 1, 1, 2));
        clock.begin(Ticks(1_100_000), Some(Ticks(1_096_400)), 9_000);
        assert_eq!((count(1_099_999), count(1_100_000), count(1_260_000)), (2, 3, 4));
    }

    #[test]
    fn a_boundary_between_two_generations_is_theirs_and_counts_once() {
        let clock = starting_at(900_000);
        clock.begin(Ticks(1_081_000), Some(Ticks(1_077_400)), 9_000);
        assert_eq!(clock.boundaries(Ticks(1_077_400), GRID), 1);
        assert_eq!(clock.boundaries(Ticks(1_081_000), GRID), 2);
        let exactly = starting_at(900_000);
        exactly.begin(Ticks(1_080_000), Some(Ticks(1_076_400)), 9_000);
        assert_eq!(exactly.boundaries(Ticks(1_080_000), GRID), 2);
    }

    #[test]
    fn the_wall_clock_is_anchored_anew_and_never_goes_back() {
        let clock = starting_at(900_000);
        assert_eq!(clock.wall(Ticks(990_000)), 2_000);
        clock.begin(Ticks(1_080_000), None, 60_000);
        assert_eq!((clock.wall(Ticks(1_079_910)), clock.wall(Ticks(1_080_000))), (2_999, 60_000));
        clock.begin(Ticks(1_170_000), None, 50_000);
        assert_eq!(clock.wall(Ticks(1_170_000)), 61_000, "the source had run ahead of the clock");
    }

    #[test]
    fn old_generations_take_no_memory_and_change_no_number() {
        let clock = starting_at(900_000);
        let (mut at, mut number) = (900_000, 1);
        for _ in 0..ANCHORS * 3 {
            for _ in 0..6 {
                at += FRAME;
                let now = clock.boundaries(Ticks(at), GRID);
                assert!(now == number || now == number + 1, "{number} is followed by {now}");
                number = now;
            }
            clock.begin(Ticks(at + FRAME), Some(Ticks(at)), 0);
            at += FRAME;
            number += 1;
            assert_eq!(clock.boundaries(Ticks(at), GRID), number);
        }
        assert_eq!(clock.anchors().kept.len(), ANCHORS);
    }

    proptest! {
        #[test]
        fn every_number_has_a_frame_and_none_goes_back(
            first in 900_000..1_100_000_i64,
            runs in proptest::collection::vec(1..400_i64, 1..12),
            grid in 1..6_i64,
        ) {
            let (clock, grid) = (Clock::default(), Ticks(grid * 90_000));
            let (mut at, mut last, mut number) = (first, None, 0);
            for frames in runs {
                clock.begin(Ticks(at), last, 0);
                for index in 0..frames {
                    let now = clock.boundaries(Ticks(at), grid);
                    prop_assert!(now == number || now == number + 1, "{number} is followed by {now}");
                    prop_assert!(index > 0 || now == number + 1, "a generation begins a segment");
                    number = now;
                    last = Some(Ticks(at));
                    at += FRAME;
                }
            }
        }
    }
}
