//! `ffmpegd`: the worker daemon.

use std::process::ExitCode;

use common::{
    config, failpoint,
    telemetry::{self, Program},
};
use ffmpegd::{
    Config, Error, Outcome, Shutdown, Worker,
    cli::{Cli, Command},
    metrics::health,
    probe,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

/// Something broke.
const BROKEN: u8 = 1;
/// Wrong usage or configuration. clap ends with the same.
const USAGE: u8 = 2;
/// No ffmpeg that works.
const NO_FFMPEG: u8 = 3;
/// Left with work unfinished.
const UNFINISHED: u8 = 4;

#[tokio::main]
async fn main() -> ExitCode {
    common::tls::install_provider();
    let cli = match config::load::<Cli>(std::env::args_os(), &[]) {
        Ok(loaded) => loaded.options,
        Err(config::Error::Usage(usage)) => usage.exit(),
        Err(error) => return fail(USAGE, &error),
    };
    let program = Program { name: "ffmpegd", version: env!("CARGO_PKG_VERSION"), runs_attempts: true };
    let telemetry = match telemetry::install(
        &cli.options.log,
        cli.options.log_format,
        cli.command.is_none().then_some(program),
    ) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(USAGE, &error),
    };
    if let Err(error) = failpoint::check() {
        return fail(USAGE, &error);
    }
    let config = match Config::try_from(cli.options) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    match cli.command {
        Some(Command::Detect { json }) => detect(&config, json).await,
        Some(Command::Health) => healthy(&config).await,
        None => {
            let code = work(config).await;
            telemetry.shutdown().await;
            code
        }
    }
}

async fn detect(config: &Config, json: bool) -> ExitCode {
    probe::detect(&config.probe_settings(), json).await.unwrap_or_else(|error| fail(NO_FFMPEG, &error))
}

async fn healthy(config: &Config) -> ExitCode {
    match health::check(config.metrics).await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(unhealthy) => fail(BROKEN, &unhealthy),
    }
}

async fn work(config: Config) -> ExitCode {
    let shutdown = Shutdown::default();
    let signals = TaskTracker::new();
    match listen(&shutdown, &signals) {
        Ok(()) => {}
        Err(error) => return fail(BROKEN, &error),
    }
    let worker = tokio::select! {
        worker = Worker::prepare(config) => worker,
        () = shutdown.drain.cancelled() => return ExitCode::SUCCESS,
    };
    let ended = match worker {
        Ok(worker) => worker.run(shutdown).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Unfinished(_)) => ExitCode::from(UNFINISHED),
        Err(error @ Error::Probe(_)) => fail(NO_FFMPEG, &error),
        Err(error @ (Error::State(_) | Error::NoCapacity)) => fail(USAGE, &error),
        Err(error) => fail(BROKEN, &error),
    }
}

/// The first SIGTERM or SIGINT drains, the second stops.
fn listen(shutdown: &Shutdown, tasks: &TaskTracker) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.drain.is_cancelled() {
                shutdown.stop.cancel();
            }
            shutdown.drain.cancel();
        }
    });
    Ok(())
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("ffmpegd: {error}");
    ExitCode::from(code)
}
