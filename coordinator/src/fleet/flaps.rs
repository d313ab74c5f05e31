//! Workers that come and go get no new work for a while, longer each time.

use std::{collections::VecDeque, time::Duration};

use common::backoff::Backoff;

/// Disconnections that are looked at.
const WINDOW: Duration = Duration::from_secs(120);
/// As many within the window are nothing unusual: a restarted coordinator, an update, a broken cable put back.
const HARMLESS: usize = 3;
const HOLD: Backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(60) };
/// What is remembered; more would not change the answer.
const REMEMBERED: usize = 16;

/// When a worker lost its connection lately. Times are monotonic.
#[derive(Debug, Clone, Default)]
pub struct Flaps {
    recent: VecDeque<Duration>,
    held_until: Duration,
}

impl Flaps {
    /// The connection broke.
    pub fn lost(&mut self, now: Duration) {
        self.recent.push_back(now);
        while self.recent.len() > REMEMBERED
            || self.recent.front().is_some_and(|at| now.saturating_sub(*at) > WINDOW)
        {
            self.recent.pop_front();
        }
        if let Some(excess) = self.recent.len().checked_sub(HARMLESS + 1) {
            let excess = u32::try_from(excess).unwrap_or(u32::MAX);
            self.held_until = now + HOLD.delay(excess, 1.0);
        }
    }

    /// Why it takes no new work yet, in words.
    #[must_use]
    pub fn held(&self, now: Duration) -> Option<String> {
        let left = self.held_until.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(format!(
            "it lost its connection {} times within {} s and gets no new work for {:.0} s",
            self.recent.len(),
            WINDOW.as_secs(),
            left.as_secs_f64().ceil()
        ))
    }

    /// Until when it is held, if it is.
    #[must_use]
    pub fn held_until(&self, now: Duration) -> Option<Duration> {
        (self.held_until > now).then_some(self.held_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_flaps_waits_longer_each_time_and_is_forgiven() {
        let at = Duration::from_secs;
        let mut flaps = Flaps::default();
        for second in 0..3 {
            flaps.lost(at(second));
        }
        assert_eq!(flaps.held(at(3)), None, "three times is nothing");
        flaps.lost(at(4));
        assert_eq!(flaps.held_until(at(4)), Some(at(6)));
        flaps.lost(at(5));
        assert_eq!(flaps.held_until(at(5)), Some(at(9)));
        assert!(flaps.held(at(5)).unwrap().contains("5 times"));
        assert_eq!(flaps.held(at(9)), None);
        flaps.lost(at(500));
        assert_eq!(flaps.held(at(500)), None, "what is long ago does not count");
    }
}
