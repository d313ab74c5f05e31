//! Where a test kills a daemon: before and after every durable write.
//!
//! In debug builds `TVARR_FAILPOINT=store.commit.after:3` kills the process with SIGKILL the third time it comes past
//! [`hit`]`("store.commit.after")`: nothing is unwound, flushed or answered, as when the power of this one process is cut.
//! In release builds [`hit`] is empty and the variable means nothing.

/// Every failpoint. Each is hit somewhere, and nothing else is: `tests/failpoints.rs` compares this with the sources.
pub const NAMES: &[&str] = &[
    // The coordinator starts.
    "lock.write.before",
    "lock.write.after",
    "key.write.before",
    "key.write.after",
    "file.staged",
    "file.renamed",
    "store.create.before",
    "store.create.after",
    "store.migrate.before",
    "store.migrate.after",
    // It works.
    "store.commit.begun",
    "store.commit.before",
    "store.commit.after",
    "store.told",
    "object.write.before",
    "object.staged",
    "object.finish.before",
    "object.finish.after",
    "direct.begin.before",
    "direct.begin.after",
    "direct.complete.before",
    "direct.complete.after",
    "attempt.checked",
    "attempt.queued",
    "attempt.sweep.before",
    "attempt.sweep.after",
    "upload.sweep.before",
    "upload.sweep.after",
    "upload.delete.before",
    "upload.delete.after",
    "incoming.create.before",
    "incoming.create.after",
    "incoming.write.before",
    "incoming.write.after",
    "incoming.count.after",
    "incoming.join.before",
    "incoming.join.after",
    "incoming.place.before",
    "incoming.placed",
    "incoming.place.after",
    "incoming.remove.before",
    "incoming.remove.after",
    "job.remove.files",
    "job.remove.before",
    "job.remove.after",
    "upload.own.before",
    "upload.own.after",
    "quota.set.before",
    "quota.set.after",
    "access.add.before",
    "access.add.after",
    "access.revoke.before",
    "access.revoke.after",
    "webhook.settle.before",
    "webhook.settle.after",
    "webhook.again.before",
    "webhook.again.after",
    "stream.add.before",
    "stream.add.after",
    "stream.remove.before",
    "stream.remove.after",
    "stream.reserve.before",
    "stream.reserve.after",
    // It stops.
    "store.close.before",
    "store.close.after",
    // The worker starts.
    "worker.id.before",
    "worker.id.staged",
    "worker.id.renamed",
    "worker.id.after",
    "scratch.prepare.before",
    "scratch.prepare.after",
    // It works.
    "scratch.create.before",
    "scratch.create.after",
    "encode.before",
    "encode.after",
    "upload.put.before",
    "upload.put.after",
    "scratch.remove.before",
    "scratch.remove.after",
    "report.before",
    "report.after",
    "report.acknowledged",
];

#[cfg(debug_assertions)]
pub use armed::{check, hit};

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Nothing, in a release build.
///
/// # Errors
/// None.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn check() -> Result<(), std::convert::Infallible> {
    Ok(())
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::NAMES;

    /// Holds `name` or `name:times`.
    const VARIABLE: &str = "TVARR_FAILPOINT";

    static ARMED: OnceLock<Result<Option<Armed>, Error>> = OnceLock::new();

    /// What `TVARR_FAILPOINT` says cannot be done.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("TVARR_FAILPOINT: {0:?} is no failpoint; use NAME or NAME:TIMES with one of {names}", names = NAMES.join(", "))]
    pub struct Error(String);

    #[derive(Debug)]
    struct Armed {
        name: &'static str,
        /// How often it will be passed without dying, and once more.
        left: AtomicU32,
    }

    /// Reads the variable.
    ///
    /// # Errors
    /// It names no failpoint.
    pub fn check() -> Result<(), Error> {
        armed().as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Dies here, if this is where the process was told to die.
    pub fn hit(name: &'static str) {
        debug_assert!(NAMES.contains(&name), "{name} is missing in failpoint::NAMES");
        if let Ok(Some(armed)) = armed()
            && armed.is_it(name)
        {
            // Other threads may run on until the kernel is through with them; this one never gets past here.
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    fn armed() -> &'static Result<Option<Armed>, Error> {
        ARMED.get_or_init(|| std::env::var(VARIABLE).map_or(Ok(None), |text| Armed::parse(&text).map(Some)))
    }

    impl Armed {
        fn parse(text: &str) -> Result<Self, Error> {
            let unknown = || Error(text.to_owned());
            let (name, times) = match text.split_once(':') {
                Some((name, times)) => (name, times.parse().map_err(|_| unknown())?),
                None => (text, 1),
            };
            let name = NAMES.iter().find(|known| **known == name).ok_or_else(unknown)?;
            if times == 0 {
                return Err(unknown());
            }
            Ok(Self { name, left: AtomicU32::new(times) })
        }

        fn is_it(&self, name: &str) -> bool {
            self.name == name && self.left.fetch_sub(1, Ordering::SeqCst) == 1
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_third_time_is_the_third_time() {
            let armed = Armed::parse("store.commit.before:3").unwrap();
            let hits = ["store.commit.before", "store.commit.after", "store.commit.before"];
            assert!(!hits.iter().any(|name| armed.is_it(name)));
            assert!(armed.is_it("store.commit.before"));
            assert!(!armed.is_it("store.commit.before"));
        }

        #[test]
        fn what_is_no_failpoint_is_refused_with_those_that_are() {
            for text in
                ["", "store", "store.commit.before:", "store.commit.before:0", "store.commit.before:x"]
            {
                let error = Armed::parse(text).unwrap_err().to_string();
                assert!(error.contains("TVARR_FAILPOINT") && error.contains("store.commit.after"), "{error}");
            }
        }
    }
}
