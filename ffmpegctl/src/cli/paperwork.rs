//! What comes with the programs: completions for shells, manual pages.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::Shell;

pub(super) const EXAMPLES: &str = "\
Examples:
  source <(ffmpegctl completions bash)
  ffmpegctl completions zsh ffmpegd > ~/.zfunc/_ffmpegd";

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    pub shell: Shell,
    /// Whose arguments.
    #[arg(default_value = "ffmpegctl")]
    pub program: Program,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Made if it is not there.
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    Ffmpegctl,
    Ffmpegd,
    Coordinator,
}
