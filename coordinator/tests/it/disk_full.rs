//! A full disk under the objects: refused in words, nothing left behind, and on it goes once there is room.
//!
//! A limit on the size of files (`RLIMIT_FSIZE`) would need no privilege, and meets another error than a full disk does:
//! EFBIG, with a signal that ends the process. So the folder is a small tmpfs, which takes the right to mount; where that is
//! missing the test says so and does nothing.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use common::api::JobState;
use reqwest::{StatusCode, header};

use crate::farm::{Farm, entries, output, problem};

/// Bytes of the disk.
const SIZE: usize = 4 * 1024 * 1024;

struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={SIZE}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        match mount {
            Ok(mount) if mount.status.success() => Some(Self(at.to_owned())),
            failed => {
                eprintln!("SKIPPED: a tmpfs cannot be mounted here ({failed:?})");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let objects = data.join("objects");
    let Some(_disk) = Tmpfs::mount(&objects) else { return };
    let farm = Farm::start_with(|config| *config = Farm::config(data)).await;
    let mut worker = farm.worker().await;
    let job = farm.submit_upload(&farm.upload("a.mp4", "input").await).await.summary.id;
    let assign = worker.assigned().await;
    let large = "x".repeat(SIZE / 2);
    let files = vec![output("a.mp4", &large)];
    let urls = worker.open_uploads(&assign, files.clone()).await.unwrap();
    let filler = objects.join("filler");
    std::fs::write(&filler, vec![0; SIZE - SIZE / 4]).unwrap();
    let before = entries(&objects);

    for _ in 0..2 {
        let refused = farm.bring(&urls[0], large.clone()).await;
        assert_eq!(refused.headers()[header::RETRY_AFTER], "30");
        let refused = problem(refused).await;
        assert_eq!(refused.status, 507);
        assert!(refused.detail.contains("no space left"), "{}", refused.detail);
        assert_eq!(entries(&objects), before);
    }
    let upload = farm.http.post(farm.url("/v1/uploads?filename=b.mp4")).body(large.clone()).send();
    assert_eq!(problem(upload.await.unwrap()).await.status, 507);
    assert_eq!(entries(&objects), before);

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(farm.bring(&urls[0], large.clone()).await.status(), StatusCode::CREATED);
    worker.succeed(&assign, files).await;
    assert!(worker.acknowledged().await.accepted);
    assert_eq!(farm.job(job).await.summary.state, JobState::Succeeded);
    farm.stop().await;
}
