//! What a start finds, and files put together from others.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use common::id::UploadId;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Error, Incoming, Limits, Shared, entry::Entry, index::Readable, inflow, key, state};
use crate::{
    queue,
    storage::{self, Key, Storage},
    store::{UploadRecord, UploadStore},
};

/// What uploads are kept in and held to.
pub(crate) struct Settings {
    /// For the bytes; on the disk of the storage.
    pub(crate) folder: PathBuf,
    pub(crate) limits: Limits,
    /// Hears how far inputs have come.
    pub(crate) queue: queue::Handle,
    /// Ends writers.
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

/// What there is of an upload on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OnDisk {
    /// Bytes of its own file.
    file: Option<u64>,
    /// Whether its object is there.
    object: bool,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    As(UploadRecord),
    /// Its bytes are gone.
    Lost,
}

/// What a row means, with what is on disk. What died between moving a file and saying so has moved it.
fn judge(mut record: UploadRecord, disk: OnDisk) -> Found {
    match (record.placed, disk.file, disk.object) {
        (true, _, true) => Found::As(record),
        (true, _, false) => Found::Lost,
        (false, Some(size), _) => {
            record.received = record.received.min(size);
            Found::As(record)
        }
        (false, None, true) => {
            record.placed = true;
            Found::As(record)
        }
        (false, None, false) if record.received == 0 => Found::As(record),
        (false, None, false) => Found::Lost,
    }
}

impl Incoming {
    /// Takes up what there is. Files of no upload are removed; what was whole becomes an object.
    ///
    /// # Errors
    /// The folder or the store cannot be read or written.
    pub(crate) async fn open(
        settings: Settings,
        store: Arc<dyn UploadStore>,
        storage: Storage,
    ) -> Result<Self, Error> {
        let Settings { folder, limits, queue, stop, tracker } = settings;
        let doing = |error: io::Error| storage::Error::io("reading the folder of uploads", &error);
        let listing = folder.clone();
        let listed = tokio::task::spawn_blocking(move || list(&listing)).await;
        let mut files = listed.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(doing)?;
        let shared =
            Shared { folder, store, storage, queue, limits, entries: Mutex::default(), stop, tracker };
        for record in shared.store.uploads().await? {
            let key = Key::upload(record.id, &record.details.filename);
            let object = shared.storage.size(&key).await?.is_some();
            let id = record.id;
            match judge(record.clone(), OnDisk { file: files.remove(&id), object }) {
                Found::As(found) => {
                    if found != record {
                        shared.store.put_upload(&found).await?;
                    }
                    shared.lock().insert(id, Arc::new(Entry::new(found)));
                }
                Found::Lost => {
                    tracing::info!(upload = %id, "an upload is gone from the disk");
                    shared.store.remove_upload(id).await?;
                }
            }
        }
        for id in files.into_keys() {
            fs::remove_file(shared.file(id)).map_err(doing)?;
        }
        let entries: Vec<Arc<Entry>> = shared.lock().values().cloned().collect();
        let inputs = entries.iter().map(|entry| entry.record());
        let inputs = inputs.filter(|record| !record.placed && state::is_input(record));
        let held = inputs.map(|record| (key(&record).as_str().to_owned(), inflow(Readable::NotYet)));
        shared.queue.inflows(held.collect()).await?;
        for entry in entries {
            let record = entry.record();
            if record.placed {
                continue;
            }
            if record.received > 0 {
                shared.inspect(&entry.take().await?).await?;
            }
            if state::is_whole(&record) && state::is_input(&record) {
                let turn = entry.take().await?;
                if let Err(error) = shared.place(&turn).await {
                    // Its sender can have it tried again, with an empty piece.
                    tracing::warn!(upload = %record.id, %error, "an upload that is whole is no object yet");
                }
            }
        }
        Ok(Self(Arc::new(shared)))
    }
}

/// The files of uploads with their sizes. The folder is made if it is not there.
fn list(folder: &Path) -> io::Result<HashMap<UploadId, u64>> {
    fs::create_dir_all(folder)?;
    let mut files = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            files.insert(id, entry.metadata()?.len());
        }
    }
    Ok(files)
}

/// Writes what is in `parts`, one after the other, to `to`, which is on disk when this returns. Nothing is left of it if that
/// fails.
pub(super) async fn join(parts: Vec<PathBuf>, to: PathBuf) -> Result<(), storage::Error> {
    let joining = tokio::task::spawn_blocking(move || {
        let joined = copy(&parts, &to);
        if joined.is_err() {
            // The next start removes it otherwise.
            let _ = fs::remove_file(&to);
        }
        joined
    });
    let joined = joining.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    joined.map_err(|error| storage::Error::io("putting uploads together", &error))
}

fn copy(parts: &[PathBuf], to: &Path) -> io::Result<()> {
    let mut whole = File::create_new(to)?;
    for part in parts {
        io::copy(&mut File::open(part)?, &mut whole)?;
    }
    whole.sync_all()?;
    to.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Concat, UploadDetails};

    #[test]
    fn a_row_means_what_is_on_disk() {
        let row = |received, placed| UploadRecord {
            id: UploadId(uuid::Uuid::nil()),
            details: UploadDetails {
                filename: "a".to_owned(),
                metadata: String::new(),
                concat: Concat::Alone,
            },
            length: Some(10),
            received,
            placed,
            created_at: 0,
            expires_at: 0,
        };
        let disk = |file, object| OnDisk { file, object };
        assert_eq!(judge(row(4, false), disk(Some(7), false)), Found::As(row(4, false)));
        assert_eq!(judge(row(4, false), disk(Some(3), false)), Found::As(row(3, false)));
        assert_eq!(judge(row(0, false), disk(None, false)), Found::As(row(0, false)));
        assert_eq!(judge(row(4, false), disk(None, false)), Found::Lost);
        assert_eq!(judge(row(10, false), disk(None, true)), Found::As(row(10, true)));
        assert_eq!(judge(row(10, true), disk(None, true)), Found::As(row(10, true)));
        assert_eq!(judge(row(10, true), disk(None, false)), Found::Lost);
    }
}
