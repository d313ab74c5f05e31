//! Streams that only who has a token may watch.

use std::fs;

use common::stream::{StreamOptions, TokenView};
use e2e::{
    binaries,
    live::{Decoded, HlsPlayer, Recording, Viewer, farm::stream, playlist::Playlist},
    wait::{self, seconds},
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    channel::{CHANNEL, Channel, farm},
    packaging::small_profiles,
};

const PROFILE: &str = "small";

struct Guarded {
    channel: Channel,
    client: Client,
    _profiles: TempDir,
}

impl Guarded {
    async fn new() -> Self {
        let profiles = small_profiles();
        let ladder = "description = \"One rung\"\nkind = \"ladder\"\nrenditions = [\"small\"]\n";
        fs::write(profiles.path().join("rungs.toml"), ladder).unwrap();
        let builder = farm(&["alone"])
            .env("TVARR_LIVE_TOKENS", "true")
            .env("TVARR_PROFILES_DIR", profiles.path().as_os_str());
        let channel = Channel::with(builder, Recording::default(), StreamOptions::default()).await;
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { channel, client, _profiles: profiles }
    }

    async fn ask(&self, stream: &str, request: Value) -> Response {
        let path = format!("/v1/streams/{stream}/tokens");
        self.channel.farm.api.post_json(&path, request.to_string()).await
    }

    /// Leave to watch a stream, or a profile of it.
    async fn token(&self, stream: &str, profile: Option<&str>) -> TokenView {
        let answer = self.ask(stream, json!({"expires_in": "1h", "profile": profile})).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    }

    /// The address of a file of the stream, with a token.
    fn url(&self, path: &str, token: &str) -> String {
        self.channel.farm.live(&format!("{CHANNEL}/{path}?token={token}"))
    }

    async fn get(&self, url: &str) -> Response {
        self.client.get(url).send().await.unwrap()
    }

    async fn text(&self, url: &str) -> String {
        let response = self.get(url).await;
        assert_eq!(response.status(), StatusCode::OK, "{url}");
        response.text().await.unwrap()
    }

    /// Asserts that an address is refused as it should be, whoever asks and how.
    async fn is_refused(&self, url: &str) -> String {
        let head = self.client.head(url).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::FORBIDDEN, "HEAD {url}");
        let response = self.get(url).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{url}");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/problem+json", "{url}");
        assert_eq!(headers["access-control-allow-origin"], "*", "a page has to read why");
        let problem: common::api::Problem = response.json().await.unwrap();
        assert_eq!(problem.kind, "/problems/token", "{url}");
        assert!(problem.detail.contains("token"), "{problem:?}");
        assert!(problem.remedy.is_some_and(|remedy| remedy.contains("/tokens")), "{url}");
        problem.detail
    }

    async fn stop(self) {
        self.channel.stop().await;
    }
}

/// Everything that can be asked for.
const FILES: [&str; 10] = [
    "small/stream.ts",
    "small/index.m3u8",
    "small/manifest.mpd",
    "small/seg-1.ts",
    "small/seg-1.m4s",
    "small-ll/part-1.0.m4s",
    "small/init-0-01234567.mp4",
    "rungs/index.m3u8",
    "rungs/master.m3u8",
    "master.m3u8",
];

#[tokio::test]
async fn without_the_right_token_nothing_is_to_be_seen_and_nothing_is_started() {
    let guarded = Guarded::new().await;
    let farm = &guarded.channel.farm;
    let spec = stream("other", common::stream::SourceSpec::Push);
    farm.api.add_stream(&spec).await.unwrap();

    let good = guarded.token(CHANNEL, None).await.token;
    let elsewhere = guarded.token("other", None).await.token;
    let narrow = guarded.token(CHANNEL, Some("small-ll")).await.token;
    let (expires, rest) = good.split_once('.').unwrap();
    let later = format!("{}.{rest}", expires.parse::<i64>().unwrap() + 3600);
    let last = if good.ends_with('A') { 'Q' } else { 'A' };
    let forged = format!("{}{last}", &good[..good.len() - 1]);
    let wide = narrow.replace(".p.", ".s.");
    for file in FILES {
        let plain = farm.live(&format!("{CHANNEL}/{file}"));
        assert!(guarded.is_refused(&plain).await.contains("needs a token"));
        for token in ["", "x", "1.s.", "%00", &later, &forged, &wide, &elsewhere] {
            guarded.is_refused(&format!("{plain}?token={token}")).await;
        }
        let is_of_narrow = file.starts_with("small-ll");
        if !is_of_narrow {
            guarded.is_refused(&format!("{plain}?token={narrow}")).await;
        }
        // A browser asks before it asks, and sends no more than the URL.
        let preflight = guarded.client.request(Method::OPTIONS, plain).header("origin", "http://example.org");
        let preflight = preflight.header("access-control-request-headers", "range").send().await.unwrap();
        assert!(preflight.status().is_success(), "{file}");
        assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    }
    // Who may not watch does not learn what there is.
    for path in ["nothing/small/stream.ts", "channel/nothing/stream.ts"] {
        guarded.is_refused(&farm.live(path)).await;
    }
    assert_eq!(guarded.channel.broadcast.connections(), 0);
    assert!(farm.api.stream(CHANNEL).await.unwrap().variants.is_empty());
    farm.api.remove_stream("other").await.unwrap();
    guarded.stop().await;
}

#[tokio::test]
async fn a_token_expires_and_survives_a_restart_until_then() {
    let mut guarded = Guarded::new().await;
    let answer = guarded.ask(CHANNEL, json!({"expires_in": "1s"})).await;
    let brief: TokenView = answer.json().await.unwrap();
    let lasting = guarded.token(CHANNEL, None).await;
    assert!(lasting.expires_at > brief.expires_at);
    let url = guarded.url("master.m3u8", &brief.token);
    wait::until(seconds(10), "the token to expire", || async {
        (guarded.get(&url).await.status() != StatusCode::OK).then_some(())
    })
    .await;
    assert!(guarded.is_refused(&url).await.contains("expired"));

    guarded.channel.farm.stop_coordinator(true).await;
    guarded.channel.farm.start_coordinator().await;
    assert_eq!(guarded.get(&guarded.url("master.m3u8", &lasting.token)).await.status(), StatusCode::OK);
    assert!(guarded.is_refused(&guarded.url("master.m3u8", &brief.token)).await.contains("expired"));

    for (stream, request, status) in [
        (CHANNEL, json!({}), 422),
        (CHANNEL, json!({"expires_in": "0s"}), 422),
        (CHANNEL, json!({"expires_in": "367d"}), 422),
        (CHANNEL, json!({"expires_in": "soon"}), 422),
        (CHANNEL, json!({"expires_in": "1h", "profil": "small"}), 422),
        (CHANNEL, json!({"expires_in": "1h", "profile": "nothing"}), 404),
        ("nothing", json!({"expires_in": "1h"}), 404),
    ] {
        let answer = guarded.ask(stream, request.clone()).await;
        assert_eq!(answer.status().as_u16(), status, "{stream}: {request}");
        let problem: common::api::Problem = answer.json().await.unwrap();
        assert!(!problem.detail.is_empty(), "{problem:?}");
    }
    guarded.stop().await;
}

/// Asserts that everything a playlist names carries the token.
fn all_carry(text: &str, token: &str) {
    let named = text.lines().flat_map(|line| match line.split_once("URI=\"") {
        Some((_, rest)) => rest.split('"').next(),
        None => (!line.is_empty() && !line.starts_with('#')).then_some(line),
    });
    let named: Vec<_> = named.collect();
    assert!(!named.is_empty(), "{text}");
    for uri in named {
        assert!(uri.contains(&format!("token={token}")), "{uri} in {text}");
    }
}

#[tokio::test]
async fn a_token_plays_transport_stream_hls_and_dash() {
    let guarded = Guarded::new().await;
    let token = guarded.token(CHANNEL, None).await.token;
    let viewer = Viewer::watch(&guarded.url("small/stream.ts", &token));
    let player = HlsPlayer::play(&guarded.url("small/index.m3u8", &token));
    viewer.watches(4.0).await;
    player.fetches(3).await;

    let text = guarded.text(&guarded.url("small/index.m3u8", &token)).await;
    all_carry(&text, &token);
    let base = Url::parse(&guarded.url("small/index.m3u8", &token)).unwrap();
    let last = Playlist::parse(&text).unwrap().segments.pop().unwrap();
    let segment = base.join(&last.uri).unwrap();
    let whole = guarded.get(segment.as_str()).await.bytes().await.unwrap();
    let head = guarded.client.head(segment.clone()).send().await.unwrap();
    assert_eq!(head.headers()["content-length"].to_str().unwrap(), whole.len().to_string());
    let part = guarded.client.get(segment.clone()).header("range", "bytes=188-375").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), whole[188..376]);
    let mut naked = segment;
    naked.set_query(None);
    guarded.is_refused(naked.as_str()).await;

    let manifest = guarded.url("small/manifest.mpd", &token);
    let text = guarded.text(&manifest).await;
    for attribute in ["media=\"", "initialization=\""] {
        let named: Vec<_> = text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!named.is_empty() && named.iter().all(|uri| uri.contains(&token)), "{named:?}");
    }
    let dash = Decoded::by(&binaries::system("ffmpeg"), &manifest, &["-t", "2"]);
    assert!(dash.seconds() > 1.0 && !dash.sounds.is_empty(), "{dash:?}");
    assert_eq!(dash.lost_and_doubled(&guarded.channel.recording).0, 0);

    let (received, played) = (viewer.stop(), player.stop());
    guarded.channel.saw_all(&received, "viewer");
    guarded.channel.played_all(&played, "player");
    guarded.stop().await;
}

#[tokio::test]
async fn a_token_plays_low_latency_parts() {
    let guarded = Guarded::new().await;
    let given = guarded.token(CHANNEL, Some("small-ll")).await;
    assert!(given.url.starts_with(&format!("/live/{CHANNEL}/small-ll/index.m3u8?token=")), "{}", given.url);
    // As it is given: who has it needs nothing else.
    let url = format!("{}{}", guarded.channel.farm.api.base, given.url);
    let player = HlsPlayer::play(&url);
    player.fetches(3).await;
    let text = guarded.text(&url).await;
    assert!(text.contains("EXT-X-PRELOAD-HINT") && text.contains("EXT-X-MAP"), "{text}");
    all_carry(&text, &given.token);
    let played = player.stop();
    guarded.channel.played_all(&played, "player");
    assert!(!played.inits.is_empty() && played.parts.len() >= 8, "{} parts", played.parts.len());
    guarded.stop().await;
}

#[tokio::test]
async fn a_token_of_a_ladder_plays_what_its_master_playlist_names() {
    let guarded = Guarded::new().await;
    for profile in [None, Some("rungs")] {
        let given = guarded.token(CHANNEL, profile).await;
        let mut url = Url::parse(&guarded.channel.farm.api.base).unwrap().join(&given.url).unwrap();
        let answer = guarded.get(url.as_str()).await;
        if answer.status().is_redirection() {
            url = url.join(answer.headers()["location"].to_str().unwrap()).unwrap();
        }
        let master = guarded.text(url.as_str()).await;
        all_carry(&master, &given.token);
        // The lowest costs the least.
        let rung = master.lines().rfind(|line| line.contains("/index.m3u8?")).unwrap();
        let player = HlsPlayer::play(url.join(rung).unwrap().as_str());
        player.fetches(2).await;
        let played = player.stop();
        guarded.channel.played_all(&played, "player");
    }
    // It is no leave for the rest.
    let rungs = guarded.token(CHANNEL, Some("rungs")).await.token;
    for file in ["small-ll/index.m3u8", "audio-aac/stream.ts", "master.m3u8"] {
        guarded.is_refused(&guarded.url(file, &rungs)).await;
    }
    let small = guarded.token(CHANNEL, Some(PROFILE)).await.token;
    guarded.is_refused(&guarded.url("rungs/master.m3u8", &small)).await;
    guarded.stop().await;
}
