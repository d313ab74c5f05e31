//! What goes out to a bucket: a gibibyte from a worker, beside the same client library alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use common::api::{CommandLine, InputRef, JobRequest};
use e2e::stores::{BUCKET, Seaweed};
use object_store::{ObjectStoreExt as _, WriteMultipart, aws::AmazonS3Builder};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use crate::{
    clock::{monotonic_ns, seconds},
    farm::{Coordinator, Site},
    report::Verdict,
    stats::Paired,
    timed::{self, Timed},
};

/// For one job.
const LIMIT: Duration = Duration::from_secs(600);
/// As the farm's.
const PART: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;
/// Throughput of the farm over the library's: at least.
const RATIO: f64 = 0.9;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clip: PathBuf,
    pub(crate) mebibytes: u64,
    pub(crate) pairs: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) mebibytes: u64,
    /// MiB per second: from the end of the checks, during which the digests are made, until the job has succeeded; and of
    /// the library alone.
    pub(crate) mebibytes_per_second: Paired,
}

pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let store = Seaweed::start().await.context("SeaweedFS runs on x86_64 only")?;
    let environment = store.environment();
    let url = format!("s3://{BUCKET}/bench");
    let mut env: Vec<(&str, &Path)> =
        environment.iter().map(|(name, value)| (name.as_str(), Path::new(value.as_str()))).collect();
    env.push(("TVARR_STORAGE_URL", Path::new(&url)));
    let coordinator = site.coordinator("bucket", &env).await?;
    let timed = Timed::new(&site.folder.join("timed-bucket"))?;
    let (ffmpeg, ffprobe) = (timed.program("ffmpeg"), timed.program("ffprobe"));
    let env = [("TVARR_FFMPEG", ffmpeg.as_path()), ("TVARR_FFPROBE", ffprobe.as_path())];
    let worker = site.worker(&coordinator, "bucket", &env).await?;
    let (file, _) = timed::long_file(&plan.clip, &site.shared, plan.mebibytes << 20).await?;
    // SeaweedFS makes its volumes when something first comes, which takes a second.
    alone(&environment, &file).await?;
    let mut pairs = Vec::new();
    for index in 0..plan.pairs {
        let (ours, theirs) = if index % 2 == 0 {
            let ours = farm(&coordinator, &timed, &file).await?;
            (ours, alone(&environment, &file).await?)
        } else {
            let theirs = alone(&environment, &file).await?;
            (farm(&coordinator, &timed, &file).await?, theirs)
        };
        eprintln!("bucket {}: farm {ours:.0} MiB/s, the library {theirs:.0} MiB/s", index + 1);
        pairs.push((ours, theirs));
    }
    worker.stop().await;
    coordinator.stop().await;
    fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    let mebibytes_per_second = Paired::of(&pairs).context("no pair was measured")?;
    Ok(Measured { mebibytes: plan.mebibytes, mebibytes_per_second })
}

#[allow(clippy::cast_precision_loss)] // sizes of files
fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / f64::from(1 << 20) / seconds
}

/// MiB per second.
async fn farm(coordinator: &Coordinator, timed: &Timed, file: &Path) -> Result<f64> {
    timed.forget();
    let request = JobRequest {
        command: Some(CommandLine::Text("-c copy {{out:copy.mkv}}".to_owned())),
        ..JobRequest::new(InputRef::Path(file.to_string_lossy().into_owned()))
    };
    let job = coordinator.api.submit(&request).await?;
    let job = coordinator.succeeded(job.summary.id, LIMIT).await?;
    let ended = job.summary.finished_at.context("the job has ended")?;
    let checked = timed.last_end()?.duration_since(SystemTime::UNIX_EPOCH)?;
    let ended = Duration::try_from(ended.duration_since(jiff::Timestamp::UNIX_EPOCH))?;
    let took = ended.checked_sub(checked).context("the job ended before its checks")?;
    let bytes = job.outputs.iter().map(|output| output.size).sum();
    Ok(rate(bytes, took.as_secs_f64()))
}

/// The same store's client, with parts of the same size, as many at once. It sends a copy that was just written, as the farm
/// does: what the disk has not taken yet costs both the same.
async fn alone(environment: &BTreeMap<String, String>, original: &Path) -> Result<f64> {
    let file = &original.with_extension("copy");
    tokio::fs::copy(original, file).await.with_context(|| format!("copying to {}", file.display()))?;
    let mut builder = AmazonS3Builder::new().with_bucket_name(BUCKET);
    for (name, value) in environment {
        builder = match name.as_str() {
            "S3_ENDPOINT_URL" => builder.with_endpoint(value),
            "AWS_ACCESS_KEY_ID" => builder.with_access_key_id(value),
            "AWS_SECRET_ACCESS_KEY" => builder.with_secret_access_key(value),
            "AWS_REGION" => builder.with_region(value),
            _ => builder,
        };
    }
    let store = builder.with_allow_http(true).build()?;
    let bytes = fs::metadata(file)?.len();
    let place = object_store::path::Path::from("alone");
    let mut input = tokio::fs::File::open(file).await?;
    let before = monotonic_ns();
    let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(&place).await?, PART);
    loop {
        let mut part = bytes::BytesMut::with_capacity(PART);
        while part.len() < PART && input.read_buf(&mut part).await? > 0 {}
        if part.is_empty() {
            break;
        }
        upload.wait_for_capacity(PARTS_AT_ONCE).await?;
        upload.put(part.freeze());
    }
    upload.finish().await?;
    let took = seconds(before, monotonic_ns());
    let stored = store.head(&place).await?.size;
    ensure!(stored == bytes, "{stored} bytes of {bytes} are in the store");
    store.delete(&place).await?;
    fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
    Ok(rate(bytes, took))
}

pub(crate) fn verdict(bucket: &Measured) -> Verdict {
    let rate = &bucket.mebibytes_per_second;
    Verdict {
        what: format!("{} MiB out to S3", bucket.mebibytes),
        farm: format!("{:.0} MiB/s", rate.median_ours),
        other: format!("the client library alone {:.0} MiB/s", rate.median_theirs),
        target: format!("ratio {:.2}, at least {RATIO}", rate.median_ratio),
        met: rate.median_ratio >= RATIO,
    }
}
