//! When the machine is probed again. No I/O, no clock.
//!
//! The coordinator may ask for it, and is always answered. The worker doubts by itself after a failure on a device, at most
//! every [`OWN_EVERY`], and tells only what is new. One probe runs at a time; who asks meanwhile is answered by it.

use std::time::{Duration, Instant};

/// Between two probes of the worker's own accord. A device that keeps failing keeps being probed.
const OWN_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Doubt {
    probing: bool,
    asked: bool,
    own: bool,
    last_own: Option<Instant>,
}

impl Doubt {
    /// The coordinator wants a probe.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Something failed that a faulty device may be the cause of.
    pub(crate) fn suspect(&mut self) {
        self.own = true;
    }

    /// Whether a probe is to be started now; then [`Doubt::probed`] must follow.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        let too_soon = self.last_own.is_some_and(|last| now.saturating_duration_since(last) < OWN_EVERY);
        let own = self.own && !too_soon;
        if self.probing || !(self.asked || own) {
            return false;
        }
        self.probing = true;
        if self.own {
            self.own = false;
            self.last_own = Some(now);
        }
        true
    }

    /// The probe has ended. Whether the coordinator is told.
    pub(crate) fn probed(&mut self, is_new: bool) -> bool {
        self.probing = false;
        std::mem::take(&mut self.asked) || is_new
    }

    /// Who asked is gone; the next session's Hello says what there is.
    pub(crate) fn disconnected(&mut self) {
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_answered_always() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        assert!(!doubt.begin(now));
        doubt.ask();
        assert!(doubt.begin(now));
        assert!(!doubt.begin(now), "one at a time");
        assert!(doubt.probed(false));
        assert!(!doubt.begin(now));
        doubt.ask();
        assert!(doubt.begin(now), "whoever asks need not wait");
    }

    #[test]
    fn who_asks_while_a_probe_runs_is_answered_by_it() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        doubt.suspect();
        assert!(doubt.begin(now));
        doubt.ask();
        assert!(!doubt.begin(now));
        assert!(doubt.probed(false));
        assert!(!doubt.begin(now));
    }

    #[test]
    fn own_doubts_wait_for_their_turn_and_tell_only_what_is_new() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        doubt.suspect();
        assert!(doubt.begin(now));
        doubt.suspect();
        assert!(!doubt.probed(false));
        assert!(!doubt.begin(now + OWN_EVERY / 2));
        assert!(doubt.begin(now + OWN_EVERY), "it is not forgotten");
        assert!(doubt.probed(true));
    }

    #[test]
    fn nobody_is_told_who_has_gone() {
        let mut doubt = Doubt::default();
        doubt.ask();
        doubt.disconnected();
        assert!(!doubt.begin(Instant::now()));
    }
}
