//! When a receiver is tried again, and whose turn it is.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};

use crate::store::Receiver;

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// Between the tries of an event, as Standard Webhooks proposes it: after the last of them, some three days on, it is given
/// up.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    minutes(5),
    minutes(30),
    minutes(2 * 60),
    minutes(5 * 60),
    minutes(10 * 60),
    minutes(14 * 60),
    minutes(20 * 60),
    minutes(24 * 60),
];
/// What is added at most so that not all come again at once, as a part of the wait.
const JITTER: f64 = 0.2;
/// What a receiver may ask for.
const MOST_RETRY_AFTER: Duration = minutes(24 * 60);
/// No wait is longer: what is due later was written by a clock that went wrong.
pub(super) const LONGEST: Duration = minutes(29 * 60);

/// How a request to a receiver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer, and after how long it may be asked again, if it said so.
    Answer(u16, Option<Duration>),
    /// None.
    Nothing,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Delivered,
    /// After this long.
    Again(Duration),
    GiveUp,
}

/// What follows from a try. `before`: how many there were. `jitter` is in `0.0..1.0` and comes from the caller.
pub(super) fn next(outcome: Outcome, before: u32, jitter: f64) -> Next {
    let asked = match outcome {
        Outcome::Answer(200..=299, _) => return Next::Delivered,
        // Whoever is there wants no more of it.
        Outcome::Answer(410, _) => return Next::GiveUp,
        Outcome::Answer(_, asked) => asked.unwrap_or_default().min(MOST_RETRY_AFTER),
        Outcome::Nothing => Duration::ZERO,
    };
    match usize::try_from(before).ok().and_then(|before| WAITS.get(before)) {
        Some(wait) => Next::Again(wait.max(&asked).mul_f64(1.0 + JITTER * jitter.clamp(0.0, 1.0))),
        None => Next::GiveUp,
    }
}

/// `Retry-After`: seconds, or a date.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}

/// Requests under way at once.
pub(super) const AT_ONCE: usize = 64;
/// To one receiver: a slow one leaves room for the others.
pub(super) const TO_ONE: usize = 4;

/// Whose turn it is, with for how many of its events there is room, and when the next is due that is not yet. The longest
/// due come first. `under_way`: requests by receiver. Times are milliseconds.
pub(super) fn turns(
    receivers: &[Receiver],
    under_way: &BTreeMap<String, usize>,
    now: i64,
) -> (Vec<(String, usize)>, Option<i64>) {
    let mut room = AT_ONCE.saturating_sub(under_way.values().sum());
    let mut due: Vec<&Receiver> = receivers.iter().filter(|receiver| receiver.due_at <= now).collect();
    due.sort_by_key(|receiver| receiver.due_at);
    let mut turns = Vec::new();
    for receiver in due {
        let own = TO_ONE.saturating_sub(under_way.get(&receiver.name).copied().unwrap_or(0)).min(room);
        if own > 0 {
            room -= own;
            turns.push((receiver.name.clone(), own));
        }
    }
    let later = receivers.iter().map(|receiver| receiver.due_at).filter(|due_at| *due_at > now).min();
    (turns, later)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Outcome = Outcome::Answer(503, None);

    #[test]
    fn waits_grow_and_end() {
        let mut waits = Vec::new();
        while let Next::Again(wait) = next(BUSY, u32::try_from(waits.len()).unwrap(), 0.0) {
            waits.push(wait);
        }
        assert_eq!(waits, WAITS);
        assert_eq!(waits.iter().sum::<Duration>(), Duration::from_secs(5) + minutes(35 + 75 * 60));
        assert_eq!(next(Outcome::Nothing, 9, 0.0), Next::GiveUp);
        assert_eq!(next(BUSY, u32::MAX, 0.0), Next::GiveUp);
        assert_eq!(next(Outcome::Nothing, 1, 1.0), Next::Again(minutes(6)));
        let Next::Again(longest) = next(Outcome::Answer(503, Some(Duration::MAX)), 8, 1.0) else { panic!() };
        assert!(longest <= LONGEST, "{longest:?}");
    }

    #[test]
    fn the_answer_decides() {
        let first = |status, asked| next(Outcome::Answer(status, asked), 0, 0.0);
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(first(status, None), Next::Delivered, "{status}");
        }
        for status in [100, 301, 302, 307, 400, 401, 404, 429, 500, 503] {
            assert_eq!(first(status, None), Next::Again(WAITS[0]), "{status}");
        }
        assert_eq!(first(410, None), Next::GiveUp);
        assert_eq!(first(429, Some(minutes(1))), Next::Again(minutes(1)));
        assert_eq!(first(429, Some(Duration::from_secs(1))), Next::Again(WAITS[0]), "not sooner than usual");
        assert_eq!(first(503, Some(minutes(9_999_999))), Next::Again(MOST_RETRY_AFTER));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(minutes(2)));
        assert_eq!(retry_after("Wed, 01 Jul 2026 12:05:00 GMT", now), Some(minutes(5)));
        for none in ["", "soon", "-3", "Wed, 01 Jul 2026 11:05:00 GMT"] {
            assert_eq!(retry_after(none, now), None, "{none}");
        }
    }

    #[test]
    fn a_slow_receiver_does_not_have_all_the_room() {
        let receivers: Vec<_> = [("slow", 1), ("late", 90), ("quick", 5), ("other", 7)]
            .map(|(name, due_at)| Receiver { name: name.to_owned(), due_at })
            .into();
        let under_way = |counts: &[(&str, usize)]| -> BTreeMap<String, usize> {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let turn = |name: &str, room| (name.to_owned(), room);
        let (turns_of_all, later) = turns(&receivers, &under_way(&[("slow", TO_ONE), ("quick", 1)]), 10);
        assert_eq!((turns_of_all, later), (vec![turn("quick", 3), turn("other", 4)], Some(90)));
        let nearly_full = under_way(&[("many", AT_ONCE - 5)]);
        assert_eq!(turns(&receivers, &nearly_full, 10).0, [turn("slow", 4), turn("quick", 1)]);
        assert_eq!(turns(&receivers, &under_way(&[("many", AT_ONCE)]), 10).0, []);
        assert_eq!(turns(&[], &BTreeMap::new(), 10), (Vec::new(), None));
    }
}
