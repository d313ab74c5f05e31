//! MPEG-TS (ISO/IEC 13818-1), a single program.

mod demux;
mod lane;
mod mux;
mod pes;
mod section;
mod sync;
mod tables;

pub use demux::{Demuxer, Statistics};
pub use mux::Muxer;

/// Bytes of a packet.
pub const PACKET: usize = 188;

/// First byte of every packet.
const SYNC: u8 = 0x47;

/// The PID of the PAT.
const PAT_PID: u16 = 0;

/// The PID of packets without meaning; the highest there is.
const NULL_PID: u16 = 0x1fff;

/// Most tracks of a program that are looked at, in and out. Broadcasts have some dozens with all their languages.
const MAX_TRACKS: usize = 64;
