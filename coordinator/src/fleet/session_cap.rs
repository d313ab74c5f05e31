//! What a GPU's encode sessions turned out to be, where driver and device say nothing or something else.
//!
//! NVENC's cap is per system and follows the driver; it is met by being refused.

use std::time::Duration;

/// Between one more session and the next.
const RAISE_EVERY: Duration = Duration::from_secs(60);
/// The first one after a cap of nothing: whoever had the sessions may be gone already.
const RAISE_FROM_NONE: Duration = Duration::from_secs(10);
/// A cap that was raised so far says nothing any more.
const RAISES: u32 = 32;

/// A cap that rises slowly by itself. Times are monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCap {
    base: u32,
    since: Duration,
}

impl SessionCap {
    /// After `wanted` sessions were refused while `open` of ours were open.
    #[must_use]
    pub fn refused(open: u32, wanted: u32, now: Duration) -> Self {
        Self { base: open.saturating_add(wanted).saturating_sub(1), since: now }
    }

    /// Sessions that may be open; `None` once it says nothing any more.
    #[must_use]
    pub fn at(self, now: Duration) -> Option<u32> {
        let raises = self.raises(now);
        (raises < RAISES).then(|| self.base.saturating_add(raises))
    }

    fn raises(self, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.since);
        let steps = if self.base == 0 {
            match passed.checked_sub(RAISE_FROM_NONE) {
                None => 0,
                Some(rest) => 1 + rest.as_secs() / RAISE_EVERY.as_secs(),
            }
        } else {
            passed.as_secs() / RAISE_EVERY.as_secs()
        };
        u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_refused_session_lowers_the_cap_and_it_rises_slowly() {
        let cap = SessionCap::refused(3, 1, at(100));
        assert_eq!(cap.at(at(100)), Some(3));
        assert_eq!(cap.at(at(159)), Some(3));
        assert_eq!(cap.at(at(160)), Some(4));
        assert_eq!(cap.at(at(100 + 32 * 60)), None);
    }

    #[test]
    fn of_several_sessions_the_refused_ones_are_not_all_too_many() {
        assert_eq!(SessionCap::refused(1, 3, at(0)).at(at(0)), Some(3));
    }

    #[test]
    fn a_device_with_no_session_at_all_is_tried_again_soon() {
        let cap = SessionCap::refused(0, 1, at(0));
        assert_eq!(cap.at(at(9)), Some(0));
        assert_eq!(cap.at(at(10)), Some(1));
        assert_eq!(cap.at(at(70)), Some(2));
    }
}
