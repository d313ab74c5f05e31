//! The farm's own ffmpeg command line, made ready to run without the farm. Pure.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// The same arguments with the input and the output folder of `plain`, and progress reports thrown away.
///
/// `command` is what the job's attempt shows, with or without the program in front.
///
/// # Errors
/// The command has no input or no output.
pub(crate) fn plain(command: &[String], input: &Path, output: &Path) -> Result<Vec<String>> {
    let arguments = match command {
        [program, rest @ ..] if !program.starts_with('-') => rest,
        all => all,
    };
    let opened = value_of(arguments, "-i").context("the farm's command line has no -i")?;
    let folder = arguments.last().map(|last| output_folder(last)).unwrap_or_default();
    let folder = folder.to_str().filter(|folder| folder.starts_with('/'));
    let folder = folder.context("the farm's command line does not end in an absolute output path")?;
    let (input, output) = (input.to_string_lossy(), output.to_string_lossy());
    let mut after = "";
    let mut plain = Vec::with_capacity(arguments.len());
    for argument in arguments {
        plain.push(match after {
            "-progress" => "/dev/null".to_owned(),
            "-i" if argument == opened => input.clone().into_owned(),
            _ => argument.replace(folder, &output),
        });
        after = argument;
    }
    Ok(plain)
}

fn value_of<'a>(arguments: &'a [String], option: &str) -> Option<&'a String> {
    arguments.iter().zip(arguments.iter().skip(1)).find(|(name, _)| *name == option).map(|(_, value)| value)
}

/// The folder of an output, above any folder that ffmpeg makes by itself (`%v`).
fn output_folder(output: &str) -> PathBuf {
    let parent = Path::new(output).parent().unwrap_or(Path::new(""));
    let made_by_ffmpeg = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains('%');
    parent.components().take_while(|part| !made_by_ffmpeg(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn replayed(line: &str) -> String {
        plain(&words(line), Path::new("/clips/a.mp4"), Path::new("/tmp/out")).unwrap().join(" ")
    }

    #[test]
    fn input_output_and_progress_are_replaced_and_nothing_else() {
        assert_eq!(
            replayed(
                "ffmpeg -nostdin -progress pipe:3 -i http://127.0.0.1:1/x -c:v libx264 /scratch/7/out/a.mp4"
            ),
            "-nostdin -progress /dev/null -i /clips/a.mp4 -c:v libx264 /tmp/out/a.mp4"
        );
    }

    #[test]
    fn the_program_may_be_missing() {
        assert_eq!(replayed("-i /in.mp4 /scratch/a.mp4"), "-i /clips/a.mp4 /tmp/out/a.mp4");
    }

    #[test]
    fn every_path_below_the_output_folder_moves() {
        assert_eq!(
            replayed("-i /in.mp4 -hls_segment_filename /s/1/%v/%d.m4s /s/1/%v/index.m3u8"),
            "-i /clips/a.mp4 -hls_segment_filename /tmp/out/%v/%d.m4s /tmp/out/%v/index.m3u8"
        );
    }

    #[test]
    fn a_command_without_input_or_output_is_refused() {
        assert!(plain(&words("-c copy /a/b.mp4"), Path::new("/i"), Path::new("/o")).is_err());
        assert!(plain(&words("-i /a.mp4 -f null -"), Path::new("/i"), Path::new("/o")).is_err());
    }
}
