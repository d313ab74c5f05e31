//! What stands for a key in a browser: signed, and worth nothing once the key is.
//!
//! It names the key by its id and holds nothing of its text. The signature covers the key's digest, so that it dies with a
//! configuration's key that is changed, too.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::id::KeyId;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use super::{Access, Caller, Refusal};

/// How long one lasts that is not used.
pub(crate) const LASTS: Duration = Duration::from_secs(12 * 3600);
/// How old one is when it is exchanged for another: not with every request.
const RENEWED_AFTER: Duration = Duration::from_secs(600);
/// The configuration's key has no id.
const OPERATOR: &str = "operator";

/// Makes and reads them; cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {
    mac: Hmac<Sha256>,
    access: Access,
}

/// Who has one, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) caller: Caller,
    /// Seconds since the Unix epoch.
    pub(crate) expires: i64,
}

/// Why one opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// It was changed, or somebody else made it.
    Forged,
    /// It was not used for too long.
    Over,
    Key(Refusal),
}

impl Sessions {
    /// `mac` is for nothing else.
    pub(crate) fn new(mac: Hmac<Sha256>, access: Access) -> Self {
        Self { mac, access }
    }

    /// `KEY.EXPIRES.SIGNATURE`, and when it expires; `None` for who has no key.
    pub(crate) fn issue(&self, caller: &Caller, now: Timestamp) -> Option<(String, i64)> {
        let lasts = i64::try_from(LASTS.as_secs()).unwrap_or(i64::MAX);
        let expires = now.as_second().saturating_add(lasts);
        let expires = caller.expires_at().map_or(expires, |end| end.min(expires));
        let (key, id) = match caller {
            Caller::Operator => (None, OPERATOR.to_owned()),
            Caller::Key(holder) => (Some(holder.key.id), holder.key.id.to_string()),
            Caller::Open | Caller::Nobody(..) => return None,
        };
        let signature = URL_SAFE_NO_PAD.encode(self.mac_of(key, expires)?.finalize().into_bytes());
        Some((format!("{id}.{expires}.{signature}"), expires))
    }

    /// # Errors
    /// It opens nothing.
    pub(crate) fn check(&self, text: &str, now: Timestamp) -> Result<Session, NoSession> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(NoSession::Forged);
        let (id, expires, signature) = (part()?, part()?, part()?);
        let key = match id {
            OPERATOR => None,
            id => Some(id.parse::<KeyId>().map_err(|_| NoSession::Forged)?),
        };
        let expires = expires.parse::<i64>().map_err(|_| NoSession::Forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| NoSession::Forged)?;
        let mac = self.mac_of(key, expires).ok_or(NoSession::Forged)?;
        mac.verify_slice(&signature).map_err(|_| NoSession::Forged)?;
        if expires <= now.as_second() {
            return Err(NoSession::Over);
        }
        let caller = self.access.holder(key, now).map_err(NoSession::Key)?;
        Ok(Session { caller, expires })
    }

    /// Whether one that expires then is to be exchanged.
    pub(crate) fn is_old(expires: i64, now: Timestamp) -> bool {
        let left = expires.saturating_sub(now.as_second());
        u64::try_from(left).is_ok_and(|left| left < (LASTS - RENEWED_AFTER).as_secs())
    }

    /// `None`: there is no such key.
    fn mac_of(&self, key: Option<KeyId>, expires: i64) -> Option<Hmac<Sha256>> {
        let mut mac = self.mac.clone();
        mac.update(&self.access.digest(key)?);
        let id = key.map_or_else(|| OPERATOR.to_owned(), |key| key.to_string());
        mac.update(format!("{id}\n{expires}").as_bytes());
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::{
        api::{KeyRequest, Scope},
        config::Secret,
    };

    use super::*;
    use crate::{storage::sign::Signer, store::SqliteStore};

    async fn sessions(folder: &tempfile::TempDir, operator: &str) -> Sessions {
        let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
        let access = Access::open(Arc::new(store), Some(&Secret::new(operator))).await.unwrap();
        Sessions::new(Signer::new(&[7; 32]).derived("sessions"), access)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const LAST: i64 = 12 * 3600;

    #[tokio::test]
    async fn it_stands_for_its_key_until_it_expires_or_the_key_does() {
        let folder = tempfile::tempdir().unwrap();
        let all = sessions(&folder, "an operator's own key").await;
        let request = KeyRequest {
            owner: Some("ann".to_owned()),
            scopes: vec![Scope::Read],
            expires_at: Some(at(2 * LAST)),
            ..KeyRequest::default()
        };
        let made = all.access.create(request, at(0)).await.unwrap();
        let caller = all.access.check(&made.key, at(0)).unwrap();
        let (text, expires) = all.issue(&caller, at(0)).unwrap();
        assert_eq!(expires, LAST);
        assert!(!text.contains(&made.key[6..]));
        let found = all.check(&text, at(LAST - 1)).unwrap();
        assert!(found.caller.may(Scope::Read) && !found.caller.may(Scope::Submit));
        assert_eq!(found.caller.owner(), Some("ann"));
        assert_eq!(all.check(&text, at(LAST)).unwrap_err(), NoSession::Over);
        // Not longer than the key.
        let (late, expires) = all.issue(&caller, at(2 * LAST - 5)).unwrap();
        assert_eq!(expires, 2 * LAST);
        all.access.revoke(made.view.id, at(1)).await.unwrap();
        for text in [text, late] {
            assert_eq!(all.check(&text, at(2)).unwrap_err(), NoSession::Key(Refusal::Revoked));
        }
    }

    #[tokio::test]
    async fn one_that_was_changed_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let all = sessions(&folder, "an operator's own key").await;
        let (text, expires) = all.issue(&Caller::Operator, at(0)).unwrap();
        assert!(all.check(&text, at(1)).unwrap().caller.is_admin());
        let signature = text.rsplit('.').next().unwrap();
        let id = KeyId::new();
        for wrong in [
            text.replace(&expires.to_string(), &(expires + 1).to_string()),
            text.replace(OPERATOR, &id.to_string()),
            text[..text.len() - 1].to_owned(),
            format!("{text}A"),
            format!("{OPERATOR}.{expires}."),
            signature.to_owned(),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(all.check(&wrong, at(1)).unwrap_err(), NoSession::Forged, "{wrong}");
        }
        let elsewhere = Sessions::new(Signer::new(&[8; 32]).derived("sessions"), all.access.clone());
        assert_eq!(elsewhere.check(&text, at(1)).unwrap_err(), NoSession::Forged);
        drop((all, elsewhere));
        let changed = sessions(&folder, "another key of the operator").await;
        assert_eq!(changed.check(&text, at(1)).unwrap_err(), NoSession::Forged);
        assert!(changed.issue(&Caller::Open, at(0)).is_none());
    }

    #[test]
    fn one_in_use_is_exchanged_now_and_then() {
        assert!(!Sessions::is_old(LAST, at(0)));
        assert!(!Sessions::is_old(LAST, at(600)));
        assert!(Sessions::is_old(LAST, at(601)));
        assert!(!Sessions::is_old(LAST, at(LAST + 1)), "it is over");
    }
}
