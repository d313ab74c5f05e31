//! How much of what waits is closed: nothing that follows is shown before its last frame.

use std::collections::VecDeque;

use mux::{Ticks, Unit};

use super::feed::Queue;

/// More frames than this are not reordered by any codec (H.264, HEVC: 16), so what comes later is not waited for.
const REORDERED: usize = 32;
/// Timestamps that were rounded may lie a little before the grid.
const ROUNDING: Ticks = Ticks(2);

/// How many of the first units are closed, in the smallest group; 0: not known yet.
///
/// A frame is shown no earlier than it is decoded, and decoding times grow: what follows is shown after the newest decoding time.
/// With B-frames that comes late, by as many frames as are reordered. Where the frames are regular that is not waited for: if as
/// many are there as fit into the time since `shown`, none is missing; as far as the pace is known well enough to count by.
pub(super) fn frames(queue: &Queue, shown: Option<Ticks>) -> usize {
    let (units, frame, countable) = (&queue.units, queue.frame(), queue.countable());
    // What is shown before the first of a feed is dropped.
    if units.is_empty() || !queue.joined {
        return units.len().min(1);
    }
    // The earliest that is known to be shown from each of them on.
    let mut earliest = [Ticks(i64::MAX); REORDERED + 1];
    let known = units.len().min(REORDERED);
    for index in (0..known).rev() {
        earliest[index] = earliest[index + 1].min(units[index].pts);
    }
    let decoded = units[known - 1].dts;
    let mut last = Ticks(i64::MIN);
    for index in 0..known {
        last = last.max(units[index].pts);
        if last <= decoded && last < earliest[index + 1] {
            return index + 1;
        }
        if let (Some(frame), Some(shown)) = (frame, shown)
            && index < countable
        {
            let filled = shown.0 + frame.0 * (index as i64 + 1);
            if (last.0 - filled).abs() < frame.0 / 2 {
                return index + 1;
            }
        }
    }
    usize::from(known == REORDERED)
}

/// How many of the first units are a whole GOP, and where the next one begins: with a key frame in another interval of the grid.
pub(super) fn gop(units: &VecDeque<Unit>, grid: Ticks) -> (usize, Option<Ticks>) {
    let Some(first) = units.front() else { return (0, None) };
    let next = units.iter().enumerate().skip(1).find(|(_, unit)| begins_interval(unit, first.pts, grid));
    next.map_or((0, None), |(index, unit)| (index, Some(unit.pts)))
}

/// It is the key frame of an interval after that of `before`.
pub(super) fn begins_interval(unit: &Unit, before: Ticks, grid: Ticks) -> bool {
    unit.key && (unit.pts + ROUNDING).interval(grid) > (before + ROUNDING).interval(grid)
}

/// The first interval after `shown` begins at `next` or a little before.
pub(super) fn is_boundary(shown: Ticks, next: Ticks, grid: Ticks) -> bool {
    (next + ROUNDING).interval(grid) > (shown + ROUNDING).interval(grid)
}
