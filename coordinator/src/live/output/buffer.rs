//! The variant's buffer: releases in, segments out. No clock, no lock, no task.

use std::{collections::VecDeque, time::Duration};

use mux::{Kind, Program, Ticks, Unit};
use tokio::time::Instant;

use super::{
    super::splice::Release,
    Settings,
    fragments::{self, Fragments, Init},
    packets::{self, Packets},
    segmenter::{Boundary, Place, Segmenter},
    setup::Setup,
    shelf::{Segment, Shelf},
    target::Target,
};

/// Fragmented MP4 is made for this long after the last one asked for it: longer than any player waits between two requests.
const ASKED: Duration = Duration::from_secs(60);
/// Audio waits so long for the key frame that its generation begins with: an encoder looks ahead by less. Video that was
/// announced but does not come is then not waited for any more.
const HELD_LENGTH: Ticks = Ticks(5 * Ticks::PER_SECOND);
/// Far more than audio of that length is.
const HELD_BYTES: usize = 1024 * 1024;
const HELD_UNITS: usize = 1024;

/// What changed, so that those who wait for it can be woken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// There are new pieces of MPEG-TS.
    pub(super) pieces: bool,
    /// A segment began or was finished, a part was, or the tracks are known.
    pub(super) segments: bool,
}

#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) settings: Settings,
    pub(super) program: Option<Program>,
    segmenter: Segmenter,
    pub(super) setup: Setup,
    pub(super) inits: VecDeque<Init>,
    pub(super) target: Target,
    pub(super) shelf: Shelf,
    pub(super) packets: Option<Packets>,
    /// Fragmented MP4, while somebody asks for it.
    fragments: Option<Fragments>,
    asked: Option<Instant>,
    /// Units of the open segment that went into `fragments`.
    packed: usize,
    fragment_sequence: u32,
    held: Vec<Unit>,
    held_bytes: usize,
    /// Of the next segment; known when the first begins.
    pub(super) next_sequence: Option<u64>,
    pub(super) discontinuities: u64,
    pub(super) part: Option<Ticks>,
    pub(super) newest: Option<Ticks>,
    ended: Option<String>,
    changed: Changed,
}

impl Buffer {
    pub(super) fn new(settings: Settings) -> Self {
        let max_length =
            Ticks::from_millis(i64::try_from(settings.max_length.as_millis()).unwrap_or(i64::MAX / 90));
        Self {
            program: None,
            segmenter: Segmenter::new(settings.grid),
            setup: Setup::default(),
            inits: VecDeque::new(),
            target: Target::new(settings.grid),
            shelf: Shelf::new(settings.max_bytes, max_length),
            packets: None,
            fragments: None,
            asked: None,
            packed: 0,
            fragment_sequence: 1,
            held: Vec::new(),
            held_bytes: 0,
            next_sequence: None,
            discontinuities: settings.first_discontinuity,
            part: None,
            newest: None,
            ended: None,
            changed: Changed::default(),
            settings,
        }
    }

    pub(super) fn release(&mut self, releases: Vec<Release>, now: Instant) -> Changed {
        if self.ended.is_some() {
            return Changed::default();
        }
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) > ASKED) {
            self.stop_fragments();
        }
        for release in releases {
            match release {
                Release::Generation { number, program } => self.generation(number, program),
                Release::Unit(unit) => self.unit(unit),
            }
        }
        if self.packets.as_ref().is_some_and(Packets::is_ready) {
            self.flush();
        }
        std::mem::take(&mut self.changed)
    }

    pub(super) fn end(&mut self, reason: &str) -> Changed {
        if self.ended.is_none() {
            self.close(None);
            self.ended = Some(reason.to_owned());
        }
        self.changed = Changed::default();
        Changed { pieces: true, segments: true }
    }

    pub(super) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    fn generation(&mut self, number: u32, program: Program) {
        self.close(None);
        if self.next_sequence.is_none() {
            let discontinuities = self.settings.first_discontinuity + u64::from(number);
            self.discontinuities = discontinuities.max(self.settings.reached.discontinuity);
        }
        self.held.clear();
        self.held_bytes = 0;
        self.segmenter.generation(program.first(Kind::Video).or_else(|| program.first(Kind::Audio)));
        self.setup = Setup::new(&program);
        match &mut self.packets {
            _ if !packets::carries(&program) => self.packets = None,
            Some(packets) => packets.generation(&program),
            None => self.packets = Some(Packets::new(&program)),
        }
        self.program = Some(program);
        // Also those who wait for what may never come.
        self.changed = Changed { pieces: true, segments: true };
    }

    fn leads(&self, unit: &Unit) -> bool {
        self.segmenter.lead() == Some(unit.track)
    }

    fn unit(&mut self, unit: Unit) {
        let complete = self.setup.look(&unit);
        let changed = self.leads(&unit) && unit.key && self.setup.has_changed();
        let full = self.shelf.is_full() || self.holds_too_much();
        match self.segmenter.place(&unit, changed, self.target.limit(), full) {
            Place::Dropped => {}
            Place::Held => {
                self.held_bytes += unit.data.len();
                self.held.push(unit);
            }
            Place::Open => self.append(unit),
            Place::Begins(boundary) => {
                self.close(Some((&boundary, unit.dts)));
                self.begin(&boundary, changed);
                // A segment begins with its key frame; without one, order within a track is what matters.
                let held = self.held.drain(..).collect::<Vec<_>>();
                self.held_bytes = 0;
                if boundary.independent {
                    self.append(unit);
                    held.into_iter().for_each(|unit| self.append(unit));
                } else {
                    held.into_iter().for_each(|unit| self.append(unit));
                    self.append(unit);
                }
            }
        }
        if complete || self.setup.may_seal() {
            self.seal();
        }
        self.pack();
    }

    fn holds_too_much(&self) -> bool {
        let (Some(first), Some(last)) = (self.held.first(), self.held.last()) else { return false };
        self.held_bytes > HELD_BYTES
            || self.held.len() >= HELD_UNITS
            || (last.dts - first.dts).0.abs() > HELD_LENGTH.0
    }

    fn begin(&mut self, boundary: &Boundary, renewed: bool) {
        if renewed {
            self.setup.renew();
        }
        let sequence = self.next_sequence.unwrap_or_else(|| {
            let Settings { first_sequence, reached, grid, clock, .. } = &self.settings;
            (first_sequence + clock.boundaries(boundary.start, *grid)).max(reached.sequence)
        });
        self.next_sequence = Some(sequence + 1);
        let piece = self.shelf.end();
        let wall = self.settings.clock.wall(boundary.start);
        let last = self.shelf.segments.back().filter(|_| !boundary.discontinuity);
        let run = last.map_or((boundary.start, wall), |last| last.run);
        self.shelf.begin(Segment {
            sequence,
            start: boundary.start,
            wall,
            discontinuity: boundary.discontinuity,
            independent: boundary.independent,
            run,
            discontinuities: self.discontinuities,
            duration: None,
            pieces: piece..piece,
            piece_bytes: 0,
            units: Vec::new(),
            unit_bytes: 0,
            data_bytes: 0,
            init: self.inits.back().map_or(0, |init| init.number),
            next: None,
            parts: None,
            part_bytes: 0,
        });
        self.discontinuities += u64::from(boundary.discontinuity);
        self.packed = 0;
        if let Some(packets) = &mut self.packets {
            packets.join();
        }
        self.changed.segments = true;
    }

    fn append(&mut self, unit: Unit) {
        let leads = self.leads(&unit);
        let Some(open) = self.shelf.open() else { return };
        let first = open.units.is_empty();
        open.independent &= !leads || unit.pts >= open.start;
        if leads && unit.key && !first && self.program_kind(&unit) == Some(Kind::Video) {
            self.flush();
            if let Some(packets) = &mut self.packets {
                packets.join();
            }
        }
        if let Some(packets) = &mut self.packets {
            packets.unit(&unit, leads);
        }
        if leads {
            self.newest = Some(self.newest.map_or(unit.pts, |newest| newest.max(unit.pts)));
        }
        self.shelf.unit(unit);
        if self.packets.as_ref().is_some_and(Packets::is_large) {
            self.flush();
        }
    }

    fn program_kind(&self, unit: &Unit) -> Option<Kind> {
        Some(self.program.as_ref()?.codec(unit.track)?.kind())
    }

    fn flush(&mut self) {
        if let Some(piece) = self.packets.as_mut().and_then(Packets::take) {
            self.shelf.piece(piece);
            self.changed.pieces = true;
        }
    }

    /// The open segment is over; `next`: what follows it in the same generation.
    fn close(&mut self, next: Option<(&Boundary, Ticks)>) {
        self.flush();
        if self.shelf.open().is_none() {
            return;
        }
        if !self.setup.is_sealed() {
            self.seal();
        }
        self.pack();
        let limit = self.target.limit();
        let end = next.map_or(self.segmenter.end(), |(boundary, _)| boundary.start);
        let continued = next.filter(|(boundary, _)| !boundary.discontinuity).map(|(_, decoding)| decoding);
        let Some(open) = self.shelf.open() else { return };
        let duration = (end - open.start).clamp(Ticks(1), limit);
        self.target.finished(duration, next.is_none_or(|(boundary, _)| boundary.on_grid));
        let recent = self.target.three();
        self.shelf.finish(duration, continued, recent);
        if let Some(fragments) = &mut self.fragments {
            let mut parts = Vec::new();
            fragments.close(duration, continued, &mut parts);
            self.shelf.parts(self.shelf.segments.len() - 1, parts);
        }
        self.shelf.evict(recent);
        if let Some(oldest) = self.shelf.segments.front() {
            while self.inits.front().is_some_and(|init| init.number < oldest.init) {
                self.inits.pop_front();
            }
        }
        self.changed.segments = true;
    }

    /// What is known of the tracks is what decoders are told about the open segment.
    fn seal(&mut self) {
        let Some(open) = self.shelf.open() else { return };
        let tracks: Vec<_> = self
            .setup
            .tracks()
            .filter(|(_, parameters)| fragments::carries(parameters))
            .map(|(track, parameters)| (track, parameters.clone()))
            .collect();
        let last = self.inits.back();
        if last.is_none_or(|last| last.tracks != tracks) {
            let number = last.map_or(0, |last| last.number + 1);
            let lead = self.segmenter.lead().filter(|lead| tracks.iter().any(|(track, _)| track == lead));
            self.inits.push_back(Init { number, tracks, lead });
            open.init = number;
        }
        self.setup.seal();
        if let (None, Some(asked)) = (self.part, self.settings.part) {
            let lead = self.segmenter.lead();
            let parameters = self.setup.tracks().find(|(track, _)| Some(*track) == lead);
            self.part = Some(fragments::part_target(asked, parameters.map(|(_, parameters)| parameters)));
        }
        self.changed.segments = true;
    }

    /// What came to the open segment goes into fragmented MP4, if somebody wants that.
    fn pack(&mut self) {
        if self.fragments.is_some() && self.setup.is_sealed() && self.shelf.open().is_some() {
            self.pack_segment(self.shelf.segments.len() - 1);
        }
    }

    fn pack_segment(&mut self, index: usize) {
        let (Some(fragments), Some(segment)) = (&mut self.fragments, self.shelf.segments.get(index)) else {
            return;
        };
        let Some(init) = self.inits.iter().find(|init| init.number == segment.init) else { return };
        if init.lead.is_none() {
            return;
        }
        if self.packed == 0 && (segment.discontinuity || !fragments.is_set()) {
            fragments.init(init, self.part);
        }
        let mut parts = Vec::new();
        for unit in &segment.units[self.packed..] {
            fragments.unit(unit, &mut parts);
        }
        self.packed = segment.units.len();
        self.changed.segments |= !parts.is_empty();
        self.shelf.parts(index, parts);
    }

    fn stop_fragments(&mut self) {
        if let Some(fragments) = self.fragments.take() {
            self.fragment_sequence = fragments.sequence();
        }
        self.asked = None;
        self.packed = 0;
        self.shelf.drop_parts();
    }

    /// Somebody wants fragmented MP4: it begins with the oldest segment whose frames are still there.
    pub(super) fn ask_fragments(&mut self, now: Instant) {
        self.asked = Some(now);
        if self.fragments.is_some() {
            return;
        }
        self.fragments = Some(Fragments::new(self.fragment_sequence));
        for index in 0..self.shelf.segments.len() {
            let segment = &self.shelf.segments[index];
            if segment.units.is_empty() || (segment.duration.is_none() && !self.setup.is_sealed()) {
                continue;
            }
            let (finished, next) = (segment.duration, segment.next);
            self.packed = 0;
            self.pack_segment(index);
            if let (Some(fragments), Some(duration)) = (&mut self.fragments, finished) {
                let mut parts = Vec::new();
                fragments.close(duration, next, &mut parts);
                self.shelf.parts(index, parts);
                self.packed = 0;
            }
        }
        self.changed = Changed::default();
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
