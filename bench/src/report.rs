//! The results, as a table for people and as JSON for programs.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    bucket, encode, failover, input, latency, live, memory, owners, pages, queue, scrape, stats::Spread,
    throughput, uploading,
};

/// Farm over plain ffmpeg, wall clock: at most.
const ENCODE_RATIO: f64 = 1.03;
/// An upload that is encoded meanwhile, over the longer of upload and encode: at most.
const FOLLOWING_RATIO: f64 = 1.15;
/// Farm over Celery, jobs per second: at least.
const THROUGHPUT_RATIO: f64 = 4.0;
/// Durable submissions per second from many clients: at least.
const SUBMITS: f64 = 5_000.0;
/// Resident bytes of the coordinator for each job that waits: below.
const QUEUED_BYTES: f64 = 1024.0;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) measured_at: Timestamp,
    pub(crate) machine: Machine,
    #[serde(flatten)]
    pub(crate) results: Results,
    /// One for each target.
    pub(crate) verdicts: Vec<Verdict>,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encode: Option<encode::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<latency::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throughput: Option<throughput::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failover: Option<failover::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<queue::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owners: Option<owners::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<memory::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scrape: Option<scrape::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uploading: Option<uploading::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pages: Option<pages::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<live::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<input::Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bucket: Option<bucket::Measured>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Of the folder with the farm's data: figures from tmpfs would say nothing about fsync.
    pub(crate) file_system: String,
    pub(crate) ffmpeg: String,
    pub(crate) redis: String,
    /// 1, 5 and 15 minutes, before anything was started.
    pub(crate) load_average: String,
}

/// A target, what was measured, and whether it was met.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) farm: String,
    pub(crate) other: String,
    pub(crate) target: String,
    pub(crate) met: bool,
}

impl Machine {
    pub(crate) fn look(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        Self {
            cpu: cpu.trim_start_matches(['\t', ' ', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            kernel: read("/proc/sys/kernel/osrelease"),
            file_system: first_line(Command::new("stat").args(["-f", "-c", "%T"]).arg(folder)),
            ffmpeg: first_line(Command::new("ffmpeg").arg("-version")),
            redis: first_line(Command::new("redis-server").arg("--version")),
            load_average: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
}

impl Results {
    /// What the targets say.
    #[must_use]
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        verdicts.extend(self.encode.iter().map(encode_verdict));
        verdicts.extend(self.uploading.iter().map(uploading_verdict));
        verdicts.extend(self.latency.iter().flat_map(latency_verdicts));
        verdicts.extend(self.throughput.iter().flat_map(throughput_verdicts));
        verdicts.extend(self.queue.iter().flat_map(queue_verdicts));
        verdicts.extend(self.owners.iter().map(owners::verdict));
        verdicts.extend(self.memory.iter().flat_map(memory_verdicts));
        verdicts.extend(self.pages.iter().map(pages::verdict));
        verdicts.extend(self.scrape.iter().map(scrape::verdict));
        verdicts.extend(self.live.iter().flat_map(live::verdicts));
        verdicts.extend(self.input.iter().flat_map(input::verdicts));
        verdicts.extend(self.bucket.iter().map(bucket::verdict));
        verdicts
    }
}

fn encode_verdict(encode: &encode::Measured) -> Verdict {
    let wall = &encode.wall_seconds;
    Verdict {
        what: format!("encode wall time over ffmpeg ({})", encode.preset),
        farm: format!("{:.2} s", wall.median_ours),
        other: format!("{:.2} s", wall.median_theirs),
        target: format!("ratio {:.4}, at most {ENCODE_RATIO}", wall.median_ratio),
        met: wall.median_ratio <= ENCODE_RATIO && encode.same_output,
    }
}

fn uploading_verdict(uploading: &uploading::Measured) -> Verdict {
    let ratio = uploading.following_ratio;
    Verdict {
        what: format!("upload and encode over the longer of both ({})", uploading.preset),
        farm: format!("{ratio:.3}"),
        other: format!("{:.3} one after the other", uploading.uploading_first_ratio),
        target: format!("at most {FOLLOWING_RATIO}"),
        met: ratio <= FOLLOWING_RATIO,
    }
}

fn latency_verdicts(latency: &latency::Measured) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (name, peer) in [("Celery", &latency.celery), ("BullMQ", &latency.bullmq)] {
        for (rank, ours, theirs) in [("p50", latency.farm.p50, peer.p50), ("p99", latency.farm.p99, peer.p99)]
        {
            verdicts.push(Verdict {
                what: format!("submit to process start, {rank}, beside {name}"),
                farm: format!("{ours:.2} ms"),
                other: format!("{theirs:.2} ms"),
                target: format!("ratio {:.2}, below 1", ours / theirs),
                met: ours < theirs,
            });
        }
    }
    verdicts
}

fn throughput_verdicts(throughput: &throughput::Measured) -> [Verdict; 2] {
    let rate = &throughput.jobs_per_second;
    let durability = &throughput.durability;
    let (waited, all) = (durability.waited_for_fsync, durability.submitted_alone);
    [
        Verdict {
            what: "jobs per second beside Celery".to_owned(),
            farm: format!("{:.0}/s", rate.median_ours),
            other: format!("{:.0}/s", rate.median_theirs),
            target: format!("ratio {:.2}, at least {THROUGHPUT_RATIO}", rate.median_ratio),
            met: rate.median_ratio >= THROUGHPUT_RATIO,
        },
        Verdict {
            what: "accepted jobs on disk; found after kill -9".to_owned(),
            farm: format!(
                "{waited} of {all} waited for fsync; all found: {}",
                throughput.all_found_after_kill
            ),
            other: format!("fsync {:.2} ms", durability.disk_fsync_milliseconds),
            target: "every one".to_owned(),
            met: waited == all && throughput.all_found_after_kill && durability.failed_fsyncs == 0,
        },
    ]
}

fn queue_verdicts(queue: &queue::Measured) -> Vec<Verdict> {
    let submit = &queue.submit;
    let mut verdicts = vec![Verdict {
        what: format!("durable submissions per second, {} clients", queue.clients),
        farm: format!("{:.0}/s", submit.farm_median),
        other: format!(
            "BullMQ (memory) {:.0}/s, PostgreSQL {:.0}/s",
            submit.over_bullmq.median_theirs, submit.over_postgres.median_theirs
        ),
        target: format!("at least {SUBMITS}/s"),
        met: submit.farm_median >= SUBMITS,
    }];
    verdicts.extend(queue.claim.iter().map(|claim| Verdict {
        what: format!("claims and completions per second, {} workers", claim.workers),
        farm: format!("{:.0}/s", claim.over_bullmq.median_ours),
        other: format!(
            "BullMQ (memory) {:.0}/s, PostgreSQL claims {:.0}/s",
            claim.over_bullmq.median_theirs, claim.over_postgres.median_theirs
        ),
        target: format!("ratio to BullMQ {:.2}, above 1", claim.over_bullmq.median_ratio),
        met: claim.over_bullmq.median_ratio > 1.0,
    }));
    verdicts
}

fn memory_verdicts(memory: &memory::Measured) -> [Verdict; 2] {
    let verdict = |when: &str, stage: &memory::Stage, other: String| Verdict {
        what: format!("memory per queued job, {} queued{when}", stage.jobs),
        farm: format!("{:.0} B", stage.rss_per_job),
        other,
        target: format!("below {QUEUED_BYTES} B"),
        met: stage.rss_per_job < QUEUED_BYTES,
    };
    [
        verdict("", &memory.queued, format!("{:.0} B running", memory.running.rss_per_job)),
        verdict(
            ", after a restart",
            &memory.queued_after_restart,
            format!("{:.1} s to start", memory.restart_seconds),
        ),
    ]
}

impl Report {
    /// Prints the tables.
    pub(crate) fn print(&self) {
        let mut table = new_table(&["what", "farm", "other", "against the target", ""]);
        for verdict in &self.verdicts {
            let met = if verdict.met { "met" } else { "MISSED" };
            table.add_row([&verdict.what, &verdict.farm, &verdict.other, &verdict.target, met]);
        }
        if !self.verdicts.is_empty() {
            println!("{table}");
        }
        let mut table = new_table(&["milliseconds", "n", "min", "p50", "p90", "p99", "max"]);
        for (name, spread) in self.spreads() {
            let number = |value: f64| format!("{value:.2}");
            table.add_row([
                name.to_owned(),
                spread.samples.to_string(),
                number(spread.min),
                number(spread.p50),
                number(spread.p90),
                number(spread.p99),
                number(spread.max),
            ]);
        }
        if table.row_iter().next().is_some() {
            println!("{table}");
        }
        if let Some(not_judged) = self.results.live.as_ref().and_then(live::Measured::not_judged) {
            println!("{not_judged}");
        }
        if let Some(throughput) = &self.results.throughput {
            let durability = &throughput.durability;
            println!(
                "{} fsyncs for {} jobs from submission to result, {} clients",
                durability.fsyncs_under_load, durability.jobs_under_load, throughput.clients
            );
        }
    }

    fn spreads(&self) -> Vec<(&str, Spread)> {
        let mut spreads = Vec::new();
        if let Some(latency) = &self.results.latency {
            spreads.extend([
                ("submit to start: farm (on disk)", latency.farm),
                ("submit to start: Celery (in memory)", latency.celery),
                ("submit to start: BullMQ (in memory)", latency.bullmq),
                ("one submission, alone: farm", latency.farm_submit),
            ]);
        }
        if let Some(throughput) = &self.results.throughput {
            spreads.extend([
                ("one submission, under load: farm", throughput.farm_submit),
                ("one submission, under load: Celery", throughput.celery_submit),
            ]);
        }
        if let Some(failover) = &self.results.failover {
            spreads.extend([
                ("kill -9 of a worker to the first process elsewhere", failover.kill_to_first_process),
                ("kill -9 of a worker to ffmpeg elsewhere", failover.kill_to_ffmpeg),
                ("SIGSTOP of a worker to ffmpeg elsewhere", failover.stop_to_ffmpeg),
                ("the same without the lease", failover.stop_beyond_lease),
            ]);
        }
        if let Some(scrape) = &self.results.scrape {
            spreads.push(("a scrape of /metrics", scrape.milliseconds));
        }
        if let Some(live) = &self.results.live {
            spreads.extend(live.spreads());
        }
        if let Some(queue) = &self.results.queue {
            spreads.push(("one submission, no worker: farm", queue.submit.farm_milliseconds));
        }
        spreads
    }

    /// Writes the JSON; returns the file's name.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<std::path::PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let name = self.measured_at.strftime("%Y-%m-%dT%H%M%SZ.json").to_string();
        let path = folder.join(name);
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Paired;

    fn spread(p50: f64, p99: f64) -> Spread {
        Spread { samples: 200, min: 0.5, p50, p90: p50, p99, max: p99 }
    }

    #[test]
    fn latency_has_to_be_below_both_peers_at_both_ranks() {
        let paired = Paired::of(&[(1.0, 2.0)]).unwrap();
        let latency = latency::Measured {
            arguments: Vec::new(),
            farm: spread(1.5, 4.5),
            celery: spread(4.0, 5.4),
            bullmq: spread(2.0, 4.0),
            farm_submit: spread(1.0, 2.0),
            over_celery: paired.clone(),
            over_bullmq: paired,
        };
        let met: Vec<bool> = latency_verdicts(&latency).iter().map(|verdict| verdict.met).collect();
        assert_eq!(met, [true, true, true, false]);
    }

    #[test]
    fn an_encode_that_did_other_work_does_not_count() {
        let mut encode = encode::Measured {
            clip: "a.mp4".to_owned(),
            input: encode::Input::Path,
            preset: "h264".to_owned(),
            command: Vec::new(),
            same_output: true,
            wall_seconds: Paired::of(&[(10.2, 10.0)]).unwrap(),
        };
        assert!(encode_verdict(&encode).met);
        encode.same_output = false;
        assert!(!encode_verdict(&encode).met);
    }

    #[test]
    fn nothing_measured_gives_no_verdict() {
        assert!(Results::default().verdicts().is_empty());
    }
}
