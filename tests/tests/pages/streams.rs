use e2e::{
    Farm, WorkerSpec,
    live::{Broadcast, Recording},
};

use crate::browser::lead;

/// A person watches a stream in the page; its worker is killed, and the page tells where it went and for how long the picture
/// stood, while it plays on and nothing is asked for again.
#[tokio::test]
async fn a_person_watches_a_stream_whose_worker_dies() {
    let broadcast = Broadcast::of(&Recording::default());
    let workers = ["first", "second"].map(WorkerSpec::new);
    let mut farm = workers.into_iter().fold(Farm::builder(), e2e::FarmBuilder::worker).start().await;
    farm.pull("channel", &broadcast.url()).await;
    let base = farm.api.base.clone();
    lead("streams.mjs", &[&base, "channel", "h264-480p"], async |asked| {
        let victim = asked.strip_prefix("kill ").unwrap_or_else(|| panic!("{asked:?} is nothing to be done"));
        farm.kill_worker(victim);
        String::new()
    })
    .await;
    farm.api.remove_stream("channel").await.unwrap();
    farm.stop().await;
}
