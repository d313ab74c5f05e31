//! What a worker is asked to do for a live stream.
//!
//! All times are in ticks of 90 kHz on the attempt's own timeline, which is the stream's minus a multiple of the grid, so that
//! they stay far below the 33 bits of MPEG-TS and key frames stay where they are.

use serde::{Deserialize, Serialize};

use crate::profile::Rendition;

/// `Assign.live_json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "work")]
pub enum Work {
    /// MPEG-TS comes in, the rendition goes out on the same timestamps.
    Encode(Box<Encode>),
    /// A source that ffmpeg opens itself is copied into MPEG-TS. Nothing comes in.
    Ingest(Ingest),
    /// A picture and silence while there is no source. Nothing comes in.
    Slate(Slate),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encode {
    pub rendition: Rendition,
    pub container: Container,
    /// What the source has now; a resolution may change meanwhile.
    pub source: SourceTracks,
    /// Where the result begins; what is decoded before is not encoded, or encoded and thrown away by the coordinator.
    pub begin: Begin,
}

/// What goes back to the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    MpegTs,
    /// For codecs that MPEG-TS does not carry. Every frame is a fragment.
    FragmentedMp4,
}

/// The tracks that are encoded: the source's first of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTracks {
    pub video: bool,
    pub audio: bool,
    /// Duration of a frame, where it is known.
    pub frame: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// A frame at or after this is a key frame, the first of them, besides those of the grid. `None`: begin with the first
    /// frame that comes.
    pub video: Option<i64>,
    /// Frames of the audio encoder begin at this time plus or minus whole frames, and the first that is needed is the one
    /// at this time. `None`: begin with the first sample that comes.
    pub audio: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ingest {
    /// What ffmpeg opens: hls, rtsp, rtmp, srt, udp, rtp by URL; a file by its absolute path below a shared root.
    pub url: String,
    /// A file: from its end go on at its beginning, as fast as it plays.
    pub file: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slate {
    pub width: u32,
    pub height: u32,
    /// Frames per second, as a fraction.
    pub frame_rate: (u32, u32),
    /// Shown in the picture where the worker's ffmpeg can.
    pub text: String,
}
