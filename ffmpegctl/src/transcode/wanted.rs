//! What is to be made, known before anything is started: a preset's, or a user's own command's.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use command::Command;
use common::{
    api::{CommandLine, InputRef, JobRequest},
    preset::Presets,
    spec::Spec,
};

use super::outputs::{self, Makes};
use crate::{cli::TranscodeArgs, client::Client, error::Error, names, refusal};

/// A command with the format of its output, if that has no name.
#[derive(Debug)]
pub(super) struct OwnCommand<'a> {
    text: &'a str,
    format: Option<String>,
    read: Command,
}

impl<'a> OwnCommand<'a> {
    /// The one of the command line, if it has one.
    ///
    /// # Errors
    /// Something of it is not allowed.
    pub(super) fn of(args: &'a TranscodeArgs) -> Result<Option<Self>, Error> {
        let Some(text) = args.command.as_deref() else { return Ok(None) };
        let format = args.format.clone().or_else(|| if is_named(text) { None } else { ending(&args.output) });
        match Command::parse_for(text, format.as_deref()) {
            Ok(read) => Ok(Some(Self { text, format, read })),
            Err(error) => Err(refusal::of_command(text, error)),
        }
    }

    /// How many inputs one job takes.
    pub(super) fn inputs(&self) -> usize {
        self.read.inputs()
    }

    pub(super) fn makes(&self) -> Makes {
        Makes::of_command(&self.read, is_named(self.text))
    }
}

/// Whether the command says what its outputs are called.
fn is_named(command: &str) -> bool {
    command.contains("{{out:")
}

/// The format that the name of a file stands for.
fn ending(out: &Path) -> Option<String> {
    let is_folder = out.as_os_str().as_bytes().ends_with(b"/") || out.is_dir();
    let is_file = !is_folder && matches!(outputs::delivery(out), Ok(None));
    out.extension().filter(|_| is_file).and_then(OsStr::to_str).map(str::to_lowercase)
}

/// The request for one job, without what `command` and its place add.
pub(super) fn request(args: &TranscodeArgs, command: Option<&OwnCommand<'_>>, input: InputRef) -> JobRequest {
    JobRequest {
        preset: args.preset.clone(),
        command: command.map(|command| CommandLine::Text(command.text.to_owned())),
        output_format: command.map_or_else(|| args.format.clone(), |command| command.format.clone()),
        hardware: args.hardware.into(),
        priority: args.priority,
        labels: args.labels.iter().cloned().collect(),
        owner: args.owner.clone(),
        on_damaged_input: args.on_damaged_input.into(),
        time_limit_seconds: args.time_limit,
        ..JobRequest::new(input)
    }
}

/// What a preset makes: one of the farm, or one that is built in or in the user's folder.
///
/// # Errors
/// There is none of that name, or it does not make that format; the farm cannot be reached.
pub(super) async fn of_preset(
    name: &str,
    format: Option<&str>,
    farm: Option<&Client>,
    folder: Option<&Path>,
) -> Result<Makes, Error> {
    let spec = find(name, farm, folder).await?;
    let spec = match format {
        Some(format) => spec
            .in_format(format)
            .map_err(|error| Error::invalid(format!("--format: {}; {}", error.problem, error.remedy)))?,
        None => spec,
    };
    Ok(Makes::of_preset(name, &spec))
}

async fn find(name: &str, farm: Option<&Client>, folder: Option<&Path>) -> Result<Spec, Error> {
    if let Some(client) = farm {
        let presets = client.presets().await?;
        return match presets.iter().find(|preset| preset.name == name) {
            Some(preset) => Ok(preset.spec.clone()),
            None => Err(names::unknown_preset(name, presets.iter().map(|preset| preset.name.as_str()))),
        };
    }
    let presets = local(folder)?;
    match presets.get(name) {
        Some(preset) => Ok(preset.spec.clone()),
        None => Err(names::unknown_preset(name, presets.iter().map(|preset| preset.name.as_str()))),
    }
}

/// The presets that are built in, and those of a folder.
pub(crate) fn local(folder: Option<&Path>) -> Result<Presets, Error> {
    match folder {
        Some(folder) => Presets::load(folder).map_err(|error| Error::invalid(error.to_string())),
        None => Ok(Presets::builtin()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_result_says_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("x.mp4");
        std::fs::create_dir(&there).unwrap();
        let ending = |out: &str| ending(Path::new(out));
        assert_eq!(ending("b.MKV"), Some("mkv".to_owned()));
        for folder in ["out", "out.mp4/", there.to_str().unwrap(), "s3://bucket/a.mp4", "ftp://h/a.mp4"] {
            assert_eq!(ending(folder), None, "{folder}");
        }
    }
}
