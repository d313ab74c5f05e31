//! What ffmpeg is told, and what its answers mean. Pure: no process is started here.

use std::{ffi::OsString, path::PathBuf};

use crate::{failure::Failure, media::EncoderFamily, media::MediaInfo, spec::Spec, worker::Capabilities};

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

/// Everything that argv depends on.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    pub spec: &'a Spec,
    pub input: &'a MediaInfo,
    /// What ffmpeg opens: a path or a loopback URL.
    pub input_url: &'a str,
    /// For the names of results: the user's file name without folder and extension, made safe for a file name.
    pub stem: &'a str,
    /// `None` when the spec has no video to encode.
    pub encoder: Option<&'a EncoderChoice>,
    pub capabilities: &'a Capabilities,
    /// An existing, empty folder.
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
    /// Codecs of the audio tracks, in order.
    pub audio: Vec<String>,
    pub subtitles: usize,
    /// Seconds; `None` when it cannot be known.
    pub duration: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedVideo {
    /// As ffmpeg names it.
    pub codec: String,
    /// Display size in pixels.
    pub width: u32,
    pub height: u32,
}

/// What is made after ffmpeg has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Finish {
    Nothing,
    // More variants, with what they need, belong here: HLS master playlist, WebVTT track.
}

/// Lowers a spec to ffmpeg's arguments.
///
/// # Errors
/// [`crate::failure::FailureKind::InvalidSpec`] when the input cannot give what the spec asks for, and
/// [`crate::failure::FailureKind::MissingCapability`] when this ffmpeg lacks what the input turned out to need.
pub fn lower(_context: &Context<'_>) -> Result<Lowered, Failure> {
    Err(Failure::new(crate::failure::FailureKind::InvalidSpec, "nothing can be lowered yet"))
}
