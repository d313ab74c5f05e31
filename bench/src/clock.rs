//! CLOCK_MONOTONIC, which every process of one machine shares: times taken in Rust, Python and Node can be subtracted.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Seconds from `before` to `after`.
#[must_use]
pub(crate) fn seconds(before: u64, after: u64) -> f64 {
    Duration::from_nanos(after.saturating_sub(before)).as_secs_f64()
}

/// Milliseconds from `before` to `after`.
#[must_use]
pub(crate) fn milliseconds(before: u64, after: u64) -> f64 {
    seconds(before, after) * 1e3
}
