//! Starting with a job store that is there already: of the version before, or of no use.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Output},
};

use common::{
    api::{AttemptState, JobState, JobView, TaskState},
    failure::FailureKind,
    id::JobId,
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::farm::{Farm, eventually, output};

/// Made by version 1: a job that succeeded, one that failed and one that waits.
const VERSION_1: &str = include_str!("fixtures/version-1.sql");
const SUCCEEDED: &str = "01a1fcca-a883-7305-b80a-2d1f0ecf28e2";
const FAILED: &str = "01a1fcca-a9ec-7133-9945-0809845f7edd";
const QUEUED: &str = "01a1fcca-aec0-7780-9094-b5f223b3f924";

async fn version_1(data: &Path) {
    fs::create_dir_all(data.join("objects/uploads/01a1fcca-ae04-7062-a354-2f7e6ba97576")).unwrap();
    fs::write(data.join("objects/uploads/01a1fcca-ae04-7062-a354-2f7e6ba97576/clip.mp4"), "input").unwrap();
    let options = SqliteConnectOptions::new()
        .filename(data.join("jobs.sqlite"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(VERSION_1).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn jobs_of_version_1_are_as_they_were_and_the_waiting_one_runs() {
    let id = |text: &str| text.parse::<JobId>().unwrap();
    let folder = tempfile::tempdir().unwrap();
    version_1(&folder.path().join("data")).await;
    let farm = Farm::start_on(folder, |_| {}).await;

    let succeeded = farm.job(id(SUCCEEDED)).await;
    assert_eq!(succeeded.summary.state, JobState::Succeeded);
    assert_eq!(succeeded.summary.owner.as_deref(), Some("ann"));
    assert_eq!(succeeded.summary.worker.as_ref().unwrap().name, "old-worker");
    assert_eq!(succeeded.summary.finished_at.unwrap().as_millisecond(), 1_795_242_503_582);
    assert_eq!((&*succeeded.outputs[0].path, succeeded.outputs[0].size), ("clip.mp4", 17_809));
    assert!(succeeded.tasks[0].attempts[0].command.contains(&"libx264".to_owned()));
    let owners: serde_json::Value = farm.get("/v1/owners").await.json().await.unwrap();
    assert_eq!(
        (&owners["items"][0]["owner"], &owners["items"][0]["used"]["output_bytes"]),
        (&"ann".into(), &17_809.into())
    );
    let logs = farm.get(&format!("/v1/jobs/{SUCCEEDED}/logs")).await.text().await.unwrap();
    assert!(logs.contains("Input #0"), "{logs}");

    let failed = farm.job(id(FAILED)).await;
    assert_eq!(failed.summary.state, JobState::Failed);
    assert_eq!(failed.summary.failure.unwrap().kind, FailureKind::InvalidInput);
    assert_eq!(failed.tasks[0].attempts[0].state, AttemptState::Failed);

    assert_eq!(farm.job(id(QUEUED)).await.summary.state, JobState::Queued);
    let mut worker = farm.worker().await;
    let assign = worker.assigned().await;
    assert_eq!(assign.job_id, QUEUED);
    let files = vec![output("clip.mp4", "output")];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    let put = farm.http.put(farm.worker_url(&urls[0])).body("output").send().await.unwrap();
    assert!(put.status().is_success(), "{}", put.status());
    worker.succeed(&assign, files).await;
    let view: JobView = eventually(async || {
        let view = farm.job(id(QUEUED)).await;
        view.summary.state.is_final().then_some(view)
    })
    .await;
    assert_eq!((view.summary.state, view.tasks[0].state), (JobState::Succeeded, TaskState::Succeeded));
    farm.stop().await;
}

/// Starts the program on `data`, which it must refuse at once, as `user` if that is somebody else.
fn start(program: &Path, data: &Path, user: Option<u32>) -> Output {
    let mut command = Command::new(program);
    command.env_clear().env("TVARR_DATA_DIR", data).env("TVARR_HTTP_PORT", "0").env("TVARR_GRPC_PORT", "0");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().unwrap()
}

#[test]
fn the_program_says_what_is_wrong_with_its_database_and_leaves_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.sqlite");
    fs::write(&path, "SQLite format 3\0 and then nothing").unwrap();
    let ended = start(Path::new(env!("CARGO_BIN_EXE_coordinator")), folder.path(), None);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    let words = said.lines().last().unwrap();
    assert!(
        words.starts_with(&format!("coordinator: the job store {} was not opened", path.display())),
        "{words}"
    );
    assert!(words.contains("damaged") && words.contains("backup"), "{words}");
    assert_eq!(fs::read(&path).unwrap(), b"SQLite format 3\0 and then nothing");
}

#[test]
fn a_database_that_the_coordinator_may_not_read_is_named() {
    /// nobody's id on most systems; any that is not root's does.
    const NOBODY: u32 = 65534;
    let root = rustix::process::geteuid().is_root();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let path = data.join("jobs.sqlite");
    fs::write(&path, "anything").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let mut program = env!("CARGO_BIN_EXE_coordinator").into();
    if root {
        // Root may read everything: somebody else has to try, who may not reach the folder that this was built in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        let copy = folder.path().join("coordinator");
        fs::copy(&program, &copy).unwrap();
        program = copy;
    }
    let ended = start(&program, &data, root.then_some(NOBODY));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("jobs.sqlite was not opened") && said.contains("ermission denied"), "{said}");
    assert!(said.contains("let the coordinator's user read and write it"), "{said}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"anything");
}
