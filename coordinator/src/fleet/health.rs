//! How far the places of a worker are trusted: its CPU, and each of its GPUs.
//!
//! A place is blamed when a task failed there and then succeeded somewhere else. Blamed twice with no success in between, it
//! is quarantined: it gets no work until the worker has probed itself again, then it is on probation, where the next blame
//! puts it back for twice as long. A success ends probation.

use std::{collections::BTreeMap, time::Duration};

use common::{backoff::Backoff, worker::Capabilities};

use super::Slot;

/// Blames in a row that end trust.
const BLAMES: u32 = 2;
/// Between the start of a quarantine and the probe that may end it.
const PATIENCE: Backoff = Backoff { base: Duration::from_secs(60), cap: Duration::from_secs(3600) };
/// A probe that was not answered is asked for again.
const PROBE_AGAIN: Duration = Duration::from_secs(120);
/// A place that was not quarantined for so long starts anew.
const FORGIVEN: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, Clone, Default)]
pub struct Health {
    places: BTreeMap<Slot, Place>,
}

#[derive(Debug, Clone)]
struct Place {
    trust: Trust,
    /// Blames since the last success.
    blames: u32,
    /// Quarantines so far, for the backoff.
    times: u32,
    /// The newest blame, in words.
    why: String,
    blamed_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Trusted,
    Quarantined {
        probe_at: Duration,
        asked: bool,
    },
    /// Released, and not proven yet.
    Probation,
}

impl Health {
    /// A task failed here that succeeded elsewhere; `why` says how. `true` when the place is quarantined from now on.
    pub fn blame(&mut self, slot: Slot, why: String, now: Duration) -> bool {
        let place = self.places.entry(slot).or_insert(Place {
            trust: Trust::Trusted,
            blames: 0,
            times: 0,
            why: String::new(),
            blamed_at: now,
        });
        if now.saturating_sub(place.blamed_at) > FORGIVEN {
            place.times = 0;
        }
        place.blames += 1;
        place.why = why;
        place.blamed_at = now;
        let ends_trust = match place.trust {
            Trust::Trusted => place.blames >= BLAMES,
            Trust::Probation => true,
            Trust::Quarantined { .. } => false,
        };
        if ends_trust {
            // Whole, not spread: quarantines of different workers have no reason to be in step.
            let probe_at = now + PATIENCE.delay(place.times, 1.0);
            place.times += 1;
            place.trust = Trust::Quarantined { probe_at, asked: false };
        }
        ends_trust
    }

    /// A task succeeded here.
    pub fn proven(&mut self, slot: Slot) {
        if let Some(place) = self.places.get_mut(&slot) {
            place.blames = 0;
            if place.trust == Trust::Probation {
                place.trust = Trust::Trusted;
            }
        }
    }

    /// Why this place gets no work, if it does not.
    #[must_use]
    pub fn quarantined(&self, slot: Slot) -> Option<&str> {
        let place = self.places.get(&slot)?;
        matches!(place.trust, Trust::Quarantined { .. }).then_some(place.why.as_str())
    }

    /// Every quarantined place with its reason.
    pub fn quarantines(&self) -> impl Iterator<Item = (Slot, &str)> {
        self.places.keys().filter_map(|slot| Some((*slot, self.quarantined(*slot)?)))
    }

    /// Whether the worker is to be probed again now; it counts as asked then.
    pub fn probe_due(&mut self, now: Duration) -> Option<String> {
        let mut reason = None;
        for place in self.places.values_mut() {
            if let Trust::Quarantined { probe_at, asked } = &mut place.trust
                && *probe_at <= now
            {
                *asked = true;
                *probe_at = now + PROBE_AGAIN;
                reason.get_or_insert_with(|| place.why.clone());
            }
        }
        reason
    }

    /// The worker is probed for another reason: what it finds counts for every quarantined place.
    pub fn asked(&mut self, now: Duration) {
        for place in self.places.values_mut() {
            if let Trust::Quarantined { probe_at, asked } = &mut place.trust {
                *asked = true;
                *probe_at = (*probe_at).max(now + PROBE_AGAIN);
            }
        }
    }

    /// The worker probed itself. Places that were to be probed and still work are on probation; a GPU that is gone needs no
    /// quarantine; a CPU without encoders stays where it is.
    pub fn probed(&mut self, found: &Capabilities, now: Duration) {
        self.places.retain(|slot, place| {
            if !matches!(place.trust, Trust::Quarantined { asked: true, .. }) {
                return true;
            }
            match slot {
                Slot::Cpu if found.encoders.iter().any(|encoder| !encoder.family.is_hardware()) => {
                    place.trust = Trust::Probation;
                }
                Slot::Cpu => {
                    let probe_at = now + PATIENCE.delay(place.times, 1.0);
                    place.trust = Trust::Quarantined { probe_at, asked: false };
                }
                Slot::Gpu(index) => {
                    let works = found
                        .encoders
                        .iter()
                        .any(|encoder| encoder.devices.iter().any(|device| device.gpu == *index));
                    place.trust = Trust::Probation;
                    return works;
                }
            }
            true
        });
    }

    /// When [`Health::probe_due`] has something to say, at the earliest.
    #[must_use]
    pub fn next_probe(&self) -> Option<Duration> {
        let due = |place: &Place| match place.trust {
            Trust::Quarantined { probe_at, .. } => Some(probe_at),
            Trust::Trusted | Trust::Probation => None,
        };
        self.places.values().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn quarantined() -> Health {
        let mut health = Health::default();
        assert!(!health.blame(Slot::Gpu(0), "crashed".to_owned(), at(0)), "once is nothing");
        assert!(health.blame(Slot::Gpu(0), "crashed again".to_owned(), at(1)));
        health
    }

    #[test]
    fn a_place_is_quarantined_alone() {
        let health = quarantined();
        assert_eq!(health.quarantined(Slot::Gpu(0)), Some("crashed again"));
        assert_eq!(health.quarantined(Slot::Gpu(1)), None);
        assert_eq!(health.quarantined(Slot::Cpu), None);
    }

    #[test]
    fn a_success_between_two_blames_keeps_the_trust() {
        let mut health = Health::default();
        health.blame(Slot::Cpu, "crashed".to_owned(), at(0));
        health.proven(Slot::Cpu);
        assert!(!health.blame(Slot::Cpu, "crashed".to_owned(), at(1)));
    }

    #[test]
    fn a_probe_that_finds_it_well_puts_it_on_probation_and_the_next_blame_back_for_longer() {
        let mut health = quarantined();
        let worker = testing::gpu_worker(1, 1, None);
        assert_eq!(health.probe_due(at(60)), None);
        health.probed(&worker.identity.capabilities, at(60));
        assert!(health.quarantined(Slot::Gpu(0)).is_some(), "nobody asked for that probe");
        assert!(health.probe_due(at(61)).is_some());
        assert_eq!(health.probe_due(at(62)), None, "asked already");
        health.probed(&worker.identity.capabilities, at(63));
        assert_eq!(health.quarantined(Slot::Gpu(0)), None);
        assert!(health.blame(Slot::Gpu(0), "crashed".to_owned(), at(70)), "on probation once is enough");
        assert_eq!(health.next_probe(), Some(at(190)));
    }

    #[test]
    fn a_device_that_is_gone_needs_no_quarantine_and_a_cpu_without_encoders_stays() {
        let mut health = quarantined();
        health.blame(Slot::Cpu, "crashed".to_owned(), at(1));
        health.blame(Slot::Cpu, "crashed".to_owned(), at(1));
        health.probe_due(at(100));
        health.probed(&Capabilities::default(), at(101));
        assert_eq!(health.quarantined(Slot::Gpu(0)), None);
        assert!(health.quarantined(Slot::Cpu).is_some());
    }

    #[test]
    fn an_unanswered_probe_is_asked_for_again() {
        let mut health = quarantined();
        assert!(health.probe_due(at(61)).is_some());
        assert!(health.probe_due(at(61) + PROBE_AGAIN).is_some());
    }
}
