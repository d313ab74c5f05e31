//! Which frames of which attempt are delivered.
//!
//! A variant is encoded by one attempt at a time, or by two beside each other, and attempts die. What each of them gives is
//! its [`Feed`]; one of them is the active one, from which the [`Line`] is delivered. Promised of what is delivered, whatever
//! the feeds are and wherever they break off:
//!
//! - A frame is delivered once, in decoding order, and none is left out as long as somebody gives it. Decoding times grow
//!   strictly within a track, presentation times are unique within it and a generation.
//! - What a feed delivers begins with a key frame, and no frame that refers to one before it is delivered.
//! - An attempt can be lost at any moment: what was delivered before is closed, which means that nothing is missing before the
//!   [`Cut`] ([`Delivery`] says how that is known). What has to wait for this waits in the feed, bounded.
//!
//! The rules of who is active are in [`elect`], those of changing over beside a running one in [`handover`].

mod cadence;
mod closed;
mod elect;
mod feed;
mod handover;
mod line;
#[cfg(test)]
mod tests;

use common::id::AttemptId;
use mux::{Kind, Program, Ticks, Unit};

use feed::{Feed, Standing};
use line::Line;

/// Audio and other tracks are delivered at most so far ahead of the video, so that who reads need not hold them.
const LEAD: Ticks = Ticks::from_millis(250);
/// A track that has given nothing while the others went on for so long is not waited for.
const SILENT: Ticks = Ticks::from_millis(10_000);
/// A unit so far from the one before it on its track is nonsense: a jump of the source begins a new generation.
const JUMP: Ticks = Ticks::from_millis(30_000);
/// How far ahead of the newest of the source a result may be: that is known with a delay, and some sources come in bursts.
const AHEAD: Ticks = Ticks::from_millis(60_000);

/// How a variant delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Each frame as soon as all that are shown before it are there.
    Frames,
    /// Whole GOPs, so that a standby can take over without anything missing.
    Gops,
}

/// Why an attempt feeds a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It begins a generation of the source: whatever came before is over. Also the variant's first.
    Generation(u32),
    /// It takes the place of attempts that were lost, from [`Cut`] on. Like the roles below for the newest generation that was
    /// begun.
    Replacement,
    /// It runs beside the active one and takes over at the first key frame of the grid that both have.
    Successor,
    /// It runs beside the active one, for the case that this dies.
    Standby,
}

/// Where a replacement has to go on: at the first frame of each track that was not delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// It is the first that is shown at this time or later: half a frame before it is expected, because timestamps jitter.
    pub video: Option<Ticks>,
    /// When it is expected, for those who do not know it yet.
    pub expected: Option<Ticks>,
    /// When it begins, to the tick.
    pub audio: Option<Ticks>,
}

/// What is delivered, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// What follows belongs to this generation of the source and these tracks.
    Generation {
        number: u32,
        program: Program,
    },
    Unit(Unit),
}

/// What became of an attempt's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedEnd {
    /// The worker ended the stream properly: its input was over.
    Finished,
    Lost,
}

/// Why nothing more of a feed can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it does not feed this variant")]
    Unknown,
    #[error("its tracks are {given:?}, those of the variant {wanted:?}")]
    Tracks { given: Vec<mux::Codec>, wanted: Vec<mux::Codec> },
    #[error("a frame of it is at {at}, {from} away from what comes before it")]
    Jump { at: Ticks, from: Ticks },
    #[error("a frame of it is at {at}, the source is only at {source_at}")]
    Ahead { at: Ticks, source_at: Ticks },
    #[error("{units} frames of it ({bytes} bytes) wait to be delivered, which is too much")]
    TooMuch { units: usize, bytes: usize },
}

/// What has happened at the places where one attempt followed another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seams {
    /// Changes from one attempt to another within a generation.
    pub count: u64,
    /// Frames that nobody gave.
    pub missing_video: u64,
    pub missing_audio: u64,
}

impl Seams {
    /// `hole`: between the frame that was expected and the one that came.
    fn count_missing(&mut self, kind: Kind, hole: Ticks, frame: Ticks) {
        let missing = u64::try_from((hole.0 + frame.0 / 2) / frame.0.max(1)).unwrap_or(0);
        match kind {
            Kind::Video => self.missing_video += missing,
            Kind::Audio => self.missing_audio += missing,
            Kind::Other => {}
        }
    }
}

#[derive(Debug)]
pub struct Splicer {
    grid: Ticks,
    delivery: Delivery,
    line: Line,
    /// In the order in which they began; a handful.
    feeds: Vec<Feed>,
    active: Option<AttemptId>,
    /// The newest generation that was begun.
    newest: u32,
    source: Option<Ticks>,
    seams: Seams,
}

impl Splicer {
    /// `grid`: length of a GOP; greater than zero.
    #[must_use]
    pub fn new(grid: Ticks, delivery: Delivery) -> Self {
        Self {
            grid: grid.max(Ticks(1)),
            delivery,
            line: Line::default(),
            feeds: Vec::new(),
            active: None,
            newest: 0,
            source: None,
            seams: Seams::default(),
        }
    }

    /// A replacement takes the place of the active one at once, whatever that still gives.
    pub fn begin(&mut self, feed: AttemptId, role: Role, out: &mut Vec<Release>) {
        self.feeds.retain(|other| other.id != feed);
        let (generation, standing) = match role {
            Role::Generation(number) => (number, Standing::Leading),
            Role::Replacement => (self.newest, Standing::Leading),
            Role::Successor => (self.newest, Standing::Successor),
            Role::Standby => (self.newest, Standing::Standby),
        };
        self.newest = self.newest.max(generation);
        if standing == Standing::Leading {
            // Two of them for the same generation: the older one was given up.
            let given_up =
                |other: &Feed| other.generation == generation && other.standing == Standing::Leading;
            for other in self.feeds.iter_mut().filter(|other| given_up(other)) {
                other.retire();
                self.active.take_if(|active| *active == other.id);
            }
        }
        self.feeds.push(Feed::new(feed, generation, standing));
        self.forget_finished();
        self.elect(out);
    }

    /// The source has come to this time: nothing can be much later.
    pub fn source_at(&mut self, newest: Ticks) {
        self.source = self.source.max(Some(newest));
    }

    /// How long a video frame of the source lasts. It is seen soon, but an attempt may be lost after its first frame.
    pub fn source_frame(&mut self, frame: Option<Ticks>) {
        self.line.source_frame = frame.filter(|frame| *frame > Ticks::ZERO && *frame < JUMP);
    }

    /// The tracks of a feed, before its first unit.
    ///
    /// # Errors
    /// They are not those of the variant.
    pub fn program(
        &mut self,
        feed: AttemptId,
        program: Program,
        out: &mut Vec<Release>,
    ) -> Result<(), Refusal> {
        let index = self.index(feed).ok_or(Refusal::Unknown)?;
        let is_active = self.active == Some(feed);
        let feed = &mut self.feeds[index];
        feed.set_program(program)?;
        if is_active {
            self.adopt(index)?;
            self.deliver(out);
        } else if self.line.is_of(feed.generation) {
            self.line.map(feed)?;
        }
        Ok(())
    }

    /// The frames of an audio track have so many samples each, at so many a second: their durations are exact then.
    pub fn audio_frame(&mut self, feed: AttemptId, track: mux::TrackId, samples: u32, rate: u32) {
        if let Some(index) = self.index(feed)
            && let Some(queue) = self.feeds[index].tracks.get_mut(usize::from(track.0))
            && rate > 0
            && samples > 0
        {
            queue.samples = Some((samples, rate));
        }
    }

    /// One frame. Frames of the same track come in decoding order.
    ///
    /// # Errors
    /// Nothing more of the feed can be taken; it has to be ended.
    pub fn unit(&mut self, feed: AttemptId, unit: Unit, out: &mut Vec<Release>) -> Result<(), Refusal> {
        let index = self.index(feed).ok_or(Refusal::Unknown)?;
        if let Some(source_at) = self.source
            && unit.pts > source_at + AHEAD
        {
            return Err(Refusal::Ahead { at: unit.pts, source_at });
        }
        let is_active = self.active == Some(feed);
        let feed = &mut self.feeds[index];
        feed.push(unit, is_active.then_some(&self.line))?;
        if is_active {
            self.deliver(out);
        } else {
            if self.line.is_of(feed.generation) {
                self.line.trim(feed);
            }
            self.spare_gave(index, out);
        }
        Ok(())
    }

    /// Nothing follows from this feed. What a lost one gave and what was not delivered is forgotten.
    pub fn end(&mut self, feed: AttemptId, how: FeedEnd, out: &mut Vec<Release>) {
        let Some(index) = self.index(feed) else { return };
        let is_active = self.active == Some(feed);
        match how {
            FeedEnd::Finished => {
                self.feeds[index].ended = true;
                if is_active {
                    self.deliver(out);
                } else if self.feeds[index].standing == Standing::Retired {
                    self.feeds.remove(index);
                }
            }
            FeedEnd::Lost => {
                self.feeds.remove(index);
                self.active.take_if(|active| *active == feed);
            }
        }
        self.elect(out);
    }

    /// Whose frames are delivered. `None`: nobody's, so somebody has to be begun from the [`Cut`] on. A successor or standby
    /// goes on by itself only where it has a key frame exactly there.
    #[must_use]
    pub const fn active(&self) -> Option<AttemptId> {
        self.active
    }

    #[must_use]
    pub const fn seams(&self) -> Seams {
        self.seams
    }

    /// Presentation time of the newest frame that was delivered: video, or audio where there is none.
    #[must_use]
    pub fn delivered(&self) -> Option<Ticks> {
        self.line.newest()
    }

    /// Presentation time of the newest frame that a feed gave: video, or audio where there is none.
    #[must_use]
    pub fn newest(&self, feed: AttemptId) -> Option<Ticks> {
        let feed = &self.feeds[self.index(feed)?];
        feed.reference().and_then(|queue| queue.newest)
    }

    /// To be asked when nobody is active: an active one moves it on.
    #[must_use]
    pub fn cut(&self) -> Cut {
        self.line.cut()
    }

    fn index(&self, feed: AttemptId) -> Option<usize> {
        self.feeds.iter().position(|other| other.id == feed)
    }

    /// Delivers what can be delivered.
    fn deliver(&mut self, out: &mut Vec<Release>) {
        while let Some(index) = self.active.and_then(|active| self.index(active)) {
            if self.step(index, out) {
                continue;
            }
            if self.feeds[index].ended {
                self.finish(index, out);
                self.elect(out);
            }
            return;
        }
    }

    /// Delivers one closed group of the active feed, or hands over. `false`: it has to wait.
    fn step(&mut self, index: usize, out: &mut Vec<Release>) -> bool {
        match self.handover(index) {
            handover::Decision::Switch(to) => {
                self.switch(index, to);
                return true;
            }
            handover::Decision::Wait => {
                self.deliver_others(index, out);
                return false;
            }
            handover::Decision::No => {}
        }
        let feed = &mut self.feeds[index];
        let Some(reference) = feed.reference else { return false };
        let queue = &feed.tracks[reference];
        let (count, resume) = match self.delivery {
            Delivery::Frames => (closed::frames(queue, self.line.shown()), None),
            Delivery::Gops => closed::gop(&queue.units, self.grid),
        };
        for _ in 0..count {
            self.deliver_reference(index, reference, out);
        }
        if count > 0 {
            self.line.resume = resume;
        }
        self.deliver_others(index, out);
        count > 0
    }

    /// The next unit of the reference track, after what belongs before it.
    fn deliver_reference(&mut self, index: usize, reference: usize, out: &mut Vec<Release>) {
        let feed = &mut self.feeds[index];
        let Some(dts) = feed.tracks[reference].units.front().map(|unit| unit.dts) else { return };
        if self.line.has_begun() {
            for track in (0..feed.tracks.len()).filter(|track| *track != reference) {
                self.line.deliver_until(feed, track, dts, &mut self.seams, out);
            }
        }
        self.line.deliver_front(feed, reference, &mut self.seams, out);
    }

    /// The other tracks, as far as they may go.
    fn deliver_others(&mut self, index: usize, out: &mut Vec<Release>) {
        let feed = &mut self.feeds[index];
        let Some(reference) = feed.reference else { return };
        let position = self.line.position();
        for track in (0..feed.tracks.len()).filter(|track| *track != reference) {
            let (lead, patience) = match self.delivery {
                Delivery::Frames => (LEAD, SILENT),
                Delivery::Gops => (Ticks::ZERO, SILENT + self.grid + self.grid),
            };
            let newest = feed.tracks[track].newest.map(|newest| newest - patience);
            let Some(limit) = position.map(|position| position + lead).max(newest) else { continue };
            self.line.deliver_until(feed, track, limit, &mut self.seams, out);
        }
    }

    /// The active feed has ended properly: everything that it has left.
    fn finish(&mut self, index: usize, out: &mut Vec<Release>) {
        let feed = &self.feeds[index];
        if let Some(reference) = feed.reference {
            while !self.feeds[index].tracks[reference].units.is_empty() {
                self.deliver_reference(index, reference, out);
            }
        }
        let feed = &mut self.feeds[index];
        // Sound that came before the first picture is no beginning.
        let tracks = if self.line.has_begun() { feed.tracks.len() } else { 0 };
        for track in 0..tracks {
            self.line.deliver_until(feed, track, Ticks(i64::MAX), &mut self.seams, out);
        }
        self.feeds.remove(index);
        self.active = None;
        self.line.finished = true;
        self.line.resume = None;
    }
}

fn reference_of(program: &Program) -> Option<usize> {
    let track = program.first(Kind::Video).or_else(|| program.first(Kind::Audio))?;
    Some(usize::from(track.0))
}
