//! How often something is said about an input.
//!
//! A job that waits says so once: nothing about it changes but the time.

use std::time::{Duration, Instant};

/// Lets through what is new at once, and the rest at intervals.
#[derive(Debug)]
pub(super) struct Gate {
    every: Duration,
    last: Option<(String, Instant)>,
}

impl Gate {
    pub(super) const fn new(every: Duration) -> Self {
        Self { every, last: None }
    }

    pub(super) fn passes(&mut self, milestone: &str, moves: bool, now: Instant) -> bool {
        let passes = match &self.last {
            None => true,
            Some((last, at)) => last != milestone || (moves && now.duration_since(*at) >= self.every),
        };
        if passes {
            self.last = Some((milestone.to_owned(), now));
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_pass_at_once_and_figures_at_intervals() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut gate = Gate::new(Duration::from_secs(5));
        assert!(gate.passes("queued", false, at(0)));
        assert!(!gate.passes("queued", false, at(400)));
        assert!(gate.passes("encoding", true, at(404)));
        assert!(!gate.passes("encoding", true, at(408)));
        assert!(gate.passes("encoding", true, at(409)));
    }
}
