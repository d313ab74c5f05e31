//! Who runs it.

use common::{
    api::{InputRef, JobState},
    media::HardwarePolicy,
};
use e2e::{
    Farm, WorkerSpec,
    api::{attempts, request},
    clip,
    wait::{self, seconds},
};

#[tokio::test]
async fn a_job_goes_only_where_its_labels_and_its_preset_are_taken() {
    let farm = Farm::builder()
        .worker(WorkerSpec::new("north").labels("site=north,disk=fast"))
        .worker(WorkerSpec::new("south").labels("site=south").env("TVARR_PRESETS", "proxy,h264"))
        .start()
        .await;
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let mut jobs = Vec::new();
    for (preset, label, worker) in [
        ("proxy", Some(("site", "north")), "north"),
        ("proxy", Some(("site", "south")), "south"),
        ("h264", Some(("disk", "fast")), "north"),
        ("compress-video", None, "north"),
        ("thumbnails", None, "north"),
    ] {
        let mut request = request(InputRef::Upload(upload.id), preset);
        request.labels.extend(label.map(|(key, value)| (key.to_owned(), value.to_owned())));
        jobs.push((farm.api.submit(&request).await.summary.id, preset, worker));
    }
    for (job, preset, worker) in jobs {
        let view = farm.succeeded(job).await;
        let ran: Vec<_> = attempts(&view).map(|attempt| attempt.worker.name.as_str()).collect();
        assert_eq!(ran, [worker], "{preset}");
    }

    let mut nowhere = request(InputRef::Upload(upload.id), "proxy");
    nowhere.labels.insert("site".into(), "moon".into());
    let job = farm.api.submit(&nowhere).await.summary.id;
    let words = wait::until(seconds(10), "the job to say what it waits for", || async {
        farm.api.job(job).await.summary.waiting_for
    })
    .await;
    assert!(words.contains("site=moon"), "{words:?}");
    farm.api.cancel(job).await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn equal_workers_share_the_work() {
    let farm = Farm::builder()
        .worker(WorkerSpec::new("a").jobs(1))
        .worker(WorkerSpec::new("b").jobs(1))
        .start()
        .await;
    let first = farm.submit(&clip("bikes-5min.mp4"), "proxy").await;
    let second = farm.submit(&clip("bikes-5min.mp4"), "proxy").await;
    let one = farm.encoding(first).await.summary.worker.unwrap().name;
    let other = farm.encoding(second).await.summary.worker.unwrap().name;
    assert_ne!(one, other);
    for job in [first, second] {
        farm.api.cancel(job).await.unwrap();
    }
    farm.stop().await;
}

#[tokio::test]
async fn hardware_that_is_required_and_absent_is_waited_for_in_words() {
    let farm = Farm::small().await;
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let mut required = request(InputRef::Upload(upload.id), "h264");
    required.hardware = HardwarePolicy::Require;
    let job = farm.api.submit(&required).await.summary.id;
    let words = wait::until(seconds(10), "the job to say what it waits for", || async {
        farm.api.job(job).await.summary.waiting_for
    })
    .await;
    assert!(words.contains("h264") && words.contains("hardware"), "{words:?}");
    assert_eq!(farm.api.job(job).await.summary.state, JobState::Queued);
    farm.api.cancel(job).await.unwrap();
    farm.stop().await;
}
