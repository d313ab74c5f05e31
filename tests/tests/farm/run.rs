//! `POST /v1/run` and `POST /v1/probe`, as an application uses them.

use std::{path::PathBuf, time::Duration};

use common::{
    api::{InputRef, JobState, JobView, RunAnswer},
    id::JobId,
};
use e2e::{
    Farm, WorkerSpec, clip,
    web::{Behaviour, Web},
};
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};

fn film() -> PathBuf {
    clip("bigbuckbunny-2s.mp4")
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(120)).build().unwrap()
}

async fn post(farm: &Farm, path: &str, body: &Value, prefer: Option<&str>) -> Response {
    let mut request = client().post(format!("{}{path}", farm.api.base)).json(body);
    if let Some(prefer) = prefer {
        request = request.header("prefer", prefer);
    }
    request.send().await.unwrap()
}

async fn run(farm: &Farm, body: &Value, prefer: Option<&str>) -> RunAnswer {
    let response = post(farm, "/v1/run", body, prefer).await;
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn one_request_gives_a_url_of_the_result() {
    let farm = Farm::small().await;
    let web = Web::serve([("/film.mp4", Behaviour::Ranges(std::fs::read(film()).unwrap()))]).await;
    let url = web.url("/film.mp4");
    let body = json!({"input_url": url, "preset": "compress-video", "output_format": "mp4"});
    let answer = run(&farm, &body, Some("wait=60")).await;
    assert_eq!((answer.status, answer.failure), (JobState::Succeeded, None));
    assert_eq!(answer.estimated_duration_seconds, None);
    assert!(answer.estimate_basis.contains("no such job yet"), "{}", answer.estimate_basis);
    // As a browser opens it.
    let response = client().get(&answer.output_url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "video/mp4");
    assert!(response.url().path().ends_with(".mp4"), "{}", response.url());
    let whole = response.bytes().await.unwrap();
    assert_eq!(&whole[4..8], b"ftyp");
    let part = client().get(&answer.output_url).header(header::RANGE, "bytes=0-99").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), whole[..100]);
    // Nobody makes one of it for another job, or without.
    let (_, leave) = answer.output_url.rsplit_once('/').unwrap();
    for wrong in [
        format!("{}/signed/{}/{leave}", farm.api.base, JobId::new()),
        answer.output_url.replace(leave, &leave.replace('.', "0.")),
        format!("{}/signed/{}/1.x/output.mp4", farm.api.base, answer.job_id),
    ] {
        assert_eq!(client().get(&wrong).send().await.unwrap().status(), StatusCode::FORBIDDEN, "{wrong}");
    }

    // The next of the kind is known, and its size is by the first.
    let again = run(&farm, &body, None).await;
    assert!(again.estimated_duration_seconds.is_some_and(|seconds| seconds > 0.0), "{again:?}");
    let view: JobView = client()
        .get(format!("{}/v1/jobs/{}", farm.api.base, again.job_id))
        .header("prefer", "wait=60")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(view.summary.state, JobState::Succeeded);
    assert!(client().get(view.output_url.unwrap()).send().await.unwrap().status().is_success());
    farm.stop().await;
}

#[tokio::test]
async fn an_hls_presentation_plays_below_its_signed_url() {
    let farm = Farm::small().await;
    let upload = farm.api.upload(&film()).await.id;
    let body = json!({"input": {"upload": upload}, "preset": "convert-to-hls"});
    let answer = run(&farm, &body, Some("wait=90")).await;
    assert_eq!(answer.status, JobState::Succeeded);
    let master = client().get(&answer.output_url).send().await.unwrap();
    let base = master.url().clone();
    let text = master.text().await.unwrap();
    let playlist = text.lines().find(|line| line.ends_with(".m3u8")).unwrap();
    let media = client().get(base.join(playlist).unwrap()).send().await.unwrap();
    let (base, text) = (media.url().clone(), media.text().await.unwrap());
    let segment = text.lines().find(|line| !line.starts_with('#') && !line.is_empty()).unwrap();
    let segment = client().get(base.join(segment).unwrap()).send().await.unwrap();
    assert_eq!(segment.status(), StatusCode::OK);
    farm.stop().await;
}

#[tokio::test]
async fn before_its_end_a_job_has_no_result_and_says_when_to_ask_again() {
    let farm = Farm::builder().start().await;
    let upload = farm.api.upload(&film()).await.id;
    let body = json!({"input": {"upload": upload}, "command": "-vf scale=320:-2", "output_format": "webm"});
    let answer = run(&farm, &body, Some("wait=1")).await;
    assert_eq!(answer.status, JobState::Queued);
    let response = client().get(&answer.output_url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert!(response.text().await.unwrap().contains("is queued"));
    farm.stop().await;
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_by_field() {
    let farm = Farm::builder().start().await;
    let url = "https://example.com/a.mp4";
    for (body, field) in [
        (json!({"input_url": url}), "preset"),
        (json!({"input_url": url, "preset": "h264", "command": "-c copy"}), "preset"),
        (json!({"input_url": url, "preset": "h264", "output_format": "mp3"}), "output_format"),
        (json!({"input_url": url, "preset": "h264", "output_format": "exe"}), "output_format"),
        (json!({"input_url": url, "command": "-c:v libx264 -report"}), "command"),
        (json!({"input_url": "file:///etc/passwd", "preset": "h264"}), "input.url"),
        (json!({"input_url": 7, "preset": "h264"}), "input_url"),
        (json!({"preset": "h264"}), "input"),
        (json!({"input_url": url, "preset": "h264", "outputs": 1}), "outputs"),
    ] {
        let response = post(&farm, "/v1/run", &body, None).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["field"], field, "{body}: {problem}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn two_hundred_requests_at_once_are_accepted_and_done() {
    let farm = Farm::builder()
        .worker(WorkerSpec::new("one").jobs(2))
        .worker(WorkerSpec::new("two").jobs(2))
        .start()
        .await;
    let upload = farm.api.upload(&film()).await.id;
    let body = json!({"input": {"upload": upload}, "command": "-t 0.1 -vn -c:a pcm_s16le {{out:a.wav}}"});
    let requests = (0..200).map(|_| run(&farm, &body, None));
    let answers = futures::future::join_all(requests).await;
    let mut jobs: Vec<_> = answers.iter().map(|answer| answer.job_id).collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 200);
    for job in jobs {
        farm.succeeded(job).await;
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_probe_answers_what_ffprobe_says() {
    let farm = Farm::small().await;
    let film = Behaviour::Ranges(std::fs::read(film()).unwrap());
    let web = Web::serve([("/film.mp4", film), ("/gone.mp4", Behaviour::Status(404))]).await;
    let url = web.url("/film.mp4");
    let response = post(&farm, "/v1/probe", &json!({"input_url": url}), None).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["streams"][0]["codec_name"], "h264", "{answer}");
    assert_eq!(answer["format"]["filename"], url);

    let missing = web.url("/gone.mp4");
    let response = post(&farm, "/v1/probe", &json!({"input": {"url": missing}}), None).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(response.text().await.unwrap().contains("404"));
    // Where inputs may not lead, a probe does not either.
    let response = post(&farm, "/v1/probe", &json!({"input_url": "http://10.1.2.3/a.mp4"}), None).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    farm.stop().await;

    let empty = Farm::builder().start().await;
    let upload = InputRef::Upload(empty.api.upload(&clip("bigbuckbunny-2s.mp4")).await.id);
    let response = post(&empty, "/v1/probe", &json!({"input": upload}), Some("wait=1")).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let pending: Value = response.json().await.unwrap();
    assert!(pending["waiting_for"].as_str().is_some_and(|words| words.contains("worker")), "{pending}");
    empty.stop().await;
}

#[tokio::test]
async fn with_keys_a_result_opens_by_its_url_alone() {
    let admin = "an-admin-key-for-this-test";
    let farm = Farm::builder().worker(WorkerSpec::new("alone")).env("TVARR_ADMIN_KEY", admin).start().await;
    let film = Behaviour::Ranges(std::fs::read(film()).unwrap());
    let web = Web::serve([("/film.mp4", film)]).await;
    let body = json!({"input_url": web.url("/film.mp4"), "preset": "thumbnails"});
    let run = |key: Option<&str>| {
        let request =
            client().post(format!("{}/v1/run", farm.api.base)).header("prefer", "wait=60").json(&body);
        key.map_or_else(|| request.try_clone().unwrap(), |key| request.try_clone().unwrap().bearer_auth(key))
            .send()
    };
    assert_eq!(run(None).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let answer: RunAnswer = run(Some(admin)).await.unwrap().json().await.unwrap();
    assert_eq!(answer.status, JobState::Succeeded);
    let by_url = client().get(&answer.output_url).send().await.unwrap();
    assert_eq!((by_url.status(), by_url.bytes().await.unwrap().is_empty()), (StatusCode::OK, false));
    let job = client().get(format!("{}/v1/jobs/{}", farm.api.base, answer.job_id)).send().await.unwrap();
    assert_eq!(job.status(), StatusCode::UNAUTHORIZED);
    farm.stop().await;
}
