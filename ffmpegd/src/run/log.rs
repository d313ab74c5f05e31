//! What ffmpeg wrote: the last lines for the end, and the new ones for the next heartbeat.

use std::collections::VecDeque;

use super::damage::Tally;

/// For the end of an attempt, in bytes; the contract's limit.
const TAIL_BYTES: usize = 16 * 1024;
/// Between two heartbeats, in bytes; the contract's limit.
const FRESH_BYTES: usize = 8 * 1024;

/// Both are bounded: of too many lines the oldest go.
#[derive(Debug)]
pub(crate) struct Log {
    tail: Bounded,
    fresh: Bounded,
    /// What people know by another name: the proxy's address, the scratch folder.
    names: Vec<(String, String)>,
    /// While ffmpeg runs.
    tally: Option<Tally>,
}

#[derive(Debug)]
struct Bounded {
    lines: VecDeque<String>,
    bytes: usize,
    limit: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            tail: Bounded::new(TAIL_BYTES),
            fresh: Bounded::new(FRESH_BYTES),
            names: Vec::new(),
            tally: None,
        }
    }
}

impl Log {
    /// From now on `name` is written as `shown`.
    pub(crate) fn rename(&mut self, name: impl Into<String>, shown: impl Into<String>) {
        self.names.push((name.into(), shown.into()));
    }

    /// From now on every line is counted.
    pub(super) fn start_tally(&mut self) {
        self.tally = Some(Tally::default());
    }

    /// What was counted; nothing is from now on.
    pub(super) fn take_tally(&mut self) -> Tally {
        self.tally.take().unwrap_or_default()
    }

    /// What was written so far says nothing about what comes.
    pub(super) fn begin_again(&mut self) {
        self.tail = Bounded::new(TAIL_BYTES);
    }

    pub(crate) fn push(&mut self, line: &str) {
        let mut line = line.to_owned();
        for (name, shown) in &self.names {
            if line.contains(name.as_str()) {
                line = line.replace(name.as_str(), shown);
            }
        }
        if let Some(tally) = &mut self.tally {
            tally.line(&line);
        }
        self.tail.push(line.clone());
        self.fresh.push(line);
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.lines.iter().cloned().collect()
    }

    /// The lines since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<String> {
        self.fresh.bytes = 0;
        self.fresh.lines.drain(..).collect()
    }
}

impl Bounded {
    const fn new(limit: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, limit }
    }

    fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > self.limit {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len() + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_stay_within_the_limit() {
        let mut log = Log::default();
        for number in 0..5000 {
            log.push(&format!("line {number}"));
        }
        let tail = log.tail();
        assert_eq!(tail.last().unwrap(), "line 4999");
        assert!(tail.iter().map(|line| line.len() + 1).sum::<usize>() <= TAIL_BYTES);
        assert!(log.take_fresh().iter().map(|line| line.len() + 1).sum::<usize>() <= FRESH_BYTES);
        assert!(log.take_fresh().is_empty());
    }

    #[test]
    fn what_is_no_longer_kept_is_still_counted() {
        let mut log = Log::default();
        log.push("[h264 @ 0x1] [error] of the probe");
        log.start_tally();
        for number in 0..5000 {
            log.push(&format!("[h264 @ 0x1] [error] error while decoding MB {number} 13"));
        }
        assert!(log.tail().len() < 1000);
        let complaints = log.take_tally().complaints();
        assert_eq!(complaints.errors, 5000);
        assert_eq!(complaints.first.as_deref(), Some("error while decoding MB 0 13"));
    }

    #[test]
    fn people_see_the_names_that_they_know() {
        let mut log = Log::default();
        log.rename("http://127.0.0.1:4711/token/input.mp4", "clip.mp4");
        log.push("[error] http://127.0.0.1:4711/token/input.mp4: Invalid data");
        assert_eq!(log.tail(), ["[error] clip.mp4: Invalid data"]);
    }
}
