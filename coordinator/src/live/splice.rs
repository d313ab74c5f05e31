//! Which frames of which attempt are delivered.

use common::id::AttemptId;
use mux::{Program, Ticks, Unit};

/// Why an attempt feeds a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It begins a generation of the source: whatever came before is over. Also the variant's first.
    Generation(u32),
    /// It takes the place of attempts that were lost, from [`Cut`] on.
    Replacement,
    /// It runs beside the active one and takes over at the first key frame of the grid that both have.
    Successor,
    /// It runs beside the active one, for the case that this dies.
    Standby,
}

/// Where a replacement has to go on: the first frame of each track that was not delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    pub video: Option<Ticks>,
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

#[derive(Debug)]
pub struct Splicer {}

impl Splicer {
    pub fn begin(&mut self, feed: AttemptId, role: Role) {
        let _ = (feed, role);
        unimplemented!()
    }
    pub fn program(&mut self, feed: AttemptId, program: Program, out: &mut Vec<Release>) {
        let _ = (feed, program, out);
        unimplemented!()
    }
    pub fn unit(&mut self, feed: AttemptId, unit: Unit, out: &mut Vec<Release>) {
        let _ = (feed, unit, out);
        unimplemented!()
    }
    pub fn end(&mut self, feed: AttemptId, how: FeedEnd, out: &mut Vec<Release>) {
        let _ = (feed, how, out);
        unimplemented!()
    }
    #[must_use]
    pub fn cut(&self) -> Cut {
        unimplemented!()
    }
}
