//! Logs on stderr, and where somebody wants them, logs and traces over OTLP.
//!
//! What is logged has ids as fields of its own: `job`, `task`, `epoch`, `worker`, `session`, `stream`. A span puts them on
//! every line below it; such spans are of the level ERROR, so that no filter takes the ids away. [`trace`] says how a job
//! becomes one trace.

mod collector;
mod flat;
mod otlp;
mod settings;
pub mod trace;

use std::time::Duration;

use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, fmt, prelude::*};

pub use self::settings::Error as OtlpError;
use self::{otlp::Otlp, settings::Settings};

/// What a daemon waits for the collector at its end.
const FAREWELL: Duration = Duration::from_secs(3);

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Who tells of itself over OTLP.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// `service.name`, unless the environment says another.
    pub name: &'static str,
    pub version: &'static str,
    /// It runs attempts that another one assigned.
    pub runs_attempts: bool,
}

/// What was set up.
#[derive(Debug, Default)]
#[must_use = "what was not sent yet is lost unless it is shut down"]
pub struct Telemetry {
    otlp: Option<Otlp>,
}

/// Sends tracing to stderr. `filter` has the syntax of `RUST_LOG` (`info`, `coordinator=debug,info`). For a `program` logs
/// and traces go over OTLP too, if OpenTelemetry's environment variables say so; then it must be called in a tokio runtime.
///
/// # Errors
/// The filter does not parse, a variable cannot be understood, or a subscriber is installed already.
pub fn install(filter: &str, format: LogFormat, program: Option<Program>) -> Result<Telemetry, Error> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let otlp = match program {
        Some(program) => Settings::read(|name| std::env::var(name).ok())?
            .map(|settings| Otlp::open(&settings, program))
            .transpose()?,
        None => None,
    };
    let logs = otlp.as_ref().and_then(Otlp::logs).map(|layer| {
        // What carries the records says something about each of them.
        layer.with_filter(filter_fn(|about| !otlp::carries(about.target())))
    });
    let registry = tracing_subscriber::registry().with(filter).with(logs);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(layer.with_target(false).with_ansi(ansi)).try_init()
        }
        LogFormat::Json => {
            let fields = fmt::format::JsonFields::new();
            registry.with(layer.fmt_fields(fields).event_format(flat::Flat)).try_init()
        }
    }
    .map_err(|_| Error::Installed)?;
    if let Some(otlp) = &otlp {
        otlp.begin();
    }
    Ok(Telemetry { otlp })
}

impl Telemetry {
    /// Sends what was not sent yet, for three seconds at most.
    pub async fn shutdown(self) {
        if let Some(otlp) = self.otlp {
            otlp.shutdown(FAREWELL).await;
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "log filter {filter:?} is not understood: {reason}; use for example info or coordinator=debug,info"
    )]
    Filter { filter: String, reason: String },
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error("logging is set up already")]
    Installed,
}
