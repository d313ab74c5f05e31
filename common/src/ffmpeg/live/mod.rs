//! What ffmpeg is told for live work. Pure, like the rest of [`super`].
//!
//! A live encode must be repeatable: an attempt that begins in the middle of a stream gives the same timestamps, the same
//! key frames, the same audio frames and the same parameter sets as the one whose place it takes. Hence
//!
//! * timestamps are the input's, to the tick: `-copyts`, an encoder's clock of 90 kHz, no frame doubled or dropped;
//! * ffmpeg counts the time for `-force_key_frames` from the first frame that it encodes. That frame's time is known
//!   ([`begins`]) and pinned, so key frames are at multiples of the grid on the absolute timeline;
//! * audio is resampled to 48 kHz first and cut into frames from a given sample on;
//! * level, profile, size and frame rate are named rather than left to the encoder.
//!
//! Progress goes to stderr: stdout carries the media.

mod encode;
mod encoder;
mod ingest;
mod peek;
mod slate;

use std::{ffi::OsString, path::Path};

pub use self::{ingest::scheme, peek::first_video};
use super::{EncoderChoice, args::Args};
use crate::{
    failure::{Failure, FailureKind},
    live::{Container, Work},
    worker::Capabilities,
};

/// Everything that argv depends on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub work: &'a Work,
    /// `None` when no video is encoded.
    pub encoder: Option<&'a EncoderChoice>,
    pub capabilities: &'a Capabilities,
    /// Presentation time of the input's first video frame, from [`first_video`], where [`peeks`] asks for it.
    pub first_video: Option<i64>,
    /// Where an ingested file really is, found below a shared root.
    pub file: Option<&'a Path>,
    /// Text may be drawn: not after it turned out that no font is there.
    pub text: bool,
}

/// Whether the worker has to look at the input before it starts ffmpeg: nobody has said where the video begins.
#[must_use]
pub fn peeks(work: &Work) -> bool {
    match work {
        Work::Encode(encode) => {
            encode.rendition.video.is_some() && encode.source.video && encode.begin.video.is_none()
        }
        Work::Ingest(_) | Work::Slate(_) => false,
    }
}

/// The arguments of ffmpeg, without the program's name. It reads from stdin where something comes in, writes to stdout, and
/// says its progress on stderr.
///
/// # Errors
/// [`FailureKind::InvalidSpec`] when the work makes no sense, [`FailureKind::MissingCapability`] when this ffmpeg lacks what
/// it needs, [`FailureKind::InvalidInput`] for a source that may not be opened.
pub fn lower(context: &Context<'_>) -> Result<Vec<OsString>, Failure> {
    let mut args = Args::default();
    args.all(["-hide_banner", "-nostdin", "-y", "-loglevel", "level+info", "-nostats"]);
    args.all(["-progress", "pipe:2", "-stats_period", "0.5"]);
    match context.work {
        Work::Encode(encode) => encode::lower(&mut args, context, encode)?,
        Work::Ingest(ingest) => ingest::lower(&mut args, context, ingest)?,
        Work::Slate(slate) => slate::lower(&mut args, context, slate),
    }
    Ok(args.into_vec())
}

/// The container, on stdout, as soon as there is something of it.
fn output(args: &mut Args, container: Container, copied_timestamps: bool) {
    args.all(["-map_metadata", "-1", "-flush_packets", "1"]);
    match container {
        Container::MpegTs => {
            args.all(["-f", "mpegts"]);
            if copied_timestamps {
                args.all(["-mpegts_copyts", "1"]);
            }
            args.all([
                "-muxdelay",
                "0",
                "-muxpreload",
                "0",
                "-pes_payload_size",
                "0",
                "-omit_video_pes_length",
                "0",
            ]);
            // Read by one reader from the beginning: tables once are enough.
            args.all(["-pat_period", "3600", "-sdt_period", "3600"]);
        }
        Container::FragmentedMp4 => {
            // With `frag_discont` the first fragment has its real time, not 0.
            args.all(["-f", "mp4", "-video_track_timescale", "90000", "-use_editlist", "0"]);
            args.all(["-avoid_negative_ts", "disabled", "-map_chapters", "-1"]);
            // Microseconds. Without a least duration a frame of one track also ends the empty fragment of its own track, at
            // the time of the frame after it: every other audio frame got the wrong time (5.1 and 9.0).
            args.all(["-min_frag_duration", "1"]);
            args.all([
                "-movflags",
                "+frag_every_frame+empty_moov+default_base_moof+frag_discont+skip_trailer",
            ]);
        }
    }
    args.push("pipe:1");
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidSpec, message)
}
