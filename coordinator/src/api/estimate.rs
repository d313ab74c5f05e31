//! How long a job will take, by what this farm did before with such work.

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::{api::JobState, digest::Digest, id::JobId};
use tokio::{sync::Mutex, time::Instant};

use super::problem::Error;
use crate::{
    queue::{Handle, JobFilter},
    store::{JobDetails, JobRecord},
};

/// Jobs that are remembered of each kind of work.
const SAMPLES: usize = 50;
/// Finished jobs that are looked at once more at a time.
const LOOK_BACK: u32 = 500;
/// How old what is remembered may be.
const FRESH: Duration = Duration::from_secs(2);

/// A job that has succeeded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    /// From its start to its end.
    seconds: f64,
    /// Of the input, where it is known.
    bytes: Option<u64>,
}

/// How long, and by what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Estimate {
    pub(super) seconds: Option<f64>,
    pub(super) basis: String,
}

/// What was learned; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Estimates(Arc<Mutex<History>>);

#[derive(Default)]
struct History {
    looked: Option<Instant>,
    newest: Option<JobId>,
    /// By kind of work, the newest last.
    samples: HashMap<String, Vec<Sample>>,
}

impl Estimates {
    /// `bytes`: of the input, where it is known.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn estimate(
        &self,
        queue: &Handle,
        job: &JobDetails,
        bytes: Option<u64>,
    ) -> Result<Estimate, Error> {
        // Held while it is brought up to date: who comes meanwhile wants the same.
        let mut history = self.0.lock().await;
        if history.looked.is_none_or(|looked| looked.elapsed() > FRESH) {
            let filter =
                JobFilter { states: vec![JobState::Succeeded], limit: LOOK_BACK, ..JobFilter::default() };
            history.learn(&queue.records(&filter).await?);
            history.looked = Some(Instant::now());
        }
        let samples = history.samples.get(&work(job)).map_or(&[][..], Vec::as_slice);
        Ok(estimate(samples, bytes))
    }
}

impl History {
    /// `jobs`: newest first.
    fn learn(&mut self, jobs: &[JobRecord]) {
        let seen = self.newest;
        for job in jobs.iter().rev().filter(|job| seen.is_none_or(|seen| job.id > seen)) {
            let (Some(started), Some(finished)) = (job.started_at, job.finished_at) else { continue };
            #[allow(clippy::cast_precision_loss)] // milliseconds
            let seconds = (finished - started).max(0) as f64 / 1000.0;
            let bytes = job.result.input_info.as_ref().and_then(|info| info.size);
            let samples = self.samples.entry(work(&job.request)).or_default();
            if samples.len() == SAMPLES {
                samples.remove(0);
            }
            samples.push(Sample { seconds, bytes });
        }
        self.newest = jobs.first().map(|job| job.id).max(seen);
    }
}

/// Jobs with the same are the same kind of work: a preset by its name, all else by what it says.
fn work(job: &JobDetails) -> String {
    match job.preset.as_str() {
        "custom" | "command" => {
            let spec = serde_json::to_vec(&*job.spec).expect("a spec is JSON");
            format!("{} {}", job.preset, Digest::of(&spec))
        }
        preset => preset.to_owned(),
    }
}

fn estimate(samples: &[Sample], bytes: Option<u64>) -> Estimate {
    let jobs =
        |count: usize| if count == 1 { "the one such job".to_owned() } else { format!("{count} such jobs") };
    #[allow(clippy::cast_precision_loss)] // sizes of files
    let by_size: Vec<f64> = samples
        .iter()
        .filter_map(|sample| {
            sample.bytes.filter(|bytes| *bytes > 0).map(|bytes| sample.seconds / bytes as f64)
        })
        .collect();
    #[allow(clippy::cast_precision_loss)]
    if let (Some(bytes), Some(per_byte)) = (bytes, median(by_size.clone())) {
        return Estimate {
            seconds: Some(rounded(per_byte * bytes as f64)),
            basis: format!("the size of the input, by {} that this farm has done", jobs(by_size.len())),
        };
    }
    match median(samples.iter().map(|sample| sample.seconds).collect()) {
        Some(seconds) => Estimate {
            seconds: Some(rounded(seconds)),
            basis: format!(
                "the median of {} that this farm has done; the size of this input is not known",
                jobs(samples.len())
            ),
        },
        None => Estimate { seconds: None, basis: "not known: this farm has done no such job yet".to_owned() },
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// To tenths: nobody knows it better.
fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).ceil() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: f64, bytes: Option<u64>) -> Sample {
        Sample { seconds, bytes }
    }

    #[test]
    fn what_was_never_done_is_not_guessed() {
        let unknown = estimate(&[], Some(1_000_000));
        assert_eq!(unknown.seconds, None);
        assert!(unknown.basis.contains("no such job yet"), "{unknown:?}");
    }

    #[test]
    fn a_larger_input_takes_longer() {
        let samples = [sample(10.0, Some(1000)), sample(20.0, Some(2000)), sample(300.0, Some(10_000))];
        assert_eq!(estimate(&samples, Some(4000)).seconds, Some(40.0));
        let unknown = estimate(&samples, None);
        assert_eq!(unknown.seconds, Some(20.0));
        assert!(unknown.basis.contains("3 such jobs") && unknown.basis.contains("not known"), "{unknown:?}");
        assert_eq!(estimate(&[sample(5.0, None)], Some(1000)).seconds, Some(5.0));
    }
}
