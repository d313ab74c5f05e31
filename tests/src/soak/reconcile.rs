//! Everything against everything, once all is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use super::{Course, Ledger, faults::Done, load::BROKEN, report::Report};
use crate::{
    Farm,
    books::{AttemptRow, Books, JobRow},
    media,
};

/// Lines at ERROR that faults of this kind bring about.
const EXPECTED_ERRORS: [&str; 3] = [
    "the job store cannot be written",
    "no space left for objects",
    "uploads and results wait until there is room",
];

pub(super) async fn reconcile(mut farm: Farm, ledger: &Ledger, course: Course) -> Report {
    for line in EXPECTED_ERRORS {
        farm.expect_error(line);
    }
    let mut violations = ledger.wrong.lock().unwrap().clone();
    let (books, wrong) = farm.settled_books().await;
    violations.extend(wrong);
    violations.extend(promises(&books, ledger));
    println!("soak: decoding what was published");
    let decoded = decode(&books, &mut violations);
    if !violations.is_empty() {
        farm.fail();
    }
    violations.extend(farm.end().await);

    let failures = books.attempts.iter().filter(|attempt| attempt.state != "succeeded");
    let mut times = times_to_rerun(&books.attempts, &course.faults);
    times.sort_unstable();
    Report {
        plan: course.plan,
        accepted: ledger.accepted.lock().unwrap().len(),
        jobs: books.jobs.len(),
        per_state: books.per_state().into_iter().map(|(state, count)| (state.to_owned(), count)).collect(),
        attempts: books.attempts.len(),
        failures: count(
            failures.map(|attempt| attempt.failure.clone().unwrap_or_else(|| attempt.state.clone())),
        ),
        faults: count(course.faults.iter().map(|done| format!("{:?}", done.fault))),
        redriven: (ledger.redriven.lock().unwrap().len(), ledger.redriven_at_the_end.lock().unwrap().len()),
        counts: ledger.counts.lock().unwrap().clone(),
        longest_to_rerun: times.last().copied(),
        median_to_rerun: times.get(times.len() / 2).copied(),
        decoded,
        settling: course.settling,
        took: course.took,
        violations,
    }
}

/// Every accepted job has the end that it had to have.
fn promises(books: &Books, ledger: &Ledger) -> Vec<String> {
    let accepted = ledger.accepted.lock().unwrap();
    let cancelled = ledger.cancelled.lock().unwrap();
    let maybe = ledger.maybe_cancelled.lock().unwrap();
    let jobs: BTreeMap<&str, &JobRow> = books.jobs.iter().map(|job| (job.id.as_str(), job)).collect();
    let mut found = Vec::new();
    for (id, wanted) in accepted.iter() {
        let Some(job) = jobs.get(id.to_string().as_str()) else {
            found.push(format!("job {id} was accepted and is not in the books"));
            continue;
        };
        let (clip, preset) = (wanted.clip, wanted.preset);
        let kind = job.failure.as_deref().unwrap_or("nothing");
        let good = match job.state.as_str() {
            "succeeded" => clip != BROKEN && !cancelled.contains(id),
            "cancelled" => cancelled.contains(id) || maybe.contains(id),
            "failed" => clip == BROKEN && kind == "invalid_input" && !cancelled.contains(id),
            _ => false,
        };
        if !good {
            found.push(format!("job {id} ({clip} with {preset}) ended as {} ({kind})", job.state));
        }
    }
    // Jobs whose 2xx nobody heard are in nobody's ledger: that they ended is in the books' own checks.
    found
}

/// Decodes every published file, and every playlist with its segments; each content once.
fn decode(books: &Books, violations: &mut Vec<String>) -> usize {
    let mut seen = BTreeSet::new();
    let mut decoded = 0;
    let paths: BTreeMap<&str, &Path> =
        books.objects.iter().map(|object| (object.key.as_str(), object.path.as_path())).collect();
    for task in &books.tasks {
        let (Some(epoch), Some(job)) =
            (task.published, books.jobs.iter().find(|job| job.id == task.job && job.state == "succeeded"))
        else {
            continue;
        };
        let playlists = job.outputs.iter().any(|output| is(&output.path, "m3u8"));
        let contents: Vec<_> = job.outputs.iter().map(|output| (&output.path, &output.sha256)).collect();
        for output in &job.outputs {
            let media =
                ["mp4", "mov", "m4a", "jpg", "png", "webp", "mkv"].iter().any(|end| is(&output.path, end));
            // Segments are decoded through their playlist.
            let wanted = if playlists { is(&output.path, "m3u8") } else { media };
            let key = format!("jobs/{}/{}/{epoch}/{}", job.id, task.id, output.path);
            let Some(path) = paths.get(key.as_str()).filter(|_| wanted) else { continue };
            // Without a digest nothing is known to be alike.
            let known = !output.sha256.is_empty();
            let content =
                if playlists { format!("{contents:?}{}", output.path) } else { output.sha256.clone() };
            if known && !seen.insert(content) {
                continue;
            }
            decoded += 1;
            let errors = media::decode_errors(path);
            if !errors.is_empty() {
                violations
                    .push(format!("{key} does not decode: {}", errors.lines().next().unwrap_or_default()));
            }
        }
    }
    decoded
}

fn is(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == extension)
}

/// From a fault that hit a worker to the next attempt of each task that it had then.
fn times_to_rerun(attempts: &[AttemptRow], faults: &[Done]) -> Vec<Duration> {
    let hits = faults.iter().filter_map(|done| Some((done.worker.as_deref()?, done.at.as_millisecond())));
    let hits: Vec<_> = hits.collect();
    let mut times = Vec::new();
    for pair in attempts.windows(2) {
        let [lost, next] = pair else { continue };
        let had = lost.failure.as_deref() == Some("worker_lost") && lost.task == next.task;
        let mut hit = hits.iter().filter(|(worker, at)| {
            *worker == lost.worker && (lost.assigned_at..=next.assigned_at).contains(at)
        });
        // The last one before the end is what ended it.
        let end = lost.finished_at.unwrap_or(next.assigned_at);
        if let Some((_, at)) = hit.rfind(|(_, at)| *at <= end).filter(|_| had) {
            times.push(Duration::from_millis(u64::try_from(next.assigned_at - at).unwrap_or_default()));
        }
    }
    times
}

fn count(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::soak::faults::Fault;

    fn attempt(
        epoch: i64,
        worker: &str,
        assigned_at: i64,
        finished_at: i64,
        failure: Option<&str>,
    ) -> AttemptRow {
        AttemptRow {
            task: "t".into(),
            epoch,
            job: "j".into(),
            state: String::new(),
            worker: worker.into(),
            assigned_at,
            finished_at: Some(finished_at),
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn the_time_to_the_rerun_counts_from_the_fault_that_ended_the_attempt() {
        let attempts = [
            attempt(1, "a", 1_000, 9_000, Some("worker_lost")),
            attempt(2, "b", 9_500, 20_000, Some("crashed")),
            attempt(3, "a", 21_000, 22_000, None),
        ];
        let at = |worker: &str, at| Done {
            fault: Fault::KillWorker,
            worker: Some(worker.to_owned()),
            at: Timestamp::from_millisecond(at).unwrap(),
        };
        let faults = [at("a", 500), at("a", 2_000), at("a", 4_500), at("b", 10_000), at("a", 9_200)];
        assert_eq!(times_to_rerun(&attempts, &faults), [Duration::from_secs(5)]);
    }
}
