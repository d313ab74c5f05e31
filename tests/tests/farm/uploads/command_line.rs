//! `ffmpegctl transcode` on a farm: the encode follows the upload, on a line that is slow and breaks.

use std::{fs, time::Duration};

use common::{api::JobState, id::JobId};
use e2e::{
    Farm,
    ctl::Desk,
    media::Media,
    proxy::{Flow, Proxy, Weather},
    system,
    wait::{self, seconds},
};

use super::{assert_one_attempt, made, writes};

/// So slow that a part of the clip is encoded long before the rest has come.
const SLOW: Weather =
    Weather { up: Flow::Slow { bytes_per_second: 100_000, latency: Duration::ZERO }, ..Weather::FAIR };

struct Scene {
    farm: Farm,
    line: Proxy,
    desk: Desk,
    bytes: u64,
}

impl Scene {
    async fn begin() -> Self {
        let farm = Farm::small().await;
        let port = farm.api.base.rsplit(':').next().unwrap().parse().unwrap();
        let line = Proxy::to(port);
        line.set(SLOW);
        let desk = Desk::at(&format!("http://{}", line.address()));
        let folder = tempfile::tempdir().unwrap();
        let (_, file) = made(&folder, "a.mkv", "ocean.mp4", &["-c", "copy"]);
        desk.file("a.mkv", &file);
        Self { farm, line, desk, bytes: file.len() as u64 }
    }

    async fn job(&self) -> JobId {
        wait::until(seconds(60), "the job", || async {
            self.farm.api.jobs("limit=1").await.items.first().map(|job| job.id)
        })
        .await
    }

    /// Bytes of uploads that have not ended.
    fn staged(&self) -> Vec<u64> {
        let folder = self.farm.data().join("uploads");
        system::files(&folder).iter().map(|file| fs::metadata(folder.join(file)).unwrap().len()).collect()
    }
}

#[tokio::test]
async fn the_encode_follows_an_upload_that_breaks() {
    let scene = Scene::begin().await;
    let running = scene.desk.start(&["transcode", "a.mkv", "-o", "a.mp4", "--preset", "proxy"]);
    let job = scene.job().await;
    writes(&scene.farm, job).await;
    let staged = scene.staged();
    assert!(staged.len() == 1 && staged[0] < scene.bytes, "{staged:?} of {}", scene.bytes);
    scene.line.cut();
    wait::until(seconds(20), "the break to be told", || async {
        running.stderr().contains("the upload broke and goes on").then_some(())
    })
    .await;
    scene.line.heal();
    let ended = running.ended(seconds(200)).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let view = scene.farm.succeeded(job).await;
    assert_one_attempt(&view);
    assert_eq!(Media::read(&scene.desk.work().join("a.mp4")).video().packets(), 240);
    let kept = system::files(&scene.farm.data().join("objects/uploads"));
    assert!(kept.is_empty() && scene.staged().is_empty(), "{kept:?}");
    scene.farm.stop().await;
}

#[tokio::test]
async fn ctrl_c_in_the_middle_leaves_nothing() {
    let scene = Scene::begin().await;
    let running = scene.desk.start(&["transcode", "a.mkv", "-o", "a.mp4", "--preset", "proxy"]);
    let job = scene.job().await;
    writes(&scene.farm, job).await;
    assert_eq!(scene.staged().len(), 1);
    running.interrupt();
    let ended = running.ended(seconds(60)).await;
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert_eq!(scene.farm.finished(job).await.summary.state, JobState::Cancelled);
    assert!(scene.staged().is_empty());
    scene.desk.left_nothing_but(&["a.mkv"]).await;
    scene.farm.no_ffmpeg().await;
    scene.farm.stop().await;
}
