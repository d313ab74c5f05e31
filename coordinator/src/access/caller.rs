//! Who asks, and what that one may do.

use std::{future::pending, sync::Arc, time::Duration};

use common::api::{Scope, Who};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::store::StoredKey;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// There are no keys: whoever is let in may do everything.
    Open,
    /// Whoever holds the key of the configuration.
    Operator,
    Key(Arc<Holder>),
    /// Without a key where one is needed: why, in words, and what to do.
    Nobody(&'static str, &'static str),
}

/// Whoever holds a key that is good.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) key: StoredKey,
    /// The key was revoked.
    pub(super) revoked: CancellationToken,
}

/// Who acts in another's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign;

impl Caller {
    pub(crate) fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Open | Self::Operator => true,
            Self::Key(holder) => {
                holder.key.scopes.contains(&scope) || holder.key.scopes.contains(&Scope::Admin)
            }
            Self::Nobody(..) => false,
        }
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.may(Scope::Admin)
    }

    /// In whose name.
    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Self::Key(holder) => holder.key.owner.as_deref(),
            Self::Open | Self::Operator | Self::Nobody(..) => None,
        }
    }

    /// As the API shows it; `None`: nobody.
    pub(crate) fn who(&self) -> Option<Who> {
        let key = match self {
            Self::Nobody(..) => return None,
            Self::Open | Self::Operator => None,
            Self::Key(holder) => Some(&holder.key),
        };
        Some(Who {
            key: key.map(|key| key.id),
            name: key.and_then(|key| key.name.clone()),
            owner: key.and_then(|key| key.owner.clone()),
            scopes: Scope::ALL.into_iter().filter(|scope| self.may(*scope)).collect(),
        })
    }

    /// When the key ends by itself, in seconds since the Unix epoch.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        match self {
            Self::Key(holder) => holder.key.expires_at.map(|at| at / 1000),
            Self::Open | Self::Operator | Self::Nobody(..) => None,
        }
    }

    /// Whether what is `owner`'s is there at all for this caller.
    pub(crate) fn sees(&self, owner: Option<&str>) -> bool {
        self.is_admin() || (owner.is_some() && owner == self.owner())
    }

    /// Whether a stream of `owner` may be watched; of one without an owner by everybody.
    pub(crate) fn watches(&self, owner: Option<&str>) -> bool {
        self.may(Scope::View) && (owner.is_none() || self.sees(owner))
    }

    /// Whose something will be that is `asked` to be somebody's.
    ///
    /// # Errors
    /// Only an administrator may name others.
    pub(crate) fn named(&self, asked: Option<String>) -> Result<Option<String>, Foreign> {
        match asked.filter(|asked| !asked.is_empty()) {
            None => Ok(self.owner().map(str::to_owned)),
            Some(asked) if self.is_admin() || self.owner() == Some(&asked) => Ok(Some(asked)),
            Some(_) => Err(Foreign),
        }
    }

    /// Whose things a list shows, if it is asked for those of `asked`; `None`: nobody's.
    pub(crate) fn listed(&self, asked: Option<String>) -> Option<Option<String>> {
        if self.is_admin() {
            return Some(asked);
        }
        let own = self.owner()?;
        (asked.is_none() || asked.as_deref() == Some(own)).then(|| Some(own.to_owned()))
    }

    /// When what this caller follows has to end: its key was revoked or has expired.
    pub(crate) async fn over(self) {
        let Self::Key(holder) = &self else { return pending().await };
        let expired = async {
            let Some(at) = holder.key.expires_at else { return pending().await };
            // The wall clock may be set meanwhile.
            const LOOK: Duration = Duration::from_secs(10);
            loop {
                let left = at.saturating_sub(Timestamp::now().as_millisecond());
                let Ok(left) = u64::try_from(left) else { return };
                if left == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(left).min(LOOK)).await;
            }
        };
        tokio::select! {
            () = holder.revoked.cancelled() => {}
            () = expired => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use common::{digest::Digest, id::KeyId};

    use super::*;

    pub(crate) fn holder(owner: Option<&str>, scopes: &[Scope]) -> Caller {
        let key = StoredKey {
            id: KeyId::new(),
            digest: Digest::of(b""),
            hint: String::new(),
            owner: owner.map(str::to_owned),
            scopes: scopes.to_vec(),
            name: None,
            created_at: 0,
            expires_at: None,
            revoked_at: None,
        };
        Caller::Key(Arc::new(Holder { key, revoked: CancellationToken::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::holder, *};

    #[test]
    fn an_owner_sees_its_own_and_an_administrator_everything() {
        let ann = holder(Some("ann"), &[Scope::Submit, Scope::Read]);
        assert!(ann.sees(Some("ann")));
        assert!(!ann.sees(Some("bob")) && !ann.sees(None));
        let admin = holder(None, &[Scope::Admin]);
        for all in [admin, Caller::Open, Caller::Operator] {
            assert!(
                all.sees(Some("ann")) && all.sees(None) && Scope::ALL.iter().all(|scope| all.may(*scope))
            );
        }
        let nobody = Caller::Nobody("", "");
        assert!(!nobody.sees(None) && Scope::ALL.iter().all(|scope| !nobody.may(*scope)));
        // No owner is not an owner that two could share.
        assert!(!holder(None, &[Scope::Read]).sees(None));
    }

    #[test]
    fn no_scope_but_admin_includes_another() {
        for scope in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Admin) {
            let caller = holder(Some("ann"), &[scope]);
            assert_eq!(Scope::ALL.iter().filter(|other| caller.may(**other)).count(), 1, "{scope}");
        }
    }

    #[test]
    fn only_an_administrator_names_others() {
        let (ann, admin) = (holder(Some("ann"), &[Scope::Submit]), holder(None, &[Scope::Admin]));
        let text = |name: &str| Some(name.to_owned());
        assert_eq!(ann.named(None), Ok(text("ann")));
        assert_eq!(ann.named(text("ann")), Ok(text("ann")));
        assert_eq!(ann.named(text("")), Ok(text("ann")));
        assert_eq!(ann.named(text("bob")), Err(Foreign));
        assert_eq!(admin.named(text("bob")), Ok(text("bob")));
        assert_eq!(ann.listed(None), Some(text("ann")));
        assert_eq!(ann.listed(text("bob")), None);
        assert_eq!(admin.listed(None), Some(None));
    }

    #[test]
    fn a_stream_without_an_owner_is_for_every_viewer() {
        let ann = holder(Some("ann"), &[Scope::View]);
        assert!(ann.watches(None) && ann.watches(Some("ann")) && !ann.watches(Some("bob")));
        assert!(!holder(Some("ann"), &[Scope::Read]).watches(None));
    }
}
