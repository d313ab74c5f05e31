//! What was found in watched places.

use common::id::JobId;

use super::Place;
use crate::store::{WatchStore as _, WatchedRecord};

pub(in crate::store) async fn what_was_found_is_known_by_place_name_and_version<P: Place>(place: P) {
    let store = place.open().await;
    let record = |object: &str, version: &str| WatchedRecord {
        place: "s3://in/ h264".to_owned(),
        object: object.to_owned(),
        version: version.to_owned(),
        job: JobId::new(),
        submitted: false,
        seen_at: 7,
    };
    let (first, second) = (record("a.mp4", "1"), record("a.mp4", "2"));
    store.put_watched(&first).await.unwrap();
    store.put_watched(&second).await.unwrap();
    let submitted = WatchedRecord { submitted: true, ..first.clone() };
    // Its job was chosen once.
    store.put_watched(&WatchedRecord { job: JobId::new(), ..submitted.clone() }).await.unwrap();
    assert_eq!(store.watched(&first.place).await.unwrap(), [submitted, second]);
    assert_eq!(store.watched("s3://in/ hevc").await.unwrap(), []);
}
