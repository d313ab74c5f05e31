//! `Idempotency-Key`: the same request sent again gives the job that it gave before.
//!
//! Durable in the commit that has the job. All keys of a day are in memory: a look into the store would not see what is on its
//! way there.

use std::collections::{BTreeSet, HashMap};

use common::{digest::Digest, id::JobId};

use crate::store::IdempotencyRecord;

/// Milliseconds after which a key may mean something else.
pub(crate) const KEPT: i64 = 24 * 3600 * 1000;

/// Whose key it is, and which.
type Name = (Option<String>, String);

/// A key as it came with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// In whose name the request came, which need not be the job's owner.
    pub owner: Option<String>,
    pub key: String,
    /// Of everything that was asked for.
    pub digest: Digest,
}

/// What was asked for before under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    Same(JobId),
    Other,
}

#[derive(Debug, Default)]
pub(super) struct Once {
    records: HashMap<Name, IdempotencyRecord>,
    by_age: BTreeSet<(i64, Name)>,
}

impl Once {
    pub(super) fn before(&self, key: &IdempotencyKey, now: i64) -> Before {
        match self.records.get(&(key.owner.clone(), key.key.clone())) {
            Some(record) if now - record.submitted_at >= KEPT => Before::Nothing,
            Some(record) if record.digest == key.digest => Before::Same(record.job),
            Some(_) => Before::Other,
            None => Before::Nothing,
        }
    }

    /// Remembers it, and forgets what is too old.
    pub(super) fn remember(&mut self, record: IdempotencyRecord) {
        let now = record.submitted_at;
        let name = (record.owner.clone(), record.key.clone());
        self.by_age.insert((now, name.clone()));
        if let Some(before) = self.records.insert(name.clone(), record)
            && before.submitted_at != now
        {
            self.by_age.remove(&(before.submitted_at, name));
        }
        while let Some((at, name)) = self.by_age.first()
            && now - at >= KEPT
        {
            self.records.remove(name);
            self.by_age.pop_first();
        }
    }

    /// The job was not accepted after all.
    pub(super) fn forget(&mut self, record: &IdempotencyRecord) {
        let name = (record.owner.clone(), record.key.clone());
        self.by_age.remove(&(record.submitted_at, name.clone()));
        self.records.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, digest: &[u8], at: i64) -> IdempotencyRecord {
        IdempotencyRecord {
            owner: None,
            key: key.to_owned(),
            digest: Digest::of(digest),
            job: JobId::new(),
            submitted_at: at,
        }
    }

    #[test]
    fn a_key_means_the_same_for_a_day() {
        let mut once = Once::default();
        let first = record("a", b"body", 0);
        once.remember(first.clone());
        let asked = |owner: Option<&str>, digest: &[u8]| IdempotencyKey {
            owner: owner.map(str::to_owned),
            key: "a".to_owned(),
            digest: Digest::of(digest),
        };
        assert_eq!(once.before(&asked(None, b"body"), KEPT - 1), Before::Same(first.job));
        assert_eq!(once.before(&asked(None, b"other"), KEPT - 1), Before::Other);
        assert_eq!(once.before(&asked(Some("ann"), b"body"), 1), Before::Nothing, "another's key");
        assert_eq!(once.before(&asked(None, b"other"), KEPT), Before::Nothing);
        once.remember(record("b", b"", KEPT));
        assert_eq!(once.records.len(), 1, "the old one is forgotten");
        once.forget(&record("b", b"", KEPT));
        assert!(once.records.is_empty() && once.by_age.is_empty());
    }
}
