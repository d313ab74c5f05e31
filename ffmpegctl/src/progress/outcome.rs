//! How an input ended.

use std::{path::PathBuf, time::Duration};

use common::{
    api::{JobState, JobView},
    failure::FailureKind,
    id::JobId,
    worker::Damage,
};
use serde::Serialize;

use crate::{error::Error, exit::Exit, text};

/// Log lines that are shown when ffmpeg crashed.
const LOG_LINES: usize = 12;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    pub input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    pub exit_code: Exit,
    /// Absolute paths, or the addresses that they were delivered to.
    #[serde(serialize_with = "as_text")]
    pub outputs: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Of the input, when there is a result nevertheless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    pub seconds: f64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Trouble {
    /// A failure kind of the farm, when a job failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    pub message: String,
    /// ffmpeg's last lines, when ffmpeg itself did not say what was wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

fn as_text<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

impl Outcome {
    pub(crate) fn new(input: String) -> Self {
        Self {
            input,
            job: None,
            exit_code: Exit::Ok,
            outputs: Vec::new(),
            warnings: Vec::new(),
            damage: None,
            error: None,
            worker: None,
            encoder: None,
            seconds: 0.0,
        }
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.exit_code = error.exit;
        self.error = Some(Trouble { kind: None, message: error.message, log: Vec::new() });
    }

    /// Takes over how the job ended.
    pub(crate) fn conclude(&mut self, job: &JobView) {
        self.job = Some(job.summary.id);
        self.exit_code = Exit::of_job(job);
        self.warnings.clone_from(&job.warnings);
        self.damage = job.damage;
        let last = job.tasks.iter().flat_map(|task| &task.attempts).last();
        self.encoder = last.and_then(|attempt| attempt.encoder.clone());
        self.worker = last
            .map(|attempt| &attempt.worker)
            .or(job.summary.worker.as_ref())
            .map(|worker| worker.name.clone());
        self.error = match (job.summary.state, &job.summary.failure) {
            (JobState::Succeeded, _) => None,
            (_, Some(failure)) => Some(Trouble {
                kind: Some(failure.kind),
                message: text::printable(&failure.message),
                log: Vec::new(),
            }),
            (state, None) => Some(Trouble {
                kind: None,
                message: format!("the job ended as {}", state.as_str()),
                log: Vec::new(),
            }),
        };
    }

    /// Whether ffmpeg's last lines tell more than the failure does.
    pub(crate) fn wants_log(&self) -> bool {
        matches!(
            self.error,
            Some(Trouble { kind: Some(FailureKind::Crashed | FailureKind::OutputWrong), .. })
        )
    }

    pub(crate) fn add_log(&mut self, lines: &[String]) {
        if let Some(trouble) = &mut self.error {
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            trouble.log = tail.iter().map(|line| text::printable(line)).collect();
        }
    }

    /// For people, on stderr: what went wrong, or what was kept from them.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut lines: Vec<_> =
            self.warnings.iter().map(|warning| format!("warning: {}: {warning}", self.input)).collect();
        if let Some(trouble) = &self.error {
            // Failures name the input themselves, as all errors should.
            lines.push(if trouble.message.contains(&self.input) {
                format!("error: {}", trouble.message)
            } else {
                format!("error: {}: {}", self.input, trouble.message)
            });
            if !trouble.log.is_empty() {
                lines.push("ffmpeg's last lines:".to_owned());
                lines.extend(trouble.log.iter().map(|line| format!("  {line}")));
            }
        }
        lines
    }

    /// One line when all went well.
    pub(crate) fn success(&self) -> String {
        let place = match (&self.worker, &self.encoder) {
            (Some(worker), Some(encoder)) => format!(" on {worker} ({encoder})"),
            (Some(worker), None) => format!(" on {worker}"),
            (None, _) => String::new(),
        };
        format!("done in {}{place}", text::span(Duration::from_secs_f64(self.seconds.max(0.0))))
    }

    /// One word for the table of several inputs.
    pub(crate) fn word(&self) -> &'static str {
        match self.exit_code {
            Exit::Ok => "done",
            Exit::Failed => "failed",
            Exit::Invalid => "invalid input",
            Exit::Unreachable => "unreachable",
            Exit::Unwritable => "cannot write",
            Exit::Interrupted => "interrupted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_input_once() {
        let mut outcome = Outcome::new("a.mp4".to_owned());
        outcome.fail(Error::failed("a.mp4 holds no video"));
        assert_eq!(outcome.words(), ["error: a.mp4 holds no video"]);
        outcome.fail(Error::failed("no worker has libx264"));
        assert_eq!(outcome.words(), ["error: a.mp4: no worker has libx264"]);
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let mut outcome = Outcome::new("a".to_owned());
        outcome.fail(Error::failed("a crashed"));
        let lines: Vec<_> = (0..100).map(|line| line.to_string()).collect();
        outcome.add_log(&lines);
        assert_eq!(outcome.words().len(), 2 + LOG_LINES);
        assert_eq!(outcome.words().last().map(String::as_str), Some("  99"));
    }
}
