//! How long a frame lasts, seen from decoding times.

use mux::Ticks;

/// Steps that are remembered: enough that a frame left out, or one rounded the other way, does not matter.
const REMEMBERED: usize = 9;

/// The median of the last steps from one decoding time to the next. They are regular where presentation times jump to and fro.
#[derive(Debug, Clone, Default)]
pub(super) struct Cadence {
    steps: [Ticks; REMEMBERED],
    count: usize,
    median: Option<Ticks>,
}

impl Cadence {
    pub(super) fn step(&mut self, step: Ticks) {
        if self.count >= REMEMBERED
            && self.median == Some(step)
            && self.steps.iter().all(|known| *known == step)
        {
            return;
        }
        self.steps[self.count % REMEMBERED] = step;
        // Stays in the second round, so that it never overflows.
        self.count = if self.count + 1 == 2 * REMEMBERED { REMEMBERED } else { self.count + 1 };
        let mut sorted = self.steps;
        let known = &mut sorted[..self.count.min(REMEMBERED)];
        known.sort_unstable();
        self.median = Some(known[known.len() / 2]);
    }

    pub(super) const fn frame(&self) -> Option<Ticks> {
        self.median
    }
}

/// Counts audio frames from one whose time is known, so that the rounding of single timestamps does not add up.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleClock {
    anchor: Ticks,
    samples: i64,
    rate: u32,
}

/// By how much a timestamp may differ from what was counted: rounding in the container and in the encoder.
const ROUNDING: i64 = 2;

impl SampleClock {
    /// The clock after a frame at `pts`.
    pub(super) fn advance(clock: Option<Self>, pts: Ticks, samples: u32, rate: u32) -> Self {
        let mut clock = clock
            .filter(|clock| clock.rate == rate && (clock.next() - pts).0.abs() <= ROUNDING)
            .unwrap_or(Self { anchor: pts, samples: 0, rate });
        clock.samples += i64::from(samples);
        clock
    }

    /// When the next frame begins.
    pub(super) const fn next(&self) -> Ticks {
        Ticks(self.anchor.0 + Ticks::from_samples(self.samples, self.rate).0)
    }

    /// When the first frame of `samples` at or after `at` begins, if they go on without a hole.
    pub(super) fn next_from(&self, at: Ticks, samples: u32) -> Ticks {
        let mut clock = *self;
        let behind = (at - clock.next()).0.max(0);
        let frame = Ticks::from_samples(i64::from(samples), self.rate).0.max(1);
        clock.samples += behind / frame * i64::from(samples);
        while clock.next() < at {
            clock.samples += i64::from(samples);
        }
        clock.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_left_out_does_not_change_the_cadence() {
        let mut cadence = Cadence::default();
        for step in [3753, 3754, 3754, 7508, 3753, 3754, 3754] {
            cadence.step(Ticks(step));
        }
        assert_eq!(cadence.frame(), Some(Ticks(3754)));
    }

    #[test]
    fn a_new_cadence_is_seen_after_a_few_frames() {
        let mut cadence = Cadence::default();
        for _ in 0..100 {
            cadence.step(Ticks(3600));
        }
        for _ in 0..5 {
            cadence.step(Ticks(1800));
        }
        assert_eq!(cadence.frame(), Some(Ticks(1800)));
    }

    #[test]
    fn rounding_of_44100_hz_does_not_add_up() {
        let exact = |frame: i64| Ticks(777) + Ticks::from_samples(frame * 1024, 44_100);
        let mut clock = None;
        for frame in 0..200_000 {
            clock = Some(SampleClock::advance(clock, exact(frame), 1024, 44_100));
        }
        let clock = clock.unwrap();
        assert_eq!(clock.next(), exact(200_000));
        assert_eq!(clock.next_from(exact(200_500) - Ticks(1), 1024), exact(200_500));
    }
}
