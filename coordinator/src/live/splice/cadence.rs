//! How long a frame lasts, seen from decoding times.

use mux::Ticks;

/// Steps that are remembered: enough to tell a frame that lasts longer from frames that last as they like.
const REMEMBERED: usize = 9;

/// The last steps from one decoding time to the next. They are regular where presentation times jump to and fro.
#[derive(Debug, Clone, Default)]
pub(super) struct Cadence {
    steps: [Ticks; REMEMBERED],
    count: usize,
    pace: Option<Pace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The mean of the steps; where they differ, the shortest of them, as nothing comes sooner than that.
    pub(super) frame: Ticks,
    /// The steps are the same, as far as timestamps that were rounded (to milliseconds, in some containers) can say.
    pub(super) is_regular: bool,
    /// So many frames can be counted by it before it may be off by half a frame.
    pub(super) countable: usize,
}

/// Steps from which on equal ones are no coincidence. Fewer may all be an encoder's own: it makes up the decoding times that
/// lie before its first frame.
const ENOUGH: usize = 6;
/// By how much equal steps differ: timestamps were rounded to milliseconds.
const EQUAL: Ticks = Ticks(92);

impl Cadence {
    pub(super) fn step(&mut self, step: Ticks) {
        self.steps[self.count % REMEMBERED] = step;
        // Stays in the second round, so that it never overflows.
        self.count = if self.count + 1 == 2 * REMEMBERED { REMEMBERED } else { self.count + 1 };
        let known = &self.steps[..self.count.min(REMEMBERED)];
        let shortest = known.iter().copied().min().unwrap_or(step);
        let longest = known.iter().copied().max().unwrap_or(step);
        let count = known.len() as i64;
        let mean = Ticks((known.iter().map(|step| step.0).sum::<i64>() + count / 2) / count);
        let is_regular = (longest - shortest).0 <= mean.0 / 4;
        // A clock that is off by up to an eighth of a frame at both ends makes the mean of n steps wrong by a quarter of one
        // in n: twice as many steps as frames are counted leave enough of the half.
        let countable = match known.len() {
            _ if !is_regular => 0,
            steps if steps >= ENOUGH && longest - shortest <= EQUAL => usize::MAX,
            steps => steps / 2,
        };
        self.pace = Some(Pace { frame: if is_regular { mean } else { shortest }, is_regular, countable });
    }

    pub(super) const fn pace(&self) -> Option<Pace> {
        self.pace
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

    fn pace(steps: impl IntoIterator<Item = i64>) -> Pace {
        let mut cadence = Cadence::default();
        for step in steps {
            cadence.step(Ticks(step));
        }
        cadence.pace().unwrap()
    }

    #[test]
    fn rounded_timestamps_are_regular() {
        let film = pace([3753, 3754, 3754, 3754, 3753, 3754, 3754]);
        assert_eq!(film, Pace { frame: Ticks(3754), is_regular: true, countable: usize::MAX });
        let milliseconds = pace([2970, 2970, 3060, 2970, 2970, 3060]);
        assert_eq!(milliseconds, Pace { frame: Ticks(3000), is_regular: true, countable: usize::MAX });
    }

    #[test]
    fn a_frame_left_out_is_forgotten_after_a_while() {
        assert_eq!(
            pace([3600, 3600, 7200, 3600]),
            Pace { frame: Ticks(3600), is_regular: false, countable: 0 }
        );
        let steps = [7200].into_iter().chain([3600; REMEMBERED]);
        assert_eq!(pace(steps), Pace { frame: Ticks(3600), is_regular: true, countable: usize::MAX });
    }

    #[test]
    fn a_new_cadence_is_seen_after_a_few_frames() {
        let steps = [3600; 100].into_iter().chain([1800; REMEMBERED]);
        assert_eq!(pace(steps), Pace { frame: Ticks(1800), is_regular: true, countable: usize::MAX });
    }

    #[test]
    fn what_is_known_from_few_steps_counts_few_frames() {
        assert_eq!(pace([1500]).countable, 0);
        assert_eq!(pace([1500; 5]).countable, 2);
        assert_eq!(pace([1485, 1485, 1530, 1485]).countable, 2);
        assert_eq!(pace([1485, 1485, 1530, 1485, 1485, 1530]).countable, usize::MAX);
        assert_eq!(pace([1400, 1600].into_iter().cycle().take(8)).countable, 4);
        assert_eq!(pace([1400, 3000]).countable, 0);
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
