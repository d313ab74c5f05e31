//! The main job, by HTTP: submit, watch, fetch, cancel, retry, list.

use std::collections::BTreeSet;

use common::{
    api::{AttemptState, Event, InputRef, JobState, TaskState},
    failure::FailureKind,
    spec::Spec,
};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    clip,
    media::{self, Media},
    wait::{self, seconds},
    web::{Behaviour, Web},
};
use reqwest::StatusCode;

#[tokio::test]
async fn an_uploaded_file_becomes_what_its_preset_says() {
    let farm = Farm::small().await;
    let mut events = farm.api.events().await;
    let job = farm.submit(&clip("bigbuckbunny-2s.mp4"), "h264").await;
    let view = farm.succeeded(job).await;

    assert_eq!(view.summary.preset, "h264");
    assert_eq!(view.summary.input, "bigbuckbunny-2s.mp4");
    assert_eq!(view.summary.worker.as_ref().map(|worker| worker.name.as_str()), Some("alone"));
    assert!(view.summary.submitted_at <= view.summary.started_at.unwrap());
    assert!(view.summary.started_at <= view.summary.finished_at);
    assert!(view.input_info.is_some());
    let [task] = view.tasks.as_slice() else { panic!("not one task: {view:#?}") };
    assert_eq!((task.kind.as_str(), task.state), ("encode", TaskState::Succeeded));
    let [attempt] = task.attempts.as_slice() else { panic!("not one attempt: {view:#?}") };
    assert_eq!((attempt.state, attempt.epoch), (AttemptState::Succeeded, task.epoch));
    assert_eq!(attempt.encoder.as_deref(), Some("libx264"));
    assert!(attempt.command.iter().any(|word| word == "libx264"), "{:?}", attempt.command);

    let folder = tempfile::tempdir().unwrap();
    farm.api.download(&view, folder.path()).await;
    let [output] = view.outputs.as_slice() else { panic!("not one output: {view:#?}") };
    assert_eq!((output.path.as_str(), output.content_type.as_str()), ("bigbuckbunny-2s.mp4", "video/mp4"));
    let file = folder.path().join(&output.path);
    let media = Media::read(&file);
    assert_eq!(
        (media.video().codec_name.as_str(), media.video().width, media.video().height),
        ("h264", 1280, 720)
    );
    assert_eq!(media.video().packets(), 50);
    assert_eq!(media.audio().codec_name, "aac");
    assert!((media.duration() - 2.0).abs() < 0.1, "{media:?}");
    assert_eq!(media::decode_errors(&file), "");

    let mut states = Vec::new();
    while states.last() != Some(&JobState::Succeeded) {
        let event =
            tokio::time::timeout(seconds(5), events.next()).await.unwrap().expect("the stream stays open");
        if let Event::Job { job: summary } = event
            && summary.id == job
        {
            states.push(summary.state);
        }
    }
    states.dedup();
    assert_eq!(states, [JobState::Queued, JobState::Running, JobState::Succeeded]);
    farm.stop().await;
}

#[tokio::test]
async fn outputs_are_served_in_parts_and_nothing_else_is() {
    let farm = Farm::small().await;
    let job = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    let view = farm.succeeded(job).await;
    let output = &view.outputs[0];
    let path = format!("/v1/jobs/{job}/outputs/{}", output.path);

    let whole = farm.api.get(&path).await.unwrap().bytes().await.unwrap();
    let part = farm.api.get_range(&path, "bytes=4-11").await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], format!("bytes 4-11/{}", output.size).as_str());
    assert_eq!(part.bytes().await.unwrap(), whole[4..12]);
    let tail = farm.api.get_range(&path, "bytes=-5").await;
    assert_eq!(tail.bytes().await.unwrap(), whole[whole.len() - 5..]);
    let beyond = farm.api.get_range(&path, "bytes=999999999-").await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);

    for wrong in ["nothing.mp4", "..%2F..%2F..%2Fcoordinator.db", "%2Fetc%2Fpasswd"] {
        let response = farm.api.get(&format!("/v1/jobs/{job}/outputs/{wrong}")).await.unwrap();
        assert!(response.status().is_client_error(), "{wrong}: {}", response.status());
    }
    farm.stop().await;
}

#[tokio::test]
async fn an_input_comes_from_a_url_or_a_shared_folder() {
    let farm = Farm::small().await;
    let file = std::fs::read(clip("bikes-2s.mp4")).unwrap();
    let web = Web::serve([("/films/bikes%20two.mp4", Behaviour::Ranges(file.clone()))]).await;
    std::fs::create_dir(farm.shared().join("in")).unwrap();
    let path = farm.shared().join("in/bikes.mp4");
    std::fs::write(&path, file).unwrap();

    let url = InputRef::Url(web.url("/films/bikes%20two.mp4"));
    let by_url = farm.api.submit(&request(url, "proxy")).await.summary.id;
    let shared = InputRef::Path(path.to_string_lossy().into_owned());
    let by_path = farm.api.submit(&request(shared, "proxy")).await.summary.id;
    for job in [by_url, by_path] {
        let view = farm.succeeded(job).await;
        let folder = tempfile::tempdir().unwrap();
        farm.api.download(&view, folder.path()).await;
        assert_eq!(Media::read(&folder.path().join(&view.outputs[0].path)).video().packets(), 52);
    }

    for outside in ["/etc/passwd", "relative.mp4"] {
        let refused =
            farm.api.try_submit(&request(InputRef::Path(outside.into()), "proxy")).await.unwrap_err();
        assert_eq!(refused.problem.field.as_deref(), Some("input.path"), "{refused:?}");
    }
    let dots = farm.shared().join("../data").to_string_lossy().into_owned();
    assert!(farm.api.try_submit(&request(InputRef::Path(dots), "proxy")).await.is_err());
    farm.stop().await;
}

#[tokio::test]
async fn a_typed_spec_takes_the_place_of_a_preset() {
    let farm = Farm::small().await;
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let spec: Spec = serde_json::from_value(serde_json::json!({
        "kind": "file",
        "container": "mkv",
        "video": { "codec": "h264", "rate": { "quality": 30.0 }, "speed": "fastest", "size": { "width": 320, "height": 320 } },
    }))
    .unwrap();
    let mut request = request(InputRef::Upload(upload.id), "");
    request.preset = None;
    request.spec = Some(spec);
    let job = farm.api.submit(&request).await;
    assert_eq!(job.summary.preset, "custom");
    let view = farm.succeeded(job.summary.id).await;
    let folder = tempfile::tempdir().unwrap();
    farm.api.download(&view, folder.path()).await;
    let media = Media::read(&folder.path().join(&view.outputs[0].path));
    assert_eq!((media.video().width, media.video().height), (320, 136));
    assert!(media.format.format_name.contains("matroska"), "{media:?}");
    farm.stop().await;
}

#[tokio::test]
async fn cancelling_kills_ffmpeg_and_retrying_runs_it_again() {
    let farm = Farm::small().await;
    let job = farm.submit(&clip("bikes-5min.mp4"), "h264").await;
    farm.encoding(job).await;
    assert_eq!(farm.ffmpegs().len(), 1);

    let view = farm.api.cancel(job).await.unwrap();
    assert_eq!(view.summary.state, JobState::Cancelled);
    farm.no_ffmpeg().await;
    assert!(farm.api.cancel(job).await.is_err_and(|refused| refused.status == StatusCode::CONFLICT));

    let again = farm.api.retry(job).await.unwrap();
    assert!(!again.summary.state.is_final(), "{again:#?}");
    farm.encoding(job).await;
    assert!(farm.api.retry(job).await.is_err_and(|refused| refused.status == StatusCode::CONFLICT));
    let view = farm.api.cancel(job).await.unwrap();
    let epochs: Vec<_> = attempts(&view).map(|attempt| attempt.epoch).collect();
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]) && epochs.len() == 2, "{epochs:?}");
    farm.stop().await;
}

#[tokio::test]
async fn progress_counts_up_and_logs_are_kept_for_each_attempt() {
    let farm = Farm::small().await;
    let job = farm.submit(&clip("bigbuckbunny.mp4"), "hevc").await;
    let view = farm.encoding(job).await;
    let first = view.summary.progress.unwrap();
    assert!(first.percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)), "{first:?}");
    let view = farm.succeeded(job).await;
    let last = view.summary.progress.unwrap();
    assert!(last.progress.frames >= first.progress.frames && last.progress.frames >= 132, "{last:?}");
    assert_eq!(last.percent, Some(100.0));
    let logs = farm.api.logs(job).await;
    assert_eq!((logs.len(), logs[0].worker.as_str()), (1, "alone"));
    farm.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged_without_losing_or_repeating_a_job() {
    // No worker: everything stays queued.
    let farm = Farm::builder().start().await;
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let mut submitted = Vec::new();
    for number in 0..7 {
        let mut request = request(InputRef::Upload(upload.id), "h264");
        request.owner = Some(if number % 2 == 0 { "ada" } else { "bob" }.to_owned());
        submitted.push(farm.api.submit(&request).await.summary.id);
    }
    farm.api.cancel(submitted[0]).await.unwrap();

    let mut seen = Vec::new();
    let mut query = "limit=3".to_owned();
    loop {
        let page = farm.api.jobs(&query).await;
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|job| job.id));
        match page.next_cursor {
            Some(cursor) => query = format!("limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let newest_first: Vec<_> = submitted.iter().rev().copied().collect();
    assert_eq!(seen, newest_first);

    let ada = farm.api.jobs("owner=ada&state=queued").await;
    let owners: BTreeSet<_> = ada.items.iter().map(|job| (job.owner.clone(), job.state)).collect();
    assert_eq!((ada.items.len(), owners), (3, [(Some("ada".to_owned()), JobState::Queued)].into()));
    let waiting = ada.items[0].waiting_for.clone().unwrap_or_default();
    assert!(waiting.contains("no worker"), "{waiting:?}");
    farm.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_with_the_field_and_the_remedy() {
    let farm = Farm::builder().start().await;
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await.id;
    let other = common::id::JobId::new();
    let table = [
        (format!(r#"{{"input":{{"upload":"{upload}"}},"preset":"h256"}}"#), "preset"),
        (format!(r#"{{"input":{{"upload":"{upload}"}}}}"#), "preset"),
        (format!(r#"{{"input":{{"upload":"{other}"}},"preset":"h264"}}"#), "input"),
        (r#"{"input":{"url":"ftp://example.org/a.mp4"},"preset":"h264"}"#.to_owned(), "input"),
        (format!(r#"{{"input":{{"upload":"{upload}"}},"preset":"h264","priority":101}}"#), "priority"),
        (
            format!(
                r#"{{"input":{{"upload":"{upload}"}},"spec":{{"kind":"file","container":"mp4","video":{{"codec":"h999","rate":"profile"}}}}}}"#
            ),
            "h999",
        ),
    ];
    for (body, field) in table {
        let response = farm.api.post_json("/v1/jobs", body.clone()).await;
        assert!(response.status().is_client_error(), "{body}: {}", response.status());
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{body}");
        let problem: common::api::Problem = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let told = format!("{} {}", problem.field.clone().unwrap_or_default(), problem.detail);
        assert!(told.contains(field), "{body}: {problem:?}");
        assert!(problem.remedy.is_some() || problem.detail.contains("known"), "{body}: {problem:?}");
    }
    let missing = farm.api.get(&format!("/v1/jobs/{other}")).await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(farm.api.get(path).await.unwrap().status(), StatusCode::OK, "{path}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn higher_priority_runs_first() {
    let mut farm = Farm::builder().start().await;
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let mut jobs = Vec::new();
    for priority in [0, -5, 10] {
        let mut request = request(InputRef::Upload(upload.id), "proxy");
        request.priority = priority;
        jobs.push((priority, farm.api.submit(&request).await.summary.id));
    }
    farm.start_worker(WorkerSpec::new("one-at-a-time").jobs(1)).await;
    let mut started = Vec::new();
    for (priority, job) in jobs {
        started.push((farm.succeeded(job).await.summary.started_at.unwrap(), priority));
    }
    started.sort_unstable();
    let order: Vec<_> = started.into_iter().map(|(_, priority)| priority).collect();
    assert_eq!(order, [10, 0, -5]);
    farm.stop().await;
}

#[tokio::test]
async fn what_no_worker_can_do_better_is_tried_once_and_said_in_words() {
    let farm = Farm::builder().worker(WorkerSpec::new("a")).worker(WorkerSpec::new("b")).start().await;
    let text = farm
        .api
        .upload_bytes("holiday.mp4", b"Dear diary, there is no film in here.\n".repeat(40))
        .await
        .unwrap();
    let job = farm.api.submit(&request(InputRef::Upload(text.id), "h264")).await.summary.id;
    let view = farm.finished(job).await;
    let failure = view.summary.failure.clone().unwrap_or_else(|| panic!("{view:#?}"));
    assert_eq!((view.summary.state, failure.kind), (JobState::Failed, FailureKind::InvalidInput));
    assert!(failure.message.contains("holiday.mp4"), "{failure}");
    assert_eq!(attempts(&view).count(), 1);
    assert!(view.outputs.is_empty());
    let found = wait::try_until(seconds(5), || async {
        let logs = farm.api.logs(job).await;
        logs.iter().any(|log| !log.lines.is_empty()).then_some(())
    })
    .await;
    assert!(found.is_some(), "no log of the failed attempt");
    farm.stop().await;
}
