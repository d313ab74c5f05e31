//! When a worker must stop by itself.
//!
//! The coordinator gives an attempt away once its lease ran out; this worker must have stopped before. Its own lease
//! starts when it asked for it, which is before the coordinator gave it, and ends earlier by a margin for killing ffmpeg.

use std::time::{Duration, Instant};

/// Of the lease: for noticing, and killing ffmpeg.
const MARGIN: u32 = 5;

/// The terms of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) length: Duration,
}

impl Lease {
    /// Until when an attempt may run that was renewed at `renewed`.
    pub(crate) fn ends(self, renewed: Instant) -> Instant {
        renewed + (self.length - self.length / MARGIN)
    }

    pub(crate) fn is_over(self, renewed: Instant, now: Instant) -> bool {
        now >= self.ends(renewed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_stops_before_the_coordinator_may_give_the_task_away() {
        let lease = Lease { length: Duration::from_secs(15) };
        let renewed = Instant::now();
        assert!(!lease.is_over(renewed, renewed + Duration::from_millis(11_999)));
        assert!(lease.is_over(renewed, renewed + Duration::from_secs(12)));
        assert!(lease.ends(renewed) < renewed + lease.length);
    }
}
