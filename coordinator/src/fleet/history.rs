//! What a worker was like in the last hour: two rings of means, a fine one and a coarse one.
//!
//! Bounded: 120 points for a worker, 56 bytes each and 12 more for each of its GPUs, which is some 7 KiB for one without a GPU
//! and 13 KiB for one with four.

use std::{collections::VecDeque, time::Duration};

use common::{
    api::{GpuSeries, Series},
    worker::{GpuLoad, Load},
};
use jiff::{SignedDuration, Timestamp};

/// The fine one: ten minutes.
const FINE: Duration = Duration::from_secs(10);
/// The coarse one: an hour.
const COARSE: Duration = Duration::from_secs(60);
const POINTS: usize = 60;

/// Of one worker.
#[derive(Debug, Clone)]
pub struct History {
    fine: Ring,
    coarse: Ring,
}

impl Default for History {
    fn default() -> Self {
        Self { fine: Ring::new(FINE), coarse: Ring::new(COARSE) }
    }
}

/// One heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub load: &'a Load,
    pub gpus: &'a [GpuLoad],
    /// Of all that runs.
    pub fps: f64,
    pub jobs: u32,
}

/// When something is, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub mono: Duration,
    /// Milliseconds since the Unix epoch.
    pub wall: i64,
}

impl History {
    /// Times never go back.
    pub fn add(&mut self, now: Duration, sample: Sample<'_>) {
        self.fine.add(now, sample);
        self.coarse.add(now, sample);
    }

    /// The last ten minutes and the last hour.
    #[must_use]
    pub fn series(&self, now: Moment) -> (Series, Series) {
        (self.fine.series(now), self.coarse.series(now))
    }
}

/// Points of the last steps; none for a step in which nothing was heard.
#[derive(Debug, Clone)]
struct Ring {
    step: Duration,
    points: VecDeque<Point>,
}

/// Sums over a step.
#[derive(Debug, Clone, Default)]
struct Point {
    /// Which step, counted from the beginning of time.
    number: u64,
    samples: u32,
    cpu: f32,
    fps: f32,
    jobs: f32,
    memory: u64,
    gpus: Vec<GpuPoint>,
}

#[derive(Debug, Clone, Copy, Default)]
struct GpuPoint {
    index: u32,
    utilisation: f32,
    encoder: f32,
}

impl Ring {
    const fn new(step: Duration) -> Self {
        Self { step, points: VecDeque::new() }
    }

    fn number(&self, at: Duration) -> u64 {
        at.as_secs() / self.step.as_secs()
    }

    fn add(&mut self, now: Duration, sample: Sample<'_>) {
        let number = self.number(now);
        if self.points.back().is_none_or(|point| point.number < number) {
            self.points.push_back(Point { number, ..Point::default() });
        }
        while self.points.front().is_some_and(|point| point.number + POINTS as u64 <= number) {
            self.points.pop_front();
        }
        let Some(point) = self.points.back_mut() else { return };
        point.samples += 1;
        point.cpu += sample.load.cpu as f32;
        point.fps += sample.fps as f32;
        point.jobs += sample.jobs as f32;
        point.memory = point.memory.saturating_add(sample.load.memory_used_bytes);
        for gpu in sample.gpus {
            let place = point.gpus.iter().position(|known| known.index == gpu.index);
            let place = place.unwrap_or_else(|| {
                point.gpus.push(GpuPoint { index: gpu.index, ..GpuPoint::default() });
                point.gpus.len() - 1
            });
            point.gpus[place].utilisation += gpu.utilisation as f32;
            point.gpus[place].encoder += gpu.encoder_utilisation as f32;
        }
    }

    /// Up to the step that has not ended yet.
    fn series(&self, now: Moment) -> Series {
        let last = self.number(now.mono);
        let first = (last + 1).saturating_sub(POINTS as u64);
        let begin = Duration::from_secs(first * self.step.as_secs());
        let back = SignedDuration::try_from(now.mono.saturating_sub(begin)).unwrap_or_default();
        let wall = Timestamp::from_millisecond(now.wall).unwrap_or_default();
        let at = |number: u64| {
            let found = self.points.binary_search_by_key(&number, |point| point.number);
            found.ok().and_then(|place| self.points.get(place))
        };
        let steps: Vec<Option<&Point>> = (first..=last).map(at).collect();
        let mean = |of: fn(&Point) -> f32| -> Vec<Option<f32>> {
            steps.iter().map(|point| point.map(|point| of(point) / point.samples as f32)).collect()
        };
        let mut indices: Vec<u32> =
            steps.iter().flatten().flat_map(|point| point.gpus.iter().map(|gpu| gpu.index)).collect();
        indices.sort_unstable();
        indices.dedup();
        let of_gpu = |index: u32, of: fn(&GpuPoint) -> f32| -> Vec<Option<f32>> {
            let value = |point: &Point| {
                let gpu = point.gpus.iter().find(|gpu| gpu.index == index)?;
                Some(of(gpu) / point.samples as f32)
            };
            steps.iter().map(|point| point.and_then(value)).collect()
        };
        Series {
            from: wall.checked_sub(back).unwrap_or_default(),
            step_seconds: u32::try_from(self.step.as_secs()).unwrap_or(u32::MAX),
            cpu: mean(|point| point.cpu),
            memory_used_bytes: steps
                .iter()
                .map(|point| point.map(|point| point.memory / u64::from(point.samples)))
                .collect(),
            fps: mean(|point| point.fps),
            jobs: mean(|point| point.jobs),
            gpus: indices
                .into_iter()
                .map(|index| GpuSeries {
                    index,
                    utilisation: of_gpu(index, |gpu| gpu.utilisation),
                    encoder_utilisation: of_gpu(index, |gpu| gpu.encoder),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(history: &mut History, second: u64, cpu: f64, gpus: &[GpuLoad]) {
        let load = Load { cpu, memory_used_bytes: 1000, ..Load::default() };
        history.add(Duration::from_secs(second), Sample { load: &load, gpus, fps: 50.0, jobs: 2 });
    }

    fn at(second: u64) -> Moment {
        Moment { mono: Duration::from_secs(second), wall: 1_000_000_000 + second as i64 * 1000 }
    }

    #[test]
    fn a_step_is_the_mean_of_its_heartbeats_and_silence_a_gap() {
        let mut history = History::default();
        let gpu = GpuLoad { index: 3, utilisation: 40, encoder_utilisation: 10, ..GpuLoad::default() };
        add(&mut history, 100, 0.2, &[]);
        add(&mut history, 105, 0.4, &[]);
        add(&mut history, 121, 1.0, &[gpu]);
        let (fine, coarse) = history.series(at(125));
        assert_eq!((fine.step_seconds, fine.cpu.len()), (10, 13));
        assert_eq!(fine.from, Timestamp::from_millisecond(1_000_000_000).unwrap());
        assert_eq!(&fine.cpu[9..], [None, Some(0.3), None, Some(1.0)]);
        assert_eq!(&fine.memory_used_bytes[10..], [Some(1000), None, Some(1000)]);
        assert_eq!((fine.fps[10], fine.jobs[10]), (Some(50.0), Some(2.0)));
        assert_eq!(fine.gpus.len(), 1);
        assert_eq!(fine.gpus[0].index, 3);
        assert_eq!(&fine.gpus[0].utilisation[10..], [None, None, Some(40.0)]);
        assert_eq!(fine.gpus[0].encoder_utilisation[12], Some(10.0));
        assert_eq!(coarse.cpu.len(), 3);
        assert_eq!(coarse.cpu[0], None);
        assert!((coarse.cpu[1].unwrap() - 0.3).abs() < 1e-6);
    }

    #[test]
    fn it_never_grows_beyond_its_hour() {
        let mut history = History::default();
        for second in (0..100_000).step_by(5) {
            add(&mut history, second, 0.5, &[]);
        }
        assert_eq!((history.fine.points.len(), history.coarse.points.len()), (POINTS, POINTS));
        let (fine, coarse) = history.series(at(99_999));
        assert_eq!((fine.cpu.len(), coarse.cpu.len()), (POINTS, POINTS));
        assert!(fine.cpu.iter().chain(&coarse.cpu).all(Option::is_some));
        // Silent since: the old points are out of what is shown.
        let (fine, _) = history.series(at(200_000));
        assert!(fine.cpu.iter().all(Option::is_none));
        add(&mut history, 200_000, 0.5, &[]);
        assert_eq!(history.fine.points.len(), 1);
    }
}
