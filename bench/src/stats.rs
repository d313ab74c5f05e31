//! What many measurements say together. Pure.

use serde::Serialize;

/// The value that a share `q` (0 to 1) of the samples does not exceed, by nearest rank: always one that was measured.
/// `None` without samples.
#[must_use]
pub(crate) fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle sample, or the mean of the two in the middle. `None` without samples.
#[must_use]
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The median of the slopes between all pairs of points (Theil-Sen), y over x: outliers below 29 % of the points do not
/// move it far. `None` with less than two different x.
#[must_use]
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = points.iter().enumerate().flat_map(|(index, one)| {
        points[index + 1..].iter().filter(|other| other.0 != one.0).map(move |other| (one, other))
    });
    let slopes: Vec<f64> = pairs.map(|(one, other)| (other.1 - one.1) / (other.0 - one.0)).collect();
    median(&slopes)
}

/// Latencies in short, in the samples' own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) samples: usize,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without samples.
    #[must_use]
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        Some(Self {
            samples: samples.len(),
            min: quantile(samples, 0.0)?,
            p50: quantile(samples, 0.5)?,
            p90: quantile(samples, 0.9)?,
            p99: quantile(samples, 0.99)?,
            max: quantile(samples, 1.0)?,
        })
    }
}

/// Measurements of two systems, taken in turn, so that both of a pair saw the machine in the same state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Paired {
    /// `ours / theirs` of each pair, in the order of measurement.
    pub(crate) ratios: Vec<f64>,
    pub(crate) median_ratio: f64,
    pub(crate) median_ours: f64,
    pub(crate) median_theirs: f64,
}

impl Paired {
    /// `None` without pairs.
    #[must_use]
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours / theirs).collect();
        let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        Some(Self {
            median_ratio: median(&ratios)?,
            median_ours: median(&ours)?,
            median_theirs: median(&theirs)?,
            ratios,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_to(n: u32) -> Vec<f64> {
        (1..=n).rev().map(f64::from).collect()
    }

    #[test]
    fn quantiles_are_samples() {
        assert_eq!(quantile(&one_to(200), 0.5), Some(100.0));
        assert_eq!(quantile(&one_to(200), 0.99), Some(198.0));
        assert_eq!(quantile(&one_to(200), 1.0), Some(200.0));
        assert_eq!(quantile(&one_to(3), 0.0), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn pairing_takes_the_drift_of_the_machine_out() {
        // The machine halves its speed after the first pair; the ratio does not notice, the medians do.
        let paired = Paired::of(&[(10.0, 10.0), (20.0, 20.0), (20.0, 20.0)]).unwrap();
        assert_eq!(paired.median_ratio, 1.0);
        assert_eq!(paired.median_ours, 20.0);
        assert!(Paired::of(&[]).is_none());
    }

    #[test]
    fn a_slope_is_not_bent_by_outliers() {
        let line = |x: f64| (x, 3.0 * x + 1.0);
        let mut points: Vec<_> = (0..20).map(|x| line(f64::from(x))).collect();
        assert!((slope(&points).unwrap() - 3.0).abs() < 1e-9);
        points[4].1 = 1e6;
        points[19].1 = -1e6;
        assert!((slope(&points).unwrap() - 3.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn a_spread_needs_samples() {
        assert!(Spread::of(&[]).is_none());
        let spread = Spread::of(&one_to(100)).unwrap();
        assert_eq!((spread.samples, spread.min, spread.p90, spread.max), (100, 1.0, 90.0, 100.0));
    }
}
