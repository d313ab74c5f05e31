//! A coordinator that keeps its jobs in PostgreSQL: killed, cut off from its database, replaced.

use std::{fs, path::Path};

use common::{api::InputRef, id::JobId};
use e2e::{
    Farm,
    api::{Refused, request},
    clip,
    stores::{PASSWORD, Postgres},
    wait::{self, seconds},
};
use reqwest::StatusCode;

use crate::course::{assert_whole, slow_worker};

const DATABASE: &str = "farm";

/// A farm whose coordinator reads the database's address from a file, with a worker that takes its time.
async fn farm(server: &Postgres, fakes: &Path, slots: u32) -> Farm {
    server.create(DATABASE);
    let file = fakes.join("database-url");
    fs::write(&file, format!("{}\n", server.url(DATABASE))).unwrap();
    let worker = slow_worker("alone", fakes).jobs(slots);
    Farm::builder().env("TVARR_DATABASE_URL_FILE", &file).worker(worker).start().await
}

async fn ready(farm: &Farm) -> Option<()> {
    farm.api.get("/readyz").await.ok().filter(|answer| answer.status().is_success()).map(drop)
}

/// Everything that the coordinator wrote, without the password.
fn assert_discreet(farm: &Farm) {
    let log = farm.coordinator().log();
    assert!(log.contains("the coordinator is ready"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("word%2Fof"), "{log}");
}

#[tokio::test]
async fn a_killed_coordinator_goes_on_with_what_is_in_its_database() {
    let (server, fakes) = (Postgres::start(), tempfile::tempdir().unwrap());
    // Of one slot: an order on its way to a second one may die with the coordinator, and is given again.
    let mut farm = farm(&server, fakes.path(), 1).await;
    let running = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(running).await;
    let queued = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    assert!(!farm.data().join("jobs.sqlite").exists());
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    for (job, frames) in [(running, 250), (queued, 52)] {
        let view = farm.succeeded(job).await;
        assert_eq!(
            view.tasks[0].attempts.len(),
            1,
            "what ran was adopted, what waited was given once: {view:#?}"
        );
        assert_whole(&farm, &view, frames).await;
    }
    assert_eq!(server.sql(DATABASE, "SELECT DISTINCT state FROM tvarr.jobs"), "succeeded");
    assert_discreet(&farm);
    farm.stop().await;
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_accepted_and_nothing_accepted_is_lost() {
    let (mut server, fakes) = (Postgres::start(), tempfile::tempdir().unwrap());
    let mut farm = farm(&server, fakes.path(), 2).await;
    farm.expect_error("the job store cannot be written");
    let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
    let wanted = request(InputRef::Upload(upload.id), "proxy");
    let submit = async || farm.api.try_submit(&wanted).await.map(|view| view.summary.id);
    let mut accepted: Vec<JobId> = vec![submit().await.unwrap()];
    let running = farm.submit(&clip("bikes.mp4"), "proxy").await;
    farm.encoding(running).await;
    accepted.push(running);

    server.stop();
    let refused: Refused = wait::until(seconds(30), "a job to be refused", || async {
        submit().await.err().filter(|refused| refused.status == StatusCode::SERVICE_UNAVAILABLE)
    })
    .await;
    assert!(refused.problem.detail.contains("not accepted"), "{refused:?}");
    assert!(ready(&farm).await.is_none());
    let answer = farm.api.get("/readyz").await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let words = answer.text().await.unwrap();
    assert!(words.contains("PostgreSQL") && words.contains("cannot be reached"), "{words}");
    assert!(!words.contains(PASSWORD), "{words}");

    server.start_again();
    wait::until(seconds(30), "the coordinator to be ready again", || ready(&farm)).await;
    accepted
        .push(wait::until(seconds(30), "a job to be taken again", || async { submit().await.ok() }).await);
    for job in &accepted {
        farm.succeeded(*job).await;
    }
    let there = farm.api.jobs("limit=500").await.items;
    let mut ids: Vec<JobId> = there.iter().map(|job| job.id).collect();
    ids.sort_unstable();
    accepted.sort_unstable();
    assert_eq!(ids, accepted, "what was accepted is there, and nothing else");
    assert_discreet(&farm);
    farm.stop().await;
}

#[tokio::test]
async fn a_second_coordinator_does_not_start_beside_the_first_and_the_folder_remembers_its_database() {
    let server = Postgres::start();
    server.create(DATABASE);
    let url = server.url(DATABASE);
    let mut first = Farm::builder().env("TVARR_DATABASE_URL", &url).start().await;
    let mut second = Farm::builder().start().await;
    second.stop_coordinator(true).await;
    second.try_start_coordinator(&[("TVARR_DATABASE_URL", &url)]).await.unwrap_err();
    let log = fs::read_to_string(second.path().join("logs/coordinator.log")).unwrap();
    assert!(log.contains("the jobs of this data folder are in") && log.contains("jobs.sqlite"), "{log}");
    for file in ["jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"] {
        let _ = fs::remove_file(second.data().join(file));
    }
    second.try_start_coordinator(&[("TVARR_DATABASE_URL", &url)]).await.unwrap_err();
    let log = fs::read_to_string(second.path().join("logs/coordinator.log")).unwrap();
    assert!(log.contains("another coordinator keeps its jobs in it") && log.contains("farm on "), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("word%2Fof"), "{log}");
    second.start_coordinator().await;
    second.stop().await;

    // Cut off, replaced and back: the first has nothing left to do.
    first.expect_error("another coordinator has taken the database");
    first.expect_error("the job store cannot be written");
    server.sql(DATABASE, "UPDATE tvarr.holder SET instance = 'another'");
    server.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tvarr%'",
    );
    let _ = first.api.get("/readyz").await;
    let ended = first.coordinator_ended(seconds(30)).await;
    assert_eq!(ended.code(), Some(1), "{ended}");
    first.stop().await;
}
