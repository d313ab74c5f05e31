//! Live streams by HTTP: what may be one, what is kept, and how one is pushed.

use std::process::{Command, Stdio};

use common::{
    api::{Page, Problem},
    stream::{SourceSpec, SourceState, StreamView},
};
use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::farm::{Farm, eventually};

async fn problem(response: Response, status: u16) -> Problem {
    assert_eq!(response.status(), status);
    response.json().await.unwrap()
}

async fn view(farm: &Farm, stream: &str) -> StreamView {
    farm.get(&format!("/v1/streams/{stream}")).await.json().await.unwrap()
}

async fn delete(farm: &Farm, stream: &str) -> Response {
    farm.http.delete(farm.url(&format!("/v1/streams/{stream}"))).send().await.unwrap()
}

/// Two seconds of a picture and a sound.
pub(crate) fn clip() -> Vec<u8> {
    let arguments = "-loglevel error -f lavfi -i testsrc2=s=160x90:r=25:d=2 -f lavfi -i sine=r=48000:d=2 -c:v libx264 \
                     -preset ultrafast -g 25 -c:a aac -f mpegts -";
    Command::new("ffmpeg").args(arguments.split_whitespace()).output().unwrap().stdout
}

#[tokio::test]
async fn a_stream_is_added_listed_shown_and_removed_and_survives_a_restart() {
    let farm = Farm::start().await;
    let spec = json!({
        "name": "news",
        "source": "http://user:secret@host.example/live.ts?token=secret",
        "profiles": ["h264-720p", "ladder"],
        "options": {"redundancy": 2, "slate": "Back soon"}
    });
    let added = farm.post("/v1/streams", &spec).await;
    assert_eq!(added.status(), StatusCode::CREATED);
    let text = added.text().await.unwrap();
    assert!(!text.contains("secret"), "{text}");
    let added: StreamView = serde_json::from_str(&text).unwrap();
    assert_eq!(added.source_state.state, SourceState::Idle, "nobody watches");
    assert!(!added.configured);

    let again = problem(farm.post("/v1/streams", &spec).await, 409).await;
    assert!(again.detail.contains("news"), "{again:?}");

    let farm = farm.restart().await;
    let list: Page<StreamView> = farm.get("/v1/streams").await.json().await.unwrap();
    assert_eq!(list.items.iter().map(|stream| stream.id).collect::<Vec<_>>(), [added.id]);
    assert_eq!(view(&farm, &added.id.to_string()).await.spec, added.spec);
    assert_eq!(delete(&farm, "news").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(problem(delete(&farm, "news").await, 404).await.status, 404);
    problem(farm.get("/v1/streams/news").await, 404).await;
    farm.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_stream_is_refused_by_its_field() {
    let farm = Farm::start().await;
    for (spec, field) in [
        (json!({"name": "No", "source": "push"}), "name"),
        (json!({"name": "a"}), "source"),
        (json!({"name": "a", "source": "clip.ts"}), "source"),
        (json!({"name": "a", "source": {"pull": "rtsp://h/1"}}), "source"),
        (json!({"name": "a", "source": {"ingest": "file:///etc/passwd"}}), "source"),
        (json!({"name": "a", "source": "push", "profiles": ["x"]}), "profiles[0]"),
        (json!({"name": "a", "source": "push", "options": {"redundancy": 3}}), "options.redundancy"),
        (json!({"name": "a", "source": "push", "options": {"colour": 3}}), "options.colour"),
    ] {
        let problem = problem(farm.post("/v1/streams", &spec).await, 422).await;
        assert_eq!(problem.field.as_deref(), Some(field), "{spec}: {problem:?}");
        assert!(problem.remedy.is_some(), "{problem:?}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_configured_stream_is_there_and_cannot_be_removed() {
    let farm = Farm::start_with(|config| {
        let stream = json!({"name": "news", "source": "push"});
        config.streams = vec![serde_json::from_value(stream).unwrap()];
    })
    .await;
    assert!(view(&farm, "news").await.configured);
    let refused = problem(delete(&farm, "news").await, 409).await;
    assert!(refused.detail.contains("configuration file"), "{refused:?}");
    farm.stop().await;
}

#[tokio::test]
async fn a_source_is_pushed_with_put_or_post_and_by_nobody_else() {
    let farm = Farm::start().await;
    for (name, source) in [("news", "push"), ("pulled", "http://127.0.0.1:9/x")] {
        farm.post("/v1/streams", &json!({"name": name, "source": source})).await;
    }
    let clip = clip();
    let input = |name: &str| farm.url(&format!("/v1/streams/{name}/input"));
    for (runs, request) in
        [farm.http.put(input("news")), farm.http.post(input("news"))].into_iter().enumerate()
    {
        let sent = request.body(clip.clone()).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::NO_CONTENT);
        let view = view(&farm, "news").await;
        assert_eq!(view.spec.source, SourceSpec::Push);
        assert_eq!(view.source_state.generations as usize, runs + 1);
        assert_eq!(view.source_state.tracks.len(), 2, "{view:?}");
    }
    let other = problem(farm.http.put(input("pulled")).body(clip).send().await.unwrap(), 409).await;
    assert!(other.detail.contains("push"), "{other:?}");
    problem(farm.http.put(input("none")).body("x").send().await.unwrap(), 404).await;
    let wrong = farm.http.put(input("news")).body("\0\0\0\x20ftypisom and so on").send().await.unwrap();
    let wrong = problem(wrong, 422).await;
    assert!(wrong.detail.contains("MP4") && wrong.remedy.unwrap().contains("-f mpegts"));
    farm.stop().await;
}

#[tokio::test]
async fn ffmpeg_itself_pushes_as_long_as_it_likes() {
    let farm = Farm::start().await;
    farm.post("/v1/streams", &json!({"name": "news", "source": "push"})).await;
    let arguments = "-loglevel error -re -f lavfi -i testsrc2=s=160x90:r=25 -c:v libx264 -preset ultrafast -tune zerolatency \
                     -g 25 -f mpegts";
    let mut ffmpeg = Command::new("ffmpeg")
        .args(arguments.split_whitespace())
        .arg(farm.url("/v1/streams/news/input"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let is_live = async || view(&farm, "news").await.source_state.state == SourceState::Live;
    eventually(async || is_live().await.then_some(())).await;
    eventually(async || (view(&farm, "news").await.source_state.bitrate > 0).then_some(())).await;
    // A dead sender is no longer the source.
    ffmpeg.kill().unwrap();
    ffmpeg.wait().unwrap();
    eventually(async || (!is_live().await).then_some(())).await;
    farm.stop().await;
}
