//! The figures of a run.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::json;

use super::Plan;

/// What came out. No violation: everything that was promised was kept.
#[derive(Debug)]
pub struct Report {
    pub plan: Plan,
    /// Jobs that a client heard a 2xx for.
    pub accepted: usize,
    /// Jobs in the books: those, and those whose 2xx got lost on the way.
    pub jobs: usize,
    pub per_state: BTreeMap<String, usize>,
    pub attempts: usize,
    /// Attempts that did not succeed, by kind of failure.
    pub failures: BTreeMap<String, usize>,
    pub faults: BTreeMap<String, usize>,
    /// Dead letters that were queued again: under fire, and at the end.
    pub redriven: (usize, usize),
    /// What the clients met.
    pub counts: BTreeMap<&'static str, u64>,
    /// From a worker's fault until another attempt of what it had was assigned: retries' pauses, and waiting for a
    /// redrive, included.
    pub longest_to_rerun: Option<Duration>,
    pub median_to_rerun: Option<Duration>,
    /// Files that were decoded from the first frame to the last.
    pub decoded: usize,
    /// From the last fault's end until all jobs had ended.
    pub settling: Duration,
    pub took: Duration,
    pub violations: Vec<String>,
}

impl Report {
    #[must_use]
    pub fn to_json(&self) -> String {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let value = json!({
            "seed": self.plan.seed,
            "workers": self.plan.workers,
            "seconds_of_faults": self.plan.seconds,
            "seconds": self.took.as_secs_f64(),
            "accepted": self.accepted,
            "jobs": self.jobs,
            "per_state": self.per_state,
            "attempts": self.attempts,
            "failed_attempts_by_kind": self.failures,
            "faults": self.faults,
            "redriven_under_fire": self.redriven.0,
            "redriven_at_the_end": self.redriven.1,
            "clients": self.counts,
            "longest_seconds_to_rerun": seconds(self.longest_to_rerun),
            "median_seconds_to_rerun": seconds(self.median_to_rerun),
            "decoded_files": self.decoded,
            "seconds_to_settle": self.settling.as_secs_f64(),
            "violations": self.violations,
        });
        serde_json::to_string_pretty(&value).unwrap()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Option<Duration>| {
            time.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
        };
        let total: usize = self.faults.values().sum();
        writeln!(f, "soak: seed {}, {:.0} s in all", self.plan.seed, self.took.as_secs_f64())?;
        writeln!(f, "  accepted          {} ({} in the books)", self.accepted, self.jobs)?;
        writeln!(f, "  ended             {}", list(&self.per_state))?;
        writeln!(f, "  attempts          {} (failed: {})", self.attempts, list(&self.failures))?;
        writeln!(f, "  faults            {total} ({})", list(&self.faults))?;
        writeln!(f, "  redriven          {} under fire, {} at the end", self.redriven.0, self.redriven.1)?;
        writeln!(f, "  clients met       {}", list(&self.counts))?;
        writeln!(
            f,
            "  fault to re-run   {} at most, {} in the middle (pauses and redrives included)",
            seconds(self.longest_to_rerun),
            seconds(self.median_to_rerun)
        )?;
        writeln!(f, "  decoded           {} files", self.decoded)?;
        writeln!(f, "  settled           {:.1} s after the last fault", self.settling.as_secs_f64())?;
        if self.violations.is_empty() {
            return write!(f, "  nothing lost, nothing published twice, nothing left over");
        }
        write!(f, "  VIOLATIONS        {}", self.violations.len())?;
        for violation in &self.violations {
            write!(f, "\n    {violation}")?;
        }
        Ok(())
    }
}

fn list<K: fmt::Display, V: fmt::Display>(counts: &BTreeMap<K, V>) -> String {
    let words: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
