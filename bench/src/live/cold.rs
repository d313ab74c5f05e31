//! The first byte: of a variant that nobody watched, beside plain ffmpeg, and of one that runs.
//!
//! What a viewer gets begins with a key frame, so it is set beside the first picture that ffmpeg writes. ffmpeg's very first
//! bytes are tables and sound, which the farm drops: nobody can show that without a picture.
//!
//! The broadcast gives whoever tunes in the group of pictures that is on the air, as most do, and both tune in at the same
//! moment of a group: half a second after its key frame.

use std::time::Duration;

use anyhow::{Context, Result};
use common::stream::StreamOptions;
use serde::Serialize;
use tokio::time::sleep;

use super::{Plan, plain, stage};
use crate::{
    farm::Site,
    stats::{Paired, Spread},
};

const INTO_THE_GROUP: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cold {
    /// Milliseconds.
    pub(crate) farm: Spread,
    pub(crate) ffmpeg: Spread,
    /// Its first byte, of tables or sound.
    pub(crate) ffmpeg_without_picture: Spread,
    /// Farm over ffmpeg, start by start.
    pub(crate) over_ffmpeg: Paired,
    /// Farm less ffmpeg, start by start.
    pub(crate) later: Spread,
    /// Of a variant that runs.
    pub(crate) joined: Spread,
    pub(crate) command: Vec<String>,
}

pub(super) async fn measure(site: &Site, plan: &Plan) -> Result<Cold> {
    let options = StreamOptions { linger_ms: 100, ..StreamOptions::default() };
    let stage = stage::Stage::set(site, "live-cold", &stage::full_hd(), options, &[]).await?;
    stage.broadcast.bursts();
    let worker = site.worker(&stage.coordinator, "cold", &[]).await?;

    // The first start warms the caches and tells the command line.
    let viewer = stage.watch(&plan.profile);
    viewer.first_byte().await;
    let workers = stage.coordinator.api.workers().await?;
    let live =
        workers.iter().flat_map(|worker| &worker.live).next().context("a worker encodes the variant")?;
    let command = plain::command(&live.command, &stage.broadcast.url())?;
    let mut joined = Vec::new();
    for _ in 0..plan.joins {
        joined.push(milliseconds(stage.watch(&plan.profile).first_byte().await));
    }
    drop(viewer);
    plain::first(&command).await?;

    let (mut pairs, mut without_picture) = (Vec::new(), Vec::new());
    for _ in 0..plan.starts {
        stage.idle().await?;
        stage.broadcast.key_frame().await;
        sleep(INTO_THE_GROUP).await;
        let viewer = stage.watch(&plan.profile);
        let farm = viewer.first_byte().await;
        drop(viewer);
        stage.idle().await?;
        stage.broadcast.key_frame().await;
        sleep(INTO_THE_GROUP).await;
        let ffmpeg = plain::first(&command).await?;
        pairs.push((milliseconds(farm), milliseconds(ffmpeg.picture)));
        without_picture.push(milliseconds(ffmpeg.byte));
    }
    worker.stop().await;
    stage.coordinator.stop().await;
    let (farm, ffmpeg): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let later: Vec<f64> = pairs.iter().map(|(farm, ffmpeg)| farm - ffmpeg).collect();
    let spread = |samples: &[f64]| Spread::of(samples).context("at least one sample");
    Ok(Cold {
        farm: spread(&farm)?,
        ffmpeg: spread(&ffmpeg)?,
        ffmpeg_without_picture: spread(&without_picture)?,
        over_ffmpeg: Paired::of(&pairs).context("at least one pair")?,
        later: spread(&later)?,
        joined: spread(&joined)?,
        command,
    })
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
