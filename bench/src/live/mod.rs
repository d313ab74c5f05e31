//! Live streams: how soon the first byte is there, what a viewer sees of a worker's death, and how much goes through.
//!
//! Sources, viewers and the judge that decodes what they got are the end-to-end tests' own.

mod blaster;
mod cold;
mod course;
mod failover;
mod pipe;
mod plain;
mod stage;
mod verdicts;
mod viewers;

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::{farm::Site, stats::Spread};

pub(crate) use verdicts::verdicts;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) profile: String,
    /// Cold starts, each beside plain ffmpeg.
    pub(crate) starts: usize,
    /// Viewers who join what runs.
    pub(crate) joins: usize,
    pub(crate) kills: usize,
    pub(crate) hangs: usize,
    /// Rounds of farm, TCP and gRPC.
    pub(crate) rounds: usize,
    /// What goes through in a round.
    pub(crate) mebibytes: usize,
    pub(crate) viewers: usize,
    /// For which memory is looked at.
    pub(crate) minutes: f64,
    pub(crate) python: PathBuf,
    pub(crate) peers: PathBuf,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) profile: String,
    pub(crate) cold: cold::Cold,
    pub(crate) killed: failover::Failovers,
    pub(crate) hung: failover::Failovers,
    pub(crate) pipe: pipe::Pipe,
    pub(crate) crowd: viewers::Crowd,
}

/// # Errors
/// Something of it could not be started, or does not do what it should.
pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let cold = cold::measure(site, plan).await?;
    eprintln!("live: first picture {:.0} ms after plain ffmpeg's (median)", cold.later.p50);
    let killed = failover::measure(site, plan, failover::Fault::Killed).await?;
    eprintln!("live: kill -9 stalls for {:.0} ms (median)", killed.stall.p50);
    let hung = failover::measure(site, plan, failover::Fault::Hung).await?;
    eprintln!("live: a hanging ffmpeg stalls for {:.0} ms (median)", hung.stall.p50);
    let pipe = pipe::measure(site, plan).await?;
    eprintln!("live: {:.0} MiB/s through both hops (median)", pipe.over_tcp.median_ours);
    let crowd = viewers::measure(site, plan).await?;
    Ok(Measured { profile: plan.profile.clone(), cold, killed, hung, pipe, crowd })
}

impl Measured {
    /// What was looked at and not judged.
    pub(crate) fn not_judged(&self) -> Option<String> {
        self.crowd.drift.is_none().then(|| course::not_judged(&self.crowd.course))
    }

    /// In milliseconds.
    pub(crate) fn spreads(&self) -> Vec<(&str, Spread)> {
        let mut spreads = vec![
            ("first picture, cold: farm", self.cold.farm),
            ("first picture, cold: plain ffmpeg", self.cold.ffmpeg),
            ("first tables and sound, cold: plain ffmpeg", self.cold.ffmpeg_without_picture),
            ("first byte, joining: farm", self.cold.joined),
            ("stall at kill -9", self.killed.stall),
            ("stall at a hanging ffmpeg", self.hung.stall),
            ("heartbeat and its answer, idle", self.pipe.heartbeat_idle),
        ];
        spreads.extend(self.pipe.heartbeat_busy.map(|busy| ("heartbeat and its answer, saturated", busy)));
        spreads
    }
}
