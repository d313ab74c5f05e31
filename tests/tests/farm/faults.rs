//! What is killed, cut off or refused, and that no job is lost by it.

use common::api::{AttemptState, JobState, WorkerState};
use e2e::{
    Farm, WorkerSpec,
    api::attempts,
    clip,
    media::{self, Media},
    wait::{self, seconds},
};

/// Short enough to wait for, long enough for a restart.
const GRACE: (&str, &str) = ("TVARR_DISCONNECT_GRACE", "2s");

#[tokio::test]
async fn a_killed_worker_takes_its_ffmpeg_along_and_its_job_ends_on_another() {
    let mut farm = Farm::builder().env(GRACE.0, GRACE.1).worker(WorkerSpec::new("doomed")).start().await;
    let job = farm.submit(&clip("bikes-2min.mp4"), "proxy").await;
    farm.encoding(job).await;
    farm.start_worker(WorkerSpec::new("heir")).await;
    let orphans: Vec<_> = farm.ffmpegs();
    assert_eq!(orphans.len(), 1, "{orphans:?}");
    farm.kill_worker("doomed");
    wait::until(seconds(5), "the dead worker's ffmpeg to die", || async {
        (!farm.ffmpegs().contains(&orphans[0])).then_some(())
    })
    .await;
    farm.worker_becomes("doomed", WorkerState::Lost).await;

    let view = farm.succeeded(job).await;
    let tried: Vec<_> =
        attempts(&view).map(|attempt| (attempt.worker.name.as_str(), attempt.state)).collect();
    assert_eq!(tried.len(), 2, "{tried:?}");
    assert_eq!((tried[0].0, tried[1]), ("doomed", ("heir", AttemptState::Succeeded)));
    let folder = tempfile::tempdir().unwrap();
    farm.api.download(&view, folder.path()).await;
    let file = folder.path().join(&view.outputs[0].path);
    assert_eq!(Media::read(&file).video().packets(), 3000);
    assert_eq!(media::decode_errors(&file), "");
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_that_was_killed_cleans_up_at_its_next_start_under_its_old_id() {
    let mut farm = Farm::small().await;
    let id = farm.api.worker("alone").await.id;
    let job = farm.submit(&clip("bikes-5min.mp4"), "h264").await;
    farm.encoding(job).await;
    farm.kill_worker("alone");
    farm.no_ffmpeg().await;
    // The job goes on with whoever comes; here nobody should have to wait for it.
    farm.api.cancel(job).await.unwrap();
    farm.start_worker(WorkerSpec::new("alone")).await;
    assert_eq!(farm.api.worker("alone").await.id, id);
    assert_eq!(farm.api.workers().await.len(), 1);
    // Farm::stop finds what the killed run left, if it is still there.
    farm.stop().await;
}

#[tokio::test]
async fn a_wrong_token_gets_no_worker_in_and_the_worker_says_so_and_tries_on() {
    let mut farm = Farm::builder().start().await;
    farm.start_worker(WorkerSpec::new("stranger").env("TVARR_AUTH_TOKEN", "not-the-token").not_awaited())
        .await;
    let line = farm.worker("stranger").logged(seconds(30), "token").await;
    assert!(!line.contains("not-the-token"), "the log shows the token: {line}");
    wait::until(seconds(30), "a second try", || async {
        let log = farm.coordinator().log();
        (log.matches("token").count() >= 2).then_some(())
    })
    .await;
    assert!(farm.api.workers().await.is_empty());
    assert!(farm.worker("stranger").exit_status().is_none(), "it gave up");
    let log = farm.worker("stranger").log();
    let errors: Vec<_> = log.lines().filter(|line| line.split_whitespace().nth(1) == Some("ERROR")).collect();
    assert!(errors.iter().all(|line| line.contains("token")), "{errors:?}");
    farm.expect_error("token");
    farm.stop().await;
}

#[tokio::test]
async fn a_restarted_coordinator_adopts_what_runs() {
    adopted_after(true).await;
}

#[tokio::test]
async fn a_killed_coordinator_loses_nothing() {
    adopted_after(false).await;
}

async fn adopted_after(gently: bool) {
    let mut farm = Farm::small().await;
    let job = farm.submit(&clip("bikes-2min.mp4"), "h264").await;
    let waiting = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    let before = farm.encoding(job).await;
    let ffmpeg = encoder_of(&farm, "bikes-2min");

    farm.stop_coordinator(gently).await;
    assert_eq!(encoder_of(&farm, "bikes-2min"), ffmpeg, "ffmpeg did not outlive the coordinator");
    farm.start_coordinator().await;
    farm.registered("alone").await;

    let view = farm.succeeded(job).await;
    let tried: Vec<_> = attempts(&view).collect();
    assert_eq!(tried.len(), 1, "{tried:#?}");
    assert_eq!(tried[0].epoch, before.tasks[0].epoch);
    assert_eq!(tried[0].state, AttemptState::Succeeded);
    assert_eq!(view.summary.submitted_at, before.summary.submitted_at);
    assert_eq!(view.outputs.len(), 1);
    assert_eq!(farm.finished(waiting).await.summary.state, JobState::Succeeded);
    farm.stop().await;
}

/// Pids of the ffmpegs whose command line names `stem`.
fn encoder_of(farm: &Farm, stem: &str) -> Vec<u32> {
    let mut pids: Vec<_> = farm
        .ffmpegs()
        .into_iter()
        .filter(|process| process.command.iter().any(|word| word.contains(stem)))
        .map(|process| process.pid)
        .collect();
    pids.sort_unstable();
    assert_eq!(pids.len(), 1, "{:?}", farm.ffmpegs());
    pids
}

#[tokio::test]
async fn jobs_that_were_accepted_survive_a_killed_coordinator() {
    let mut farm = Farm::builder().start().await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(farm.submit(&clip("bikes-2s.mp4"), "proxy").await);
    }
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    farm.start_worker(WorkerSpec::new("late")).await;
    for job in jobs {
        farm.succeeded(job).await;
    }
    farm.stop().await;
}
