//! Live streams.

use std::collections::BTreeMap;

use common::{
    id::StreamId,
    stream::{StreamOptions, StreamSpec},
};

use super::Place;
use crate::store::{JobStore as _, StoredStream, StreamStore as _};

fn stream(name: &str) -> StoredStream {
    let spec = StreamSpec {
        name: name.to_owned(),
        source: "http://u:p@host/live.ts?token=1".parse().unwrap(),
        profiles: vec!["h264-720p".to_owned()],
        options: StreamOptions { slate: Some("it's \"away\"".to_owned()), ..StreamOptions::default() },
    };
    StoredStream { id: StreamId::new(), spec, created_at: 5 }
}

pub(in crate::store) async fn streams_survive_a_restart_and_names_are_unique<P: Place>(place: P) {
    let store = place.open().await;
    let (one, two) = (stream("one"), stream("two"));
    store.add_stream(&one).await.unwrap();
    store.add_stream(&two).await.unwrap();
    assert!(store.add_stream(&stream("one")).await.is_err());
    store.remove_stream(two.id).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.streams().await.unwrap(), [one]);
}

pub(in crate::store) async fn a_floor_only_rises<P: Place>(place: P) {
    let store = place.open().await;
    let raise = |name: &str, floor| vec![(name.to_owned(), floor)];
    store.raise_sequence_floors(&raise("a", 7)).await.unwrap();
    store.raise_sequence_floors(&raise("a", 3)).await.unwrap();
    store.raise_sequence_floors(&raise("b", 1)).await.unwrap();
    let floors = store.sequence_floors().await.unwrap();
    assert_eq!(floors, BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 1)]));
}
