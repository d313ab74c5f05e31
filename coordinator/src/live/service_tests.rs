//! Streams without a worker: what can be had of a source as it is.

use std::{process::Command, time::Duration};

use common::stream::{SourceSpec, StreamOptions};
use mux::{Event, Kind, ts};
use tokio::time::timeout;

use super::*;
use crate::{
    fleet::Policy,
    live::source::Limits,
    queue::{Service, Settings as QueueSettings},
    store::SqliteStore,
};

const LONG: Duration = Duration::from_secs(20);

struct Bench {
    live: Live,
    tracker: TaskTracker,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap());
        let profiles = Arc::new(Profiles::builtin());
        let streams = Streams::open(Arc::clone(&store) as _, Vec::new(), &profiles).await.unwrap();
        let policy = Policy { stale_after: LONG, ..Policy::default() };
        let settings =
            QueueSettings { lease: LONG, grace: LONG, time_limit: None, policy, quotas: Default::default() };
        let (mut service, queue, _) = Service::open(settings, store).await.unwrap();
        let events = service.live_events().unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        tracker.spawn(service.run(stop.clone()));
        let kept = Settings {
            source: Limits { max_bytes: 64 << 20, max_length: LONG },
            max_bytes: 64 << 20,
            max_length: LONG,
        };
        let live = start(kept, queue, events, profiles, streams, &tracker, stop.clone());
        Self { live, tracker, stop, _folder: folder }
    }

    async fn add(&self, name: &str) {
        let spec = StreamSpec {
            name: name.to_owned(),
            source: SourceSpec::Push,
            profiles: Vec::new(),
            options: StreamOptions::default(),
        };
        self.live.add(spec).await.unwrap();
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        timeout(LONG, self.tracker.wait()).await.unwrap();
    }
}

/// Four seconds with a key frame every second.
fn clip() -> Vec<u8> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4"])
        .args(["-f", "lavfi", "-i", "sine=d=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25"])
        .args(["-c:a", "aac", "-f", "mpegts", "pipe:1"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn count(bytes: &[u8]) -> (usize, usize) {
    let (mut demuxer, mut events) = (ts::Demuxer::new(true), Vec::new());
    demuxer.push(bytes, &mut events);
    demuxer.finish(&mut events);
    let (mut video, mut audio, mut program) = (0, 0, mux::Program::default());
    for event in events {
        match event {
            Event::Program(found) => program = found,
            Event::Unit(unit) => match program.codec(unit.track).unwrap().kind() {
                Kind::Video => video += 1,
                Kind::Audio => audio += 1,
                Kind::Other => {}
            },
        }
    }
    (video, audio)
}

#[tokio::test]
async fn a_pushed_source_is_watched_as_it_is_and_its_viewers_are_counted() {
    let bench = Bench::new().await;
    bench.add("news").await;
    let mut push = bench.live.push("news").await.unwrap();
    let clip = clip();
    let (first, second) = clip.split_at(clip.len() / 2);
    push.write(first).unwrap();
    let anything = Accept::default();
    let watching = timeout(LONG, bench.live.watch("news", "copy", &anything, None));
    let pushing = async {
        for piece in second.chunks(1316) {
            push.write(piece).unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (watch, ()) = tokio::join!(watching, pushing);
    let watch = watch.unwrap().unwrap();
    let mut reader = watch.output.ts().await.unwrap();
    assert_eq!(bench.live.stream("news").await.unwrap().variants[0].viewers, 1);

    drop(push);
    bench.live.remove("news").await.unwrap();
    let mut got = Vec::new();
    while let Ok(pieces) = timeout(LONG, reader.next()).await.unwrap() {
        got.extend(pieces.concat());
    }
    let (video, audio) = count(&got);
    // From its newest key frame on: one of the seconds that there are, without the last frame, which is not closed.
    assert!([24, 49, 74, 99, 25, 50, 75, 100].contains(&video), "{video} frames");
    assert!(audio > video, "{audio} audio frames");
    drop((reader, watch));
    bench.end().await;
}

#[tokio::test]
async fn without_any_worker_the_viewer_is_told_at_once() {
    let bench = Bench::new().await;
    bench.add("news").await;
    let mut push = bench.live.push("news").await.unwrap();
    push.write(&clip()).unwrap();
    let anything = Accept::default();
    let watching = bench.live.watch("news", "h264-480p", &anything, None);
    let error = timeout(LONG, watching).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoCapacity(_)), "{error:?}");
    assert!(error.to_string().contains("worker"), "{error}");
    bench.end().await;
}

#[tokio::test]
async fn who_plays_what_the_source_is_gets_it_as_it_is() {
    let bench = Bench::new().await;
    bench.add("news").await;
    let mut push = bench.live.push("news").await.unwrap();
    push.write(&clip()).unwrap();
    let plays = Accept(["hevc", "h264", "aac"].map(str::to_owned).to_vec());
    let watch = timeout(LONG, bench.live.watch("news", "h264-480p", &plays, None)).await.unwrap().unwrap();
    assert_eq!(watch.profile, "copy");
    let plays = Accept(["hevc".to_owned()].to_vec());
    let refused = timeout(LONG, bench.live.watch("news", "h264-480p", &plays, None)).await.unwrap();
    assert!(matches!(refused, Err(Error::NoCapacity(_))), "{refused:?}");
    drop(watch);
    bench.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let bench = Bench::new().await;
    bench.add("news").await;
    let none = Accept::default();
    assert!(matches!(bench.live.watch("olds", "copy", &none, None).await, Err(Error::NoSuchStream(_))));
    assert!(matches!(bench.live.watch("news", "8k", &none, None).await, Err(Error::NoSuchProfile { .. })));
    let Err(Error::Ladder { renditions, .. }) = bench.live.watch("news", "ladder", &none, None).await else {
        panic!("a ladder is several");
    };
    assert_eq!(renditions, ["h264-1080p", "h264-720p", "h264-480p"]);
    assert!(bench.live.remove("olds").await.is_err());
    bench.end().await;
}
