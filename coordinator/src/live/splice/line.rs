//! What was delivered.

use std::collections::VecDeque;

use mux::{Codec, Kind, Program, Ticks, TrackId, Unit};

use super::{
    Cut, Refusal, Release, SILENT, Seams,
    cadence::SampleClock,
    feed::{Feed, Queue},
};

/// Presentation times that are remembered to know a frame that came twice: more than any codec reorders.
const REMEMBERED: usize = 64;

/// One generation of the source, as far as it was delivered.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) generation: Option<u32>,
    /// Known before anything of it is delivered, and final once it is announced.
    program: Option<Program>,
    announced: bool,
    tracks: Vec<Track>,
    reference: Option<usize>,
    /// Its first frame.
    begin: Option<Ticks>,
    /// Where the GOP begins that follows what was delivered.
    pub(super) resume: Option<Ticks>,
    /// A feed has ended properly, and nothing was delivered since.
    pub(super) finished: bool,
    /// Over all generations.
    newest: Option<Ticks>,
    /// How long a video frame of the source lasts, until that is seen.
    pub(super) source_frame: Option<Ticks>,
}

/// How long a video frame lasts where nobody knows.
const USUAL: Ticks = Ticks(3600);
/// The next frame may come so soon where they last as they like: half of the shortest that is common. An attempt that is told
/// a time takes a frame for the one meant that is sooner by this.
const SOON: Ticks = Ticks(375);

#[derive(Debug)]
pub(super) struct Track {
    kind: Kind,
    /// The newest presentation time.
    pub(super) shown: Option<Ticks>,
    dts: Option<Ticks>,
    frame: Option<Ticks>,
    is_regular: bool,
    clock: Option<(SampleClock, u32)>,
    recent: VecDeque<Ticks>,
    /// Of the generation before.
    carried: Option<Edge>,
}

/// The end of what was delivered of a track.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    /// What is shown before was delivered: half a frame before the next, because timestamps jitter.
    pub(super) floor: Ticks,
    /// When the next frame is expected.
    pub(super) next: Ticks,
}

impl Line {
    /// The next generation, of which nothing is known yet.
    pub(super) fn begin(&mut self, generation: u32) {
        self.generation = Some(generation);
        self.program = None;
        self.announced = false;
        self.begin = None;
        self.resume = None;
        self.finished = false;
    }

    /// Feeds of this generation can be compared with it.
    pub(super) fn is_of(&self, generation: u32) -> bool {
        self.generation == Some(generation) && self.program.is_some()
    }

    /// Something of this generation was delivered.
    pub(super) const fn has_begun(&self) -> bool {
        self.begin.is_some()
    }

    /// Presentation time of the newest frame, whatever its generation.
    pub(super) const fn newest(&self) -> Option<Ticks> {
        self.newest
    }

    /// The tracks of the active feed become those of the line, if nothing was delivered of others.
    pub(super) fn adopt(&mut self, feed: &mut Feed) -> Result<(), Refusal> {
        if let Some(program) = &feed.program
            && !self.announced
        {
            let mut before = std::mem::take(&mut self.tracks);
            for track in &program.tracks {
                let kind = track.codec.kind();
                let same = before.iter().position(|old| old.kind == kind);
                let same = same.map(|index| before.remove(index));
                self.tracks.push(Track::after(track.codec, same, self.source_frame));
            }
            self.reference = super::reference_of(program);
            self.program = Some(program.clone());
        }
        self.map(feed)
    }

    /// Which track of the feed is which of the line: the first of a codec is the first of it.
    pub(super) fn map(&self, feed: &mut Feed) -> Result<(), Refusal> {
        let (Some(program), Some(given)) = (&self.program, &feed.program) else { return Ok(()) };
        let mut free: Vec<usize> = (0..given.tracks.len()).collect();
        for queue in &mut feed.tracks {
            queue.target = None;
        }
        for (target, track) in program.tracks.iter().enumerate() {
            match free.iter().position(|index| given.tracks[*index].codec == track.codec) {
                Some(position) => feed.tracks[free.remove(position)].target = Some(target),
                None if track.codec.kind() == Kind::Other => {}
                None => {
                    let codecs = |program: &Program| program.tracks.iter().map(|track| track.codec).collect();
                    return Err(Refusal::Tracks { given: codecs(given), wanted: codecs(program) });
                }
            }
        }
        feed.reference = feed.tracks.iter().position(|queue| queue.target == self.reference);
        Ok(())
    }

    pub(super) fn reference(&self) -> Option<&Track> {
        self.tracks.get(self.reference?)
    }

    pub(super) fn shown(&self) -> Option<Ticks> {
        self.reference().and_then(|track| track.shown)
    }

    /// Up to where the reference is delivered.
    pub(super) fn position(&self) -> Option<Ticks> {
        let track = self.reference()?;
        Some(track.shown? + track.frame.unwrap_or_default())
    }

    /// Where the next key frame of the reference has to be.
    pub(super) fn edge(&self) -> Option<Edge> {
        let edge = self.reference()?.edge()?;
        Some(Edge { next: self.resume.unwrap_or(edge.next), ..edge })
    }

    /// How far a frame may be from where it is expected.
    pub(super) fn tolerance(&self) -> Ticks {
        let frame = self.reference().and_then(|track| track.frame).unwrap_or(USUAL);
        Ticks(frame.0 / 2)
    }

    pub(super) fn floor(&self, target: usize) -> Option<Ticks> {
        self.tracks[target].edge().map(|edge| edge.floor)
    }

    pub(super) fn has_shown(&self, target: usize, pts: Ticks) -> bool {
        self.tracks[target].recent.contains(&pts)
    }

    pub(super) fn cut(&self) -> Cut {
        let newest =
            self.tracks.iter().filter(|track| track.kind != Kind::Other).filter_map(|track| track.shown);
        let newest = newest.max();
        let oldest = newest.map(|newest| newest - SILENT);
        let mut cut = Cut::default();
        for (index, track) in self.tracks.iter().enumerate() {
            let edge = if Some(index) == self.reference { self.edge() } else { track.edge() };
            let begin = self.begin.map(|begin| Edge { floor: begin, next: begin });
            let Some(edge) = edge.or(begin) else { continue };
            match track.kind {
                Kind::Video => {
                    if cut.video.is_none() {
                        let not_before = |at: Ticks| oldest.map_or(at, |oldest| at.max(oldest));
                        cut.video = Some(not_before(edge.floor));
                        cut.expected = Some(not_before(edge.next));
                    }
                }
                Kind::Audio => {
                    let at = match (oldest, &track.clock) {
                        (Some(oldest), Some((clock, samples))) if edge.next < oldest => {
                            clock.next_from(oldest, *samples)
                        }
                        (Some(oldest), _) => edge.next.max(oldest),
                        (None, _) => edge.next,
                    };
                    cut.audio = Some(cut.audio.map_or(at, |known| known.min(at)));
                }
                Kind::Other => {}
            }
        }
        cut
    }

    /// Whether a feed that takes over now has all of the other tracks from the edge on, as far as can be seen.
    pub(super) fn others_reach(&self, feed: &Feed) -> bool {
        feed.tracks.iter().enumerate().all(|(index, queue)| {
            let Some(target) = queue.target.filter(|_| Some(index) != feed.reference) else { return true };
            let Some(edge) = self.tracks[target].edge().filter(|_| queue.kind == Kind::Audio) else {
                return true;
            };
            queue.first.is_some_and(|first| first <= edge.next + (edge.next - edge.floor))
        })
    }

    /// What a spare holds and will never be asked for.
    pub(super) fn trim(&self, feed: &mut Feed) {
        for index in 0..feed.tracks.len() {
            let queue = &feed.tracks[index];
            let Some(target) = queue.target else {
                while feed.pop(index).is_some() {}
                continue;
            };
            let floor = self.floor(target).unwrap_or(Ticks(i64::MIN));
            let needs_key = queue.kind == Kind::Video;
            while let Some(front) = feed.tracks[index].units.front()
                && (front.pts < floor || (needs_key && !front.key))
            {
                feed.pop(index);
            }
        }
    }

    /// Delivers a track up to a decoding time.
    pub(super) fn deliver_until(
        &mut self,
        feed: &mut Feed,
        track: usize,
        limit: Ticks,
        seams: &mut Seams,
        out: &mut Vec<Release>,
    ) {
        let limit = match feed.tracks[track].kind {
            // Its times are not worth much, and nobody waits for it.
            Kind::Other if self.has_begun() => Ticks(i64::MAX),
            Kind::Other => return,
            Kind::Video | Kind::Audio => limit,
        };
        while feed.tracks[track].units.front().is_some_and(|unit| unit.dts < limit) {
            self.deliver_front(feed, track, seams, out);
        }
    }

    pub(super) fn deliver_front(
        &mut self,
        feed: &mut Feed,
        track: usize,
        seams: &mut Seams,
        out: &mut Vec<Release>,
    ) {
        let Some(mut unit) = feed.pop(track) else { return };
        let queue = &mut feed.tracks[track];
        let Some(target) = queue.target else { return };
        let is_reference = self.reference == Some(target);
        let expected = if is_reference { self.edge() } else { self.tracks[target].edge() };
        let line_track = &mut self.tracks[target];
        if line_track.kind != Kind::Other {
            let begin = *self.begin.get_or_insert(unit.pts);
            let half = Ticks(queue.frame().unwrap_or_default().0 / 2);
            if !is_reference && line_track.shown.is_none() && unit.pts < begin - half {
                // It belongs to frames that come before the generation's first.
                queue.begun = None;
                return;
            }
            // How many frames are in a hole is only known where they last as long as each other.
            let regular = line_track.frame.filter(|_| line_track.is_regular && line_track.shown.is_some());
            if !line_track.admit(&mut unit, queue) {
                return;
            }
            if !queue.joined
                && let (Some(expected), Some(frame)) = (expected, regular)
            {
                seams.count_missing(line_track.kind, unit.pts - expected.next, frame);
            }
            if is_reference {
                self.newest = self.newest.max(Some(unit.pts));
            }
        }
        unit.track = TrackId(u8::try_from(target).expect("a program has at most 256 tracks"));
        if !self.announced {
            self.announced = true;
            let program = self.program.clone().expect("it was adopted before a track had a target");
            let number = self.generation.expect("a feed of it is active");
            out.push(Release::Generation { number, program });
        }
        feed.tracks[track].joined = true;
        self.finished = false;
        out.push(Release::Unit(unit));
    }
}

impl Track {
    fn after(codec: Codec, before: Option<Self>, source_frame: Option<Ticks>) -> Self {
        let is_video = codec.kind() == Kind::Video;
        Self {
            kind: codec.kind(),
            shown: None,
            dts: before.as_ref().and_then(|before| before.dts),
            frame: is_video.then_some(source_frame.unwrap_or(USUAL)),
            is_regular: true,
            clock: None,
            recent: VecDeque::new(),
            carried: before.and_then(|before| before.edge()),
        }
    }

    fn edge(&self) -> Option<Edge> {
        let Some(shown) = self.shown else { return self.carried };
        if self.kind == Kind::Video && !self.is_regular {
            return Some(Edge { floor: shown + Ticks(1), next: shown + SOON + Ticks(1) });
        }
        let frame = self.frame.unwrap_or_default();
        let next = match &self.clock {
            Some((clock, _)) => clock.next(),
            None => shown + frame.max(Ticks(1)),
        };
        Some(Edge { floor: shown + Ticks((frame.0 / 2).max(1)), next })
    }

    /// `false`: it has no place behind what was delivered.
    fn admit(&mut self, unit: &mut Unit, queue: &Queue) -> bool {
        if self.kind == Kind::Audio && self.shown.is_some_and(|shown| unit.pts <= shown) {
            return false;
        }
        // An encoder that reorders more than the one before it begins with earlier decoding times. They come right again within
        // as many frames as it reorders.
        let dts = self.dts.map_or(unit.dts, |last| unit.dts.max(last + Ticks(1)));
        if dts > unit.pts {
            return false;
        }
        unit.dts = dts;
        self.dts = Some(dts);
        self.shown = self.shown.max(Some(unit.pts));
        if let Some(frame) = queue.frame() {
            self.frame = Some(frame);
            self.is_regular = queue.is_regular();
        }
        match self.kind {
            Kind::Video => {
                if self.recent.len() == REMEMBERED {
                    self.recent.pop_front();
                }
                self.recent.push_back(unit.pts);
            }
            Kind::Audio => {
                self.clock = queue.samples.map(|(samples, rate)| {
                    let before = self.clock.map(|(clock, _)| clock);
                    (SampleClock::advance(before, unit.pts, samples, rate), samples)
                });
            }
            Kind::Other => {}
        }
        true
    }
}
