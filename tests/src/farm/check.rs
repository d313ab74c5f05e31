//! What a farm has to look like at its end.

use std::{fs, sync::Mutex, time::Duration};

use rustix::process::Signal;

use super::{Farm, SHUTDOWN};
use crate::{
    books::Books,
    daemon::exit_code,
    system,
    wait::{self, seconds},
};

/// Objects of attempts that lost are removed in the background.
const SWEPT: Duration = seconds(15);

impl Farm {
    /// Shuts everything down as an operator would and asserts that nothing is left.
    ///
    /// # Panics
    /// A daemon did not end well, or a process, a temporary file or an unexpected log line at ERROR is left.
    pub async fn stop(mut self) {
        self.no_ffmpeg().await;
        for worker in &self.workers {
            worker.signal(Signal::TERM);
        }
        for worker in &mut self.workers {
            let status = worker.exited(SHUTDOWN).await;
            assert_eq!(exit_code(status), 0, "exit code of worker {}", worker.name);
        }
        if self.coordinator.is_some() {
            self.stop_coordinator(true).await;
        }
        assert!(self.processes().is_empty(), "processes are left: {:?}", self.processes());
        let mut left = system::files(&self.path().join("tmp"));
        for worker in fs::read_dir(self.path().join("scratch")).unwrap().flatten() {
            if !self.killed.iter().any(|name| worker.file_name() == name.as_str()) {
                left.extend(system::files(&worker.path()));
            }
        }
        assert!(left.is_empty(), "temporary files are left: {left:?}");
        let errors = self.unexpected_errors();
        assert!(errors.is_empty(), "nobody asked for these log lines:\n{}", errors.join("\n"));
        self.stopped = true;
    }

    /// Waits until every job has ended and what lost is swept, then asserts that the coordinator's books are in order:
    /// tables against each other, objects against tables.
    ///
    /// # Panics
    /// They are not.
    pub async fn books_in_order(&self) -> Books {
        let last = Mutex::new(Vec::new());
        let in_order = wait::try_until(SWEPT, || async {
            let books = Books::read(&self.data()).await;
            let wrong = [books.contradictions(), books.leftovers()].concat();
            let fine = wrong.is_empty();
            *last.lock().unwrap() = wrong;
            fine.then_some(books)
        })
        .await;
        in_order.unwrap_or_else(|| {
            panic!("the books are not in order:\n{}", last.into_inner().unwrap().join("\n"))
        })
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
                let bad = line.split_whitespace().nth(1) == Some("ERROR") || line.contains("panicked at");
                if bad && !self.expected_errors.iter().any(|expected| line.contains(expected)) {
                    found.push(format!("{name}: {line}"));
                }
            }
        }
        found
    }
}
