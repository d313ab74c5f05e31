//! What is told at most once a second, as it is then, and only while somebody listens: rows of workers, streams, totals.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use common::{
    api::{Event, FleetSummary, Topic},
    id::StreamId,
    stream::StreamView,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    frame::{Audience, audience},
    hub::EventHub,
};
use crate::{
    live::service::Live,
    queue::{self, FleetChanges, Since},
};

/// Between one telling and the next.
const EVERY: Duration = Duration::from_secs(1);
const TOPICS: [Topic; 3] = [Topic::Load, Topic::Streams, Topic::Summary];

/// Compares what there is with what was told last. That stays while nobody listens: the next listener's first batch is then of
/// everything that changed since, so nothing is missed between its lists and that.
pub(crate) struct Batches {
    hub: EventHub,
    queue: queue::Handle,
    live: Live,
    fleet: Since,
    streams: HashMap<StreamId, StreamView>,
    summary: Option<FleetSummary>,
}

impl Batches {
    pub(crate) fn new(hub: EventHub, queue: queue::Handle, live: Live) -> Self {
        Self { hub, queue, live, fleet: Since::default(), streams: HashMap::new(), summary: None }
    }

    /// Until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = async {
                self.hub.listened_to(&TOPICS).await;
                ticks.tick().await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = due => {}
            }
            if self.tell().await.is_none() {
                return;
            }
        }
    }

    /// `None`: the coordinator is shutting down.
    async fn tell(&mut self) -> Option<()> {
        if self.hub.wants(Topic::Load) {
            let FleetChanges { rows, gone, until } = self.queue.fleet_changes(self.fleet).await.ok()?;
            self.fleet = until;
            if !rows.is_empty() || !gone.is_empty() {
                self.hub.publish_passing(Event::Load { workers: rows, gone });
            }
        }
        if self.hub.wants(Topic::Summary) {
            let fleet = self.queue.fleet().await.ok()?;
            if self.summary.as_ref() != Some(&fleet) {
                self.summary = Some(fleet.clone());
                self.hub.publish_passing(Event::Summary { fleet });
            }
        }
        if self.hub.wants(Topic::Streams) {
            let changes = changes(&mut self.streams, self.live.streams().await.ok()?);
            self.hub.publish_many(Topic::Streams, changes);
        }
        Some(())
    }
}

/// What of the streams is to be told; `known` are they from then on.
fn changes(known: &mut HashMap<StreamId, StreamView>, now: Vec<StreamView>) -> Vec<(Audience, Event)> {
    let there: HashSet<StreamId> = now.iter().map(|stream| stream.id).collect();
    let gone = known.extract_if(|id, _| !there.contains(id));
    let mut told: Vec<_> = gone
        .map(|(id, stream)| (Audience::Watchers(stream.spec.options.owner), Event::StreamGone { id }))
        .collect();
    for stream in now {
        if known.get(&stream.id) != Some(&stream) {
            known.insert(stream.id, stream.clone());
            let event = Event::Stream { stream: Box::new(stream) };
            told.push((audience(&event), event));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use common::stream::{SourceSpec, SourceView, StreamOptions, StreamSpec};

    use super::*;

    fn stream(name: &str, owner: &str) -> StreamView {
        let options = StreamOptions { owner: Some(owner.to_owned()), ..StreamOptions::default() };
        let spec =
            StreamSpec { name: name.to_owned(), source: SourceSpec::Push, profiles: Vec::new(), options };
        StreamView {
            id: StreamId::new(),
            spec,
            configured: false,
            created_at: 0,
            source_state: SourceView::default(),
            variants: Vec::new(),
        }
    }

    #[test]
    fn streams_are_told_of_when_they_come_change_and_go_and_whose_they_are() {
        let (mut known, a, b) = (HashMap::new(), stream("a", "ann"), stream("b", "bob"));
        let is_of = |told: &[(Audience, Event)], owner: &str| {
            told.iter().map(|(audience, _)| audience).collect::<Vec<_>>()
                == [&Audience::Watchers(Some(owner.to_owned()))]
        };
        assert_eq!(changes(&mut known, vec![a.clone(), b.clone()]).len(), 2);
        assert!(changes(&mut known, vec![a.clone(), b.clone()]).is_empty());
        let mut watched = a.clone();
        watched.source_state.bitrate = 1;
        let told = changes(&mut known, vec![watched, b.clone()]);
        assert!(is_of(&told, "ann") && matches!(told[0].1, Event::Stream { .. }), "{told:?}");
        let told = changes(&mut known, vec![b]);
        assert!(
            is_of(&told, "ann") && matches!(told[0].1, Event::StreamGone { id } if id == a.id),
            "{told:?}"
        );
    }
}
