//! Where segments begin: times and key frames, no bytes.
//!
//! A segment begins with the first key frame of the lead track (the first video track, or audio where there is no video) in
//! each interval of the grid. Where an interval has none, the segment goes on until a later interval has one. Only what would
//! grow past the target duration is cut at a frame that is no key frame; the next key frame then begins a segment at once, on
//! the grid or not.

use mux::{Ticks, TrackId, Unit};

/// A segment that has to be cut without a key frame ends so long before its limit, so that a late frame does not take it past
/// that.
const MARGIN: Ticks = Ticks::from_millis(100);

/// A segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) start: Ticks,
    /// What follows does not continue what was before: another generation, other parameters, or nothing for longer than a
    /// segment may be.
    pub(super) discontinuity: bool,
    /// It begins with a key frame.
    pub(super) independent: bool,
    /// It begins with the first frame after a boundary of the grid, or with a generation: what an encoder that was told to
    /// does.
    pub(super) on_grid: bool,
}

/// What becomes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It belongs to the open segment.
    Open,
    /// It is the first of a new one.
    Begins(Boundary),
    /// It belongs to the segment that the generation's first key frame will begin.
    Held,
    /// Nothing can be made of it: video before the first key frame of its generation.
    Dropped,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    start: Ticks,
    /// Decoding time of its first frame.
    decoding: Ticks,
    independent: bool,
}

#[derive(Debug)]
pub(super) struct Segmenter {
    grid: Ticks,
    lead: Option<TrackId>,
    open: Option<Open>,
    /// A segment has begun in this or an earlier generation: what begins a generation is a discontinuity.
    any: bool,
    /// Decoding time of the lead's last frame.
    last: Option<Ticks>,
    /// From the frame before that to that.
    step: Ticks,
    /// Where the lead's last shown frame ends.
    end: Ticks,
}

impl Segmenter {
    pub(super) fn new(grid: Ticks) -> Self {
        Self {
            grid: Ticks(grid.0.max(1)),
            lead: None,
            open: None,
            any: false,
            last: None,
            step: Ticks::ZERO,
            end: Ticks::ZERO,
        }
    }

    pub(super) fn lead(&self) -> Option<TrackId> {
        self.lead
    }

    /// Where what was shown so far ends.
    pub(super) fn end(&self) -> Ticks {
        self.end
    }

    /// What follows is of another generation. The open segment is over.
    pub(super) fn generation(&mut self, lead: Option<TrackId>) {
        self.lead = lead;
        self.open = None;
        self.last = None;
    }

    /// `changed`: this unit says that the tracks are not what the open segment says. `limit`: the longest that a segment may
    /// become. `full`: what is open, or held, may not grow any more.
    pub(super) fn place(&mut self, unit: &Unit, changed: bool, limit: Ticks, full: bool) -> Place {
        let leads = self.lead == Some(unit.track);
        if leads && self.open.is_none() && !unit.key {
            return Place::Dropped;
        }
        let since = self.last;
        if leads {
            if let Some(last) = since.filter(|last| unit.dts > *last) {
                self.step = unit.dts - last;
            }
            self.last = Some(unit.dts);
        }
        let place = match self.open {
            None if leads || full => self.begin(unit, unit.pts, self.any, leads, true),
            None => Place::Held,
            Some(open) if leads && unit.key => {
                let later = unit.pts.interval(self.grid) > open.start.interval(self.grid);
                if changed || later || !open.independent || full {
                    let into = Ticks(unit.pts.0.rem_euclid(self.grid.0));
                    let on_grid = later && into < self.step + self.step;
                    let jumped = unit.pts - open.start > limit;
                    self.begin(unit, unit.pts, changed || jumped, true, on_grid || changed || jumped)
                } else {
                    Place::Open
                }
            }
            Some(open) => {
                // Measured by decoding time, which grows evenly where the order of presentation does not.
                let length = unit.dts - open.decoding;
                let next = if leads { self.step.max(MARGIN) } else { MARGIN };
                if full || length + next > limit {
                    self.begin(unit, open.start + length, length > limit, false, true)
                } else {
                    Place::Open
                }
            }
        };
        if leads {
            let end = unit.pts + self.step;
            self.end = if since.is_none() { end } else { self.end.max(end) };
        }
        place
    }

    fn begin(
        &mut self,
        unit: &Unit,
        start: Ticks,
        discontinuity: bool,
        independent: bool,
        on_grid: bool,
    ) -> Place {
        self.open = Some(Open { start, decoding: unit.dts, independent });
        self.any = true;
        Place::Begins(Boundary { start, discontinuity, independent, on_grid })
    }
}

#[cfg(test)]
#[path = "segmenter_tests.rs"]
mod tests;
