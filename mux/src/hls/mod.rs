//! HLS playlists (RFC 8216bis).

mod check;
mod master;
mod media;

pub use check::Checker;
pub use master::{Master, Variant};
pub use media::{LowLatency, Media, Part, Segment};
