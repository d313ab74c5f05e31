//! Bytes that owners hold in the farm's storage, and whether more may come.
//!
//! Held are an owner's uploads, with the length that was said while they are on their way, and the published files of its jobs.
//! The store keeps those sums with the rows that they are sums of. What is on its way and in no row yet is counted here
//! ([`Coming`]), so that requests at the same time share what is left. None of that is durable: what breaks off leaves nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{api::Quotas, bytes::show};

use crate::store::{self, Held, HoldingStore};

/// Bytes of an upload of unknown length that are asked for at once: each question is a look into the store.
const BLOCK: u64 = 4 * 1024 * 1024;

/// Why no more may come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Over(#[from] Over),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A quota of bytes that does not allow what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{owner} holds {} of the {} that its quota `bytes` allows ({} in uploads, {} in outputs, {} on their way){}",
    show(account.used()), show(account.limit), show(account.held.uploads), show(account.held.outputs),
    show(account.coming), wanted.words()
)]
pub(crate) struct Over {
    owner: String,
    account: Account,
    wanted: Wanted,
}

/// What would come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Bytes(u64),
    /// Outputs, of which nobody knows how large they will be.
    Job,
}

impl Wanted {
    fn words(self) -> String {
        match self {
            Self::Bytes(bytes) => format!("; {} more do not fit", show(bytes)),
            Self::Job => "; nothing is left for a job's outputs".to_owned(),
        }
    }
}

/// What an owner has of what it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Account {
    limit: u64,
    held: Held,
    /// On its way, in no row yet.
    coming: u64,
}

impl Account {
    const fn used(&self) -> u64 {
        self.held.uploads.saturating_add(self.held.outputs).saturating_add(self.coming)
    }

    /// Whether that much more fits. For a job there must be something left.
    const fn admits(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Bytes(0) => true,
            Wanted::Bytes(bytes) => self.used().saturating_add(bytes) <= self.limit,
            Wanted::Job => self.used() < self.limit,
        }
    }
}

/// Everybody's; cheap to clone.
#[derive(Clone)]
pub(crate) struct Holdings(Arc<Shared>);

struct Shared {
    store: Arc<dyn HoldingStore>,
    /// Of owners that have none of their own.
    usual: Quotas,
    own: Mutex<BTreeMap<String, Quotas>>,
    coming: Mutex<HashMap<String, u64>>,
    /// Held from looking until what was looked for is counted as coming.
    turn: tokio::sync::Mutex<()>,
}

impl Holdings {
    pub(crate) fn new(store: Arc<dyn HoldingStore>, usual: Quotas, own: BTreeMap<String, Quotas>) -> Self {
        Self(Arc::new(Shared {
            store,
            usual,
            own: Mutex::new(own),
            coming: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// What holds for an owner from here on; `None`: what is usual.
    pub(crate) fn set(&self, owner: &str, quotas: Option<Quotas>) {
        let mut own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        match quotas {
            Some(quotas) => own.insert(owner.to_owned(), quotas),
            None => own.remove(owner),
        };
    }

    /// What holds for this owner.
    pub(crate) fn quotas(&self, owner: &str) -> Quotas {
        let own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get(owner).copied().unwrap_or(self.0.usual)
    }

    /// What this owner holds.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn held(&self, owner: &str) -> Result<Held, store::Error> {
        self.0.store.held(owner).await
    }

    /// What everybody holds who holds something.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn holders(&self) -> Result<BTreeMap<String, Held>, store::Error> {
        self.0.store.holders().await
    }

    /// Something will come to this owner; nobody has no quota.
    pub(crate) fn coming(&self, owner: Option<&str>) -> Coming {
        Coming { shared: Arc::clone(&self.0), owner: owner.map(str::to_owned), reserved: 0, taken: 0 }
    }

    /// The same, with as many bytes set aside.
    ///
    /// # Errors
    /// They do not fit.
    pub(crate) async fn expect(&self, owner: Option<&str>, bytes: u64) -> Result<Coming, Error> {
        let mut coming = self.coming(owner);
        coming.reserve(bytes).await?;
        Ok(coming)
    }

    /// Whether this owner may have another job.
    ///
    /// # Errors
    /// There is no room for its outputs.
    pub(crate) async fn admit_job(&self, owner: Option<&str>) -> Result<(), Error> {
        match owner {
            Some(owner) => self.0.look(owner, Wanted::Job).await,
            None => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_its_way(&self, owner: &str) -> u64 {
        self.lock().get(owner).copied().unwrap_or_default()
    }

    fn limit(&self, owner: &str) -> Option<u64> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get(owner).unwrap_or(&self.usual).bytes
    }

    async fn look(&self, owner: &str, wanted: Wanted) -> Result<(), Error> {
        let Some(limit) = self.limit(owner) else { return Ok(()) };
        loop {
            // Before the rows: what gets its row in between is counted twice, and never not at all.
            let coming = self.on_its_way(owner);
            let account = Account { limit, held: self.store.held(owner).await?, coming };
            if account.admits(wanted) {
                return Ok(());
            }
            if self.on_its_way(owner) >= coming {
                return Err(Over { owner: owner.to_owned(), account, wanted }.into());
            }
        }
    }

    async fn reserve(&self, owner: &str, bytes: u64) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.look(owner, Wanted::Bytes(bytes)).await?;
        *self.lock().entry(owner.to_owned()).or_default() += bytes;
        Ok(())
    }

    fn release(&self, owner: &str, bytes: u64) {
        let mut coming = self.lock();
        if let Some(sum) = coming.get_mut(owner) {
            *sum = sum.saturating_sub(bytes);
            if *sum == 0 {
                coming.remove(owner);
            }
        }
    }
}

/// Bytes that are set aside for something on its way, until this is dropped or they have a row of their own.
pub(crate) struct Coming {
    shared: Arc<Shared>,
    owner: Option<String>,
    reserved: u64,
    /// Of those, what has come.
    taken: u64,
}

impl Coming {
    /// Sets that many more aside.
    ///
    /// # Errors
    /// They do not fit.
    pub(crate) async fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        if let Some(owner) = &self.owner {
            self.shared.reserve(owner, bytes).await?;
            self.reserved += bytes;
        }
        Ok(())
    }

    /// That many have come, whether they were set aside or not.
    ///
    /// # Errors
    /// They do not fit, and do not count as having come.
    pub(crate) async fn take(&mut self, bytes: u64) -> Result<(), Error> {
        if self.owner.is_none() {
            return Ok(());
        }
        let taken = self.taken.saturating_add(bytes);
        let lacking = taken.saturating_sub(self.reserved);
        if lacking > 0
            && let Err(error) = self.reserve(lacking.max(BLOCK)).await
        {
            match error {
                // The last of what is left.
                Error::Over(_) if lacking < BLOCK => self.reserve(lacking).await?,
                error => return Err(error),
            }
        }
        self.taken = taken;
        Ok(())
    }

    /// That many of those which have come are in a row of the store.
    pub(crate) fn landed(&mut self, bytes: u64) {
        if let Some(owner) = &self.owner {
            debug_assert!(bytes <= self.taken, "more than has come");
            self.shared.release(owner, bytes);
            self.reserved = self.reserved.saturating_sub(bytes);
            self.taken = self.taken.saturating_sub(bytes);
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            self.shared.release(owner, self.reserved);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::BoxFuture};

    use super::*;

    /// Holds the same for everybody.
    struct Rows(Mutex<Held>);

    impl HoldingStore for Rows {
        fn held<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Held, store::Error>> {
            async {
                // Whoever waits for the same may come in between.
                tokio::task::yield_now().await;
                Ok(*self.0.lock().unwrap())
            }
            .boxed()
        }

        fn holders(&self) -> BoxFuture<'_, Result<BTreeMap<String, Held>, store::Error>> {
            async { Ok(BTreeMap::new()) }.boxed()
        }
    }

    fn holdings(limit: u64) -> (Arc<Rows>, Holdings) {
        let rows = Arc::new(Rows(Mutex::default()));
        let usual = Quotas { bytes: Some(limit), ..Quotas::default() };
        let holdings = Holdings::new(Arc::clone(&rows) as _, usual, BTreeMap::new());
        (rows, holdings)
    }

    #[test]
    fn a_quota_may_be_used_up_and_not_passed() {
        let account =
            |uploads, outputs, coming| Account { limit: 10, held: Held { uploads, outputs }, coming };
        assert!(account(0, 0, 0).admits(Wanted::Bytes(10)) && !account(0, 0, 0).admits(Wanted::Bytes(11)));
        assert!(account(3, 3, 3).admits(Wanted::Bytes(1)) && !account(3, 3, 3).admits(Wanted::Bytes(2)));
        assert!(account(3, 3, 3).admits(Wanted::Job) && !account(4, 3, 3).admits(Wanted::Job));
        // What is over already because the quota was made smaller: nothing more comes, and what is nothing may.
        assert!(!account(50, 0, 0).admits(Wanted::Bytes(1)) && account(50, 0, 0).admits(Wanted::Bytes(0)));
        assert!(!account(u64::MAX, 1, 1).admits(Wanted::Bytes(u64::MAX)));
    }

    #[tokio::test]
    async fn requests_at_the_same_time_share_what_is_left() {
        let (_, holdings) = holdings(50);
        let asked = (0..20).map(|_| holdings.expect(Some("ann"), 10));
        let answers = futures::future::join_all(asked).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
        assert!(holdings.admit_job(Some("ann")).await.is_err());
        assert!(holdings.expect(Some("bob"), 50).await.is_ok(), "each has its own");
        assert!(holdings.expect(None, 51).await.is_ok(), "nobody has none");
        drop(answers);
        assert!(holdings.expect(Some("ann"), 50).await.is_ok(), "what breaks off leaves nothing");
    }

    #[tokio::test]
    async fn what_has_a_row_is_not_counted_twice() {
        let (rows, holdings) = holdings(50);
        let mut coming = holdings.expect(Some("ann"), 0).await.unwrap();
        coming.take(30).await.unwrap();
        rows.0.lock().unwrap().uploads = 30;
        coming.landed(30);
        coming.take(20).await.unwrap();
        let Err(Error::Over(over)) = coming.take(1).await else { panic!("more than the quota") };
        assert_eq!((over.account.held.uploads, over.account.coming), (30, 20));
        assert!(over.to_string().contains("50 B of the 50 B"), "{over}");
        drop(coming);
        assert!(holdings.expect(Some("ann"), 20).await.is_ok());
    }

    #[tokio::test]
    async fn an_owners_own_quota_holds_instead() {
        let (_, holdings) = holdings(50);
        holdings.set("ann", Some(Quotas { bytes: Some(100), ..Quotas::default() }));
        assert!(holdings.expect(Some("ann"), 100).await.is_ok());
        holdings.set("ann", Some(Quotas::default()));
        assert!(holdings.expect(Some("ann"), u64::MAX / 2).await.is_ok());
        holdings.set("ann", None);
        assert!(holdings.expect(Some("ann"), 51).await.is_err());
    }
}
