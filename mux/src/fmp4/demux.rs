//! Boxes to units.

use crate::Event;

/// A stream that is no fragmented MP4 that this can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the fragmented MP4 cannot be read: {0}")]
pub struct Error(pub String);

/// Takes any pieces of what ffmpeg writes with `-f mp4 -movflags frag_every_frame+empty_moov+default_base_moof`.
#[derive(Debug, Default)]
pub struct Demuxer {}

impl Demuxer {
    /// What became complete is appended to `events`.
    ///
    /// # Errors
    /// After one, nothing more can be read.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let _ = (bytes, events);
        unimplemented!()
    }
}
