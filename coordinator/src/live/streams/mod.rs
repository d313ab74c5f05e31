//! The streams that there are: those of the configuration file, and those that were added, which are durable.
//!
//! Durable is also, by the name of a stream, up to where media sequences may have been given away: it is raised before any of
//! a block is used, so that they never go back, whatever is killed when.

mod check;
mod configured;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{id::StreamId, profile::Profiles, stream::StreamSpec};

pub use self::{
    check::{Invalid, check},
    configured::{Error as ConfiguredError, parse},
};
use super::service::Error;
use crate::store::{self, StoredStream, StreamStore};

/// Media sequences that are reserved at once: at one a second and with four beginnings a second half an hour, so that the
/// store is hardly ever written for them.
pub const BLOCK: u64 = 10_000;

/// A stream, and from where on it may number segments.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRecord {
    pub id: StreamId,
    pub spec: StreamSpec,
    /// Milliseconds since the Unix epoch; of a configured one, when the coordinator started.
    pub created_at: i64,
    pub configured: bool,
    /// Where its numbers begin in this run of the coordinator: none from here on was ever given away.
    pub first_sequence: u64,
    /// Numbers below this may be given away.
    pub reserved: u64,
}

/// Streams that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(
        "stream {0:?} is in the configuration file and was added with the API too; rename one: take it out of the file and \
         remove the other with ffmpegctl streams rm {0}, or give it another name in the file"
    )]
    Twice(String),
    #[error("stream {name:?} of the configuration file: {invalid}")]
    Invalid { name: String, invalid: Invalid },
}

/// The streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn StreamStore>,
    records: Mutex<BTreeMap<StreamId, StreamRecord>>,
    /// One change at a time: the store and the records change together.
    changing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("records", &self.inner.records).finish_non_exhaustive()
    }
}

impl Streams {
    /// Reads what was added, and reserves numbers for every stream.
    ///
    /// # Errors
    /// The store cannot be read or written; a configured stream makes no sense or was added too.
    pub async fn open(
        store: Arc<dyn StreamStore>,
        configured: Vec<StreamSpec>,
        profiles: &Profiles,
    ) -> Result<Self, OpenError> {
        let stored = store.streams().await?;
        for spec in &configured {
            check(spec, profiles)
                .map_err(|invalid| OpenError::Invalid { name: spec.name.clone(), invalid })?;
            if stored.iter().any(|stream| stream.spec.name == spec.name) {
                return Err(OpenError::Twice(spec.name.clone()));
            }
        }
        let floors = store.sequence_floors().await?;
        let started = jiff::Timestamp::now().as_millisecond();
        let configured = configured
            .into_iter()
            .map(|spec| (StoredStream { id: configured::id(&spec.name), spec, created_at: started }, true));
        let mut records = BTreeMap::new();
        for (StoredStream { id, spec, created_at }, configured) in
            stored.into_iter().map(|stream| (stream, false)).chain(configured)
        {
            let first_sequence = floors.get(&spec.name).copied().unwrap_or(0);
            let reserved = first_sequence.saturating_add(BLOCK);
            records.insert(id, StreamRecord { id, spec, created_at, configured, first_sequence, reserved });
        }
        let floors: Vec<_> =
            records.values().map(|record| (record.spec.name.clone(), record.reserved)).collect();
        if !floors.is_empty() {
            store.raise_sequence_floors(&floors).await?;
        }
        let inner = Inner { store, records: Mutex::new(records), changing: tokio::sync::Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<StreamRecord> {
        self.records().values().cloned().collect()
    }

    /// By id or name.
    #[must_use]
    pub fn get(&self, stream: &str) -> Option<StreamRecord> {
        let records = self.records();
        let by_id = stream.parse().ok().and_then(|id: StreamId| records.get(&id));
        by_id.or_else(|| records.values().find(|record| record.spec.name == stream)).cloned()
    }

    /// Durable once it returns.
    ///
    /// # Errors
    /// It makes no sense, its name is taken, or the store cannot be written.
    pub async fn add(&self, spec: StreamSpec, profiles: &Profiles) -> Result<StreamRecord, Error> {
        check(&spec, profiles)?;
        let _changing = self.inner.changing.lock().await;
        if let Some(taken) = self.get(&spec.name) {
            return Err(Error::Exists(taken.spec.name));
        }
        let floors = self.inner.store.sequence_floors().await.map_err(|error| failed(&error))?;
        let first_sequence = floors.get(&spec.name).copied().unwrap_or(0);
        let reserved = first_sequence.saturating_add(BLOCK);
        self.inner
            .store
            .raise_sequence_floors(&[(spec.name.clone(), reserved)])
            .await
            .map_err(|error| failed(&error))?;
        let created_at = jiff::Timestamp::now().as_millisecond();
        let stored = StoredStream { id: StreamId::new(), spec, created_at };
        self.inner.store.add_stream(&stored).await.map_err(|error| failed(&error))?;
        let StoredStream { id, spec, created_at } = stored;
        let record = StreamRecord { id, spec, created_at, configured: false, first_sequence, reserved };
        self.records().insert(id, record.clone());
        tracing::info!(stream = %id, name = record.spec.name, source = %record.spec.source, "a stream was added");
        Ok(record)
    }

    /// # Errors
    /// There is none, it is a configured one, or the store cannot be written.
    pub async fn remove(&self, id: StreamId) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        let record = self.records().get(&id).cloned();
        let record = record.ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        if record.configured {
            return Err(Error::Configured(record.spec.name));
        }
        self.inner.store.remove_stream(id).await.map_err(|error| failed(&error))?;
        self.records().remove(&id);
        tracing::info!(stream = %id, name = record.spec.name, "a stream was removed");
        Ok(())
    }

    /// Numbers below what is returned may be given away: at least a block more than `at_least`. Durable once it returns.
    ///
    /// # Errors
    /// There is no such stream, or the store cannot be written: none beyond those reserved before may be used then.
    pub async fn reserve_sequences(&self, id: StreamId, at_least: u64) -> Result<u64, Error> {
        let _changing = self.inner.changing.lock().await;
        let record = self.records().get(&id).cloned();
        let record = record.ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        let reserved = at_least.saturating_add(BLOCK).max(record.reserved);
        self.inner
            .store
            .raise_sequence_floors(&[(record.spec.name, reserved)])
            .await
            .map_err(|error| failed(&error))?;
        if let Some(record) = self.records().get_mut(&id) {
            record.reserved = reserved;
        }
        Ok(reserved)
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<StreamId, StreamRecord>> {
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: &store::Error) -> Error {
    Error::Store(error.to_string())
}

#[cfg(test)]
mod tests;
