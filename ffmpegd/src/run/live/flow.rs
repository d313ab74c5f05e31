//! How the bytes move, and whether ffmpeg hangs.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::metrics::Figures;

/// The coordinator finds a hang much sooner by the timestamps; this is for when it cannot.
const PATIENCE: Duration = Duration::from_secs(10);
/// For work that reads no input of ours: a playlist may bring its next segment only every ten seconds.
const PATIENCE_WITH_A_SOURCE: Duration = Duration::from_secs(30);

/// Written by the two pipes, read by the watchdog.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Bytes that came for ffmpeg.
    pub(super) offered: AtomicU64,
    /// Bytes that it took.
    pub(super) taken: AtomicU64,
    /// Bytes that it gave.
    pub(super) given: AtomicU64,
    /// Somebody waits for its next byte: the way out is free.
    pub(super) awaited: AtomicBool,
    /// What all attempts of this worker read and write.
    pub(super) figures: Figures,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) offered: u64,
    pub(super) taken: u64,
    pub(super) given: u64,
    pub(super) awaited: bool,
}

impl Flow {
    pub(super) fn seen(&self) -> Seen {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            offered: read(&self.offered),
            taken: read(&self.taken),
            given: read(&self.given),
            awaited: self.awaited.load(Ordering::Relaxed),
        }
    }
}

/// What ffmpeg is fed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// It finds its source itself, or needs none.
    Own,
    Open,
    /// All of the input was there; what is left is to come out.
    Over,
}

/// Time counts against ffmpeg only while it has something to do and somebody wants it.
#[derive(Debug)]
pub(super) struct Watchdog {
    last: Seen,
    moved: Instant,
}

impl Watchdog {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: Seen::default(), moved: now }
    }

    /// For how long it has hung, if that is too long.
    pub(super) fn hangs(&mut self, seen: Seen, feed: Feed, now: Instant) -> Option<Duration> {
        let fed = match feed {
            Feed::Own | Feed::Over => true,
            Feed::Open => seen.taken != self.last.taken || seen.offered > seen.taken,
        };
        if seen.given != self.last.given || !seen.awaited || !fed {
            self.moved = now;
        }
        self.last = seen;
        let patience = match feed {
            Feed::Own => PATIENCE_WITH_A_SOURCE,
            Feed::Open | Feed::Over => PATIENCE,
        };
        let still = now.saturating_duration_since(self.moved);
        (still >= patience).then_some(still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half-second looks until it barks.
    fn barks_after(feed: Feed, seen: impl Fn(u64) -> Seen) -> Option<u64> {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        (1..200)
            .find(|half| dog.hangs(seen(*half), feed, start + Duration::from_millis(half * 500)).is_some())
    }

    const AWAITED: Seen = Seen { offered: 0, taken: 0, given: 0, awaited: true };

    #[test]
    fn a_process_that_takes_and_gives_nothing_hangs() {
        let taking = |half| Seen { offered: half, taken: half, ..AWAITED };
        assert_eq!(barks_after(Feed::Open, taking), Some(20));
        let stuck = |half: u64| Seen { offered: half, taken: half.min(3), ..AWAITED };
        assert_eq!(barks_after(Feed::Open, stuck), Some(20));
        assert_eq!(barks_after(Feed::Over, |_| AWAITED), Some(20));
        assert_eq!(barks_after(Feed::Own, |_| AWAITED), Some(60));
    }

    #[test]
    fn a_process_that_has_nothing_to_do_does_not_hang() {
        assert_eq!(barks_after(Feed::Open, |_| AWAITED), None, "the source is silent");
        let blocked = |half: u64| Seen { offered: half, taken: 0, given: 5, awaited: false };
        assert_eq!(barks_after(Feed::Open, blocked), None, "nobody takes what it has");
        let giving = |half| Seen { given: half, ..AWAITED };
        assert_eq!(barks_after(Feed::Own, giving), None);
    }
}
