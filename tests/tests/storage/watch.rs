//! Watched folders and buckets.

use std::{fs, path::Path};

use common::api::{JobState, JobSummary};
use e2e::{
    Farm, WorkerSpec, books, clip,
    media::Media,
    stores::{BUCKET, OTHER_BUCKET, S3},
    wait::{self, seconds},
};

use crate::farm::builder;

/// Waits until there are so many jobs, all over, and for some more looks that there are no more.
async fn jobs(farm: &Farm, count: usize) -> Vec<JobSummary> {
    let what = format!("{count} jobs that are over");
    wait::until(seconds(120), &what, || async {
        let jobs = farm.api.jobs("limit=100").await.items;
        (jobs.len() >= count && jobs.iter().all(|job| job.state.is_final())).then_some(jobs)
    })
    .await
}

fn put(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

#[tokio::test]
async fn each_file_in_a_folder_becomes_one_job_also_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (drop, out) = (folder.path().join("drop"), folder.path().join("out"));
    for folder in [&drop, &out] {
        fs::create_dir(folder).unwrap();
    }
    let clip = clip("bikes-2s.mp4");
    put(&clip, &drop.join("2026/first film.mp4"));
    put(&clip, &drop.join("unfinished.mp4.part"));
    fs::write(drop.join("broken.mp4"), "no film").unwrap();
    let mut farm = Farm::builder()
        .env("TVARR_WATCH", format!("{} proxy file://{}", drop.display(), out.display()))
        .env("TVARR_WATCH_EVERY", "300ms")
        .worker(WorkerSpec::new("alone"))
        .start()
        .await;
    let first = jobs(&farm, 2).await;
    let states: Vec<JobState> = first.iter().map(|job| job.state).collect();
    assert!(states.contains(&JobState::Succeeded) && states.contains(&JobState::Failed), "{first:#?}");
    assert_eq!(fs::read_to_string(drop.join("broken.mp4")).unwrap(), "no film");
    assert_eq!(Media::read(&out.join("2026/first film.mp4")).video().codec_name, "h264");

    farm.stop_coordinator(false).await;
    put(&clip, &drop.join("second.mp4"));
    farm.start_coordinator().await;
    farm.registered("alone").await;
    let second = jobs(&farm, 3).await;
    assert_eq!(second.len(), 3, "{second:#?}");
    assert!(out.join("second.mp4").is_file());
    // The last one is found by many looks after the others.
    fs::rename(drop.join("unfinished.mp4.part"), drop.join("third.mp4")).unwrap();
    assert_eq!(jobs(&farm, 4).await.len(), 4);
    farm.stop().await;
}

#[tokio::test]
async fn a_bucket_is_watched_by_other_systems_names() {
    let s3 = S3::start().await;
    put(&clip("bikes-2s.mp4"), &s3.file(BUCKET, "a/film.mp4"));
    let farm = builder(s3.environment())
        .env("INPUT_BUCKET", BUCKET)
        .env("OUTPUT_BUCKET", OTHER_BUCKET)
        .env("PRESET", "proxy")
        .env("TVARR_WATCH_EVERY", "300ms")
        .worker(WorkerSpec::new("alone"))
        .start()
        .await;
    let found = jobs(&farm, 1).await;
    assert_eq!((found[0].state, found[0].input.as_str()), (JobState::Succeeded, "s3://media/a/film.mp4"));
    let view = farm.api.job(found[0].id).await;
    assert_eq!(books::sha256(&s3.file(OTHER_BUCKET, "a/film.mp4")), view.outputs[0].sha256);
    // Other bytes under the same name.
    put(&clip("ocean-2s.mp4"), &s3.file(BUCKET, "a/film.mp4"));
    assert_eq!(jobs(&farm, 2).await.len(), 2);
    farm.stop().await;
}
