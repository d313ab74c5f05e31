//! Fragmented MP4 (ISO/IEC 14496-12, CMAF).

mod demux;
mod mux;

pub use demux::{Demuxer, Error};
pub use mux::{Fragment, fragment, init};
