//! Whether memory that was looked at for long stays where it is. Pure.

use serde::Serialize;

use crate::{
    report::Verdict,
    stats::{self, median},
};

const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// Minutes that have to be looked at: below, the slope says more of the allocator than of the program.
const ENOUGH: f64 = 10.0;
/// Minutes that do not count: what a crowd left behind is given back, and the ten who stay fill their buffers (30 s) anew.
const SETTLING: f64 = 2.0;
/// MiB in an hour: at most. An hour has 90,000 pictures and 1,800 segments: whoever keeps 100 bytes of each picture, or one
/// segment of 4 Mbit/s in seven minutes, is above it. Measured without any of that: 4 in the first twenty minutes, in steps of
/// 0.2 MiB until the allocator has what it needs, none after that, and 0.5 over an hour.
const PER_HOUR: f64 = 8.0;
/// Last quarter over second quarter, at most: one step that stays is no slope to the median of slopes. The buffers, which are
/// a part of it, go up and down by one segment in fifteen.
const OVER: f64 = 1.1;

/// What a course of memory comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Drift {
    /// That were looked at, those for settling included.
    pub(crate) minutes: f64,
    /// The median of the slopes between all pairs (Theil-Sen): less than 29 % of outliers do not move it.
    pub(crate) mebibytes_per_hour: f64,
    /// The median of the last quarter over that of the second.
    pub(crate) last_over_second: f64,
}

impl Drift {
    /// Of minutes and bytes, in order. `None` where too little was looked at.
    #[must_use]
    pub(super) fn of(course: &[(f64, u64)]) -> Option<Self> {
        let minutes = course.last()?.0;
        if minutes < ENOUGH {
            return None;
        }
        let settled: Vec<(f64, f64)> = course
            .iter()
            .filter(|(minute, _)| *minute >= SETTLING)
            .map(|(minute, bytes)| (minute / 60.0, *bytes as f64 / MEBIBYTE))
            .collect();
        let (first, last) = (settled.first()?.0, settled.last()?.0);
        let quarter = |number: f64| {
            let from = first + (last - first) * (number - 1.0) / 4.0;
            let upto = first + (last - first) * number / 4.0;
            let within = settled.iter().filter(|(hour, _)| (from..=upto).contains(hour));
            median(&within.map(|(_, size)| *size).collect::<Vec<_>>())
        };
        Some(Self {
            minutes,
            mebibytes_per_hour: stats::slope(&settled)?,
            last_over_second: quarter(4.0)? / quarter(2.0)?,
        })
    }

    fn is_flat(self) -> bool {
        self.mebibytes_per_hour <= PER_HOUR && self.last_over_second <= OVER
    }
}

pub(super) fn verdict(drift: Drift) -> Verdict {
    Verdict {
        what: format!("memory stays flat, ten viewers for {:.0} minutes", drift.minutes),
        farm: format!("{:+.1} MiB/h", drift.mebibytes_per_hour),
        other: format!("last quarter {:.3} of the second", drift.last_over_second),
        target: format!("at most {PER_HOUR:+} MiB/h, {OVER} of the second"),
        met: drift.is_flat(),
    }
}

/// What is said in place of a verdict, of a look that was too short for one.
pub(super) fn not_judged(course: &[(f64, u64)]) -> String {
    let minutes = course.last().map_or(0.0, |(minutes, _)| *minutes);
    format!("memory stays flat: not judged, looked at for {minutes:.1} minutes of {ENOUGH} (--live-minutes)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look every ten seconds; `mebibytes` of the minute.
    fn course(minutes: u32, mebibytes: impl Fn(f64) -> f64) -> Vec<(f64, u64)> {
        let looks = (1..=minutes * 6).map(|look| f64::from(look) / 6.0);
        looks.map(|minute| (minute, (mebibytes(minute) * MEBIBYTE) as u64)).collect()
    }

    fn judged(minutes: u32, mebibytes: impl Fn(f64) -> f64) -> Verdict {
        verdict(Drift::of(&course(minutes, mebibytes)).unwrap())
    }

    /// Up and down by a group of pictures, and a look in twelve while something large is at work.
    fn busy(minute: f64) -> f64 {
        let look = (minute * 6.0).round() as u32;
        f64::from(look % 5) * 0.25 + if look.is_multiple_of(12) { 16.0 } else { 0.0 }
    }

    #[test]
    fn a_level_with_noise_and_outliers_is_flat() {
        for minutes in [10, 60] {
            let verdict = judged(minutes, |minute| 68.0 + busy(minute));
            assert!(verdict.met, "{verdict:?}");
        }
    }

    #[test]
    fn what_grows_by_a_little_all_the_time_is_not() {
        for minutes in [10, 60] {
            let verdict = judged(minutes, |minute| 68.0 + busy(minute) + minute * 12.0 / 60.0);
            assert!(!verdict.met && verdict.farm == "+12.0 MiB/h", "{verdict:?}");
        }
    }

    #[test]
    fn a_step_that_stays_is_seen_though_it_is_no_slope() {
        let verdict = judged(60, |minute| if minute < 50.0 { 68.0 } else { 84.0 });
        assert!(!verdict.met && verdict.farm == "+0.0 MiB/h", "{verdict:?}");
        assert_eq!(verdict.other, "last quarter 1.235 of the second");
    }

    #[test]
    fn an_allocator_that_takes_a_little_at_first_is_flat() {
        for minutes in [10, 20, 60] {
            let verdict = judged(minutes, |minute| 68.0 + 0.2 * (minute.min(20.0) / 3.0).floor());
            assert!(verdict.met, "{verdict:?}");
        }
    }

    #[test]
    fn how_it_settles_does_not_count_and_less_is_no_fault() {
        let settles = |minute: f64| if minute < 2.0 { 40.0 + minute * 14.0 } else { 68.0 };
        assert!(judged(10, settles).met);
        assert!(judged(60, |minute| 120.0 - minute).met);
    }

    #[test]
    fn less_than_ten_minutes_are_not_judged() {
        assert_eq!(Drift::of(&[]), None);
        let short = course(9, |minute| 68.0 + minute);
        assert_eq!(Drift::of(&short), None);
        assert!(not_judged(&short).contains("not judged, looked at for 9.0 minutes of 10"));
    }
}
