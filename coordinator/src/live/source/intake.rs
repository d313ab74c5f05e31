//! One connection's frames, cut into runs: stretches with the same tracks and one run of timestamps.
//!
//! Times are those of the source here. A run is told of once it can be: with its first key frame and a frame of the audio, or
//! without the one that does not come. Until then the run before goes on with whatever still belongs to it, so that a jump
//! that the tracks do not make at the same moment takes nothing away.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use mux::{
    Codec, Event, Kind, Program, Ticks, TrackId, Unit,
    codec::{self, Parameters},
};

/// How long audio that the tables promise is waited for, from the first key frame on. The slowest that is common, one PES
/// packet of 2930 bytes with 32 kbit/s mono, takes 0.75 s.
const AUDIO_WAIT: Duration = Duration::from_millis(1500);
/// How long video that the tables promise, and of which nothing comes, is waited for.
const VIDEO_WAIT: Duration = Duration::from_secs(3);
/// How long a key frame is waited for while other frames come: the longest GOPs in use have 10 s.
const KEY_WAIT: Duration = Duration::from_secs(12);
/// What is kept of audio from before the first key frame: audio may be in front of the video in the stream.
const AUDIO_AHEAD: Ticks = Ticks::from_millis(2000);
/// A step of timestamps that is a break, beyond what the wall clock explains: frames that are missing leave a hole, a hole in
/// what came without a pause is a jump.
const FORWARD: Ticks = Ticks::from_millis(1000);
/// A step back that is a break: encoders and relays that are merely untidy go back by a few frames.
const BACKWARD: Ticks = Ticks::from_millis(400);
/// How far the other tracks may be from the one that leads. The T-STD allows a second; captions and bad muxers take more.
const APART: Ticks = Ticks::from_millis(5000);
/// A frame is shown this long after it is decoded, at most; beyond it its timestamps are broken.
const REORDER: Ticks = Ticks::from_millis(10_000);
/// What is held before a run can be told of; more than 10 s of 20 Mbit/s.
const MAX_PENDING: usize = 32 << 20;
/// The same for frames whose time belongs to no run yet.
const MAX_EARLY: usize = 1 << 20;

/// A run that begins. The one before is over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Begin {
    pub(super) program: Program,
    pub(super) parameters: Vec<Option<Parameters>>,
    /// When its first key frame (first frame, without video) is shown.
    pub(super) start: Ticks,
}

/// What follows from a frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Begin(Begin),
    /// Of the run that began last; its track is one of that run.
    Unit(Unit),
    /// Nothing more comes of the run that began last.
    End,
}

#[derive(Debug, Default)]
pub(super) struct Intake {
    program: Program,
    /// The one that was told of and is not over.
    run: Option<Run>,
    /// What will be the next one.
    next: Option<Candidate>,
    /// Frames too far from the run to belong to it: audio that jumps before the video does.
    early: Held,
    /// What the newest frames of the program's tracks said.
    parameters: Vec<Option<Parameters>>,
}

#[derive(Debug)]
struct Run {
    /// By the program's tracks.
    tracks: Vec<Option<TrackId>>,
    lead: TrackId,
    start: Ticks,
    last: Vec<Option<Last>>,
    /// Audio has come that it does not have: the next key frame begins another.
    incomplete: bool,
    /// The leading track jumped away.
    left_at: Option<Instant>,
}

#[derive(Debug)]
struct Candidate {
    since: Instant,
    /// The first key frame, with video.
    key: Option<(Ticks, Instant)>,
    lead: Option<TrackId>,
    seen: Vec<bool>,
    last: Vec<Option<Last>>,
    first: Option<Ticks>,
    held: Held,
}

/// The newest frame of a track.
#[derive(Debug, Clone, Copy)]
struct Last {
    dts: Ticks,
    step: Ticks,
    at: Instant,
}

#[derive(Debug, Default)]
struct Held {
    units: VecDeque<Unit>,
    bytes: usize,
}

impl Intake {
    pub(super) fn event(&mut self, event: Event, now: Instant, out: &mut Vec<Step>) {
        match event {
            Event::Program(program) => self.program(program, now, out),
            Event::Unit(unit) => {
                let Some(codec) = self.program.codec(unit.track) else { return };
                for frame in codec::frames(codec, unit) {
                    self.unit(frame, codec, now, out);
                }
            }
        }
    }

    /// The connection is over.
    pub(super) fn finish(&mut self, now: Instant, out: &mut Vec<Step>) {
        // A stream shorter than what is waited for is one nevertheless.
        if self.next.as_ref().is_some_and(|next| next.lead.is_some()) {
            self.announce(now, true, out);
        }
        self.next = None;
        self.end(out);
    }

    /// What each track was last said to be.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameters> {
        self.parameters.iter().flatten()
    }

    fn program(&mut self, program: Program, now: Instant, out: &mut Vec<Step>) {
        let codecs = |program: &Program| program.tracks.iter().map(|track| track.codec).collect::<Vec<_>>();
        if codecs(&program) == codecs(&self.program) {
            return;
        }
        self.end(out);
        self.parameters = vec![None; program.tracks.len()];
        self.next = Some(Candidate::new(&program, now));
        self.program = program;
        self.early = Held::default();
    }

    fn unit(&mut self, unit: Unit, codec: Codec, now: Instant, out: &mut Vec<Step>) {
        if !within(unit.pts, unit.dts, REORDER) {
            return;
        }
        if unit.key
            && codec.kind() != Kind::Other
            && (codec.kind() == Kind::Video || self.parameters[index(unit.track)].is_none())
            && let Some(found) = codec::parameters(codec, &unit)
        {
            self.parameters[index(unit.track)] = Some(found);
        }
        match self.whose(&unit, codec.kind(), now) {
            Whose::Run => {
                if let Some(run) = &mut self.run {
                    if run.lead == unit.track {
                        // Whatever was elsewhere in between was a mistake.
                        run.left_at = None;
                        self.next = None;
                    }
                    run.deliver(unit, now, out);
                }
            }
            Whose::Early => self.early.push(unit, MAX_EARLY),
            Whose::Nobody => {}
            Whose::Next => self.next(unit, codec.kind(), now, out),
            Whose::Restart => {
                self.end(out);
                self.next(unit, codec.kind(), now, out);
            }
        }
        if self.run.as_ref().and_then(|run| run.left_at).is_some_and(|left| now - left > KEY_WAIT) {
            self.end(out);
        }
    }

    fn next(&mut self, unit: Unit, kind: Kind, now: Instant, out: &mut Vec<Step>) {
        let program = &self.program;
        let next = self.next.get_or_insert_with(|| {
            let mut next = Candidate::new(program, now);
            for early in std::mem::take(&mut self.early).units {
                if within(early.dts, unit.dts, APART) {
                    let kind = program.codec(early.track).map_or(Kind::Other, Codec::kind);
                    next.unit(early, kind, now, program);
                }
            }
            next
        });
        next.unit(unit, kind, now, program);
        self.announce(now, false, out);
    }

    fn whose(&mut self, unit: &Unit, kind: Kind, now: Instant) -> Whose {
        let Some(run) = &mut self.run else { return Whose::Next };
        let known = run.tracks[index(unit.track)].is_some();
        if unit.track == run.lead {
            if !run.follows(unit, now) {
                run.left_at.get_or_insert(now);
                return Whose::Next;
            }
            return if unit.key && run.incomplete { Whose::Restart } else { Whose::Run };
        }
        let Some(leading) = run.last[index(run.lead)] else { return Whose::Nobody };
        if run.left_at.is_some() {
            let next = self.next.as_ref().and_then(|next| next.last[index(next.lead?)]);
            let nearer =
                next.is_none_or(|next| (unit.dts.0 - leading.dts.0).abs() < (unit.dts.0 - next.dts.0).abs());
            return if known && nearer && run.follows(unit, now) { Whose::Run } else { Whose::Next };
        }
        match (known, leading.near(unit, now), kind) {
            (true, true, _) => Whose::Run,
            // It comes late, and leads from its first key frame on.
            (false, true, Kind::Video) if !unit.key => Whose::Nobody,
            (false, true, Kind::Video) => Whose::Restart,
            (false, true, _) => {
                run.incomplete = true;
                Whose::Early
            }
            (_, false, _) => Whose::Early,
        }
    }

    fn announce(&mut self, now: Instant, over: bool, out: &mut Vec<Step>) {
        let Some(without) = self.next.as_ref().and_then(|next| next.ready(&self.program, now, over)) else {
            return;
        };
        let Some(next) = self.next.take() else { return };
        self.end(out);
        let kept = |kind: Kind| Some(kind) != without;
        let mut tracks = Vec::new();
        let mut begin = Begin { program: Program::default(), parameters: Vec::new(), start: Ticks::ZERO };
        for (track, parameters) in self.program.tracks.iter().zip(&self.parameters) {
            let number = u8::try_from(begin.program.tracks.len()).map(TrackId).ok();
            let number = number.filter(|_| kept(track.codec.kind()));
            tracks.push(number);
            if number.is_some() {
                begin.program.tracks.push(track.clone());
                begin.parameters.push(parameters.clone());
            }
        }
        let Some(lead) = lead(&self.program, without) else { return };
        let mut units = next.held.units;
        // One can begin with what is first.
        let first = units.iter().position(|unit| unit.track == lead).and_then(|at| units.remove(at));
        let Some(first) = first else { return };
        begin.start = first.pts;
        out.push(Step::Begin(begin));
        let last = vec![None; self.program.tracks.len()];
        let mut run = Run { tracks, lead, start: first.pts, last, incomplete: false, left_at: None };
        units.push_front(first);
        for unit in units {
            let near = run.last[index(lead)].is_none_or(|leading| leading.near(&unit, now));
            if near || unit.track == lead {
                run.deliver(unit, now, out);
            }
        }
        self.run = Some(run);
    }

    fn end(&mut self, out: &mut Vec<Step>) {
        if self.run.take().is_some() {
            out.push(Step::End);
        }
    }
}

/// To whom a frame belongs.
enum Whose {
    Run,
    Next,
    /// The same timestamps go on, with other tracks.
    Restart,
    Early,
    Nobody,
}

/// The track that says whether the timestamps go on: the first video track, or audio where there is none.
fn lead(program: &Program, without: Option<Kind>) -> Option<TrackId> {
    [Kind::Video, Kind::Audio]
        .into_iter()
        .filter(|kind| Some(*kind) != without)
        .find_map(|kind| program.first(kind))
}

const fn index(track: TrackId) -> usize {
    track.0 as usize
}

impl Run {
    fn follows(&self, unit: &Unit, now: Instant) -> bool {
        self.last[index(unit.track)].is_none_or(|last| last.follows(unit, now))
    }

    fn deliver(&mut self, mut unit: Unit, now: Instant, out: &mut Vec<Step>) {
        let at = index(unit.track);
        self.last[at] = Some(Last::new(self.last[at], &unit, now));
        // Shown before the key frame that it came after, it refers to what was before that.
        if let Some(track) = self.tracks[at].filter(|_| unit.pts >= self.start) {
            unit.track = track;
            out.push(Step::Unit(unit));
        }
    }
}

impl Candidate {
    fn new(program: &Program, now: Instant) -> Self {
        Self {
            since: now,
            key: None,
            lead: lead(program, None),
            seen: vec![false; program.tracks.len()],
            last: vec![None; program.tracks.len()],
            first: None,
            held: Held::default(),
        }
    }

    fn unit(&mut self, unit: Unit, kind: Kind, now: Instant, program: &Program) {
        let at = index(unit.track);
        let jumps = self.last[at].is_some_and(|last| !last.follows(&unit, now));
        if jumps && self.lead == Some(unit.track) {
            *self = Self { since: self.since, ..Self::new(program, now) };
        }
        self.last[at] = Some(Last::new(self.last[at], &unit, now));
        self.seen[at] = true;
        self.first.get_or_insert(unit.dts);
        if kind == Kind::Video {
            match self.key {
                None if !unit.key => return,
                None if self.lead == Some(unit.track) => self.key = Some((unit.pts, now)),
                _ => {}
            }
        }
        let newest = unit.dts;
        self.held.push(unit, MAX_PENDING);
        while self.key.is_none() && self.held.units.front().is_some_and(|old| newest - old.dts > AUDIO_AHEAD)
        {
            self.held.pop();
        }
    }

    /// Whether it can be told of, and which kind of track it does not have then.
    fn ready(&self, program: &Program, now: Instant, over: bool) -> Option<Option<Kind>> {
        let seen = |kind| program.first(kind).map(|track| self.seen[index(track)]);
        let newest = self.last.iter().flatten().map(|last| last.dts).max().unwrap_or_default();
        let waited = |since: Instant, first: Option<Ticks>, longest: Duration| {
            let media = first.map_or(Ticks::ZERO, |first| newest - first);
            now.saturating_duration_since(since) >= longest || media.millis() >= longest.as_millis() as i64
        };
        let (video, audio) = (seen(Kind::Video), seen(Kind::Audio));
        match (video, self.key, audio) {
            (Some(_), Some(_), None | Some(true)) | (None, _, Some(true)) => Some(None),
            (Some(_), Some((start, at)), Some(false)) => {
                let late = over || waited(at, Some(start), AUDIO_WAIT) || self.held.bytes > MAX_PENDING / 2;
                late.then_some(Some(Kind::Audio))
            }
            (Some(came), None, Some(true)) => {
                let longest = if came { KEY_WAIT } else { VIDEO_WAIT };
                waited(self.since, self.first, longest).then_some(Some(Kind::Video))
            }
            _ => None,
        }
    }
}

impl Last {
    fn new(before: Option<Self>, unit: &Unit, at: Instant) -> Self {
        let step = before.map_or(Ticks::ZERO, |last| unit.dts - last.dts);
        Self { dts: unit.dts, step: step.clamp(Ticks::ZERO, Ticks(FORWARD.0 * 4)), at }
    }

    /// Whether a frame of the same track goes on from here.
    fn follows(&self, unit: &Unit, now: Instant) -> bool {
        let step = unit.dts - self.dts;
        let slow = Ticks(self.step.0 * 4);
        step >= -BACKWARD && step <= FORWARD.max(slow) + passed(self.at, now)
    }

    /// Whether a frame of another track may belong to the same run.
    fn near(&self, unit: &Unit, now: Instant) -> bool {
        within(unit.dts, self.dts, APART + passed(self.at, now))
    }
}

fn within(one: Ticks, other: Ticks, apart: Ticks) -> bool {
    (one.0 - other.0).abs() <= apart.0
}

fn passed(since: Instant, now: Instant) -> Ticks {
    let passed = now.saturating_duration_since(since).as_millis();
    Ticks::from_millis(i64::try_from(passed).unwrap_or(i64::MAX / 90).min(i64::MAX / 90))
}

impl Held {
    /// The oldest have to go for what does not fit.
    fn push(&mut self, unit: Unit, most: usize) {
        self.bytes += weight(&unit);
        self.units.push_back(unit);
        while self.bytes > most && self.pop() {}
    }

    fn pop(&mut self) -> bool {
        let Some(old) = self.units.pop_front() else { return false };
        self.bytes -= weight(&old);
        true
    }
}

/// What a unit takes in memory.
pub(super) fn weight(unit: &Unit) -> usize {
    unit.data.len() + size_of::<Unit>()
}
