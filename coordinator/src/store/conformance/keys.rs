//! Keys of the API, and keys that jobs were asked for under.

use common::{
    api::Scope,
    digest::Digest,
    id::{JobId, KeyId},
};

use super::Place;
use crate::{
    queue::IDEMPOTENCY_KEPT,
    store::{Changes, IdempotencyRecord, JobStore as _, KeyStore as _, StoredKey},
};

fn key(text: &str) -> StoredKey {
    StoredKey {
        id: KeyId::new(),
        digest: Digest::of(text.as_bytes()),
        hint: "tvarr_ab".to_owned(),
        owner: Some("ann \"the\" owner".to_owned()),
        scopes: vec![Scope::Submit, Scope::Read],
        name: None,
        created_at: 5,
        expires_at: Some(7),
        revoked_at: None,
    }
}

pub(in crate::store) async fn keys_survive_a_restart_and_stay_revoked<P: Place>(place: P) {
    let store = place.open().await;
    let (one, mut two) = (key("one"), key("two"));
    store.add_key(&one).await.unwrap();
    store.add_key(&two).await.unwrap();
    assert!(store.add_key(&StoredKey { id: KeyId::new(), ..one.clone() }).await.is_err(), "the same key");
    store.revoke_key(two.id, 9).await.unwrap();
    store.revoke_key(two.id, 10).await.unwrap();
    store.close().await;
    two.revoked_at = Some(9);
    assert_eq!(place.open().await.keys().await.unwrap(), [one, two]);
}

pub(in crate::store) async fn idempotency_keys_come_oldest_first_and_old_ones_go<P: Place>(place: P) {
    let store = place.open().await;
    let record = |owner: Option<&str>, key: &str, submitted_at| IdempotencyRecord {
        owner: owner.map(str::to_owned),
        key: key.to_owned(),
        digest: Digest::of(key.as_bytes()),
        job: JobId::new(),
        submitted_at,
    };
    let commit = async |records: &[IdempotencyRecord]| {
        let changes = Changes { idempotency: records.to_vec(), ..Changes::default() };
        store.commit(&changes).await.unwrap();
    };
    // The same key of two owners is two keys.
    let (late, early) = (record(Some("ann"), "k", 20), record(None, "k", 10));
    commit(&[late.clone(), early.clone()]).await;
    assert_eq!(store.idempotency_keys(0).await.unwrap(), [early, late.clone()]);
    assert_eq!(store.idempotency_keys(10).await.unwrap(), std::slice::from_ref(&late));
    // Asked for once more after it was forgotten by the queue.
    let again = record(Some("ann"), "k", IDEMPOTENCY_KEPT + 15);
    commit(std::slice::from_ref(&again)).await;
    assert_eq!(store.idempotency_keys(0).await.unwrap(), [again]);
}
