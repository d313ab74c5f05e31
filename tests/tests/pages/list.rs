use common::api::InputRef;
use e2e::{Farm, api::request, clip};
use futures::{StreamExt as _, stream};

use crate::browser::lead;

/// Jobs that come while a page is open: it keeps the newest, and older ones come as somebody scrolls down to them.
#[tokio::test]
async fn a_list_that_stays_open_stays_short_and_leaves_none_out() {
    const JOBS: usize = 1150;
    let farm = Farm::builder().start().await;
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let job = request(InputRef::Upload(upload.id), "proxy");
    let base = farm.api.base.clone();
    lead("list.mjs", &[&base, &JOBS.to_string()], async |asked| {
        assert_eq!(asked, "submit");
        stream::iter(0..JOBS).map(|_| farm.api.submit(&job)).buffer_unordered(32).count().await;
        String::new()
    })
    .await;
    farm.stop().await;
}
