//! A peer's client program: one JSON request per line to it, one answer per line back.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::START_LIMIT;
use crate::process::{self, Running};

/// The longest request is the submission of a few thousand tasks.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    program: Running,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// When something was submitted, CLOCK_MONOTONIC in nanoseconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Submitted {
    /// Just before the first submission.
    pub(crate) before_ns: u64,
    /// The last submission has returned.
    pub(crate) after_ns: u64,
    /// How long each took.
    #[serde(default)]
    pub(crate) latencies_ns: Vec<u64>,
}

impl Client {
    /// Starts the program and waits until it is connected.
    pub(crate) async fn start(name: &str, folder: &Path, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = process::start_piped(name, folder, command)?;
        let requests = program.child().stdin.take().context("stdin is a pipe")?;
        let stdout = program.child().stdout.take().context("stdout is a pipe")?;
        let answers = BufReader::new(stdout).lines();
        let mut client = Self { name: name.to_owned(), program, requests, answers };
        match client.line(START_LIMIT).await?.as_str() {
            "ready" => Ok(client),
            other => bail!("{name} said {other:?} where \"ready\" was expected"),
        }
    }

    /// Asks for one command to be started by the worker.
    pub(crate) async fn submit_start(&mut self, argv: &[String]) -> Result<Submitted> {
        self.ask(&json!({ "op": "start", "argv": argv })).await
    }

    /// Submits `count` tasks that do nothing, one after the other.
    pub(crate) async fn submit_empty(&mut self, count: usize) -> Result<Submitted> {
        self.ask(&json!({ "op": "empty", "count": count })).await
    }

    /// Submits `count` jobs that do nothing, `clients` at once, to a queue that is paused meanwhile.
    pub(crate) async fn submit_filled(&mut self, count: usize, clients: usize) -> Result<Submitted> {
        self.ask(&json!({ "op": "fill", "count": count, "clients": clients })).await
    }

    /// Lets workers take jobs again.
    pub(crate) async fn resume(&mut self) -> Result<Submitted> {
        self.ask(&json!({ "op": "resume" })).await
    }

    async fn ask(&mut self, request: &serde_json::Value) -> Result<Submitted> {
        self.requests.write_all(format!("{request}\n").as_bytes()).await?;
        let answer = self.line(ANSWER_LIMIT).await?;
        serde_json::from_str(&answer).with_context(|| format!("{} answered {answer:?}", self.name))
    }

    async fn line(&mut self, limit: Duration) -> Result<String> {
        match timeout(limit, self.answers.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => bail!("{} ended:\n{}", self.name, self.program.log_tail()),
            Ok(Err(error)) => Err(error).with_context(|| format!("reading from {}", self.name)),
            Err(_) => bail!("{} said nothing within {limit:?}:\n{}", self.name, self.program.log_tail()),
        }
    }

    pub(crate) async fn stop(self) {
        drop(self.requests);
        self.program.stop().await;
    }
}
