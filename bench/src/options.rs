//! What `bench` is told. The paths have the defaults of `scripts/bench.sh`, relative to the repository's root.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::{
    bucket,
    encode::{self, Input},
    failover,
    farm::Site,
    input, latency, live, memory, owners, pages,
    peers::Installed,
    queue, scrape, throughput, uploading,
};

/// Null workers of the benchmark of owners: each is placed on by itself.
const OWNERS_WORKERS: usize = 100;

/// Attempts of each null worker whose coordinator is scraped.
const SCRAPE_SLOTS: u32 = 2;

/// Measures the farm, beside plain ffmpeg, Celery, BullMQ and PostgreSQL.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum)]
    parts: Vec<Part>,

    /// Exit with 2 when a target is missed.
    #[arg(long)]
    pub(crate) check: bool,

    /// Folder with the release builds of coordinator, ffmpegd and stamp.
    #[arg(long, default_value = "target/release", value_name = "DIR")]
    binaries: PathBuf,

    /// Folder on a real disk for data, logs and sockets, as a new folder below; removed at the end.
    #[arg(long, default_value = ".bench/tmp", value_name = "DIR")]
    pub(crate) scratch: PathBuf,

    /// Folder for the JSON.
    #[arg(long, default_value = "bench/results", value_name = "DIR")]
    pub(crate) results: PathBuf,

    /// Folder with the peers' programs.
    #[arg(long, default_value = "bench/peers", value_name = "DIR")]
    peers: PathBuf,

    /// Folder with what scripts/bench.sh has set up: venv, node, fsync_count.so, clips.
    #[arg(long, default_value = ".bench", value_name = "DIR")]
    setup: PathBuf,

    /// Clip of the encode: 60 s of 1080p.
    #[arg(long, default_value = ".bench/clips/60s-1080p.mp4", value_name = "FILE")]
    clip: PathBuf,

    /// Clip of the latency and throughput jobs: short, so that a job ends soon.
    #[arg(long, default_value = ".bench/clips/short.mp4", value_name = "FILE")]
    short_clip: PathBuf,

    /// Preset of all jobs.
    #[arg(long, default_value = "h264", value_name = "NAME")]
    preset: String,

    /// How the farm gets at the clip of the encode.
    #[arg(long, value_enum, default_value = "path")]
    encode_input: Input,

    /// Pairs of farm and plain ffmpeg.
    #[arg(long, default_value_t = 3, value_name = "N")]
    encode_pairs: usize,

    /// Starts that are measured of each system.
    #[arg(long, default_value_t = 200, value_name = "N")]
    latency_samples: usize,

    /// Starts of one system before it is the next one's turn.
    #[arg(long, default_value_t = 20, value_name = "N")]
    latency_round: usize,

    /// Starts of each system before any is measured.
    #[arg(long, default_value_t = 20, value_name = "N")]
    latency_warm_up: usize,

    /// Pairs of farm and Celery.
    #[arg(long, default_value_t = 3, value_name = "N")]
    throughput_pairs: usize,

    /// Jobs of one run of the farm.
    #[arg(long, default_value_t = 5000, value_name = "N")]
    jobs: usize,

    /// Tasks of one run of Celery.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    tasks: usize,

    /// Submissions to the farm at once.
    #[arg(long, default_value_t = 64, value_name = "N")]
    clients: usize,

    /// Jobs that one null worker takes at once.
    #[arg(long, default_value_t = 200, value_name = "N")]
    slots: u32,

    /// Seconds of the encode's clip that are uploaded and encoded meanwhile; 5 for trying it.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    upload_seconds: u32,

    /// Rounds of encoding while the clip is uploaded, and after.
    #[arg(long, default_value_t = 3, value_name = "N")]
    upload_rounds: usize,

    /// Workers that are killed while they run a task.
    #[arg(long, default_value_t = 40, value_name = "N")]
    failover_kills: usize,

    /// Workers that are stopped (SIGSTOP) while they run a task.
    #[arg(long, default_value_t = 20, value_name = "N")]
    failover_stops: usize,

    /// Lease of the workers that are stopped.
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS")]
    failover_lease: u64,

    /// Heartbeat interval of the workers that are stopped.
    #[arg(long, default_value_t = 500, value_name = "MILLISECONDS")]
    failover_heartbeat: u64,

    /// Rounds of farm, BullMQ and PostgreSQL.
    #[arg(long, default_value_t = 3, value_name = "N")]
    queue_rounds: usize,

    /// Jobs of one run in the queue benchmark.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    queue_jobs: usize,

    /// Workers of the farm in the queue benchmark, each number in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1000], value_name = "N,...")]
    queue_workers: Vec<usize>,

    /// Jobs that BullMQ's worker, and the farm's when it is the only one, run at once.
    #[arg(long, default_value_t = 50, value_name = "N")]
    concurrency: u32,

    /// Rows that a client of PostgreSQL claims at once.
    #[arg(long, default_value_t = 50, value_name = "N")]
    claim_batch: usize,

    /// Clients of PostgreSQL that claim.
    #[arg(long, default_value_t = 4, value_name = "N")]
    claim_clients: usize,

    /// Pairs of many owners and one.
    #[arg(long, default_value_t = 5, value_name = "N")]
    owners_pairs: usize,

    /// Owners whose jobs wait together.
    #[arg(long, default_value_t = 100, value_name = "N")]
    owners: usize,

    /// Jobs that wait while the coordinator's memory is measured.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    memory_queued: usize,

    /// Jobs that run while the coordinator's memory is measured.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    memory_running: usize,

    /// Jobs that run on each null worker while the coordinator's memory is measured.
    #[arg(long, default_value_t = 20, value_name = "N")]
    memory_slots: u32,

    /// Workers of the fleet that pages look at.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pages_workers: usize,

    /// Pages that are open.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pages: usize,

    /// Looks at the coordinator, each with pages and without.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pages_rounds: usize,

    /// Length of each look.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    pages_seconds: u64,

    /// Null workers whose coordinator is scraped.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    scrape_workers: usize,

    /// Scrapes of /metrics.
    #[arg(long, default_value_t = 50, value_name = "N")]
    scrapes: usize,

    /// Requests to POST /v1/run at once.
    #[arg(long, default_value_t = 200, value_name = "N")]
    input_requests: usize,

    /// Rounds of requests.
    #[arg(long, default_value_t = 10, value_name = "N")]
    input_rounds: usize,

    /// Pairs of transcodes, and of cuts.
    #[arg(long, default_value_t = 5, value_name = "N")]
    input_pairs: usize,

    /// What goes out to a bucket.
    #[arg(long, default_value_t = 1024, value_name = "MEBIBYTES")]
    bucket_mebibytes: u64,

    /// Pairs of farm and library.
    #[arg(long, default_value_t = 3, value_name = "N")]
    bucket_pairs: usize,

    /// Profile of the live variants.
    #[arg(long, default_value = "h264-1080p", value_name = "NAME")]
    live_profile: String,

    /// Cold starts of a live variant, each beside plain ffmpeg.
    #[arg(long, default_value_t = 10, value_name = "N")]
    live_starts: usize,

    /// Viewers who join a variant that runs.
    #[arg(long, default_value_t = 100, value_name = "N")]
    live_joins: usize,

    /// Workers that are killed while they encode a live variant.
    #[arg(long, default_value_t = 5, value_name = "N")]
    live_kills: usize,

    /// ffmpegs that are stopped (SIGSTOP) while they encode a live variant.
    #[arg(long, default_value_t = 3, value_name = "N")]
    live_hangs: usize,

    /// Rounds of farm, TCP and gRPC.
    #[arg(long, default_value_t = 3, value_name = "N")]
    live_rounds: usize,

    /// What goes through the farm in a round.
    #[arg(long, default_value_t = 1024, value_name = "MEBIBYTES")]
    live_mebibytes: usize,

    /// Viewers of one variant.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    live_viewers: usize,

    /// For how long the coordinator's memory is looked at.
    #[arg(long, default_value_t = 2.0, value_name = "MINUTES")]
    live_minutes: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Submission to process start on an idle worker, beside Celery and BullMQ.
    Latency,
    /// Jobs per second through the store, beside Celery.
    Throughput,
    /// Wall time of an encode over plain ffmpeg.
    Encode,
    /// An encode that follows its upload, beside one that waits for its end.
    Upload,
    /// From the death of a worker to its task's start elsewhere.
    Failover,
    /// Durable submissions, and claims with completions, beside BullMQ and PostgreSQL.
    Queue,
    /// Claims with completions of a hundred owners' jobs, beside one owner's.
    Owners,
    /// The coordinator's memory for each job that waits or runs.
    Memory,
    /// The coordinator's processor for events to open pages.
    Pages,
    /// What a scrape of /metrics takes with a thousand workers.
    Scrape,
    /// Live streams: first byte, failover, throughput, viewers; beside plain ffmpeg, TCP and Python's gRPC.
    Live,
    /// Many requests at once, and inputs over HTTP, near and far; beside ffmpeg's own reader.
    Input,
    /// A gibibyte out to S3, beside the same client library alone.
    Bucket,
}

impl Options {
    pub(crate) fn parts(&self) -> &[Part] {
        if self.parts.is_empty() { Part::value_variants() } else { &self.parts }
    }

    pub(crate) fn site(&self, folder: &Path) -> Result<Site> {
        Ok(Site {
            binaries: absolute(&self.binaries),
            folder: absolute(folder),
            shared: absolute(&self.clip).parent().context("the clip lies in a folder")?.to_owned(),
        })
    }

    pub(crate) fn installed(&self) -> Installed {
        Installed {
            programs: absolute(&self.peers),
            python: absolute(&self.setup.join("venv/bin/python")),
            node_modules: absolute(&self.setup.join("node/node_modules")),
        }
    }

    pub(crate) fn encode(&self) -> encode::Plan {
        encode::Plan {
            clip: absolute(&self.clip),
            input: self.encode_input,
            preset: self.preset.clone(),
            pairs: self.encode_pairs,
        }
    }

    pub(crate) fn uploading(&self) -> Result<uploading::Plan> {
        Ok(uploading::Plan {
            clip: absolute(&self.clip),
            seconds: self.upload_seconds,
            preset: self.preset.clone(),
            rounds: self.upload_rounds,
            ffmpeg: installed("ffmpeg")?,
        })
    }

    pub(crate) fn latency(&self) -> Result<latency::Plan> {
        Ok(latency::Plan {
            clip: absolute(&self.short_clip),
            preset: self.preset.clone(),
            samples: self.latency_samples,
            round: self.latency_round,
            warm_up: self.latency_warm_up,
            stamp: self.stamp(),
            ffprobe: installed("ffprobe")?,
        })
    }

    pub(crate) fn throughput(&self) -> throughput::Plan {
        throughput::Plan {
            clip: absolute(&self.short_clip),
            preset: self.preset.clone(),
            pairs: self.throughput_pairs,
            jobs: self.jobs,
            tasks: self.tasks,
            clients: self.clients,
            slots: self.slots,
            fsync_count: absolute(&self.setup.join("fsync_count.so")),
        }
    }

    pub(crate) fn failover(&self) -> Result<failover::Plan> {
        Ok(failover::Plan {
            clip: absolute(&self.short_clip),
            preset: self.preset.clone(),
            kills: self.failover_kills,
            stops: self.failover_stops,
            lease: Duration::from_millis(self.failover_lease),
            heartbeat: Duration::from_millis(self.failover_heartbeat),
            stamp: self.stamp(),
            ffmpeg: installed("ffmpeg")?,
            ffprobe: installed("ffprobe")?,
        })
    }

    fn stamp(&self) -> PathBuf {
        absolute(&self.binaries.join("stamp"))
    }

    pub(crate) fn queue(&self) -> queue::Plan {
        queue::Plan {
            preset: self.preset.clone(),
            rounds: self.queue_rounds,
            jobs: self.queue_jobs,
            fleets: self.queue_workers.clone(),
            clients: self.clients,
            concurrency: self.concurrency,
            claim_batch: self.claim_batch,
            claim_clients: self.claim_clients,
        }
    }

    pub(crate) fn owners(&self) -> owners::Plan {
        owners::Plan {
            preset: self.preset.clone(),
            pairs: self.owners_pairs,
            jobs: self.queue_jobs,
            owners: self.owners,
            workers: OWNERS_WORKERS,
            clients: self.clients,
        }
    }

    pub(crate) fn pages(&self) -> pages::Plan {
        pages::Plan {
            preset: self.preset.clone(),
            workers: self.pages_workers,
            pages: self.pages,
            rounds: self.pages_rounds,
            look: Duration::from_secs(self.pages_seconds),
            clients: self.clients,
        }
    }

    pub(crate) fn live(&self) -> live::Plan {
        live::Plan {
            profile: self.live_profile.clone(),
            starts: self.live_starts,
            joins: self.live_joins,
            kills: self.live_kills,
            hangs: self.live_hangs,
            rounds: self.live_rounds,
            mebibytes: self.live_mebibytes,
            viewers: self.live_viewers,
            minutes: self.live_minutes,
            python: absolute(&self.setup.join("venv/bin/python")),
            peers: absolute(&self.peers),
        }
    }

    pub(crate) fn bucket(&self) -> bucket::Plan {
        bucket::Plan {
            clip: absolute(&self.clip),
            mebibytes: self.bucket_mebibytes,
            pairs: self.bucket_pairs,
        }
    }

    pub(crate) fn input(&self) -> input::Plan {
        input::Plan {
            clip: absolute(&self.clip),
            at_once: self.input_requests,
            rounds: self.input_rounds,
            pairs: self.input_pairs,
        }
    }

    pub(crate) fn scrape(&self) -> scrape::Plan {
        scrape::Plan {
            preset: self.preset.clone(),
            workers: self.scrape_workers,
            slots: SCRAPE_SLOTS,
            queued: self.scrape_workers,
            clients: self.clients,
            scrapes: self.scrapes,
        }
    }

    pub(crate) fn memory(&self) -> memory::Plan {
        memory::Plan {
            preset: self.preset.clone(),
            queued: self.memory_queued,
            running: self.memory_running,
            slots: self.memory_slots,
            clients: self.clients,
        }
    }
}

/// Without a look at the file system beyond the working folder: what is missing is reported by who opens it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A program of ffmpeg's.
fn installed(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is not in PATH: install ffmpeg"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn options_are_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn everything_is_measured_unless_parts_are_named() {
        assert_eq!(Options::parse_from(["bench"]).parts(), Part::value_variants());
        assert_eq!(Options::parse_from(["bench", "latency"]).parts(), [Part::Latency]);
    }
}
