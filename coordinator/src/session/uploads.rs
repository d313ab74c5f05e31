//! What attempts may bring, are bringing and have brought.
//!
//! In memory only: after a restart a worker asks for its URLs again, and what was brought before is hashed again when the
//! attempt ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{
    digest::Digest,
    id::{AttemptId, JobId},
    worker::OutputFile,
};
use tokio_util::sync::CancellationToken;

use crate::storage::{Key, RelPath};

#[derive(Debug, Clone, Default)]
pub(crate) struct Uploads(Arc<Mutex<HashMap<AttemptId, Attempt>>>);

#[derive(Debug, Default)]
struct Attempt {
    files: HashMap<Key, File>,
    /// Its files were counted: none comes any more.
    sealed: bool,
}

#[derive(Debug, Default)]
struct File {
    granted: Option<(u64, String)>,
    stored: Option<(u64, Digest)>,
    writer: Option<Arc<Writer>>,
}

#[derive(Debug, Default)]
struct Writer {
    /// Tells it to give up.
    stop: CancellationToken,
    /// Cancelled when it has.
    gone: CancellationToken,
}

/// What becomes of a PUT.
#[derive(Debug)]
pub(super) enum Begin {
    /// The same file was brought before.
    There,
    /// The attempt has ended, only its last message is still being looked at.
    Sealed,
    Write(Writing),
}

impl Uploads {
    /// Notes what an attempt is going to bring.
    ///
    /// # Errors
    /// It said something else about a file before, in words. Nothing is noted then.
    pub(super) fn grant(&self, job: JobId, attempt: AttemptId, files: &[OutputFile]) -> Result<(), String> {
        let mut attempts = self.lock();
        let known = attempts.entry(attempt).or_default();
        let granted: Vec<(Key, (u64, String))> = files
            .iter()
            .map(|file| {
                let path = RelPath::parse(&file.path).map_err(|error| error.to_string())?;
                let key = Key::output(job, attempt, &path);
                let granted = (file.size, file.sha256.clone());
                let before = known.files.get(&key).and_then(|file| file.granted.as_ref());
                match before {
                    Some(before) if *before != granted => Err(format!(
                        "{path} was announced with {} bytes and the SHA-256 {:?} before, and has {} bytes and {:?} now: \
                         the files of an attempt do not change",
                        before.0, before.1, granted.0, granted.1
                    )),
                    None if known.sealed => Err(format!("{path} is new, and the attempt has ended")),
                    _ => Ok((key, granted)),
                }
            })
            .collect::<Result<_, _>>()?;
        for (key, granted) in granted {
            known.files.entry(key).or_default().granted = Some(granted);
        }
        Ok(())
    }

    /// Begins to write a file, once who was writing the same one has given up: its worker has, or it would not ask again.
    pub(super) async fn begin(
        &self,
        attempt: AttemptId,
        key: &Key,
        size: u64,
        sha256: Option<Digest>,
    ) -> Begin {
        loop {
            match self.try_begin(attempt, key, size, sha256) {
                Ok(begin) => return begin,
                Err(gone) => gone.cancelled().await,
            }
        }
    }

    /// `Err`: another one writes. It was told to give up, and the token is cancelled when it has.
    fn try_begin(
        &self,
        attempt: AttemptId,
        key: &Key,
        size: u64,
        sha256: Option<Digest>,
    ) -> Result<Begin, CancellationToken> {
        let mut attempts = self.lock();
        let known = attempts.entry(attempt).or_default();
        let file = known.files.entry(key.clone()).or_default();
        let there = file
            .stored
            .is_some_and(|(stored, digest)| stored == size && sha256.is_none_or(|sha256| sha256 == digest));
        if there {
            return Ok(Begin::There);
        }
        if known.sealed {
            return Ok(Begin::Sealed);
        }
        if let Some(before) = &file.writer {
            before.stop.cancel();
            return Err(before.gone.clone());
        }
        let writer = Arc::<Writer>::default();
        file.writer = Some(Arc::clone(&writer));
        Ok(Begin::Write(Writing { uploads: self.clone(), attempt, key: key.clone(), writer }))
    }

    /// Ends an attempt's uploads: from here on nothing of it is written or removed but by a sweep.
    ///
    /// # Errors
    /// A file is still being written, or one that it asked to bring is not among `files`; in words.
    pub(super) fn seal(&self, job: JobId, attempt: AttemptId, files: &[OutputFile]) -> Result<(), String> {
        let mut attempts = self.lock();
        let known = attempts.entry(attempt).or_default();
        let reported: HashMap<Key, (u64, &str)> = files
            .iter()
            .filter_map(|file| {
                let key = Key::output(job, attempt, &RelPath::parse(&file.path).ok()?);
                Some((key, (file.size, file.sha256.as_str())))
            })
            .collect();
        for (key, file) in &known.files {
            if file.writer.is_some() {
                return Err(format!("{key} is still being written"));
            }
            let granted = file.granted.as_ref().map(|(size, sha256)| (*size, sha256.as_str()));
            match (granted, reported.get(key)) {
                (Some(_), None) => return Err(format!("{key} was announced and is not in the report")),
                (Some(granted), Some(reported)) if granted != *reported => {
                    return Err(format!(
                        "{key} was announced with {} bytes and the SHA-256 {:?}, and reported with {} and {:?}",
                        granted.0, granted.1, reported.0, reported.1
                    ));
                }
                _ => {}
            }
        }
        known.sealed = true;
        Ok(())
    }

    /// The digest of a file that was hashed when it came.
    pub(super) fn digest(&self, attempt: AttemptId, key: &Key) -> Option<Digest> {
        let attempts = self.lock();
        attempts.get(&attempt)?.files.get(key)?.stored.map(|(_, digest)| digest)
    }

    /// The size of a file that was brought.
    pub(super) fn is_there(&self, attempt: AttemptId, key: &Key) -> Option<u64> {
        let attempts = self.lock();
        attempts.get(&attempt)?.files.get(key)?.stored.map(|(size, _)| size)
    }

    /// The attempt is over: who still writes for it stops.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        let Some(known) = self.lock().remove(&attempt) else { return };
        for writer in known.files.into_values().filter_map(|file| file.writer) {
            writer.stop.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write a file, until dropped.
#[derive(Debug)]
pub(super) struct Writing {
    uploads: Uploads,
    attempt: AttemptId,
    key: Key,
    writer: Arc<Writer>,
}

impl Writing {
    /// Cancelled when another request wants to write the file or the attempt is over.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.writer.stop
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.writer.stop.is_cancelled()
    }

    /// The file is durable.
    pub(super) fn stored(&self, size: u64, digest: Digest) {
        self.with_own(|file| file.stored = Some((size, digest)));
    }

    /// The attempt may have been forgotten meanwhile, and begun anew by who does not know yet that it is over.
    fn with_own(&self, change: impl FnOnce(&mut File)) {
        let mut attempts = self.uploads.lock();
        let file = attempts.get_mut(&self.attempt).and_then(|known| known.files.get_mut(&self.key));
        let own =
            |file: &&mut File| file.writer.as_ref().is_some_and(|writer| Arc::ptr_eq(writer, &self.writer));
        if let Some(file) = file.filter(own) {
            change(file);
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.with_own(|file| file.writer = None);
        self.writer.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use common::id::{Epoch, TaskId};

    use super::*;

    fn file(path: &str, bytes: &str) -> OutputFile {
        OutputFile {
            path: path.to_owned(),
            size: bytes.len() as u64,
            content_type: String::new(),
            sha256: Digest::of(bytes.as_bytes()).to_string(),
        }
    }

    struct Scene {
        uploads: Uploads,
        job: JobId,
        attempt: AttemptId,
    }

    impl Scene {
        fn new() -> Self {
            let attempt = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
            Self { uploads: Uploads::default(), job: JobId::new(), attempt }
        }

        fn grant(&self, files: &[OutputFile]) -> Result<(), String> {
            self.uploads.grant(self.job, self.attempt, files)
        }

        fn seal(&self, files: &[OutputFile]) -> Result<(), String> {
            self.uploads.seal(self.job, self.attempt, files)
        }

        async fn begin(&self, file: &OutputFile) -> Begin {
            let key = Key::output(self.job, self.attempt, &RelPath::parse(&file.path).unwrap());
            self.uploads.begin(self.attempt, &key, file.size, file.sha256.parse().ok()).await
        }

        async fn write(&self, file: &OutputFile) -> Writing {
            match self.begin(file).await {
                Begin::Write(writing) => writing,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_attempt_may_ask_again_for_the_same_files_and_not_for_others() {
        let scene = Scene::new();
        let (a, b) = (file("a", "1"), file("b", "2"));
        scene.grant(std::slice::from_ref(&a)).unwrap();
        scene.grant(&[a.clone(), b.clone()]).unwrap();
        let error = scene.grant(&[file("c", "3"), file("a", "other")]).unwrap_err();
        assert!(error.contains("do not change"), "{error}");
        // Nothing of the refused request is noted: c need not be reported.
        scene.seal(&[a.clone(), b.clone()]).unwrap();
        assert!(scene.grant(&[file("c", "3")]).unwrap_err().contains("has ended"));
        scene.grant(&[a, b]).unwrap();
    }

    #[tokio::test]
    async fn the_report_must_be_what_was_announced() {
        let scene = Scene::new();
        let (a, b) = (file("a", "1"), file("b", "2"));
        scene.grant(&[a.clone(), b.clone()]).unwrap();
        assert!(scene.seal(std::slice::from_ref(&a)).unwrap_err().contains("not in the report"));
        assert!(scene.seal(&[a.clone(), file("b", "3")]).unwrap_err().contains("was announced with 1 bytes"));
        let writing = scene.write(&a).await;
        assert!(scene.seal(&[a.clone(), b.clone()]).unwrap_err().contains("still being written"));
        drop(writing);
        scene.seal(&[a, b.clone()]).unwrap();
        assert!(matches!(scene.begin(&b).await, Begin::Sealed));
    }

    #[tokio::test]
    async fn what_is_there_is_not_written_again() {
        let scene = Scene::new();
        let a = file("a", "1");
        scene.write(&a).await.stored(1, Digest::of(b"1"));
        assert!(matches!(scene.begin(&a).await, Begin::There));
        assert!(matches!(scene.begin(&file("a", "2")).await, Begin::Write(_)));
    }

    #[tokio::test]
    async fn who_comes_again_takes_over_when_the_first_has_given_up() {
        let scene = Scene::new();
        let a = file("a", "1");
        let first = scene.write(&a).await;
        let second = scene.write(&a);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        assert!(first.is_stopped());
        drop(first);
        let second = second.await;
        assert!(scene.seal(std::slice::from_ref(&a)).unwrap_err().contains("still being written"));
        scene.uploads.forget(scene.attempt);
        assert!(second.is_stopped());
    }

    /// It was told to stop when its file was whole already.
    #[tokio::test]
    async fn who_comes_again_hears_that_the_first_has_finished() {
        let scene = Scene::new();
        let a = file("a", "1");
        let first = scene.write(&a).await;
        let second = scene.begin(&a);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        first.stored(1, Digest::of(b"1"));
        drop(first);
        assert!(matches!(second.await, Begin::There));
    }

    /// Nobody waits for one that is left over from before an attempt was forgotten, and it changes nothing.
    #[tokio::test]
    async fn a_forgotten_writer_is_nobodys() {
        let scene = Scene::new();
        let a = file("a", "1");
        let first = scene.write(&a).await;
        scene.uploads.forget(scene.attempt);
        let second = scene.write(&a).await;
        first.stored(1, Digest::of(b"1"));
        drop(first);
        assert!(!second.is_stopped());
        assert!(scene.seal(std::slice::from_ref(&a)).unwrap_err().contains("still being written"));
    }
}
