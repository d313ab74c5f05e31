//! Logs: compact lines on a terminal, JSON where another program reads them.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Sends tracing to stderr. `filter` has the syntax of `RUST_LOG` (`info`, `coordinator=debug,info`).
///
/// # Errors
/// The filter does not parse, or a subscriber is installed already.
pub fn install(filter: &str, format: LogFormat) -> Result<(), Error> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(layer.with_ansi(ansi)).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .map_err(|_| Error::Installed)
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "log filter {filter:?} is not understood: {reason}; use for example info or coordinator=debug,info"
    )]
    Filter { filter: String, reason: String },
    #[error("logging is set up already")]
    Installed,
}
