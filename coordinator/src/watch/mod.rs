//! Watched folders and bucket prefixes: each new, fully written file becomes one job, once.
//!
//! A file is looked for again and again. What was found is written down with the id that its job will have before the job is
//! submitted, so that a coordinator that dies in between submits the same job, and no second one. Files are only read.

mod rule;
mod spot;

use std::{
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
use self::spot::{Seen, Spotter};
use crate::{
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
    #[error("there is no preset {0:?}")]
    NoPreset(String),
}

impl Watcher {
    /// Looks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tracing::info!(place = %self.rule.place, preset = self.rule.preset, every = ?self.every, "watching");
        // None: what became jobs earlier is still to be read.
        let mut spotter = None;
        let mut failing = false;
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let Some(looked) = stop.run_until_cancelled(self.look(&mut spotter)).await else { return };
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

    async fn look(&self, spotter: &mut Option<Spotter>) -> Result<(), Error> {
        let place = self.rule.to_string();
        let spotter = match spotter {
            Some(spotter) => spotter,
            None => {
                let known = self.store.watched(&place).await?;
                for record in known.iter().filter(|record| !record.submitted) {
                    self.submit(record).await?;
                }
                let known = known.into_iter().map(|record| (record.object, record.version));
                spotter.insert(Spotter::new(known))
            }
        };
        let (seen, whole) = match self.rule.place.file() {
            Some(folder) => {
                let listed = tokio::task::spawn_blocking(move || walk(&folder)).await;
                (listed.unwrap_or_else(|error| Err(io::Error::other(error)))?, false)
            }
            None => (self.list().await?, true),
        };
        for seen in spotter.look(seen, whole) {
            let record = WatchedRecord {
                place: place.clone(),
                object: seen.object.clone(),
                version: seen.version(),
                job: JobId::new(),
                submitted: false,
                seen_at: Timestamp::now().as_millisecond(),
            };
            self.store.put_watched(&record).await?;
            spotter.taken(&seen);
            self.submit(&record).await?;
        }
        Ok(())
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

    /// Submits the job of a file that was written down, unless it is there.
    async fn submit(&self, record: &WatchedRecord) -> Result<(), Error> {
        match self.queue.job(record.job).await {
            Ok(_) => {}
            Err(queue::Error::NoSuchJob(_)) => {
                let details = self.details(&record.object)?;
                self.queue.submit_as(record.job, details).await?;
                tracing::info!(job = %record.job, place = %self.rule.place, object = record.object, "found a file");
            }
            Err(error) => return Err(error.into()),
        }
        self.store.put_watched(&WatchedRecord { submitted: true, ..record.clone() }).await?;
        Ok(())
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
            owner: None,
            on_damaged_input: common::api::OnDamagedInput::default(),
            time_limit_ms: None,
            output: self.rule.target_of(object, &preset.spec),
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
