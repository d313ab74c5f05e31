//! Time on a media timeline.

use std::{
    fmt,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
};

/// Bits of a timestamp in MPEG-TS (ISO/IEC 13818-1, 2.4.3.6).
const WIRE_BITS: u32 = 33;

/// A moment or a span in ticks of 90 kHz, unwrapped: it goes on growing where MPEG-TS starts at 0 again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub i64);

impl Ticks {
    pub const PER_SECOND: i64 = 90_000;
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn from_millis(milliseconds: i64) -> Self {
        Self(milliseconds * 90)
    }

    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(90)
    }

    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / Self::PER_SECOND as f64
    }

    /// The nearest tick to `count` samples of `rate` Hz.
    #[must_use]
    pub const fn from_samples(count: i64, rate: u32) -> Self {
        let scaled = count as i128 * Self::PER_SECOND as i128;
        let rate = rate as i128;
        Self((scaled + rate / 2).div_euclid(rate) as i64)
    }

    /// As MPEG-TS writes it: the low 33 bits.
    #[must_use]
    pub const fn wire(self) -> u64 {
        self.0 as u64 & ((1 << WIRE_BITS) - 1)
    }

    /// Which interval of a grid it is in: the intervals are `[n * grid, (n + 1) * grid)`.
    #[must_use]
    pub const fn interval(self, grid: Self) -> i64 {
        self.0.div_euclid(grid.0)
    }
}

impl Add for Ticks {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Ticks {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl SubAssign for Ticks {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Neg for Ticks {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.seconds())
    }
}

/// Turns 33-bit timestamps into [`Ticks`] that do not wrap: each is taken to be within half a cycle (13 hours) of the one
/// before, in either direction.
#[derive(Debug, Clone, Default)]
pub struct Unwrapper {
    last: Option<i64>,
}

impl Unwrapper {
    /// The first is taken as it is.
    pub const fn unwrap(&mut self, wire: u64) -> Ticks {
        let unwrapped = self.near(wire);
        self.last = Some(unwrapped.0);
        unwrapped
    }

    /// The same, without remembering it.
    #[must_use]
    pub const fn near(&self, wire: u64) -> Ticks {
        const CYCLE: i64 = 1 << WIRE_BITS;
        let wire = (wire & (CYCLE as u64 - 1)) as i64;
        Ticks(match self.last {
            None => wire,
            Some(last) => {
                let ahead = (wire - last).rem_euclid(CYCLE);
                if ahead < CYCLE / 2 { last + ahead } else { last + ahead - CYCLE }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_goes_on_where_33_bits_wrap() {
        let mut unwrapper = Unwrapper::default();
        let near_the_end = (1 << 33) - 3600;
        assert_eq!(unwrapper.unwrap(near_the_end), Ticks(near_the_end as i64));
        assert_eq!(unwrapper.unwrap(0), Ticks(1 << 33));
        assert_eq!(unwrapper.unwrap(near_the_end), Ticks(near_the_end as i64));
        assert_eq!(Ticks((1 << 33) + 5).wire(), 5);
    }

    #[test]
    fn samples_become_the_nearest_tick() {
        assert_eq!(Ticks::from_samples(1024, 48_000), Ticks(1920));
        assert_eq!(Ticks::from_samples(1024, 44_100), Ticks(2090));
        assert_eq!(Ticks::from_samples(-1024, 48_000), Ticks(-1920));
    }

    #[test]
    fn the_grid_has_half_open_intervals() {
        let grid = Ticks::from_millis(2000);
        assert_eq!((Ticks(179_999).interval(grid), Ticks(180_000).interval(grid)), (0, 1));
        assert_eq!(Ticks(-1).interval(grid), -1);
    }
}
