//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with full jitter over the upper half: attempt `n` waits between half of and the whole
/// `min(base * 2^n, cap)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
}

impl Backoff {
    /// The wait before retry number `retry` (0 for the first). `jitter` is in `0.0..1.0` and comes from the caller, so
    /// that the decision itself has no randomness.
    #[must_use]
    pub fn delay(&self, retry: u32, jitter: f64) -> Duration {
        let whole = self.base.saturating_mul(1 << retry.min(20)).min(self.cap);
        whole.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(10) };

    #[test]
    fn doubles_until_the_cap() {
        assert_eq!(BACKOFF.delay(0, 1.0), Duration::from_millis(200));
        assert_eq!(BACKOFF.delay(1, 1.0), Duration::from_millis(400));
        assert_eq!(BACKOFF.delay(40, 1.0), Duration::from_secs(10));
    }

    #[test]
    fn jitter_never_halves_more_than_once() {
        assert_eq!(BACKOFF.delay(0, 0.0), Duration::from_millis(100));
    }
}
