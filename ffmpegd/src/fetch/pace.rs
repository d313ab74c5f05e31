//! How slow a server may be. Only the time counts in which the worker waits for it: an encode that takes its input slowly is
//! no fault of the server.

use std::time::Duration;

use super::{Limits, failure::SourceFailure};

/// Waiting of which the rate is judged. A server's pauses shorter than this are none.
const WINDOW: Duration = Duration::from_secs(30);

/// What a read of a source waited for, and what it got.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
    total: Duration,
}

impl Pace {
    /// # Errors
    /// That is slower than allowed.
    pub(super) fn took(
        &mut self,
        waited: Duration,
        bytes: u64,
        limits: &Limits,
    ) -> Result<(), SourceFailure> {
        self.total += waited;
        if self.total > limits.longest {
            return Err(SourceFailure::TooLong { seconds: limits.longest.as_secs() });
        }
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < WINDOW {
            return Ok(());
        }
        let rate = self.bytes as f64 / self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if rate < limits.slowest as f64 {
            return Err(SourceFailure::TooSlow { rate: rate as u64, least: limits.slowest });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connect: Duration::ZERO,
        stall: Duration::ZERO,
        resumes: 0,
        largest: 0,
        longest: Duration::from_secs(1000),
        slowest: 100,
    };

    /// What it says after so many seconds in which a second brings so many bytes.
    fn after(seconds: u64, bytes: u64) -> Result<(), SourceFailure> {
        let mut pace = Pace::default();
        (0..seconds).try_for_each(|_| pace.took(Duration::from_secs(1), bytes, &LIMITS))
    }

    #[test]
    fn a_trickle_is_given_up_and_a_slow_server_is_not() {
        assert_eq!(after(29, 1), Ok(()));
        assert_eq!(after(30, 99), Err(SourceFailure::TooSlow { rate: 99, least: 100 }));
        assert_eq!(after(1000, 100), Ok(()));
        assert_eq!(after(1001, 100), Err(SourceFailure::TooLong { seconds: 1000 }));
    }

    #[test]
    fn what_is_read_slowly_is_not_the_servers_fault() {
        let mut pace = Pace::default();
        // An hour of encoding, of which the server took a second.
        for _ in 0..100 {
            assert_eq!(pace.took(Duration::from_millis(10), 1, &LIMITS), Ok(()));
        }
    }
}
