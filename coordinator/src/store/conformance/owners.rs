//! What owners hold, and what they may hold.

use std::{collections::BTreeMap, sync::Arc};

use common::{api::Quotas, id::UploadId, worker::OutputFile};

use super::{Place, commit_jobs, job};
use crate::store::{
    Concat, Held, HoldingStore as _, JobRecord, JobStore as _, UploadDetails, UploadOwners as _,
    UploadRecord, UploadStore as _,
};

fn publish(job: &mut JobRecord, size: u64) {
    job.result.outputs = vec![OutputFile {
        path: "a.mp4".to_owned(),
        size,
        content_type: "video/mp4".to_owned(),
        sha256: String::new(),
    }];
}

pub(in crate::store) async fn outputs_are_counted_once_they_are_published_and_until_their_job_is_removed<
    P: Place,
>(
    place: P,
) {
    let store = place.open().await;
    let mut jobs = [job(Some("ann")), job(Some("ann")), job(Some("bob")), job(None)];
    commit_jobs(&store, &jobs).await;
    assert_eq!(store.held("ann").await.unwrap(), Held::default());
    for (job, size) in jobs.iter_mut().zip([5, 7, 11, 13]) {
        publish(job, size);
    }
    // The rows are written again whenever something of a job changes.
    commit_jobs(&store, &jobs).await;
    jobs[0].request = Arc::clone(&jobs[0].request);
    jobs[0].priority = 3;
    commit_jobs(&store, &jobs).await;
    let outputs = |outputs| Held { uploads: 0, outputs };
    let all = BTreeMap::from([("ann".to_owned(), outputs(12)), ("bob".to_owned(), outputs(11))]);
    assert_eq!(store.holders().await.unwrap(), all);
    store.remove_job(jobs[0].id).await.unwrap();
    store.remove_job(jobs[0].id).await.unwrap();
    store.remove_job(jobs[2].id).await.unwrap();
    store.remove_job(jobs[3].id).await.unwrap();
    assert_eq!(store.holders().await.unwrap(), [("ann".to_owned(), outputs(7))].into());
    assert_eq!(store.job(jobs[0].id).await.unwrap(), None);
}

pub(in crate::store) async fn an_upload_is_counted_as_long_as_it_is_said_to_be<P: Place>(place: P) {
    let store = place.open().await;
    let mut upload = UploadRecord {
        id: UploadId::new(),
        details: UploadDetails { filename: "a".to_owned(), metadata: String::new(), concat: Concat::Alone },
        length: None,
        received: 0,
        placed: false,
        created_at: 0,
        expires_at: 0,
    };
    store.put_upload(&upload).await.unwrap();
    store.own_upload(upload.id, "ann", 0).await.unwrap();
    let mut counted = Vec::new();
    for (received, length) in [(4, None), (9, None), (9, Some(20)), (20, Some(20))] {
        (upload.received, upload.length) = (received, length);
        store.put_upload(&upload).await.unwrap();
        counted.push(store.held("ann").await.unwrap().uploads);
    }
    assert_eq!(counted, [4, 9, 20, 20]);
    let other = UploadId::new();
    store.own_upload(other, "ann", 3).await.unwrap();
    store.charge_upload(other, 5).await.unwrap();
    store.charge_upload(UploadId::new(), 5).await.unwrap();
    assert_eq!(store.held("ann").await.unwrap(), Held { uploads: 25, outputs: 0 });
    store.remove_upload(upload.id).await.unwrap();
    store.forget_upload(other).await.unwrap();
    store.forget_upload(other).await.unwrap();
    assert!(store.holders().await.unwrap().is_empty());
}

pub(in crate::store) async fn an_upload_is_whose_it_was_said_to_be<P: Place>(place: P) {
    let store = place.open().await;
    let (own, other) = (UploadId::new(), UploadId::new());
    store.own_upload(own, "ann", 5).await.unwrap();
    assert_eq!(store.upload_owner(own).await.unwrap().as_deref(), Some("ann"));
    assert_eq!(store.upload_owner(other).await.unwrap(), None);
    assert_eq!(store.charged_uploads().await.unwrap(), [(own, 5)]);
    store.forget_upload(own).await.unwrap();
    assert_eq!(store.upload_owner(own).await.unwrap(), None);
}

pub(in crate::store) async fn quotas_are_changed_and_taken_back<P: Place>(place: P) {
    let store = place.open().await;
    let quotas = |queued| Quotas { queued: Some(queued), ..Quotas::default() };
    store.set_quotas("ann", Some(quotas(1))).await.unwrap();
    store.set_quotas("ann", Some(quotas(2))).await.unwrap();
    store.set_quotas("bob", Some(quotas(3))).await.unwrap();
    store.set_quotas("bob", None).await.unwrap();
    store.set_quotas("eve", None).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.quotas().await.unwrap(), BTreeMap::from([("ann".to_owned(), quotas(2))]));
}
