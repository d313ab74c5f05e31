//! Units to packets.

use bytes::BytesMut;

use crate::{Program, Unit};

/// Writes one stream: continuity counters go on for as long as it lives, whatever it is given.
#[derive(Debug)]
pub struct Muxer {}

impl Muxer {
    #[must_use]
    pub fn new(program: &Program) -> Self {
        let _ = program;
        unimplemented!()
    }

    /// The tracks change: the next tables have a new version.
    pub fn set_program(&mut self, program: &Program) {
        let _ = program;
        unimplemented!()
    }

    /// PAT and PMT: at least before each key frame, so that a viewer can start there.
    pub fn tables(&mut self, out: &mut BytesMut) {
        let _ = out;
        unimplemented!()
    }

    /// One PES packet, with the PCR where it is due. `discontinuity`: the first unit of its track after a jump of the
    /// timeline.
    pub fn unit(&mut self, unit: &Unit, discontinuity: bool, out: &mut BytesMut) {
        let _ = (unit, discontinuity, out);
        unimplemented!()
    }
}
