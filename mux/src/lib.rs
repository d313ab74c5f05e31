//! Containers and playlists of live streams, as plain functions and state machines: MPEG-TS in and out, fragmented MP4 in
//! and out, headers of codecs, HLS and DASH playlists. No I/O, no clock.
//!
//! In between everything is a [`Unit`] on one timeline of [`Ticks`].

pub mod codec;
pub mod dash;
pub mod fmp4;
pub mod hls;
mod time;
pub mod ts;
mod unit;

pub use time::{Ticks, Unwrapper};
pub use unit::{Codec, Event, Kind, Program, Track, TrackId, Unit};
