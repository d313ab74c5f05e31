//! What is packed here is what ffmpeg reads: the same pictures and samples at the same times.
//! `TVARR_TEST_FFMPEG_NEXT` names a second, newer ffmpeg that the same must hold for.
#![allow(clippy::unwrap_used, reason = "tests")]

mod demuxed;
mod media;
mod playlists;
mod roundtrip;
#[path = "../support/mod.rs"]
mod support;
