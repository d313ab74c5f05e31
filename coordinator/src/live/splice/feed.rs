//! What one attempt has given and what was not delivered yet.

use std::collections::VecDeque;

use common::id::AttemptId;
use mux::{Kind, Program, Ticks, Unit};

use super::{JUMP, Refusal, cadence::Cadence, line::Line, reference_of};

/// What may wait in one feed. A standby holds two GOPs of at most ten seconds and their audio, at any frame rate; the rest is
/// room for one that is ahead of the active one.
const MAX_UNITS: usize = 4096;
/// As above: ten seconds at 50 Mbit/s.
const MAX_BYTES: usize = 64 << 20;

/// What a feed is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It delivers, or will as soon as what comes before it is over.
    Leading,
    Successor,
    Standby,
    /// Another took over. What it still gives is ignored.
    Retired,
}

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) id: AttemptId,
    pub(super) generation: u32,
    pub(super) standing: Standing,
    /// It ended properly; what waits is all there is.
    pub(super) ended: bool,
    pub(super) program: Option<Program>,
    /// As in the program.
    pub(super) tracks: Vec<Queue>,
    /// The track that the others follow: the first video, else the first audio.
    pub(super) reference: Option<usize>,
    newest_dts: Option<Ticks>,
    units: usize,
    bytes: usize,
}

/// One track of a feed.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) kind: Kind,
    /// The track of the line; `None`: it has none for it, or it is not known yet.
    pub(super) target: Option<usize>,
    /// In decoding order.
    pub(super) units: VecDeque<Unit>,
    pub(super) cadence: Cadence,
    /// Samples of an audio frame, and samples a second.
    pub(super) samples: Option<(u32, u32)>,
    /// The first that it ever gave.
    pub(super) first: Option<Ticks>,
    pub(super) newest: Option<Ticks>,
    /// The first that was taken from it for the line.
    pub(super) begun: Option<Ticks>,
    /// Something of it was delivered.
    pub(super) joined: bool,
    last_dts: Option<Ticks>,
}

impl Feed {
    pub(super) const fn new(id: AttemptId, generation: u32, standing: Standing) -> Self {
        Self {
            id,
            generation,
            standing,
            ended: false,
            program: None,
            tracks: Vec::new(),
            reference: None,
            newest_dts: None,
            units: 0,
            bytes: 0,
        }
    }

    pub(super) fn is_spare(&self) -> bool {
        matches!(self.standing, Standing::Successor | Standing::Standby)
    }

    pub(super) fn reference(&self) -> Option<&Queue> {
        self.tracks.get(self.reference?)
    }

    /// Nothing of it is delivered any more.
    pub(super) fn retire(&mut self) {
        self.standing = Standing::Retired;
        for queue in &mut self.tracks {
            queue.units = VecDeque::new();
        }
        (self.units, self.bytes) = (0, 0);
    }

    pub(super) fn set_program(&mut self, program: Program) -> Result<(), Refusal> {
        if let Some(known) = &self.program {
            if known.tracks.iter().map(|track| track.codec).eq(program.tracks.iter().map(|track| track.codec))
            {
                return Ok(());
            }
            let codecs = |program: &Program| program.tracks.iter().map(|track| track.codec).collect();
            return Err(Refusal::Tracks { given: codecs(&program), wanted: codecs(known) });
        }
        self.reference = reference_of(&program);
        self.tracks = program.tracks.iter().map(|track| Queue::new(track.codec.kind())).collect();
        self.program = Some(program);
        Ok(())
    }

    /// `line`: the one that it is delivered on, for the active one.
    pub(super) fn push(&mut self, mut unit: Unit, line: Option<&Line>) -> Result<(), Refusal> {
        let Some(queue) = self.tracks.get_mut(usize::from(unit.track.0)) else { return Ok(()) };
        if self.standing == Standing::Retired {
            return Ok(());
        }
        if queue.kind != Kind::Other {
            if queue.kind == Kind::Audio {
                unit.dts = unit.pts;
            }
            // No decoder could do anything with these.
            if queue.last_dts.is_some_and(|last| unit.dts <= last) || unit.pts < unit.dts {
                return Ok(());
            }
            let before = self.newest_dts.unwrap_or(unit.dts);
            let far = (unit.dts - before).0.abs().max((unit.pts - unit.dts).0);
            if far > JUMP.0 {
                return Err(Refusal::Jump { at: unit.pts, from: Ticks(far) });
            }
            self.newest_dts = self.newest_dts.max(Some(unit.dts));
            queue.see(&unit);
        }
        if !queue.takes(&unit, line) {
            return Ok(());
        }
        self.units += 1;
        self.bytes += unit.data.len();
        queue.units.push_back(unit);
        if self.units > MAX_UNITS || self.bytes > MAX_BYTES {
            return Err(Refusal::TooMuch { units: self.units, bytes: self.bytes });
        }
        Ok(())
    }

    pub(super) fn pop(&mut self, track: usize) -> Option<Unit> {
        let unit = self.tracks[track].units.pop_front()?;
        self.units -= 1;
        self.bytes -= unit.data.len();
        Some(unit)
    }

    /// It becomes the active one: of what waits, only what can be delivered stays.
    pub(super) fn join(&mut self, line: &Line) {
        self.standing = Standing::Leading;
        for queue in &mut self.tracks {
            (queue.begun, queue.joined) = (None, false);
            for unit in std::mem::take(&mut queue.units) {
                if queue.takes(&unit, Some(line)) {
                    queue.units.push_back(unit);
                } else {
                    self.units -= 1;
                    self.bytes -= unit.data.len();
                }
            }
        }
    }

    /// It has a key frame at `at`, as far as that can be known, and not before `floor`: one that was delivered is none to go on
    /// with.
    pub(super) fn has_key(&self, at: Ticks, floor: Ticks, tolerance: Ticks) -> bool {
        self.reference().is_some_and(|queue| {
            let fits = |pts: Ticks| pts >= floor && (pts - at).0.abs() < tolerance.0.max(1);
            queue.units.iter().any(|unit| unit.key && fits(unit.pts))
        })
    }
}

impl Queue {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            target: None,
            units: VecDeque::new(),
            cadence: Cadence::default(),
            samples: None,
            first: None,
            newest: None,
            begun: None,
            joined: false,
            last_dts: None,
        }
    }

    fn see(&mut self, unit: &Unit) {
        if let Some(last) = self.last_dts {
            self.cadence.step(unit.dts - last);
        }
        self.last_dts = Some(unit.dts);
        self.first.get_or_insert(unit.pts);
        self.newest = self.newest.max(Some(unit.pts));
    }

    /// How long a frame lasts, as far as it is known.
    pub(super) fn frame(&self) -> Option<Ticks> {
        match self.samples {
            Some((samples, rate)) => Some(Ticks::from_samples(i64::from(samples), rate)),
            None => self.cadence.pace().map(|pace| pace.frame),
        }
    }

    /// So many frames can be counted by that without taking one for another.
    pub(super) fn countable(&self) -> usize {
        match self.samples {
            Some(_) => usize::MAX,
            None => self.cadence.pace().map_or(0, |pace| pace.countable),
        }
    }

    /// All frames last as long.
    pub(super) fn is_regular(&self) -> bool {
        self.samples.is_some() || self.cadence.pace().is_some_and(|pace| pace.is_regular)
    }

    /// Whether a unit has a place behind those that wait: on the line if the feed is the active one, else later.
    fn takes(&mut self, unit: &Unit, line: Option<&Line>) -> bool {
        let Some(line) = line else { return true };
        let Some(target) = self.target else { return false };
        match (self.kind, self.begun) {
            (Kind::Other, _) | (Kind::Audio, Some(_)) => true,
            (Kind::Video, Some(first)) => {
                // A leading picture: it may refer to a frame before the first.
                unit.pts > first && !line.has_shown(target, unit.pts) && !self.waits(unit.pts)
            }
            (_, None) => {
                let begins = unit.key && line.floor(target).is_none_or(|floor| unit.pts >= floor);
                if begins {
                    self.begun = Some(unit.pts);
                }
                begins
            }
        }
    }

    fn waits(&self, pts: Ticks) -> bool {
        self.units.iter().rev().take(64).any(|unit| unit.pts == pts)
    }
}
