//! Encoders as functions of the source, and a control that replaces them.

use bytes::Bytes;
use common::id::{AttemptId, Epoch, TaskId};
use mux::{Codec, Program, Ticks, Track, TrackId, Unit};
use uuid::Uuid;

use crate::live::splice::{Cut, Delivery, FeedEnd, Release, Role, Splicer};

pub(super) const GRID: Ticks = Ticks(90_000);
pub(super) const VIDEO: TrackId = TrackId(0);
pub(super) const AUDIO: TrackId = TrackId(1);

/// What the encoders do to the frames of a source: video at `start + n * frame` and audio of 48 kHz.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) start: i64,
    pub(super) frames: Vec<i64>,
    pub(super) video: bool,
    pub(super) audio: bool,
    /// (samples of a frame, rate)
    pub(super) samples: (u32, u32),
}

/// How an encoder orders its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoder {
    /// B-frames between two others.
    pub(super) b_frames: usize,
    /// They refer to each other: the middle one comes first.
    pub(super) pyramid: bool,
}

impl Source {
    /// So many frames that last `numerator / denominator` ticks.
    pub(super) fn regular(start: i64, count: i64, numerator: i64, denominator: i64) -> Self {
        let frames = (0..count).map(|n| start + (n * numerator + denominator / 2) / denominator).collect();
        Self { start, frames, video: true, audio: true, samples: (1024, 48_000) }
    }

    pub(super) fn program(&self) -> Program {
        let track = |codec| Track { codec, descriptors: Bytes::new() };
        let tracks = [self.video.then(|| track(Codec::H264)), self.audio.then(|| track(Codec::Aac))];
        Program { tracks: tracks.into_iter().flatten().collect() }
    }

    fn frame(&self) -> i64 {
        self.frames.get(1).map_or(3600, |second| second - self.frames[0])
    }

    pub(super) fn is_irregular(&self) -> bool {
        let longest = self.frames.windows(2).map(|pair| pair[1] - pair[0]).max();
        longest.is_some_and(|longest| longest - self.shortest() > self.shortest() / 4)
    }

    fn shortest(&self) -> i64 {
        self.frames.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(3600)
    }

    fn track(&self, track: TrackId) -> TrackId {
        if self.video { track } else { TrackId(track.0 - 1) }
    }

    /// Everything that an encoder gives which was told to begin there, in the order in which it gives it.
    pub(super) fn encode(&self, encoder: Encoder, begin: Cut) -> Vec<Unit> {
        let mut units = Vec::new();
        if self.video {
            units.extend(self.encode_video(encoder, begin.video));
        }
        if self.audio {
            units.extend(self.encode_audio(begin.audio));
        }
        units.sort_by_key(|unit| unit.dts);
        units
    }

    /// It begins at the key frame of the grid at or before `begin`, as the source is replayed from there; the real one leaves
    /// out what comes before `begin`.
    fn encode_video(&self, encoder: Encoder, begin: Option<Ticks>) -> Vec<Unit> {
        let is_grid = |index: usize| {
            index == 0
                || Ticks(self.frames[index]).interval(GRID) > Ticks(self.frames[index - 1]).interval(GRID)
        };
        let forced = begin.and_then(|begin| self.frames.iter().position(|pts| *pts >= begin.0));
        if begin.is_some() && forced.is_none() {
            return Vec::new();
        }
        let first = (0..=forced.unwrap_or(0)).rev().find(|index| is_grid(*index)).unwrap_or(0);
        let mut order = Vec::new();
        let mut group = Vec::new();
        for index in first..self.frames.len() {
            let key = is_grid(index) || Some(index) == forced;
            if key {
                // A closed GOP: the one before ends with a frame that refers to none after it.
                if let Some(last) = group.pop() {
                    order.push((last, false));
                    order.extend(encoder.order(&group));
                    group.clear();
                }
                order.push((index, true));
            } else if group.len() == encoder.b_frames {
                order.push((index, false));
                order.extend(encoder.order(&group));
                group.clear();
            } else {
                group.push(index);
            }
        }
        if let Some(last) = group.pop() {
            order.push((last, false));
            order.extend(encoder.order(&group));
        }
        let delay =
            if encoder.b_frames == 0 { 0 } else { 1 + usize::from(encoder.pyramid && encoder.b_frames > 2) };
        let delay = if encoder.pyramid { delay + 1 } else { delay };
        let frame = self.frame();
        order
            .iter()
            .enumerate()
            .map(|(position, (index, key))| {
                let decoded = (first + position) as i64 - delay as i64;
                let dts = match usize::try_from(decoded) {
                    Ok(decoded) if decoded >= first => self.frames[decoded],
                    _ => self.frames[first] + (decoded - first as i64) * frame,
                };
                unit(self.track(VIDEO), self.frames[*index], dts, *key)
            })
            .collect()
    }

    fn encode_audio(&self, begin: Option<Ticks>) -> Vec<Unit> {
        let (samples, rate) = self.samples;
        let end = self.frames.last().copied().unwrap_or(self.start);
        let at = |anchor: i64, frame: i64| anchor + Ticks::from_samples(frame * i64::from(samples), rate).0;
        // A frame before the first that is needed, as encoders begin.
        let anchor = begin.map_or(self.start, |begin| begin.0);
        (-1..)
            .map(|frame| at(anchor, frame))
            .take_while(|pts| *pts <= end)
            .map(|pts| unit(self.track(AUDIO), pts, pts, true))
            .collect()
    }
}

impl Encoder {
    fn order(self, group: &[usize]) -> Vec<(usize, bool)> {
        if !self.pyramid || group.len() < 2 {
            return group.iter().map(|index| (*index, false)).collect();
        }
        let middle = group.len() / 2;
        let mut order = vec![(group[middle], false)];
        order.extend(self.order(&group[..middle]));
        order.extend(self.order(&group[middle + 1..]));
        order
    }
}

pub(super) fn unit(track: TrackId, pts: i64, dts: i64, key: bool) -> Unit {
    Unit { track, pts: Ticks(pts), dts: Ticks(dts), key, data: Bytes::from_static(b"frame") }
}

pub(super) fn attempt(number: u64) -> AttemptId {
    let epoch: Epoch = (0..number).fold(Epoch::default(), |epoch, _| epoch.next());
    AttemptId { task: TaskId(Uuid::nil()), epoch }
}

/// A splicer, what it has delivered, and the promises that hold after everything.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) splicer: Splicer,
    pub(super) delivered: Vec<Release>,
    samples: (u32, u32),
    checked: usize,
    last_dts: [Option<Ticks>; 2],
    /// Whose frame was the last, and the first presentation time of its frames.
    from: Option<(Bytes, Ticks)>,
}

impl Run {
    pub(super) fn new(delivery: Delivery, source: &Source) -> Self {
        let mut splicer = Splicer::new(GRID, delivery);
        splicer.source_frame(Some(Ticks(source.frame())));
        Self {
            splicer,
            delivered: Vec::new(),
            samples: source.samples,
            checked: 0,
            last_dts: [None; 2],
            from: None,
        }
    }

    /// With the first attempt of the first generation about to give frames.
    pub(super) fn of_one(delivery: Delivery, source: &Source) -> Self {
        let mut run = Self::new(delivery, source);
        run.begin(attempt(1), Role::Generation(1), source);
        run
    }

    /// `feed` is about to give frames of `source`.
    pub(super) fn begin(&mut self, feed: AttemptId, role: Role, source: &Source) {
        self.splicer.begin(feed, role, &mut self.delivered);
        self.splicer.program(feed, source.program(), &mut self.delivered).unwrap();
        let audio = source.track(AUDIO);
        self.splicer.audio_frame(feed, audio, self.samples.0, self.samples.1);
        self.check();
    }

    pub(super) fn unit(&mut self, feed: AttemptId, mut unit: Unit) {
        // Whose it is is seen in what is delivered.
        unit.data = Bytes::from(feed.epoch.0.to_string());
        self.splicer.unit(feed, unit, &mut self.delivered).unwrap();
        self.check();
    }

    pub(super) fn units(&mut self, feed: AttemptId, units: impl IntoIterator<Item = Unit>) {
        for unit in units {
            self.unit(feed, unit);
        }
    }

    pub(super) fn end(&mut self, feed: AttemptId, how: FeedEnd) {
        self.splicer.end(feed, how, &mut self.delivered);
        self.check();
    }

    fn check(&mut self) {
        for release in &self.delivered[self.checked..] {
            let Release::Unit(unit) = release else { continue };
            let last = &mut self.last_dts[usize::from(unit.track.0)];
            assert!(last.is_none_or(|last| unit.dts > last), "dts {} after {last:?}", unit.dts);
            assert!(unit.dts <= unit.pts);
            *last = Some(unit.dts);
            if unit.track != VIDEO {
                continue;
            }
            let goes_on = self.from.as_ref().filter(|(from, _)| *from == unit.data);
            match goes_on {
                Some((_, first)) => assert!(unit.pts > *first, "it refers to what the one before it gave"),
                None => {
                    assert!(unit.key, "{:?} begins with another frame than a key frame", unit.data);
                    self.from = Some((unit.data.clone(), unit.pts));
                }
            }
        }
        self.checked = self.delivered.len();
    }

    /// The presentation times of a track, as shown.
    pub(super) fn shown(&self, track: TrackId) -> Vec<i64> {
        let mut times: Vec<i64> = self.of(track).map(|unit| unit.pts.0).collect();
        times.sort_unstable();
        times
    }

    /// In the order in which they were delivered.
    pub(super) fn of(&self, track: TrackId) -> impl Iterator<Item = &Unit> {
        self.delivered.iter().filter_map(move |release| match release {
            Release::Unit(unit) if unit.track == track => Some(unit),
            _ => None,
        })
    }

    pub(super) fn generations(&self) -> Vec<u32> {
        let number = |release: &Release| match release {
            Release::Generation { number, .. } => Some(*number),
            Release::Unit(_) => None,
        };
        self.delivered.iter().filter_map(number).collect()
    }
}
