//! What most tests begin with and how they end: a farm with one stream on the air.

use std::path::Path;

use common::stream::StreamOptions;
use e2e::{
    Farm, FarmBuilder, WorkerSpec,
    live::{Broadcast, Decoded, Played, Received, Recording, ts},
};

/// The stream's name.
pub(crate) const CHANNEL: &str = "channel";
/// What is watched where it does not matter.
pub(crate) const PROFILE: &str = "h264-480p";

/// A farm, and the broadcast that its stream is pulled from.
pub(crate) struct Channel {
    pub(crate) farm: Farm,
    pub(crate) broadcast: Broadcast,
    pub(crate) recording: Recording,
}

/// How a test's farm is started: `PATH` finds Debian's ffmpeg.
pub(crate) fn farm(workers: &[&str]) -> FarmBuilder {
    let builder = Farm::builder();
    workers.iter().fold(builder, |builder, name| builder.worker(WorkerSpec::new(name)))
}

impl Channel {
    /// With these workers, a recording of the usual kind and a stream with everything at its default.
    pub(crate) async fn on(workers: &[&str]) -> Self {
        Self::with(farm(workers), Recording::default(), StreamOptions::default()).await
    }

    pub(crate) async fn with(farm: FarmBuilder, recording: Recording, options: StreamOptions) -> Self {
        let broadcast = Broadcast::of(&recording);
        let farm = farm.start().await;
        farm.pull_with(CHANNEL, &broadcast.url(), options).await;
        Self { farm, broadcast, recording }
    }

    /// Asserts that a viewer saw and heard everything once, and in time.
    pub(crate) fn saw_all(&self, received: &Received, name: &str) -> Decoded {
        saw_all(&self.farm.folder(name), received, &self.recording)
    }

    /// Asserts that a player's segments are everything, once, and by the rules.
    pub(crate) fn played_all(&self, played: &Played, name: &str) -> Decoded {
        played.assert_proper();
        let decoded = Decoded::of(&played.save(&self.farm.folder(name)));
        decoded.assert_whole(&self.recording);
        decoded
    }

    /// Takes the stream down and ends the farm.
    pub(crate) async fn stop(self) {
        self.farm.api.remove_stream(CHANNEL).await.unwrap();
        self.farm.stop().await;
    }
}

/// Asserts that the packets are in order, that they begin with a key frame, and that the pictures and the sound in them are
/// everything that was on the air.
pub(crate) fn saw_all(folder: &Path, received: &Received, recording: &Recording) -> Decoded {
    let whole = ts::complete(&received.bytes);
    assert_eq!(ts::faults(whole), Vec::<String>::new());
    let first = ts::all_pes(whole).into_iter().find(|pes| pes.video == recording.video.is_some());
    assert!(first.is_some_and(|pes| pes.random_access || !pes.video), "it begins with {first:?}");
    let decoded = Decoded::of(&received.save(folder, "received.ts"));
    decoded.assert_whole(recording);
    decoded
}
