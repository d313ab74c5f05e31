//! Which attempts there are, and when: plain state machines of what happened and the time.
//!
//! [`variant`] decides for one encoding of a source, [`supply`] for the source itself. Both compare what is wanted with what
//! is there after everything that happens, and say what has to be done about the difference.

pub(super) mod supply;
pub(super) mod variant;

use std::time::Duration;

/// An attempt gives nothing for so long while its source flows: it hangs.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// The same before its first output: ffmpeg starts, fills its lookahead, and the machine may be busy.
pub(super) const FIRST_OUTPUT: Duration = Duration::from_secs(10);
/// A source that gave nothing for longer does not flow.
pub(super) const FLOWING: Duration = Duration::from_secs(1);
/// After a refused placement; besides, every change of the fleet is a reason to ask again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long a worker that failed is passed over where there is another.
pub(super) const AVOID: Duration = Duration::from_secs(60);

/// Before the next attempt after so many in a row that gave nothing.
pub(super) fn pause(strikes: u32) -> Duration {
    match strikes {
        0 | 1 => Duration::ZERO,
        more => Duration::from_millis(250).saturating_mul(1 << (more - 2).min(5)).min(Duration::from_secs(5)),
    }
}
