//! An encode that follows its upload, through what may happen to either.

use common::{
    api::{InputRef, JobState},
    failure::FailureKind,
};
use e2e::{
    Farm, WorkerSpec,
    api::request,
    clip,
    tus::TusUpload,
    wait::{self, seconds},
};
use reqwest::StatusCode;

use super::{assert_one_attempt, begun, made, writes};

const FAST: [&str; 4] = ["-c", "copy", "-movflags", "+faststart"];

#[tokio::test]
async fn a_length_that_nobody_knows_is_said_with_the_last_piece() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = made(&folder, "a.ts", "ocean.mp4", &["-c", "copy"]);
    let (upload, job) = begun(&farm, "a.ts", None, "proxy").await;
    let held = file.len() / 2;
    upload.send_part(&file, 0, held).await;
    writes(&farm, job).await;
    let length = file.len().to_string();
    let last = upload.send_with(held as u64, file[held..].to_vec(), &[("upload-length", &length)]).await;
    assert_eq!(last.unwrap().status(), StatusCode::NO_CONTENT);
    assert_one_attempt(&farm.succeeded(job).await);
    farm.stop().await;
}

#[tokio::test]
async fn an_index_at_the_end_is_waited_for_and_the_job_says_so() {
    let farm = Farm::small().await;
    let file = std::fs::read(clip("ocean.mp4")).unwrap();
    let behind = file.windows(4).position(|four| four == b"moov").unwrap() > file.len() / 2;
    assert!(behind, "the clip has its index in front");
    let (upload, job) = begun(&farm, "ocean.mp4", Some(file.len()), "proxy").await;
    let waits = async |for_what: &str| {
        let view = farm.api.job(job).await;
        let words = view.summary.waiting_for.clone().unwrap_or_default();
        assert!(view.summary.state == JobState::Queued && words.contains(for_what), "{for_what}: {view:#?}");
    };
    waits("too little has come").await;
    upload.send_part(&file, 0, file.len() - 1).await;
    waits("moov").await;
    assert!(farm.ffmpegs().is_empty());
    upload.send_part(&file, file.len() - 1, file.len()).await;
    assert_one_attempt(&farm.succeeded(job).await);
    farm.stop().await;
}

#[tokio::test]
async fn thumbnails_wait_for_the_whole_film() {
    let farm = Farm::small().await;
    let file = std::fs::read(clip("faststart.mp4")).unwrap();
    let (upload, job) = begun(&farm, "a.mp4", Some(file.len()), "thumbnails").await;
    upload.send_part(&file, 0, file.len() - 1).await;
    let view = farm.api.job(job).await;
    assert!(view.summary.waiting_for.as_ref().is_some_and(|words| words.contains("all of it")), "{view:#?}");
    upload.send_part(&file, file.len() - 1, file.len()).await;
    assert_one_attempt(&farm.succeeded(job).await);
    farm.stop().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_and_pauses_for_long_is_followed_all_the_same() {
    // Far less than the pause: neither ffmpeg nor the coordinator is to blame for it.
    let farm =
        Farm::builder().env("TVARR_STALL_TIMEOUT", "1s").worker(WorkerSpec::new("alone")).start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = made(&folder, "a.mp4", "ocean.mp4", &FAST);
    let (upload, job) = begun(&farm, "a.mp4", Some(file.len()), "proxy").await;
    let held = file.len() / 2;
    // It announces all of the rest, sends a part of it and breaks off.
    let pieces = [Ok(file[..held].to_vec()), Err(std::io::Error::other("broken off"))];
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    assert!(upload.send(0, body).await.is_none(), "it was answered");
    writes(&farm, job).await;
    wait::pause(seconds(4)).await;
    let offset = usize::try_from(upload.offset().await.unwrap()).unwrap();
    assert!(offset > 0 && offset <= held);
    upload.send_part(&file, offset, file.len()).await;
    let view = farm.succeeded(job).await;
    assert_one_attempt(&view);
    farm.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_is_killed_in_the_middle_costs_nothing() {
    let mut farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = made(&folder, "a.mkv", "ocean.mp4", &["-c", "copy"]);
    let (upload, job) = begun(&farm, "a.mkv", Some(file.len()), "proxy").await;
    let held = file.len() / 2;
    upload.send_part(&file, 0, held).await;
    writes(&farm, job).await;
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    assert_eq!(upload.offset().await, Some(held as u64));
    farm.registered("alone").await;
    upload.send_part(&file, held, file.len()).await;
    assert_one_attempt(&farm.succeeded(job).await);
    farm.stop().await;
}

#[tokio::test]
async fn a_job_that_waits_for_its_upload_outlives_a_restart() {
    let mut farm = Farm::small().await;
    let file = std::fs::read(clip("ocean-2s.mp4")).unwrap();
    let (upload, job) = begun(&farm, "a.mp4", Some(file.len()), "proxy").await;
    upload.send_part(&file, 0, file.len() / 2).await;
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    farm.registered("alone").await;
    let view = farm.api.job(job).await;
    assert!(view.summary.waiting_for.as_ref().is_some_and(|words| words.contains("moov")), "{view:#?}");
    upload.send_part(&file, file.len() / 2, file.len()).await;
    farm.succeeded(job).await;
    farm.stop().await;
}

#[tokio::test]
async fn an_upload_that_ends_otherwise_fails_its_jobs() {
    let farm =
        Farm::builder().env("TVARR_UPLOAD_EXPIRY", "10s").worker(WorkerSpec::new("alone")).start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = made(&folder, "a.mp4", "ocean.mp4", &FAST);
    for removed in [true, false] {
        let (upload, job) = begun(&farm, "a.mp4", Some(file.len()), "proxy").await;
        let moov_behind = TusUpload::create(&farm.api.base, "b.mp4", Some(100)).await.unwrap();
        let waiting = farm.api.submit(&request(InputRef::Upload(moov_behind.id), "proxy")).await.summary.id;
        upload.send_part(&file, 0, file.len() / 2).await;
        writes(&farm, job).await;
        if removed {
            assert_eq!(upload.terminate().await, Some(StatusCode::NO_CONTENT));
            assert_eq!(moov_behind.terminate().await, Some(StatusCode::NO_CONTENT));
        }
        for job in [job, waiting] {
            let view = farm.finished(job).await;
            let failure = view.summary.failure.clone().unwrap();
            assert_eq!((view.summary.state, failure.kind), (JobState::Failed, FailureKind::InvalidInput));
            let why = if removed { "it was removed before it had ended" } else { "it expired" };
            assert!(failure.message.contains(why), "{failure}");
        }
        farm.no_ffmpeg().await;
        assert_eq!(upload.offset().await, None);
    }
    farm.stop().await;
}

#[tokio::test]
async fn cancelling_a_job_leaves_its_upload() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = made(&folder, "a.mp4", "ocean.mp4", &FAST);
    let (upload, job) = begun(&farm, "a.mp4", Some(file.len()), "proxy").await;
    upload.send_part(&file, 0, file.len() / 2).await;
    writes(&farm, job).await;
    farm.api.cancel(job).await.unwrap();
    farm.no_ffmpeg().await;
    upload.send_part(&file, file.len() / 2, file.len()).await;
    farm.stop().await;
}

#[tokio::test]
async fn two_jobs_on_one_upload_fetch_it_once() {
    let mut farm = Farm::builder().start().await;
    farm.start_worker(WorkerSpec::new("far").jobs(2).behind_proxy()).await;
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = made(&folder, "a.mkv", "ocean.mp4", &["-c", "copy"]);
    let before = farm.line("far").sent_down();
    let (upload, one) = begun(&farm, "a.mkv", Some(file.len()), "proxy").await;
    let two = farm.api.submit(&request(InputRef::Upload(upload.id), "h264")).await.summary.id;
    let held = file.len() - 100_000;
    upload.send_part(&file, 0, held).await;
    for job in [one, two] {
        writes(&farm, job).await;
    }
    // Both have their probe and their encode behind them or under way.
    let fetched = farm.line("far").sent_down() - before;
    assert!(fetched < held as u64 * 5 / 4, "{fetched} bytes were fetched of {held}");
    upload.send_part(&file, held, file.len()).await;
    for job in [one, two] {
        assert_one_attempt(&farm.succeeded(job).await);
    }
    farm.stop().await;
}

#[tokio::test]
async fn what_is_no_film_fails_when_all_of_it_is_there() {
    let farm = Farm::small().await;
    let (upload, job) = begun(&farm, "a.mkv", Some(300_000), "proxy").await;
    let file = vec![7; 300_000];
    upload.send_part(&file, 0, 200_000).await;
    upload.send_part(&file, 200_000, 300_000).await;
    let view = farm.finished(job).await;
    let failure = view.summary.failure.clone().unwrap();
    assert_eq!(
        (view.summary.state, failure.kind),
        (JobState::Failed, FailureKind::InvalidInput),
        "{view:#?}"
    );
    assert_one_attempt(&view);
    farm.stop().await;
}

#[tokio::test]
async fn a_part_is_no_input() {
    let farm = Farm::builder().start().await;
    let partial = [("upload-concat", "partial")];
    let part = TusUpload::create_with(&farm.api.base, "a.mp4", Some(5), &partial).await.unwrap();
    let refused = farm.api.try_submit(&request(InputRef::Upload(part.id), "proxy")).await.unwrap_err();
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    farm.stop().await;
}
