//! What ffmpeg is told for live work. Pure, like the rest of [`super`].
//!
//! A live encode must be repeatable: an attempt that begins in the middle of a stream gives the same timestamps, the same
//! key frames, the same audio frames and the same parameter sets as the one whose place it takes. Hence
//!
//! * timestamps are the input's, to the tick: `-copyts`, an encoder's clock of 90 kHz, no frame doubled or dropped;
//! * ffmpeg counts the time for `-force_key_frames` from the first frame that it encodes. That frame's time is known
//!   ([`First`]) and pinned, so key frames are at multiples of the grid on the absolute timeline;
//! * audio is resampled to 48 kHz first and cut into frames from a given sample on;
//! * nothing of this is done again when ffmpeg builds its filters anew, because the source changed its size or its channels;
//! * level, profile, size and frame rate are named rather than left to the encoder.
//!
//! Progress goes to stderr: stdout carries the media.

mod encode;
mod encoder;
mod ingest;
mod slate;

use std::{ffi::OsString, path::Path};

pub use self::ingest::{needed_protocol, scheme, schemes};
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
    /// As far as [`First::wanted`] asks for it.
    pub first: First,
    /// Where an ingested file really is, found below a shared root.
    pub file: Option<&'a Path>,
    /// Text may be drawn: not after it turned out that no font is there.
    pub text: bool,
}

/// Presentation times of the first frame of each track that comes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct First {
    pub video: Option<i64>,
    pub audio: Option<i64>,
}

impl First {
    /// Which of them a worker has to look up before it starts ffmpeg: the video's where nobody has said where that begins,
    /// the audio's where its frames are to be those of another attempt.
    #[must_use]
    pub fn wanted(work: &Work) -> (bool, bool) {
        match work {
            Work::Encode(encode) => {
                let (rendition, source, begin) = (&encode.rendition, encode.source, encode.begin);
                (
                    rendition.video.is_some() && source.video && begin.video.is_none(),
                    rendition.audio.is_some() && source.audio && begin.audio.is_some(),
                )
            }
            Work::Ingest(_) | Work::Slate(_) => (false, false),
        }
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
    let level = match context.work {
        // At level info it names every piece of a playlist, with whatever secret is in its address.
        Work::Ingest(_) => "level+warning",
        Work::Encode(_) | Work::Slate(_) => "level+info",
    };
    args.all(["-hide_banner", "-nostdin", "-y", "-loglevel", level, "-nostats"]);
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
            // Microseconds. Whoever reads it takes the tracks apart: a track that pauses must not hold the others up for the
            // ten seconds of the default. (Fragmented MP4 has to wait: a fragment ends where the track's next frame begins.)
            args.all(["-max_interleave_delta", "100000"]);
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
