//! The keys that there are.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{
    api::{KeyCreated, KeyRequest, KeyView, Scope},
    config::Secret,
    digest::Digest,
    id::KeyId,
};
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::{
    caller::{Caller, Holder},
    key,
};
use crate::store::{self, KeyStore, StoredKey};

/// Keys that can be used at the same time.
const MAX_KEYS: usize = 10_000;

/// Why a key was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
    #[error(
        "the first key must have the scope admin: with it the API is closed to everybody without a key, and somebody has to \
         make the others"
    )]
    FirstIsNoAdmin,
    #[error(
        "it is the last key with the scope admin, and there is no TVARR_ADMIN_KEY: make another one first"
    )]
    LastAdmin,
    #[error("there are {MAX_KEYS} keys: revoke those that nobody uses")]
    TooMany,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why a key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the API key is not known")]
    Unknown,
    #[error("the API key was revoked")]
    Revoked,
    #[error("the API key has expired")]
    Expired,
}

/// The keys; cheap to clone.
#[derive(Clone)]
pub(crate) struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn KeyStore>,
    /// Of the configuration's key.
    operator: Option<[u8; 32]>,
    known: Mutex<Known>,
    /// One change at a time: the store and what is known change together.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: BTreeMap<KeyId, Arc<Holder>>,
    by_digest: HashMap<Digest, KeyId>,
}

impl Known {
    fn put(&mut self, key: StoredKey) {
        self.by_digest.insert(key.digest, key.id);
        let holder = Holder { revoked: CancellationToken::new(), key };
        if holder.key.revoked_at.is_some() {
            holder.revoked.cancel();
        }
        self.keys.insert(holder.key.id, Arc::new(holder));
    }

    fn usable(&self, now: i64) -> impl Iterator<Item = &StoredKey> {
        self.keys.values().map(|holder| &holder.key).filter(move |key| refusal(key, now).is_none())
    }
}

fn refusal(key: &StoredKey, now: i64) -> Option<Refusal> {
    match key {
        key if key.revoked_at.is_some() => Some(Refusal::Revoked),
        key if key.expires_at.is_some_and(|at| at <= now) => Some(Refusal::Expired),
        _ => None,
    }
}

impl Access {
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn open(
        store: Arc<dyn KeyStore>,
        operator: Option<&Secret>,
    ) -> Result<Self, store::Error> {
        let mut known = Known::default();
        for key in store.keys().await? {
            known.put(key);
        }
        let operator = operator.map(|secret| bytes(&key::digest(secret.expose())));
        let inner =
            Inner { store, operator, known: Mutex::new(known), changing: tokio::sync::Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether there is a key, or ever was one: who has none is nobody then.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.operator.is_some() || !self.known().keys.is_empty()
    }

    /// Who holds this key.
    ///
    /// Takes the same time for every wrong key: the configuration's is compared by its digest and in constant time, and how
    /// far the digest of a guess agrees with one in the map says nothing about the key.
    ///
    /// # Errors
    /// Nobody who may do anything.
    pub(crate) fn check(&self, presented: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let digest = key::digest(presented);
        let is_operators = match &self.inner.operator {
            Some(operator) => bool::from(bytes(&digest).ct_eq(operator)),
            None => false,
        };
        let known = self.known();
        let holder = known.by_digest.get(&digest).and_then(|id| known.keys.get(id));
        if is_operators {
            return Ok(Caller::Operator);
        }
        let holder = holder.ok_or(Refusal::Unknown)?;
        match refusal(&holder.key, now.as_millisecond()) {
            Some(refusal) => Err(refusal),
            None => Ok(Caller::Key(Arc::clone(holder))),
        }
    }

    /// The same by the key's id; `None`: whoever holds the configuration's.
    ///
    /// # Errors
    /// Nobody who may do anything.
    pub(super) fn holder(&self, id: Option<KeyId>, now: Timestamp) -> Result<Caller, Refusal> {
        let Some(id) = id else {
            return self.inner.operator.map(|_| Caller::Operator).ok_or(Refusal::Unknown);
        };
        let holder = self.known().keys.get(&id).cloned().ok_or(Refusal::Unknown)?;
        match refusal(&holder.key, now.as_millisecond()) {
            Some(refusal) => Err(refusal),
            None => Ok(Caller::Key(holder)),
        }
    }

    /// Of a key's text, by its id; `None`: of the configuration's.
    pub(super) fn digest(&self, id: Option<KeyId>) -> Option<[u8; 32]> {
        match id {
            None => self.inner.operator,
            Some(id) => self.known().keys.get(&id).map(|holder| bytes(&holder.key.digest)),
        }
    }

    /// Oldest first.
    pub(crate) fn list(&self) -> Vec<KeyView> {
        self.known().keys.values().map(|holder| view(&holder.key)).collect()
    }

    /// Makes a key: durable once it returns. What `request` asks for is checked.
    ///
    /// # Errors
    /// It would lock everybody out, there are too many, or the store cannot be written.
    pub(crate) async fn create(&self, request: KeyRequest, now: Timestamp) -> Result<KeyCreated, Error> {
        let _changing = self.inner.changing.lock().await;
        {
            let known = self.known();
            if !self.is_closed_by(&known) && !request.scopes.contains(&Scope::Admin) {
                return Err(Error::FirstIsNoAdmin);
            }
            if known.usable(now.as_millisecond()).count() >= MAX_KEYS {
                return Err(Error::TooMany);
            }
        }
        let text = key::generate();
        let mut scopes = request.scopes;
        scopes.sort_unstable();
        scopes.dedup();
        let stored = StoredKey {
            id: KeyId::new(),
            digest: key::digest(&text),
            hint: key::hint(&text),
            owner: request.owner,
            scopes,
            name: request.name,
            created_at: now.as_millisecond(),
            expires_at: request.expires_at.map(Timestamp::as_millisecond),
            revoked_at: None,
        };
        self.inner.store.add_key(&stored).await?;
        let view = view(&stored);
        self.known().put(stored);
        tracing::info!(key = %view.id, owner = view.owner, scopes = ?view.scopes, "an API key was made");
        Ok(KeyCreated { view, key: text })
    }

    /// Ends a key, and what its holder follows: durable once it returns. One that was revoked before stays so.
    ///
    /// # Errors
    /// There is none, nobody could make another, or the store cannot be written.
    pub(crate) async fn revoke(&self, id: KeyId, now: Timestamp) -> Result<KeyView, Error> {
        let _changing = self.inner.changing.lock().await;
        let holder = self.known().keys.get(&id).cloned().ok_or(Error::NoSuchKey(id))?;
        if holder.key.revoked_at.is_some() {
            return Ok(view(&holder.key));
        }
        let is_admin = |key: &StoredKey| key.scopes.contains(&Scope::Admin);
        if self.inner.operator.is_none() && is_admin(&holder.key) {
            let known = self.known();
            let mut others = known.usable(now.as_millisecond()).filter(|key| key.id != id && is_admin(key));
            if others.next().is_none() {
                return Err(Error::LastAdmin);
            }
        }
        let at = now.as_millisecond();
        self.inner.store.revoke_key(id, at).await?;
        let revoked = StoredKey { revoked_at: Some(at), ..holder.key.clone() };
        let view = view(&revoked);
        self.known().put(revoked);
        holder.revoked.cancel();
        tracing::info!(key = %id, owner = view.owner, "an API key was revoked");
        Ok(view)
    }

    fn is_closed_by(&self, known: &Known) -> bool {
        self.inner.operator.is_some() || !known.keys.is_empty()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

fn bytes(digest: &Digest) -> [u8; 32] {
    *digest.bytes()
}

fn view(key: &StoredKey) -> KeyView {
    let time = |at: i64| Timestamp::from_millisecond(at).unwrap_or_default();
    KeyView {
        id: key.id,
        hint: key.hint.clone(),
        owner: key.owner.clone(),
        scopes: key.scopes.clone(),
        name: key.name.clone(),
        created_at: time(key.created_at),
        expires_at: key.expires_at.map(time),
        revoked_at: key.revoked_at.map(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SqliteStore;

    async fn open(folder: &tempfile::TempDir, operator: Option<&str>) -> Access {
        let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
        Access::open(Arc::new(store), operator.map(Secret::new).as_ref()).await.unwrap()
    }

    fn request(scopes: &[Scope]) -> KeyRequest {
        KeyRequest { owner: Some("ann".to_owned()), scopes: scopes.to_vec(), ..KeyRequest::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn a_key_opens_until_it_is_revoked_or_expires_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let access = open(&folder, None).await;
        assert!(!access.is_closed());
        let admin = access.create(request(&[Scope::Admin]), at(0)).await.unwrap();
        let short = KeyRequest { expires_at: Some(at(10)), ..request(&[Scope::Read]) };
        let short = access.create(short, at(0)).await.unwrap();
        let gone = access.create(request(&[Scope::Read]), at(0)).await.unwrap();
        let followed = access.check(&gone.key, at(1)).unwrap();
        access.revoke(gone.view.id, at(1)).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), followed.over()).await.unwrap();
        drop(access);

        let access = open(&folder, None).await;
        assert!(access.is_closed());
        assert!(access.check(&admin.key, at(9)).unwrap().is_admin());
        assert!(access.check(&short.key, at(9)).unwrap().may(Scope::Read));
        assert_eq!(access.check(&short.key, at(10)).unwrap_err(), Refusal::Expired);
        assert_eq!(access.check(&gone.key, at(9)).unwrap_err(), Refusal::Revoked);
        for wrong in ["", "tvarr_", &admin.key[..admin.key.len() - 1], &format!("{}x", admin.key)] {
            assert_eq!(access.check(wrong, at(9)).unwrap_err(), Refusal::Unknown, "{wrong}");
        }
        let text = std::fs::read(folder.path().join("jobs.sqlite")).unwrap();
        let log = std::fs::read(folder.path().join("jobs.sqlite-wal")).unwrap();
        let key = &admin.key.as_bytes()[10..];
        assert!(!text.windows(key.len()).chain(log.windows(key.len())).any(|part| part == key), "kept");
    }

    #[tokio::test]
    async fn nobody_is_locked_out_by_the_first_key_or_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let access = open(&folder, None).await;
        let refused = access.create(request(&[Scope::Submit]), at(0)).await;
        assert!(matches!(refused, Err(Error::FirstIsNoAdmin)));
        assert!(!access.is_closed());
        let first = access.create(request(&[Scope::Admin]), at(0)).await.unwrap().view;
        assert!(matches!(access.revoke(first.id, at(0)).await, Err(Error::LastAdmin)));
        let expiring = KeyRequest { expires_at: Some(at(5)), ..request(&[Scope::Admin]) };
        access.create(expiring, at(0)).await.unwrap();
        assert!(matches!(access.revoke(first.id, at(6)).await, Err(Error::LastAdmin)), "the other expired");
        access.revoke(first.id, at(1)).await.unwrap();
        assert!(access.is_closed(), "once closed, always closed");
    }

    #[tokio::test]
    async fn the_key_of_the_configuration_is_an_administrators() {
        let folder = tempfile::tempdir().unwrap();
        let access = open(&folder, Some("an operator's own secret")).await;
        assert!(access.is_closed());
        assert!(matches!(access.check("an operator's own secret", at(0)), Ok(Caller::Operator)));
        assert_eq!(access.check("an operator's own secrez", at(0)).unwrap_err(), Refusal::Unknown);
        let made = access.create(request(&[Scope::Submit]), at(0)).await.unwrap();
        access.revoke(made.view.id, at(0)).await.unwrap();
    }
}
