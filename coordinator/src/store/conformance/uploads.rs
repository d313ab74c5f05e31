//! Uploads that come in pieces.

use common::id::UploadId;

use super::Place;
use crate::store::{Concat, JobStore as _, UploadDetails, UploadRecord, UploadStore as _};

pub(in crate::store) async fn uploads_survive_a_restart_as_they_were_last<P: Place>(place: P) {
    let store = place.open().await;
    let mut upload = UploadRecord {
        id: UploadId::new(),
        details: UploadDetails {
            filename: "it's \"a\".mp4".to_owned(),
            metadata: "filename YQ==".to_owned(),
            concat: Concat::Final("final;/v1/uploads/x".to_owned()),
        },
        length: None,
        received: 0,
        placed: false,
        created_at: 1,
        expires_at: 2,
    };
    store.put_upload(&upload).await.unwrap();
    let other = UploadRecord { id: UploadId::new(), ..upload.clone() };
    store.put_upload(&other).await.unwrap();
    store.remove_upload(other.id).await.unwrap();
    (upload.length, upload.received, upload.placed, upload.expires_at) = (Some(9), 9, true, 3);
    store.put_upload(&upload).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.uploads().await.unwrap(), [upload]);
}
