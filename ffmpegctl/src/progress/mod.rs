//! What people and programs see while jobs run: bars on a terminal, lines elsewhere, JSON on request.

mod bars;
mod gate;
mod outcome;
mod stage;

use std::{
    io::IsTerminal,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use common::id::JobId;
use serde::Serialize;

use self::{bars::Bars, gate::Gate};
pub(crate) use self::{outcome::Outcome, stage::Stage};
use crate::{console, error::Error, exit::Exit};

/// Between two plain lines about the same input when nothing but figures changed.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between two JSON objects about the same input when nothing but figures changed.
const JSON_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Bars,
    Lines,
    Json,
    Quiet,
}

impl Style {
    /// Bars where a person sees them move and no log lines run through them.
    pub(crate) fn choose(json: bool, quiet: bool, verbose: bool) -> Self {
        if json {
            Self::Json
        } else if quiet {
            Self::Quiet
        } else if verbose
            || !std::io::stderr().is_terminal()
            || std::env::var("TERM").is_ok_and(|it| it == "dumb")
        {
            Self::Lines
        } else {
            Self::Bars
        }
    }
}

/// Tells how far several inputs are. Inputs are called by their place in the list that it was made with.
#[derive(Debug)]
pub(crate) struct Reporter {
    /// The inputs as the user wrote them.
    names: Vec<String>,
    /// The same without folders.
    short_names: Vec<String>,
    style: Style,
    bars: Option<Bars>,
    gates: Mutex<Vec<Gate>>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Progress {
        input: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        job: Option<JobId>,
        #[serde(flatten)]
        stage: &'a Stage,
    },
    Note {
        message: &'a str,
    },
    Finished(&'a Outcome),
    Result {
        exit_code: Exit,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
        inputs: &'a [Outcome],
    },
}

impl Reporter {
    pub(crate) fn new(style: Style, names: Vec<String>, short_names: Vec<String>) -> Self {
        let every = if style == Style::Json { JSON_EVERY } else { LINE_EVERY };
        let gates = names.iter().map(|_| Gate::new(every)).collect();
        let bars = (style == Style::Bars).then(|| Bars::new(&short_names));
        Self { names, short_names, style, bars, gates: Mutex::new(gates) }
    }

    /// Something that concerns no single input.
    pub(crate) fn note(&self, message: &str) {
        match (&self.bars, self.style) {
            (Some(bars), _) => bars.above(|| console::say(message)),
            (None, Style::Json) => Self::json(&Line::Note { message }),
            (None, Style::Lines) => console::say(message),
            (None, Style::Bars | Style::Quiet) => {}
        }
    }

    /// Something about an input that is no progress.
    pub(crate) fn note_on(&self, index: usize, message: &str) {
        self.note(&format!("{}: {message}", self.short_names[index]));
    }

    pub(crate) fn stage(&self, index: usize, job: Option<JobId>, stage: &Stage) {
        if let Some(bars) = &self.bars {
            bars.stage(index, stage);
            return;
        }
        if self.style == Style::Quiet || !self.passes(index, stage) {
            return;
        }
        if self.style == Style::Json {
            Self::json(&Line::Progress { input: &self.names[index], job, stage });
        } else {
            let percent =
                stage.fraction().map(|it| format!("{:.0}% ", (it * 100.0).floor())).unwrap_or_default();
            console::say(&format!("{}: {percent}{}", self.short_names[index], stage.words()));
        }
    }

    fn passes(&self, index: usize, stage: &Stage) -> bool {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let moves = !matches!(stage, Stage::Queued { .. } | Stage::Cancelling);
        gates[index].passes(&stage.milestone(), moves, Instant::now())
    }

    /// The input is over: what went wrong, or where the results are. `entries` are the results that a person opens.
    pub(crate) fn finished(&self, index: usize, outcome: &Outcome, entries: &[PathBuf]) {
        let tell = || {
            if self.style == Style::Json {
                Self::json(&Line::Finished(outcome));
            } else if matches!(self.style, Style::Bars | Style::Lines) && outcome.exit_code == Exit::Ok {
                console::say(&format!("{}: {}", self.short_names[index], outcome.success()));
            }
            for line in outcome.words() {
                console::say(&line);
            }
            if self.style != Style::Json {
                for path in entries {
                    complain_unless_closed(console::print_path(path));
                }
            }
        };
        match &self.bars {
            Some(bars) => bars.finished(index, tell),
            None => tell(),
        }
    }

    /// Everything is over.
    pub(crate) fn result(&self, exit: Exit, outcomes: &[Outcome]) {
        self.clear();
        match self.style {
            Style::Json => Self::json(&Line::Result { exit_code: exit, error: None, inputs: outcomes }),
            Style::Bars | Style::Lines | Style::Quiet if outcomes.len() > 1 && exit != Exit::Ok => {
                console::say(&summary(outcomes));
            }
            Style::Bars | Style::Lines | Style::Quiet => {}
        }
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            bars.clear();
        }
    }

    fn json(line: &Line<'_>) {
        complain_unless_closed(console::print_json_line(line));
    }
}

/// The result object of a run that ended before any input was begun.
pub(crate) fn json_error(error: &Error) {
    let line = Line::Result { exit_code: error.exit, error: Some(&error.message), inputs: &[] };
    complain_unless_closed(console::print_json_line(&line));
}

/// That nobody reads the results any more is no reason not to make them.
fn complain_unless_closed(written: Result<(), Error>) {
    if let Err(error) = written
        && !error.message.is_empty()
    {
        console::complain(&error.message);
    }
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut table = crate::commands::table(&["INPUT", "RESULT", "TIME"]);
    for outcome in outcomes {
        let time = crate::text::span(Duration::from_secs_f64(outcome.seconds.max(0.0)));
        table.add_row([&outcome.input, outcome.word(), &time]);
    }
    let done = outcomes.iter().filter(|outcome| outcome.exit_code == Exit::Ok).count();
    format!("\n{}\n{done} of {} done", table.trim_fmt(), outcomes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_object_holds_the_exit_code_and_every_input() {
        let outcome = Outcome::new("a.mp4".to_owned());
        let line = Line::Result { exit_code: Exit::Invalid, error: None, inputs: &[outcome] };
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["event"], "result");
        assert_eq!(json["exit_code"], 2);
        assert_eq!(json["inputs"][0]["input"], "a.mp4");
    }

    #[test]
    fn the_summary_tells_how_each_input_ended() {
        let mut bad = Outcome::new("bad.mp4".to_owned());
        bad.fail(Error::invalid("no media"));
        let text = summary(&[Outcome::new("good.mp4".to_owned()), bad]);
        assert!(text.contains("invalid input") && text.ends_with("1 of 2 done"), "{text}");
    }
}
