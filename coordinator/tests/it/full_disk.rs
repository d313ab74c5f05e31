//! The coordinator on a disk that is really full.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use common::{
    api::{JobSummary, JobView, Page},
    id::JobId,
};
use reqwest::StatusCode;
use serde_json::json;

use crate::farm::{Farm, eventually, problem};

/// A disk of its own, as small as a job store and a little.
struct Disk {
    at: tempfile::TempDir,
}

impl Disk {
    /// `None`, loudly, where nothing may be mounted.
    fn mount() -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at.path())
            .output()
            .is_ok_and(|mount| mount.status.success());
        if !mounted {
            eprintln!(
                "SKIPPED: no disk can be mounted here, so that none can be full; run this test as root"
            );
        }
        mounted.then_some(Self { at })
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for size in [4096, 1] {
            let error =
                std::iter::repeat_with(|| file.write_all(&vec![0; size])).find_map(Result::err).unwrap();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// The job's id, or the words of the 503.
async fn submit(farm: &Farm) -> Result<JobId, String> {
    let body = json!({"input": {"url": "http://host/a.mp4"}, "preset": "h264"});
    let response = farm.post("/v1/jobs", &body).await;
    if response.status() == StatusCode::CREATED {
        return Ok(response.json::<JobView>().await.unwrap().summary.id);
    }
    let problem = problem(response).await;
    assert_eq!(problem.status, 503, "{problem:?}");
    Err(problem.detail)
}

async fn listed(farm: &Farm) -> Vec<JobId> {
    let page: Page<JobSummary> = farm.get("/v1/jobs?limit=500").await.json().await.unwrap();
    let mut ids: Vec<JobId> = page.items.iter().map(|job| job.id).collect();
    ids.reverse();
    ids
}

#[tokio::test]
async fn a_full_disk_is_told_with_503_no_job_is_lost_or_made_up_and_all_goes_on_by_itself() {
    let Some(disk) = Disk::mount() else { return };
    let data = disk.path().join("data");
    let farm = Farm::start_at(data.clone()).await;
    let mut accepted = vec![submit(&farm).await.unwrap()];
    disk.fill();
    // Until the log has no page left that it can write again.
    let words = loop {
        match submit(&farm).await {
            Ok(id) => accepted.push(id),
            Err(words) => break words,
        }
        assert!(accepted.len() < 400, "a full disk takes jobs without end");
    };
    assert!(words.contains("the job store cannot write") && words.contains("full"), "{words}");
    assert!(words.contains("not accepted"), "{words}");
    assert_eq!(listed(&farm).await, accepted, "what was refused is not there, and reading goes on");

    disk.free();
    accepted.push(eventually(async || submit(&farm).await.ok()).await);
    assert_eq!(listed(&farm).await, accepted);
    farm.stop().await;
    let farm = Farm::start_at(data).await;
    assert_eq!(listed(&farm).await, accepted, "after a restart too");
    farm.stop().await;
}
