//! The last seconds of a source, in the order in which they came.

use std::{collections::VecDeque, time::Duration};

use mux::{Event, Kind, Program, Ticks, TrackId, Unit};

use super::{From, Gone, Limits, ReadEnd, intake::weight};

/// Generations that there is anything of. Of one that is over and empty, its end is still told to whoever read all of it.
const GENERATIONS: usize = 64;
/// What a reader gets at once.
const BATCH: usize = 1 << 20;
/// Audio that a reader gets from before the time that it needs: a decoder's first frames are not whole.
const AUDIO_LEAD: Ticks = Ticks::from_millis(100);

#[derive(Debug)]
pub(super) struct Buffer {
    limits: Limits,
    /// Oldest first.
    logs: VecDeque<Log>,
    bytes: usize,
    newest: Option<Ticks>,
}

/// What is left of one generation.
#[derive(Debug)]
struct Log {
    generation: u32,
    program: Program,
    lead: Option<TrackId>,
    audio: Option<TrackId>,
    entries: VecDeque<Entry>,
    /// How many there were before the first of `entries`.
    gone: u64,
    /// Where one can begin to read, counted from the generation's first.
    entrances: VecDeque<u64>,
    /// The latest audio so far.
    audio_newest: Option<Ticks>,
    over: bool,
}

#[derive(Debug)]
struct Entry {
    unit: Unit,
    /// The latest audio that came before.
    audio_before: Option<Ticks>,
}

/// How far somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    generation: u32,
    /// Of the next unit, counted from the generation's first.
    next: u64,
    program_given: bool,
}

impl Buffer {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, logs: VecDeque::new(), bytes: 0, newest: None }
    }

    pub(super) fn begin(&mut self, generation: u32, program: Program) {
        self.end();
        let lead = program.first(Kind::Video).or_else(|| program.first(Kind::Audio));
        let audio = program.first(Kind::Audio);
        self.logs.push_back(Log {
            generation,
            program,
            lead,
            audio,
            entries: VecDeque::new(),
            gone: 0,
            entrances: VecDeque::new(),
            audio_newest: None,
            over: false,
        });
        if self.logs.len() > GENERATIONS
            && let Some(log) = self.logs.pop_front()
        {
            self.bytes -= log.entries.iter().map(|entry| weight(&entry.unit)).sum::<usize>();
        }
    }

    /// Nothing more comes of the newest generation.
    pub(super) fn end(&mut self) {
        if let Some(log) = self.logs.back_mut() {
            log.over = true;
        }
    }

    /// A frame of the newest generation.
    pub(super) fn push(&mut self, unit: Unit) {
        let Some(log) = self.logs.back_mut() else { return };
        self.bytes += weight(&unit);
        self.newest = self.newest.max(Some(unit.dts));
        log.push(unit);
        self.evict();
    }

    fn evict(&mut self) {
        let length =
            Ticks::from_millis(i64::try_from(self.limits.max_length.as_millis()).unwrap_or(i64::MAX / 90));
        while let Some((at, oldest)) = self.oldest() {
            let old = self.newest.is_some_and(|newest| newest - oldest > length) && !self.needed(at);
            if self.bytes <= self.limits.max_bytes && !old {
                break;
            }
            if let Some(entry) = self.logs[at].entries.pop_front() {
                self.bytes -= weight(&entry.unit);
                self.logs[at].forget();
            }
        }
    }

    /// The log that has the oldest frame, and the frame's time.
    fn oldest(&self) -> Option<(usize, Ticks)> {
        let at = self.logs.iter().position(|log| !log.entries.is_empty())?;
        self.logs[at].entries.front().map(|entry| (at, entry.unit.dts))
    }

    /// Whether a log's oldest frame is one of the newest two key frames.
    fn needed(&self, at: usize) -> bool {
        let log = &self.logs[at];
        let video = log.program.first(Kind::Video).is_some();
        at + 1 == self.logs.len()
            && video
            && log.entrances.len() <= 2
            && log.entrances.front() == Some(&log.gone)
    }

    /// Where to begin, and when the frame there is shown.
    pub(super) fn seek(&self, generation: u32, from: From) -> Result<(Cursor, Ticks), Gone> {
        let log = self.logs.iter().find(|log| log.generation == generation);
        let Some(log) = log else {
            let came = self.logs.back().is_some_and(|log| log.generation > generation);
            return Err(if came { Gone::TooOld } else { Gone::Nothing });
        };
        let (next, entry) = log.seek(from)?;
        let cursor = Cursor { generation, next, program_given: false };
        Ok((cursor, entry.unit.pts))
    }

    /// When the first frame of the video is shown that is shown at `from` or later.
    pub(super) fn first_shown(&self, generation: u32, from: Ticks) -> Option<Ticks> {
        let log = self.logs.iter().find(|log| log.generation == generation)?;
        let video = log.program.first(Kind::Video)?;
        let units = log.entries.iter().map(|entry| &entry.unit).filter(|unit| unit.track == video);
        units.map(|unit| unit.pts).filter(|pts| *pts >= from).min()
    }

    /// What there is from the cursor on; empty: nothing yet.
    pub(super) fn read(&self, cursor: &mut Cursor) -> Result<Vec<Event>, ReadEnd> {
        let log = self.logs.iter().find(|log| log.generation == cursor.generation);
        let log = log.filter(|log| log.gone <= cursor.next).ok_or(ReadEnd::TooSlow)?;
        let mut events = Vec::new();
        let skipped = usize::try_from(cursor.next - log.gone).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for entry in log.entries.range(skipped.min(log.entries.len())..) {
            if !cursor.program_given {
                cursor.program_given = true;
                events.push(Event::Program(log.program.clone()));
            }
            bytes += weight(&entry.unit);
            events.push(Event::Unit(entry.unit.clone()));
            cursor.next += 1;
            if bytes >= BATCH {
                break;
            }
        }
        if events.is_empty() && log.over { Err(ReadEnd::Generation) } else { Ok(events) }
    }

    /// Whether the newest generation is over.
    pub(super) fn over(&self) -> bool {
        self.logs.back().is_none_or(|log| log.over)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn newest(&self) -> Option<Ticks> {
        self.newest
    }

    pub(super) fn length(&self) -> Duration {
        let length =
            self.oldest().zip(self.newest).map_or(0, |((_, oldest), newest)| (newest - oldest).millis());
        Duration::from_millis(u64::try_from(length).unwrap_or(0))
    }
}

impl Log {
    fn push(&mut self, unit: Unit) {
        if unit.key && self.lead == Some(unit.track) {
            self.entrances.push_back(self.gone + self.entries.len() as u64);
        }
        let audio_before = self.audio_newest;
        if self.audio == Some(unit.track) {
            self.audio_newest = self.audio_newest.max(Some(unit.pts));
        }
        self.entries.push_back(Entry { unit, audio_before });
    }

    /// Its first entry was taken away.
    fn forget(&mut self) {
        if self.entrances.front() == Some(&self.gone) {
            self.entrances.pop_front();
        }
        self.gone += 1;
    }

    fn entrances(&self) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        let entry = |at: u64| usize::try_from(at - self.gone).ok().and_then(|index| self.entries.get(index));
        self.entrances.iter().filter_map(move |&at| Some((at, entry(at)?)))
    }

    fn seek(&self, from: From) -> Result<(u64, &Entry), Gone> {
        let From::Covering { video, audio } = from else {
            return self.entrances().next_back().ok_or(Gone::Nothing);
        };
        let video = video.filter(|_| self.program.first(Kind::Video).is_some());
        let covers = |entry: &Entry| {
            let pictures = video.is_none_or(|video| entry.unit.pts <= video);
            let samples = audio.zip(entry.audio_before);
            pictures && samples.is_none_or(|(audio, before)| before + AUDIO_LEAD <= audio)
        };
        // With all that ever was of the generation nothing is missing.
        let whole = || self.entrances().next().filter(|(at, _)| *at == 0);
        self.entrances().rev().find(|(_, entry)| covers(entry)).or_else(whole).ok_or(Gone::TooOld)
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
