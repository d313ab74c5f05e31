//! `completions` and `man`: made from the definitions of the command lines, so that they say what the programs take.

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory as _, ValueEnum as _};

use crate::{
    cli::{Cli, CompletionsArgs, ManArgs, Program},
    console,
    error::Error,
    exit::Exit,
};

pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Error> {
    console::print(&script(args))?;
    Ok(Exit::Ok)
}

fn script(args: &CompletionsArgs) -> String {
    let mut command = command(args.program);
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

pub(crate) fn man(args: &ManArgs) -> Result<Exit, Error> {
    write_pages(&args.folder).map_err(|error| {
        Error::failed(format!("cannot write manual pages to {}: {error}", args.folder.display()))
    })?;
    Ok(Exit::Ok)
}

/// `ffmpegctl.1` and a page for each of its commands, `coordinator.8`, `ffmpegd.8`.
fn write_pages(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for program in Program::value_variants() {
        let command = command(*program);
        match program {
            Program::Ffmpegctl => clap_mangen::generate_to(command, folder)?,
            Program::Ffmpegd | Program::Coordinator => {
                let page = clap_mangen::Man::new(command).section("8");
                page.render(&mut fs::File::create(folder.join(page.get_filename()))?)?;
            }
        }
    }
    Ok(())
}

fn command(program: Program) -> Command {
    match program {
        Program::Ffmpegctl => Cli::command(),
        Program::Ffmpegd => ffmpegd::cli::Cli::command(),
        Program::Coordinator => coordinator::options::Options::command(),
    }
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    /// Long names of all options that people are shown, of the program and of every command below it.
    fn options(command: &Command, found: &mut Vec<String>) {
        found.extend(
            command
                .get_arguments()
                .filter(|arg| !arg.is_hide_set())
                .filter_map(|arg| Some(arg.get_long()?.to_owned())),
        );
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            options(sub, found);
        }
    }

    #[test]
    fn completions_know_every_option_of_every_program() {
        for program in Program::value_variants() {
            let mut wanted = Vec::new();
            options(&command(*program), &mut wanted);
            assert!(wanted.len() > 15, "{program:?}: {wanted:?}");
            for shell in Shell::value_variants() {
                let script = script(&CompletionsArgs { shell: *shell, program: *program });
                for option in &wanted {
                    assert!(
                        script.contains(option.as_str()),
                        "{shell} does not complete --{option} of {program:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn manual_pages_describe_every_option_of_every_program() {
        let folder = tempfile::tempdir().unwrap();
        write_pages(folder.path()).unwrap();
        let pages: String = fs::read_dir(folder.path())
            .unwrap()
            .map(|page| fs::read_to_string(page.unwrap().path()).unwrap())
            .collect();
        for program in Program::value_variants() {
            let mut wanted = Vec::new();
            options(&command(*program), &mut wanted);
            for option in wanted {
                let name = format!("\\-\\-{}", option.replace('-', "\\-"));
                assert!(pages.contains(&name), "no page describes --{option} of {program:?}");
            }
        }
        for page in ["ffmpegctl.1", "ffmpegctl-jobs-ls.1", "coordinator.8", "ffmpegd.8"] {
            assert!(folder.path().join(page).is_file(), "{page}");
        }
    }
}
