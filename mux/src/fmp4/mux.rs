//! Units to boxes.

use bytes::Bytes;

use crate::{Ticks, TrackId, Unit, codec::Parameters};

/// Part of one track for a fragment, in decoding order.
#[derive(Debug)]
pub struct Fragment<'a> {
    pub track: TrackId,
    pub units: &'a [Unit],
    /// Decoding time of what follows: the last unit's duration comes from it.
    pub next: Ticks,
}

/// `ftyp` and `moov`. MP4's track numbers are the [`TrackId`]s plus 1; the timescale is 90 kHz for all.
#[must_use]
pub fn init(tracks: &[(TrackId, Parameters)]) -> Bytes {
    let _ = tracks;
    unimplemented!()
}

/// `moof` and `mdat`, with absolute decoding times.
#[must_use]
pub fn fragment(sequence: u32, tracks: &[Fragment<'_>], parameters: &[(TrackId, Parameters)]) -> Bytes {
    let _ = (sequence, tracks, parameters);
    unimplemented!()
}
