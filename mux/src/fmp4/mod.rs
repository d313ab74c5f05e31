//! Fragmented MP4 (ISO/IEC 14496-12, CMAF).

mod boxes;
mod demux;
mod entry;
mod header;
mod mux;
mod payload;
mod select;

pub use demux::{Demuxer, Error};
pub use entry::carries;
pub use mux::{Fragment, fragment, init};
pub use select::select;
