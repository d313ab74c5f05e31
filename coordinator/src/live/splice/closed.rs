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
/// A frame is shown no earlier than it is decoded, and decoding times grow: what is shown by the time that the newest is decoded
/// is closed. B-frames make that late by as many frames as are reordered, which is not needed where the frames are
/// regular: if as many are there as fit into the time since `shown`, none is missing.
pub(super) fn frames(queue: &Queue, frame: Option<Ticks>, shown: Option<Ticks>) -> usize {
    let units = &queue.units;
    if units.is_empty() {
        return 0;
    }
    // What is shown before the first of a feed is dropped.
    if !queue.joined || units.len() > REORDERED {
        return 1;
    }
    let mut last = Ticks(i64::MIN);
    for (index, unit) in units.iter().enumerate() {
        last = last.max(unit.pts);
        if last <= unit.dts || units.get(index + 1).is_some_and(|next| last < next.dts) {
            return index + 1;
        }
        if let (Some(frame), Some(shown)) = (frame, shown) {
            let filled = shown.0 + frame.0 * (index as i64 + 1);
            if (last.0 - filled).abs() < frame.0 / 2 {
                return index + 1;
            }
        }
    }
    0
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
