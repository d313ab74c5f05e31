//! `ffmpegd detect`: what the probe finds, on standard output.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{Error, Settings, probe, render_table};

/// Probes this machine and prints what was found: as a table, or as one JSON object
/// ([`common::worker::Capabilities`]).
///
/// # Errors
/// As [`probe`].
pub async fn detect(settings: &Settings, json: bool) -> Result<ExitCode, Error> {
    let capabilities = probe(settings).await?;
    let text = if json {
        serde_json::to_string_pretty(&capabilities).expect("capabilities have string keys only") + "\n"
    } else {
        render_table(&capabilities)
    };
    Ok(match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}
