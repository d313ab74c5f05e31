//! What players get, from a source that was pushed and is passed on as it is: no worker is needed for that.

use std::{process::Command, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, Response, StatusCode, header},
};
use common::{
    preset::Presets,
    profile::Profiles,
    stream::{SourceSpec, StreamOptions, StreamSpec},
};
use futures::StreamExt as _;
use mux::hls::Checker;
use tokio::sync::RwLock;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{Audience, Viewers};
use crate::{
    access::{Access, Sessions},
    api::{Api, Cookies, Estimates, EventHub, Links, Reached, router},
    fleet::Policy,
    holdings::Holdings,
    incoming::{self, Incoming},
    live::{
        runtime::Settings,
        service::{Live, start},
        source::Limits,
        streams::Streams,
    },
    metrics::{Asked, Counted, Metrics, Operations},
    queue::{Service, Settings as QueueSettings},
    storage::{Storage, buckets::Buckets, shared::SharedRoots, sign::Signer},
    store::SqliteStore,
    webhooks::Webhooks,
};

const LONG: Duration = Duration::from_secs(20);
/// More than any answer here has.
const MOST: usize = 1 << 24;

struct Bench {
    live: Live,
    router: Router,
    tracker: TaskTracker,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(tokens: bool) -> Self {
        Self::keeping(64 << 20, tokens).await
    }

    async fn keeping(max_bytes: usize, tokens: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap());
        let profiles = Arc::new(Profiles::builtin());
        let access = Access::open(Arc::clone(&store) as _, None).await.unwrap();
        let upload_owners = Arc::clone(&store) as _;
        let holdings = Holdings::new(Arc::clone(&store) as _, Default::default(), Default::default());
        let streams = Streams::open(Arc::clone(&store) as _, Vec::new(), &profiles).await.unwrap();
        let policy = Policy { stale_after: LONG, ..Policy::default() };
        let settings =
            QueueSettings { lease: LONG, grace: LONG, time_limit: None, policy, quotas: Default::default() };
        let uploads = Arc::clone(&store) as _;
        let (mut service, queue, _) = Service::open(settings, Arc::clone(&store) as _).await.unwrap();
        let queue_metrics = service.metrics();
        let events = service.live_events().unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        tracker.spawn(service.run(stop.clone()));
        let kept = Settings {
            source: Limits { max_bytes: 64 << 20, max_length: LONG },
            max_bytes,
            max_length: LONG,
        };
        let live = start(kept, queue.clone(), events, Arc::clone(&profiles), streams, &tracker, stop.clone());
        let storage = Storage::open_local(&folder.path().join("objects")).unwrap();
        let incoming = incoming::Settings {
            folder: folder.path().join("uploads"),
            limits: incoming::Limits { max_bytes: 0, expiry_ms: 0 },
            queue: queue.clone(),
            stop: stop.clone(),
            tracker: tracker.clone(),
        };
        let webhooks = Webhooks {
            reach: common::reach::Reach::default(),
            secrets: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap(),
            store: Arc::clone(&store) as _,
            woken: queue.webhooks(),
        };
        let counted = Counted {
            queue: &queue_metrics,
            live: &live.metrics(),
            store: &Operations::default(),
            storage: &storage.operations(),
        };
        let asked = Asked { queue: queue.clone(), live: live.clone(), store: Arc::clone(&store) as _ };
        let api = Api {
            metrics: Metrics::new(&counted, asked),
            worker_port: None,
            incoming: Incoming::open(incoming, uploads, storage.clone()).await.unwrap(),
            queue,
            store: Arc::clone(&store) as _,
            storage,
            presets: Arc::new(Presets::builtin()),
            shared: SharedRoots::new(&[]).unwrap(),
            buckets: Buckets::default(),
            max_upload: 0,
            uploads: Arc::new(RwLock::new(())),
            removals: Arc::new(RwLock::new(())),
            upload_owners,
            holdings,
            cookies: Cookies {
                sessions: Sessions::new(Signer::new(&[7; 32]).derived("sign-ins"), access.clone()),
                public: None,
            },
            access,
            events: EventHub::new(),
            live: live.clone(),
            profiles,
            viewers: Viewers::new(&Signer::new(&[7; 32]), Audience::of(Some(tokens))),
            links: Links::new(&Signer::new(&[7; 32]), LONG, None),
            estimates: Estimates::default(),
            webhooks,
            stop: stop.clone(),
        };
        let router = router(api, Reached { loopback: false, insecure_open: true, scraper: None });
        let bench = Self { live, router, tracker, stop, _folder: folder };
        let spec = StreamSpec {
            name: "news".to_owned(),
            source: SourceSpec::Push,
            profiles: Vec::new(),
            options: StreamOptions::default(),
        };
        bench.live.add(spec).await.unwrap();
        bench
    }

    /// Eight seconds of it, key frames two seconds apart, somebody watching from the beginning.
    async fn with(
        codec: &str,
        tokens: bool,
    ) -> (Self, crate::live::service::PushInput, crate::live::service::Watch) {
        let bench = Self::new(tokens).await;
        let mut push = bench.live.push("news").await.unwrap();
        let clip = clip(codec, "400k");
        let accept = crate::live::service::Accept::default();
        let watching = bench.live.watch("news", "copy", &accept, None);
        let pushing = async {
            for piece in clip.chunks(1316) {
                push.write(piece).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (watch, ()) = tokio::join!(watching, pushing);
        (bench, push, watch.unwrap())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "farm.example");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap());
        tokio::time::timeout(LONG, answer).await.unwrap().unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        let response = self.ask(Method::GET, path, &[]).await;
        (response.status(), to_bytes(response.into_body(), MOST).await.unwrap().to_vec())
    }

    async fn text(&self, path: &str) -> String {
        let (status, body) = self.get(path).await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(LONG, self.tracker.wait()).await.unwrap();
    }
}

fn clip(codec: &str, bitrate: &str) -> Vec<u8> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=8,noise=alls=80:allf=t"])
        .args([
            "-f",
            "lavfi",
            "-i",
            "sine=d=8",
            "-c:v",
            codec,
            "-preset",
            "ultrafast",
            "-b:v",
            bitrate,
            "-g",
            "50",
        ])
        .args(["-x265-params", "log-level=none:keyint=50:min-keyint=50:scenecut=0", "-c:a", "aac"])
        .args(["-f", "mpegts", "pipe:1"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn header_of(response: &Response<Body>, name: header::HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().unwrap().to_owned())
}

/// Names of the segments in a playlist.
fn segments(playlist: &str) -> Vec<String> {
    playlist.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[tokio::test]
async fn hls_of_h264_is_mpeg_ts_in_whole_and_in_ranges() {
    let (bench, _push, _watch) = Bench::with("libx264", false).await;
    let playlist = bench.text("/live/news/copy/index.m3u8?accept=h264,aac").await;
    Checker::default().push(&playlist).unwrap();
    let segments = segments(&playlist);
    assert!(segments.len() >= 2 && segments[0].ends_with(".ts?accept=h264,aac"), "{playlist}");
    let path = format!("/live/news/copy/{}", segments[0]);
    let (status, whole) = bench.get(&path).await;
    assert_eq!((status, whole[0], whole.len() % 188), (StatusCode::OK, 0x47, 0));
    let part = bench.ask(Method::GET, &path, &[(header::RANGE, "bytes=188-375")]).await;
    assert_eq!(part.status(), 206);
    assert_eq!(header_of(&part, header::CONTENT_RANGE), Some(format!("bytes 188-375/{}", whole.len())));
    assert_eq!(to_bytes(part.into_body(), MOST).await.unwrap(), whole[188..376]);
    let head = bench.ask(Method::HEAD, &path, &[]).await;
    assert_eq!(header_of(&head, header::CONTENT_LENGTH), Some(whole.len().to_string()));
    assert_eq!(header_of(&head, header::CONTENT_TYPE).as_deref(), Some("video/mp2t"));
    assert!(to_bytes(head.into_body(), MOST).await.unwrap().is_empty());
    let beyond = bench.ask(Method::GET, &path, &[(header::RANGE, "bytes=99999999-")]).await;
    assert_eq!(beyond.status(), 416);
    assert_eq!(bench.get("/live/news/copy/seg-99999999.ts").await.0, 404);
    bench.end().await;
}

#[tokio::test]
async fn hls_of_hevc_and_dash_are_fragmented_mp4() {
    let (bench, _push, _watch) = Bench::with("libx265", false).await;
    let playlist = bench.text("/live/news/copy/index.m3u8").await;
    Checker::default().push(&playlist).unwrap();
    let init = playlist.split("#EXT-X-MAP:URI=\"").nth(1).unwrap().split('"').next().unwrap();
    let (status, mut file) = bench.get(&format!("/live/news/copy/{init}")).await;
    assert_eq!((status, &file[4..8]), (StatusCode::OK, &b"ftyp"[..]));
    for segment in segments(&playlist) {
        let (status, segment) = bench.get(&format!("/live/news/copy/{segment}")).await;
        assert_eq!((status, &segment[4..8]), (StatusCode::OK, &b"moof"[..]));
        file.extend(segment);
    }
    assert!(frames(&file) >= 100, "{}", frames(&file));

    let manifest = bench.text("/live/news/copy/manifest.mpd").await;
    let value = |name: &str| manifest.split(name).nth(1).unwrap().split('"').nth(1).unwrap();
    assert!(manifest.contains("codecs=\"hvc1.") && manifest.contains("codecs=\"mp4a.40.2\""), "{manifest}");
    let (status, mut file) = bench.get(&format!("/live/news/copy/{}", value("initialization="))).await;
    assert_eq!(status, 200);
    let segment = value("media=").replace("$Time$", value("<S t="));
    file.extend(bench.get(&format!("/live/news/copy/{segment}")).await.1);
    assert!(frames(&file) >= 25, "{}", frames(&file));
    assert_eq!(bench.get("/live/news/copy/init-0-00000000.mp4").await.0, 404);
    bench.end().await;
}

/// Frames of video that ffmpeg decodes without a complaint.
fn frames(file: &[u8]) -> usize {
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), file).unwrap();
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(input.path())
        .args(["-map", "0:v", "-f", "framecrc", "-"])
        .output()
        .unwrap();
    assert!(
        decoded.status.success() && decoded.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&decoded.stderr)
    );
    String::from_utf8(decoded.stdout).unwrap().lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test]
async fn the_stream_goes_on_until_the_variant_ends_and_then_ends_properly() {
    let (bench, push, watch) = Bench::with("libx264", false).await;
    let response = bench.ask(Method::GET, "/live/news/copy/stream.ts", &[]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header_of(&response, header::CACHE_CONTROL).as_deref(), Some("no-store"));
    let mut body = response.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert_eq!(first[0], 0x47);
    drop((push, watch));
    bench.live.remove("news").await.unwrap();
    let rest = tokio::time::timeout(LONG, async {
        while let Some(piece) = body.next().await {
            piece.unwrap();
        }
    });
    rest.await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn what_has_a_definition_answers_head_without_any_encode() {
    let bench = Bench::new(false).await;
    for (file, kind) in [
        ("stream.ts", "video/mp2t"),
        ("index.m3u8", "application/vnd.apple.mpegurl"),
        ("manifest.mpd", "application/dash+xml"),
        ("master.m3u8", "application/vnd.apple.mpegurl"),
    ] {
        let response = bench.ask(Method::HEAD, &format!("/live/news/h264-720p/{file}"), &[]).await;
        assert_eq!(response.status(), 200, "{file}");
        assert_eq!(header_of(&response, header::CONTENT_TYPE).as_deref(), Some(kind));
        assert_eq!(bench.ask(Method::HEAD, &format!("/live/news/8k/{file}"), &[]).await.status(), 404);
    }
    assert!(bench.live.stream("news").await.unwrap().variants.is_empty());
    bench.end().await;
}

#[tokio::test]
async fn master_playlists_tell_what_there_is_without_any_encode() {
    let bench = Bench::new(false).await;
    let own = bench.text("/live/news/master.m3u8?accept=h264").await;
    assert!(own.contains("\nh264-1080p/index.m3u8?accept=h264\n") && own.contains("avc1."), "{own}");
    let ladder = bench.text("/live/news/ladder/master.m3u8").await;
    assert!(ladder.contains("\n../h264-480p/index.m3u8\n"), "{ladder}");
    let redirected = bench.ask(Method::GET, "/live/news/ladder/index.m3u8?token=t", &[]).await;
    assert_eq!(redirected.status(), 307);
    assert_eq!(header_of(&redirected, header::LOCATION).as_deref(), Some("master.m3u8?token=t"));
    assert!(bench.live.stream("news").await.unwrap().variants.is_empty());
    bench.end().await;
}

#[tokio::test]
async fn pages_of_other_sites_may_play_and_read_why_not() {
    let bench = Bench::new(false).await;
    let page = [(header::ORIGIN, "https://player.example")];
    let preflight = bench.ask(Method::OPTIONS, "/live/news/copy/seg-0.ts", &page).await;
    assert_eq!(preflight.status(), 204);
    assert!(header_of(&preflight, header::ACCESS_CONTROL_ALLOW_HEADERS).unwrap().contains("Range"));
    let missing = bench.ask(Method::GET, "/live/olds/copy/index.m3u8", &page).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(header_of(&missing, header::ACCESS_CONTROL_ALLOW_ORIGIN).as_deref(), Some("*"));
    assert_eq!(header_of(&missing, header::CONTENT_TYPE).as_deref(), Some("application/problem+json"));
    // Not where anything can be changed.
    let api = bench.ask(Method::GET, "/v1/jobs", &page).await;
    assert_eq!(header_of(&api, header::ACCESS_CONTROL_ALLOW_ORIGIN), None);
    bench.end().await;
}

#[tokio::test]
async fn without_a_worker_the_viewer_hears_when_to_try_again() {
    let (bench, _push, _watch) = Bench::with("libx264", false).await;
    let response = bench.ask(Method::GET, "/live/news/h264-720p/stream.ts", &[]).await;
    assert_eq!(response.status(), 503);
    assert!(header_of(&response, header::RETRY_AFTER).is_some());
    bench.end().await;
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere_and_carried_on() {
    let (bench, _push, _watch) = Bench::with("libx264", true).await;
    for path in [
        "master.m3u8",
        "copy/index.m3u8",
        "copy/stream.ts",
        "copy/manifest.mpd",
        "copy/seg-0.ts",
        "copy/part-0.0.m4s",
        "copy/init-0-00000000.mp4",
        "copy/index.m3u8?token=1.s.x",
    ] {
        assert_eq!(bench.get(&format!("/live/news/{path}")).await.0, 403, "{path}");
    }
    let request = Request::post("/v1/streams/news/tokens")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"expires_in": "1h", "profile": "copy"}"#))
        .unwrap();
    let response = bench.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = to_bytes(response.into_body(), MOST).await.unwrap();
    let token: common::stream::TokenView = serde_json::from_slice(&body).unwrap();
    let playlist = bench.text(&token.url).await;
    let segment = &segments(&playlist)[0];
    assert_eq!(bench.get(&format!("/live/news/copy/{segment}")).await.0, 200);
    assert_eq!(bench.get(&format!("/live/news/h264-720p/stream.ts?token={}", token.token)).await.0, 403);
    bench.end().await;
}

#[tokio::test]
async fn a_viewer_that_does_not_read_is_cut_off_alone() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let bench = Bench::keeping(1 << 20, false).await;
    let mut push = bench.live.push("news").await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = crate::serve::Stop { graceful: bench.stop.clone(), now: CancellationToken::new() };
    bench.tracker.spawn(crate::serve::serve(listener, bench.router.clone(), stop, bench.tracker.clone()));
    let clip = clip("libx264", "20M");
    push.write(&clip).unwrap();
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /live/news/copy/stream.ts HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut start = [0; 1000];
    idle.read_exact(&mut start).await.unwrap();
    assert!(start.starts_with(b"HTTP/1.1 200"));
    let response = bench.ask(Method::GET, "/live/news/copy/stream.ts", &[]).await;
    let mut reading = response.into_body().into_data_stream();
    let gone = tokio::time::timeout(LONG, async {
        loop {
            for piece in clip.chunks(64 * 188) {
                push.write(piece).unwrap();
                // As fast as it comes.
                while let Ok(Some(piece)) =
                    tokio::time::timeout(Duration::from_millis(1), reading.next()).await
                {
                    piece.unwrap();
                }
            }
            let variant = &bench.live.stream("news").await.unwrap().variants[0];
            if variant.dropped_viewers > 0 {
                return variant.dropped_viewers;
            }
        }
    });
    assert_eq!(gone.await.unwrap(), 1);
    // What was sent can still be read, and then it breaks off: no chunk says that this was the end.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(LONG, idle.read_to_end(&mut rest)).await.unwrap();
    assert!(read.is_err() || !rest.ends_with(b"0\r\n\r\n"));
    drop((reading, idle));
    bench.end().await;
}
