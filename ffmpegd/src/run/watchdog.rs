//! Tells a process that is slow from one that hangs.

use std::time::{Duration, Instant};

/// What moves while a process works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) out_time_us: u64,
    pub(super) frames: u64,
    /// Bytes that the process read.
    pub(super) read: u64,
    /// Bytes that came from the source.
    pub(super) fetched: u64,
}

/// Barks when nothing moved for too long.
#[derive(Debug)]
pub(super) struct Watchdog {
    last: Signs,
    moved: Instant,
    patience: Option<Duration>,
}

impl Watchdog {
    /// Without patience it never barks.
    pub(super) fn new(patience: Option<Duration>, now: Instant) -> Self {
        Self { last: Signs::default(), moved: now, patience }
    }

    /// It waits for something that is not its fault.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Whether the process hangs.
    pub(super) fn hangs(&mut self, signs: Signs, now: Instant) -> bool {
        if signs != self.last {
            self.last = signs;
            self.moved = now;
        }
        self.patience.is_some_and(|patience| now.saturating_duration_since(self.moved) >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_that_moves_is_life() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut dog = Watchdog::new(Some(Duration::from_secs(10)), start);
        assert!(!dog.hangs(Signs::default(), after(9)));
        let frames = Signs { frames: 1, ..Signs::default() };
        assert!(!dog.hangs(frames, after(9)));
        assert!(!dog.hangs(Signs { fetched: 1, ..frames }, after(18)));
        assert!(!dog.hangs(Signs { fetched: 1, ..frames }, after(27)));
        assert!(dog.hangs(Signs { fetched: 1, ..frames }, after(28)));
    }

    #[test]
    fn who_waits_for_an_upload_does_not_hang_and_may_afterwards() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut dog = Watchdog::new(Some(Duration::from_secs(10)), start);
        dog.forgive(after(100));
        assert!(!dog.hangs(Signs::default(), after(109)));
        assert!(dog.hangs(Signs::default(), after(110)));
    }

    #[test]
    fn no_limit_means_none() {
        let start = Instant::now();
        assert!(!Watchdog::new(None, start).hangs(Signs::default(), start + Duration::from_secs(1 << 30)));
    }
}
