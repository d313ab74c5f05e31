//! MPEG-TS (ISO/IEC 13818-1), a single program.

mod demux;
mod mux;

pub use demux::{Demuxer, Statistics};
pub use mux::Muxer;

/// Bytes of a packet.
pub const PACKET: usize = 188;
