//! Many workers that come and go under many short jobs.

use std::time::{Duration, Instant};

use common::api::InputRef;
use e2e::{
    Farm, WorkerSpec,
    api::request,
    books::{self, Books},
    clip, media,
    wait::{self, seconds},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::Signal;

use crate::fakes;

const WORKERS: usize = 20;
const JOBS: usize = 200;
/// How long workers come and go.
const FLAPPING: Duration = seconds(12);
/// Between two of their misfortunes.
const PAUSE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn under_twenty_flapping_workers_every_one_of_two_hundred_jobs_ends_once() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let fakes = tempfile::tempdir().unwrap();
    let (ffmpeg, ffprobe) = fakes::ffmpeg_with_memory(fakes.path(), 0.3);
    let worker = |name: &str| {
        WorkerSpec::new(name)
            .ffmpeg(&ffmpeg)
            .env("TVARR_FFPROBE", &ffprobe)
            .env("TVARR_DRAIN_TIMEOUT", "200ms")
            .env("TVARR_LOG", "warn")
            .behind_proxy()
            .not_awaited()
    };
    let names: Vec<String> = (0..WORKERS).map(|number| format!("f{number}")).collect();
    let mut farm = Farm::builder()
        .env("TVARR_DISCONNECT_GRACE", "500ms")
        .env("TVARR_LEASE", "5s")
        .env("TVARR_HEARTBEAT_INTERVAL", "1s")
        .start()
        .await;
    // The first teaches the others what ffmpeg answers.
    farm.start_worker(worker(&names[0])).await;
    farm.registered(&names[0]).await;
    for name in &names[1..] {
        farm.start_worker(worker(name)).await;
    }
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let wanted = request(InputRef::Upload(upload.id), "proxy");
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(farm.api.submit(&wanted).await.summary.id);
    }

    let begun = Instant::now();
    let mut leaving: Vec<String> = Vec::new();
    let mut cut: Vec<String> = Vec::new();
    while begun.elapsed() < FLAPPING {
        wait::pause(PAUSE).await;
        // Some of what was broken comes back.
        let mut gone = Vec::new();
        for name in leaving {
            if farm.worker(&name).exit_status().is_some() {
                farm.start_worker(worker(&name)).await;
            } else {
                gone.push(name);
            }
        }
        leaving = gone;
        if cut.len() > 3 {
            farm.line(&cut.remove(0)).heal();
        }
        let name = &names[rng.random_range(0..WORKERS)];
        if leaving.contains(name) || cut.contains(name) {
            continue;
        }
        match rng.random_range(0..3) {
            0 => {
                farm.kill_worker(name);
                farm.start_worker(worker(name)).await;
            }
            1 => {
                farm.worker(name).signal(Signal::TERM);
                leaving.push(name.clone());
            }
            _ => {
                farm.line(name).cut();
                cut.push(name.clone());
            }
        }
    }
    for name in &cut {
        farm.line(name).heal();
    }
    for name in leaving {
        farm.worker(&name).exited(seconds(30)).await;
        farm.start_worker(worker(&name)).await;
    }

    // A worker that flaps so often takes jobs away from jobs that did nothing wrong: what was given up is redriven.
    let settled = wait::try_until(seconds(120), || async {
        let page = farm.api.jobs("limit=500").await;
        for job in page.items.iter().filter(|job| job.state == common::api::JobState::Dead) {
            let _ = farm.api.retry(job.id).await;
        }
        page.items
            .iter()
            .all(|job| job.state.is_final() && job.state != common::api::JobState::Dead)
            .then_some(())
    })
    .await;
    assert!(settled.is_some(), "seed {seed}: {:?}", Books::read(&farm.data()).await.per_state());
    let books = farm.books_in_order().await;
    for job in jobs {
        let row = books.jobs.iter().find(|row| row.id == job.to_string());
        assert_eq!(row.map(|row| row.state.as_str()), Some("succeeded"), "seed {seed}: {job}");
    }
    assert_eq!(books.jobs.len(), JOBS, "seed {seed}");
    // All are alike.
    let mut digests: Vec<_> = books
        .objects
        .iter()
        .filter(|object| object.key.starts_with("jobs/"))
        .map(|object| (books::sha256(&object.path), object.path.clone()))
        .collect();
    digests.sort();
    digests.dedup_by(|a, b| a.0 == b.0);
    assert_eq!(digests.len(), 1, "seed {seed}: {digests:?}");
    assert_eq!(media::decode_errors(&digests[0].1), "", "seed {seed}");
    farm.stop().await;
}
