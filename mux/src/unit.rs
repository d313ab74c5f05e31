//! What all containers hold: coded frames of tracks.

use std::fmt;

use bytes::Bytes;

use crate::Ticks;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Video,
    Audio,
    /// Subtitles, teletext, SCTE-35: carried from MPEG-TS to MPEG-TS, no more.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    H264,
    Hevc,
    /// Not in MPEG-TS here.
    Av1,
    Mpeg2Video,
    /// Units are ADTS frames.
    Aac,
    /// MPEG audio, layers I to III.
    Mp3,
    Ac3,
    Eac3,
    /// Of MPEG-TS, by its stream type (ISO/IEC 13818-1, table 2-34) and its descriptors.
    Other(u8),
}

impl Codec {
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::H264 | Self::Hevc | Self::Av1 | Self::Mpeg2Video => Kind::Video,
            Self::Aac | Self::Mp3 | Self::Ac3 | Self::Eac3 => Kind::Audio,
            Self::Other(_) => Kind::Other,
        }
    }
}

/// As ffmpeg names them.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
            Self::Mpeg2Video => "mpeg2video",
            Self::Aac => "aac",
            Self::Mp3 => "mp3",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
            Self::Other(kind) => return write!(f, "stream type {kind:#04x}"),
        })
    }
}

/// Number of a track within its [`Program`]: its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u8);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    pub codec: Codec,
    /// The descriptors of its entry in the PMT, as they are (language, registration). Empty when there are none.
    pub descriptors: Bytes,
}

/// The tracks of a stream, in the order of the PMT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    pub tracks: Vec<Track>,
}

impl Program {
    /// The first track of a kind.
    #[must_use]
    pub fn first(&self, kind: Kind) -> Option<TrackId> {
        let index = self.tracks.iter().position(|track| track.codec.kind() == kind)?;
        u8::try_from(index).ok().map(TrackId)
    }

    #[must_use]
    pub fn codec(&self, track: TrackId) -> Option<Codec> {
        self.tracks.get(usize::from(track.0)).map(|track| track.codec)
    }
}

/// A coded frame, or what one PES packet held.
///
/// The data is as MPEG-TS has it, whatever container it came from: H.264 and HEVC as one access unit with start codes
/// (Annex B), AAC with ADTS headers, AV1 as the OBUs of a temporal unit with sizes and without the delimiter. An audio unit
/// from a foreign MPEG-TS may hold several frames, see [`crate::codec::frames`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub track: TrackId,
    pub pts: Ticks,
    /// Equal to `pts` where the container names none.
    pub dts: Ticks,
    /// A decoder can start here: an IDR or CRA picture, a sequence header with an I picture. Always true for audio.
    pub key: bool,
    pub data: Bytes,
}

/// What a demuxer finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The tracks, before the first unit and whenever they change.
    Program(Program),
    Unit(Unit),
}
