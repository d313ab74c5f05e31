//! A variant without an encoder: the source as it is, repackaged.

use std::time::Instant;

use common::{
    id::{AttemptId, Epoch, TaskId},
    live::Container,
};
use mux::Ticks;
use tokio_util::sync::CancellationToken;

use super::{
    pipeline::Pipeline,
    source::{From, Source},
    splice::{FeedEnd, Role},
};

/// Brings one generation after the other into the pipeline, until `stop`. Each is a feed like an attempt's.
pub(super) async fn run(source: Source, pipeline: Pipeline, stop: CancellationToken) {
    let mut feed = AttemptId { task: TaskId::new(), epoch: Epoch::default() };
    let mut generations = source.generations();
    let mut from = From::Newest;
    // `None`: wait for the next one.
    while let Some(Ok(())) = {
        let known = generations.borrow_and_update().clone();
        if let Some(generation) = known {
            feed.epoch = feed.epoch.next();
            let read = one(&source, &pipeline, feed, generation.number, from);
            if stop.run_until_cancelled(read).await.is_none() {
                pipeline.close(feed, FeedEnd::Lost);
                return;
            }
            // Of those that come later nothing is missed.
            from = From::Covering { video: None, audio: None };
        }
        stop.run_until_cancelled(generations.changed()).await
    } {}
}

async fn one(source: &Source, pipeline: &Pipeline, feed: AttemptId, generation: u32, from: From) {
    let Ok(mut reader) = source.read(generation, from).or_else(|_| source.read(generation, From::Newest))
    else {
        return;
    };
    pipeline.open(feed, Role::Generation(generation), Container::MpegTs, Ticks::ZERO, Instant::now());
    let how = loop {
        // However it ended: the generation is over for this variant, or it was slower than the source, and goes on with
        // what is newest.
        let Ok(events) = reader.next().await else { break FeedEnd::Finished };
        for event in events {
            if let Err(error) = pipeline.copy(feed, event, Instant::now()) {
                tracing::warn!(%error, "the source cannot be repackaged");
                pipeline.close(feed, FeedEnd::Lost);
                return;
            }
        }
    };
    pipeline.close(feed, how);
}
