//! What a person types: transcode a file here or on a farm, probe it, look at jobs, workers, streams and presets.
//!
//! Results go to stdout, everything else to stderr. The exit code tells what kind of end it was ([`Exit`]).

pub mod cli;
mod client;
mod commands;
mod console;
mod error;
mod exit;
mod follow;
mod interrupt;
mod names;
mod progress;
mod refusal;
mod text;
mod transcode;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    client::Farm,
    interrupt::Interrupt,
};
pub use crate::{error::Error, exit::Exit};

/// The whole program: arguments in, exit code out.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    common::tls::install_provider();
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to be done if even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Invalid } else { Exit::Ok }.into();
        }
    };
    if cli.verbose
        && let Err(error) = common::telemetry::install(&cli.log, common::telemetry::LogFormat::Text, None)
    {
        return conclude(Err(Error::invalid(error.to_string())));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return conclude(Err(Error::failed(format!("cannot start: {error}")))),
    };
    let result = runtime.block_on(run(cli));
    // A blocking read of a file or a name lookup may hang; it is no reason to stay.
    runtime.shutdown_background();
    conclude(result)
}

async fn run(cli: Cli) -> Result<Exit, Error> {
    let interrupt = Interrupt::listen()?;
    let farm = Farm::new(cli.coordinator, cli.api_key);
    match cli.command {
        Command::Transcode(args) => transcode::run(*args, &farm, cli.verbose, &interrupt).await,
        Command::Probe(args) => commands::probe::run(args, &farm, &interrupt).await,
        Command::Jobs(command) => commands::jobs::run(command, &farm, &interrupt).await,
        Command::Workers(command) => interrupt.or_leave(commands::workers::run(command, &farm)).await,
        Command::Streams(command) => {
            // Watching ends with Ctrl-C, which is no failure then.
            let watches = matches!(command, cli::StreamsCommand::Watch(_));
            let run = commands::streams::run(command, &farm, &interrupt);
            if watches { run.await } else { interrupt.or_leave(run).await }
        }
        Command::Keys(command) => interrupt.or_leave(commands::keys::run(command, &farm)).await,
        Command::Owners(command) => interrupt.or_leave(commands::owners::run(command, &farm)).await,
        Command::Presets(command) => interrupt.or_leave(commands::presets::run(command, &farm)).await,
        Command::Profiles(command) => interrupt.or_leave(commands::profiles::run(command, &farm)).await,
        Command::Completions(args) => commands::paperwork::completions(&args),
        Command::Man(args) => commands::paperwork::man(&args),
    }
}

fn conclude(result: Result<Exit, Error>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.message.is_empty() {
                console::complain(&error.message);
            }
            error.exit.into()
        }
    }
}
