//! The reservations, and the file system that they are about.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{bytes, id::AttemptId};

use super::{
    folder,
    ledger::{Ledger, MINIMUM, Shortage},
};

/// Unless set otherwise this much of the file system is left to others, or a twentieth of it if that is less.
const KEEP_FREE: u64 = 1 << 30;
const KEEP_FREE_PART: u64 = 20;
/// How often an attempt's folder is measured.
const LOOK: Duration = Duration::from_secs(1);

/// The scratch space of a worker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Space(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    ledger: Mutex<Ledger>,
    /// As measured last, in bytes.
    free: AtomicU64,
}

/// What an attempt may write. Given back when dropped, which must not be before its folder is gone.
#[derive(Debug)]
pub(crate) struct Claim {
    space: Space,
    attempt: AttemptId,
}

/// In bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// What a new attempt could reserve.
    pub(crate) available: u64,
    pub(crate) reserved: u64,
    pub(crate) limit: u64,
}

/// An attempt's folder, watched while it grows.
#[derive(Debug, Clone)]
pub(in crate::run) struct Growth {
    pub(in crate::run) claim: Arc<Claim>,
    pub(in crate::run) folder: PathBuf,
}

impl Space {
    /// `root` must exist. Without a limit it is what the file system holds.
    pub(crate) fn open(root: &Path, limit: Option<u64>, keep_free: Option<u64>) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(root)?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let keep_free = keep_free.unwrap_or_else(|| KEEP_FREE.min(total / KEEP_FREE_PART));
        Ok(Self(Arc::new(Shared {
            root: root.to_owned(),
            ledger: Mutex::new(Ledger::new(limit.unwrap_or(total), keep_free)),
            free: AtomicU64::new(free(root)),
        })))
    }

    /// Reserves the least that an attempt needs, of what was free when that was last measured.
    pub(crate) fn claim(&self, attempt: AttemptId) -> Result<Claim, Shortage> {
        self.ledger().reserve(attempt, MINIMUM, self.free())?;
        Ok(Claim { space: self.clone(), attempt })
    }

    /// What a new attempt could reserve, in bytes.
    pub(crate) fn available(&self) -> u64 {
        self.ledger().available(self.free())
    }

    /// How it is, in bytes.
    pub(crate) fn figures(&self) -> Room {
        let free = self.free();
        let ledger = self.ledger();
        Room { available: ledger.available(free), reserved: ledger.reserved(), limit: ledger.limit() }
    }

    /// Why no attempt can be taken, in words; nothing if one can.
    pub(crate) fn not_taking(&self) -> Option<String> {
        let free = self.free();
        let ledger = self.ledger();
        let available = ledger.available(free);
        if available >= MINIMUM {
            return None;
        }
        let what = if ledger.is_full() {
            "ffmpeg found the file system full".to_owned()
        } else {
            format!("{} are left for another attempt", bytes::show(available))
        };
        let (running, reserved) = (ledger.claims(), bytes::show(ledger.reserved()));
        Some(format!(
            "no room in the scratch folder {}: {what}, and {} are needed at least ({} free, of which {} stay free; limit \
             {}; {reserved} reserved for {running} running); make room there, or change TVARR_SCRATCH_LIMIT, \
             TVARR_SCRATCH_KEEP_FREE or TVARR_SCRATCH_DIR",
            self.0.root.display(),
            bytes::show(MINIMUM),
            bytes::show(free),
            bytes::show(ledger.keep_free()),
            bytes::show(ledger.limit()),
        ))
    }

    /// What is free now.
    pub(crate) fn measured(&self, free: u64) {
        self.0.free.store(free, Ordering::Relaxed);
        self.ledger().measured(free);
    }

    /// An attempt ended because nothing more could be written.
    pub(crate) fn ran_full(&self) {
        self.ledger().ran_full();
    }

    fn free(&self) -> u64 {
        self.0.free.load(Ordering::Relaxed)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Raises it to `bytes` in all, of what is free now.
    pub(crate) async fn raise(self: &Arc<Self>, bytes: u64) -> Result<(), Shortage> {
        let claim = Arc::clone(self);
        blocking(move || claim.space.ledger().reserve(claim.attempt, bytes, free(&claim.space.0.root))).await
    }

    fn look(&self, folder: &Path) -> Result<(), Shortage> {
        let used = folder::used(folder);
        // After the folder: what is written meanwhile is rather seen twice than not at all.
        self.space.ledger().used(self.attempt, used, free(&self.space.0.root))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.space.ledger().release(self.attempt);
    }
}

impl Growth {
    /// Ends when the folder outgrows what can be had, and not before.
    pub(in crate::run) async fn outgrown(&self) -> Shortage {
        loop {
            tokio::time::sleep(LOOK).await;
            let Self { claim, folder } = self.clone();
            if let Err(shortage) = blocking(move || claim.look(&folder)).await {
                return shortage;
            }
        }
    }
}

/// Asking a file system may take its time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Shortage> + Send + 'static,
) -> Result<T, Shortage> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("measuring does not panic, and the runtime outlives attempts")
}

/// Bytes that may be written below a folder; 0 when that cannot be found out.
fn free(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use common::id::{Epoch, TaskId};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn attempt() -> AttemptId {
        AttemptId { task: TaskId::new(), epoch: Epoch(1) }
    }

    #[test]
    fn a_worker_without_room_says_so_until_it_has_some() {
        let root = tempfile::tempdir().unwrap();
        let space = Space::open(root.path(), Some(100 * MIB), Some(0)).unwrap();
        assert_eq!((space.available(), space.not_taking()), (100 * MIB, None));
        let claim = space.claim(attempt()).unwrap();
        let said = space.not_taking().unwrap();
        for part in ["36.0 MiB are left", "64.0 MiB are needed", "TVARR_SCRATCH_LIMIT", "for 1 running"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(space.claim(attempt()).unwrap_err().available, 36 * MIB);
        drop(claim);
        assert_eq!(space.not_taking(), None);
        space.ran_full();
        assert!(space.not_taking().unwrap().contains("found the file system full"));
        space.measured(0);
        assert!(space.not_taking().is_some());
        space.measured(MINIMUM);
        assert_eq!(space.not_taking(), None);
    }

    #[test]
    fn a_part_of_the_disk_stays_free() {
        let root = tempfile::tempdir().unwrap();
        let space = Space::open(root.path(), None, None).unwrap();
        assert!(space.available() <= space.free() - space.ledger().keep_free());
        assert!((1..=KEEP_FREE).contains(&space.ledger().keep_free()));
    }

    #[tokio::test]
    async fn a_folder_that_outgrows_its_room_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("attempt/out");
        std::fs::create_dir_all(&folder).unwrap();
        let space = Space::open(root.path(), Some(65 * MIB), Some(0)).unwrap();
        let claim = Arc::new(space.claim(attempt()).unwrap());
        claim.raise(65 * MIB).await.unwrap();
        assert_eq!(
            claim.raise(66 * MIB).await.unwrap_err(),
            Shortage { needed: 66 * MIB, available: 65 * MIB }
        );
        std::fs::write(folder.join("a"), vec![1; 66 * MIB as usize]).unwrap();
        let growth = Growth { claim, folder: root.path().join("attempt") };
        let shortage = growth.outgrown().await;
        assert!(shortage.needed >= 132 * MIB, "{shortage:?}");
    }
}
