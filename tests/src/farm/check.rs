//! What a farm has to look like at its end.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Farm, SHUTDOWN};
use crate::{
    books::Books,
    daemon::exit_code,
    system,
    wait::{self, seconds},
};

/// Objects of attempts that lost are removed in the background.
const SWEPT: Duration = seconds(60);
const LOOK: Duration = Duration::from_millis(50);

impl Farm {
    /// Shuts everything down as an operator would and asserts that nothing is left.
    ///
    /// # Panics
    /// A daemon did not end well, or a process, a temporary file or an unexpected log line at ERROR is left.
    pub async fn stop(self) {
        let wrong = self.end().await;
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Something is wrong already: the folder and the logs are wanted, however well the farm ends.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// Shuts everything down as an operator would, and tells what is wrong then. A farm that is to be
    /// [kept](super::FarmBuilder::keep_folder) leaves its folder if anything is.
    pub(crate) async fn end(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let gone = wait::try_until(seconds(10), || async { self.ffmpegs().is_empty().then_some(()) }).await;
        if gone.is_none() {
            wrong.push(format!("ffmpeg still runs: {:?}", self.ffmpegs()));
        }
        for worker in &self.workers {
            worker.signal(Signal::TERM);
        }
        for worker in &mut self.workers {
            let code = exit_code(worker.exited(SHUTDOWN).await);
            if code != 0 {
                wrong.push(format!("worker {} ended with exit code {code}", worker.name));
            }
        }
        if self.coordinator.is_some() {
            self.stop_coordinator(true).await;
        }
        let left = self.processes();
        if !left.is_empty() {
            wrong.push(format!("processes are left: {left:?}"));
        }
        let mut files = system::files(&self.path().join("tmp"));
        for worker in fs::read_dir(self.path().join("scratch")).unwrap().flatten() {
            if !self.killed.iter().any(|name| worker.file_name() == name.as_str()) {
                files.extend(system::files(&worker.path()));
            }
        }
        if !files.is_empty() {
            wrong.push(format!("temporary files are left: {files:?}"));
        }
        let errors = self.unexpected_errors();
        if !errors.is_empty() {
            wrong.push(format!("nobody asked for these log lines:\n{}", errors.join("\n")));
        }
        self.stopped = wrong.is_empty() && !self.failed;
        self.told = true;
        wrong
    }

    /// Waits until every job has ended and what lost is swept, then asserts that the coordinator's books are in order:
    /// tables against each other, objects against tables.
    ///
    /// # Panics
    /// They are not.
    pub async fn books_in_order(&self) -> Books {
        let (books, wrong) = self.settled_books().await;
        assert!(wrong.is_empty(), "the books are not in order:\n{}", wrong.join("\n"));
        books
    }

    /// The books once they are in order, or after a while as they are, with what is wrong.
    pub(crate) async fn settled_books(&self) -> (Books, Vec<String>) {
        let end = Instant::now() + SWEPT;
        loop {
            let books = Books::read(&self.data()).await;
            let wrong = [books.contradictions(), books.leftovers()].concat();
            if wrong.is_empty() || Instant::now() >= end {
                return (books, wrong);
            }
            wait::pause(LOOK).await;
        }
    }

    pub(crate) fn logs(&self) -> Vec<(String, String)> {
        let folder = self.path().join("logs");
        let files = system::files(&folder).into_iter();
        files
            .map(|file| {
                let text = fs::read(folder.join(&file)).unwrap_or_default();
                (file.display().to_string(), String::from_utf8_lossy(&text).into_owned())
            })
            .collect()
    }

    /// Log lines at ERROR that nobody asked for.
    #[must_use]
    pub fn unexpected_errors(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, text) in self.logs() {
            for line in text.lines() {
                let at_error =
                    line.split_whitespace().nth(1) == Some("ERROR") || line.contains("\"level\":\"ERROR\"");
                let bad = at_error || line.contains("panicked at");
                if bad && !self.expected_errors.iter().any(|expected| line.contains(expected)) {
                    found.push(format!("{name}: {line}"));
                }
            }
        }
        found
    }
}
