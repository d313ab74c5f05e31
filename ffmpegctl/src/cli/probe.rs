//! The command line of `probe`.

use clap::{Args, ValueHint};

pub(super) const EXAMPLES: &str = "\
Examples:
  ffmpegctl probe clip.mov
  ffmpegctl probe https://example.org/clip.mp4
  ffmpegctl probe --json clip.mov | jq '.streams[].codec_name'

Exit codes:
  0    here is the answer
  1    the farm could not do it, or the source could not be reached
  2    wrong usage, or an input that is no media or may not be read
  3    the coordinator cannot be reached
  130  interrupted";

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// A file, which is uploaded and removed again; a URL (http, https, s3, gs, az); or the id of an upload.
    #[arg(value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub input: std::path::PathBuf,
    /// In whose name. Default: the API key's owner; another one takes an admin key.
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// ffprobe's own answer as JSON, instead of a summary.
    #[arg(long)]
    pub json: bool,
}
