//! The coordinator's process: configuration, logs, signals.

use std::process::ExitCode;

use anyhow::Context as _;
use common::{
    config, failpoint,
    telemetry::{self, Program, Telemetry},
    tls,
};
use coordinator::{Config, Coordinator, options};
use tokio::signal::unix::{SignalKind, signal};

/// Wrong configuration, as sysexits.h has it.
const EX_CONFIG: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    tls::install_provider();
    let loaded = match options::load(std::env::args_os()) {
        Ok(loaded) => loaded,
        Err(config::Error::Usage(error)) => error.exit(),
        Err(error) => return misconfigured(&error),
    };
    let program = Program { name: "coordinator", version: env!("CARGO_PKG_VERSION"), runs_attempts: false };
    let telemetry = match telemetry::install(&loaded.options.log, loaded.options.log_format, Some(program)) {
        Ok(telemetry) => telemetry,
        Err(error) => return misconfigured(&error),
    };
    if let Err(error) = failpoint::check() {
        return misconfigured(&error);
    }
    let config = match Config::new(loaded) {
        Ok(config) => config,
        Err(error) => return misconfigured(&error),
    };
    match run(config, telemetry).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn misconfigured(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("coordinator: {error}");
    ExitCode::from(EX_CONFIG)
}

/// Serves until a signal or until another coordinator has the database, then ends in order; a second signal ends it at once.
async fn run(config: Config, telemetry: Telemetry) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let coordinator = tokio::select! {
        started = Coordinator::start(config) => started?,
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
    };
    let code = tokio::select! {
        _ = interrupt.recv() => ExitCode::SUCCESS,
        _ = terminate.recv() => ExitCode::SUCCESS,
        () = coordinator.superseded() => {
            tracing::error!("another coordinator has taken the database: it has the jobs now, and this one stops");
            ExitCode::FAILURE
        }
    };
    tracing::info!("stopping; a second signal stops at once");
    let ending = async {
        coordinator.shutdown().await;
        telemetry.shutdown().await;
    };
    tokio::select! {
        () = ending => Ok(code),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}
