//! What ffmpeg is told, and what its answers mean. Pure: no process is started here.
//!
//! [`lower`] turns a [`Spec`] and what ffprobe said about the input into arguments. Three rules hold for all of them:
//!
//! * Nothing is concatenated into a command string, and the input's address is one argument of its own.
//! * Decoding is done in software, also when encoding is not: a hardware decoder that gives up in the middle of a file
//!   costs the whole attempt, and frames must come down for scaling anyway.
//! * The demuxers that open other files (playlists, `concat`, image sequences) are shut out by name, so an input cannot
//!   read anything but itself.

mod args;
mod audio;
mod boxes;
mod command;
mod encoder;
mod file;
mod finish;
mod hls;
pub mod live;
mod name;
mod picture;
mod playlist;
mod probe;
mod produced;
mod subtitles;
mod survey;
mod thumbnails;
pub mod timing;
pub mod verify;

use std::{ffi::OsString, path::PathBuf};

use ::command::Produced;

pub use self::{
    encoder::trial_args,
    finish::{AudioGroup, Finish, HlsMaster, HlsVariant, SpriteTrack, finish},
    name::{content_type, safe_stem},
    probe::{Allowed, ffprobe_args, ffprobe_output_args, parse_ffprobe},
    survey::{Packets, Survey, survey_args, survey_output_args},
};
use crate::{
    failure::{Failure, FailureKind},
    media::{EncoderFamily, MediaInfo},
    spec::Spec,
    worker::Capabilities,
};

/// The encoder and device that placement chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderChoice {
    /// As ffmpeg names it.
    pub name: String,
    pub family: EncoderFamily,
    /// What ffmpeg is told: an NVENC index, a render node. `None` for software.
    pub device: Option<String>,
    /// NVENC preset p1 (fastest) to p7 (best), when the worker's owner set one.
    pub nvenc_preset: Option<u8>,
}

impl EncoderChoice {
    /// A software encoder by its name.
    #[must_use]
    pub fn software(name: &str) -> Self {
        Self { name: name.to_owned(), family: EncoderFamily::Software, device: None, nvenc_preset: None }
    }
}

/// Everything that argv depends on.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    pub spec: &'a Spec,
    pub input: &'a MediaInfo,
    /// What ffmpeg opens, each a path or a loopback URL: as many as the spec takes. `input` describes the first.
    pub inputs: &'a [String],
    /// For the names of results: the user's file name without folder and extension, made safe for a file name.
    pub stem: &'a str,
    /// `None` when the spec has no video to encode.
    pub encoder: Option<&'a EncoderChoice>,
    pub capabilities: &'a Capabilities,
    /// An existing, empty folder; absolute.
    pub output_dir: PathBuf,
}

/// What to run and what must come out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// Arguments of ffmpeg, without the program's name.
    pub argv: Vec<OsString>,
    /// Media seconds that ffmpeg will write, for progress; `None` when unknown.
    pub duration: Option<f64>,
    /// Files that must be there, relative to the output folder, with what they must hold.
    pub expected: Vec<Expected>,
    /// What a user's command writes, of which only the names are known.
    pub produced: Vec<Produced>,
    /// Files that ffmpeg does not write well itself and that are made from what it wrote.
    pub finish: Finish,
    /// What could not be kept, in words.
    pub warnings: Vec<String>,
}

/// A file that must come out.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Relative to the output folder, `/` between parts. A playlist stands for its segments.
    pub path: String,
    pub video: Option<ExpectedVideo>,
    /// In order.
    pub audio: Vec<ExpectedAudio>,
    pub subtitles: usize,
}

impl Expected {
    /// Whether it has packets that follow from the input's: it is no picture and no track of pictures.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        !self.audio.is_empty() || self.video.as_ref().is_some_and(|video| video.timing.is_some())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedVideo {
    /// As ffmpeg names it.
    pub codec: String,
    /// Display size in pixels.
    pub width: u32,
    pub height: u32,
    /// As ffmpeg names it; another name for the same depth and chroma will do. `None` for pictures.
    pub pixel_format: Option<String>,
    /// `None` for pictures.
    pub timing: Option<VideoTiming>,
}

/// How the frames of a result follow from those of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoTiming {
    /// Index of the input's stream.
    pub source: u32,
    pub frames: Frames,
    /// Seconds of a frame, of the input or of the result, whichever is longer.
    pub frame: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// One for each of the input's.
    Each,
    /// At the input's times, but not all of them.
    Times,
    /// At a constant rate from time 0 to the input's end.
    Constant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedAudio {
    /// As ffmpeg names it.
    pub codec: String,
    pub channels: u32,
    /// Hz.
    pub sample_rate: u32,
    /// Index of the input's stream.
    pub source: u32,
}

/// Lowers a spec to ffmpeg's arguments.
///
/// # Errors
/// [`FailureKind::InvalidSpec`] when the spec makes no sense or the input cannot give what it asks for, and
/// [`FailureKind::MissingCapability`] when this ffmpeg lacks what the input turned out to need ([`missing_filters`]).
pub fn lower(context: &Context<'_>) -> Result<Lowered, Failure> {
    context.spec.validate().map_err(|error| Failure::new(FailureKind::InvalidSpec, error.to_string()))?;
    // The HLS muxer and the image writer read `%` in a path as a counter.
    if context.output_dir.to_string_lossy().contains('%') || !context.output_dir.is_absolute() {
        return Err(Failure::new(
            FailureKind::InvalidSpec,
            format!(
                "the output folder {} must be an absolute path without '%'; set another scratch folder",
                context.output_dir.display()
            ),
        ));
    }
    let missing = missing_filters(context);
    if !missing.is_empty() {
        return Err(Failure::new(
            FailureKind::MissingCapability,
            format!(
                "this input needs ffmpeg's filter {}, which ffmpeg {} on this worker lacks; it goes to another worker",
                missing.join(" and "),
                context.capabilities.ffmpeg_version
            ),
        ));
    }
    match context.spec {
        Spec::File(spec) => file::lower(context, spec),
        Spec::Hls(spec) => hls::lower(context, spec),
        Spec::Thumbnails(spec) => thumbnails::lower(context, spec),
        Spec::Command(spec) => command::lower(context, spec),
        Spec::Probe => Err(Failure::new(FailureKind::InvalidSpec, "a probe runs no ffmpeg")),
    }
}

/// The filters that this input needs for this spec and that this ffmpeg lacks: what a failure of kind
/// [`FailureKind::MissingCapability`] tells the queue. Empty for a worker whose filters are unknown.
#[must_use]
pub fn missing_filters(context: &Context<'_>) -> Vec<String> {
    let bit_depth = match context.spec {
        Spec::File(file) => match &file.video {
            Some(video) => video.bit_depth,
            None => return Vec::new(),
        },
        Spec::Hls(_) | Spec::Thumbnails(_) => 8,
        // The filters of a command are needs of its spec.
        Spec::Command(_) | Spec::Probe => return Vec::new(),
    };
    let Some((_, video)) = context.input.video().next() else { return Vec::new() };
    picture::missing_filters(video, bit_depth, &context.capabilities.filters)
}
