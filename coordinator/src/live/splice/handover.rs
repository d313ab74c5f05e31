//! When a successor takes over from the active one.

use mux::Ticks;

use super::{Delivery, Splicer, closed, feed::Standing};

/// How long the active one's frames are held back at a key frame of the grid for a successor that is about to give the same one.
/// Viewers see this once: it is how much later the successor is. One that is later still waits for another key frame.
const WAIT: Ticks = Ticks::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    No,
    /// The successor is about to give the key frame that is next.
    Wait,
    /// This one has it.
    Switch(usize),
}

impl Splicer {
    pub(super) fn handover(&self, active: usize) -> Decision {
        if !self.feeds.iter().any(|feed| feed.standing == Standing::Successor) {
            return Decision::No;
        }
        let feed = &self.feeds[active];
        let (Some(queue), Some(edge), Some(shown)) = (feed.reference(), self.line.edge(), self.line.shown())
        else {
            return Decision::No;
        };
        let Some(key) = queue.units.front().filter(|unit| unit.key && queue.joined) else {
            return Decision::No;
        };
        let newest = queue.newest.unwrap_or(key.pts);
        let is_due = closed::begins_interval(key, shown, self.grid);
        let may_wait = is_due && newest - key.pts <= WAIT && self.delivery == Delivery::Frames;
        let wait = if may_wait { Decision::Wait } else { Decision::No };
        // Pictures that are shown before this key frame may follow it where there is a hole before it. The successor's could
        // not be decoded, so the active one has to give them.
        if queue.units.iter().any(|unit| unit.pts < key.pts) {
            return Decision::No;
        }
        let has_hole = key.pts >= edge.next + self.line.tolerance();
        let mut decision = Decision::No;
        for (index, successor) in self.feeds.iter().enumerate() {
            if successor.standing != Standing::Successor || successor.generation != feed.generation {
                continue;
            }
            if !self.line.is_of(successor.generation) || !self.line.others_reach(successor) {
                continue;
            }
            // With the frames of its first moments it may have had no audio, and given silence in its place.
            let first = successor.reference().and_then(|queue| queue.first);
            if first.is_none_or(|first| first + self.line.tolerance() >= key.pts) {
                continue;
            }
            if successor.has_key(key.pts, edge.floor, self.line.tolerance()) {
                let none_follow = queue.units.back().is_some_and(|last| last.dts >= key.pts);
                if !has_hole || none_follow {
                    return Decision::Switch(index);
                }
                decision = wait;
            } else {
                let given = successor.reference().and_then(|queue| queue.newest);
                let is_near = given.is_some_and(|given| given < key.pts && given >= key.pts - WAIT);
                if is_near && !successor.ended {
                    decision = wait;
                }
            }
        }
        decision
    }

    pub(super) fn switch(&mut self, from: usize, to: usize) {
        self.feeds[from].retire();
        self.activate(to);
    }
}
