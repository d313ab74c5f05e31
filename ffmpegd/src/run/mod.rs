//! One attempt: from an assignment to uploaded results.
//!
//! probing (ffprobe reads the input) -> encoding (ffmpeg) -> checking (what came out is probed and compared) -> uploading.
//! Whatever ends an attempt, its processes are gone and its scratch folder is removed before anybody is told.

mod account;
mod assignment;
mod attempt;
mod check;
mod classify;
mod damage;
mod death_signal;
mod direct;
mod growing;
mod inputs;
mod leftovers;
mod lines;
mod live;
mod log;
mod machine;
mod progress;
mod scratch;
mod spawn;
mod supervise;
mod survivor;
mod upload;
mod vitals;
mod watchdog;

use std::{path::PathBuf, sync::Arc};

use common::{
    failure::Failure,
    id::WorkerId,
    worker::{Capabilities, Damage, OutputFile, Progress},
};
use reqwest::Client;
use tokio::sync::watch;

pub(crate) use self::{
    account::{Account, Whose},
    assignment::{Assignment, Batch, Input, LiveTask, Location, Slot, Unusable, Work, attempt_id},
    attempt::attempt,
    classify::{Verdict, no_room},
    live::{attempt as live_attempt, client as live_client},
    scratch::{MINIMUM as SCRATCH_MINIMUM, Space, prepare as prepare_scratch},
    spawn::Spawner,
    upload::client as upload_client,
    vitals::Vitals,
};
use crate::{fetch::Proxy, metrics::Figures, options::Address, session::Connection};

/// What attempts work with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) worker: WorkerId,
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
    pub(crate) nvenc_preset: Option<u8>,
    /// Where attempts' folders are made.
    pub(crate) scratch: PathBuf,
    /// Canonical.
    pub(crate) shared_roots: Vec<PathBuf>,
    pub(crate) space: Space,
    /// As probed last.
    pub(crate) capabilities: watch::Receiver<Arc<Capabilities>>,
    pub(crate) coordinator: Address,
    pub(crate) spawner: Spawner,
    pub(crate) proxy: Proxy,
    /// For uploads.
    pub(crate) http: Client,
    /// For the bytes of live work.
    pub(crate) live_http: Client,
    /// The open session, if there is one.
    pub(crate) connection: watch::Receiver<Option<Connection>>,
    pub(crate) figures: Figures,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    Succeeded {
        outputs: Vec<OutputFile>,
        warnings: Vec<String>,
        progress: Box<Progress>,
        damage: Option<Damage>,
    },
    Failed(Verdict),
    /// It was told to stop.
    Stopped,
    /// The coordinator says that it belongs to somebody else by now.
    NotCurrent,
}

impl Ending {
    /// In one word.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed(_) => "failed",
            Self::Stopped => "stopped",
            Self::NotCurrent => "not_current",
        }
    }
}

impl From<Verdict> for Ending {
    fn from(verdict: Verdict) -> Self {
        Self::Failed(verdict)
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}
