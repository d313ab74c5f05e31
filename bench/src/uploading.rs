//! (g) Encoding while the input is uploaded: total time over the longer of the two, beside uploading first.
//!
//! The line is as slow as it must be for the upload to take as long as the encode alone, which is where most is to be won. The
//! client sends pieces of 4 MiB (tus), evenly, and the clock runs until the job is seen to have succeeded.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use common::api::InputRef;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    api::request,
    clock::{monotonic_ns, seconds},
    farm::{Coordinator, Site},
    stats,
};

/// For one encode of the clip.
const LIMIT: Duration = Duration::from_secs(1200);
/// Bytes of one request.
const PIECE: usize = 4 * 1024 * 1024;
/// Bytes that go onto the line at once.
const PACKET: usize = 16 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clip: PathBuf,
    /// Of the clip, from its beginning.
    pub(crate) seconds: u32,
    pub(crate) preset: String,
    pub(crate) rounds: usize,
    pub(crate) ffmpeg: PathBuf,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) clip: String,
    pub(crate) preset: String,
    pub(crate) bytes: usize,
    /// Of the first run, with the input at the coordinator already.
    pub(crate) encode_seconds: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) rounds: Vec<Round>,
    /// Medians over the longer of upload and encode.
    pub(crate) following_ratio: f64,
    pub(crate) uploading_first_ratio: f64,
}

/// Wall-clock seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Round {
    /// The upload of the run that encodes meanwhile.
    pub(crate) upload: f64,
    /// The encode of the run that uploads first.
    pub(crate) encode: f64,
    /// From the first byte of the upload to the job's success.
    pub(crate) following: f64,
    pub(crate) uploading_first: f64,
}

impl Round {
    fn longer(&self) -> f64 {
        self.upload.max(self.encode)
    }
}

/// Runs both ways in turn.
pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let clip = cut(plan, &site.folder).await?;
    let file = tokio::fs::read(&clip).await.with_context(|| format!("reading {}", clip.display()))?;
    let coordinator = site.coordinator("uploading", &[]).await?;
    let worker = site.worker(&coordinator, "uploading", &[]).await?;
    let bench = Bench { coordinator: &coordinator, plan, file: &file };
    let input = coordinator.api.upload(&clip).await?;
    let encode_seconds = bench.encode(input).await?;
    let rate = file.len() as f64 / encode_seconds;
    eprintln!(
        "upload: the encode alone takes {encode_seconds:.2} s, so {rate:.0} bytes per second go onto the line"
    );
    let mut rounds = Vec::new();
    for index in 0..plan.rounds {
        let round = if index % 2 == 0 {
            let (upload, following) = bench.follow(rate).await?;
            let (encode, uploading_first) = bench.upload_first(rate).await?;
            Round { upload, encode, following, uploading_first }
        } else {
            let (encode, uploading_first) = bench.upload_first(rate).await?;
            let (upload, following) = bench.follow(rate).await?;
            Round { upload, encode, following, uploading_first }
        };
        let longer = round.longer();
        eprintln!(
            "upload {}: {:.2} s while it is uploaded ({:.3} of the longer), {:.2} s after it ({:.3})",
            index + 1,
            round.following,
            round.following / longer,
            round.uploading_first,
            round.uploading_first / longer
        );
        rounds.push(round);
    }
    worker.stop().await;
    coordinator.stop().await;
    let median = |ratio: fn(&Round) -> f64| {
        stats::median(&rounds.iter().map(ratio).collect::<Vec<_>>()).context("no round was measured")
    };
    Ok(Measured {
        clip: plan.clip.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        preset: plan.preset.clone(),
        bytes: file.len(),
        encode_seconds,
        bytes_per_second: rate,
        following_ratio: median(|round| round.following / round.longer())?,
        uploading_first_ratio: median(|round| round.uploading_first / round.longer())?,
        rounds,
    })
}

/// The clip's beginning, with its index in front, nothing encoded again.
async fn cut(plan: &Plan, folder: &Path) -> Result<PathBuf> {
    let cut = folder.join("uploading.mp4");
    let mut ffmpeg = tokio::process::Command::new(&plan.ffmpeg);
    ffmpeg.args(["-nostdin", "-v", "error", "-y", "-t", &plan.seconds.to_string(), "-i"]).arg(&plan.clip);
    ffmpeg.args(["-c", "copy", "-movflags", "+faststart"]).arg(&cut).stdin(Stdio::null());
    let status = ffmpeg.status().await.context("starting ffmpeg")?;
    ensure!(status.success(), "ffmpeg could not cut {}: {status}", plan.clip.display());
    Ok(cut)
}

struct Bench<'a> {
    coordinator: &'a Coordinator,
    plan: &'a Plan,
    file: &'a [u8],
}

impl Bench<'_> {
    /// Seconds from the submission to the success.
    async fn encode(&self, input: InputRef) -> Result<f64> {
        let before = monotonic_ns();
        let job = self.coordinator.api.submit(&request(input, &self.plan.preset)).await?;
        self.coordinator.succeeded(job.summary.id, LIMIT).await?;
        Ok(seconds(before, monotonic_ns()))
    }

    /// Seconds of the upload, and of everything.
    async fn follow(&self, rate: f64) -> Result<(f64, f64)> {
        let before = monotonic_ns();
        let (upload, input) = self.coordinator.api.create_upload("a.mp4", self.file.len()).await?;
        let job = self.coordinator.api.submit(&request(input, &self.plan.preset)).await?;
        self.send(&upload, rate).await?;
        let sent = seconds(before, monotonic_ns());
        self.coordinator.succeeded(job.summary.id, LIMIT).await?;
        Ok((sent, seconds(before, monotonic_ns())))
    }

    /// Seconds of the encode, and of everything.
    async fn upload_first(&self, rate: f64) -> Result<(f64, f64)> {
        let before = monotonic_ns();
        let (upload, input) = self.coordinator.api.create_upload("a.mp4", self.file.len()).await?;
        self.send(&upload, rate).await?;
        let encode = self.encode(input).await?;
        Ok((encode, seconds(before, monotonic_ns())))
    }

    /// Sends the file at that many bytes per second.
    async fn send(&self, upload: &str, rate: f64) -> Result<()> {
        let begun = Instant::now();
        let due = move |sent: usize| begun + Duration::from_secs_f64(sent as f64 / rate);
        for (number, piece) in self.file.chunks(PIECE).enumerate() {
            let offset = number * PIECE;
            let packets: Vec<Vec<u8>> = piece.chunks(PACKET).map(<[u8]>::to_vec).collect();
            let line =
                futures::stream::unfold((packets.into_iter(), offset), move |(mut packets, at)| async move {
                    let packet = packets.next()?;
                    let at = at + packet.len();
                    sleep_until(due(at)).await;
                    Some((Ok::<_, std::io::Error>(packet), (packets, at)))
                });
            self.coordinator
                .api
                .send_piece(upload, offset, piece.len(), reqwest::Body::wrap_stream(line))
                .await?;
        }
        Ok(())
    }
}
