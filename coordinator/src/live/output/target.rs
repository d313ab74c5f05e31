//! The target duration: chosen before the first playlist, never changed after it.
//!
//! An encoder that puts its key frames on the grid gives segments of the grid's length, give or take a frame. A source that is
//! passed on as it is has GOPs of its own length, often irregular ones. So the choice waits for the first whole segment.

use mux::Ticks;

/// Seconds for a source whose key frames are not on the grid, unless it has shown longer ones: what Apple recommends, and
/// above the distance of key frames of most broadcasts.
const IRREGULAR: i64 = 6;
/// Seconds. Players wait for three target durations: what has key frames still less often gets segments without.
const LONGEST: i64 = 12;

#[derive(Debug)]
pub(super) struct Target {
    grid: Ticks,
    longest: Ticks,
    irregular: bool,
    fixed: Option<i64>,
}

impl Target {
    pub(super) fn new(grid: Ticks) -> Self {
        Self { grid, longest: Ticks::ZERO, irregular: false, fixed: None }
    }

    /// A segment is finished; `regular`: what follows begins where an encoder would have begun it.
    pub(super) fn finished(&mut self, duration: Ticks, regular: bool) {
        self.longest = self.longest.max(duration);
        self.irregular |= !regular;
    }

    /// From now on it does not change.
    pub(super) fn fix(&mut self) {
        self.fixed = Some(self.whole_seconds());
    }

    fn whole_seconds(&self) -> i64 {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let second = Ticks::PER_SECOND;
        let grid = (self.grid.0 + second - 1) / second;
        let longest = (self.longest.0 + second / 2) / second;
        let irregular = if self.irregular { IRREGULAR } else { 1 };
        grid.max(longest.min(LONGEST)).max(irregular).max(1)
    }

    pub(super) fn seconds(&self) -> u32 {
        u32::try_from(self.whole_seconds()).unwrap_or(u32::MAX)
    }

    /// The longest that a segment may be: its length rounded to seconds is at most the target (RFC 8216, 4.3.3.1).
    pub(super) fn limit(&self) -> Ticks {
        let seconds = self.fixed.unwrap_or_else(|| self.whole_seconds().max(LONGEST));
        Ticks(seconds * Ticks::PER_SECOND + Ticks::PER_SECOND / 2 - 1)
    }

    /// So much stays in the playlist (RFC 8216, 6.2.2).
    pub(super) fn three(&self) -> Ticks {
        Ticks(3 * self.whole_seconds() * Ticks::PER_SECOND)
    }
}
