//! Watched folders and bucket prefixes: each new, fully written file becomes one job, once.
//!
//! A file is looked for again and again. What was found is written down with the id that its job will have before the job is
//! submitted, so that a coordinator that dies in between submits the same job, and no second one. A job that is refused waits:
//! for room in its owner's quotas, or for a store that can be written. Files are only read.

mod rule;
mod spot;

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use common::{id::JobId, media::HardwarePolicy, preset::Presets, worker::Labels};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use self::rule::{BadRule, Rule};
use self::spot::{Fate, Seen, Spotter, fate};
use crate::{
    holdings::{self, Holdings},
    queue::{self, Handle, InputLocation, JobInput},
    storage::{address::Address, buckets::Buckets},
    store::{self, JobDetails, WatchStore, WatchedRecord},
};

/// Folders in folders of a watched folder.
const MAX_DEPTH: usize = 16;

/// Watches one place.
pub(crate) struct Watcher {
    pub(crate) rule: Rule,
    pub(crate) every: Duration,
    pub(crate) presets: Arc<Presets>,
    pub(crate) buckets: Buckets,
    pub(crate) queue: Handle,
    pub(crate) store: Arc<dyn WatchStore>,
    pub(crate) holdings: Holdings,
}

/// What is known of the place.
struct Known {
    spotter: Spotter,
    /// Written down, and no jobs yet; oldest first.
    waiting: VecDeque<WatchedRecord>,
    /// Why they wait for their owner's quotas, as it was logged.
    held_up: Option<String>,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Storage(#[from] crate::storage::Error),
    #[error("cannot list the folder: {0}")]
    Folder(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error(transparent)]
    Quota(#[from] holdings::Error),
    #[error("there is no preset {0:?}")]
    NoPreset(String),
}

impl Watcher {
    /// Looks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tracing::info!(place = %self.rule.place, preset = self.rule.preset, every = ?self.every, "watching");
        // None: what became jobs earlier is still to be read.
        let mut known = None;
        let mut failing = false;
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let Some(looked) = stop.run_until_cancelled(self.look(&mut known)).await else { return };
            match looked {
                Ok(()) if std::mem::take(&mut failing) => {
                    tracing::info!(place = %self.rule.place, "watching again");
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(place = %self.rule.place, %error, "cannot watch; will try again");
                }
                Err(error) => tracing::debug!(place = %self.rule.place, %error, "still cannot watch"),
            }
        }
    }

    async fn look(&self, known: &mut Option<Known>) -> Result<(), Error> {
        let place = self.rule.to_string();
        let known = match known {
            Some(known) => known,
            None => {
                let records = self.store.watched(&place).await?;
                let waiting = records.iter().filter(|record| !record.submitted).cloned().collect();
                let spotter = Spotter::new(records.into_iter().map(|record| (record.object, record.version)));
                known.insert(Known { spotter, waiting, held_up: None })
            }
        };
        let (seen, whole) = match self.rule.place.file() {
            Some(folder) => {
                let listed = tokio::task::spawn_blocking(move || walk(&folder)).await;
                (listed.unwrap_or_else(|error| Err(io::Error::other(error)))?, false)
            }
            None => (self.list().await?, true),
        };
        for seen in known.spotter.look(&seen, whole) {
            let record = WatchedRecord {
                place: place.clone(),
                object: seen.object.clone(),
                version: seen.version(),
                job: JobId::new(),
                submitted: false,
                seen_at: Timestamp::now().as_millisecond(),
            };
            self.store.put_watched(&record).await?;
            known.spotter.taken(&seen);
            known.waiting.push_back(record);
        }
        let seen: HashMap<&str, &Seen> = seen.iter().map(|seen| (seen.object.as_str(), seen)).collect();
        self.submit_waiting(known, &seen).await
    }

    /// As far as there is room.
    async fn submit_waiting(&self, known: &mut Known, seen: &HashMap<&str, &Seen>) -> Result<(), Error> {
        let Known { waiting, held_up, .. } = known;
        let mut absent = VecDeque::new();
        let mut result = Ok(());
        while let Some(record) = waiting.pop_front() {
            match self.submit(&record, seen.get(record.object.as_str()).copied()).await {
                Ok(Fate::Wait) => absent.push_back(record),
                Ok(Fate::Submit | Fate::Superseded) => *held_up = None,
                Err(error) => {
                    // The others are the same owner's.
                    waiting.push_front(record);
                    result = Err(error);
                    break;
                }
            }
        }
        absent.append(waiting);
        *waiting = absent;
        match result {
            Err(Error::Queue(queue::Error::Quota(why))) => self.hold_up(known, why),
            Err(Error::Quota(holdings::Error::Over(over))) => self.hold_up(known, over.to_string()),
            result => return result,
        }
        Ok(())
    }

    fn hold_up(&self, known: &mut Known, why: String) {
        if known.held_up.is_none() {
            tracing::info!(place = %self.rule.place, files = known.waiting.len(), why, "found files wait for their owner's quota");
        }
        known.held_up = Some(why);
    }

    async fn list(&self) -> Result<Vec<Seen>, Error> {
        let prefix = &self.rule.place.path;
        let found = self.buckets.list(&self.rule.place)?;
        let seen = found.map_ok(|found| Seen {
            object: found.address.path[prefix.len()..].trim_start_matches('/').to_owned(),
            size: found.size,
            modified: found.modified,
            tag: found.tag,
        });
        Ok(seen.try_collect().await?)
    }

    /// Submits the job of a file that was written down, unless it is there; `seen`: what has its name now.
    async fn submit(&self, record: &WatchedRecord, seen: Option<&Seen>) -> Result<Fate, Error> {
        match self.queue.job(record.job).await {
            Ok(_) => {}
            Err(queue::Error::NoSuchJob(_)) => {
                match fate(&record.version, seen) {
                    Fate::Submit => {}
                    Fate::Wait => return Ok(Fate::Wait),
                    Fate::Superseded => {
                        self.store.put_watched(&WatchedRecord { submitted: true, ..record.clone() }).await?;
                        return Ok(Fate::Superseded);
                    }
                }
                self.holdings.admit_job(self.rule.owner.as_deref()).await?;
                let details = self.details(&record.object)?;
                self.queue.submit_as(record.job, details).await?;
                tracing::info!(job = %record.job, place = %self.rule.place, object = record.object, "found a file");
            }
            Err(error) => return Err(error.into()),
        }
        self.store.put_watched(&WatchedRecord { submitted: true, ..record.clone() }).await?;
        Ok(Fate::Submit)
    }

    fn details(&self, object: &str) -> Result<JobDetails, Error> {
        let preset = self.presets.get(&self.rule.preset);
        let preset = preset.ok_or_else(|| Error::NoPreset(self.rule.preset.clone()))?;
        let address: Address = self.rule.place.join(object);
        let location = match address.file() {
            Some(path) => InputLocation::Path(path.to_string_lossy().into_owned()),
            None => InputLocation::Bucket(address.to_string()),
        };
        let name = match &location {
            InputLocation::Path(path) => path.clone(),
            _ => address.to_string(),
        };
        Ok(JobDetails {
            input: JobInput::new(location, name),
            more_inputs: Vec::new(),
            preset: self.rule.preset.clone(),
            spec: Arc::new(preset.spec.clone()),
            hardware: HardwarePolicy::default(),
            priority: 0,
            labels: Labels::new(),
            owner: self.rule.owner.clone(),
            on_damaged_input: common::api::OnDamagedInput::default(),
            time_limit_ms: None,
            output: self.rule.target_of(object, &preset.spec),
            webhook: None,
        })
    }
}

/// The regular files below a folder. Links are not followed, and names that are no text are left out.
fn walk(root: &Path) -> io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut folders: Vec<(PathBuf, String, usize)> = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.chars().any(char::is_control) {
                continue;
            }
            let object = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            // What vanishes meanwhile was not meant to stay.
            let Ok(about) = entry.path().symlink_metadata() else { continue };
            if about.is_dir() && depth < MAX_DEPTH {
                folders.push((entry.path(), object, depth + 1));
            } else if about.is_file() {
                let modified = about.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
                let modified = modified.map_or(0, Timestamp::as_millisecond);
                seen.push(Seen { object, size: about.len(), modified, tag: None });
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
