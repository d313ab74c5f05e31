//! Killed before and after each durable write for a stream: what a client was answered is there, and the numbers of segments
//! never go back, neither those of a stream that stays nor those of a name that was removed and given again.

use std::collections::BTreeMap;

use common::{
    id::StreamId,
    stream::{SourceSpec, StreamView},
};
use e2e::{
    Farm, WorkerSpec,
    live::{Broadcast, Recording, farm::stream},
};
use reqwest::{Client, StatusCode};

use super::{REACHED, VARIABLE, was_killed};

/// Each start reserves numbers for the streams that there are.
const STARTING: [&str; 2] = ["stream.reserve.before", "stream.reserve.after"];

/// With a stream there already, and whether what is added is there afterwards though nobody was answered.
const ADDING: [(&str, bool); 4] = [
    ("stream.reserve.before:2", false),
    ("stream.reserve.after:2", false),
    ("stream.add.before", false),
    ("stream.add.after", true),
];

/// The same of what is removed.
const REMOVING: [(&str, bool); 2] = [("stream.remove.before", true), ("stream.remove.after", false)];

pub(super) fn points() -> impl Iterator<Item = &'static str> {
    STARTING.into_iter().chain(ADDING.into_iter().chain(REMOVING).map(|(point, _)| point))
}

const STAYS: &str = "stays";
const CHANGES: &str = "changes";
/// Repackaged by the coordinator itself.
const PROFILE: &str = "copy";

#[tokio::test]
async fn a_coordinator_killed_while_it_keeps_streams() {
    let mut air = Air::begin().await;
    for point in STARTING {
        air.coordinator_dies_at(point, async |_| panic!("it passes {point} before it is ready")).await;
        air.is_there(CHANGES, false).await;
        air.plays(STAYS).await;
    }
    for (point, there) in ADDING {
        air.coordinator_dies_at(point, async |air| {
            air.plays(STAYS).await;
            assert_eq!(air.add(CHANGES).await, None, "{point}");
        })
        .await;
        air.is_there(CHANGES, there).await;
        let again = if there { StatusCode::CONFLICT } else { StatusCode::CREATED };
        assert_eq!(air.add(CHANGES).await, Some(again), "{point}");
        air.plays(CHANGES).await;
        air.plays(STAYS).await;
        assert_eq!(air.remove(CHANGES).await, Some(StatusCode::NO_CONTENT));
    }
    for (point, there) in REMOVING {
        air.coordinator_dies_at(point, async |air| {
            assert_eq!(air.add(CHANGES).await, Some(StatusCode::CREATED));
            air.plays(CHANGES).await;
            assert_eq!(air.remove(CHANGES).await, None, "{point}");
        })
        .await;
        air.is_there(CHANGES, there).await;
        let again = if there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
        assert_eq!(air.remove(CHANGES).await, Some(again), "{point}");
        air.plays(STAYS).await;
    }
    air.farm.stop().await;
}

/// A farm on which one stream is always there and another one comes and goes, and what a player saw of them.
struct Air {
    farm: Farm,
    broadcast: Broadcast,
    client: Client,
    stays: StreamId,
    /// By name: the number after the last segment that a player saw.
    reached: BTreeMap<&'static str, u64>,
}

impl Air {
    async fn begin() -> Self {
        let broadcast = Broadcast::of(&Recording::default());
        let farm = Farm::builder().worker(WorkerSpec::new("a")).start().await;
        let stays = farm.pull(STAYS, &broadcast.url()).await.id;
        let mut air = Self { farm, broadcast, client: Client::new(), stays, reached: BTreeMap::new() };
        air.plays(STAYS).await;
        air
    }

    /// Starts the coordinator so that it dies at `point`, provokes it, and starts it again.
    async fn coordinator_dies_at(&mut self, point: &str, provoke: impl AsyncFnOnce(&mut Self)) {
        self.farm.stop_coordinator(false).await;
        let status = match self.farm.try_start_coordinator(&[(VARIABLE, point)]).await {
            Err(status) => status,
            Ok(()) => {
                provoke(self).await;
                self.farm.coordinator_ended(REACHED).await
            }
        };
        was_killed(point, status);
        self.farm.start_coordinator().await;
        let kept = self.farm.api.stream(STAYS).await.unwrap();
        assert_eq!(kept.id, self.stays, "{point}");
    }

    async fn is_there(&self, name: &str, there: bool) {
        let found: Option<StreamView> = self.farm.api.stream(name).await.ok();
        assert_eq!(found.is_some(), there, "{found:?}");
    }

    /// `None`: nobody answered.
    async fn add(&self, name: &str) -> Option<StatusCode> {
        let spec = stream(name, SourceSpec::Pull(self.broadcast.url()));
        let url = format!("{}/v1/streams", self.farm.api.base);
        Some(self.client.post(url).json(&spec).send().await.ok()?.status())
    }

    async fn remove(&self, name: &str) -> Option<StatusCode> {
        let url = format!("{}/v1/streams/{name}", self.farm.api.base);
        Some(self.client.delete(url).send().await.ok()?.status())
    }

    /// Until a segment was fetched; none has a number that was given before.
    async fn plays(&mut self, name: &'static str) {
        let player = self.farm.play(name, PROFILE);
        player.fetches(1).await;
        let played = player.stop();
        played.assert_proper();
        let (first, last) = (&played.playlists[0].1, &played.playlists.last().unwrap().1);
        let reached = self.reached.insert(name, last.next_sequence()).unwrap_or(0);
        assert!(first.sequence >= reached, "{name}: {} after {reached}", first.sequence);
    }
}
