//! (a) What the farm adds to an encode: one job over plain ffmpeg with the same arguments.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use common::api::{InputRef, JobView};
use serde::Serialize;

use crate::{
    api::request,
    clock::{monotonic_ns, seconds},
    farm::{Coordinator, Site},
    process, replay,
    stats::Paired,
};

/// For one encode of the clip.
const ENCODE_LIMIT: Duration = Duration::from_secs(600);

/// How the farm gets at the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    /// In place, below a shared root.
    Path,
    /// Uploaded within the measured time, read by the worker through a signed URL.
    Upload,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clip: PathBuf,
    pub(crate) input: Input,
    pub(crate) preset: String,
    pub(crate) pairs: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) clip: String,
    pub(crate) input: Input,
    pub(crate) preset: String,
    /// What plain ffmpeg was given.
    pub(crate) command: Vec<String>,
    /// Both wrote the same bytes, in every pair.
    pub(crate) same_output: bool,
    /// Wall-clock seconds, farm over plain ffmpeg.
    pub(crate) wall_seconds: Paired,
}

/// Runs pairs, the farm first in every other one.
pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let coordinator = site.coordinator("encode", &[]).await?;
    let worker = site.worker(&coordinator, "bench", &[]).await?;
    let outputs = site.folder.join("plain");
    // The first job tells the command line; it is not counted, and leaves the clip in the page cache for both.
    let (_, first) = farm_run(&coordinator, plan).await?;
    let shown = first.tasks.iter().flat_map(|task| &task.attempts).next_back();
    let shown = &shown.context("the job shows no attempt")?.command;
    let command = replay::plain(shown, &plan.clip, &outputs)?;
    let (mut pairs, mut same_output) = (Vec::new(), true);
    for index in 0..plan.pairs {
        let (farm, job, plain) = if index % 2 == 0 {
            let (farm, job) = farm_run(&coordinator, plan).await?;
            (farm, job, plain_run(&command, &outputs, &site.folder).await?)
        } else {
            let plain = plain_run(&command, &outputs, &site.folder).await?;
            let (farm, job) = farm_run(&coordinator, plan).await?;
            (farm, job, plain)
        };
        same_output &= same(&coordinator, &job, &outputs).await?;
        eprintln!("encode {}: farm {farm:.2} s, ffmpeg {plain:.2} s, ratio {:.4}", index + 1, farm / plain);
        pairs.push((farm, plain));
    }
    worker.stop().await;
    coordinator.stop().await;
    Ok(Measured {
        clip: plan.clip.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        input: plan.input,
        preset: plan.preset.clone(),
        command,
        same_output,
        wall_seconds: Paired::of(&pairs).context("no pair was measured")?,
    })
}

/// From the submission (or its upload) until the job is seen to have succeeded.
async fn farm_run(coordinator: &Coordinator, plan: &Plan) -> Result<(f64, JobView)> {
    let before = monotonic_ns();
    let input = match plan.input {
        Input::Path => InputRef::Path(plan.clip.to_string_lossy().into_owned()),
        Input::Upload => coordinator.api.upload(&plan.clip).await?,
    };
    let job = coordinator.api.submit(&request(input, &plan.preset)).await?;
    let job = coordinator.succeeded(job.summary.id, ENCODE_LIMIT).await?;
    Ok((seconds(before, monotonic_ns()), job))
}

/// From just before ffmpeg is started until it has ended.
async fn plain_run(command: &[String], outputs: &Path, logs: &Path) -> Result<f64> {
    if outputs.exists() {
        fs::remove_dir_all(outputs).with_context(|| format!("emptying {}", outputs.display()))?;
    }
    fs::create_dir_all(outputs).with_context(|| format!("making {}", outputs.display()))?;
    let mut ffmpeg = tokio::process::Command::new("ffmpeg");
    ffmpeg.args(command).stdin(Stdio::null()).stdout(Stdio::null());
    let before = monotonic_ns();
    let mut ffmpeg = process::start_piped("ffmpeg", logs, ffmpeg)?;
    let status = tokio::time::timeout(ENCODE_LIMIT, ffmpeg.child().wait()).await;
    let after = monotonic_ns();
    match status.with_context(|| format!("ffmpeg did not end within {ENCODE_LIMIT:?}"))?? {
        status if status.success() => Ok(seconds(before, after)),
        status => bail!("ffmpeg {} ended with {status}:\n{}", command.join(" "), ffmpeg.log_tail()),
    }
}

async fn same(coordinator: &Coordinator, job: &JobView, outputs: &Path) -> Result<bool> {
    for output in &job.outputs {
        let farm = coordinator.api.output(job.summary.id, &output.path).await?;
        if fs::read(outputs.join(&output.path)).ok() != Some(farm) {
            return Ok(false);
        }
    }
    Ok(!job.outputs.is_empty())
}
